"""Two sides held against each other: what is paired, what is decided, and what is not compared and why."""

from itertools import combinations, islice
from pathlib import Path

import numpy as np
import pytest

from benchmark.errors import UnknownName
from benchmark.history.compare import Selection, compare
from benchmark.history.reading import as_side, read
from benchmark.history.rules import FAMILY
from benchmark.specs import Record
from tests.history import made
from tests.history.made import exact, held, only, runs, side
from tests.report import factory

VALUES = [0.60, 0.62, 0.59, 0.61, 0.63, 0.60, 0.58, 0.61]
WORSE = [value + 0.08 + wobble for value, wobble in zip(VALUES, [0, 1e-3, -1e-3, 2e-3, 0, 1e-3, -2e-3, 0], strict=True)]


def world(**spec):
    return factory.World("toy-random", spec=spec)


def test_a_regression_is_named_with_task_method_number_and_size():
    row = only(held([*runs(VALUES), *exact(8)], [*runs(WORSE, code="new"), *exact(8)]))
    assert (row.task, row.method, row.metric, row.decision) == ("toy-random", "m", "leak", "worse")
    assert (row.before, row.after) == (pytest.approx(0.105), pytest.approx(0.185, abs=1e-3))
    assert row.change.mean == pytest.approx(0.08, abs=1e-3) and row.change.low > 0.07
    assert row.floor == pytest.approx(0.02) and row.adjusted < 0.002
    assert row.cause == "the method's code"


def test_the_same_records_on_both_sides_were_not_run_again():
    records = [*runs(VALUES), *exact(8)]
    found = held(records, records)
    assert {row.decision for row in found.rows} == {"same"}
    assert {row.why for row in found.rows} == {"the same records, not run again"}
    assert (found.tasks[0].pairs, found.tasks[0].not_again, found.tasks[0].causes) == (16, 16, {})


def test_the_same_numbers_measured_again_are_equal_and_no_test_is_spent_on_them():
    again = [*runs(VALUES, date="2026-02-02T00:00:00+00:00"), *exact(8)]
    found = held([*runs(VALUES), *exact(8)], again)
    row = only(found)
    assert (row.decision, row.why, row.p_value) == ("same", "equal in every seed", None)
    assert found.tasks[0].not_again == 8
    assert list(found.tasks[0].causes) == ["nothing that decides a result; it was run again"]


def test_runs_are_paired_by_seed_and_what_is_on_one_side_alone_is_counted():
    after = [*runs(WORSE, code="new")[2:], *exact(8), *runs(VALUES, "other")]
    found = held([*runs(VALUES), *exact(8)], after)
    assert only(found).seeds == 6
    assert (found.tasks[0].pairs, found.tasks[0].only_before, found.tasks[0].only_after) == (14, 2, 8)


def test_a_placebo_arm_is_paired_with_a_placebo_arm():
    def arms(values, code):
        plain = runs(VALUES)
        return [*plain, *(r.model_copy(update={"run": r.run.model_copy(update={"placebo": True}), "key": code + r.key})
                          for r in runs(values, code=code)), *exact(8)]  # fmt: skip

    found = held(arms(VALUES, "a"), arms(WORSE, "b"))
    assert only(found).decision == "same"
    assert only(found, "m (placebo arm)").decision == "worse"


@pytest.mark.parametrize("part", ["value", "retrained", "original"])
def test_the_same_outputs_with_another_number_are_a_changed_metric(part):
    """Exact, so that a sign is found that no test sees: the gap of 1 - AUC is the gap of AUC."""
    flipped = {"value": 0.4, "original": 0.1, "retrained": 0.5} if part == "value" else {"value": 0.6, part: 0.45}
    before = [made.record(0, 0.6, changed=()), *exact(1)]
    after = [made.record(0, **flipped, changed=(), code="new", date="2026-03-01"), *exact(1)]
    row = only(held(before, after))
    assert (row.decision, row.cause) == ("changed", "the metrics' code")
    assert "the same outputs are scored differently in 1 of 1 seeds" in row.why and "→" in row.why


