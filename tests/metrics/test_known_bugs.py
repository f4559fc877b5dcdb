"""Defects of released code, each written out beside our function on a case where it gives a wrong answer.

The right answer is stated from the definition, so that the test fails if our function had the defect.
"""

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.special import expit, log_softmax, softmax
from scipy.stats import binom, norm, ttest_ind
from scipy.stats import energy_distance as scipy_energy
from sklearn.metrics import auc as trapezoid
from sklearn.metrics import precision_recall_curve, roc_curve

from benchmark.metrics import (
    average_gap,
    average_precision,
    cka,
    competition_forgetting_quality,
    encodermi_t,
    energy_distance,
    entropy,
    js_divergence,
    klom,
    klom0,
    lira_score,
    loss,
    mia_auc,
    modified_entropy,
    one_run_epsilon,
    phi,
    rmia,
    roc_on_grid,
    speedup,
    svc_mia_efficacy,
    swap_auc,
    tow,
    tpr_at_fpr,
    u_lira,
    weighted_knn,
)
from benchmark.stats import (
    attack_validity,
    average_rank,
    clopper_pearson,
    holm,
    iqm,
    iqm_ci,
    normalised_forgetting,
    paired_difference,
    pareto_set,
    t_interval,
    tost,
)

P = np.array([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.1, 0.3, 0.6]])
LABELS = np.array([0, 1, 2])
MENTR = [-0.3 * np.log(0.7) - 0.2 * np.log(0.8) - 0.1 * np.log(0.9)]
MENTR += [-0.7 * np.log(0.3) - 0.5 * np.log(0.5) - 0.2 * np.log(0.8)]
MENTR += [-0.4 * np.log(0.6) - 0.1 * np.log(0.9) - 0.3 * np.log(0.7)]


def test_modified_entropy_reverses_the_label_of_each_row_and_not_whole_columns():
    def overwriting_columns(p, labels):
        weight, log = p.copy(), np.log1p(-p)
        weight[:, labels], log[:, labels] = 1 - p[:, labels], np.log(p[:, labels])
        return -(weight * log).sum(axis=1)

    assert modified_entropy(np.log(P), LABELS) == pytest.approx(MENTR, rel=1e-12)
    assert overwriting_columns(P[:1], LABELS[:1]) == pytest.approx(MENTR[:1])
    assert (np.abs(overwriting_columns(P, LABELS) - MENTR) > 0.2).all()


def test_modified_entropy_takes_the_logarithm_of_one_minus_p_for_the_other_classes():
    def one_logarithm_for_all(p, labels):
        weight, rows = p.copy(), np.arange(len(labels))
        weight[rows, labels] = 1 - p[rows, labels]
        return -(weight * np.log(p)).sum(axis=1)

    assert modified_entropy(np.log(P), LABELS) == pytest.approx(MENTR, rel=1e-12)
    assert (one_logarithm_for_all(P, LABELS) > 1.2 * np.array(MENTR)).all()


def test_phi_is_neither_clipped_nor_computed_from_saturated_probabilities():
    def from_clipped(logits, labels):
        p = np.clip(softmax(logits, axis=1)[np.arange(len(labels)), labels], 1e-6, 1 - 1e-6)
        return np.log(p / (1 - p))

    logits, labels = np.array([[20.0, 0.0], [30.0, 0.0], [0.0, 50.0]]), [0, 0, 0]
    assert phi(logits, labels).tolist() == [20.0, 30.0, -50.0]
    assert from_clipped(logits, labels) == pytest.approx([13.8, 13.8, -13.8], abs=0.02)


def test_phi_weighs_all_other_classes_and_not_the_largest_alone():
    logits = np.log(P[:2])
    gap_to_runner_up = [np.log(0.7 / 0.2), np.log(0.3 / 0.5)]
    assert phi(logits, [0, 1]) == pytest.approx([np.log(0.7 / 0.3), np.log(0.3 / 0.7)], rel=1e-12)
    assert (np.abs(phi(logits, [0, 1]) - gap_to_runner_up) > 0.3).all()


