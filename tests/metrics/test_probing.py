"""Learned attacks and probes: what they may be fitted on, and what they find where the answer is known."""

import warnings

import numpy as np
import pytest

from benchmark.api import References
from benchmark.metrics import probing
from benchmark.metrics.probing import EncoderMIV, ForgetClassProbe, RetainRelearning, encodermi_v_auc
from tests.metrics.observed import classifier, encoder


def similar(level, count, seed):
    """[count, 45] cosines around a level."""
    return np.clip(level + 0.05 * np.random.default_rng(seed).normal(size=(count, 45)), -1, 1)


@pytest.fixture
def one_attacker(monkeypatch):
    monkeypatch.setattr(probing, "ATTACKERS", (0,))


@pytest.mark.usefixtures("one_attacker")
def test_images_that_look_like_members_are_found():
    assert encodermi_v_auc(similar(0.9, 60, 0), similar(0.9, 20, 1), similar(0.1, 40, 2)) == 1.0


@pytest.mark.usefixtures("one_attacker")
def test_forget_images_that_look_held_out_are_not():
    heldout = similar(0.5, 240, 2)
    auc = encodermi_v_auc(similar(0.6, 120, 0), heldout[:120], heldout[120:])
    assert auc == pytest.approx(0.5, abs=0.09)  # two standard errors


