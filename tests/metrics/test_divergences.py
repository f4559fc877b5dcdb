"""Distances to the retrained model: known values, the null, and what each of them is made from."""

import numpy as np
import pytest

from benchmark.api import References, info_of
from benchmark.metrics import cka
from benchmark.metrics.divergences import EncoderDistances, OutputDistances
from tests.metrics.observed import classifier, encoder, with_phi


def outputs_of(margins):
    return with_phi(margins, margins, test=margins)


def test_opposite_certainties_are_ln_2_apart_and_shifted_margins_as_far_as_their_energy():
    unlearned, retrained = outputs_of([1000.0, 1001.0]), outputs_of([-1000.0, -999.0])
    found = OutputDistances().compute(unlearned, References(unlearned, retrained))
    for name in ("forget", "heldout", "test"):
        assert found[f"js_{name}"] == pytest.approx(np.log(2))
        assert found[f"energy_{name}"] == pytest.approx(2 * 2000 - 1 - 1)  # pairs i != j: 1999 and 2001 apart


def test_each_set_has_its_own_distance():
    unlearned, retrained = classifier(0), classifier(1)
    for name in ("forget", "test"):
        unlearned[f"{name}/logits"] = retrained[f"{name}/logits"]
    found = OutputDistances().compute(unlearned, References(retrained, retrained))
    assert [name for name, value in found.items() if abs(value) > 1e-12] == ["js_heldout", "energy_heldout"]


def test_labels_enter_the_margins_and_not_the_predictions():
    unlearned, retrained = classifier(0), classifier(1)
    before = OutputDistances().compute(unlearned, References(retrained, retrained))
    relabelled = [outputs | {"forget/labels": outputs["forget/labels"].copy()} for outputs in (unlearned, retrained)]
    for outputs in relabelled:
        outputs["forget/labels"][0] = (outputs["forget/labels"][0] + 1) % 3
    after = OutputDistances().compute(relabelled[0], References(retrained, relabelled[1]))
    assert [name for name in before if before[name] != after[name]] == ["energy_forget"]


@pytest.mark.parametrize(("metric", "make"), [(OutputDistances, classifier), (EncoderDistances, encoder)])
def test_the_retrained_model_is_at_no_distance_from_itself(metric, make):
    original, retrained = make(1), make(2)
    found = metric().compute(retrained, References(original, retrained))
    expected = dict.fromkeys(found, 0.0) | {name: 1.0 for name in found if name in ("cka_forget", "cka_test")}
    for name, value in found.items():
        if not name.startswith("cka_original"):
            assert value == pytest.approx(expected[name], abs=1e-12), name


def test_cka_is_told_against_both_references_on_both_sets():
    unlearned, original, retrained = (encoder(seed) for seed in range(3))
    found = EncoderDistances().compute(unlearned, References(original, retrained))
    for name in ("forget", "test"):
        features = [outputs[f"{name}/features"] for outputs in (unlearned, original, retrained)]
        assert found[f"cka_original_{name}"] == cka(features[0], features[1])
        assert found[f"cka_{name}"] == cka(features[0], features[2])
    no_op = EncoderDistances().compute(original, References(original, retrained))
    assert no_op["cka_original_forget"] == pytest.approx(1.0)


def test_cka_matches_the_retrained_model_so_that_the_floor_is_its_target():
    values = info_of(EncoderDistances).values
    assert values["cka_forget"].goal == values["cka_test"].goal == "match_retrained"
    assert values["cka_original_forget"].goal == "info"


def test_the_forgetting_score_is_the_mean_gap_of_the_first_pair_of_views():
    unlearned, retrained = encoder(0), encoder(1)
    unlearned["forget/head_similarities"][:, 0] = 0.25
    retrained["forget/head_similarities"][:, 0] = 0.75
    found = EncoderDistances().compute(unlearned, References(retrained, retrained))
    assert found["forgetting_score_delta"] == 0.5


def test_the_energy_of_an_encoder_is_that_of_its_mean_similarities():
    unlearned, retrained = encoder(0), encoder(0)
    for outputs, scores in ((unlearned, [0.5, 0.75]), (retrained, [0.0, 0.25])):
        outputs["heldout/head_similarities"] = np.repeat(np.array(scores)[:, None], 10, axis=1)
    found = EncoderDistances().compute(unlearned, References(retrained, retrained))
    assert found["energy_head_heldout"] == pytest.approx(2 * 0.5 - 0.25 - 0.25)
    assert found["energy_head_forget"] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(("metric", "make"), [(OutputDistances, classifier), (EncoderDistances, encoder)])
def test_models_that_were_asked_about_other_images_are_not_compared(metric, make):
    unlearned, retrained = make(0), make(1)
    shorter = retrained | {name: array[:-1] for name, array in retrained.items() if name.startswith("forget/")}
    with pytest.raises(ValueError):
        metric().compute(unlearned, References(retrained, shorter))