def test_loss_keeps_apart_examples_that_log_softmax_rounds_to_zero():
    logits = np.stack([np.linspace(80, 41, 40), np.zeros(40)], axis=1)
    saturated = log_softmax(logits, axis=1)[:, 0]
    assert mia_auc(saturated[:20], saturated[20:]) == 0.5
    scores = -loss(phi(logits, np.zeros(40, int)))
    assert mia_auc(scores[:20], scores[20:]) == 1.0


def test_entropy_is_in_nats_and_survives_large_logits():
    with np.errstate(over="ignore", invalid="ignore"):
        unshifted = np.exp([[1000.0, 1000.0, 0.0]]) / np.exp([[1000.0, 1000.0, 0.0]]).sum()
    assert np.isnan(unshifted).any()
    assert entropy([[1000.0, 1000.0, 0.0]]) == pytest.approx([np.log(2)], rel=1e-12)  # 1 in bits


def batch_mean_of_kl(p, q):
    """`kl_div` with reduction "mean" as released: over examples *and* classes, from the middle to p."""
    middle = (p + q) / 2
    return (middle * np.log(middle / p)).mean() / 2 + (middle * np.log(middle / q)).mean() / 2


def test_js_sums_over_classes_and_runs_from_p_to_the_middle():
    p, q = np.array([[0.97, 0.01, 0.01, 0.01]]), np.array([[0.01, 0.97, 0.01, 0.01]])
    right = 0.97 * np.log(0.97 / 0.49) + 0.01 * np.log(0.01 / 0.49)
    assert js_divergence(p, q) == pytest.approx(right, rel=1e-12)
    assert batch_mean_of_kl(p, q) < 0.7 * right
    reversed_sum = 4 * batch_mean_of_kl(p, q)
    assert reversed_sum > 2 * right


def test_js_is_not_its_square_root_and_not_in_bits():
    p, q = np.array([[1.0, 0.0], [0.5, 0.5]]), np.array([[0.0, 1.0], [0.5, 0.5]])
    assert js_divergence(p, q) == pytest.approx(np.log(2) / 2, rel=1e-12)
    assert jensenshannon(p, q, axis=1).mean() == pytest.approx(0.416, abs=0.001)
    assert (jensenshannon(p, q, base=2, axis=1) ** 2).mean() == 0.5


def test_logits_are_no_probabilities():
    with pytest.raises(ValueError, match="js_divergence"):
        js_divergence([[2.0, -1.0]], [[0.5, 0.5]])
    with pytest.raises(ValueError, match="rmia"):
        rmia([3.0], [[0.5]], [0.5], [[0.5]], a=0.3)


def test_auc_is_not_folded_so_that_over_forgetting_shows():
    forget, heldout = [0.1, 0.2, 0.6], [0.5, 0.7, 0.9]
    folded = max(mia_auc(forget, heldout), 1 - mia_auc(forget, heldout))
    assert mia_auc(forget, heldout) == pytest.approx(1 / 9)
    assert folded == pytest.approx(8 / 9)


def test_a_reversed_attack_is_not_valid_as_a_folded_one_would_be():
    reversed_auc = np.array([0.30, 0.31, 0.29])
    assert t_interval(np.maximum(reversed_auc, 1 - reversed_auc))["low"] > 0.5
    assert not attack_validity(reversed_auc)["valid"]


def test_an_attack_at_chance_on_the_original_says_nothing_about_forgetting():
    before, after = np.array([0.51, 0.49, 0.50, 0.52, 0.48]), 0.5
    assert abs(after - 0.5) < 0.05  # reads as "forgotten" without the gate
    assert not attack_validity(before)["valid"]


def test_swapped_arms_average_two_aucs_and_do_not_pool_the_scores_of_two_models():
    a_forget, a_heldout = np.array([1.0, 3.0]), np.array([0.0, 2.0])
    b_forget, b_heldout = a_forget + 10, a_heldout + 10
    pooled = mia_auc([*a_forget, *b_forget], [*a_heldout, *b_heldout])
    assert swap_auc(a_forget, a_heldout, b_forget, b_heldout) == 0.75
    assert pooled == 0.625


