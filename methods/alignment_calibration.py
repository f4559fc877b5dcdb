"""Alignment calibration: contrastive fine-tuning in which forget images have other forget images as positives.

Wang et al., "Alignment Calibration: Machine Unlearning for Contrastive Learning under Auditing" (2024; "MUC", TMLR
2025). A retain image attracts a second view of itself as ever, a forget image a view of a forget image drawn at random
(negative calibration), with weight `alpha`; with weight `beta` the likeness of its own two views is lowered besides.
Their released form, in which two of the paper's three weights are one; the loss with three was not seen.

Departures: momentum networks follow after the step; the likeness is read with batch normalisation frozen, since only
forget images are in it; forget keys stay out of MoCo's queue unless `enqueue` is "all", as they have it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.api import (
    Batch,
    GradientMethod,
    Learner,
    Mixture,
    Term,
    UnlearningRequest,
    bounded,
    choice,
    frozen_statistics,
    prepared,
    register_method,
)


@register_method(
    "alignment_calibration",
    paper="Wang et al., arXiv 2406.03603, 2024",
    uses={"forget", "retain"},
    cost="10 (R + F)",
    paradigms={"simclr", "moco"},
    scenarios={"random", "indices"},
    optimises={"loss", "similarity"},
)
@dataclass(frozen=True, kw_only=True)
class AlignmentCalibration(GradientMethod):
    """(sum of retain losses + alpha * sum of forget losses) / (n_r + alpha n_f) + beta * share * mean cosine."""

    alpha: float = bounded(1.0, 0.0, 100.0)
    beta: float = bounded(0.0, 0.0, 100.0)
    negative_key: str = choice("random_forget", "shift")
    shift: int = bounded(1, 1, 10**6)
    enqueue: str = choice("retain", "all")
    optimizer: str = choice("sgd", "adam", "adamw")
    schedule: str = choice("constant", "onecycle", "cosine")
    lr: float = bounded(0.006, 0.0, 1.0)
    batch_size: int = bounded(512, 2, 65536)

    def unlearn(self, learner: Learner, request: UnlearningRequest) -> Learner:
        unlearned = prepared(learner, request)
        everything = Mixture(request.retain, request.forget, name="retain")
        objective = {"calibrated": (1.0, self._loss(unlearned, request))}
        request.optimise(unlearned, everything, objective, self.how())
        return unlearned

    def _loss(self, unlearned: Learner, request: UnlearningRequest) -> Term:
        forget, share = request.forget, len(request.forget) / (len(request.forget) + len(request.retain))
        views, extra, drawn = (request.stream(name) for name in ("augment/retain", "augment/forget", "partners"))

        def partners(positions: Tensor) -> Tensor:
            """Of each forget image: another, or by chance itself."""
            if self.negative_key == "shift":
                return (positions + self.shift) % len(forget)
            return torch.randint(len(forget), (len(positions),), generator=drawn)

        def term(batch: Batch) -> Tensor:
            rows, second = batch.part(1), batch.images
            if not rows.any():
                return unlearned.loss(batch.images, batch.labels, views)
            second = second.clone()
            second[rows] = forget.take(partners(batch.positions[rows])).images
            anchors, keys = unlearned.policy(batch.images, views), unlearned.policy(second, views)
            weights = torch.where(rows, self.alpha, 1.0)
            losses = unlearned.view_loss([anchors, keys], batch.labels, "none")
            if self.enqueue == "retain":
                unlearned.keep_keys(~rows)
            loss = (weights * losses).sum() / weights.sum().clamp(min=1e-8)
            if self.beta == 0:
                return loss
            own = [anchors[rows], unlearned.policy(batch.images[rows], extra)]
            with frozen_statistics(unlearned):
                likeness = unlearned.view_confidence(own, batch.labels[rows])
            return loss + self.beta * share * likeness.mean()

        return term
