"""Population attacks and divergences: enumeration, closed forms, null values and the known traps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy, norm

from benchmark.metrics import (
    competition_forgetting_quality,
    klom,
    klom0,
    lira_score,
    mia_auc,
    rmia,
    u_lira,
)
from benchmark.metrics.population import _threshold_errors

repeated = settings(max_examples=40, deadline=None, derandomize=True)
seeds = st.integers(0, 10_000)


@given(seed=seeds)
@repeated
def test_unshrunk_lira_is_a_difference_of_normal_log_densities(seed):
    generator = np.random.default_rng(seed)
    target, seen, unseen = (generator.normal(size=shape) for shape in [7, (5, 7), (4, 7)])
    fits = [(side.mean(axis=0), side.std(axis=0, ddof=1)) for side in (seen, unseen)]
    expected = norm.logpdf(target, *fits[0]) - norm.logpdf(target, *fits[1])
    got = lira_score(target, seen, unseen, "per_side", 0)
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("variance", ["shared", "per_side"])
@given(seed=seeds)
@repeated
def test_lira_ignores_the_order_of_the_models(variance, seed):
    generator = np.random.default_rng(seed)
    target, seen, unseen = (generator.normal(size=shape) for shape in [3, (5, 3), (4, 3)])
    reordered = lira_score(target, generator.permutation(seen), generator.permutation(unseen), variance)
    np.testing.assert_allclose(reordered, lira_score(target, seen, unseen, variance), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("variance", ["shared", "per_side"])
def test_models_that_do_not_differ_are_an_error_even_when_their_mean_is_rounded(variance):
    tenths = np.full((3, 1), 0.1)
    with pytest.raises(ValueError, match="variance of 0"):
        lira_score([0.1], tenths, 3 * tenths, variance)


def test_only_per_side_variances_see_a_collapsed_width():
    generator = np.random.default_rng(0)
    examples = 3000
    seen, unseen = generator.normal(0, 0.5, size=(16, examples)), generator.normal(size=(16, examples))
    members, nonmembers = generator.normal(0, 0.5, size=examples), generator.normal(size=examples)
    auc = {
        variance: mia_auc(*(lira_score(side, seen, unseen, variance) for side in (members, nonmembers)))
        for variance in ("shared", "per_side")
    }
    assert auc["shared"] == pytest.approx(0.51, abs=0.02)
    assert auc["per_side"] > 0.65


def complementary_pairs(pairs, examples, shift, seed):
    """Models 2j and 2j + 1 unlearn complementary halves; unlearned margins are shifted by `shift` sds."""
    generator = np.random.default_rng(seed)
    first = generator.integers(2, size=(pairs, examples))
    role = np.stack([first, 1 - first], axis=1).reshape(2 * pairs, examples)
    phi = generator.normal(size=role.shape) + shift * role
    return phi, role, np.repeat(np.arange(pairs), 2)


@pytest.mark.parametrize("pairs", [4, 8, 16, 32])
def test_u_lira_of_perfect_unlearning_is_one_half_with_complementary_pairs(pairs):
    phi, role, group = complementary_pairs(pairs, examples=12000 // pairs, shift=0.0, seed=pairs)
    attack = u_lira(phi, role, group)
    assert attack["auc"] == pytest.approx(0.5, abs=0.01)
    assert attack["balanced_accuracy"] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(("pairs", "auc"), [(4, 0.605), (8, 0.648), (16, 0.670), (32, 0.681)])
def test_u_lira_of_a_shift_approaches_the_closed_form_from_below(pairs, auc):
    phi, role, group = complementary_pairs(pairs, examples=24000 // pairs, shift=0.7, seed=pairs)
    got = u_lira(phi, role, group)["auc"]
    assert got == pytest.approx(auc, abs=0.012)
    assert got < norm.cdf(0.7 / np.sqrt(2))


@pytest.mark.parametrize(("models", "claimed"), [(4, 0.78), (8, 0.68), (16, 0.63), (32, 0.59)])
def test_scoring_the_fitted_models_would_claim_a_leak_where_there_is_none(models, claimed):
    phi = np.random.default_rng(models).normal(size=(2 * models, 500))
    reused = np.array([lira_score(margins, phi[:models], phi[models:], "per_side", 0) for margins in phi])
    assert mia_auc(reused[:models].ravel(), reused[models:].ravel()) == pytest.approx(claimed, abs=0.02)
    role = np.repeat([[1], [0]], models, axis=0) * np.ones(phi.shape, int)
    honest = u_lira(phi, role, np.tile(np.arange(models), 2), "per_side", 0)
    assert honest["auc"] == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("variance", ["shared", "per_side"])
def test_u_lira_scores_each_model_by_fits_without_its_group(variance):
    generator = np.random.default_rng(0)
    role = np.repeat([[1], [0]], 6, axis=0) * np.ones((12, 5), int)
    group, phi = np.tile(np.arange(3), 4), generator.normal(size=(12, 5))
    attack = u_lira(phi, role, group, variance, 3.0)
    for model in range(12):
        kept = group != group[model]
        seen, unseen = (phi[kept & (role[:, 0] == side)] for side in (1, 0))
        expected = lira_score(phi[model], seen, unseen, variance, 3.0)
        np.testing.assert_allclose(attack["llr"][model], expected, rtol=1e-9, atol=1e-12)


def test_u_lira_neither_reads_nor_scores_unused_cells():
    phi, role, group = complementary_pairs(6, examples=20, shift=1.0, seed=0)
    plain = u_lira(phi, role, group)
    unused = np.array([[np.nan], [np.inf]]) * np.ones((2, 20))
    roles = np.vstack([role, np.full((2, 20), -1)])
    extended = u_lira(np.vstack([phi, unused]), roles, np.append(group, [0, 9]))
    assert extended["auc"] == plain["auc"]
    np.testing.assert_array_equal(extended["llr"][:-2], plain["llr"])
    assert np.isnan(extended["llr"][-2:]).all()


def test_equal_sides_are_no_evidence_in_whatever_order_the_models_come():
    values = np.random.default_rng(0).normal(size=(10, 1)) * np.ones((10, 4))
    values = np.vstack([values, values[::-1]])
    role = np.repeat([[1], [0]], 10, axis=0) * np.ones((20, 4), int)
    group = np.concatenate([np.arange(10), np.arange(10)[::-1]])
    attack = u_lira(values, role, group)
    assert (attack["llr"] == 0).all()
    assert attack["auc"] == 0.5
    assert attack["balanced_accuracy"] == 0.5


@given(seed=seeds, a=st.sampled_from([0.0, 0.3, 1.0]), gamma=st.sampled_from([0.5, 1.0, 2.0]))
@repeated
def test_rmia_counts_the_population_points_it_strictly_dominates(seed, a, gamma):
    generator = np.random.default_rng(seed)
    shapes = [6, (3, 6), 15, (3, 15)]
    target_x, ref_x, target_z, ref_z = (generator.integers(1, 9, size=shape) / 8 for shape in shapes)
    ratio_x = target_x / (((1 + a) * ref_x.mean(axis=0) + 1 - a) / 2)
    ratio_z = target_z / (((1 + a) * ref_z.mean(axis=0) + 1 - a) / 2)
    expected = (ratio_x[:, None] - gamma * ratio_z > 1e-12).mean(axis=1)
    np.testing.assert_allclose(rmia(target_x, ref_x, target_z, ref_z, a, gamma), expected, atol=1e-12)


def test_rmia_ties_do_not_count_even_when_their_ratios_round_differently():
    assert rmia([0.3], [[0.1]], [0.6, 0.9], [[0.2, 0.3]], a=1.0).tolist() == [0.0]


def klom_by_numpy_histogram(u, v, bins=20, clip=100.0, floor=1e-5):
    u, v = np.clip(u, -clip, clip), np.clip(v, -clip, clip)
    edges = np.linspace(min(u.min(), v.min()), max(u.max(), v.max()), bins + 1)
    if edges[0] == edges[-1]:
        return 0.0
    p, q = np.histogram(u, edges)[0] / len(u), np.histogram(v, edges)[0] / len(v)
    return entropy(p, np.where(p > 0, np.maximum(q, floor), q))


@given(seed=seeds, scale=st.sampled_from([0.1, 1.0, 60.0]), decimals=st.sampled_from([0, 1, 15]))
@repeated
def test_klom_is_numpys_histogram_and_scipys_entropy_per_example(seed, scale, decimals):
    generator = np.random.default_rng(seed)
    u, v = scale * generator.normal(size=(12, 5)), scale * generator.normal(size=(9, 5))
    u, v = np.round(u, decimals), np.round(v, decimals)
    expected = [klom_by_numpy_histogram(a, b) for a, b in zip(u.T, v.T, strict=True)]
    np.testing.assert_allclose(klom(u, v), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("models", "mean"), [(20, 3.0), (50, 0.90), (100, 0.36), (200, 0.15)])
def test_klom_of_perfect_unlearning_is_the_documented_bias(models, mean):
    u, v = np.random.default_rng(models).normal(size=(2, models, 3000))
    assert klom(u, v).mean() == pytest.approx(mean, rel=0.08)


def test_doubling_the_models_more_than_halves_the_klom_null():
    generator = np.random.default_rng(1)
    null = [klom(*generator.normal(size=(2, models, 1000))).mean() for models in (50, 100, 200)]
    assert null[1] < null[0] / 2
    assert null[2] < null[1] / 2


def test_klom_counts_the_points_on_both_outer_edges():
    u = np.array([[-100.0]] * 4 + [[100.0]] * 6)
    assert klom(u, u)[0] == 0.0
    half = np.array([[-100.0]] * 5 + [[100.0]] * 5)
    assert klom(u, half)[0] == pytest.approx(0.4 * np.log(0.8) + 0.6 * np.log(1.2))


def test_klom_is_directed_from_unlearned_to_retrained():
    narrow, wide = np.zeros((6, 1)), np.array([[0.0]] * 3 + [[20.0]] * 3)
    assert klom(narrow, wide)[0] == pytest.approx(np.log(2))
    assert klom(wide, narrow)[0] > 4


@pytest.mark.parametrize(("models", "deviation"), [(50, 0.51), (100, 0.22), (200, 0.08)])
def test_klom0_of_perfect_unlearning_averages_zero(models, deviation):
    u, a, b = np.random.default_rng(models).normal(size=(3, models, 3000))
    null = klom0(u, a, b)
    assert abs(null.mean()) < 4 * deviation / np.sqrt(3000)
    assert null.std() == pytest.approx(deviation, rel=0.15)


def epsilon_on_the_whole_grid(u, v, delta):
    """The competition's epsilon with every rule of both families evaluated by broadcasting."""
    ranges = sorted([np.ptp(u), np.ptp(v)])
    if ranges[0] / ranges[1] < 0.01:
        return 50.0
    positive, negative = (v, u) if np.median(v) > np.median(u) else (u, v)
    pooled = np.concatenate([u, v])
    points = np.linspace(pooled.min(), pooled.max(), int(np.ceil(100 * np.ptp(pooled))))
    rates = [((negative[:, None] >= points).mean(0), (positive[:, None] < points).mean(0))]
    peaky = positive if np.ptp(positive) < np.ptp(negative) else negative
    right = np.repeat(np.linspace(peaky.max() - 2, peaky.max() + 2, 400), 400)
    left = np.linspace(right[::400] - np.ptp(peaky) - 2, right[::400] - np.ptp(peaky) + 2, 400).T.ravel()
    in_negative, in_positive = ((s[:, None] >= left) & (s[:, None] <= right) for s in (negative, positive))
    negative_in, positive_in = in_negative.mean(axis=0), in_positive.mean(axis=0)
    rates.append((negative_in, 1 - positive_in) if peaky is positive else (1 - negative_in, positive_in))
    fpr, fnr = np.round(np.concatenate(rates, axis=1), 12)
    if ((fpr == 0) & (fnr == 0)).any():
        return 50.0
    kept = (fpr > 0) & (fnr > 0)
    fpr, fnr = fpr[kept], fnr[kept]
    with np.errstate(invalid="ignore", divide="ignore"):
        both = [np.log((1 - delta - fpr) / fnr), np.log((1 - delta - fnr) / fpr)]
    return float(np.clip(np.nanmax(both), 0, 50))


