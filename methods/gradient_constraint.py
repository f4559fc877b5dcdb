"""The method that this project was started for: unlearning by a gradient constraint with third-party data.

A reconstruction of Chen, Wang, Mi, "Private Data Protection with Machine Unlearning in Contrastive Learning Networks",
Mathematics 12(24):4001, 2024. Public are its aim and its three objectives: keep accuracy, constrain gradients so that
forgotten and third-party data cannot be told apart, lower the confidence on third-party data. Its equations, weights
and results are not public to us; every choice that they leave open is an option below, our default first.

The preset `placebo` puts third-party pairs in the place of forget-third pairs, so no forget data enters at all.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.api import (
    Batch,
    BenchmarkError,
    ExampleSet,
    GradientPenaltyTerm,
    GradientReading,
    Learner,
    Method,
    Term,
    UnlearningRequest,
    bounded,
    choice,
    copy_of,
    frozen_statistics,
    optimisation_of,
    register_method,
    remember_only,
)


@register_method(
    "gradient_constraint",
    paper="reconstruction of Chen, Wang, Mi, Mathematics 12(24):4001, 2024",
    uses={"forget", "retain", "third_party"},
    cost="10 (R + d(R/2) + R/2)",
    scenarios={"random", "class", "subclass", "indices"},
    presets={
        "placebo": {"interpolate": "third_third"},
        "max_prob": {"scalar": "max_prob", "gp_target": "match", "lambda1": 10.0},
        "-utility": {"terms": "gradient+confidence"},
        "-gradient": {"terms": "utility+confidence"},
        "-confidence": {"terms": "utility+gradient"},
        "utility": {"terms": "utility"},
        "gradient": {"terms": "gradient"},
        "confidence": {"terms": "confidence"},
    },
    contrastive={"scalar": "pos_cosine", "lambda1": 10.0},
)
@dataclass(frozen=True, kw_only=True)
class GradientConstraint(Method):
    """w_u * loss on retain + lambda1 * mean (|grad s| - c)^2 between forget and third party + lambda2 * mean s."""

    terms: str = choice(
        "utility+gradient+confidence",
        "utility+gradient",
        "utility+confidence",
        "gradient+confidence",
        "utility",
        "gradient",
        "confidence",
    )
    utility_weight: float = bounded(1.0, 0.0, 100.0)
    lambda1: float = bounded(1.0, 0.0, 1000.0)
    lambda2: float = bounded(0.1, 0.0, 1000.0)
    scalar: str = choice("margin", "log_odds", "max_prob", "logit_sum", "pos_cosine", "neg_infonce", "output_sum")
    scalar_space: str = choice("head", "encoder")
    gp_wrt: str = choice("input", "feature")
    gp_target: str = choice("zero", "one", "match")
    interpolate: str = choice("forget_third", "none_forget", "third_third")
    pixel_space: str = choice("normalised", "raw")
    bn_gp: str = choice("frozen", "train")
    conf_loss: str = choice("mean_confidence", "kl_uniform")
    bn_conf: str = choice("frozen", "train")
    batch_pairing: str = choice("fixed", "proportional")
    optimizer: str = choice("adam", "sgd", "adamw")
    schedule: str = choice("onecycle", "constant", "cosine")
    lr: float = bounded(3e-3, 1e-6, 0.1)
    momentum: float = bounded(0.9, 0.0, 0.999)
    weight_decay: float = bounded(0.0, 0.0, 0.1)
    epochs: int = bounded(10, 1, 100)
    batch_size: int = bounded(64, 2, 65536)
    forget_batch_size: int = bounded(32, 2, 65536)

    def reads(self) -> frozenset[str]:
        """A term that is off needs no data."""
        pairs = {"forget_third": {"forget", "third_party"}, "none_forget": {"forget"}, "third_third": {"third_party"}}
        needed = {"retain"}
        if self._weight("gradient", self.lambda1):
            needed |= pairs[self.interpolate] | ({"third_party"} if self.gp_target == "match" else set())
        if self._weight("confidence", self.lambda2):
            needed |= {"third_party"}
        return frozenset(needed)

    def refuses(self, paradigm: str) -> str | None:
        if self.conf_loss == "kl_uniform" and paradigm != "supervised":
            return "conf_loss = 'kl_uniform' needs class probabilities, encoders have none"
        return self._reading().refusal(paradigm)

    def unlearn(self, learner: Learner, request: UnlearningRequest) -> Learner:
        if refusal := self.refuses(learner.paradigm):
            raise BenchmarkError(f"gradient_constraint: {refusal}.")
        reading = self._reading()
        unlearned = copy_of(learner)
        remember_only(unlearned, request.retain, request.stream("memory"))
        views = request.stream("augment/retain")
        objective: dict[str, tuple[float, Term]] = {}
        if weight := self._weight("utility", self.utility_weight):
            objective["utility"] = (weight, lambda batch: unlearned.loss(batch.images, batch.labels, views))
        if weight := self._weight("gradient", self.lambda1):
            objective["gradient"] = (weight, self._gradient_term(reading, learner, unlearned, request))
        if weight := self._weight("confidence", self.lambda2):
            objective["confidence"] = (weight, self._confidence_term(reading, unlearned, request))
        if not objective:
            raise BenchmarkError("gradient_constraint: the weight of every term is 0.")
        request.optimise(unlearned, request.retain, objective, optimisation_of(self))
        return unlearned

    def _reading(self) -> GradientReading:
        return GradientReading(self.scalar, self.scalar_space, self.gp_wrt, self.pixel_space, self.bn_gp)

    def _weight(self, term: str, weight: float) -> float:
        return weight if term in self.terms.split("+") else 0.0

    def _gradient_term(
        self, reading: GradientReading, original: Learner, unlearned: Learner, request: UnlearningRequest
    ) -> Term:
        """Mean (|grad s(x)| - c)^2 at random points between the views of forget and third-party images."""
        first = request.third_party if self.interpolate == "third_third" else request.forget
        second = None if self.interpolate == "none_forget" else request.third_party
        target = self._target(reading, original, request)
        return GradientPenaltyTerm(reading, unlearned, request, first, second, self._size(first, request), target)

    def _confidence_term(self, reading: GradientReading, unlearned: Learner, request: UnlearningRequest) -> Term:
        """Mean s on third-party images, or KL(uniform || p) there; an unbounded -CE is not offered."""
        images = request.third_party.stream(self._size(request.third_party, request), request.stream("third_party"))
        drawn = request.stream("augment/third_party")

        def term(_batch: Batch) -> Tensor:
            views = unlearned.views(next(images).images, drawn)
            with frozen_statistics(unlearned, self.bn_conf == "frozen"):
                if self.conf_loss == "mean_confidence":
                    return reading.scalars(unlearned, views).mean()
                log_p = unlearned.predict(views[0]).float().log_softmax(1)
                return -log_p.mean() - math.log(log_p.shape[1])

        return term

    def _target(self, reading: GradientReading, original: Learner, request: UnlearningRequest) -> float:
        """c: 0, 1, or the mean gradient norm of the original on third-party data."""
        if self.gp_target != "match":
            return 0.0 if self.gp_target == "zero" else 1.0
        views = request.stream("augment/match")
        norms = [
            reading.norms(original, original.views(batch.images, views), create_graph=False)
            for batch in request.third_party.batches(self._size(request.third_party, request))
        ]
        return float(torch.cat(norms).mean())

    def _size(self, images: ExampleSet, request: UnlearningRequest) -> int:
        """Forget and third-party images a step: fixed, or in proportion to the sets."""
        if self.batch_pairing == "fixed":
            return self.forget_batch_size
        return max(2, round(self.batch_size * len(images) / len(request.retain)))
