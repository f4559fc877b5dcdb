"""Utility by counting; the linear probe against the optimum it stands for, and the labels it may see."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from benchmark.api import References
from benchmark.metrics import accuracy as module
from benchmark.metrics.accuracy import Accuracy, EncoderUtility, fitted_probe, probe_accuracies
from tests.metrics.observed import classifier, encoder


def answering(right):
    """Set name -> (labels, answers) as outputs."""
    outputs = {}
    for name, (labels, answers) in right.items():
        outputs[f"{name}/labels"], outputs[f"{name}/logits"] = np.array(labels), np.eye(3)[answers]
    return outputs


ORIGINAL = answering(
    {
        "forget": ([2, 2], [2, 2]),
        "heldout": ([2, 2], [2, 0]),
        "retain": ([0, 0, 1, 1], [0, 0, 1, 1]),
        "test": ([0, 0, 0, 0, 1, 1, 2, 2], [0, 0, 0, 0, 1, 1, 2, 2]),
    }
)
UNLEARNED = answering(
    {
        "forget": ([2, 2], [0, 0]),
        "heldout": ([2, 2], [2, 0]),
        "retain": ([0, 0, 1, 1], [0, 0, 1, 0]),
        "test": ([0, 0, 0, 0, 1, 1, 2, 2], [0, 0, 0, 1, 1, 0, 0, 0]),
    }
)


def test_accuracies_are_counted():
    assert Accuracy().compute(UNLEARNED, References(ORIGINAL, ORIGINAL)) == {
        "acc_test": 0.5,
        "drop_test": 50.0,
        "acc_retain": 0.75,
        "acc_forget": 0.0,
        "acc_heldout": 0.5,
        "drop_worst_class": 50.0,  # class 1; class 2, which nobody retains, is not missed
        "forget_heldout_gap": -50.0,
    }
    assert Accuracy().sizes(UNLEARNED)["drop_worst_class"] == 6


def test_a_class_that_is_retained_may_be_the_worst():
    retained = UNLEARNED | {"retain/labels": np.array([0, 1, 2, 2])}
    assert Accuracy().compute(retained, References(ORIGINAL | retained_labels(retained), ORIGINAL))[
        "drop_worst_class"
    ] == pytest.approx(100.0)


def retained_labels(outputs):
    return {"retain/labels": outputs["retain/labels"]}


def test_doing_nothing_drops_nothing():
    found = Accuracy().compute(ORIGINAL, References(ORIGINAL, UNLEARNED))
    assert found["drop_test"] == found["drop_worst_class"] == 0.0


def test_one_changed_label_changes_one_set():
    outputs = classifier()
    before = Accuracy().compute(outputs, References(outputs, outputs))
    labels = outputs["forget/labels"].copy()
    labels[0] = (outputs["forget/logits"][0].argmax() + (labels[0] == outputs["forget/logits"][0].argmax())) % 3
    after = Accuracy().compute(outputs | {"forget/labels": labels}, References(outputs, outputs))
    assert abs(after["acc_forget"] - before["acc_forget"]) == pytest.approx(1 / 12)
    assert [name for name in before if before[name] != after[name]] == ["acc_forget", "forget_heldout_gap"]


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_that_is_no_class_is_refused(label):
    outputs = classifier()
    outputs["test/labels"][0] = label
    with pytest.raises(ValueError, match="test/labels"):
        Accuracy().compute(outputs, References(outputs, outputs))


def test_the_probe_is_near_the_optimum_of_its_loss_on_digits():
    images, labels = load_digits(return_X_y=True)
    probe = fitted_probe(images[:300], labels[:300])
    scaled = StandardScaler().fit(images[:300]).transform(images)
    best = LogisticRegression(C=1.0, max_iter=2000, tol=1e-10).fit(scaled[:300], labels[:300])
    np.testing.assert_allclose(probe[-1].coef_, best.coef_, atol=0.02)
    assert probe.score(images[300:], labels[300:]) == pytest.approx(best.score(scaled[300:], labels[300:]), abs=0.005)


def test_the_probe_sees_the_labels_of_retain_images_only():
    outputs = encoder()
    before = probe_accuracies(outputs)
    outputs["forget/labels"] = (outputs["forget/labels"] + 1) % 3
    after = probe_accuracies(outputs)
    assert after["forget"] != before["forget"]
    assert {name: after[name] for name in ("heldout", "test")} == {name: before[name] for name in ("heldout", "test")}


def test_a_probe_that_does_not_converge_is_an_error_and_not_a_number(monkeypatch):
    monkeypatch.setattr(module, "LogisticRegression", lambda C, max_iter: LogisticRegression(C=C, max_iter=1))
    with warnings.catch_warnings(), pytest.raises(ValueError, match="linear probe: no optimum"):
        fitted_probe(np.random.default_rng(0).normal(size=(50, 4)), np.arange(50) % 2)


def test_a_bank_without_the_forgotten_class_has_no_gap_to_tell():
    outputs = encoder()
    outputs["forget/labels"][:], outputs["retain/labels"][outputs["retain/labels"] == 2] = 2, 0
    assert "forget_heldout_gap" not in EncoderUtility().compute(outputs, References(outputs, outputs))


def test_the_gap_of_an_encoder_is_that_of_its_nearest_neighbours():
    outputs, original = encoder(0), encoder(1)
    found = EncoderUtility().compute(outputs, References(original, original))
    assert found["forget_heldout_gap"] == 100 * (found["knn_acc_forget"] - found["knn_acc_heldout"])
    assert EncoderUtility().sizes(outputs) == dict.fromkeys(found, 20) | {
        "probe_acc_forget": 12,
        "knn_acc_forget": 12,
        "probe_acc_heldout": 14,
        "knn_acc_heldout": 14,
        "forget_heldout_gap": 26,
    }
