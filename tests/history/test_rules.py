"""When a number is worse, better, the same, or cannot be told: the seeds must say so, and it must exceed the noise."""

import numpy as np
import pytest

from benchmark.history.rules import ALPHA, FAMILY, LEAST, MANY, decided, direction, examined, judged, same_number
from tests.report import factory

OLD = [0.60, 0.62, 0.59, 0.61, 0.63, 0.60, 0.58, 0.61]
WOBBLE = [0.002, -0.001, 0.001, 0.0, -0.002, 0.001, 0.002, -0.001]


def moved(by, seeds=8):
    return [old + by + wobble for old, wobble in zip(OLD[:seeds], WOBBLE[:seeds], strict=True)]


def decide(by, floor=0.02, seeds=8, adjusted=None, better="min", **more):
    test = examined(OLD[:seeds], moved(by, seeds), better)
    return decided(test, floor, test.counted if adjusted is None else adjusted, **more)


@pytest.mark.parametrize("seeds", range(LEAST, 9))
@pytest.mark.parametrize(("better", "by", "word"), [("min", 0.05, "worse"), ("max", 0.05, "better"),
                                                    ("min", -0.05, "better"), ("max", -0.05, "worse")])  # fmt: skip
def test_a_clear_change_beyond_the_noise_is_decided_by_its_direction(seeds, better, by, word):
    assert decide(by, seeds=seeds, better=better)[0] == word


def test_a_clear_change_within_the_noise_is_none():
    word, why = decide(0.05, floor=0.06)
    assert (word, why) == ("same", "within the noise of retraining")


def test_a_clear_change_whose_interval_leaves_the_noise_but_not_its_median_is_none():
    new = [*moved(0.016)[:6], OLD[6] + 0.04, OLD[7] + 0.04]
    test = examined(OLD, new, "min")
    assert test.p_value < ALPHA and test.change.high > 0.02
    assert decided(test, 0.02, 0.01) == ("same", "clear, but smaller than the noise of retraining")


def test_a_large_change_on_which_seeds_disagree_cannot_be_told():
    test = examined(
        OLD, [old + by for old, by in zip(OLD, [0.2, -0.1, 0.3, 0.1, -0.05, 0.2, 0.1, 0.0], strict=True)], "min"
    )
    word, why = decided(test, 0.02, test.counted)
    assert word == "cannot tell" and why.startswith("8 seeds leave it open, p = 0.")


@pytest.mark.parametrize(("better", "way"), [("min", 1), ("max", -1)])
def test_most_seeds_one_way_and_a_few_far_the_other_cannot_be_told(better, way):
    old = [0.6 + 0.001 * seed for seed in range(16)]
    new = [value - 0.1 * way for value in old[:14]] + [value + 5 * way for value in old[14:]]
    test = examined(old, new, better)
    assert test.p_value < ALPHA and test.effect < 0 < way * test.change.mean
    assert decided(test, 0.02, 0.01) == ("cannot tell", "most of 16 seeds moved one way and a few further the other")


@pytest.mark.parametrize("seeds", [1, 2])
def test_fewer_than_three_seeds_decide_nothing(seeds):
    word, why = decide(5.0, seeds=seeds)
    assert word == "cannot tell" and f"and {LEAST} are the least" in why


def test_without_exact_retraining_nothing_is_decided():
    word, why = decide(5.0, floor=None)
    assert word == "cannot tell" and "no exact method was run" in why


def test_many_comparisons_ask_for_more():
    assert decide(0.05, adjusted=FAMILY)[0] == "worse"
    assert decide(0.05, adjusted=FAMILY + 0.001)[0] == "cannot tell"


def test_where_no_way_is_better_a_change_is_a_change():
    assert decide(0.05, directed=False)[0] == decide(-0.05, directed=False)[0] == "changed"


def test_from_seven_seeds_on_the_test_of_the_specification_is_made_as_well_and_the_two_count_twofold():
    few, many = (examined(OLD[:n], moved(0.05, n), "min") for n in (MANY - 1, MANY))
    assert (few.tests, many.tests) == (1, 2)
    assert many.counted == 2 * many.p_value
    outlier = examined([*OLD[:7], 0.6], [*moved(0.1, 7), 60.0], "min")
    assert outlier.p_value < ALPHA, "Mann-Whitney stands an outlier that the t-test does not"


def test_the_effect_is_the_median_change_and_positive_is_worse():
    assert examined([0.0, 0.0, 0.0], [1.0, 2.0, 9.0], "min").effect == 2.0
    assert examined([0.0, 0.0, 0.0], [1.0, 2.0, 9.0], "max").effect == -2.0


def test_what_is_judged_is_the_gap_where_that_is_the_goal():
    below = factory.metric(0.4, 0.9, 0.5)
    assert judged(below) == pytest.approx(0.1) and direction(below.goal) == "min"
    drop = factory.metric(-3.0, 0.0, 1.0, goal="min")
    assert judged(drop) == -3.0 and direction("max") == "max"


@pytest.mark.parametrize("part", ["value", "original", "retrained"])
def test_a_number_of_the_same_outputs_may_differ_by_a_millionth(part):
    one = factory.metric(0.4, 0.9, 0.5)
    near, far = (one.model_copy(update={part: getattr(one, part) * (1 + by)}) for by in (5e-7, 5e-6))
    assert same_number(one, near) and not same_number(one, far)


def test_the_level_holds_for_one_number_alone():
    """Under no change, 1,000 times with five and with eight seeds: at most twice the nominal rate, floor left out."""
    generator = np.random.default_rng(0)
    for seeds in (5, 8):
        alarms = 0
        for _ in range(1000):
            test = examined(generator.normal(size=seeds), generator.normal(size=seeds), "min")
            alarms += decided(test, 0.0, test.counted)[0] in ("worse", "better")
        assert alarms <= 2 * 2 * ALPHA * 1000
