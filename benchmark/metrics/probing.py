"""Deeper probes of one model, for suites that have the time (METRICS 3).

An attacker that learns, a linear reader of a forgotten class, and what returns when the model is trained on.
"""

import warnings

import numpy as np
from numpy.typing import ArrayLike
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline

from benchmark.api import CONTRASTIVE, Metric, Outputs, References, Value, register_metric
from benchmark.metrics._checks import Floats, Integers, at_least, numbers, probabilities, same_columns, same_shape
from benchmark.metrics._subsets import evenly_spaced, halves
from benchmark.metrics.accuracy import bank_has_classes, fitted_probe, probe_accuracy
from benchmark.metrics.attacks import mia_auc

ATTACKERS = (0, 1, 2)  # seeds of the attacking networks


@register_metric(
    "encodermi_v",
    paradigms=CONTRASTIVE,
    tier="probing",
    source="EncoderMI-V: Liu, Jia, Qu, Gong, CCS 2021, arXiv 2108.11023; without a shadow encoder, as MUC, TMLR 2025",
    values={
        "encodermi_v_auc": Value(
            "learned attack AUC", "match_retrained", "forgetting", "auc", attack=True, signal="similarity"
        ),
    },
)
class EncoderMIV(Metric):
    """At the head; defined where retain images are alike to held-out ones but for membership."""

    def compute(self, outputs: Outputs, references: References) -> dict[str, float]:
        if "retain/head_similarities" not in outputs:
            return {}
        similarities = (outputs[f"{name}/head_similarities"] for name in ("retain", "forget", "heldout"))
        return {"encodermi_v_auc": encodermi_v_auc(*similarities)}

    def sizes(self, outputs: Outputs) -> dict[str, int]:
        return {"encodermi_v_auc": len(outputs["forget/labels"]) + len(outputs["heldout/labels"])}


def encodermi_v_auc(retain: ArrayLike, forget: ArrayLike, heldout: ArrayLike) -> float:
    """AUC of forget against held-out images under a network that learned members from non-members by their views.

    Members are as many retain images, evenly spaced, as there are non-members: half of the held-out images. The other
    half and all forget images are scored; then the halves change places. Mean over halves and three attackers.

    Args:
        retain: [p, A (A - 1) / 2] cosines of all pairs of views; sorted here.
        forget: [m, A (A - 1) / 2].
        heldout: [k >= 2, A (A - 1) / 2].

    Returns:
        In [0, 1], signed; 0.5 for retraining, on average.

    Raises:
        ValueError: fewer than two held-out images, other numbers of pairs, NaN, empty.

    Source: EncoderMI-V, Liu et al., CCS 2021.
    """
    sets = {"retain": retain, "forget": forget, "heldout": heldout}
    views = {name: np.sort(numbers(x, f"encodermi_v_auc: {name}", 2), axis=1) for name, x in sets.items()}
    for name in ("retain", "forget"):
        same_columns(views[name], views["heldout"], f"encodermi_v_auc: {name} and heldout")
    at_least(len(views["heldout"]), 2, "encodermi_v_auc: heldout", "images")
    first, second = halves(len(views["heldout"]))
    aucs = []
    for learned, scored in ((first, second), (second, first)):
        members = views["retain"][evenly_spaced(len(views["retain"]), len(learned))]
        for seed in ATTACKERS:
            attacker = _attacker(members, views["heldout"][learned], seed)
            scores = (attacker.predict_proba(x)[:, 1] for x in (views["forget"], views["heldout"][scored]))
            aucs.append(mia_auc(*scores))
    return float(np.mean(aucs))