CURVE = (np.array([9.0, 7.0, 5.0, 5.0]), np.array([8.0, 6.0, 5.0, 1.0, 0.5]))
"""FPR 0, .2, .4, .6 with TPR .25, .5, .5, 1."""


def test_tpr_is_taken_at_or_below_the_target_and_not_at_the_closest_or_next_point():
    fpr, tpr, _ = roc_curve([1] * 4 + [0] * 5, np.concatenate(CURVE), drop_intermediate=False)
    closest, first_above = tpr[np.abs(fpr - 0.55).argmin()], tpr[np.argmax(fpr >= 0.55)]
    assert tpr_at_fpr(*CURVE, 0.55)["tpr"] == 0.5
    assert tpr_at_fpr(*CURVE, 0.55)["fpr"] == 0.4
    assert closest == first_above == 1.0


def test_tpr_is_not_interpolated():
    fpr, tpr, _ = roc_curve([1] * 4 + [0] * 5, np.concatenate(CURVE), drop_intermediate=False)
    assert np.interp(0.5, fpr, tpr) == pytest.approx(0.75)
    assert tpr_at_fpr(*CURVE, 0.5)["tpr"] == 0.5
    assert roc_on_grid(*CURVE, [0.1, 0.5]).tolist() == [0.25, 0.5]


def test_tpr_keeps_the_points_of_the_curve_that_plotting_drops():
    scores = [5.0, 4.0, 3.0, 2.0, 1.0]
    fpr, tpr, _ = roc_curve([1] * 5 + [0] * 5, scores * 2, drop_intermediate=True)
    assert tpr[np.searchsorted(fpr, 0.7, side="right") - 1] < 0.3
    assert tpr_at_fpr(scores, scores, 0.7) == {"tpr": 0.6, "fpr": 0.6, "resolved": True}


def test_a_rate_of_zero_successes_is_uncertain_where_wald_is_sure():
    wald = 1.96 * np.sqrt(0.0 * 1.0 / 10)
    low, high = clopper_pearson(0, 10)
    assert wald == 0.0
    assert (low, high) == (0.0, pytest.approx(1 - 0.025**0.1, rel=1e-12))


def test_average_precision_is_no_trapezoid_under_the_curve():
    labels, scores = [1, 0, 0, 1], [0.9, 0.8, 0.7, 0.6]
    precision, recall, _ = precision_recall_curve(labels, scores)
    assert average_precision(labels, scores) == pytest.approx(0.5 * 1 + 0.5 * 0.5)
    assert trapezoid(recall, precision) == pytest.approx(0.5 + 0.5 * (1 / 3 + 1 / 2) / 2)


def test_average_precision_does_not_reward_the_order_in_which_ties_are_stored():
    def by_position(labels, scores):
        sorted_labels = np.array(labels)[np.argsort(-np.array(scores), kind="stable")]
        return (np.cumsum(sorted_labels) / np.arange(1, len(labels) + 1))[sorted_labels == 1].mean()

    assert by_position([1, 1, 0, 0], [5.0] * 4) == 1.0
    assert average_precision([1, 1, 0, 0], [5.0] * 4) == 0.5


def test_the_delta_term_of_the_one_run_audit_counts_all_candidates_and_not_the_guesses():
    def p_value(epsilon, factor, r=100, v=80, delta=1e-4):
        chance = binom(r, expit(epsilon))
        worst = max((chance.cdf(v - 1) - chance.cdf(v - 1 - i)) / i for i in range(1, v + 1))
        return chance.sf(v - 1) + 2 * factor * delta * worst

    epsilon = one_run_epsilon(5000, 100, 80, delta=1e-4)
    assert p_value(epsilon, 5000) == pytest.approx(0.05, rel=1e-4)
    assert p_value(epsilon, 100) < 0.025  # taking r for m reports a larger epsilon than was shown


def test_choosing_the_number_of_guesses_on_the_reported_data_accuses_innocent_models():
    generator = np.random.default_rng(0)
    right = np.cumsum(generator.integers(2, size=(400, 500)), axis=1)  # most confident guess first
    fixed = [one_run_epsilon(500, 100, int(row[99]), delta=0.0) > 0 for row in right]
    chosen = [any(one_run_epsilon(500, r, int(row[r - 1]), delta=0.0) > 0 for r in range(20, 501, 20)) for row in right]
    error = np.sqrt(0.05 * 0.95 / 400)
    assert np.mean(fixed) < 0.05 + 4 * error
    assert np.mean(chosen) > 0.05 + 4 * error