@given(seed=seeds, shift=st.sampled_from([0.0, 0.5, 2.0]), width=st.sampled_from([0.3, 1.0, 2.0]))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_competition_epsilon_is_the_best_rule_of_the_whole_grid(seed, shift, width):
    generator = np.random.default_rng(seed)
    u, v = width * generator.normal(size=(11, 1)) + shift, generator.normal(size=(11, 1))
    got = competition_forgetting_quality(u, v)["epsilon"][0]
    assert got == pytest.approx(epsilon_on_the_whole_grid(u[:, 0], v[:, 0], 1e-5), abs=1e-9)


@given(seed=seeds)
@repeated
def test_the_visited_thresholds_decide_everything_that_the_whole_grid_decides(seed):
    generator = np.random.default_rng(seed)
    grid = np.linspace(-1.3, 2.4, 370)
    positive, negative = (np.sort(generator.choice(grid[1:-1], size=30)) for _ in range(2))
    positive[-1], negative[0] = grid[-1], grid[0]
    by_grid = {((negative >= t).sum(), (positive < t).sum()) for t in grid}
    assert {tuple(errors) for errors in _threshold_errors(positive, negative).T} == by_grid


@pytest.mark.parametrize("offset", [0.0, 0.3])  # 0.3 rounds grid points away from the values on them
def test_of_two_equally_wide_samples_the_lower_one_is_surrounded(offset):
    low, high = np.array([0, 2, 5, 6, 7, 7, 7, 8]) + offset, np.array([3, 4, 4, 6, 7, 8, 8, 11]) + offset
    quality = competition_forgetting_quality(low[:, None], high[:, None])
    assert quality["epsilon"] == pytest.approx([np.log((1 - 1e-5 - 3 / 4) / (1 / 8))], abs=1e-9)


