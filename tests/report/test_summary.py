"""What a summary says of records: claims about anchors, failures, gates, floors and duplicates."""

import numpy as np
import pytest

from benchmark.report.summary import load, summarise
from benchmark.stats import t_interval
from tests.report.factory import Method, Model, World, metric, record, suite, write

ORACLE = Method("again", shift=0.0, uses=("retain",), oracle=True, seconds=100)
GOOD = Method("good", shift=0.05)
BAD = Method("bad", shift=0.4, drop=0.2)
WORLD = World()


def task_of(records):
    (task,) = summarise(records).tasks
    return task


def names(task):
    return [row.name for row in task.rows]


def test_anchors_come_from_the_records_with_every_seed_once():
    records = suite(WORLD, [GOOD, BAD], range(4))
    cell = task_of(records).row("original").cells["leak_a"]
    by_seed = {r.run.seed: r.metrics["leak_a"].original for r in records}
    assert cell.value.n_seeds == 4
    assert cell.value.mean == pytest.approx(np.mean(list(by_seed.values())))
    assert task_of(records).row("retrained").cells["leak_a"].distance.mean == 0


def test_gaps_are_paired_by_seed_and_opposite_signs_do_not_cancel():
    pairs = [(0.5, 0.6), (0.7, 0.6)]
    records = [
        record(WORLD, GOOD, seed, metrics={"m": metric(value, 0.9, retrained)})
        for seed, (value, retrained) in enumerate(pairs)
    ]
    cell = task_of(records).row("good").cells["m"]
    assert cell.gap.mean == pytest.approx(0)
    assert cell.distance.mean == pytest.approx(0.1)
    assert cell.gap.high == pytest.approx(t_interval([-0.1, 0.1])["high"])


def test_one_seed_has_a_value_but_no_interval():
    task = task_of([record(WORLD, GOOD, 0)])
    value = task.row("good").cells["leak_a"].value
    assert (value.low, value.high, value.half_width, value.n_seeds) == (None, None, None, 1)
    assert task.columns["leak_a"].validity == "one_seed"


@pytest.mark.parametrize("status", ["failed", "diverged"])
def test_a_failed_seed_makes_the_method_failed_and_last_and_is_not_averaged_away(status):
    lost = Method("alpha", shift=0.0, status=status)
    fine = Method("alpha", shift=0.0)
    records = suite(WORLD, [BAD, ORACLE]) + suite(WORLD, [fine], range(4)) + [record(WORLD, lost, 4)]
    task = task_of(records)
    row = task.row("alpha")
    assert names(task)[-1] == "alpha"
    assert row.failed
    assert row.cells == {}
    assert row.seconds is None
    assert row.remarks == [f"{status} in 1 of 5 seeds"]
    assert row.errors == ["seed 4: ValueError: the loss is not finite."]


def test_rows_are_anchors_then_oracle_then_methods_by_distance_then_collapsed():
    collapsed = Method("flat", shift=0.0, drop=50, status="collapsed")
    task = task_of(suite(WORLD, [BAD, collapsed, GOOD, ORACLE]))
    assert names(task) == ["original", "retrained", "again", "good", "bad", "flat"]
    assert task.row("flat").remarks == ["collapsed", "utility lost"]


def test_an_attack_that_does_not_beat_chance_on_the_originals_is_inconclusive_and_does_not_rank():
    blind = World(original=Model(0.0, 0.93))
    task = task_of(suite(blind, [Method("b", shift=0.0), Method("a", shift=1.0)]))
    assert task.columns["leak_a"].validity == "inconclusive"
    assert task.sorted_by is None
    assert names(task)[2:] == ["a", "b"]
    assert not any(row.cells["leak_a"].best for row in task.rows)


def test_an_attack_that_works_on_the_originals_is_valid():
    assert task_of(suite(WORLD, [GOOD])).columns["leak_a"].validity == "valid"


def test_the_oracle_floor_is_the_mean_distance_of_exact_retraining():
    records = suite(WORLD, [ORACLE, GOOD])
    gaps = [r.metrics["leak_a"].gap for r in records if r.oracle]
    floor = task_of(records).columns["leak_a"].floor
    assert floor is not None
    assert floor.distance.mean == pytest.approx(np.mean(np.abs(gaps)))
    assert floor.gap.low == pytest.approx(t_interval(gaps)["low"])


@pytest.mark.parametrize("oracle", [[], [Method("again", oracle=True, status="failed")]])
def test_without_a_successful_oracle_there_is_no_floor(oracle):
    assert task_of(suite(WORLD, [GOOD, *oracle])).columns["leak_a"].floor is None


def test_the_newest_of_two_records_of_a_run_counts():
    old = record(WORLD, Method("good", shift=3.0), 0, date="2026-01-01T00:00:00+00:00")
    new = record(WORLD, GOOD, 0, date="2026-02-01T00:00:00Z")
    new = new.model_copy(update={"provenance": new.provenance.model_copy(update={"commit": "f" * 40})})
    for records in ([old, new], [new, old]):
        summary = summarise(records)
        assert (summary.n_records, summary.n_superseded, summary.n_stale) == (1, 1, 0)
        assert summary.tasks[0].row("good").cells["leak_a"].value.mean == new.metrics["leak_a"].value


