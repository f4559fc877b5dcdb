"""What all seeds say together: columns beside those of single runs, the distance that ranks, the figure of images."""

import numpy as np
import pytest

from benchmark.report import build_report
from benchmark.report.summary import load, summarise
from benchmark.report.table import render
from tests.report.factory import Method, World, panel, pooled, population, record, suite, write

WORLD = World()
ORACLE = Method("again", shift=0.0, uses=("retain",), oracle=True)
GOOD, WEAK = Method("good", shift=0.05), Method("weak", shift=0.4)
METHODS = [ORACLE, GOOD, WEAK]
RECORDS = suite(WORLD, METHODS)
STRONG = [
    population(WORLD, method, {"strong": pooled(value, 0.8, 0.5)})
    for method, value in zip(METHODS, (0.51, 0.52, 0.7), strict=True)
]
ORIGINAL = [0.3, 0.31, 0.29, 0.3, 0.3]
PANELS = [
    population(WORLD, method, {"worst": panel([mean - 0.01, mean, mean, mean, mean + 0.01], ORIGINAL)})
    for method, mean in zip(METHODS, (0.02, 0.25, 0.16), strict=True)
]


def task_of(records, populations):
    (task,) = summarise(records, populations).tasks
    return task


# -- columns -----------------------------------------------------------------------------------------------


def test_a_population_adds_its_columns_to_those_of_its_role():
    task = task_of(RECORDS, STRONG)
    assert [column.name for column in task.headlines] == ["leak_a", "leak_b", "strong", "leak_kept", "lost", "right"]
    assert task.primary == "leak_a"
    assert task.row("original").cells["strong"].value.mean == 0.8
    assert task.row("retrained").cells["strong"].value.mean == 0.5
    cell = task.row("weak").cells["strong"]
    assert (cell.value.low, cell.value.high) == (pytest.approx(0.68), pytest.approx(0.72))
    assert (cell.gap.mean, cell.gap.low) == (pytest.approx(0.2), pytest.approx(0.18))


def test_the_floor_of_one_number_is_the_outer_end_of_the_exact_methods_interval():
    task = task_of(RECORDS, STRONG)
    floor = task.columns["strong"].floor
    assert (floor.distance.mean, floor.p95) == (pytest.approx(0.01), pytest.approx(0.03))
    assert task.row("good").cells["strong"].in_band
    assert not task.row("weak").cells["strong"].in_band


def test_the_table_shows_population_numbers_between_their_anchors():
    text = render(summarise(RECORDS, STRONG)).markdown.replace("\u00a0", " ")
    assert "| strong AUC ≈ | gap |" in text
    assert r"| .510 ± .020 | \[.010, .030\] |" in text
    assert "(1 seed)" not in text


def test_a_method_without_a_population_prints_not_available():
    text = render(summarise(RECORDS, STRONG[:2])).markdown
    assert "| n/a |" in next(line for line in text.splitlines() if line.startswith("| weak"))


def test_a_failed_population_says_why_and_leaves_the_rest(tmp_path):
    failed = population(WORLD, WEAK, {}, status="failed", error="Traceback …\nValueError: pools differ.")
    report = build_report(write(tmp_path, RECORDS, [*STRONG[:2], failed]), draw=False)
    assert "toy-random, weak: all seeds: ValueError: pools differ." in report.notes
    assert report.summary.tasks[0].row("weak").verdict.ranked


@pytest.mark.parametrize(
    ("fields", "validity"),
    [
        ({"original": 0.55}, "valid"),
        ({"original": 0.515}, "inconclusive"),
        ({"original": 0.515, "low": None, "high": None}, "valid"),
        ({"original": 0.6, "original_per_seed": [0.9, 0.3, 0.6]}, "inconclusive"),
        ({"original": 0.6, "original_per_seed": [0.6, 0.61, 0.59]}, "valid"),
        ({"original": None}, "not_gated"),
        ({"original": 0.4, "attack": False}, "not_gated"),
    ],
)
def test_an_attack_on_all_seeds_counts_if_it_works_on_the_originals(fields, validity):
    """Where there is no value per seed, the original's interval is as wide as the widest of the methods'."""
    values = [population(WORLD, method, {"strong": pooled(0.51, **fields)}) for method in METHODS]
    assert task_of(RECORDS, values).columns["strong"].validity == validity


def test_a_distance_has_no_retrained_value_and_its_band_stands_with_the_exact_method():
    values = [
        population(WORLD, m, {"d": pooled(v, 3.0, None, goal="min", attack=False, unit="number", label="divergence")})
        for m, v in zip(METHODS, (0.1, 0.11, 2.0), strict=True)
    ]
    task = task_of(RECORDS, values)
    assert "d" not in task.row("retrained").cells
    assert (task.row("good").cells["d"].in_band, task.row("weak").cells["d"].in_band) == (True, False)
    text = render(summarise(RECORDS, values)).markdown.replace("\u00a0", " ")
    assert r"\[0.1, 0.12\]" in text and "0.11 ± 0.02°" in text


