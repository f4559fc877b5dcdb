"""Distances of one model to the retrained one, example by example: predictions, margins, features (METRICS 2.4, 2.5).

Their value for the retrained model is that of a perfect copy. Another retrained model is not one: what exact
retraining scores (the oracle floor) is the target, and smaller than that is no better.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from benchmark.api import CONTRASTIVE, Metric, Outputs, References, Signal, Value, register_metric
from benchmark.metrics._checks import numbers, same_shape
from benchmark.metrics.distances import cka, energy_distance, js_divergence
from benchmark.metrics.membership import mean_similarity
from benchmark.metrics.signals import phi

COMPARED = ("forget", "heldout", "test")


def _distance(label: str, name: str, signal: Signal) -> Value:
    label = f"{label}, {name.replace('heldout', 'held-out')}"
    return Value(label, "min", "forgetting" if name == "forget" else "info", "number", signal=signal)


@register_metric(
    "output_distances",
    paradigms={"supervised"},
    source="JS: ZRF, Chundawat et al., AAAI 2023, arXiv 2205.08096; energy: Székely & Rizzo, J. Stat. Plan. Inf. 2013",
    values={
        **{f"js_{name}": _distance("JS to retrained", name, "loss") for name in COMPARED},
        **{f"energy_{name}": _distance("energy to retrained", name, "loss") for name in COMPARED},
    },
)
class OutputDistances(Metric):
    """Jensen-Shannon divergence of predictions in nats; energy distance of the margins phi, paired by example.

    The energy distance is in units of phi, not normalised, and 0 on average between two samples of one law, so it may
    be negative.
    """

    def compute(self, outputs: Outputs, references: References) -> dict[str, float]:
        retrained = references.retrained
        return {
            **{f"js_{n}": js_divergence(_predictions(outputs, n), _predictions(retrained, n)) for n in COMPARED},
            **{f"energy_{n}": _paired_energy(_margins(outputs, n), _margins(retrained, n)) for n in COMPARED},
        }

    def sizes(self, outputs: Outputs) -> dict[str, int]:
        return {f"{kind}_{name}": len(outputs[f"{name}/labels"]) for kind in ("js", "energy") for name in COMPARED}


@register_metric(
    "encoder_distances",
    paradigms=CONTRASTIVE,
    source="CKA: Kornblith et al., ICML 2019, arXiv 1905.00414; forgetting score after MUC, Wang et al., TMLR 2025",
    values={
        "cka_forget": Value("CKA to retrained, forget", "match_retrained", "forgetting", "number", signal="features"),
        "cka_test": Value("CKA to retrained, test", "match_retrained", "info", "number", signal="features"),
        "cka_original_forget": Value("CKA to original, forget", "info", "info", "number", signal="features"),
        "cka_original_test": Value("CKA to original, test", "info", "info", "number", signal="features"),
        "forgetting_score_delta": Value(
            "forgetting score", "match_retrained", "forgetting", "number", signal="similarity"
        ),
        **{f"energy_head_{name}": _distance("energy at head", name, "similarity") for name in ("forget", "heldout")},
    },
)
class EncoderDistances(Metric):
    """Debiased linear CKA of backbone features, and view similarities at the head, against the retrained encoder.

    CKA has the goal `match_retrained`, as METRICS 2.4 has it: its gap to the retrained encoder's own 1, minus the gap
    that exact retraining leaves, is `cka_gap`, whose null is 0. As a `max` it would reward being nearer than the floor.

    `forgetting_score_delta` = mean over forget images of a_r - a, with a = cosine of their first two views: the gap in
    MUC's forgetting score, from which the original cancels. The project's definition, for want of one in their code.

    `energy_head_*` compares EncoderMI-T scores, paired by example; 0 on average between two samples of one law.
    """

    def compute(self, outputs: Outputs, references: References) -> dict[str, float]:
        original, retrained = references.original, references.retrained
        alike, alike_retrained = _first_two_views(outputs), _first_two_views(retrained)
        same_shape(alike, alike_retrained, "encoder_distances: forget/head_similarities")
        return {
            **{f"cka_{name}": _cka(outputs, retrained, name) for name in ("forget", "test")},
            **{f"cka_original_{name}": _cka(outputs, original, name) for name in ("forget", "test")},
            "forgetting_score_delta": float((alike_retrained - alike).mean()),
            **{
                f"energy_head_{name}": _paired_energy(mean_similarity(outputs, name), mean_similarity(retrained, name))
                for name in ("forget", "heldout")
            },
        }

    def sizes(self, outputs: Outputs) -> dict[str, int]:
        n = {name: len(outputs[f"{name}/labels"]) for name in COMPARED}
        return {
            "forgetting_score_delta": n["forget"],
            **{f"{kind}_{name}": n[name] for kind in ("cka", "cka_original") for name in ("forget", "test")},
            **{f"energy_head_{name}": n[name] for name in ("forget", "heldout")},
        }


def _predictions(outputs: Outputs, name: str) -> NDArray[np.float64]:
    return np.asarray(softmax(numbers(outputs[f"{name}/logits"], f"output_distances: {name}/logits", 2), axis=1))


def _margins(outputs: Outputs, name: str) -> NDArray[np.float64]:
    return phi(outputs[f"{name}/logits"], outputs[f"{name}/labels"])


def _paired_energy(scores: NDArray[np.float64], retrained: NDArray[np.float64]) -> float:
    """Of two models' scores [n] of the same examples, in their unit."""
    return float(energy_distance(scores[:, None], retrained[:, None], normalise=False, paired=True)[0])


def _cka(outputs: Outputs, reference: Outputs, name: str) -> float:
    return cka(outputs[f"{name}/features"], reference[f"{name}/features"], debiased=True)


def _first_two_views(outputs: Outputs) -> NDArray[np.float64]:
    """[m] cosines of views 0 and 1 of forget images at the head, the first column of all pairs."""
    name = "encoder_distances: forget/head_similarities"
    return numbers(outputs["forget/head_similarities"], name, 2)[:, 0]
