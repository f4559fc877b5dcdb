"""Attack summaries: exact definitions by enumeration, invariances, null values and coverage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm

from benchmark.metrics import (
    average_precision,
    delong_interval,
    loss,
    mia_auc,
    modified_entropy,
    one_run_epsilon,
    phi,
    roc_on_grid,
    swap_auc,
    tpr_at_fpr,
)

repeated = settings(max_examples=60, deadline=None, derandomize=True)
tied_scores = st.lists(st.integers(-4, 4), min_size=1, max_size=25)
INCREASING = [lambda s: 3.0 * s + 7, np.exp, lambda s: s**3, np.arctan]


@given(members=tied_scores, nonmembers=tied_scores)
@repeated
def test_auc_is_the_share_of_pairs_in_order_with_ties_at_one_half(members, nonmembers):
    gaps = np.subtract.outer(members, nonmembers)
    expected = (gaps > 0).mean() + (gaps == 0).mean() / 2
    assert mia_auc(members, nonmembers) == pytest.approx(expected, abs=1e-12)


@given(members=tied_scores, nonmembers=tied_scores)
@repeated
def test_swapping_members_and_nonmembers_maps_auc_to_its_complement(members, nonmembers):
    assert mia_auc(nonmembers, members) == pytest.approx(1 - mia_auc(members, nonmembers), abs=1e-12)


@pytest.mark.parametrize("increasing", INCREASING)
@given(members=tied_scores, nonmembers=tied_scores)
@repeated
def test_an_increasing_map_of_the_scores_changes_no_summary(increasing, members, nonmembers):
    plain = np.array(members, float), np.array(nonmembers, float)
    mapped = increasing(plain[0]), increasing(plain[1])
    labels = [1] * len(members) + [0] * len(nonmembers)
    assert mia_auc(*mapped) == mia_auc(*plain)
    assert tpr_at_fpr(*mapped, 0.2) == tpr_at_fpr(*plain, 0.2)
    precision, unchanged = (average_precision(labels, np.concatenate(scores)) for scores in (mapped, plain))
    assert precision == unchanged


@given(members=tied_scores, nonmembers=tied_scores, seed=st.integers(0, 1000))
@repeated
def test_the_order_of_the_examples_does_not_matter(members, nonmembers, seed):
    generator = np.random.default_rng(seed)
    shuffled = generator.permutation(members), generator.permutation(nonmembers)
    assert mia_auc(*shuffled) == mia_auc(members, nonmembers)
    assert tpr_at_fpr(*shuffled, 0.3) == tpr_at_fpr(members, nonmembers, 0.3)


def test_loss_and_phi_attacks_agree_exactly_even_where_softmax_saturates():
    generator = np.random.default_rng(0)
    forget, heldout = generator.normal(200, 150, size=300), generator.normal(180, 150, size=300)
    assert mia_auc(-loss(forget), -loss(heldout)) == mia_auc(forget, heldout)


def test_over_forgetting_is_an_auc_of_zero_and_not_of_one():
    heldout = np.random.default_rng(0).normal(3, 1, size=200)
    assert mia_auc(np.full(200, -10.0), heldout) == 0.0


def test_a_label_blind_modified_entropy_would_lose_this_attack():
    logits = np.random.default_rng(1).normal(size=(400, 10))
    right = logits.argmax(axis=1)
    members, nonmembers = (-modified_entropy(logits, labels) for labels in (right, (right + 1) % 10))
    assert mia_auc(members, nonmembers) > 0.99


@given(members=tied_scores, nonmembers=tied_scores, max_fpr=st.sampled_from([0.01, 0.1, 0.25, 0.5, 1.0]))
@repeated
def test_tpr_is_that_of_the_lowest_threshold_with_few_enough_false_positives(members, nonmembers, max_fpr):
    members, nonmembers = np.array(members), np.array(nonmembers)
    thresholds = [np.inf, *sorted({*members, *nonmembers}, reverse=True)]
    admitted = [t for t in thresholds if (nonmembers >= t).mean() <= max_fpr]
    got = tpr_at_fpr(members, nonmembers, max_fpr)
    assert got["tpr"] == pytest.approx((members >= admitted[-1]).mean())
    assert got["fpr"] == pytest.approx((nonmembers >= admitted[-1]).mean())
    assert got["resolved"] == (len(nonmembers) * max_fpr >= 1 - 1e-12)


@given(members=tied_scores, nonmembers=tied_scores)
@repeated
def test_the_curve_on_a_grid_is_the_tpr_rule_at_every_grid_value(members, nonmembers):
    grid = np.array([0.01, 0.1, 0.2, 1 / 3, 0.5, 1.0])
    curve = roc_on_grid(members, nonmembers, grid)
    assert curve.tolist() == [tpr_at_fpr(members, nonmembers, value)["tpr"] for value in grid]
    assert (np.diff(curve) >= 0).all()
    assert curve[-1] == 1.0


def test_the_curve_starts_at_zero_false_positives():
    assert roc_on_grid([3, 1], [2, 0], [0.0]).tolist() == [0.5]


@pytest.mark.parametrize("k", [7, 49, 100, 1000])
def test_one_in_k_is_resolved_by_k_nonmembers_whatever_the_rounding(k):
    assert tpr_at_fpr([k - 1, k - 2.5], np.arange(k), 1 / k) == {"tpr": 0.5, "fpr": 1 / k, "resolved": True}


@given(scores=tied_scores, seed=st.integers(0, 1000))
@repeated
def test_average_precision_sums_recall_steps_over_distinct_scores(scores, seed):
    labels = np.random.default_rng(seed).integers(2, size=len(scores))
    labels[0] = 1
    scores = np.array(scores)
    expected, recall = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        chosen = labels[scores >= threshold]
        expected += (chosen.sum() / labels.sum() - recall) * chosen.mean()
        recall = chosen.sum() / labels.sum()
    assert average_precision(labels, scores) == pytest.approx(expected, abs=1e-12)


def test_delong_agrees_with_a_bootstrap_of_the_examples():
    generator = np.random.default_rng(0)
    members, nonmembers = generator.normal(0.7, 1, size=150), generator.normal(0, 1.5, size=250)
    draws = ((generator.choice(members, 150), generator.choice(nonmembers, 250)) for _ in range(600))
    resampled = [mia_auc(*draw) for draw in draws]
    low, high = delong_interval(members, nonmembers)
    assert high - low == pytest.approx(2 * norm.ppf(0.975) * np.std(resampled), rel=0.1)
    assert (low + high) / 2 == pytest.approx(mia_auc(members, nonmembers))


def test_delong_covers_the_true_auc_about_as_often_as_it_says():
    generator = np.random.default_rng(1)
    samples = ((generator.normal(0.5, 1, 100), generator.normal(0, 1, 80)) for _ in range(500))
    intervals = [delong_interval(*sample, 0.9) for sample in samples]
    truth = norm.cdf(0.5 / np.sqrt(2))
    assert 0.86 < np.mean([low <= truth <= high for low, high in intervals]) < 0.94


def test_delong_half_width_without_signal_is_the_one_planned_for():
    generator = np.random.default_rng(2)
    low, high = delong_interval(generator.normal(size=1000), generator.normal(size=1000))
    assert (high - low) / 2 == pytest.approx(0.025, abs=0.001)


def test_delong_stays_in_the_unit_interval():
    assert delong_interval([3, 4], [1, 2]) == [1.0, 1.0]
    assert delong_interval([1, 4, 5], [0, 2, 3])[1] == 1.0


def test_swapped_arms_cancel_a_difference_in_difficulty():
    generator = np.random.default_rng(0)
    forget, heldout = generator.normal(-0.3, 1, size=2000), generator.normal(0, 1, size=2000)
    noise = generator.normal(0, 0.1, size=(4, 2000))
    biased = mia_auc(forget + noise[0], heldout + noise[1])
    swapped = swap_auc(forget + noise[0], heldout + noise[1], heldout + noise[2], forget + noise[3])
    assert biased < 0.45
    assert swapped == pytest.approx(0.5, abs=0.005)


POWER = [(0.55, 0.09), (0.6, 0.30), (0.7, 0.73), (0.8, 1.25), (0.9, 2.02)]


@pytest.mark.parametrize(("accuracy", "epsilon"), POWER)
def test_one_run_audit_has_the_documented_power(accuracy, epsilon):
    assert one_run_epsilon(1000, 1000, round(1000 * accuracy)) == pytest.approx(epsilon, abs=0.005)


@pytest.mark.parametrize("guesses", [10, 100, 1000])
def test_one_run_audit_rarely_accuses_a_coin(guesses):
    accusing = next(v for v in range(guesses + 1) if one_run_epsilon(guesses, guesses, v, delta=0.0) > 0)
    assert binom.sf(accusing - 1, guesses, 0.5) <= 0.05


def test_one_run_bound_grows_with_right_guesses_and_shrinks_with_delta_and_candidates():
    bounds = [one_run_epsilon(500, 100, v) for v in range(50, 101, 5)]
    assert bounds == sorted(bounds)
    assert one_run_epsilon(500, 100, 80, delta=1e-4) < one_run_epsilon(500, 100, 80, delta=0.0)
    assert one_run_epsilon(5000, 100, 80, delta=1e-4) < one_run_epsilon(500, 100, 80, delta=1e-4)


def test_one_run_bound_is_where_the_p_value_is_reached():
    m, r, v, delta = 300, 120, 90, 1e-4
    epsilon = one_run_epsilon(m, r, v, delta)

    def p_value(epsilon):
        chance = binom(r, 1 / (1 + np.exp(-epsilon)))
        windows = [sum(chance.pmf(np.arange(v - i, v))) / i for i in range(1, v + 1)]
        return chance.sf(v - 1) + 2 * m * delta * max(windows)

    assert p_value(epsilon - 1e-5) < 0.05 < p_value(epsilon + 1e-5)


def test_phi_of_saturated_logits_still_separates_members():
    generator = np.random.default_rng(0)
    top = np.concatenate([generator.uniform(60, 70, 50), generator.uniform(50, 60, 50)])
    margins = phi(np.stack([top, np.zeros(100)], axis=1), np.zeros(100, int))
    assert mia_auc(margins[:50], margins[50:]) == 1.0