def _attacker(members: Floats, nonmembers: Floats, seed: int) -> MLPClassifier:
    """A network of METRICS 3; its 300 epochs are the protocol, so that it may stop before it has converged."""
    attacker = MLPClassifier(
        (256, 256),
        alpha=1e-6,
        learning_rate_init=1e-4,
        batch_size=min(100, len(members) + len(nonmembers)),
        max_iter=300,
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return attacker.fit(np.concatenate([members, nonmembers]), np.repeat([1, 0], [len(members), len(nonmembers)]))


@register_metric(
    "forget_class_probe",
    tier="probing",
    source="linear probing of unlearned features: Kim, Cha, Kim 2025, arXiv 2503.06991",
    values={
        "forget_class_probe": Value("forgotten class, probed", "match_retrained", "forgetting", signal="features"),
    },
)
class ForgetClassProbe(Metric):
    """Can a linear reader that is shown a forgotten class still tell it in the features?

    Defined where classes were forgotten whole. The probe is fitted on the features of the retain set and of half of the
    held-out images of the forgotten classes; its accuracy on their forget images, which it never saw, is averaged over
    the two halves. The retrained model, which never saw the class either, says how much of it any features tell.
    """

    def compute(self, outputs: Outputs, references: References) -> dict[str, float]:
        shown = _shown_halves(outputs)
        if shown is None:
            return {}
        asked = np.isin(outputs["forget/labels"], _forgotten_classes(outputs))
        features, labels = _features(outputs, "forget")[asked], outputs["forget/labels"][asked]
        found = [probe_accuracy(_reader(outputs, half), features, labels) for half in shown]
        return {"forget_class_probe": float(np.mean(found))}

    def sizes(self, outputs: Outputs) -> dict[str, int]:
        return {"forget_class_probe": int(np.isin(outputs["forget/labels"], _forgotten_classes(outputs)).sum())}


def _forgotten_classes(outputs: Outputs) -> Integers:
    """Classes of forget images of which the retain set holds none, where that is so by design and not by chance."""
    forget, retain = (_labels(outputs, name) for name in ("forget", "retain"))
    return np.setdiff1d(forget, forget if "retain/probe" in outputs else retain)


def _shown_halves(outputs: Outputs) -> list[Integers] | None:
    """Positions of the held-out images in two halves, each of which holds every forgotten class; None if none does."""
    places = [np.flatnonzero(outputs["heldout/labels"] == label) for label in _forgotten_classes(outputs)]
    if not places or min(map(len, places)) < 2:
        return None
    parts = [[place[half] for half in halves(len(place))] for place in places]
    return [np.concatenate(half) for half in zip(*parts, strict=True)]


def _reader(outputs: Outputs, shown: Integers) -> Pipeline:
    """A probe of all retain images and of the held-out ones at some positions."""
    features = np.concatenate([_features(outputs, "retain"), _features(outputs, "heldout")[shown]])
    return fitted_probe(features, np.concatenate([outputs["retain/labels"], outputs["heldout/labels"][shown]]))


def _labels(outputs: Outputs, name: str) -> Integers:
    return numbers(outputs[f"{name}/labels"], f"forget_class_probe: {name}/labels", 1).astype(np.int64)


def _features(outputs: Outputs, name: str) -> Floats:
    return numbers(outputs[f"{name}/features"], f"forget_class_probe: {name}/features", 2)


@register_metric(
    "retain_relearning",
    tier="probing",
    needs="relearning",
    source="Siddiqui et al. 2025, arXiv 2505.22310",
    values={
        "retain_relearn_gap": Value("relearning gap (points)", "match_retrained", "forgetting", "points"),
        "relearn_forget_heldout_gap": Value(
            "relearned forget - held-out (points)", "match_retrained", "forgetting", "points"
        ),
        "relearn_encodermi_auc": Value(
            "relearned head AUC", "match_retrained", "forgetting", "auc", attack=True, signal="similarity"
        ),
    },
)
class RetainRelearning(Metric):
    """What returns of the forget set while a model is trained on retain images; means over four checkpoints.

    Suppressed knowledge returns, and the retrained model, trained on over the same batches, has none that could.
    `retain_relearn_gap` = forget accuracy minus that of the retrained model at the same steps: of the classifier, or
    of kNN on an encoder's features. `relearn_forget_heldout_gap` needs no retrained model. `relearn_encodermi_auc` is
    the attack on view similarities at an encoder's head; it alone is left where kNN's bank holds none of the forget
    images' classes.
    """

    def compute(self, outputs: Outputs, references: References) -> dict[str, float]:
        forget, heldout = (_curve(outputs, f"{name}_correct") for name in ("forget", "heldout"))
        retrained = _curve(references.retrained, "forget_correct")
        same_shape(forget, retrained, "retain_relearning: relearning/forget_correct, twice,")
        encoder = "relearning/forget_similarity" in outputs
        found = {"relearn_encodermi_auc": _mean_auc(outputs)} if encoder else {}
        if not encoder or bank_has_classes(outputs):
            found["retain_relearn_gap"] = 100 * float(forget.mean() - retrained.mean())
            found["relearn_forget_heldout_gap"] = 100 * float(forget.mean() - heldout.mean())
        return found

    def sizes(self, outputs: Outputs) -> dict[str, int]:
        m, k = (len(outputs[f"{name}/labels"]) for name in ("forget", "heldout"))
        return {"retain_relearn_gap": m, "relearn_forget_heldout_gap": m + k, "relearn_encodermi_auc": m + k}


def _curve(outputs: Outputs, name: str) -> Floats:
    """[4, n] whether an image is classified right at each checkpoint, as 0 and 1."""
    return probabilities(outputs[f"relearning/{name}"], f"retain_relearning: relearning/{name}", 2)


def _mean_auc(outputs: Outputs) -> float:
    forget, heldout = (outputs[f"relearning/{name}_similarity"] for name in ("forget", "heldout"))
    return float(np.mean([mia_auc(members, others) for members, others in zip(forget, heldout, strict=True)]))
