"""Population metrics on simulated ensembles of known laws: closed forms, nulls, and what must not be measured."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from benchmark import registry
from benchmark.api import Population
from benchmark.metrics import ensembles
from benchmark.metrics.attacks import mia_auc
from benchmark.metrics.ensembles import memorisation
from benchmark.metrics.pools import jackknife, leaving_out, margin, on_pool, on_set, similarity
from benchmark.metrics.population import rmia, u_lira
from benchmark.metrics.seeds import _worst
from benchmark.specs import derive_seed

SUPERVISED = (
    "u_lira",
    "u_rmia",
    "retain_exposure",
    "klom",
    "forgetting_quality",
    "energy_models",
    "attack_panel",
    "swap",
)
ENCODERS = ("encoder_u_lira", "encoder_energy", "encoder_attack_panel", "encoder_swap")
SIZES = {"retain": 40, "test": 300}


def ensemble(models, images, *, shift=0.0, width=1.0, seed=0):
    """Outputs of models that forget random complementary halves of `images` pool images.

    A pool image's score is N(level, 1), its level N(1, 1); where it was forgotten, N(level + shift, width). Scores of
    retain and test images are N(1, 1). The margin phi and the atanh of the head's similarity are the score; at the
    backbone nothing is forgotten. Levels, labels and halves are the same for all seeds; every model has its own order.
    """
    fixed, drawn = np.random.default_rng(images), np.random.default_rng([seed, 1])
    indices = fixed.permutation(5 * images)[:images]
    level, labels = fixed.normal(1, 1, images), fixed.integers(3, size=images)
    sets = {name: (1000 * images + np.arange(size), fixed.integers(3, size=size)) for name, size in SIZES.items()}
    coins = fixed.integers(2, size=(models // 2, images)).astype(bool)
    found = []
    for forgotten in np.stack([coins, ~coins], axis=1).reshape(models, images):
        noise = drawn.normal(size=images)
        scores = level + np.where(forgotten, shift + width * noise, noise)
        outputs = {"retain/probe": np.arange(0, SIZES["retain"], 2)}
        for name, mine in (("forget", forgotten), ("heldout", ~forgotten)):
            rows = drawn.permutation(np.flatnonzero(mine))
            outputs |= answers(name, indices[rows], labels[rows], scores[rows], (level + noise)[rows])
        for name, (where, truth) in sets.items():
            own = drawn.normal(1, 1, len(where))
            outputs |= answers(name, where, truth, own, own)
            outputs[f"{name}/head_similarities"] = outputs[f"{name}/head_similarities"][outputs["retain/probe"]]
        outputs |= {f"third_party/{what}": outputs[f"test/{what}"] for what in ("indices", "labels", "logits")}
        found.append(outputs)
    return found


def answers(name, indices, labels, scores, backbone):
    logits = np.zeros((len(scores), 3), np.float32)
    logits[np.arange(len(scores)), labels] = scores + np.log(2)
    parts = {"indices": indices, "labels": labels, "logits": logits}
    for place, values in (("head", scores), ("backbone", backbone)):
        parts[f"{place}_similarities"] = np.repeat(np.tanh(values)[:, None], 3, axis=1).astype(np.float32)
    return {f"{name}/{what}": values for what, values in parts.items()}


def population(models, images, seed=1000):
    """Originals that remember (shift 1.5) and retrained models that do not."""
    originals, retrained = (ensemble(models, images, shift=s, seed=seed + i) for i, s in enumerate((1.5, 0.0)))
    return Population(tuple(range(models)), originals, retrained, True)


def measure(name, models, among):
    return registry.get("metric", name).target().compute(models, among)


def values(name, models, among):
    return {value: finding.value for value, finding in measure(name, models, among).items()}


@pytest.fixture(scope="module")
def small():
    """16 models, 60 images: a population, and models that forgot half of what the originals remember."""
    return population(16, 60), ensemble(16, 60, shift=0.7, seed=7)


@pytest.fixture
def cheaper(monkeypatch):
    """Two blocks of the jackknife, which repeats all fits, and two offsets of RMIA."""
    monkeypatch.setattr(ensembles, "leaving_out", lambda pairs: leaving_out(pairs)[:2])
    monkeypatch.setattr(ensembles, "OFFSETS", np.array([0.2, 0.8]))


# -- alignment ---------------------------------------------------------------------------------------------


def test_scores_stand_in_the_order_of_the_pools_indices(small):
    among, models = small
    pool = on_pool(models, among, margin)
    assert (np.diff(pool.indices) > 0).all()
    for model, scores, forgotten in zip(models, pool.scores, pool.forgotten, strict=True):
        for name, mine in (("forget", forgotten), ("heldout", ~forgotten)):
            assert set(pool.indices[mine]) == set(model[f"{name}/indices"])
            place = np.searchsorted(pool.indices, model[f"{name}/indices"])
            np.testing.assert_array_equal(scores[place], margin(model, name))


def test_a_pair_gives_one_score_of_each_side(small):
    among, models = small
    pool = on_pool(models, among, margin)
    forgot, never = pool.sides()
    assert forgot.shape == never.shape == (8, 60)
    first = pool.forgotten[0]
    np.testing.assert_array_equal(forgot[0], np.where(first, pool.scores[0], pool.scores[1]))
    np.testing.assert_array_equal(never[0], np.where(first, pool.scores[1], pool.scores[0]))


def test_an_encoders_signal_is_the_atanh_of_its_mean_similarity():
    outputs = {"test/head_similarities": np.array([[0.1, 0.3], [1.0, 1.0], [-1.0, -1.0]])}
    ends = np.arctanh(1 - 1e-6)
    np.testing.assert_allclose(similarity("head")(outputs, "test"), [np.arctanh(0.2), ends, -ends])


def test_only_the_probe_of_the_retain_set_is_scored(small):
    assert on_set(small[1], margin, "retain").shape == (16, 20)


# -- U-LiRA ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "ending"), [("u_lira", ""), ("encoder_u_lira", "_head")])
def test_u_lira_is_within_a_hundredth_of_the_closed_form_at_64_models_a_side(name, ending, cheaper):
    found = values(name, ensemble(128, 300, shift=0.7, seed=3), population(128, 300))
    closed_form = norm.cdf(0.7 / np.sqrt(2))
    assert found[f"{name}_auc{ending}"] == pytest.approx(closed_form, abs=0.01)
    assert found[f"{name}_auc_p50{ending}"] == pytest.approx(closed_form, abs=0.01)


def test_u_lira_of_32_pairs_is_what_the_specification_says_and_its_interval_holds_it():
    found = measure("u_lira", ensemble(64, 750, shift=0.7, seed=4), population(64, 750))["u_lira_auc"]
    assert found.value == pytest.approx(0.681, abs=0.006)
    assert found.low < 0.681 < found.high
    assert found.high - found.low < 0.02


def test_u_lira_is_the_pure_function_on_aligned_scores(small):
    among, models = small
    pool = on_pool(models, among, margin)
    for ending, variance in (("", "shared"), ("_per_side", "per_side")):
        attack = u_lira(pool.scores, pool.forgotten, np.repeat(np.arange(8), 2), variance)
        assert values("u_lira", models, among)[f"u_lira_auc{ending}"] == attack["auc"]


def test_an_images_own_auc_compares_all_models_of_both_sides(small):
    among, models = small
    found = measure("u_lira", models, among)
    forgot, never = on_pool(models, among, margin).sides()
    own = [mia_auc(*columns) for columns in zip(forgot.T, never.T, strict=True)]
    np.testing.assert_allclose(found["u_lira_auc_p50"].per_example, own)
    assert found["u_lira_auc_max"].value == pytest.approx(max(own))


def test_nothing_remembered_at_the_backbone_is_found_there():
    found = values("encoder_u_lira", ensemble(32, 120, shift=1.5, seed=5), population(32, 120))
    assert found["encoder_u_lira_auc_head"] > 0.8
    assert found["encoder_u_lira_auc_backbone"] == pytest.approx(0.5, abs=0.04)


NULLS = {
    "u_lira": (
        "u_lira_auc",
        "u_lira_auc_vulnerable",
        "u_lira_auc_per_side",
        "u_lira_balanced_accuracy",
        "u_lira_auc_p50",
    ),
    "encoder_u_lira": ("encoder_u_lira_auc_head", "encoder_u_lira_auc_vulnerable_backbone"),
    "u_rmia": ("u_rmia_auc",),
    "swap": ("swap_auc",),
    "encoder_swap": ("encoder_swap_auc_head", "encoder_swap_auc_backbone"),
    "klom": ("klom0", "klom0_retain", "klom0_test"),
}


@pytest.mark.parametrize("name", NULLS)
def test_perfect_unlearning_centres_on_the_null(name, cheaper):
    repeats = 40
    found = [values(name, ensemble(16, 40, seed=100 + s), population(16, 40, 500 + 2 * s)) for s in range(repeats)]
    for value in NULLS[name]:
        sample = np.array([one[value] for one in found])
        null = 0.5 if "auc" in value or "accuracy" in value else 0.0
        assert abs(sample.mean() - null) < 3 * sample.std(ddof=1) / np.sqrt(repeats), value


def test_originals_choose_the_vulnerable_images_for_the_other_half_of_the_pairs_only():
    models, images = 64, 200
    among, unlearned = population(models, images), ensemble(models, images, shift=0.3, seed=8)
    remembered = np.arange(images) < 20
    indices = np.sort(unlearned[0]["forget/indices"].tolist() + unlearned[0]["heldout/indices"].tolist())
    for side in (unlearned, among.original):
        for model in side:
            add(model, indices[remembered], 2.0)
    found = measure("u_lira", unlearned, among)
    assert found["u_lira_auc_vulnerable"].value > 0.9 > 0.7 > found["u_lira_auc"].value
    assert found["u_lira_auc_vulnerable"].n == 20


def add(model, indices, margin):
    """Raise the margin of those forget images that are among `indices`."""
    mine = np.flatnonzero(np.isin(model["forget/indices"], indices))
    model["forget/logits"][mine, model["forget/labels"][mine]] += margin


def test_memorisation_is_a_difference_in_standard_deviations():
    generator = np.random.default_rng(0)
    seen, unseen = generator.normal(3, 2, size=(200, 50)), generator.normal(0, 2, size=(200, 50))
    assert memorisation(seen, unseen).mean() == pytest.approx(1.5, abs=0.03)
    with pytest.raises(ValueError, match="do not differ"):
        memorisation(np.ones((3, 2)), np.zeros((3, 2)))


def test_over_forgetting_falls_below_one_half_and_u_lira_alarms_all_the_same():
    among, models = population(16, 100), ensemble(16, 100, shift=-1.0, seed=9)
    assert values("swap", models, among)["swap_auc"] < 0.4
    assert values("u_rmia", models, among)["u_rmia_auc"] < 0.4
    found = values("u_lira", models, among)
    assert found["u_lira_auc_p50"] < 0.3
    assert found["u_lira_auc"] > 0.6  # its ratio learns the direction


def test_a_collapsed_width_escapes_shared_variances_alone():
    among, models = population(64, 300), ensemble(64, 300, width=0.5, seed=10)
    found = values("u_lira", models, among) | values("energy_models", models, among)
    assert found["u_lira_auc"] == pytest.approx(0.5, abs=0.03)
    assert found["u_lira_auc_per_side"] > 0.65
    assert found["energy_models"] > 5 * abs(found["energy_models_floor"]) + 0.05
    narrow = values("forgetting_quality", ensemble(16, 60, width=0.5, seed=10), population(16, 60))
    assert narrow["forgetting_quality_variance_ratio"] == pytest.approx(0.25, abs=0.05)


def test_the_smallest_ensemble_is_four_pairs():
    found = measure("u_lira", ensemble(8, 40, seed=1), population(8, 40))
    assert 0 <= found["u_lira_auc"].low < found["u_lira_auc"].value < found["u_lira_auc"].high <= 1
    with pytest.raises(ValueError, match="at least 2"):
        measure("u_lira", ensemble(6, 40, seed=1), population(6, 40))


def test_the_jackknife_of_a_mean_is_its_t_interval():
    sample = np.random.default_rng(0).normal(size=16)
    parts = [sample[rest].mean() for rest in leaving_out(16)]
    low, high = jackknife(sample.mean(), parts)
    half_width = 2.1314495 * sample.std(ddof=1) / 4
    assert (low, high) == pytest.approx((sample.mean() - half_width, sample.mean() + half_width))
    assert [rest.sum() for rest in leaving_out(40)] == [37] * 13 + [39]


# -- RMIA and retain images --------------------------------------------------------------------------------


def test_u_rmia_scores_each_model_by_partners_of_its_half_that_never_saw_the_image(monkeypatch):
    monkeypatch.setattr(ensembles, "OFFSETS", np.array([0.3]))
    among, models = population(8, 50), ensemble(8, 50, shift=1.0, seed=2)
    pool, tested = on_pool(models, among, margin), 1 / (1 + np.exp(-on_set(models, margin, "test")))
    x = 1 / (1 + np.exp(-pool.scores))
    expected = []
    for model in range(8):
        other = (model // 2 + 2) % 4  # of four pairs the only other one of its half
        unseen = np.where(pool.forgotten[2 * other], x[2 * other + 1], x[2 * other])
        z = tested[2 * other : 2 * other + 2].mean(axis=0)
        scores = rmia(x[model], unseen[None], tested[model], z[None], 0.3)
        expected.append(mia_auc(scores[pool.forgotten[model]], scores[~pool.forgotten[model]]))
    found = measure("u_rmia", models, among)
    np.testing.assert_allclose(found["u_rmia_auc"].per_seed, expected)
    assert found["u_rmia_auc"].value == pytest.approx(np.mean(expected))
    assert found["u_rmia_a"].value == pytest.approx(0.3)


def test_u_rmia_of_saturated_models_is_all_ties():
    among, models = population(8, 30), ensemble(8, 30, shift=1.0)
    for model in models:
        for name in ("forget", "heldout", "test"):
            model[f"{name}/logits"] = 1000 * np.eye(3, dtype=np.float32)[model[f"{name}/labels"]]
    found = values("u_rmia", models, among)
    assert found["u_rmia_auc"] == 0.5 and found["u_rmia_tie_rate"] == 1.0


def test_u_rmia_divides_by_no_underflown_probability():
    among, models = population(8, 30), ensemble(8, 30, shift=1.0)
    for model in models:
        for name in ("forget", "heldout", "test"):
            model[f"{name}/logits"][np.arange(len(model[f"{name}/labels"])), model[f"{name}/labels"]] -= 5000
    assert values("u_rmia", models, among)["u_rmia_auc"] == 0.5


def test_retain_exposure_is_the_mean_of_plain_aucs(small):
    among, models = small
    expected = [mia_auc(margin(model, "retain"), margin(model, "heldout")) for model in models]
    found = measure("retain_exposure", models, among)["retain_auc"]
    np.testing.assert_allclose(found.per_seed, expected)
    assert found.low < found.value < found.high


def test_retain_exposure_of_perfect_unlearning_centres_on_that_of_retrained_models():
    gaps = []
    for seed in range(40):
        among = population(8, 40, 500 + 2 * seed)
        sides = (ensemble(8, 40, seed=100 + seed), among.retrained)
        unlearned, retrained = (values("retain_exposure", side, among)["retain_auc"] for side in sides)
        gaps.append(unlearned - retrained)
    assert abs(np.mean(gaps)) < 3 * np.std(gaps, ddof=1) / np.sqrt(len(gaps))


def test_without_a_comparable_retain_set_its_numbers_are_left_out():
    among, models = population(8, 40), ensemble(8, 40)
    for model in (*models, *among.original, *among.retrained):
        del model["retain/probe"]
    assert measure("retain_exposure", models, among) == {}
    for name in ("klom", "energy_models", "encoder_energy"):
        found = measure(name, models, among)
        assert found and not [value for value in found if "retain" in value]


# -- distances to the law of retrained models ----------------------------------------------------------------


def test_the_energy_distance_of_a_shift_is_its_closed_form():
    m, models, images = 0.7, 128, 400
    found = values("energy_models", ensemble(models, images, shift=m, seed=11), population(models, images))
    cross = 2 / np.sqrt(np.pi) * np.exp(-(m**2) / 4) + m * (1 - 2 * norm.cdf(-m / np.sqrt(2)))
    assert found["energy_models"] == pytest.approx(2 * cross - 4 / np.sqrt(np.pi), abs=0.02)


@pytest.mark.parametrize("name", ["energy_models", "encoder_energy"])
def test_summaries_of_the_energy_distance_are_of_the_distances_per_image(small, name):
    among, models = small
    found = measure(name, models, among)
    ending = "_head" if name == "encoder_energy" else ""
    own = np.array(found[f"{name}{ending}"].per_example)
    assert found[f"{name}{ending}"].value == own.mean()
    assert found[f"{name}_p95{ending}"].value == np.quantile(own, 0.95)
    assert found[f"{name}_worst{ending}"].value == pytest.approx(np.sort(own)[-6:].mean())
    assert found[f"{name}{ending}"].low < own.mean() < found[f"{name}{ending}"].high


def test_retrained_models_in_the_place_of_unlearned_ones_stand_on_the_floor(small):
    among, _ = small
    energy = values("energy_models", among.retrained, among)
    for summary in ("", "_p95", "_worst"):
        assert energy[f"energy_models{summary}"] == energy[f"energy_models{summary}_floor"]
    assert set(values("klom", among.retrained, among).values()) == {0.0}
    assert values("forgetting_quality", among.retrained, among)["forgetting_quality_ratio"] == 1.0


@pytest.mark.parametrize(("name", "ending"), [("energy_models", ""), ("encoder_energy", "_head")])
def test_energy_distances_of_perfect_unlearning_centre_on_their_floors(name, ending):
    found = [values(name, ensemble(16, 40, seed=100 + s), population(16, 40, 500 + 2 * s)) for s in range(40)]
    for summary in ("", "_p95", "_worst"):
        own, floor = (np.array([one[f"{name}{summary}{part}{ending}"] for one in found]) for part in ("", "_floor"))
        assert abs((own - floor).mean()) < 3 * (own - floor).std(ddof=1) / np.sqrt(len(found))


def test_no_retrained_model_is_compared_with_an_unlearned_one_of_its_seed():
    """A copy of the retrained model of the same seed is no nearer than any other draw from its law."""
    among = population(16, 200)
    fresh = values("energy_models", ensemble(16, 200, seed=12), among)["energy_models"]
    copies = values("energy_models", among.retrained, among)["energy_models"]
    assert copies == pytest.approx(fresh, abs=0.06)


def test_forgetting_quality_is_the_competitions_score_over_its_null(small):
    among, models = small
    found = measure("forgetting_quality", models, among)
    ratio, score = found["forgetting_quality_ratio"], found["forgetting_quality_score"]
    null = values("forgetting_quality", among.retrained, among)["forgetting_quality_score"]
    assert ratio.value == pytest.approx(score.value / null)
    assert score.value == pytest.approx(np.mean(score.per_example))
    assert ratio.low < ratio.value < ratio.high
    assert ratio.value < 0.9


# -- panel and swap ----------------------------------------------------------------------------------------


def test_the_panel_is_zero_for_the_retrained_model_and_large_for_the_original(small):
    among, models = small
    for name, value in (("attack_panel", "attack_panel_worst"), ("encoder_attack_panel", "encoder_attack_panel_worst")):
        worst = [values(name, side, among)[value] for side in (among.retrained, models, among.original)]
        assert worst[0] == 0.0
        assert worst[0] < worst[1] < worst[2]
        assert worst[2] == pytest.approx(norm.cdf(1.5 / 2) - 0.5, abs=0.06)  # levels spread as models do


def test_an_attack_that_fails_on_the_originals_has_no_vote_and_none_means_no_value(small):
    among, models = small
    found = measure("encoder_attack_panel", models, among)["encoder_attack_panel_worst"]
    flattened = [model | {f"{s}/backbone_similarities": model[f"{s}/head_similarities"] for s in ("forget", "heldout")}
                 for model in models]  # fmt: skip
    swollen = measure("encoder_attack_panel", flattened, among)["encoder_attack_panel_worst"]
    assert swollen.per_seed == found.per_seed  # the backbone detects nothing on the originals
    forgetful = replace(among, original=among.retrained)
    assert measure("attack_panel", models, forgetful) == {}


def test_the_panel_reports_an_attack_on_the_half_that_did_not_choose_it():
    assert _worst(np.array([[0.3, 0.0], [0.1, 0.2]])) == pytest.approx((0.1 + 0.0) / 2)
    assert _worst(np.array([[0.3, 0.2], [0.1, 0.0]])) == pytest.approx((0.3 + 0.2) / 2)


def test_the_only_valid_attack_of_a_panel_is_the_mean_of_its_distances_on_both_halves(small):
    among, models = small
    found = measure("encoder_attack_panel", models, among)["encoder_attack_panel_worst"]
    lots = np.random.default_rng(derive_seed("panel", "halves")).random(5 * 60)
    for seed in range(16):
        gaps = []
        for half in (0, 1):
            aucs = []
            for model in (models[seed], among.retrained[seed]):
                parts = []
                for name in ("forget", "heldout"):
                    by_lot = np.argsort(lots[model[f"{name}/indices"]])[half::2]
                    parts.append(model[f"{name}/head_similarities"].mean(axis=1)[by_lot])
                aucs.append(mia_auc(*parts))
            gaps.append(abs(aucs[0] - aucs[1]))
        assert found.per_seed[seed] == pytest.approx(np.mean(gaps))


def test_one_seed_alone_is_gated_over_its_images_and_has_no_interval():
    among, models = population(8, 200), ensemble(8, 200, shift=0.7)
    alone = Population((0,), among.original[:1], among.retrained[:1], False)
    found = measure("attack_panel", models[:1], alone)["attack_panel_worst"]
    assert found.low is found.high is None
    assert list(found.per_seed) == [found.value]


def test_the_swapped_auc_is_averaged_over_partners_and_pairs(small):
    among, models = small
    aucs = [mia_auc(margin(model, "forget"), margin(model, "heldout")) for model in models]
    found = measure("swap", models, among)["swap_auc"]
    assert found.value == pytest.approx(np.mean(aucs))
    assert found.low < found.value < found.high
    assert not found.per_seed


def test_pairs_need_not_share_a_pool_to_be_swapped(small):
    among, models = small
    moved = [
        model | {f"{name}/indices": model[f"{name}/indices"] + 10_000 * (seed // 2) for name in ("forget", "heldout")}
        for seed, model in enumerate(models)
    ]
    assert values("swap", moved, among) == values("swap", models, among)


# -- all -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*SUPERVISED, *ENCODERS])
def test_what_is_declared_is_computed_and_nothing_else(name, small):
    among, models = small
    assert measure(name, models, among).keys() == registry.get("metric", name).info.values.keys()


def permuted_images(models, seed=0):
    generator = np.random.default_rng(seed)
    found = []
    for model in models:
        order = {name: generator.permutation(len(model[f"{name}/indices"])) for name in ("forget", "heldout")}
        rows = {key: order.get(key.partition("/")[0], slice(None)) for key in model}
        found.append({key: values[rows[key]] for key, values in model.items()})
    return found


@pytest.mark.parametrize("name", [*SUPERVISED, *ENCODERS])
def test_the_order_of_images_changes_nothing(name, small):
    among, models = small
    shuffled = replace(
        among, original=permuted_images(among.original, 1), retrained=permuted_images(among.retrained, 2)
    )
    found = values(name, permuted_images(models), shuffled)
    assert found == pytest.approx(values(name, models, among), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", [name for name in (*SUPERVISED, *ENCODERS) if name != "u_rmia"])
def test_the_order_of_pairs_changes_no_value(name, small):
    """Within the two halves of the pairs; U-RMIA's references are the next pairs, so that it depends on the order."""
    among, models = small
    order = np.array([2, 5, 4, 1, 0, 7, 6, 3])
    seeds = (2 * order[:, None] + [0, 1]).ravel()

    def reordered(side):
        return [side[seed] for seed in seeds]

    turned = replace(among, original=reordered(among.original), retrained=reordered(among.retrained))
    found = values(name, reordered(models), turned)
    assert found == pytest.approx(values(name, models, among), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", [*SUPERVISED, *ENCODERS])
def test_a_score_that_is_no_number_is_an_error(name, small):
    among, models = small
    key = "heldout/head_similarities" if name in ENCODERS else "heldout/logits"
    broken = [dict(model) for model in models]
    broken[3][key] = np.full_like(broken[3][key], np.nan)
    with pytest.raises(ValueError):
        measure(name, broken, among)


OF_ENSEMBLES = [name for name in (*SUPERVISED, *ENCODERS) if "panel" not in name and "swap" not in name]


@pytest.mark.parametrize("name", OF_ENSEMBLES)
def test_pools_that_differ_are_an_error(name, small):
    among, models = small
    with pytest.raises(ValueError, match="pool"):
        measure(name, [*models[:-2], *ensemble(2, 61)], among)


@pytest.mark.parametrize("name", [*OF_ENSEMBLES, "swap", "encoder_swap"])
def test_a_seed_without_its_partner_is_an_error(name, small):
    among, models = small
    seeds = among.seeds[:-1]
    fewer = Population(seeds, among.original[:-1], among.retrained[:-1], False)
    with pytest.raises(ValueError, match="seed 14 has no partner 15"):
        measure(name, models[:-1], fewer)


@pytest.mark.parametrize("name", [*OF_ENSEMBLES, "swap", "encoder_swap"])
def test_partners_that_forgot_the_same_images_are_an_error(name, small):
    among, models = small
    with pytest.raises(ValueError, match="seeds 2 and 3"):
        measure(name, [*models[:3], models[2], *models[4:]], among)


def test_retrained_models_of_other_splits_are_an_error(small):
    among, models = small
    turned = replace(among, retrained=[*among.retrained[2:], *among.retrained[:2]])
    for name in ("klom", "forgetting_quality", "energy_models", "encoder_energy"):
        with pytest.raises(ValueError, match="seeds must correspond"):
            measure(name, models, turned)


def test_models_that_were_asked_about_different_probes_are_an_error(small):
    among, models = small
    other = models[5] | {"retain/probe": models[5]["retain/probe"] + 1}
    with pytest.raises(ValueError, match="different retain images"):
        measure("klom", [*models[:5], other, *models[6:]], among)


def test_an_image_in_both_sets_is_an_error(small):
    among, models = small
    twice = models[0] | {"forget/indices": np.full_like(models[0]["forget/indices"], 1)}
    with pytest.raises(ValueError, match="stands twice"):
        measure("u_lira", [twice, *models[1:]], among)