def test_energy_distance_is_neither_biased_upwards_nor_square_rooted():
    u, v = np.array([0.0, 1.0, 3.0]), np.array([0.0, 2.0])
    cross, within_u, within_v = (0 + 2 + 1 + 1 + 3 + 1) / 6, (1 + 3 + 2) / 3, 2.0
    right = 2 * cross - within_u - within_v
    biased = 2 * cross - within_u * 2 / 3 - within_v / 2
    assert energy_distance(u[:, None], v[:, None], normalise=False, paired=False) == pytest.approx([right])
    assert right < 0 < biased
    assert scipy_energy(u, v) == pytest.approx(np.sqrt(biased))


def test_paired_samples_do_not_compare_a_unit_with_itself():
    generator = np.random.default_rng(0)
    shared, own = generator.normal(size=(100, 400)), generator.normal(size=(2, 100, 400))
    u, v = np.sqrt(0.92) * shared + np.sqrt(0.08) * own
    right = energy_distance(u, v, normalise=False, paired=True)
    with_diagonal = energy_distance(u, v, normalise=False, paired=False)
    assert abs(right.mean()) < 4 * right.std() / np.sqrt(400)
    assert with_diagonal.mean() < -4 * with_diagonal.std() / np.sqrt(400)


def test_the_retrained_spread_and_not_the_pooled_one_normalises():
    u, v = np.array([[-0.1], [0.1]]), np.array([[-10.0], [10.0]])
    plain = energy_distance(u, v, normalise=False, paired=False)
    assert energy_distance(u, v, normalise=True, paired=False) == pytest.approx(plain / np.std(v, ddof=1))
    assert np.std(np.concatenate([u, v]), ddof=1) < 0.9 * np.std(v, ddof=1)


def test_cka_is_centred_so_that_large_means_do_not_look_alike():
    x, y = np.array([[100.0], [101.0], [102.0]]), np.array([[100.0], [98.0], [100.0]])
    uncentred = (y.T @ x).item() ** 2 / ((x.T @ x).item() * (y.T @ y).item())
    assert uncentred > 0.999
    assert cka(x, y, debiased=False) == pytest.approx(0.0, abs=1e-12)


def test_debiased_cka_leaves_the_diagonal_out():
    x, y = np.random.default_rng(0).normal(size=(2, 30, 60))
    assert cka(x, y, debiased=False) > 0.6
    assert abs(cka(x, y, debiased=True)) < 0.1


def test_neighbour_votes_do_not_overflow_at_a_small_temperature():
    bank, labels = np.array([[1.0, 0.0], [0.6, 0.8]]), np.array([1, 0])
    with np.errstate(over="ignore"):
        votes = np.exp(bank @ [1.0, 0.0] / 1e-4)
    assert np.isinf(votes).all()  # a tie of infinities, which argmax gives to class 0
    assert weighted_knn(bank, labels, [[1.0, 0.0]], num_classes=2, k=2, temperature=1e-4).tolist() == [1]


def test_long_features_are_not_near_ones():
    bank, labels, query = np.array([[1.0, 0.0], [30.0, 40.0]]), [0, 1], np.array([1.0, 0.1])
    assert np.argmax(bank @ query) == 1
    assert weighted_knn(bank, labels, query[None], num_classes=2, k=1).tolist() == [0]


def test_encodermi_leaves_out_a_view_with_itself_and_uses_cosines():
    features = np.array([[[3.0, 0.0], [0.0, 1.0], [0.0, 2.0]]])
    gram = features[0] @ features[0].T
    unit = features[0] / np.linalg.norm(features[0], axis=1, keepdims=True)
    assert encodermi_t(features) == pytest.approx([1 / 3], rel=1e-12)
    assert (unit @ unit.T).mean() == pytest.approx(5 / 9)
    assert gram[np.triu_indices(3, k=1)].mean() == pytest.approx(2 / 3)


