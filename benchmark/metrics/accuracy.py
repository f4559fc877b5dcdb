"""Utility: accuracy of classifiers, and of weighted kNN and a logistic-regression probe on an encoder's features.

Bank and probe see the retain set alone, with the same settings for every model (METRICS 2.1 and 2.5).
"""

import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmark.api import CONTRASTIVE, Metric, Outputs, References, Value, register_metric
from benchmark.metrics._checks import numbers, whole_numbers
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
        "drop_worst_class": Value("worst class drop (points)", "min", "utility", "points"),
        "forget_heldout_gap": Value("forget - held-out (points)", "match_retrained", "forgetting", "points"),
    },
)
class Accuracy(Metric):
    """Share of images whose largest logit is their label's; ties go to the lowest class.

    `drop_worst_class` is the largest drop of a class's test accuracy from the original, over the classes that the
    retain set holds: a class that was forgotten whole is not missed. As a maximum over noisy classes it is above 0 for
    retraining too, so it is read beside the retrained model's.
    """

    def compute(self, outputs: Outputs, references: References) -> dict[str, float]:
        original = references.original
        test, forget, heldout = (accuracy(outputs, name) for name in ("test", "forget", "heldout"))
        return {
            "acc_test": test,
            "drop_test": 100 * (accuracy(original, "test") - test),
            "acc_retain": accuracy(outputs, "retain"),
            "acc_forget": forget,
            "acc_heldout": heldout,
            "drop_worst_class": 100 * float((_by_class(original) - _by_class(outputs)).max()),
            "forget_heldout_gap": 100 * (forget - heldout),
        }

    def sizes(self, outputs: Outputs) -> dict[str, int]:
        n = {name: len(outputs[f"{name}/labels"]) for name in ("test", "retain", "forget", "heldout")}
        return {
            "drop_test": n["test"],
            **{f"acc_{name}": size for name, size in n.items()},
            "drop_worst_class": int(np.isin(outputs["test/labels"], outputs["retain/labels"]).sum()),
            "forget_heldout_gap": n["forget"] + n["heldout"],
        }


def accuracy(outputs: Outputs, name: str) -> float:
    """Accuracy on one set, in [0, 1].

    Raises:
        ValueError: If a logit is not finite, a label is no class, or the set is empty.
    """
    return float(correct(outputs, name).mean())


def correct(outputs: Outputs, name: str) -> NDArray[np.bool_]:
    """[n] whether each image of a set is classified right; raises as `accuracy` does."""
    logits = numbers(outputs[f"{name}/logits"], f"accuracy: {name}/logits", 2)
    labels = whole_numbers(outputs[f"{name}/labels"], f"accuracy: {name}/labels", 1, 0, logits.shape[1] - 1)
    if len(logits) != len(labels):
        raise ValueError(f"accuracy: {len(logits)} rows of {name}/logits, {len(labels)} labels; give one each.")
    return np.asarray(logits.argmax(axis=1) == labels)


def _by_class(outputs: Outputs) -> NDArray[np.float64]:
    """Test accuracy, in [0, 1], of each class that both the retain and the test set hold."""
    right, labels = correct(outputs, "test"), outputs["test/labels"]
    classes = np.intersect1d(labels, outputs["retain/labels"])
    if not len(classes):
        raise ValueError("accuracy: the test set holds no class of the retain set; both are of one dataset.")
    return np.array([right[labels == label].mean() for label in classes])


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
        "forget_heldout_gap": Value("kNN forget - held-out (points)", "match_retrained", "forgetting", "points"),
    },
)
class EncoderUtility(Metric):
    """What a labelled reader can make of frozen features.

    `forget_heldout_gap` is that of kNN, left out where the bank holds none of the forget images' classes: kNN is then
    wrong about all of them, whatever the encoder.
    """

    def compute(self, outputs: Outputs, references: References) -> dict[str, float]:
        found = {f"probe_acc_{name}": value for name, value in probe_accuracies(outputs).items()}
        found |= {f"knn_acc_{name}": value for name, value in knn_accuracies(outputs).items()}
        if "encoder_utility" not in references.memo:
            readers = {"probe": probe_accuracies, "knn": knn_accuracies}
            before = {name: reader(references.original, ("test",))["test"] for name, reader in readers.items()}
            references.memo["encoder_utility"] = before
        for name, accuracy_before in references.memo["encoder_utility"].items():
            found[f"drop_{name}"] = 100 * (accuracy_before - found[f"{name}_acc_test"])
        if bank_has_classes(outputs):
            found["forget_heldout_gap"] = 100 * (found["knn_acc_forget"] - found["knn_acc_heldout"])
        order = ("probe_acc_test", "drop_probe", "knn_acc_test", "drop_knn")
        return {name: found[name] for name in (*order, *(n for n in found if n not in order))}

    def sizes(self, outputs: Outputs) -> dict[str, int]:
        n = {name: len(outputs[f"{name}/labels"]) for name in EVALUATED}
        return {
            **{f"{reader}_acc_{name}": size for reader in ("probe", "knn") for name, size in n.items()},
            **dict.fromkeys(("drop_probe", "drop_knn"), n["test"]),
            "forget_heldout_gap": n["forget"] + n["heldout"],
        }


def probe_accuracies(outputs: Outputs, names: tuple[str, ...] = EVALUATED) -> dict[str, float]:
    """Set name -> accuracy of a linear probe fitted on the retain set.

    Raises:
        ValueError: If a feature is not finite, a set is empty, or the probe does not converge.
    """
    probe = fitted_probe(outputs["retain/features"], outputs["retain/labels"])
    return {n: probe_accuracy(probe, outputs[f"{n}/features"], outputs[f"{n}/labels"]) for n in names}


def fitted_probe(features: ArrayLike, labels: NDArray[np.int64]) -> Pipeline:
    """Logistic regression (C = 1) on standardised features [n, D], the same settings for every model.

    Raises:
        ValueError: If a feature is not finite, there is one class only, or 2000 iterations do not suffice.
    """
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=2000))
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            return probe.fit(numbers(features, "linear probe: features", 2), labels)
        except ConvergenceWarning as warning:
            raise ValueError(
                "linear probe: no optimum after 2000 iterations; these features are degenerate."
            ) from warning


def probe_accuracy(probe: Pipeline, features: ArrayLike, labels: NDArray[np.int64]) -> float:
    """Share of images, in [0, 1], whose label a probe reads in their features [n, D]."""
    return float(probe.score(numbers(features, "linear probe: features", 2), labels))


def bank_has_classes(outputs: Outputs) -> bool:
    """Whether a reader of the retain set can be right about any forget image."""
    return bool(np.isin(outputs["forget/labels"], outputs["retain/labels"]).any())


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
