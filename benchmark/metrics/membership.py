"""Membership inference: can forget images be told from held-out ones, which the model certainly never saw?

Signed AUCs (METRICS 2.3 and V5): the target is what the retrained model scores, and below it is leakage too. The
same attack on retain images shows whether a method only blunted the attack for everybody (V17).
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from benchmark.api import CONTRASTIVE, Metric, Outputs, References, Signal, Value, register_metric
from benchmark.metrics._checks import numbers
from benchmark.metrics.attacks import delong_interval, mia_auc
from benchmark.metrics.signals import entropy, loss, modified_entropy, phi

Scores = NDArray[np.float64]
ATTACKED = ("forget", "heldout", "third_party", "retain")

_LOGIT_SCORES: Mapping[str, Callable[[Scores, NDArray[np.int64]], Scores]] = {
    "phi": phi,
    "loss": lambda logits, labels: -loss(phi(logits, labels)),
    "entropy": lambda logits, labels: -entropy(logits),
    "mentropy": lambda logits, labels: -modified_entropy(logits, labels),
}


class _Attacks(Metric):
    """AUCs of several attacks: `prefix` + name on forget, `retain_prefix` + name on retain, both against held-out."""

    prefix: str
    retain_prefix: str

    def attack_scores(self, outputs: Outputs) -> dict[str, dict[str, Scores]]:
        """Attack name -> set name -> [n] scores."""
        raise NotImplementedError

    def compute(self, outputs: Outputs, references: References) -> dict[str, float]:
        return {name: mia_auc(members, heldout) for name, members, heldout in self._comparisons(outputs)}

    def sizes(self, outputs: Outputs) -> dict[str, int]:
        return {name: len(members) + len(heldout) for name, members, heldout in self._comparisons(outputs)}

    def intervals(self, outputs: Outputs) -> dict[str, tuple[float, float]]:
        found = {name: delong_interval(members, heldout) for name, members, heldout in self._comparisons(outputs)}
        return {name: (low, high) for name, (low, high) in found.items()}

    def _comparisons(self, outputs: Outputs) -> list[tuple[str, Scores, Scores]]:
        """(value name, scores of members, scores of held-out images), all on forget before all on retain."""
        attacks = self.attack_scores(outputs)
        return [
            (f"{prefix}{name}", scores[members], scores["heldout"])
            for prefix, members in ((self.prefix, "forget"), (self.retain_prefix, "retain"))
            for name, scores in attacks.items()
            if members in scores
        ]

    def scores(self, outputs: Outputs) -> dict[str, dict[str, Scores]]:
        return {f"{self.prefix}{name}": s for name, s in self.attack_scores(outputs).items()}


def _forget_value(label: str, signal: Signal, headline: bool = False) -> Value:
    return Value(label, "match_retrained", "forgetting", "auc", attack=True, headline=headline, signal=signal)


def _retain_value(label: str, signal: Signal, headline: bool = False) -> Value:
    return Value(label, "match_retrained", "retain_privacy", "auc", headline=headline, signal=signal)


@register_metric(
    "membership_inference",
    paradigms={"supervised"},
    source="population attacks of Hayes et al., SaTML 2025, arXiv 2403.01218; phi: Carlini et al., S&P 2022",
    values={
        "mia_auc_phi": _forget_value("attack AUC", "loss", headline=True),
        "mia_auc_loss": _forget_value("attack AUC (loss)", "loss"),
        "mia_auc_entropy": _forget_value("attack AUC (entropy)", "entropy", headline=True),
        "mia_auc_mentropy": _forget_value("attack AUC (modified entropy)", "loss"),
        "mia_auc_retain_phi": _retain_value("retain AUC", "loss", headline=True),
        "mia_auc_retain_loss": _retain_value("retain AUC (loss)", "loss"),
        "mia_auc_retain_entropy": _retain_value("retain AUC (entropy)", "entropy"),
        "mia_auc_retain_mentropy": _retain_value("retain AUC (modified entropy)", "loss"),
    },
)
class MembershipInference(_Attacks):
    """Attacks on logits. phi and loss order examples alike, so a difference between their AUCs is a bug."""

    prefix = "mia_auc_"
    retain_prefix = "mia_auc_retain_"

    def attack_scores(self, outputs: Outputs) -> dict[str, dict[str, Scores]]:
        found: dict[str, dict[str, Scores]] = {name: {} for name in _LOGIT_SCORES}
        for set_name in ATTACKED:
            if set_name == "retain" and "retain/probe" not in outputs:
                continue
            rows = outputs["retain/probe"] if set_name == "retain" else slice(None)
            logits = outputs[f"{set_name}/logits"][rows].astype(np.float64)
            labels = outputs[f"{set_name}/labels"][rows]
            for name, signal in _LOGIT_SCORES.items():
                found[name][set_name] = signal(logits, labels)
        return found


@register_metric(
    "encodermi",
    paradigms=CONTRASTIVE,
    source="EncoderMI-T: Liu, Jia, Qu, Gong, CCS 2021, arXiv 2108.11023",
    values={
        "encodermi_auc_head": _forget_value("head AUC", "similarity", headline=True),
        "encodermi_auc_backbone": _forget_value("backbone AUC", "similarity", headline=True),
        "encodermi_auc_retain_head": _retain_value("retain head AUC", "similarity", headline=True),
        "encodermi_auc_retain_backbone": _retain_value("retain backbone AUC", "similarity"),
    },
)
class EncoderMI(_Attacks):
    """Mean similarity of an image's fixed views, at the head and at the backbone."""

    prefix = "encodermi_auc_"
    retain_prefix = "encodermi_auc_retain_"

    def attack_scores(self, outputs: Outputs) -> dict[str, dict[str, Scores]]:
        return {
            place: {
                name: mean_similarity(outputs, name, place)
                for name in ATTACKED
                if f"{name}/{place}_similarities" in outputs
            }
            for place in ("head", "backbone")
        }


def mean_similarity(outputs: Outputs, name: str, place: str = "head") -> Scores:
    """[n] EncoderMI-T of one set: the mean cosine of an image's fixed views at the `head` or the `backbone`.

    Raises:
        ValueError: If a similarity is not finite or the set is empty.
    """
    key = f"{name}/{place}_similarities"
    return np.asarray(numbers(outputs[key], f"mean_similarity: {key}", 2).mean(axis=1))


def headline_attack(outputs: Outputs) -> tuple[str, Scores, Scores]:
    """(attack, scores of forget images, of held-out ones): phi of a classifier, view similarity at an encoder's head.

    Raises:
        ValueError: If a logit or similarity is not finite, or a set is empty.
    """
    if "forget/logits" not in outputs:
        return "head", mean_similarity(outputs, "forget"), mean_similarity(outputs, "heldout")
    forget, heldout = (phi(outputs[f"{name}/logits"], outputs[f"{name}/labels"]) for name in ("forget", "heldout"))
    return "phi", forget, heldout
