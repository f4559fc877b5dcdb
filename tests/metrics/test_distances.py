"""Distances: definitions by enumeration, exact invariances, and the values that no difference gives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon

from benchmark.metrics import cka, energy_distance, js_divergence

repeated = settings(max_examples=40, deadline=None, derandomize=True)
seeds = st.integers(0, 10_000)


def rows(seed, classes=6, examples=15):
    return np.random.default_rng(seed).dirichlet(np.full(classes, 0.4), size=examples)


@given(seed=seeds)
@repeated
def test_js_is_the_squared_scipy_distance_averaged_over_examples(seed):
    p, q = rows(seed), rows(seed + 1)
    assert js_divergence(p, q) == pytest.approx((jensenshannon(p, q, axis=1) ** 2).mean(), abs=1e-12)
    assert js_divergence(q, p) == pytest.approx(js_divergence(p, q), abs=1e-14)


@given(seed=seeds)
@repeated
def test_js_is_not_diluted_by_unused_classes(seed):
    p, q, unused = rows(seed), rows(seed + 1), np.zeros((15, 90))
    wide = js_divergence(np.hstack([p, unused]), np.hstack([q, unused]))
    assert wide == pytest.approx(js_divergence(p, q), rel=1e-12)


def test_js_of_rows_that_agree_up_to_rounding_is_zero_and_not_nan():
    p = rows(0, classes=10, examples=2000)
    q = p * (1 + 1e-16 * np.random.default_rng(1).normal(size=p.shape))
    q /= q.sum(axis=1, keepdims=True)
    assert np.isnan(naive_jensenshannon(p, q)).any()
    assert 0 <= js_divergence(p, q) < 1e-15


def naive_jensenshannon(p, q):
    with np.errstate(invalid="ignore"):
        return jensenshannon(p, q, axis=1)


def test_js_never_exceeds_log_two():
    eye = np.eye(7)
    assert js_divergence(eye, np.roll(eye, 1, axis=1)) == np.log(2)


def energy_by_enumeration(u, v, paired):
    across = np.abs(np.subtract.outer(u, v))
    if paired:
        across = across[~np.eye(len(u), dtype=bool)]
    within = [np.abs(np.subtract.outer(s, s)).sum() / (len(s) * (len(s) - 1)) for s in (u, v)]
    return 2 * across.mean() - within[0] - within[1]


@given(seed=seeds, paired=st.booleans(), offset=st.sampled_from([0.0, 3.0, 1e4]))
@repeated
def test_energy_distance_is_the_enumerated_u_statistic(seed, paired, offset):
    generator = np.random.default_rng(seed)
    n = generator.integers(2, 20)
    u = generator.integers(-5, 5, size=(n, 3)) + offset
    v = generator.normal(size=(n if paired else generator.integers(2, 20), 3))
    got = energy_distance(u, v, normalise=False, paired=paired)
    expected = [energy_by_enumeration(a, b, paired) for a, b in zip(u.T, v.T, strict=True)]
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)


def test_energy_distance_is_scipys_without_its_root_and_its_bias():
    generator = np.random.default_rng(0)
    u, v = generator.normal(size=40), generator.normal(0.5, 1, size=50)
    removed = sum(np.abs(np.subtract.outer(s, s)).mean() / (len(s) - 1) for s in (u, v))
    got = energy_distance(u[:, None], v[:, None], normalise=False, paired=False)[0]
    assert got == pytest.approx(stats.energy_distance(u, v) ** 2 - removed, abs=1e-12)


@given(seed=seeds)
@repeated
def test_energy_distance_ignores_model_order_and_units_when_normalised(seed):
    generator = np.random.default_rng(seed)
    u, v = generator.normal(size=(8, 4)), generator.normal(size=(9, 4))
    plain = energy_distance(u, v, normalise=True, paired=False)
    moved = energy_distance(5 - 3 * u[::-1], 5 - 3 * v[::-1], normalise=True, paired=False)
    np.testing.assert_allclose(moved, plain, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("models", "deviation"), [(20, 0.096), (50, 0.037), (100, 0.018), (200, 0.009)])
def test_energy_distance_of_perfect_unlearning_averages_zero(models, deviation):
    generator = np.random.default_rng(models)
    u, v = generator.normal(size=(2, models, 4000))
    null = energy_distance(u, v, normalise=True, paired=False)
    assert abs(null.mean()) < 4 * null.std() / np.sqrt(4000)
    assert null.std() == pytest.approx(deviation, rel=0.1)
    assert null.min() < 0


def test_energy_distance_sees_a_collapsed_width():
    generator = np.random.default_rng(0)
    u, v, w = generator.normal(size=(3, 50, 500))
    collapsed = energy_distance(u / 2, v, normalise=True, paired=False)
    null = energy_distance(w, v, normalise=True, paired=False)
    assert collapsed.mean() > np.quantile(null, 0.95)


def test_paired_energy_distance_of_a_no_op_is_exactly_zero():
    margins = np.random.default_rng(0).normal(size=(500, 1))
    assert energy_distance(margins, margins, normalise=False, paired=True)[0] == pytest.approx(0, abs=1e-14)
    assert energy_distance(margins, margins, normalise=False, paired=False)[0] < 0


def test_energy_distance_refuses_to_normalise_by_a_constant_column():
    tenths = np.full((3, 1), 0.1)
    with pytest.raises(ValueError, match="constant"):
        energy_distance([[1.0], [2.0]], tenths, normalise=True, paired=False)


def debiased_by_gram_matrices(x, y):
    def hsic(k, m):
        n = len(k)
        k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
        one = np.ones(n)
        return (
            np.trace(k @ m)
            + (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
            - 2 / (n - 2) * (one @ k @ m @ one)
        )

    k, m = x @ x.T, y @ y.T
    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


@given(seed=seeds)
@repeated
def test_debiased_cka_is_the_gram_matrix_formula(seed):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(12, 3))
    y = x @ generator.normal(size=(3, 5)) + generator.normal(size=(12, 5))
    assert cka(x, y, debiased=True) == pytest.approx(debiased_by_gram_matrices(x, y), abs=1e-9)


@pytest.mark.parametrize("debiased", [False, True])
def test_cka_ignores_rotation_scale_offset_and_example_order(debiased):
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(30, 4)), generator.normal(size=(30, 6))
    rotation = stats.ortho_group.rvs(4, random_state=1)
    order = generator.permutation(30)
    moved = cka(-2e-9 * x[order] @ rotation + 1e-6, 1e9 * y[order] + 1e10, debiased)
    assert moved == pytest.approx(cka(x, y, debiased), abs=1e-6)
    assert cka(x, y, debiased) == pytest.approx(cka(y, x, debiased))


def test_independent_wide_features_look_alike_only_to_biased_cka():
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(2, 500, 512))
    assert cka(x, y, debiased=False) == pytest.approx(0.50, abs=0.02)
    assert cka(x, y, debiased=True) == pytest.approx(0.0, abs=0.02)


def test_large_means_do_not_make_features_similar():
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(2, 2000, 3)) + 100
    assert cka(x, y, debiased=True) < 0.01


@pytest.mark.parametrize("debiased", [False, True])
def test_cka_refuses_features_that_are_constant_up_to_rounding(debiased):
    with pytest.raises(ValueError, match="no variance"):
        cka(np.full((7, 2), 0.1), np.random.default_rng(0).normal(size=(7, 2)), debiased)
