"""Statistics over seeds, tasks and methods: coverage, exact bounds, invariances and decisions."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, ttest_1samp
from statsmodels.stats.multitest import multipletests

from benchmark.stats import (
    attack_validity,
    average_rank,
    balanced_iqm,
    clopper_pearson,
    holm,
    iqm,
    iqm_ci,
    normalised_forgetting,
    paired_difference,
    pareto_set,
    rank_interval,
    ratio_interval,
    regression_decision,
    t_interval,
    tost,
)

repeated = settings(max_examples=50, deadline=None, derandomize=True)
seeds = st.integers(0, 10_000)
fractions = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@pytest.mark.parametrize(("count", "half_width"), [(5, 1.24), (10, 0.72), (20, 0.47)])
def test_t_interval_has_the_documented_half_width(count, half_width):
    values = np.arange(count, dtype=float)
    interval = t_interval(values)
    assert (interval["high"] - interval["mean"]) / values.std(ddof=1) == pytest.approx(half_width, abs=0.005)
    assert interval["high"] - interval["mean"] == pytest.approx(interval["mean"] - interval["low"])


@pytest.mark.parametrize("count", [3, 5, 10])
def test_t_interval_covers_the_mean_as_often_as_it_says(count):
    samples = np.random.default_rng(count).normal(size=(2000, count))
    covered = [t_interval(sample)["low"] <= 0 <= t_interval(sample)["high"] for sample in samples]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize(("trials", "rate"), [(10, 0.01), (25, 0.3), (60, 0.9)])
def test_clopper_pearson_never_covers_less_than_it_says(trials, rate):
    intervals = [clopper_pearson(x, trials) for x in range(trials + 1)]
    inside = [low <= rate <= high for low, high in intervals]
    assert binom.pmf(np.arange(trials + 1), trials, rate)[inside].sum() >= 0.95


@given(trials=st.integers(1, 200), share=st.floats(0, 1))
@repeated
def test_clopper_pearson_contains_the_rate_and_mirrors(trials, share):
    successes = int(share * trials)
    low, high = clopper_pearson(successes, trials)
    mirrored = clopper_pearson(trials - successes, trials)
    assert 0 <= low <= successes / trials <= high <= 1
    assert mirrored == pytest.approx([1 - high, 1 - low], abs=1e-12)


def test_an_attack_without_power_is_inconclusive_and_a_reversed_one_too():
    generator = np.random.default_rng(0)
    assert attack_validity(0.7 + 0.01 * generator.normal(size=5))["valid"]
    assert not attack_validity(0.5 + 0.05 * generator.normal(size=5))["valid"]
    assert not attack_validity(0.2 + 0.01 * generator.normal(size=5))["valid"]


@given(seed=seeds)
@repeated
def test_a_paired_difference_is_the_interval_and_test_of_the_differences(seed):
    a, b = np.random.default_rng(seed).normal(size=(2, 6))
    got = paired_difference(a, b, 0.9)
    assert {key: got[key] for key in ("mean", "low", "high")} == t_interval(a - b, 0.9)
    assert got["p_value"] == pytest.approx(ttest_1samp(a - b, 0).pvalue)
    assert paired_difference(b, a)["p_value"] == pytest.approx(got["p_value"])
    assert paired_difference(b, a)["mean"] == pytest.approx(-got["mean"])


@given(seed=seeds)
@repeated
def test_fiellers_interval_holds_the_ratios_that_a_t_test_does_not_refuse(seed):
    generator = np.random.default_rng(seed)
    y = generator.normal(3, 0.3, size=5)
    x = 0.5 * y + generator.normal(size=5)
    got = ratio_interval(x, y)
    assert got["mean"] == pytest.approx(x.mean() / y.mean())
    for end, outside in (("low", -0.01), ("high", 0.01)):
        assert ttest_1samp(x - got[end] * y, 0).pvalue == pytest.approx(0.05)
        assert ttest_1samp(x - (got[end] + outside) * y, 0).pvalue < 0.05


def test_fiellers_interval_covers_a_ratio_as_often_as_it_says_with_five_seeds():
    generator = np.random.default_rng(0)
    shared = generator.normal(0, 0.02, size=(2000, 5))
    y, x = 0.2 + shared + generator.normal(0, 0.02, (2000, 5)), 0.06 + shared + generator.normal(0, 0.02, (2000, 5))
    found = [ratio_interval(*pair) for pair in zip(x, y, strict=True)]
    assert np.mean([one["low"] <= 0.3 <= one["high"] for one in found]) == pytest.approx(0.95, abs=0.015)


def test_equal_numerators_and_denominators_have_a_ratio_of_exactly_one():
    assert ratio_interval([0.1, 0.11, 0.12], [0.1, 0.11, 0.12]) == {"mean": 1.0, "low": 1.0, "high": 1.0}


@pytest.mark.parametrize("denominators", [[1.0, -1.0, 0.5], [0.0, 0.0, 0.0], [1.0, 2.0, 9.0]])
def test_a_ratio_to_what_may_be_nothing_is_refused(denominators):
    with pytest.raises(ValueError, match="cannot be told from 0"):
        ratio_interval([1.0, 2.0, 3.0], denominators)


def test_identical_methods_do_not_differ():
    assert paired_difference([1.5, 2.5, 0.1], [1.5, 2.5, 0.1]) == {
        "mean": 0,
        "low": 0,
        "high": 0,
        "p_value": 1,
    }


@given(p_values=fractions)
@repeated
def test_holm_only_raises_p_values_and_keeps_their_order(p_values):
    adjusted = np.array(holm(p_values)["adjusted"])
    order = np.argsort(p_values, kind="stable")
    assert (adjusted >= np.array(p_values) - 1e-15).all()
    assert adjusted.max() <= 1
    assert (np.diff(adjusted[order]) >= 0).all()


@given(p_values=fractions, seed=seeds)
@repeated
def test_holm_follows_a_permutation_and_is_less_strict_than_bonferroni(p_values, seed):
    order = np.random.default_rng(seed).permutation(len(p_values))
    got = holm(p_values)
    permuted = holm(np.array(p_values)[order])
    np.testing.assert_allclose(permuted["adjusted"], np.array(got["adjusted"])[order])
    assert (np.array(got["adjusted"]) <= np.minimum(1, len(p_values) * np.array(p_values)) + 1e-12).all()


def test_holm_agrees_with_statsmodels():
    p_values = np.random.default_rng(0).uniform(0, 0.05, size=30) ** 1.5
    expected = multipletests(p_values, method="holm")
    got = holm(p_values)
    np.testing.assert_allclose(got["adjusted"], expected[1], rtol=1e-12)
    assert got["reject"] == expected[0].tolist()


@given(seed=seeds, margin=st.floats(0.1, 3.0))
@repeated
def test_tost_is_the_worse_of_two_one_sided_tests_and_blind_to_sign(seed, margin):
    values = np.random.default_rng(seed).normal(0.3, 1, size=7)
    above = ttest_1samp(values, -margin, alternative="greater").pvalue
    below = ttest_1samp(values, margin, alternative="less").pvalue
    assert tost(values, margin)["p_value"] == pytest.approx(max(above, below))
    assert tost(-values, margin)["p_value"] == pytest.approx(max(above, below))


def test_differences_exactly_at_the_margin_are_not_equivalent():
    assert tost([0.1, 0.1, 0.1], margin=0.1) == {"p_value": 1.0, "equivalent": False}


@given(seed=seeds)
@repeated
def test_iqm_is_the_mean_of_the_middle_half_and_shrugs_off_an_outlier(seed):
    scores = np.random.default_rng(seed).normal(size=(4, 5))
    middle = np.sort(scores, axis=None)[5:15]
    assert iqm(scores) == pytest.approx(middle.mean())
    spoiled = scores.copy()
    spoiled[np.unravel_index(scores.argmax(), scores.shape)] = 1e9
    assert iqm(spoiled) == pytest.approx(iqm(scores))
    assert iqm(scores.T) == pytest.approx(iqm(scores))


def test_iqm_interval_depends_on_the_seed_and_on_nothing_else():
    scores = np.random.default_rng(0).normal(size=(5, 4))
    assert iqm_ci(scores, seed=1) == iqm_ci(scores, seed=1)
    assert iqm_ci(scores, seed=1) != iqm_ci(scores, seed=2)


def test_iqm_interval_holds_the_iqm_and_narrows_with_more_runs():
    scores = np.random.default_rng(0).normal(size=(40, 4))
    low, high = iqm_ci(scores)
    few = iqm_ci(scores[:5])
    assert low < iqm(scores) < high
    assert high - low < few[1] - few[0]


def test_iqm_interval_resamples_runs_within_each_task_independently():
    scores = [[0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]]
    counts = np.array([sum(draw) for draw in itertools.product([0, 1], repeat=8)])
    middle = np.clip(counts - 2, 0, 4) / 4
    assert iqm_ci(scores, confidence=0.7, resamples=20000) == np.quantile(middle, [0.15, 0.85]).tolist()


@given(seed=seeds)
@repeated
def test_a_balanced_iqm_is_the_iqm_where_tasks_have_equally_many_runs(seed):
    scores = np.random.default_rng(seed).normal(size=(4, 3))
    got = balanced_iqm(list(scores.T))
    assert got["mean"] == pytest.approx(iqm(scores))
    assert got["low"] <= got["high"]


def test_a_balanced_iqm_weighs_tasks_alike_whatever_their_number_of_runs():
    few, many = [0.0, 1.0], [2.0, 3.0] * 5
    assert balanced_iqm([few, many])["mean"] == pytest.approx(balanced_iqm([few, [2.0, 3.0]])["mean"]) == 1.5
    wide, narrow = balanced_iqm([few, [2.0, 3.0]]), balanced_iqm([few * 5, many])
    assert narrow["high"] - narrow["low"] < wide["high"] - wide["low"]


@given(seed=seeds, direction=st.sampled_from(["max", "min"]))
@repeated
def test_average_ranks_share_out_all_ranks_and_reverse_with_the_direction(seed, direction):
    generator = np.random.default_rng(seed)
    values = generator.integers(0, 4, size=(5, 6)).astype(float)
    nobody = np.zeros((5, 6), bool)
    ranks = average_rank(values, nobody, direction)
    assert ranks.sum() == pytest.approx(6 * 7 / 2)
    assert average_rank(-values, nobody, direction) == pytest.approx(7 - ranks)


def test_failures_share_the_last_ranks_whatever_is_stored():
    values = [[np.nan, 5.0, np.inf, 1.0]]
    assert average_rank(values, [[True, False, True, False]], "min").tolist() == [3.5, 2.0, 3.5, 1.0]


@given(seed=seeds)
@repeated
def test_every_order_that_agrees_with_the_evidence_lies_in_the_rank_intervals(seed):
    generator = np.random.default_rng(seed)
    position = generator.permutation(5)
    better = (position[:, None] < position) & (generator.random((5, 5)) < 0.5)
    for (best, worst), rank in zip(rank_interval(better), position + 1, strict=True):
        assert best <= rank <= worst


def test_an_intransitive_cycle_is_a_contradiction():
    with pytest.raises(ValueError, match="cycle"):
        rank_interval([[0, 1, 0], [0, 0, 1], [1, 0, 0]])


@given(seed=seeds)
@repeated
def test_the_pareto_set_is_undominated_and_dominates_the_rest(seed):
    values = np.random.default_rng(seed).integers(0, 4, size=(9, 3)).astype(float)
    directions = ["min", "max", "min"]
    kept = pareto_set(values, directions)
    cost = values * [1, -1, 1]

    def dominates(i, j):
        return (cost[i] <= cost[j]).all() and (cost[i] < cost[j]).any()

    assert kept == [j for j in range(9) if not any(dominates(i, j) for i in range(9))]
    assert all(any(dominates(i, j) for i in kept) for j in range(9) if j not in kept)


@given(d0=st.floats(0, 1), gap=st.floats(0.1, 5))
@repeated
def test_normalised_forgetting_is_zero_for_a_no_op_and_one_at_the_floor(d0, gap):
    assert normalised_forgetting(d0 + gap, d0 + gap, d0, d0) == pytest.approx(0, abs=1e-12)
    assert normalised_forgetting(d0, d0 + gap, d0, d0) == 1.0
    assert normalised_forgetting(d0 + 2 * gap, d0 + gap, d0, d0) < 0


@pytest.mark.parametrize(
    ("direction", "change", "verdict"),
    [
        ("max", -1.0, "regression"),
        ("max", 1.0, "improvement"),
        ("min", 1.0, "regression"),
        ("min", -1.0, "improvement"),
        ("max", -0.4, "no_change"),
        ("max", 0.4, "no_change"),
    ],
)
def test_a_change_is_reported_only_beyond_the_floor_and_in_its_direction(direction, change, verdict):
    baseline = 90 + 0.01 * np.arange(10)
    decision = regression_decision(baseline, baseline + change, direction, floor=0.5)
    assert decision["verdict"] == verdict
    assert decision["p_value"] < 0.002
    assert decision["effect"] == pytest.approx(-change if direction == "max" else change)


def test_seven_seeds_can_reach_the_level_of_an_alert():
    decision = regression_decision(range(7), range(10, 17), "min", floor=1.0)
    assert decision["p_value"] == pytest.approx(2 / 3432)
    assert decision["verdict"] == "regression"


def test_unchanged_values_have_a_p_value_of_one_even_if_all_are_equal():
    assert regression_decision([2.0] * 8, [2.0] * 8, "max", 0.0) == {
        "p_value": 1.0,
        "effect": 0.0,
        "verdict": "no_change",
    }


def test_tied_values_take_the_corrected_normal_approximation():
    tied = regression_decision([1, 1, 2, 2, 3, 3, 4], [4, 5, 5, 6, 6, 7, 7], "min", 0.0)
    assert 0 < tied["p_value"] < 0.01
    assert tied["effect"] == 3.0
