"""Properties of the statistics over seeds, tasks and methods: equivariance, duality, and rates of error."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binom

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
    rank_interval,
    regression_decision,
    t_interval,
    tost,
)

repeated = settings(max_examples=40, deadline=None, derandomize=True)
seeds = st.integers(0, 10_000)
values = st.lists(st.floats(-100, 100), min_size=2, max_size=12)
levels = st.floats(0.01, 0.49)


def ends(interval):
    return [interval["low"], interval["mean"], interval["high"]]


@given(sample=values, scale=st.floats(-50, 50), offset=st.floats(-100, 100), seed=seeds)
@repeated
def test_t_interval_moves_with_its_values_and_ignores_their_order(sample, scale, offset, seed):
    sample = np.random.default_rng(seed).permutation(sample)
    expected = np.sort(scale * np.array(ends(t_interval(np.sort(sample)))) + offset)
    assert ends(t_interval(scale * sample + offset)) == pytest.approx(expected, rel=1e-9, abs=1e-7)


@given(sample=values, confidence=st.floats(0.01, 0.98))
@repeated
def test_more_confidence_takes_a_wider_interval(sample, confidence):
    narrow, wide = t_interval(sample, confidence), t_interval(sample, confidence + 0.01)
    assert wide["low"] <= narrow["low"] <= narrow["mean"] <= narrow["high"] <= wide["high"]


@pytest.mark.parametrize("confidence", [1e-12, 1 - 1e-12, 1 - 2**-53])
def test_no_confidence_short_of_one_is_infinite_or_nan(confidence):
    assert np.isfinite(ends(t_interval([1.0, 2.0, 4.0], confidence))).all()
    assert ends(t_interval([0.1, 0.1], confidence)) == [0.1, 0.1, 0.1]


@given(seed=seeds, confidence=st.floats(0.5, 0.99))
@repeated
def test_an_attack_is_valid_exactly_if_its_interval_lies_above_one_half(seed, confidence):
    auc = np.random.default_rng(seed).uniform(0.4, 0.8, size=5)
    low = t_interval(auc, confidence)["low"]
    assert attack_validity(auc, confidence) == {"low": low, "valid": low > 0.5}


@given(seed=seeds, confidence=st.floats(0.5, 0.99))
@repeated
def test_a_paired_difference_excludes_zero_exactly_if_its_test_rejects(seed, confidence):
    generator = np.random.default_rng(seed)
    a, b = generator.normal(0.8, 1, size=6), generator.normal(size=6)
    got = paired_difference(a, b, confidence)
    assert (got["p_value"] < 1 - confidence) == (got["low"] > 0 or got["high"] < 0)
    order = generator.permutation(6)
    shifted = paired_difference(a[order] + 40, b[order] + 40, confidence)
    assert shifted == {name: pytest.approx(value, abs=1e-9) for name, value in got.items()}


@given(sample=values, margin=st.floats(0.01, 100), alpha=levels)
@repeated
def test_equivalence_is_an_interval_inside_the_margin(sample, margin, alpha):
    got, interval = tost(sample, margin, alpha), t_interval(sample, 1 - 2 * alpha)
    room = min(margin - interval["high"], interval["low"] + margin)
    assert abs(room) < 1e-9 * margin or got["equivalent"] == (room > 0)


@given(sample=values, margin=st.floats(0.01, 50), seed=seeds)
@repeated
def test_a_wider_margin_and_a_smaller_unit_only_help_equivalence(sample, margin, seed):
    got = tost(sample, margin)["p_value"]
    assert tost(sample, 2 * margin)["p_value"] <= got + 1e-12
    reordered = np.random.default_rng(seed).permutation(sample)
    assert tost(8 * reordered, 8 * margin)["p_value"] == pytest.approx(got, abs=1e-9)


@pytest.mark.parametrize("tiny", [1e-155, 1e-162, 1e-170, 5e-324])
def test_differences_too_small_to_square_have_no_spread(tiny):
    assert paired_difference([-tiny, tiny], [0.0, 0.0])["p_value"] == 1.0
    assert tost([-tiny, tiny], margin=1.0) == {"p_value": 0.0, "equivalent": True}


@given(p_values=st.lists(st.floats(0, 1), min_size=1, max_size=8), alpha=levels)
@repeated
def test_holm_rejects_what_stepping_down_the_sorted_p_values_rejects(p_values, alpha):
    rejected = set()
    for step, index in enumerate(np.argsort(p_values, kind="stable")):
        if p_values[index] * (len(p_values) - step) > alpha:
            break
        rejected.add(int(index))
    got = holm(p_values, alpha)["reject"]
    assert {index for index, rejected in enumerate(got) if rejected} == rejected
    of_more, of_these = holm([*p_values, 1.0])["adjusted"][:-1], holm(p_values)["adjusted"]
    assert (np.array(of_more) >= of_these).all()


@given(seed=seeds, runs=st.integers(1, 5), tasks=st.integers(1, 5))
@repeated
def test_iqm_lies_inside_the_middle_of_the_scores_ignores_order_and_moves_with_them(seed, runs, tasks):
    generator = np.random.default_rng(seed)
    scores = np.round(generator.normal(size=(runs, tasks)), 1)
    got = iqm(scores)
    assert scores.min() - 1e-12 <= got <= scores.max() + 1e-12
    reordered = generator.permutation(scores.ravel()).reshape(tasks, runs)
    assert iqm(reordered) == pytest.approx(got, abs=1e-12)
    assert iqm(3 - 2 * scores) == pytest.approx(3 - 2 * got, abs=1e-12)
    raised = scores + generator.uniform(size=scores.shape)
    assert iqm(raised) >= got - 1e-12


@given(seed=seeds)
@settings(max_examples=10, deadline=None, derandomize=True)
def test_the_iqm_interval_moves_with_the_scores_and_stays_among_them(seed):
    scores = np.random.default_rng(seed).normal(size=(3, 4))
    low, high = iqm_ci(scores, seed=seed)
    assert scores.min() <= low <= high <= scores.max()
    assert iqm_ci(5 * scores + 2, seed=seed) == pytest.approx([5 * low + 2, 5 * high + 2])
    wide = iqm_ci(scores, confidence=0.99, seed=seed)
    assert wide[0] <= low <= high <= wide[1]


@given(seed=seeds, direction=st.sampled_from(["max", "min"]))
@repeated
def test_average_ranks_follow_the_methods_and_see_only_the_order_within_a_task(seed, direction):
    generator = np.random.default_rng(seed)
    scores, failed = generator.integers(5, size=(4, 6)).astype(float), generator.random((4, 6)) < 0.2
    got = average_rank(scores, failed, direction)
    methods, tasks = generator.permutation(6), generator.permutation(4)
    moved = average_rank(scores[tasks][:, methods], failed[tasks][:, methods], direction)
    np.testing.assert_allclose(moved, got[methods])
    units = np.exp(scores * [[0.1], [1.0], [3.0], [0.5]])
    np.testing.assert_allclose(average_rank(units, failed, direction), got)
    np.testing.assert_allclose(average_rank(np.where(failed, np.nan, scores), failed, direction), got)


def established(seed):
    """Pairwise evidence [6, 6] that agrees with a random order of the methods."""
    generator = np.random.default_rng(seed)
    position = generator.permutation(6)
    return generator, (position[:, None] < position) & (generator.random((6, 6)) < 0.6)


@given(seed=seeds)
@repeated
def test_rank_intervals_follow_the_methods_and_narrow_with_evidence(seed):
    generator, better = established(seed)
    got = np.array(rank_interval(better))
    methods = generator.permutation(6)
    assert rank_interval(better[methods][:, methods]) == got[methods].tolist()
    weaker = np.array(rank_interval(better & (generator.random((6, 6)) < 0.5)))
    assert (weaker[:, 0] <= got[:, 0]).all()
    assert (weaker[:, 1] >= got[:, 1]).all()
    turned = np.array(rank_interval(better.T))
    assert turned.tolist() == (7 - got[:, ::-1]).tolist()


@given(seed=seeds)
@repeated
def test_the_pareto_set_follows_the_methods_and_ignores_units_and_dominated_entrants(seed):
    generator = np.random.default_rng(seed)
    table, directions = generator.integers(4, size=(8, 2)).astype(float), ["max", "min"]
    got = pareto_set(table, directions)
    methods = generator.permutation(8)
    assert sorted(methods[pareto_set(table[methods], directions)].tolist()) == got
    assert pareto_set(np.exp(table) * [3, 0.1], directions) == got
    assert pareto_set(table[:, ::-1], directions[::-1]) == got
    assert pareto_set(-table, ["min", "max"]) == got
    entrant = table[got[0]] + [-1, 1]
    assert pareto_set(np.vstack([table, entrant]), directions) == got


@given(
    d=st.floats(0, 3),
    floor=st.floats(0, 0.4),
    original=st.floats(1, 3),
    unit=st.floats(0.01, 100),
    shift=st.floats(-5, 5),
)
@repeated
def test_normalised_forgetting_has_no_unit_and_falls_with_distance(d, floor, original, unit, shift):
    got = normalised_forgetting(d, original, floor, 0.5)
    moved = normalised_forgetting(*(unit * distance + shift for distance in (d, original, floor, 0.5)))
    assert moved == pytest.approx(got, rel=1e-6, abs=1e-9)
    assert normalised_forgetting(d + 0.1, original, floor, 0.5) < got


@given(seed=seeds, shift=st.sampled_from([-3.0, 0.0, 0.3, 3.0]), floor=st.sampled_from([0.0, 0.5]))
@repeated
def test_a_regression_turned_round_is_an_improvement(seed, shift, floor):
    mirror = {"regression": "improvement", "improvement": "regression", "no_change": "no_change"}
    generator = np.random.default_rng(seed)
    old, new = generator.normal(size=8), generator.normal(shift, 1, size=8)
    got = regression_decision(old, new, "max", floor)
    assert regression_decision(-old, -new, "min", floor) == got
    back = regression_decision(new, old, "max", floor)
    assert back["verdict"] == mirror[got["verdict"]]
    assert [back["effect"], back["p_value"]] == pytest.approx([-got["effect"], got["p_value"]])
    order = generator.permutation(8)
    assert regression_decision(old[order], new[order], "max", floor) == got


@given(trials=st.integers(1, 300), share=st.floats(0, 1), confidence=st.floats(0.5, 0.999))
@repeated
def test_clopper_pearson_ends_are_beta_quantiles_and_rise_with_the_successes(trials, share, confidence):
    x = int(share * (trials - 1))
    tail = (1 - confidence) / 2
    low, high = clopper_pearson(x, trials, confidence)
    assert low == (pytest.approx(beta.ppf(tail, x, trials - x + 1)) if x else 0.0)
    assert high == pytest.approx(beta.isf(tail, x + 1, trials - x))
    more = clopper_pearson(x + 1, trials, confidence)
    assert low < more[0]
    assert high < more[1] or high == more[1] == 1.0


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_clopper_pearson_covers_what_it_says_and_no_more_than_whole_counts_force(confidence):
    counts = np.arange(401)
    low, high = np.array([clopper_pearson(int(x), 400, confidence) for x in counts]).T
    for rate in np.linspace(0.05, 0.95, 37):
        inside = binom.pmf(counts, 400, rate)[(low <= rate) & (rate <= high)]
        assert confidence <= inside.sum() < confidence + inside[0] + inside[-1]


def test_equivalence_is_claimed_at_the_margin_as_rarely_as_the_level_says():
    samples = np.random.default_rng(0).normal(1.0, 0.2, size=(1500, 8))
    claimed = np.mean([tost(sample, margin=1.0, alpha=0.1)["equivalent"] for sample in samples])
    assert abs(claimed - 0.1) < 4 * np.sqrt(0.1 * 0.9 / 1500)


def test_the_paired_test_rejects_equal_methods_as_rarely_as_its_level_says():
    samples = np.random.default_rng(0).normal(size=(1500, 2, 5))
    rejected = np.mean([paired_difference(a, b)["p_value"] < 0.05 for a, b in samples])
    assert abs(rejected - 0.05) < 4 * np.sqrt(0.05 * 0.95 / 1500)
