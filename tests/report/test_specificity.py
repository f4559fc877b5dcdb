"""Placebo arms: they are no rows, and they tell what a method does without the forget data."""

import pytest

from benchmark.report.summary import summarise
from benchmark.report.table import render
from tests.report.factory import Method, World, metric, placebos, record, suite

WORLD = World()
ORACLE = Method("again", shift=0.0, uses=("retain",), oracle=True)
REAL, BLUNT = Method("real", shift=0.05, placebo=0.55), Method("blunt", shift=0.1, placebo=0.1)


def task_of(records):
    (task,) = summarise(records).tasks
    return task


def arms(unlearned, without, seeds=range(5), **fields):
    """A method whose attack falls from .9 to `unlearned`, and on the placebo to `without`."""
    method = Method(**{"name": "m", **fields})
    both = [(False, unlearned), (True, without)]
    return [
        record(WORLD, method, s, placebo=arm, metrics={"leak": metric(found[s], 0.9, 0.5)}, curves={})
        for arm, found in both
        for s in seeds
    ]


def specificity(records):
    return task_of(records).row("m").verdict.specificity


def test_the_share_of_the_effect_that_needs_the_forget_data():
    assert specificity(arms([0.5] * 5, [0.9] * 5)).mean == pytest.approx(1)
    assert specificity(arms([0.5] * 5, [0.7] * 5)).mean == pytest.approx(0.5)
    assert specificity(arms([0.5] * 5, [0.5] * 5)).mean == pytest.approx(0)
    found = specificity(arms([0.5, 0.52, 0.48, 0.5, 0.51], [0.7, 0.71, 0.69, 0.68, 0.7]))
    assert found.low < found.mean < found.high


def test_a_placebo_that_does_as_well_is_marked_and_one_that_does_not_is_not():
    records = suite(WORLD, [ORACLE, REAL, BLUNT]) + placebos(WORLD, [REAL, BLUNT])
    task = task_of(records)
    assert task.row("blunt").remarks == ["not specific"]
    assert "not specific" not in task.row("real").verdict.flags
    assert task.row("real").verdict.specificity.low > 0.5
    text = render(summarise(records)).markdown
    assert "| specificity\u00a0↑ |" in text
    assert "Not specific: the same effect comes from images that were never trained on" in text


def test_placebos_are_no_rows_and_change_nothing_else():
    records = suite(WORLD, [ORACLE, REAL])
    alone, task = task_of(records), task_of(records + placebos(WORLD, [REAL], range(9)))
    assert [row.name for row in task.rows] == [row.name for row in alone.rows]
    assert (task.columns, task.n_seeds, task.notes) == (alone.columns, 5, [])
    assert [row.cells for row in task.rows] == [row.cells for row in alone.rows]
    assert "specificity" not in render(summarise(records)).markdown


def test_the_newest_record_of_a_run_is_never_its_placebo():
    late = [record(WORLD, REAL, s, placebo=True, date="2027-01-01T00:00:00Z") for s in range(5)]
    summary = summarise(suite(WORLD, [REAL]) + late)
    assert summary.n_superseded == 0
    assert summary.tasks[0].row("real").cells["leak_a"].value.mean < 0.55


def test_a_method_without_forget_data_is_its_own_placebo():
    tune = Method("tune", shift=0.3, uses=("retain",))
    task = task_of(suite(WORLD, [ORACLE, tune]) + placebos(WORLD, [tune]))
    assert task.row("tune").verdict.specificity is None
    assert task.row("tune").remarks == []


@pytest.mark.parametrize(
    "records",
    [
        arms([0.9] * 5, [0.9] * 5),
        arms([0.95] * 5, [0.8] * 5),
        arms([0.5, 0.9, 0.9, 0.9, 1.0], [0.9] * 5),
        arms([0.5], [0.9], [0]),
        [r for r in arms([0.5] * 5, [0.9] * 5) if not r.run.placebo],
        [r.model_copy(update={"status": "diverged"}) if r.run.placebo else r for r in arms([0.5] * 5, [0.9] * 5)],
        [r.model_copy(update={"metrics": {}}) if r.run.placebo else r for r in arms([0.5] * 5, [0.9] * 5)],
    ],
    ids=["no effect", "reversed effect", "unclear effect", "one seed", "no placebo", "failed placebo", "no numbers"],
)
def test_without_a_clear_effect_and_a_sound_placebo_there_is_no_specificity(records):
    assert specificity(records) is None
    assert "not specific" not in task_of(records).row("m").remarks


def test_a_task_of_placebos_alone_is_no_table():
    assert summarise(placebos(WORLD, [REAL])).tasks == []
