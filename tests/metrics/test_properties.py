"""Properties of every measurement function: bad inputs, float32 extremes, invariances, and laws under no difference.

Simulations compare with closed forms or with the printed nulls of METRICS, within four standard errors of the
simulation itself; printed values may also be off by half a unit of their last digit.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, ortho_group, rankdata

from benchmark import metrics, stats
from benchmark.metrics import (
    average_gap,
    average_precision,
    cka,
    competition_forgetting_quality,
    delong_interval,
    encodermi_t,
    energy_distance,
    js_divergence,
    klom,
    klom0,
    lira_score,
    mia_auc,
    one_run_epsilon,
    pairwise_cosines,
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

repeated = settings(max_examples=30, deadline=None, derandomize=True)
seeds = st.integers(0, 10_000)
both_variances = pytest.mark.parametrize("variance", ["shared", "per_side"])
GOLDEN = Path(__file__).parents[1] / "golden"

# --- one valid call of every function, and every way to spoil it ------------------------------------------------

DRAW = np.random.default_rng(0)
REAL, LABELS, PAIRED = DRAW.normal(size=(9, 8, 4)), np.array([0, 1, 2, 3, 0, 1, 2, 3]), np.arange(8) % 4
FRACTIONS = DRAW.uniform(0.1, 0.9, size=(4, 8, 3))
ROWS = DRAW.dirichlet(np.ones(4), size=(2, 8))
ROLES = np.repeat([[1], [0]], 4, axis=0) * np.ones((8, 4), int)
NOBODY, CHAIN = np.zeros((8, 4), bool), np.triu(np.ones((4, 4), bool), k=1)

VALID: dict[str, dict[str, Any]] = {
    "average_gap": {"unlearned": REAL[0], "retrained": REAL[1]},
    "average_precision": {"labels": LABELS % 2, "scores": REAL[0, :, 0]},
    "cka": {"x": REAL[0], "y": REAL[1], "debiased": True},
    "competition_forgetting_quality": {"unlearned": REAL[0], "retrained": REAL[1], "delta": 1e-5},
    "delong_interval": {"member_scores": REAL[0, 0], "nonmember_scores": REAL[1, 0], "confidence": 0.9},
    "emia_threshold": {
        "member_scores": REAL[0, 0],
        "nonmember_scores": REAL[1, 0],
        "forget_scores": REAL[2, :, 0],
    },
    "encodermi_t": {"features": REAL[:3]},
    "energy_distance": {"unlearned": REAL[0], "retrained": REAL[1], "normalise": True, "paired": True},
    "entropy": {"logits": REAL[0]},
    "js_divergence": {"p": ROWS[0], "q": ROWS[1]},
    "klom": {"unlearned": REAL[0], "retrained": REAL[1], "bins": 20, "clip": 100.0, "floor": 1e-5},
    "klom0": {
        **{"unlearned": REAL[0], "retrained_a": REAL[1], "retrained_b": REAL[2]},
        **{"bins": 20, "clip": 100.0, "floor": 1e-5},
    },
    "lira_score": {
        **{"phi_target": REAL[0, 0], "phi_in": REAL[1], "phi_out": REAL[2], "variance": "shared", "nu0": 6.0}
    },
    "loss": {"margins": REAL[0, 0]},
    "mia_auc": {"member_scores": REAL[0, 0], "nonmember_scores": REAL[1, :, 0]},
    "modified_entropy": {"logits": REAL[0], "labels": LABELS},
    "one_run_epsilon": {"n_candidates": 9, "n_guesses": 8, "n_correct": 8, "delta": 1e-5, "p_value": 0.05},
    "pairwise_cosines": {"features": REAL[:3]},
    "phi": {"logits": REAL[0], "labels": LABELS},
    "rmia": {
        **{"target_x": FRACTIONS[0, 0], "ref_x": FRACTIONS[1], "target_z": FRACTIONS[2, 0], "ref_z": FRACTIONS[3]},
        **{"a": 0.3, "gamma": 1.0},
    },
    "roc_on_grid": {
        **{"member_scores": REAL[0, 0], "nonmember_scores": REAL[1, 0], "fpr_grid": FRACTIONS[0, 0]},
    },
    "speedup": {
        "retrain_seconds": 1 + FRACTIONS[0],
        "unlearn_seconds": 1 + FRACTIONS[1],
        "precompute_seconds": FRACTIONS[2, :, 0],
    },
    "svc_mia_efficacy": {
        "conf_retain": FRACTIONS[0, 0],
        "conf_test": FRACTIONS[1, 0],
        "conf_forget": FRACTIONS[2, :, 0],
    },
    "svc_nonmember_share": {"retain": REAL[0, 0], "test": REAL[1, 0], "forget": REAL[2, :, 0]},
    "swap_auc": {
        "a_forget": REAL[0, 0],
        "a_heldout": REAL[1, :, 0],
        "b_forget": REAL[2, :, 0],
        "b_heldout": REAL[3, 0],
    },
    "tow": {"unlearned": FRACTIONS[0], "retrained": FRACTIONS[1]},
    "tpr_at_fpr": {"member_scores": REAL[0, 0], "nonmember_scores": REAL[1, :, 0], "max_fpr": 0.3},
    "u_lira": {"phi": REAL[0], "role": ROLES, "group": PAIRED, "variance": "shared", "nu0": 6.0},
    "weighted_knn": {
        **{"bank": REAL[0], "bank_labels": LABELS, "queries": REAL[1, :5]},
        **{"num_classes": 4, "k": 3, "temperature": 0.1},
    },
    "attack_validity": {"original_auc": FRACTIONS[0, 0], "confidence": 0.9},
    "average_rank": {"values": REAL[0], "failed": NOBODY, "direction": "max"},
    "clopper_pearson": {"successes": 3, "trials": 9, "confidence": 0.9},
    "holm": {"p_values": FRACTIONS[0, 0], "alpha": 0.1},
    "iqm": {"scores": REAL[0]},
    "iqm_ci": {"scores": REAL[0], "confidence": 0.9, "resamples": 2000, "seed": 0},
    "normalised_forgetting": {"d_unlearned": 0.4, "d_original": 1.0, "floor_mean": 0.1, "floor_p95": 0.2},
    "paired_difference": {"values_a": REAL[0, 0], "values_b": REAL[1, 0], "confidence": 0.9},
    "pareto_set": {"values": REAL[0], "directions": ["max", "min", "min", "max"]},
    "rank_interval": {"better": CHAIN},
    "regression_decision": {
        **{"baseline": REAL[0, :, 0], "candidate": REAL[1, :, 0], "direction": "max", "floor": 0.0, "alpha": 0.002}
    },
    "t_interval": {"values": REAL[0, 0], "confidence": 0.9},
    "tost": {"differences": REAL[0, 0], "margin": 1.0, "alpha": 0.1},
}
ARRAYS = [(f, a) for f, arguments in VALID.items() for a in arguments if isinstance(arguments[a], np.ndarray)]
OPTIONS = [
    (f, a, value)
    for f, arguments in VALID.items()
    for a, value in arguments.items()
    if isinstance(value, float | int | str) and not isinstance(value, bool)
]


def function(name: str) -> Callable[..., Any]:
    return getattr(metrics, name, None) or getattr(stats, name)


def numbers_in(value: Any) -> Iterator[float]:
    """All numbers of an answer, through its dicts."""
    if isinstance(value, dict):
        for item in value.values():
            yield from numbers_in(item)
    elif not isinstance(value, str):
        yield from np.asarray(value, dtype=np.float64).ravel().tolist()


def assert_refused(name: str, argument: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{name}\b.*\.$"):
        function(name)(**{**VALID[name], argument: value})


def test_every_exported_and_every_golden_function_has_a_valid_call_here():
    assert {*metrics.__all__, *(path.stem for path in GOLDEN.glob("*.json"))} <= set(VALID)
    for name, arguments in VALID.items():
        assert np.isfinite(list(numbers_in(function(name)(**arguments)))).all()


@pytest.mark.parametrize(("name", "argument"), ARRAYS)
def test_one_bad_entry_or_a_wrong_number_of_axes_is_refused(name, argument):
    good = VALID[name][argument]
    for bad in (np.nan, np.inf, -np.inf):
        spoiled = good.astype(np.float64)
        spoiled.flat[-1] = bad
        assert_refused(name, argument, spoiled)
    spoilt: list[Any] = [good[:0], good[..., :0], good[0], good[None], [[1.0], [1.0, 2.0]], None, "text"]
    for wrong in [*spoilt, good.astype(str), good.astype(object), good.astype(complex)]:
        assert_refused(name, argument, wrong)


@pytest.mark.parametrize(("name", "argument", "good"), OPTIONS)
def test_a_bad_option_is_refused(name, argument, good):
    for wrong in (np.nan, np.inf, -np.inf, None, [good], np.array([0.5]), True, -1.5, "largest"):
        if not (argument in ("d_unlearned", "floor_mean", "floor_p95") and wrong == -1.5):  # any finite distance
            assert_refused(name, argument, wrong)


LONGER = [  # argument, axis: one more there than in the other arguments
    *[("average_gap", "unlearned", axis) for axis in (0, 1)],
    *[("average_precision", argument, 0) for argument in ("labels", "scores")],
    *[("cka", argument, 0) for argument in ("x", "y")],
    *[("competition_forgetting_quality", "retrained", axis) for axis in (0, 1)],
    *[("energy_distance", "retrained", axis) for axis in (0, 1)],
    *[("js_divergence", "q", axis) for axis in (0, 1)],
    ("klom", "retrained", 1),
    *[("klom0", argument, axis) for argument in ("retrained_a", "retrained_b") for axis in (0, 1)],
    *[("lira_score", "phi_target", 0), ("lira_score", "phi_in", 1), ("lira_score", "phi_out", 1)],
    *[(name, argument, 0) for name in ("phi", "modified_entropy") for argument in ("logits", "labels")],
    *[("rmia", *which) for which in (("target_x", 0), ("ref_x", 0), ("ref_x", 1), ("ref_z", 0), ("ref_z", 1))],
    *[("speedup", argument, 0) for argument in ("retrain_seconds", "unlearn_seconds", "precompute_seconds")],
    *[("svc_mia_efficacy", argument, 0) for argument in ("conf_retain", "conf_test")],
    *[("svc_nonmember_share", argument, 0) for argument in ("retain", "test")],
    *[("emia_threshold", argument, 0) for argument in ("member_scores", "nonmember_scores")],
    *[("swap_auc", argument, 0) for argument in ("a_forget", "a_heldout", "b_forget", "b_heldout")],
    *[("tow", "retrained", axis) for axis in (0, 1)],
    *[("u_lira", argument, axis) for argument in ("phi", "role") for axis in (0, 1)],
    ("u_lira", "group", 0),
    *[("weighted_knn", *which) for which in (("bank", 0), ("bank", 1), ("bank_labels", 0), ("queries", 1))],
    *[("average_rank", argument, axis) for argument in ("values", "failed") for axis in (0, 1)],
    *[("paired_difference", "values_b", 0), ("regression_decision", "candidate", 0)],
    *[("pareto_set", "values", 1), ("rank_interval", "better", 0), ("rank_interval", "better", 1)],
]


@pytest.mark.parametrize(("name", "argument", "axis"), LONGER)
def test_sizes_that_must_agree_do(name, argument, axis):
    good = VALID[name][argument]
    assert_refused(name, argument, np.concatenate([good, good.take([0], axis)], axis))


OUTSIDE = [
    *[(name, argument, value) for name in ("phi", "modified_entropy") for argument, value in [("labels", -1)]],
    *[("phi", "labels", 4), ("modified_entropy", "labels", 4), ("modified_entropy", "labels", 1.5)],
    *[("weighted_knn", "bank_labels", value) for value in (-1, 4, 0.5)],
    *[("average_precision", "labels", value) for value in (-1, 2, 0.5)],
    *[("u_lira", "role", value) for value in (-2, 2, 0.5)],
    *[("average_rank", "failed", value) for value in (-1, 2, 0.5)],
    *[("rank_interval", "better", value) for value in (-1, 2, 0.5)],
    *[
        (name, argument, value)
        for name, argument in ARRAYS
        if argument in ("p", "q", "conf_retain", "conf_test", "conf_forget", "fpr_grid", "p_values", "original_auc")
        or name == "tow"
        or argument in ("target_x", "ref_x", "target_z", "ref_z")
        for value in (-1e-9, 1 + 1e-9, 50.0)
    ],
    *[("speedup", argument, -1e-9) for argument in VALID["speedup"]],
]


@pytest.mark.parametrize(("name", "argument", "value"), OUTSIDE)
def test_labels_and_probabilities_out_of_range_are_refused(name, argument, value):
    spoiled = VALID[name][argument].astype(np.float64)
    spoiled.flat[-1] = value
    assert_refused(name, argument, spoiled)


TOO_FEW = [
    ("cka", ["x", "y"], 3),
    ("competition_forgetting_quality", ["unlearned", "retrained"], 2),
    ("energy_distance", ["unlearned", "retrained"], 1),
    *[("delong_interval", [argument], 1) for argument in ("member_scores", "nonmember_scores")],
    *[("lira_score", [argument], 1) for argument in ("phi_in", "phi_out")],
    *[("attack_validity", ["original_auc"], 1), ("t_interval", ["values"], 1), ("tost", ["differences"], 1)],
    *[("paired_difference", ["values_a", "values_b"], 1), ("iqm_ci", ["scores"], 1)],
    *[("regression_decision", ["baseline", "candidate"], 6), ("u_lira", ["phi", "role", "group"], 5)],
]


@pytest.mark.parametrize(("name", "arguments", "count"), TOO_FEW)
def test_too_few_units_are_refused(name, arguments, count):
    fewer = {argument: VALID[name][argument][:count] for argument in arguments}
    with pytest.raises(ValueError, match=rf"^{name}\b.*\.$"):
        function(name)(**{**VALID[name], **fewer})


def test_a_nan_in_a_cell_that_is_not_used_is_no_error_and_in_a_used_one_is():
    margins, roles = REAL[0].copy(), ROLES.copy()
    margins[0, 0], roles[0, 0] = np.nan, -1
    llr = u_lira(margins, roles, PAIRED)["llr"]
    assert np.argwhere(np.isnan(llr)).tolist() == [[0, 0]]
    with pytest.raises(ValueError, match=r"u_lira: phi\[0, 0\] is nan"):
        u_lira(margins, ROLES, PAIRED)


def test_one_class_alone_is_an_answer_where_it_has_one():
    assert average_precision([1, 1, 1], [0.3, 0.1, 0.2]) == 1.0
    assert weighted_knn(REAL[0], np.zeros(8, int), REAL[1], num_classes=1).tolist() == [0] * 8
    with pytest.raises(ValueError, match="average_precision"):
        average_precision([0, 0, 0], [0.3, 0.1, 0.2])
    for name in ("phi", "entropy", "modified_entropy"):
        with pytest.raises(ValueError, match=f"{name}: logits has 1 classes"):
            function(name)(**{**VALID[name], "logits": REAL[0, :, :1]})


WHOLE = {"labels", "bank_labels", "role", "group", "failed", "better", "p", "q"}
EXTREMES = np.array([0.0, -0.0, 1.0, -1.0, 0.1, 0.3, 1e-8, 1e10, 1e-45, 3.4e38, -3.4e38, 1e20, -1e20], np.float32)
UNUSUAL = np.array([0.0, 1.0, 0.5, 1 - 2**-24, 1e-8, 1e-20, 1e-45, 0.3], np.float32)


@pytest.mark.parametrize("name", VALID)
@given(seed=seeds)
@repeated
def test_whatever_float32_holds_gives_finite_numbers_or_an_error_that_names_the_function(name, seed):
    generator = np.random.default_rng(seed)
    arguments = dict(VALID[name])
    for argument, good in arguments.items():
        if isinstance(good, np.ndarray) and argument not in WHOLE:
            bounded = good.min() >= 0 and good.max() <= 1
            few = generator.choice(UNUSUAL if bounded else EXTREMES, size=generator.integers(1, 4))
            arguments[argument] = np.where(generator.random(good.shape) < 0.7, generator.choice(few, good.shape), good)
    answer, complaint = None, name
    try:
        answer = function(name)(**arguments)
    except ValueError as error:
        complaint = str(error)
    assert complaint.startswith(name)
    assert answer is None or np.isfinite(list(numbers_in(answer))).all()


# --- invariances ------------------------------------------------------------------------------------------------


def shuffled(generator: np.random.Generator, count: int, *arrays: Any, axis: int = 0) -> list[Any]:
    """The arrays with the same random order of their `count` entries along an axis."""
    order = generator.permutation(count)
    return [np.take(array, order, axis) for array in arrays]


@given(seed=seeds)
@repeated
def test_delong_holds_the_auc_mirrors_with_the_sides_and_sees_only_the_order(seed):
    generator = np.random.default_rng(seed)
    members, nonmembers = generator.integers(1, 9, size=9), generator.integers(0, 7, size=7)
    low, high = delong_interval(members, nonmembers)
    assert 0 <= low <= mia_auc(members, nonmembers) <= high <= 1
    assert delong_interval(nonmembers, members) == pytest.approx([1 - high, 1 - low], abs=1e-12)
    assert delong_interval(np.exp(members)[::-1], np.exp(nonmembers)) == pytest.approx([low, high], abs=1e-12)
    narrow = delong_interval(members, nonmembers, 0.5)
    assert low <= narrow[0] <= narrow[1] <= high


@given(seed=seeds)
@repeated
def test_swapped_arms_may_be_renamed_and_reversed_scores_reverse_the_answer(seed):
    generator = np.random.default_rng(seed)
    a_forget, b_heldout = generator.integers(5, size=(2, 6))
    a_heldout, b_forget = generator.integers(5, size=(2, 4))
    got = swap_auc(a_forget, a_heldout, b_forget, b_heldout)
    assert swap_auc(b_forget, b_heldout, a_forget, a_heldout) == pytest.approx(got, abs=1e-12)
    assert swap_auc(-a_forget, -a_heldout, -b_forget, -b_heldout) == pytest.approx(1 - got, abs=1e-12)
    assert swap_auc(np.exp(a_forget), np.exp(a_heldout), b_forget, b_heldout) == pytest.approx(got, abs=1e-12)


@given(seed=seeds)
@repeated
def test_average_precision_and_the_curve_ignore_the_order_of_examples(seed):
    generator = np.random.default_rng(seed)
    labels, scores = np.append(generator.integers(2, size=12), 1), generator.integers(4, size=13)
    reordered = average_precision(*shuffled(generator, 13, labels, scores))
    assert reordered == pytest.approx(average_precision(labels, scores), abs=1e-12)
    assert 0 < reordered <= 1
    grid = np.linspace(0, 1, 5)
    curve = roc_on_grid(scores[:7], scores[7:], grid)
    assert roc_on_grid(np.exp(generator.permutation(scores[:7])), np.exp(scores[7:]), grid).tolist() == curve.tolist()


@given(m=st.integers(1, 300), share=st.floats(0, 1), delta=st.sampled_from([0.0, 1e-5, 1e-3]), seed=seeds)
@repeated
def test_the_one_run_bound_is_zero_at_chance_rises_with_right_guesses_and_stays_below_the_estimate(
    m, share, delta, seed
):
    r = max(1, int(share * m))
    assert one_run_epsilon(m, r, r // 2, delta) == 0.0
    few, many = np.sort(np.random.default_rng(seed).integers(r + 1, size=2))
    bounds = [one_run_epsilon(m, r, int(v), delta) for v in (few, many)]
    assert bounds[0] <= bounds[1]
    if many < r:
        assert bounds[1] <= max(0.0, np.log((many + 1e-9) / (r - many)))
    assert one_run_epsilon(m, r, int(many), delta, 0.01) <= bounds[1]


@given(seed=seeds)
@repeated
def test_js_ignores_the_order_of_examples_and_the_names_of_classes(seed):
    generator = np.random.default_rng(seed)
    p, q = generator.dirichlet(np.full(5, 0.3), size=(2, 8))
    got = js_divergence(p, q)
    assert js_divergence(*shuffled(generator, 8, p, q)) == pytest.approx(got, abs=1e-14)
    assert js_divergence(*shuffled(generator, 5, p, q, axis=1)) == pytest.approx(got, abs=1e-14)
    assert js_divergence(p, p) == 0.0 <= got <= np.log(2)


@given(seed=seeds, paired=st.booleans())
@repeated
def test_energy_distance_is_symmetric_and_in_the_unit_of_its_input(seed, paired):
    generator = np.random.default_rng(seed)
    u, v = generator.normal(size=(6, 3)), generator.normal(size=(6, 3))
    got = energy_distance(u, v, normalise=False, paired=paired)
    options, tolerance = {"normalise": False, "paired": paired}, {"rtol": 1e-9, "atol": 1e-12}
    np.testing.assert_allclose(energy_distance(v, u, **options), got, **tolerance)
    np.testing.assert_allclose(energy_distance(3 * u - 7, 3 * v - 7, **options), 3 * got, **tolerance)
    np.testing.assert_allclose(energy_distance(*shuffled(generator, 6, u, v), **options), got, **tolerance)
    if not paired:
        np.testing.assert_allclose(energy_distance(generator.permutation(u), v, **options), got, **tolerance)
    columns = energy_distance(u[:, ::-1], v[:, ::-1], **options)
    np.testing.assert_allclose(columns, got[::-1], **tolerance)


@pytest.mark.parametrize("debiased", [False, True])
@given(seed=seeds)
@repeated
def test_cka_with_itself_is_one_and_ignores_idle_and_repeated_features(debiased, seed):
    generator = np.random.default_rng(seed)
    x, y = generator.normal(size=(9, 2)), generator.normal(size=(9, 3))
    try:
        got = cka(x, y, debiased)
    except ValueError:  # the unbiased HSIC of few examples may be negative
        return
    rotation = ortho_group.rvs(3, random_state=seed)
    assert cka(x, x, debiased) == pytest.approx(1.0)
    assert cka(np.hstack([x, x, np.full((9, 2), 4.0)]), y @ rotation, debiased) == pytest.approx(got, abs=1e-9)
    if not debiased:
        assert -1e-12 <= got <= 1 + 1e-12


@given(seed=seeds, k=st.integers(1, 30))
@repeated
def test_neighbours_ignore_lengths_rotations_and_order_and_follow_new_names_of_classes(seed, k):
    generator = np.random.default_rng(seed)
    bank, queries, labels = (
        generator.normal(size=(20, 4)),
        generator.normal(size=(7, 4)),
        generator.integers(3, size=20),
    )
    got = weighted_knn(bank, labels, queries, num_classes=3, k=k)
    lengths = generator.uniform(1e-3, 1e3, size=27)
    scaled = weighted_knn(bank * lengths[:20, None], labels, queries * lengths[20:, None], num_classes=3, k=k)
    rotation = ortho_group.rvs(4, random_state=seed)
    rotated = weighted_knn(bank @ rotation, labels, queries @ rotation, num_classes=3, k=k)
    reordered = weighted_knn(*shuffled(generator, 20, bank, labels), queries[::-1], num_classes=3, k=k)[::-1]
    names = np.array([4, 0, 2])
    renamed = weighted_knn(bank, names[labels], queries, num_classes=5, k=k)
    assert got.tolist() == scaled.tolist() == rotated.tolist() == reordered.tolist()
    assert renamed.tolist() == names[got].tolist()


@pytest.mark.parametrize("k", [4, 5, 200])
def test_more_neighbours_than_points_are_all_points(k):
    bank, labels, queries = REAL[0, :3], [0, 1, 1], REAL[1]
    everything = weighted_knn(bank, labels, queries, num_classes=2, k=3)
    assert weighted_knn(bank, labels, queries, num_classes=2, k=k).tolist() == everything.tolist()


@given(seed=seeds)
@repeated
def test_view_similarity_ignores_rotations_follows_examples_and_stays_in_its_range(seed):
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(5, 4, 3))
    got = encodermi_t(features)
    rotation = ortho_group.rvs(3, random_state=seed)
    np.testing.assert_allclose(encodermi_t(features[::-1] @ rotation), got[::-1], atol=1e-12)
    assert (got >= -1 / 3 - 1e-12).all()  # four unit vectors cannot all point apart
    assert (got <= 1).all()
    pairs = pairwise_cosines(features[:, [1, 0, 2, 3]])
    np.testing.assert_allclose(pairs[:, [0, 3, 4, 1, 2, 5]], pairwise_cosines(features), atol=1e-12)


@both_variances
@given(seed=seeds, scale=st.sampled_from([-3.0, 0.01, 1000.0]), offset=st.sampled_from([0.0, -5.0, 40.0]))
@repeated
def test_lira_is_free_of_units_and_antisymmetric_in_its_sides(variance, seed, scale, offset):
    generator = np.random.default_rng(seed)
    target, seen, unseen = generator.normal(size=6), generator.normal(1, 2, size=(5, 6)), generator.normal(size=(4, 6))
    got = lira_score(target, seen, unseen, variance)
    moved = lira_score(*(scale * phi + offset for phi in (target, seen, unseen)), variance)
    np.testing.assert_allclose(moved, got, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(lira_score(target, unseen, seen, variance), -got, rtol=1e-9, atol=1e-12)
    reordered = lira_score(target[::-1], seen[:, ::-1], unseen[:, ::-1], variance)
    np.testing.assert_allclose(reordered[::-1], got, rtol=1e-9, atol=1e-12)


@both_variances
@given(seed=seeds, scale=st.sampled_from([-2.0, 0.01, 300.0]))
@repeated
def test_u_lira_ignores_orders_names_of_groups_units_and_which_side_is_called_unlearned(variance, seed, scale):
    generator = np.random.default_rng(seed)
    first = generator.integers(2, size=(5, 6))
    role = np.stack([first, 1 - first], axis=1).reshape(10, 6)
    margins, group = generator.normal(size=(10, 6)) + role, np.repeat(np.arange(5), 2)
    plain = u_lira(margins, role, group, variance)
    models, examples = generator.permutation(10), generator.permutation(6)
    names = generator.permutation(5) * 10 - 3
    moved = u_lira(scale * margins[models][:, examples] + 7, role[models][:, examples], names[group[models]], variance)
    np.testing.assert_allclose(moved["llr"], plain["llr"][models][:, examples], rtol=1e-6, atol=1e-9)
    renamed = u_lira(margins, 1 - role, group, variance)
    np.testing.assert_allclose(renamed["llr"], -plain["llr"], rtol=1e-9, atol=1e-12)
    for other in (moved, renamed):
        assert other["auc"] == pytest.approx(plain["auc"], abs=1e-12)
        assert other["balanced_accuracy"] == pytest.approx(plain["balanced_accuracy"], abs=1e-12)


@given(seed=seeds, a=st.sampled_from([0.0, 0.3, 1.0]))
@repeated
def test_rmia_follows_its_examples_and_ignores_the_order_of_references_and_population(seed, a):
    generator = np.random.default_rng(seed)
    target_x, ref_x = generator.integers(1, 9, size=6) / 8, generator.integers(1, 9, size=(3, 6)) / 8
    target_z, ref_z = generator.integers(1, 9, size=15) / 8, generator.integers(1, 9, size=(3, 15)) / 8
    got = rmia(target_x, ref_x, target_z, ref_z, a)
    assert ((got >= 0) & (got <= 1)).all()
    references = shuffled(generator, 3, ref_x, ref_z)
    population = shuffled(generator, 15, target_z[None], references[1], axis=1)
    moved = rmia(target_x[::-1], references[0][:, ::-1], population[0][0], population[1], a)
    assert moved[::-1].tolist() == got.tolist()
    assert (rmia(target_x, ref_x, target_z, ref_z, a, gamma=2.0) <= got).all()
    assert (rmia(target_x / 2, ref_x, target_z, ref_z, a) <= got).all()


@given(seed=seeds, scale=st.sampled_from([0.25, 1.0, 64.0]))
@repeated
def test_klom_is_never_negative_and_sees_samples_not_orders_or_units(seed, scale):
    generator = np.random.default_rng(seed)
    u, v = np.round(generator.normal(size=(7, 5)), 1), np.round(generator.normal(0.5, 2, size=(9, 5)), 1)
    got = klom(u, v, clip=2.0)
    assert (got >= 0).all()
    assert klom(u, np.repeat(u, 2, axis=0)).tolist() == [0.0] * 5
    reordered = klom(generator.permutation(u)[:, ::-1], generator.permutation(v)[:, ::-1], clip=2.0)
    np.testing.assert_allclose(reordered[::-1], got, atol=1e-12)
    np.testing.assert_allclose(klom(scale * u, scale * v, clip=2.0 * scale), got, atol=1e-12)  # powers of two: exact


@given(seed=seeds)
@repeated
def test_klom0_changes_sign_when_the_unlearned_and_the_second_retrained_models_change_places(seed):
    u, a, b = np.random.default_rng(seed).normal(size=(3, 8, 4))
    np.testing.assert_allclose(klom0(u, a, b), -klom0(b, a, u), atol=1e-12)
    assert klom0(u, a, u).tolist() == [0.0] * 4


@given(seed=seeds)
@settings(max_examples=8, deadline=None, derandomize=True)
def test_competition_scores_are_bounded_and_ignore_the_order_of_models_and_examples(seed):
    generator = np.random.default_rng(seed)
    u, v = generator.normal(size=(7, 3)), generator.normal(generator.uniform(-2, 2), 1, size=(7, 3))
    got = competition_forgetting_quality(u, v)
    moved = competition_forgetting_quality(generator.permutation(u)[:, ::-1], generator.permutation(v)[:, ::-1])
    assert moved["epsilon"][::-1].tolist() == got["epsilon"].tolist()
    assert moved["score"] == pytest.approx(got["score"], abs=1e-15)
    assert ((got["epsilon"] >= 0) & (got["epsilon"] <= 50)).all()
    assert 0 <= got["score"] <= 1


@given(seed=seeds)
@repeated
def test_legacy_columns_ignore_the_order_of_seeds_and_columns(seed):
    generator = np.random.default_rng(seed)
    u, r = generator.uniform(size=(2, 4, 3))
    for axis, count in ((0, 4), (1, 3)):
        reordered = shuffled(generator, count, u, r, axis=axis)
        assert tow(*reordered) == pytest.approx(tow(u, r))
        assert average_gap(*reordered) == pytest.approx(average_gap(u, r))
    assert average_gap(100 * u, 100 * r) == pytest.approx(100 * average_gap(u, r))
    forget = generator.uniform(size=9)
    efficacy = svc_mia_efficacy(u[0], r[0], forget)
    assert svc_mia_efficacy(u[0, ::-1], r[0], forget[::-1]) == pytest.approx(efficacy, abs=1e-12)
    assert 0 <= efficacy <= 1


@given(seed=seeds)
@repeated
def test_speedup_inverts_when_the_two_times_change_places(seed):
    generator = np.random.default_rng(seed)
    retrain, unlearn = np.exp(generator.normal(size=(2, 4, 3)))
    got = speedup(retrain, unlearn, np.zeros(4))
    assert speedup(unlearn, retrain, np.zeros(4)) == pytest.approx(1 / got)
    assert speedup(*shuffled(generator, 4, retrain, unlearn), np.zeros(4)) == pytest.approx(got)


# --- laws under no difference, and under a known one ------------------------------------------------------------


def pairs(generator: np.random.Generator, count: int, examples: int) -> tuple[Any, Any]:
    """Roles and groups of complementary pairs: each example is unlearned by one model of a pair, by a fair coin."""
    first = generator.integers(2, size=(count, examples))
    return np.stack([first, 1 - first], axis=1).reshape(2 * count, examples), np.repeat(np.arange(count), 2)


def auc_error(llr: Any, role: Any) -> float:
    """Standard error of the pooled AUC, from the spread of the AUCs of single examples (as many models a side)."""
    count = len(role) // 2
    ranks = (rankdata(llr, axis=0) * role).sum(axis=0)
    return float(np.std((ranks - count * (count + 1) / 2) / count**2) / np.sqrt(role.shape[1]))


@pytest.mark.parametrize(
    ("variance", "shift", "width", "closed_form"),
    [("shared", 0.7, 1.0, norm.cdf(0.7 / np.sqrt(2))), ("per_side", 0.0, 0.5, 2 / np.pi * np.arctan(2))],
)
def test_u_lira_with_64_models_a_side_comes_within_a_hundredth_of_the_best_possible_auc(
    variance, shift, width, closed_form
):
    generator = np.random.default_rng(0)
    role, group = pairs(generator, 64, 1000)
    margins = np.where(role == 1, width, 1.0) * generator.normal(size=role.shape) + shift * role
    attack = u_lira(margins, role, group, variance)
    assert closed_form - 0.01 < attack["auc"] < closed_form + 4 * auc_error(attack["llr"], role)


@both_variances
@pytest.mark.parametrize("count", [4, 8, 16, 32])
def test_u_lira_claims_nothing_between_complementary_pairs_of_equal_models(variance, count):
    generator = np.random.default_rng(count)
    role, group = pairs(generator, count, 16000 // count)
    attack = u_lira(generator.normal(size=role.shape), role, group, variance)
    assert abs(attack["auc"] - 0.5) < min(0.01, 4 * auc_error(attack["llr"], role))


KLOM_NULL = [  # models a side: mean and 95th percentile, with half a unit of their last printed digit
    (20, (3.0, 0.05), (4.9, 0.05)),
    (50, (0.90, 0.005), (1.69, 0.005)),
    (100, (0.36, 0.005), (0.70, 0.005)),
    (200, (0.15, 0.005), (0.28, 0.005)),
    (500, (0.05, 0.005), (0.10, 0.005)),
]


@pytest.mark.parametrize(("models", "mean", "p95"), KLOM_NULL)
def test_klom_between_equal_models_has_the_printed_mean_and_tail(models, mean, p95):
    examples = 4000
    null = np.sort(klom(*np.random.default_rng(models).normal(size=(2, models, examples))))
    assert abs(null.mean() - mean[0]) < mean[1] + 4 * null.std() / np.sqrt(examples)
    error = np.sqrt(0.95 * 0.05 * examples)
    low, high = (null[int(0.95 * examples + 4 * sign * error)] for sign in (-1, 1))
    assert low - p95[1] < p95[0] < high + p95[1]


@pytest.mark.parametrize("paired", [False, True])
def test_energy_distance_between_equal_laws_averages_zero_whatever_the_law(paired):
    generator = np.random.default_rng(1)
    examples, models = 4000, (30, 30 if paired else 12)
    common = generator.normal(size=(30, examples)) if paired else np.zeros((1, examples))
    u, v = (np.exp(0.9 * common + 0.6 * generator.normal(size=(count, examples))) for count in models)
    null = energy_distance(u, v, normalise=False, paired=paired)
    assert abs(null.mean()) < 4 * null.std() / np.sqrt(examples)


def test_debiased_cka_of_unrelated_features_averages_zero():
    generator = np.random.default_rng(0)
    null = np.array([cka(*generator.normal(size=(2, 40, 20))) for _ in range(400)])
    assert abs(null.mean()) < 4 * null.std() / np.sqrt(400)


@pytest.mark.parametrize(("shift", "width"), [(0.0, 1.0), (0.8, 0.2)])
def test_delong_covers_the_true_auc_nearly_as_often_as_it_says(shift, width):
    generator = np.random.default_rng(0)
    truth = norm.cdf(shift / np.hypot(1, width))
    draws = ((generator.normal(shift, width, size=120), generator.normal(size=600)) for _ in range(2000))
    inside = [low <= truth <= high for low, high in (delong_interval(*draw) for draw in draws)]
    assert abs(np.mean(inside) - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 2000)


@pytest.mark.parametrize(("m", "k"), [(50, 50), (40, 160)])
def test_auc_without_signal_spreads_as_the_rank_sum_does(m, k):
    generator = np.random.default_rng(m)
    null = [mia_auc(scores[:m], scores[m:]) for scores in generator.normal(size=(800, m + k))]
    spread = np.sqrt((m + k + 1) / (12 * m * k))
    assert abs(np.mean(null) - 0.5) < 4 * spread / np.sqrt(800)
    assert abs(np.std(null) - spread) < 4 * spread / np.sqrt(2 * 800)


@pytest.mark.parametrize(("k", "max_fpr"), [(100, 0.01), (1000, 0.01), (50, 0.001)])
def test_tpr_without_signal_is_one_false_positive_above_the_achieved_rate(k, max_fpr):
    generator = np.random.default_rng(k)
    points = [tpr_at_fpr(*np.split(generator.normal(size=60 + k), [60]), max_fpr) for _ in range(1500)]
    assert {point["fpr"] for point in points} == {int(k * max_fpr) / k}
    null = np.array([point["tpr"] for point in points])
    expected = (int(k * max_fpr) + 1) / (k + 1)  # members above the first non-member that is one too many
    assert abs(null.mean() - expected) < 4 * null.std() / np.sqrt(len(null))


def test_average_precision_without_signal_is_a_little_above_the_base_rate():
    generator = np.random.default_rng(0)
    m, n = 20, 100
    null = np.array([average_precision(np.arange(n) < m, scores) for scores in generator.normal(size=(1500, n))])
    harmonic = (1 / np.arange(1, n + 1)).sum()
    expected = ((m - 1) / (n - 1) * (n - harmonic) + harmonic) / n
    assert abs(null.mean() - expected) < 4 * null.std() / np.sqrt(len(null))
    assert m / n < expected < 1.2 * m / n


def test_the_average_gap_between_two_retrains_is_not_zero():
    u, r = np.random.default_rng(0).normal(90, 0.5, size=(2, 4000, 1))
    error = np.abs(u - r).std() / np.sqrt(4000)
    assert abs(average_gap(u, r) - 2 * 0.5 / np.sqrt(np.pi)) < 4 * error


def test_a_second_retrain_lies_inside_the_band_of_retrains_nine_times_in_ten():
    generator = np.random.default_rng(0)
    difficulty = generator.normal(size=300)

    def distances() -> tuple[float, float]:
        """|AUC gap| and energy distance on F between two retrains, which differ by calibration and noise."""
        models = [
            generator.normal(1, 0.1) * difficulty + generator.normal(2, 0.3) + 0.5 * generator.normal(size=300)
            for _ in range(2)
        ]
        aucs = [mia_auc(margins[:150], margins[150:]) for margins in models]
        forget = [margins[:150, None] for margins in models]
        return abs(aucs[0] - aucs[1]), float(energy_distance(*forget, normalise=False, paired=True)[0])

    p95 = np.quantile([distances() for _ in range(200)], 0.95, axis=0)
    inside = np.array([distances() for _ in range(100)]) <= p95
    assert (inside.sum(axis=0) >= 90).all()