@pytest.mark.parametrize(
    "change",
    [
        {"params": {"lr": 0.5}},
        {"task": suite(World(spec={"split": {"train": 99}}), [GOOD], [0])[0].run.task},
        {"task": suite(World("other"), [GOOD], [0])[0].run.task},
    ],
    ids=["other settings", "an earlier definition", "another task"],
)
def test_a_population_of_other_runs_is_set_aside(change):
    others = [one.model_copy(update=change) for one in STRONG]
    assert "strong" not in task_of(RECORDS, others).columns


def test_the_newest_population_counts():
    late = population(WORLD, WEAK, {"strong": pooled(0.6)}, date="2026-05-01T00:00:00+00:00", key="f" * 64)
    for values in ([*STRONG, late], [late, *STRONG]):
        assert task_of(RECORDS, values).row("weak").cells["strong"].value.mean == 0.6


def test_what_was_written_is_what_is_read(tmp_path):
    assert load(write(tmp_path, RECORDS, STRONG)) == summarise(RECORDS, STRONG)


# -- the distance that ranks -------------------------------------------------------------------------------


def test_a_panel_of_attacks_ranks_where_all_rows_have_it():
    task = task_of(RECORDS, PANELS)
    assert task.distance == "worst"
    assert [row.name for row in task.rows][3:] == ["weak", "good"], "by the panel, not by the primary attack"
    assert task.row("weak").verdict.score.mean == pytest.approx(1 - (0.16 - 0.02) / (0.3 - 0.02))
    assert task.columns["worst"].floor.p95 == pytest.approx(np.quantile([0.01, 0.02, 0.02, 0.02, 0.03], 0.95))
    text = render(summarise(RECORDS, PANELS)).markdown
    assert "| S\u00a0↑ | worst attack\u00a0↓ | leak a AUC\u00a0≈ |" in text
    assert "by worst attack" in text and "Sorted by worst attack" in text


@pytest.mark.parametrize(
    "panels",
    [
        PANELS[:2],
        PANELS[1:],
        [*PANELS[:2], population(WORLD, WEAK, {"worst": panel([0.1] * 4, ORIGINAL[:4])}, range(4))],
        [one.model_copy(update={"metrics": {"worst": panel([0.1] * 5, [])}}) for one in PANELS],
        [one.model_copy(update={"metrics": {"worst": panel([0.1] * 5, ORIGINAL, tier="probing")}}) for one in PANELS],
    ],
    ids=["a method lacks it", "the oracle lacks it", "a seed is missing", "originals lack it", "another tier"],
)
def test_distances_are_never_mixed_in_one_table(panels):
    task = task_of(RECORDS, panels)
    assert task.distance == "leak_a"
    assert [row.name for row in task.rows][3:] == ["good", "weak"]


def test_a_failed_method_does_not_keep_the_others_from_the_panel():
    assert task_of(RECORDS + suite(WORLD, [Method("lost", status="failed")]), PANELS).distance == "worst"


def test_the_panel_decides_on_admission():
    close = [one.model_copy(update={"metrics": {"worst": panel([0.3] * 5, ORIGINAL)}}) for one in PANELS]
    assert "worst attack: at least .291 against up to .300" in task_of(RECORDS, close).demonstration


@pytest.mark.parametrize(
    ("signals", "optimises", "ranked"),
    [
        (("loss", "entropy"), ["loss"], True),
        (("loss", "entropy"), ["loss", "entropy"], False),
        (("loss", "loss"), ["loss"], False),
        ((None, "loss"), ["loss"], True),
    ],
)
def test_a_panel_ranks_whoever_does_not_optimise_all_that_it_reads(signals, optimises, ranked):
    names = dict(zip(("leak_a", "leak_b"), signals, strict=True))
    records = []
    for one in RECORDS:
        metrics = {n: v.model_copy(update={"signal": names.get(n)}) for n, v in one.metrics.items()}
        change = {"metrics": metrics, "optimises": optimises if one.run.method == "good" else []}
        records.append(one.model_copy(update=change))
    values = [one.model_copy(update={"metrics": {"worst": one.metrics["worst"]}}) for one in PANELS]
    assert task_of(records, values).row("good").verdict.ranked is ranked


# -- the figure --------------------------------------------------------------------------------------------


def test_an_ensemble_has_a_figure_of_single_images(tmp_path):
    world = World("toy.ensemble8", spec={"split": {"train": 2000, "pairs": True, "seed": 0}})
    records = [record(world, method, seed, curves={}) for method in METHODS for seed in range(8)]
    images = np.linspace(0.3, 0.9, 50).tolist()
    values = [population(world, m, {"strong": pooled(0.6, per_example=images)}, range(8)) for m in METHODS]
    summary = build_report(write(tmp_path, records, values)).summary
    assert summary.tasks[0].ensemble
    assert summary.tasks[0].row("good").examples["strong"] == images
    text = (tmp_path / "figures" / "toy.ensemble8-examples.svg").read_text()
    assert len(text) > 10_000
    assert not (tmp_path / "figures" / "toy.ensemble8-roc.svg").exists()
