"""Slower or not: in units of retraining on the same machine, and only once a second measurement agrees."""

from typing import Any

import pytest

from tests.history.made import exact, held, only, runs

VALUES = [0.60, 0.62, 0.59, 0.61, 0.63, 0.60, 0.58, 0.61]
WOBBLE = [1.00, 1.02, 0.98, 1.01, 0.99, 1.00, 1.03, 0.97]


def timed(seconds: float, repeats: int = 1, code: str = "new", **fields: Any) -> list:
    """Eight seeds of one method that took about so long, measured once or again and again."""
    made = []
    for repeat in range(repeats):
        for seed, wobble in enumerate(WOBBLE):
            date = f"2026-02-0{1 + repeat}T00:00:00+00:00"
            more = {"seconds": seconds * wobble, "reference": 4.0 + repeat / 10, "code": code, "date": date, **fields}
            made += [record for record in runs(VALUES, **more) if record.run.seed == seed]
    return made


BEFORE = [*timed(1.0, code="old", reference=3.9), *exact(8)]


def row(after):
    return only(held(BEFORE, [*after, *exact(8)]), metric="time")


def test_slower_once_asks_for_a_second_measurement():
    found = row(timed(2.0))
    assert found.decision == "cannot tell" and found.suspicious
    assert found.why == "slower once (1.9×); measure again with `run --fresh`"
    assert found.change.mean == pytest.approx(2.0 * 3.9 / 4.0)


def test_slower_twice_is_worse():
    found = row(timed(2.0, repeats=2))
    assert found.decision == "worse" and found.regressed
    assert found.why.startswith("slower in both measurements, ")
    assert (found.before, found.after) == (pytest.approx(1 / 3.9, rel=0.02), pytest.approx(2 / 4.0, rel=0.02))


def test_slower_once_and_not_again_is_no_regression():
    first, second = timed(2.0), timed(1.02, repeats=2)[8:]
    found = row([*first, *second])
    assert found.decision == "same" and "not confirmed by the second measurement" in found.why


def test_faster_is_better_at_once():
    assert row(timed(0.5)).decision == "better"


def test_within_five_percent_is_the_same():
    assert row(timed(1.0, reference=3.9)).decision == "same"


def test_a_machine_that_is_as_much_slower_at_its_reference_job_has_not_slowed_the_method():
    assert row(timed(2.0, reference=7.8)).decision == "same"


def test_a_reference_job_that_was_not_measured_again_is_said():
    assert "by a reference job that was not measured again" in row(timed(2.0, reference=3.9)).why


def test_what_nobody_waits_for_is_no_regression():
    old = [*timed(0.001, code="old"), *exact(8)]
    found = only(held(old, [*timed(0.003, repeats=2), *exact(8)]), metric="time")
    assert (found.decision, found.why) == ("same", "less than 0.01 s apart")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"hardware": {"processor": "two", "cores": 2}}, "processor one → two"),
        ({"cost": {"threads": 2}}, "threads 1 → 2"),
        ({"cost": {"exclusive": True}}, "exclusive False → True"),
        ({"cost": {"device": "cuda:0"}}, "device cpu → cuda:0, device cpu → cuda"),
        ({"versions": {"torch": "2.10"}}, "torch 2.9 → 2.10"),
        ({"cost": {"load_average": 6.5}}, "load per core 1.0 → 3.2"),
    ],
)
def test_other_machines_numerics_and_loads_are_not_compared_and_it_says_so(fields, words):
    found = held(BEFORE, [*timed(2.0, repeats=2, **fields), *exact(8)])
    assert not [one for one in found.rows if one.kind == "time"]
    assert f"times are not compared: {words}" in found.tasks[0].notes


def test_a_clock_that_measured_nothing_is_not_compared():
    found = held(BEFORE, [*timed(0.0), *exact(8)])
    assert not [one for one in found.rows if one.kind == "time"]