def test_speedup_is_not_the_arithmetic_mean_of_ratios_and_counts_precomputation():
    retrain, unlearn = np.array([[100.0, 100.0, 900.0]] * 2), np.array([[10.0], [1000.0]])
    assert speedup(retrain, unlearn, [0.0, 0.0]) == pytest.approx(1.0, rel=1e-12)
    assert (100 / unlearn).mean() > 5
    assert retrain.mean() > 300  # one slow repeat; the median does not see it
    assert speedup(retrain, unlearn, [90.0, 9000.0]) == pytest.approx(0.1, rel=1e-12)


def test_lira_takes_the_width_of_each_side_from_its_own_models():
    seen, unseen = np.array([[-1.0], [1.0]]), np.array([[-4.0], [4.0]])
    right = norm.logpdf(3.0, 0, np.sqrt(2)) - norm.logpdf(3.0, 0, np.sqrt(32))
    assert lira_score([3.0], seen, unseen, "per_side", 0) == pytest.approx([right])
    assert right < -0.5  # with the in-side's width for both it is 0


def test_lira_centres_on_means_with_unbiased_variances():
    seen, unseen = np.array([[0.0], [0.0], [6.0]]), np.array([[-1.0], [0.0], [1.0]])
    widths = seen.var(ddof=1), unseen.var(ddof=1)
    right = norm.logpdf(2.5, 2, widths[0] ** 0.5) - norm.logpdf(2.5, 0, widths[1] ** 0.5)
    with_medians = norm.logpdf(2.5, 0, widths[0] ** 0.5) - norm.logpdf(2.5, 0, widths[1] ** 0.5)
    with_ddof_0 = norm.logpdf(2.5, 2, seen.std()) - norm.logpdf(2.5, 0, unseen.std())
    assert lira_score([2.5], seen, unseen, "per_side", 0) == pytest.approx([right])
    assert min(abs(right - with_medians), abs(right - with_ddof_0)) > 0.03


def test_a_global_variance_is_that_of_the_models_and_not_of_the_examples():
    difficulty = np.array([-50.0, 50.0])
    seen, unseen = np.array([[1.0, 1.0], [3.0, 3.0]]), np.array([[-1.0, -1.0], [1.0, 1.0]])
    score = lira_score(2 + difficulty, seen + difficulty, unseen + difficulty, "shared", 1e9)
    assert score == pytest.approx([1.0, 1.0], rel=1e-6)
    between_examples = np.std([seen + difficulty, unseen + difficulty])
    assert 2 / between_examples**2 < 0.001


def test_u_lira_does_not_score_the_models_it_was_fitted_to():
    values = np.array([[3.0], [1.0], [-2.0], [-4.0], [-6.0], [0.0]])
    role, group = np.repeat([[1], [0]], 3, axis=0), np.tile(np.arange(3), 2)
    reused = [lira_score(value, values[:3], values[3:], "shared", 0)[0] for value in values]
    right = [
        lira_score(values[i], *(values[[j for j in range(s, s + 3) if j % 3 != i % 3]] for s in (0, 3)), "shared", 0)[0]
        for i in range(6)
    ]
    got = u_lira(values, role, group, "shared", 0)
    assert got["llr"][:, 0] == pytest.approx(right)
    assert got["auc"] == pytest.approx(4 / 9)
    assert mia_auc(reused[:3], reused[3:]) == pytest.approx(8 / 9)


def test_leaving_out_single_models_with_random_roles_hides_a_leak_that_pairs_do_not():
    generator = np.random.default_rng(0)
    margins = generator.normal(size=(8, 4000))
    first = generator.integers(2, size=(4, 4000))
    pairs = np.stack([first, 1 - first], axis=1).reshape(8, 4000)
    random = pairs[generator.permuted(np.tile(np.arange(8)[:, None], 4000), axis=0), np.arange(4000)]
    error = np.sqrt(1 / 12 * (1 / 16000 + 1 / 16000))
    assert abs(u_lira(margins, pairs, np.repeat(np.arange(4), 2))["auc"] - 0.5) < 4 * error
    assert u_lira(margins, random, np.arange(8))["auc"] < 0.5 - 4 * error


