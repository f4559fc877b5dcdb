"""Legacy columns of one run: by hand where that is possible, and never better than a retrained model's own."""

import numpy as np
import pytest

from benchmark.api import References
from benchmark.metrics import average_gap, svc_mia_efficacy, tow
from benchmark.metrics._subsets import evenly_spaced, halves
from benchmark.metrics.papers import EmiaThreshold, PaperColumns
from tests.metrics.observed import classifier, encoder, with_phi

MEMBERS, OTHERS = [8.0, 9.0, 10.0, 11.0], [-8.0, -9.0, -10.0, 11.0]
UNLEARNED = with_phi(forget=[-9.0, -9.0, 9.0, 9.0], heldout=OTHERS, retain=MEMBERS, test=OTHERS)
RETRAINED = with_phi(forget=[-9.0, -9.0, -9.0, 9.0], heldout=OTHERS, retain=MEMBERS, test=OTHERS)


def columns(unlearned, retrained):
    return PaperColumns().compute(unlearned, References(retrained, retrained))


def test_the_columns_of_a_model_whose_answers_are_known():
    """Forget images are forgotten (wrong, and called non-members) in two cases of four, in three by retraining."""
    found = columns(UNLEARNED, RETRAINED)
    assert found["svc_mia_efficacy"] == found["svc_mia_correctness"] == 0.5
    assert found["average_gap"] == pytest.approx((25 + 0 + 0 + 25) / 4)  # UA, RA, TA, MIA in points
    assert found["tow"] == found["tow_mia"] == pytest.approx(0.75)


def test_the_retrained_model_has_no_gap_and_wins_its_tug_of_war():
    found = columns(RETRAINED, RETRAINED)
    assert (found["average_gap"], found["tow"], found["tow_mia"]) == (0.0, 1.0, 1.0)


def test_a_run_is_one_seed_of_the_published_means():
    runs, retrained = [classifier(seed) for seed in (0, 1)], [classifier(seed) for seed in (2, 3)]
    found = [columns(u, r) for u, r in zip(runs, retrained, strict=True)]

    def rows(models):
        accuracies = [
            [(o[f"{n}/logits"].argmax(1) == o[f"{n}/labels"]).mean() for n in ("forget", "retain", "test")]
            for o in models
        ]
        mia = [columns(outputs, outputs)["svc_mia_efficacy"] for outputs in models]
        return np.array(accuracies), np.array(mia)

    (accuracies, mia), (accuracies_r, mia_r) = rows(runs), rows(retrained)
    assert np.mean([f["tow"] for f in found]) == pytest.approx(tow(accuracies, accuracies_r))
    joined, joined_r = np.column_stack([accuracies, mia]), np.column_stack([accuracies_r, mia_r])
    assert np.mean([f["average_gap"] for f in found]) == pytest.approx(average_gap(100 * joined, 100 * joined_r))


def test_over_forgetting_is_called_perfect():
    over = with_phi(forget=[-20.0] * 4, heldout=OTHERS, retain=MEMBERS, test=[-5.0, 1.0, 2.0, 3.0])
    assert columns(over, RETRAINED)["svc_mia_efficacy"] == 1.0


def test_the_attack_is_fitted_on_as_many_retain_as_test_images():
    outputs = classifier()
    shares = [np.exp(o) / np.exp(o).sum(1, keepdims=True) for o in (outputs[f"{n}/logits"] for n in ("retain", "test"))]
    p = [s[np.arange(len(s)), outputs[f"{n}/labels"]] for s, n in zip(shares, ("retain", "test"), strict=True)]
    forget = np.exp(outputs["forget/logits"]) / np.exp(outputs["forget/logits"]).sum(1, keepdims=True)
    expected = svc_mia_efficacy(p[0][::2], p[1], forget[np.arange(12), outputs["forget/labels"]])
    assert columns(outputs, outputs)["svc_mia_efficacy"] == expected


@pytest.mark.parametrize(("count", "wanted"), [(10, 10), (10, 3), (7, 5), (3, 9), (1, 1)])
def test_evenly_spaced_positions_are_different_and_inside(count, wanted):
    chosen = evenly_spaced(count, wanted)
    assert len(set(chosen.tolist())) == len(chosen) == min(count, wanted)
    assert chosen.min() == 0 and chosen.max() < count
    assert np.ptp(np.diff(chosen, append=count)) <= 1


@pytest.mark.parametrize("count", [2, 5, 8])
def test_halves_part_all_positions(count):
    first, second = halves(count)
    assert sorted([*first, *second]) == list(range(count))
    assert 0 <= len(first) - len(second) <= 1


def alike(*levels):
    return np.repeat(np.array(levels)[:, None], 10, axis=1)


def test_the_threshold_of_an_encoder_is_the_lowest_that_parts_members_best():
    outputs = encoder() | {
        "retain/backbone_similarities": alike(0.8, 0.85, 0.9, 0.95),
        "heldout/backbone_similarities": alike(0.3, 0.5),
        "forget/backbone_similarities": alike(0.4, 0.501, 0.503, 0.9),
    }
    found = EmiaThreshold().compute(outputs, References(outputs, outputs))
    assert found == {"emia_threshold": 0.5}  # 0.502 is the first edge above 0.5


def test_there_is_no_threshold_where_retain_images_are_not_attacked():
    outputs = encoder()
    del outputs["retain/backbone_similarities"]
    assert EmiaThreshold().compute(outputs, References(outputs, outputs)) == {}