def test_on_another_machine_the_same_keys_do_not_promise_the_same_outputs():
    after = [made.record(seed, value + 0.001, hardware={"processor": "two"}, date="2026-03-01")
             for seed, value in enumerate(VALUES)]  # fmt: skip
    found = held([*runs(VALUES), *exact(8)], [*after, *exact(8)])
    assert only(found).decision == "same"
    assert found.tasks[0].notes == ["times are not compared: processor one → two, cores 2 → unknown"]


def test_sets_of_another_size_are_a_change_whatever_the_numbers_say():
    before, after = [made.record(0, 0.6, sizes={"forget": 12, "retain": 36}, code=code) for code in "ab"]
    after = after.model_copy(update={"sizes": {"forget": 12, "retain": 35}})
    row = only(held([before], [after]), "all", "sets")
    assert (row.decision, row.before, row.after) == ("changed", "retain 36", "retain 35")


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        (["ok"] * 4, ["failed", "ok", "ok", "ok"], "worse"),
        (["ok"] * 4, ["diverged"] * 4, "worse"),
        (["ok"] * 4, ["collapsed", "collapsed", "ok", "ok"], "cannot tell"),
        (["failed"] * 4, ["ok"] * 4, "better"),
        (["collapsed"] * 4, ["ok"] * 4, "better"),
    ],
)
def test_statuses_are_held_against_each_other_too(old, new, word):
    def records(statuses, code):
        return [made.record(s, 0.6, status=status, code=code) for s, status in enumerate(statuses)]

    found = held([*records(old, "a"), *exact(4)], [*records(new, "b"), *exact(4)])
    row = only(found, metric="status")
    assert row.decision == word and row.suspicious == (word == "cannot tell")


def test_nothing_is_averaged_over_the_seeds_that_went_well():
    after = runs(WORSE, code="new")
    after[3] = made.record(3, 0.0, code="new", status="diverged", metrics={})
    row = only(held([*runs(VALUES), *exact(8)], [*after, *exact(8)]))
    assert row.decision == "cannot tell" and "1 of these runs have no numbers" in row.why


def test_a_task_that_was_redefined_is_not_compared_and_says_in_what():
    after = [*runs(WORSE, code="new", world=world(label_noise=0.3, split={"train": 2001})), *exact(8)]
    found = held([*runs(VALUES), *exact(8)], after)
    assert not found.rows
    assert found.tasks[0].reason == (
        "the task was redefined (split.train 2000 → 2001, label_noise 0 → 0.3), so its runs are not comparable"
    )


def test_numerics_that_differ_are_compared_in_quality_named_and_not_compared_in_time():
    recipe = {"lr": 0.1, "epochs": 5, "batch_size": 64, "precision": "bfloat16"}
    other = {"world": world(recipe=recipe), "versions": {"torch": "2.10"}, "code": "new", "date": "2026-03-01"}
    found = held([*runs(VALUES), *exact(8)], [*runs(WORSE, **other, seconds=50.0), *exact(8, **other)])
    assert only(found).decision == "worse"
    assert not [row for row in found.rows if row.kind == "time"]
    differing = "torch 2.9 → 2.10, precision float32 → bfloat16"
    assert found.tasks[0].notes == [f"numerics differ: {differing}", f"times are not compared: {differing}"]


def test_originals_and_retrained_models_that_move_are_a_change():
    moved = [made.record(s, v, code="new", original=0.7 + s / 1000, changed=made.PLACES) for s, v in enumerate(VALUES)]
    before = [made.record(s, v, original=0.9 + s / 900) for s, v in enumerate(VALUES)]
    found = held([*before, *exact(8, method="zero")], [*moved, *exact(8, method="zero")])
    row = only(found, "original")
    assert (row.decision, row.goal) == ("changed", "info") and row.change.mean == pytest.approx(-0.2, abs=1e-3)
    assert next(iter(found.tasks[0].causes)) == "the dataset or how it is decoded"


def test_numbers_without_a_better_way_are_not_decided():
    after = runs(WORSE, code="new", goal="info")
    assert not [r for r in held([*runs(VALUES, goal="info"), *exact(8)], [*after, *exact(8)]).rows if r.method == "m"
                and r.metric == "leak"]  # fmt: skip