def test_correctness_is_no_signal_for_u_lira_and_its_zero_variance_is_refused():
    generator = np.random.default_rng(0)
    role, group = np.repeat([[1], [0]], 8, axis=0) * np.ones((16, 50), int), np.tile(np.arange(8), 2)
    margins = 5 + generator.normal(size=(16, 50)) + 2 * role
    assert u_lira(margins, role, group)["auc"] > 0.85
    with pytest.raises(ValueError, match="variance of 0"):
        u_lira((margins > 0).astype(float), role, group)


def test_rmia_divides_by_the_mean_of_the_references_and_not_by_each_or_by_their_median():
    target, references = 0.6, np.array([[0.1], [0.2], [0.9]])
    right = target / references.mean()
    assert [target / np.median(references), (target / references).mean()] == pytest.approx([3.0, 9.667 / 3], rel=1e-3)
    below, above = right * (1 - 1e-6) / 2, right * (1 + 1e-6) / 2
    got = rmia([target], references, [below, above, 0.9], [[0.5, 0.5, 0.9 / 2.5]] * 3, a=1.0)
    assert got.tolist() == [1 / 3]


def test_rmia_counts_no_ties():
    assert np.mean(np.array([1.0, 1.0, 1.0]) >= 1.0) == 1.0
    assert rmia([1.0], [[1.0]], [1.0, 1.0, 1.0], [[1.0, 1.0, 1.0]], a=0.5).tolist() == [0.0]


@pytest.mark.parametrize("size", [1e-3, 1e-9, 1e-15, 1e-30])
def test_rmia_does_not_round_improbable_labels_away(size):
    def adding_one_first(p):
        return ((1 + 1.0) * p + 1 - 1.0) / 2

    assert adding_one_first(1e-9) / 1e-9 != pytest.approx(1, rel=1e-9)
    assert adding_one_first(1e-30) == 0.0
    ref_z = size * np.array([[1.1, 0.9, 1.3, 0.7]])
    target_z = ref_z[0] * [3.0, 3.0, 2.9, 3.1]  # two ties, one below, one above
    assert rmia([3 * size], [[size]], target_z, ref_z, a=1.0).tolist() == [1 / 4]


def klom_by_digitize(u, v, bins=20, floor=1e-5):
    edges = np.linspace(min(u.min(), v.min()), max(u.max(), v.max()), bins + 1)
    p, q = (np.bincount(np.digitize(s, edges) - 1, minlength=bins + 1)[:bins] / len(s) for s in (u, v))
    q = np.where(p > 0, np.maximum(q, floor), q)
    return (p[p > 0] * np.log(p[p > 0] / (q / q.sum())[p > 0])).sum()


def test_klom_keeps_what_lies_on_the_top_edge():
    u, v = np.array([-100.0] * 6 + [100.0] * 4), np.array([-100.0] * 9 + [100.0])
    right = 0.6 * np.log(0.6 / 0.9) + 0.4 * np.log(0.4 / 0.1)
    assert klom(u[:, None], v[:, None]) == pytest.approx([right])
    assert klom_by_digitize(u, v) == pytest.approx(0.6 * np.log(0.6))


def test_klom_is_unlearned_against_retrained_and_not_the_reverse():
    unlearned, retrained = np.array([[0.0]] * 4), np.array([[0.0]] * 3 + [[20.0]])
    assert klom(unlearned, retrained) == pytest.approx([np.log(4 / 3)])
    swapped = 0.75 * np.log(0.75) + 0.25 * np.log(0.25 / 1e-5)
    assert swapped > 2


def test_klom0_subtracts_the_null_of_the_same_reference():
    generator = np.random.default_rng(0)
    unlearned, a = generator.normal(size=(2, 100, 300))
    b = 3 * generator.normal(size=(100, 300))  # the second oracle is not like the first: the order shows
    assert klom0(unlearned, a, b) == pytest.approx(klom(unlearned, a) - klom(b, a))
    assert abs((klom(b, a) - klom(a, b)).mean()) > 1