@pytest.mark.usefixtures("one_attacker")
def test_the_learned_attack_is_the_same_each_time_and_ends_without_a_warning():
    sets = similar(0.6, 30, 0), similar(0.5, 10, 1), similar(0.5, 12, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert encodermi_v_auc(*sets) == encodermi_v_auc(*sets)


class Remembers:
    """An attacker that calls a member whatever it was shown."""

    def __init__(self, members, nonmembers):
        self.members = {tuple(row) for row in members}
        self.nonmembers = {tuple(row) for row in nonmembers}

    def predict_proba(self, rows):
        seen = [tuple(row) in self.members | self.nonmembers for row in rows]
        return np.stack([np.ones(len(rows)), seen], axis=1)


def test_what_is_scored_was_never_in_the_fit(monkeypatch):
    fitted = []
    monkeypatch.setattr(probing, "_attacker", lambda m, n, seed: fitted.append(Remembers(m, n)) or fitted[-1])
    retain, forget, heldout = similar(0.6, 30, 0), similar(0.5, 10, 1), similar(0.5, 13, 2)
    assert encodermi_v_auc(retain, forget, heldout) == 0.5  # nothing that was scored had been seen
    shown = [attacker.nonmembers for attacker in fitted[::3]]
    assert not shown[0] & shown[1]
    assert shown[0] | shown[1] == {tuple(np.sort(row)) for row in heldout}
    assert [len(attacker.members) for attacker in fitted] == [7, 7, 7, 6, 6, 6]


@pytest.mark.usefixtures("one_attacker")
def test_the_order_of_the_pairs_of_views_does_not_matter():
    sets = similar(0.6, 30, 0), similar(0.5, 10, 1), similar(0.5, 12, 2)
    assert encodermi_v_auc(*(x[:, ::-1] for x in sets)) == encodermi_v_auc(*sets)


def test_without_comparable_retain_images_there_is_no_learned_attack():
    outputs = encoder()
    del outputs["retain/head_similarities"]
    assert EncoderMIV().compute(outputs, References(outputs, outputs)) == {}


@pytest.mark.parametrize(
    "sets",
    [
        ([[0.5, 0.5]], [[0.5, 0.5]], [[0.5, 0.5]]),
        ([[0.5]], [[0.5, 0.5]], [[0.5, 0.5], [0.4, 0.4]]),
        ([[0.5]], [[np.nan]], [[0.5], [0.4]]),
    ],
    ids=["one held-out image", "other views", "nan"],
)
def test_the_learned_attack_refuses_what_it_cannot_use(sets):
    with pytest.raises(ValueError, match=r"^encodermi_v_auc: "):
        encodermi_v_auc(*sets)


def with_class_forgotten(place, shown=6, make=classifier):
    """Class 2 is forgotten; its features lie at `place`, those of class 0 and 1 at two corners."""
    corners = np.array([[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], place])
    rng, outputs = np.random.default_rng(0), make()
    labels = {"retain": np.arange(40) % 2, "forget": np.full(10, 2), "heldout": np.full(shown, 2)}
    for name, found in labels.items():
        outputs[f"{name}/labels"] = found
        outputs[f"{name}/features"] = corners[found] + 0.1 * rng.normal(size=(len(found), 3))
    del outputs["retain/probe"]
    return outputs


def class_probe(outputs):
    return ForgetClassProbe().compute(outputs, References(outputs, outputs))


def test_a_class_with_a_place_of_its_own_is_read():
    assert class_probe(with_class_forgotten([0.0, 0.0, 4.0])) == {"forget_class_probe": 1.0}
    assert ForgetClassProbe().sizes(with_class_forgotten([0.0, 0.0, 4.0])) == {"forget_class_probe": 10}


def test_a_class_that_lies_among_another_is_not():
    assert class_probe(with_class_forgotten([4.0, 0.0, 0.0]))["forget_class_probe"] < 0.3


def test_an_encoder_is_probed_as_a_classifier_is():
    place = [0.0, 0.0, 4.0]
    assert class_probe(with_class_forgotten(place, make=encoder)) == class_probe(with_class_forgotten(place))


def test_the_class_probe_never_sees_forget_images(monkeypatch):
    shown = []
    monkeypatch.setattr(probing, "fitted_probe", lambda features, labels: shown.append((features, labels)))
    monkeypatch.setattr(probing, "probe_accuracy", lambda probe, features, labels: 0.0)
    outputs = with_class_forgotten([0.0, 0.0, 4.0], shown=7)
    class_probe(outputs)
    counts = [(labels == 2).sum() for _, labels in shown]
    assert counts == [4, 3]
    both = np.concatenate([features[-count:] for (features, _), count in zip(shown, counts, strict=True)])
    np.testing.assert_array_equal(np.sort(both, axis=0), np.sort(outputs["heldout/features"], axis=0))


@pytest.mark.parametrize("shown", [0, 1])
def test_a_class_that_cannot_be_shown_is_not_probed(shown):
    assert class_probe(with_class_forgotten([0.0, 0.0, 4.0], shown)) == {}


def test_a_class_missing_by_chance_was_not_forgotten_whole():
    outputs = with_class_forgotten([0.0, 0.0, 4.0])
    assert class_probe(outputs | {"retain/probe": np.arange(5)}) == {}


def correct(*shares):
    """[4, 10] with these numbers of right answers at the checkpoints."""
    return np.array([np.arange(10) < share for share in shares])


def test_relearning_is_averaged_over_four_checkpoints():
    unlearned = classifier() | {"relearning/forget_correct": correct(5, 8, 10, 9)}
    unlearned["relearning/heldout_correct"] = correct(5, 5, 5, 5)
    retrained = classifier() | {"relearning/forget_correct": correct(4, 4, 4, 4)}
    found = RetainRelearning().compute(unlearned, References(retrained, retrained))
    assert found == {
        "retain_relearn_gap": pytest.approx(40.0),
        "relearn_forget_heldout_gap": pytest.approx(30.0),
    }


@pytest.mark.parametrize("make", [classifier, encoder])
def test_the_retrained_model_has_no_gap_to_itself(make):
    retrained = make(1)
    found = RetainRelearning().compute(retrained, References(make(0), retrained))
    assert found["retain_relearn_gap"] == 0.0


def test_an_encoder_is_attacked_after_relearning():
    outputs = encoder()
    outputs["relearning/forget_similarity"] = np.array([[0.9, 0.8], [0.9, 0.1], [0.1, 0.2], [0.5, 0.5]])
    outputs["relearning/heldout_similarity"] = np.tile([0.4, 0.5], (4, 1))
    found = RetainRelearning().compute(outputs, References(outputs, outputs))
    assert found["relearn_encodermi_auc"] == pytest.approx((1 + 0.5 + 0 + 0.75) / 4)


def test_after_relearning_a_bank_without_the_forgotten_class_tells_nothing():
    outputs = encoder()
    outputs["forget/labels"][:], outputs["retain/labels"][outputs["retain/labels"] == 2] = 2, 0
    assert RetainRelearning().compute(outputs, References(outputs, outputs)).keys() == {"relearn_encodermi_auc"}


def test_curves_of_other_images_are_not_compared():
    outputs = classifier()
    other = outputs | {"relearning/forget_correct": correct(1, 2, 3, 4)}
    with pytest.raises(ValueError, match="retain_relearning"):
        RetainRelearning().compute(outputs, References(outputs, other))
