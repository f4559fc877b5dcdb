"""The columns that papers print, for comparison with them only: never headline, never ranked (METRICS 4).

Sources of each, and what is wrong with it, stand in benchmark/metrics/legacy.py.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from benchmark.api import CONTRASTIVE, Metric, Outputs, References, Signal, Value, register_metric
from benchmark.metrics._checks import Floats
from benchmark.metrics._subsets import evenly_spaced
from benchmark.metrics.accuracy import accuracy, correct
from benchmark.metrics.legacy import average_gap, emia_threshold, svc_mia_efficacy, svc_nonmember_share, tow
from benchmark.metrics.membership import mean_similarity
from benchmark.metrics.signals import entropy, phi
from benchmark.specs import Unit

SETS = ("forget", "retain", "test")


def _legacy(label: str, unit: Unit = "fraction", signal: Signal | None = None) -> Value:
    return Value(f"legacy: {label}", "info", "info", unit, signal=signal)


@register_metric(
    "paper_columns",
    paradigms={"supervised"},
    tier="legacy",
    source="SVC: Jia et al., NeurIPS 2023; average gap: Fan et al., ICLR 2024; tug of war: Zhao et al., NeurIPS 2024",
    values={
        "svc_mia_efficacy": _legacy("SVC attack, efficacy", signal="loss"),
        "svc_mia_correctness": _legacy("SVC attack on correctness"),
        "svc_mia_entropy": _legacy("SVC attack on entropy", signal="entropy"),
        "average_gap": _legacy("average gap (points)", "points"),
        "tow": _legacy("tug of war", "number"),
        "tow_mia": _legacy("tug of war, SVC attack", "number"),
    },
)
class PaperColumns(Metric):
    """Of one run; tables take the mean over seeds, which is what the papers define.

    The SVC parts retain images from as many test images, both evenly spaced, and calls a share of the forget images
    non-members: on true-class probability, on correctness, on entropy. `average_gap` is that of UA, RA, TA and SVC
    efficacy. The retrained model scores 0 there and 1 in the tugs of war; another retrained model scores neither.
    """

    def compute(self, outputs: Outputs, references: References) -> dict[str, float]:
        mine, retrained = _columns(outputs), _columns(references.retrained)
        return {
            "svc_mia_efficacy": mine.mia,
            "svc_mia_correctness": svc_nonmember_share(*_parted(outputs, correct)),
            "svc_mia_entropy": svc_nonmember_share(*_parted(outputs, _entropy)),
            "average_gap": average_gap([_in_points(mine)], [_in_points(retrained)]),
            "tow": tow([mine[:3]], [retrained[:3]]),
            "tow_mia": tow([(mine.mia, *mine[1:3])], [(retrained.mia, *retrained[1:3])]),
        }

    def sizes(self, outputs: Outputs) -> dict[str, int]:
        n = {name: len(outputs[f"{name}/labels"]) for name in SETS}
        of_all = dict.fromkeys(("average_gap", "tow", "tow_mia"), sum(n.values()))
        return of_all | dict.fromkeys(("svc_mia_efficacy", "svc_mia_correctness", "svc_mia_entropy"), n["forget"])


class Columns(NamedTuple):
    """Accuracies and the efficacy of the SVC attack, each in [0, 1]."""

    forget: float
    retain: float
    test: float
    mia: float


def _columns(outputs: Outputs) -> Columns:
    forget, retain, test = (accuracy(outputs, name) for name in SETS)
    return Columns(forget, retain, test, svc_mia_efficacy(*_parted(outputs, _confidence)))


def _in_points(columns: Columns) -> list[float]:
    """UA, RA, TA and MIA as SalUn prints them; UA is what is answered wrong of the forget set."""
    return [100 * (1 - columns.forget), *(100 * column for column in columns[1:])]


def _parted(outputs: Outputs, signal: Callable[[Outputs, str], ArrayLike]) -> tuple[Floats, Floats, Floats]:
    """A signal of retain and test images, equally many of each, and of all forget images."""
    scores = {name: np.asarray(signal(outputs, name), dtype=np.float64) for name in SETS}
    size = min(len(scores["retain"]), len(scores["test"]))
    retain, test = (scores[name][evenly_spaced(len(scores[name]), size)] for name in ("retain", "test"))
    return retain, test, scores["forget"]


def _confidence(outputs: Outputs, name: str) -> Floats:
    """The probability of the true class."""
    return np.asarray(expit(phi(outputs[f"{name}/logits"], outputs[f"{name}/labels"])))


def _entropy(outputs: Outputs, name: str) -> Floats:
    return entropy(outputs[f"{name}/logits"])


@register_metric(
    "emia_threshold",
    paradigms=CONTRASTIVE,
    tier="legacy",
    source="MUC, Wang et al., TMLR 2025, arXiv 2406.03603",
    values={"emia_threshold": _legacy("EncoderMI below threshold", signal="similarity")},
)
class EmiaThreshold(Metric):
    """On the backbone, as in MUC; held-out images stand in for the test set's, whose views are not observed.

    Defined where retain images are attacked. Equally many of both, evenly spaced, set the threshold.
    """

    def compute(self, outputs: Outputs, references: References) -> dict[str, float]:
        if "retain/backbone_similarities" not in outputs:
            return {}
        retain, heldout, forget = (
            mean_similarity(outputs, name, "backbone") for name in ("retain", "heldout", "forget")
        )
        size = min(len(retain), len(heldout))
        members, nonmembers = (side[evenly_spaced(len(side), size)] for side in (retain, heldout))
        return {"emia_threshold": emia_threshold(members, nonmembers, forget)}

    def sizes(self, outputs: Outputs) -> dict[str, int]:
        return {"emia_threshold": len(outputs["forget/labels"])}