def test_few_models_let_klom_prefer_a_collapsed_unlearner_to_a_perfect_one():
    u, v, w = np.random.default_rng(0).normal(size=(3, 20, 1000))
    assert klom(u / 2, v).mean() < klom(u, v).mean()
    energy = [energy_distance(side, v, normalise=True, paired=False) for side in (u / 2, w)]
    assert energy[0].mean() > energy[1].mean() + 4 * np.hypot(*(e.std() for e in energy)) / np.sqrt(1000)


def test_a_rule_with_exactly_one_zero_rate_is_dropped_and_not_read_as_certainty():
    u, v = np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.5, 1.5, 2.5, 3.5])
    one_sided = (v >= 3.2).mean(), (u >= 3.2).mean()  # catches one model, accuses none
    assert one_sided == (0.25, 0.0)
    with np.errstate(divide="ignore"):
        assert np.isinf(np.log(one_sided[0] / np.float64(one_sided[1])))
    assert competition_forgetting_quality(u[:, None], v[:, None])["epsilon"][0] < 2


def test_the_competition_score_of_a_perfect_unlearner_is_read_against_a_second_retrain():
    unlearned, retrained, other = np.random.default_rng(0).normal(size=(3, 32, 80))
    perfect, null = (competition_forgetting_quality(side, retrained) for side in (unlearned, other))
    points = [2.0 ** -np.floor(2 * quality["epsilon"]) for quality in (perfect, null)]
    assert perfect["score"] < 0.3  # far from the 1 that "perfect" suggests
    assert abs(perfect["score"] - null["score"]) < 4 * np.hypot(*(p.std() for p in points)) / np.sqrt(80)


def test_tow_multiplies_per_seed_and_refuses_percent():
    u, r = np.array([[0.5, 1.0, 0.5], [0.9, 1.0, 0.9]]), np.array([[0.9, 1.0, 0.9], [0.5, 1.0, 0.5]])
    product_of_mean_gaps = np.prod(1 - np.abs((u - r).mean(axis=0)))
    assert tow(u, r) == pytest.approx(0.36)
    assert product_of_mean_gaps == pytest.approx(1.0)
    assert tow([[1.0, 1.0, 1.0], [0.0, 1.0, 0.0]], [[1.0, 1.0, 1.0]] * 2) == 0.5  # 1/4 if gaps are averaged first
    in_percent = np.prod(1 - np.abs(100 * u - 100 * r), axis=1).mean()
    assert in_percent > 1000
    with pytest.raises(ValueError, match="tow"):
        tow(100 * u, 100 * r)


def test_gaps_are_averaged_after_taking_their_size():
    u, r = np.array([[90.0, 50.0], [80.0, 70.0]]), np.array([[85.0, 60.0], [85.0, 60.0]])
    assert np.abs((u - r).mean(axis=0)).mean() == 0.0
    assert average_gap(u, r) == 7.5


def test_guessing_on_a_random_forget_set_is_not_the_goal():
    retrained = [[0.90, 0.99, 0.91]]
    guessing, retrained_again = [[0.10, 0.99, 0.91]], [[0.91, 0.99, 0.90]]
    assert abs(guessing[0][0] - 0.1) < abs(retrained_again[0][0] - 0.1)  # "closer to random is better"
    assert tow(guessing, retrained) < 0.3 < 0.9 < tow(retrained_again, retrained)
    assert average_gap(guessing, retrained) > average_gap(retrained_again, retrained)


def test_svc_efficacy_is_high_for_over_forgetting_and_not_for_being_like_retrained():
    generator = np.random.default_rng(0)
    retain, test = generator.uniform(0.8, 1.0, size=200), generator.uniform(0.0, 1.0, size=200)
    like_retrained, wiped = generator.uniform(0.0, 1.0, size=200), np.zeros(200)
    assert svc_mia_efficacy(retain, test, wiped) == 1.0
    assert svc_mia_efficacy(retain, test, like_retrained) < 0.95


