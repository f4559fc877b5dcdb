"""SFR-on: weighted ascent on forget images, in weights that matter more to them, each time between repairing steps.

Huang et al., "Unified Gradient-Based Machine Unlearning with Remain Geometry Enhancement" (NeurIPS 2024). Every k-th
step on retain is preceded by one that raises the loss of forget images: images that are forgotten already weigh less,
weights outside a mask (Fisher information on forget below that on retain) take no gradient, the rest is clipped, and
the rate of ascent falls along a cosine. Both kinds of step share one optimiser, so momentum moves masked weights too.

The paper's 1,500 steps of 128 images are four epochs of CIFAR-10's retain set. Here the k-th steps are counted within
an epoch and the learning rate falls over all steps of either kind. The slow weights of the paper, which its code turns
off, are left out. On encoders, an adaptation of ours, losses are the learner's own; they are bounded.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn as nn
from torch import Tensor

from benchmark.api import (
    Batch,
    GradientMethod,
    Learner,
    UnlearningRequest,
    batch_gradients,
    bounded,
    choice,
    frozen_statistics,
    mean_square,
    prepared,
    register_method,
    steps_of,
    utility,
)


@register_method(
    "sfron",
    paper="Huang et al., NeurIPS 2024, arXiv 2409.19732",
    uses={"forget", "retain"},
    cost="F + R + 4 (R + R/5)",
    scenarios={"random", "indices", "class"},
    contrastive={"lr": 0.006},
    optimises={"loss", "similarity"},
)
@dataclass(frozen=True, kw_only=True)
class Sfron(GradientMethod):
    """Epochs on retain; before every k-th step one of rate * weighted ascent on forget, masked and clipped."""

    rate: float = bounded(25.0, 0.0, 1000.0)
    every: int = bounded(5, 1, 1000)
    exponent: float = bounded(0.5, 0.0, 2.0)
    threshold: float = bounded(1.0, 0.0, 100.0)
    max_forget_norm: float = bounded(7.0, 1e-3, 1e6)
    bn_forget: str = choice("frozen", "train")
    optimizer: str = choice("sgd", "adamw")
    schedule: str = choice("cosine", "constant")
    epochs: int = bounded(4, 1, 100)
    batch_size: int = bounded(128, 2, 65536)

    def unlearn(self, learner: Learner, request: UnlearningRequest) -> Learner:
        unlearned = prepared(learner, request)
        mask = self.mask(unlearned, request) if self.rate else {}
        forget = request.forget.stream(self.batch_size, request.stream("forget"))
        views = request.stream("augment/forget")
        repair = utility(unlearned, request)
        steps, order = steps_of(unlearned, len(request.retain), self.batch_size), request.stream("retain")
        ascents = math.ceil(steps / self.every) if self.rate else 0
        descent = request.descent(unlearned, self.how(), steps + ascents)

        def masked_and_clipped() -> None:
            for name, weight in unlearned.trainable():
                if weight.grad is not None:
                    weight.grad = torch.where(mask[name], weight.grad, 0.0)
            nn.utils.clip_grad_norm_(descent.parameters, self.max_forget_norm)

        def ascent(batch: Batch) -> Tensor:
            with frozen_statistics(unlearned, self.bn_forget == "frozen"):
                losses = unlearned.loss(batch.images, batch.labels, views, "none")
            return adaptive_mean(losses, self.exponent)

        for epoch in descent.epochs():
            batches = request.retain.batches(self.batch_size, order, unlearned.needs_full_batches)
            for number, batch in enumerate(batches):
                if self.rate and number % self.every == 0:
                    progress = (epoch * steps + number) / (self.epochs * steps)
                    rate = self.rate * (1 + math.cos(math.pi * progress)) / 2
                    descent.on_gradients = masked_and_clipped
                    descent.step(next(forget), {"ascent": (-rate, ascent)})
                    descent.on_gradients = None
                descent.step(batch, repair)
        return unlearned

    def mask(self, learner: Learner, request: UnlearningRequest) -> dict[str, Tensor]:
        """Where the forget set's importance is at least `threshold` times retain's; batches of one size for both."""
        size = min(self.batch_size, len(request.forget), len(request.retain))
        of_forget, of_retain = (
            mean_square(batch_gradients(learner, examples, request, size))
            for examples in (request.forget, request.retain)
        )
        return {n: (found + 1e-15) / (of_retain[n] + 1e-15) >= self.threshold for n, found in of_forget.items()}


def adaptive_mean(losses: Tensor, exponent: float) -> Tensor:
    """Sum of w_i l_i with w_i ~ l_i^-exponent, summing to 1 and taking no gradient; losses [n] are at least 0."""
    weights = 1 / (losses.detach().clamp(min=0).pow(exponent) + 1e-15)
    return (weights / weights.sum() * losses).sum()