def test_a_selection_keeps_the_noise_of_what_it_leaves_out_and_counts_only_itself():
    before, after = [*runs(VALUES), *exact(8)], [*runs(WORSE, code="new"), *exact(8)]
    found = compare(side(before), side(after), Selection(methods=["m"], metrics=["leak"]))
    assert [row.decision for row in found.rows] == ["worse"]
    assert found.rows[0].adjusted == pytest.approx(2 * found.rows[0].p_value)
    for asked in ({"tasks": ["toy"]}, {"methods": ["mm"]}, {"metrics": ["leek"]}):
        with pytest.raises(UnknownName, match=r"^--\w+: unknown \w+ '\w+'\. Did you mean|^--task"):
            compare(side(before), side(after), Selection(**asked))


# -- no false alarms -----------------------------------------------------------------------------------------


def test_twenty_clean_comparisons_of_made_up_runs_raise_no_alarm(capsys):
    """Everything is drawn anew on both sides: eight methods, eight seeds, exact retraining as noisy as they."""
    generator = np.random.default_rng(20)
    alarms = [bool(_clean(generator).regressions()) for _ in range(20)]
    with capsys.disabled():
        print(f"\nmade-up clean comparisons: {sum(alarms)} of {len(alarms)} with a false alarm")
    assert not any(alarms)


def _clean(generator):
    sides = []
    for code in ("a", "b"):
        records = [
            made.record(s, v, "exact", code=code, oracle=True)
            for s, v in enumerate(made.noisy(0.5, 0.03, 8, generator))
        ]
        for method in range(8):
            values = made.noisy(0.5 + method / 100, 0.03, 8, generator)
            records += runs(values, f"m{method}", code=code)
        sides.append(records)
    return held(*sides)


RESULTS = Path(__file__).parents[2] / "results"


@pytest.fixture(scope="module")
def ensembles() -> dict[str, list[Record]]:
    """Committed runs of the tasks with the most seeds."""
    records, _ = read(RESULTS)
    found: dict[str, list[Record]] = {}
    for record in records:
        if record.run.task.ensemble:
            found.setdefault(record.task, []).append(record)
    assert found
    return found


def test_twenty_clean_comparisons_of_real_runs_raise_no_alarm(ensembles, capsys):
    """Seeds 0-7 of real methods against seeds 8-15 as if these were the same, and so on: all that differs is chance."""
    verdicts = [
        compare(*pair).regressions("quality")
        for size in (8, 5)
        for records in ensembles.values()
        for pair in islice(_pairs(records, size), 5)
    ]
    alarms = [rows for rows in verdicts if rows]
    with capsys.disabled():
        print(f"\nreal clean comparisons: {len(alarms)} of {len(verdicts)} with a false alarm")
    assert len(verdicts) == 20 and not alarms


@pytest.mark.slow
def test_all_clean_comparisons_of_real_runs_keep_the_level(ensembles, capsys):
    counts: dict[int, list[bool]] = {}
    for size in (3, 4, 5, 6, 8):
        pairs = [pair for records in ensembles.values() for pair in _pairs(records, size)]
        counts[size] = [bool(compare(*pair).regressions("quality")) for pair in pairs]
    with capsys.disabled():
        for size, alarms in counts.items():
            print(f"\nreal clean comparisons, {size} seeds: {sum(alarms)} of {len(alarms)} with a false alarm", end="")
    together = [alarm for alarms in counts.values() for alarm in alarms]
    assert sum(together) <= FAMILY * len(together)


def _pairs(records, size):
    """Blocks of so many seeds, each held against every later one."""
    seeds = sorted({record.run.seed for record in records})
    blocks = [seeds[at : at + size] for at in range(0, len(seeds) - size + 1, size)]
    return combinations([as_side("block", "block", _renumbered(records, block)) for block in blocks], 2)


def _renumbered(records, seeds):
    """Coins part these tasks' pools, so that sets differ in size from seed to seed, which is no change of the split."""
    return [
        record.model_copy(
            update={"run": record.run.model_copy(update={"seed": seeds.index(record.run.seed)}), "sizes": {}}
        )
        for record in records
        if record.run.seed in seeds
    ]
