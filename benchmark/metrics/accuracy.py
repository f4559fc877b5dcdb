"""Utility: accuracy of classifiers, and of weighted kNN and a logistic-regression probe on an encoder's features.

Bank and probe see the retain set alone, with the same settings for every model (METRICS 2.1 and 2.5).
"""

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmark.api import CONTRASTIVE, Metric, Outputs, References, Value, register_metric
from benchmark.metrics.encoders import weighted_knn

EVALUATED = ("forget", "heldout", "test")


@register_metric(
    "accuracy",
    paradigms={"supervised"},
    source="UA, RA and TA of the field (Fan et al., ICLR 2024); METRICS 2.1",
    values={
        "acc_test": Value("test accuracy", "max", headline=True),
        "drop_test": Value("accuracy drop (points)", "min", "utility", "points", headline=True),
        "acc_retain": Value("retain accuracy", "match_retrained"),
        "acc_forget": Value("forget accuracy", "match_retrained", headline=True),
        "acc_heldout": Value("held-out accuracy", "match_retrained"),
    },
)
class Accuracy(Metric):
    """Share of images whose largest logit is their label's; ties go to the lowest class."""

    def compute(self, outputs: Outputs, references: References) -> dict[str, float]:
        test = accuracy(outputs, "test")
        return {
            "acc_test": test,
            "drop_test": 100 * (accuracy(references.original, "test") - test),
            **{f"acc_{name}": accuracy(outputs, name) for name in ("retain", "forget", "heldout")},
        }

    def sizes(self, outputs: Outputs) -> dict[str, int]:
        sizes = {f"acc_{name}": len(outputs[f"{name}/labels"]) for name in ("test", "retain", "forget", "heldout")}
        return sizes | {"drop_test": sizes["acc_test"]}


def accuracy(outputs: Outputs, name: str) -> float:
    """Accuracy on one set, in [0, 1].

    Raises:
        ValueError: If a logit is not finite or the set is empty.
    """
    logits, labels = outputs[f"{name}/logits"], outputs[f"{name}/labels"]
    if not len(labels) or not np.isfinite(logits).all():
        raise ValueError(f"accuracy: the logits of {name} are empty or not finite; a model must answer for each image.")
    return float((logits.argmax(1) == labels).mean())


@register_metric(
    "encoder_utility",
    paradigms=CONTRASTIVE,
    source="weighted kNN: Wu et al., CVPR 2018, arXiv 1805.01978; probe: Chen et al., ICML 2020; METRICS 2.5",
    values={
        "probe_acc_test": Value("probe accuracy", "max", headline=True),
        "drop_probe": Value("probe drop (points)", "min", "utility", "points", headline=True),
        "knn_acc_test": Value("kNN accuracy", "max"),
        "drop_knn": Value("kNN drop (points)", "min", "utility", "points", headline=True),
        **{f"probe_acc_{name}": Value(f"probe accuracy, {name}", "match_retrained") for name in ("forget", "heldout")},
        **{f"knn_acc_{name}": Value(f"kNN accuracy, {name}", "match_retrained") for name in ("forget", "heldout")},
    },
)
class EncoderUtility(Metric):
    """What a labelled reader can make of frozen features."""

    def compute(self, outputs: Outputs, references: References) -> dict[str, float]:
        found = {f"probe_acc_{name}": value for name, value in probe_accuracies(outputs).items()}
        found |= {f"knn_acc_{name}": value for name, value in knn_accuracies(outputs).items()}
        original = references.original
        anchors = (found["probe_acc_test"], found["knn_acc_test"])
        if original is not outputs:
            anchors = (probe_accuracies(original, ("test",))["test"], knn_accuracies(original, ("test",))["test"])
        found["drop_probe"] = 100 * (anchors[0] - found["probe_acc_test"])
        found["drop_knn"] = 100 * (anchors[1] - found["knn_acc_test"])
        order = ("probe_acc_test", "drop_probe", "knn_acc_test", "drop_knn")
        return {name: found[name] for name in (*order, *(n for n in found if n not in order))}

    def sizes(self, outputs: Outputs) -> dict[str, int]:
        return {
            f"{reader}_{name}": len(outputs[f"{name.removeprefix('acc_')}/labels"])
            for reader in ("probe", "knn")
            for name in ("acc_test", "acc_forget", "acc_heldout")
        } | {name: len(outputs["test/labels"]) for name in ("drop_probe", "drop_knn")}


def probe_accuracies(outputs: Outputs, names: tuple[str, ...] = EVALUATED) -> dict[str, float]:
    """Set name -> accuracy of a logistic regression fitted on the retain set's standardised features."""
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=2000))
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        probe.fit(outputs["retain/features"].astype(np.float64), outputs["retain/labels"])
    return {n: float(probe.score(outputs[f"{n}/features"].astype(np.float64), outputs[f"{n}/labels"])) for n in names}


def knn_accuracies(outputs: Outputs, names: tuple[str, ...] = EVALUATED) -> dict[str, float]:
    """Set name -> accuracy of weighted kNN with the retain set as its bank; k is the task's."""
    k = int(outputs["retain/neighbours"])
    labels = outputs["retain/labels"]
    classes = 1 + max(int(outputs[f"{name}/labels"].max()) for name in ("retain", *names))
    found = {}
    for name in names:
        predicted: NDArray[np.int64] = weighted_knn(
            outputs["retain/features"], labels, outputs[f"{name}/features"], num_classes=classes, k=k
        )
        found[name] = float((predicted == outputs[f"{name}/labels"]).mean())
    return found