@given(seed=seeds, offset=st.floats(-50, 50))
@repeated
def test_an_offset_changes_no_competition_epsilon_even_on_grid_points(seed, offset):
    u, v = np.random.default_rng(seed).integers(0, 9, size=(2, 8, 1))
    plain = competition_forgetting_quality(u, v + 3)
    moved = competition_forgetting_quality(u + offset, v + 3 + offset)
    np.testing.assert_allclose(moved["epsilon"], plain["epsilon"], rtol=1e-9)


@pytest.mark.parametrize("models", [32, 128, 512])
def test_a_perfect_unlearner_scores_about_a_fifth_in_the_competition(models):
    generator = np.random.default_rng(models)
    quality = competition_forgetting_quality(*generator.normal(size=(2, models, 120)))
    assert quality["score"] == pytest.approx(0.19, abs=0.04)
    assert quality["epsilon"].mean() == pytest.approx(1.6, abs=0.25)


def test_competition_score_is_symmetric_in_who_is_called_unlearned():
    u, v = np.random.default_rng(0).normal(size=(2, 20, 10))
    forward, backward = competition_forgetting_quality(u, v + 1), competition_forgetting_quality(v + 1, u)
    np.testing.assert_allclose(forward["epsilon"], backward["epsilon"])


def test_diverged_margins_cost_no_memory_and_score_zero():
    generator = np.random.default_rng(0)
    u, v = 1e12 * generator.normal(1, 0.1, size=(10, 2)), 1e12 * generator.normal(-1, 0.1, size=(10, 2))
    assert competition_forgetting_quality(u, v) == {"epsilon": pytest.approx([50.0, 50.0]), "score": 0.0}


def test_an_example_on_which_no_rule_is_left_is_an_error():
    constant = np.ones((4, 1))
    with pytest.raises(ValueError, match="example 0"):
        competition_forgetting_quality(constant, constant)
