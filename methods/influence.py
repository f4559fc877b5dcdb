"""Influence unlearning: one Newton step from the minimiser on all images towards that on the images that stay.

Koh and Liang (ICML 2017) and Izzo et al. (AISTATS 2021); with the empirical Fisher information in the Hessian's place
(WoodFisher, Singh and Alistarh, NeurIPS 2020) the baseline "IU" of Jia et al. (NeurIPS 2023). Here the system is solved
by conjugate gradients, its matrix never written down.

`solver="reference"` is the recursion in the baseline's code, for published rows only: its vector o stays parallel to
the first gradient for ever, so the "inverse Fisher" is a correction of rank one and the method a scaled gradient step.

On MoCo and BYOL, an adaptation of ours, losses are theirs and alpha is 1: steps of 20 collapse them. SimCLR has no loss
of a single image.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.api import (
    Learner,
    Method,
    Sample,
    UnlearningRequest,
    bounded,
    choice,
    conjugate_gradients,
    edit_weights,
    fisher_product,
    per_weight,
    plain_views,
    prepared,
    register_method,
    single_gradients,
    summed_gradient,
)


@register_method(
    "influence",
    paper="Koh, Liang, ICML 2017, arXiv 1703.04730; Jia et al., NeurIPS 2023, arXiv 2304.04934",
    uses={"forget", "retain"},
    cost="F + R + 2 passes over 1000 of R in each of at most 50 iterations",
    paradigms={"supervised", "moco", "byol"},
    scenarios={"random", "indices", "class"},
    presets={"reference": {"solver": "reference"}},
    contrastive={"alpha": 1.0},
)
@dataclass(frozen=True, kw_only=True)
class Influence(Method):
    """weights <- weights + alpha (damping I + mean g g^T)^-1 (grad L(all) - grad L(retain))."""

    alpha: float = bounded(20.0, 0.0, 1000.0)
    solver: str = choice("cg", "reference")
    damping: float = bounded(1.0, 1e-3, 100.0)
    samples: int = bounded(1000, 1, 10**6)
    tolerance: float = bounded(1e-3, 0.0, 1.0)
    iterations: int = bounded(50, 1, 10000)
    batch_size: int = bounded(64, 2, 65536)

    def unlearn(self, learner: Learner, request: UnlearningRequest) -> Learner:
        unlearned = prepared(learner, request)
        right = self.difference(unlearned, request)
        seen = self._single_images(unlearned, request)
        if self.solver == "cg":
            step, residual, count = conjugate_gradients(
                lambda u: self.damping * u + fisher_product(unlearned, seen, u), right, self.tolerance, self.iterations
            )
            request.log.append({"epoch": 1, "residual": residual, "iterations": float(count)})
        else:
            step = rank_one(single_gradients(unlearned, seen), right, self.samples)
        moves = per_weight(unlearned, self.alpha * step)
        edit_weights(unlearned, lambda name, weight: weight + moves[name])
        return unlearned

    def difference(self, learner: Learner, request: UnlearningRequest) -> Tensor:
        """[P] (sum of forget gradients - n_f / n_r * sum of retain gradients) / N = grad L(all) - grad L(retain)."""
        forget, retain = len(request.forget), len(request.retain)
        of_forget, of_retain = (
            summed_gradient(learner, examples.batches(self.batch_size), request.stream(f"augment/{examples.name}"))
            for examples in (request.forget, request.retain)
        )
        return (of_forget - forget / retain * of_retain) / (forget + retain)

    def _single_images(self, learner: Learner, request: UnlearningRequest) -> Sample:
        """At most `samples` retain images as the learner's loss sees them."""
        order, views = request.stream("samples"), request.stream("augment/samples")
        chosen = torch.randperm(len(request.retain), generator=order)[: self.samples]
        batches = request.retain.altered(positions=chosen).batches(self.batch_size)
        return [(plain_views(learner, batch.images, views), batch.labels) for batch in batches]


def rank_one(gradients: Iterator[Tensor], right: Tensor, count: int) -> Tensor:
    """What the baseline's code makes of `right` with [P] gradients of single images, `count` being its N0."""
    o, k = next(gradients), right.clone()
    for gradient in gradients:
        scale = count + o.dot(gradient)
        k -= k.dot(gradient) / scale * o
        o = o - o.dot(gradient) / scale * o
    return k
