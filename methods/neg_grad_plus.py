"""NegGrad+: descent on the retain loss and ascent on the forget loss in every step.

Kurmanji et al. (NeurIPS 2023) as a baseline of SCRUB; also known as GradDiff. With `balance = "dataset"` batches are
drawn from all training images and each enters with the sign of its set, the form that contrastive learners were given
by Wang et al. (arXiv 2406.03603). Retain images are seen with batch normalisation in training mode and forget images
with frozen statistics, in two forward passes; `bn = "frozen"` and `l2_to_original` are the notebooks' of SCRUB.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.api import (
    Batch,
    ExampleSet,
    GradientMethod,
    Learner,
    Mixture,
    Term,
    UnlearningRequest,
    bounded,
    choice,
    frozen_statistics,
    half_squared_distance,
    loss_term,
    prepared,
    register_method,
)


@register_method(
    "neg_grad_plus",
    paper="Kurmanji, Triantafillou, Hayes, Triantafillou, NeurIPS 2023, arXiv 2302.09880",
    uses={"forget", "retain"},
    cost="10 (R + R/2)",
    contrastive={"balance": "dataset", "lr": 0.006},
    optimises={"loss", "similarity"},
)
@dataclass(frozen=True, kw_only=True)
class NegGradPlus(GradientMethod):
    """alpha * loss on retain - (1 - alpha) * loss on forget, or the mean of signed losses over batches of both."""

    alpha: float = bounded(0.95, 0.5, 1.0)
    balance: str = choice("separate", "dataset")
    bn: str = choice("train", "frozen")
    bn_forget: str = choice("frozen", "train")
    l2_to_original: float = bounded(0.0, 0.0, 1000.0)
    optimizer: str = choice("sgd", "adam", "adamw")
    schedule: str = choice("constant", "onecycle", "cosine")
    momentum: float = bounded(0.0, 0.0, 0.999)
    weight_decay: float = bounded(0.0, 0.0, 0.1)
    batch_size: int = bounded(128, 2, 65536)
    forget_batch_size: int = bounded(64, 2, 65536)
    max_grad_norm: float | None = bounded(None, 1e-6, 1e6)

    def unlearn(self, learner: Learner, request: UnlearningRequest) -> Learner:
        unlearned = prepared(learner, request)
        examples: ExampleSet = request.retain
        if self.balance == "dataset":
            examples = Mixture(request.forget, request.retain, name="retain")
            objective = {"signed": (1.0, self._signed(unlearned, request))}
        else:
            objective = {
                "utility": (self.alpha, loss_term(unlearned, request.stream("augment/retain"), self.bn)),
                "ascent": (self.alpha - 1, self._forget_loss(unlearned, request)),
            }
        pull = self.alpha * self.l2_to_original
        objective["distance"] = (pull, lambda _batch: half_squared_distance(unlearned, learner))
        request.optimise(unlearned, examples, objective, self.how())
        return unlearned

    def _forget_loss(self, unlearned: Learner, request: UnlearningRequest) -> Term:
        """On batches of their own; their keys are not remembered."""
        batches = request.forget.stream(self.forget_batch_size, request.stream("forget"))
        loss = loss_term(unlearned, request.stream("augment/forget"), self.bn_forget, remember=False)
        return lambda _batch: loss(next(batches))

    def _signed(self, unlearned: Learner, request: UnlearningRequest) -> Term:
        """(sum of losses on retain - sum of losses on forget) / batch size."""
        views = request.stream("augment/retain")

        def term(batch: Batch) -> Tensor:
            with frozen_statistics(unlearned, self.bn == "frozen", keys=False):
                losses = unlearned.loss(batch.images, batch.labels, views, reduction="none")
            unlearned.keep_keys(~batch.part(0))
            return torch.where(batch.part(0), -losses, losses).mean()

        return term