def test_records_of_an_earlier_task_definition_are_set_aside_even_for_other_methods():
    old_world = World(spec={"split": {"train": 1000}})
    old = suite(old_world, [BAD], range(3))
    new = [record(WORLD, GOOD, seed, date="2026-03-01T00:00:00+00:00") for seed in range(2)]
    summary = summarise(old + new)
    assert (summary.n_stale, summary.n_records) == (3, 2)
    assert names(summary.tasks[0]) == ["original", "retrained", "good"]


def test_more_seeds_or_other_method_settings_do_not_make_another_task():
    more = World(spec={"seeds": 9, "methods": {"good": {"lr": 1.0}}})
    assert summarise([record(WORLD, GOOD, 0), record(more, GOOD, 1)]).n_stale == 0


def test_best_is_marked_among_methods_that_went_well_and_never_on_the_oracle():
    nothing = Method("nothing", status="no_change")
    collapsed = Method("flat", shift=0.0, drop=-9, status="collapsed")
    task = task_of(suite(WORLD, [ORACLE, nothing, collapsed, GOOD, BAD]))
    best = {c: [row.name for row in task.rows if c in row.cells and row.cells[c].best] for c in task.columns}
    assert best["leak_a"] == ["good"]
    assert best["lost"] == ["bad"]
    assert best["right"] == ["bad"]


def test_a_method_that_missed_seeds_says_so_and_is_not_best():
    task = task_of(suite(WORLD, [ORACLE, BAD, Method("c", shift=0.3)]) + suite(WORLD, [GOOD], [0]))
    assert task.row("good").remarks == ["1 of 5 seeds run"]
    assert not task.row("good").verdict.ranked
    assert task.row("bad").cells["leak_a"].best is False
    assert task.row("c").cells["leak_a"].best


def test_seeds_with_different_settings_are_remarked_on():
    first, second = record(WORLD, GOOD, 0), record(WORLD, GOOD, 1)
    second = second.model_copy(update={"run": second.run.model_copy(update={"params": {"lr": 0.5}})})
    assert task_of([first, second]).row("good").remarks == ["settings differ between seeds"]


def test_the_speedup_is_the_geometric_mean_over_seeds():
    records = suite(WORLD, [GOOD], range(3))
    ratios = [r.cost.retrain_seconds / r.cost.unlearn_seconds for r in records]
    assert task_of(records).row("good").speedup == pytest.approx(np.exp(np.mean(np.log(ratios))))


def test_columns_stand_by_role_and_then_in_the_order_of_the_record_whatever_they_are_called():
    strange = {
        "zeta": metric(70, 90, 69, goal="max", role="utility", attack=False, label="quality"),
        "_a.b": metric(0.6, 0.9, 0.5, label="x"),
        "quiet": metric(1, 2, 3, headline=False),
    }
    task = task_of([record(WORLD, GOOD, seed, metrics=strange, curves={}) for seed in range(2)])
    assert list(task.columns) == ["zeta", "_a.b", "quiet"]
    assert [column.name for column in task.headlines] == ["_a.b", "zeta"]
    assert (task.primary, task.utility) == ("_a.b", "zeta")


def test_curves_are_averaged_over_seeds():
    records = suite(WORLD, [GOOD], range(3))
    curves = task_of(records).row("good").curves["leak_a"]
    assert curves.tpr == pytest.approx(np.mean([r.curves["leak_a"].unlearned.tpr for r in records], axis=0))
    expected = np.mean([r.curves["leak_a"].unlearned.quantiles["forget"] for r in records], axis=0)
    assert curves.quantiles["forget"] == pytest.approx(expected)


def test_times_of_unlike_machines_are_not_compared_silently():
    one, other = record(WORLD, GOOD, 0), record(WORLD, BAD, 0)
    other = other.model_copy(update={"cost": other.cost.model_copy(update={"threads": 8})})
    assert "do not compare" in task_of([one, other]).notes[0]


def test_a_task_of_failures_only_is_still_a_task():
    task = task_of(suite(WORLD, [Method("lost", status="failed")]))
    assert names(task) == ["original", "retrained", "lost"]
    assert task.columns == {}


def test_an_empty_folder_is_told_so(tmp_path):
    from benchmark.errors import BenchmarkError

    with pytest.raises(BenchmarkError, match="there are no records here"):
        load(tmp_path)


def test_what_was_written_is_what_is_read(tmp_path):
    records = suite(WORLD, [ORACLE, GOOD], range(2))
    assert load(write(tmp_path, records)) == summarise(records)


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ({"pairs": True, "seed": 0}, "All seeds share one draw"),
        ({"pairs": True}, "Two seeds share each draw"),
        ({}, ""),
    ],
)
def test_what_seeds_share_is_said_below_the_table(split, words):
    world = World(spec={"split": {"train": 2000, **split}})
    notes = " ".join(summarise(suite(world, [Method("theirs")])).tasks[0].notes)
    assert words in notes and ("share" in notes) == bool(words)