def test_the_bootstrap_obeys_its_seed_and_not_the_global_generator():
    def ignoring_its_seed(scores, seed):
        drawn = np.random.choice(len(scores), size=(200, len(scores)))
        return np.quantile(np.mean(np.array(scores)[drawn], axis=(1, 2)), [0.025, 0.975]).tolist()

    scores = np.random.default_rng(0).normal(size=(6, 3))
    answers = {"ours": set(), "ignoring": set()}
    state = np.random.get_state()
    for other in (1, 2):
        np.random.seed(other)
        answers["ours"].add(tuple(iqm_ci(scores, seed=7)))
        answers["ignoring"].add(tuple(ignoring_its_seed(scores, seed=7)))
    np.random.set_state(state)
    assert len(answers["ours"]) == 1
    assert len(answers["ignoring"]) == 2


def test_runs_and_tasks_are_pooled_before_the_tails_are_cut():
    scores = np.array([[0.0, 0.0, 0.0, 100.0]] * 4)
    per_task = np.mean([np.sort(task)[1:3].mean() for task in scores.T])
    assert per_task == 25.0
    assert iqm(scores) == 0.0


def test_normalised_forgetting_subtracts_the_floor():
    without_floor = 1 - 0.2 / 1.0
    assert without_floor == 0.8
    assert normalised_forgetting(0.2, 1.0, floor_mean=0.2, floor_p95=0.3) == 1.0


def test_clipping_is_left_to_the_suite_score():
    assert normalised_forgetting(4.0, 1.0, floor_mean=0.0, floor_p95=0.1) == -3.0
    assert normalised_forgetting(0.0, 1.0, floor_mean=0.2, floor_p95=0.3) == 1.25


def test_holm_never_ranks_a_larger_p_value_as_more_significant():
    raw = np.array([0.01, 0.011, 0.06])
    without_running_maximum = raw * [3, 2, 1]
    assert without_running_maximum[1] < without_running_maximum[0]
    assert holm(raw)["adjusted"] == pytest.approx([0.03, 0.03, 0.06])


def test_a_failed_comparison_does_not_shrink_the_family():
    dropped = holm([0.02, 0.03])["reject"]
    assert dropped == [True, True]
    with pytest.raises(ValueError, match="holm"):
        holm([0.02, 0.03, np.nan])
    assert holm([0.02, 0.03, 1.0])["reject"] == [False, False, False]  # a failure enters as p = 1


def test_no_significant_difference_is_no_equality():
    differences = np.array([-3.0, 4.0, -5.0, 5.0])
    assert paired_difference(differences, np.zeros(4))["p_value"] > 0.9
    assert not tost(differences, margin=1.0)["equivalent"]


def test_small_samples_get_students_quantile_and_the_unbiased_spread():
    interval = t_interval([1.0, 2.0, 3.0])
    too_narrow = [1.96 / np.sqrt(3), 4.303 * np.std([1.0, 2.0, 3.0]) / np.sqrt(3)]
    assert interval["high"] - interval["mean"] == pytest.approx(4.3027 / np.sqrt(3), rel=1e-4)
    assert max(too_narrow) < 2.1 < interval["high"] - interval["mean"]


def test_seeds_are_compared_with_themselves():
    difficulty = np.array([0.0, 10.0, 20.0, 30.0])
    ours, theirs = difficulty + np.array([1.0, 1.1, 0.9, 1.0]), difficulty
    assert ttest_ind(ours, theirs).pvalue > 0.9
    assert paired_difference(ours, theirs)["p_value"] < 0.001


def test_a_diverged_run_does_not_win_because_of_what_it_stored():
    values = np.array([[0.5, 0.0, 0.7]])
    assert np.argmin(values) == 1
    assert average_rank(values, [[False, True, False]], "min").tolist() == [1.0, 3.0, 2.0]
    assert average_rank([[0.5, np.nan, 0.7]], [[False, True, False]], "min").tolist() == [1.0, 3.0, 2.0]


def test_methods_that_are_equal_do_not_dominate_each_other():
    values = np.array([[1.0, 2.0], [1.0, 2.0], [2.0, 3.0]])
    at_least_as_good = (values[:, None] <= values).all(axis=2) & ~np.eye(3, dtype=bool)
    assert [j for j in range(3) if not at_least_as_good[:, j].any()] == []
    assert pareto_set(values, ["min", "min"]) == [0, 1]
