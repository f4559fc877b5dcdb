"""Operating points of the headline attack: how many forget images it finds while it is hardly ever wrong (METRICS 2.3).

The TPR at a low FPR is that of Carlini et al. (S&P 2022, arXiv 2112.03570), by the rule of `tpr_at_fpr`: the largest
achieved FPR that does not exceed the target, nothing interpolated.
"""

import math
from collections.abc import Iterator

from benchmark.api import Metric, Outputs, References, Signal, Value, register_metric
from benchmark.metrics.attacks import OperatingPoint, tpr_at_fpr
from benchmark.metrics.membership import headline_attack
from benchmark.stats import clopper_pearson

TARGETS = {"tpr_at_1_percent": 0.01, "tpr_at_1_permille": 0.001}


def _value(label: str, signal: Signal) -> Value:
    return Value(label, "match_retrained", "forgetting", "fraction", signal=signal)


@register_metric(
    "operating_points",
    source="Carlini et al., S&P 2022, arXiv 2112.03570; interval: Clopper & Pearson, Biometrika 1934",
    values={
        "tpr_at_1_percent_phi": _value("TPR at 1% FPR", "loss"),
        "tpr_at_1_permille_phi": _value("TPR at 0.1% FPR", "loss"),
        "tpr_at_1_percent_head": _value("head TPR at 1% FPR", "similarity"),
        "tpr_at_1_permille_head": _value("head TPR at 0.1% FPR", "similarity"),
    },
)
class OperatingPoints(Metric):
    """Phi on classifiers, view similarity at the head on encoders; forget against held-out images.

    An FPR that the held-out images cannot resolve is one below 1 / k: the TPR is then that at FPR 0, with a note. No
    value is an `attack`: the gate of METRICS V2 is about AUCs, and that of the same scores stands beside these.
    """

    def compute(self, outputs: Outputs, references: References) -> dict[str, float]:
        return {name: point["tpr"] for name, point in _points(outputs)}

    def sizes(self, outputs: Outputs) -> dict[str, int]:
        size = len(outputs["forget/labels"]) + len(outputs["heldout/labels"])
        return {name: size for name, _ in _points(outputs)}

    def intervals(self, outputs: Outputs) -> dict[str, tuple[float, float]]:
        members = len(outputs["forget/labels"])
        found = {name: clopper_pearson(round(point["tpr"] * members), members) for name, point in _points(outputs)}
        return {name: (low, high) for name, (low, high) in found.items()}

    def notes(self, outputs: Outputs) -> dict[str, str]:
        there = len(outputs["heldout/labels"])
        return {
            name: f"too few non-members: {there}, {math.ceil(1 / TARGETS[name.rpartition('_')[0]])} are needed"
            for name, point in _points(outputs)
            if not point["resolved"]
        }


def _points(outputs: Outputs) -> Iterator[tuple[str, OperatingPoint]]:
    attack, forget, heldout = headline_attack(outputs)
    return ((f"{name}_{attack}", tpr_at_fpr(forget, heldout, max_fpr)) for name, max_fpr in TARGETS.items())
