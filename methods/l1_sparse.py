"""Sparsity-aware unlearning: fine-tuning on the retain set with an l1 penalty that fades out.

Jia et al. (NeurIPS 2023): what a model knows of single images sits in small weights, so fine-tuning forgets more when
it also pushes weights towards zero. Nothing is pruned; the subgradient leaves weights small, not exactly zero.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.api import (
    Batch,
    Learner,
    Method,
    UnlearningRequest,
    bounded,
    choice,
    copy_of,
    loss_term,
    optimisation_of,
    register_method,
    remember_only,
    steps_of,
)


@register_method(
    "l1_sparse",
    paper="Jia, Liu, Ram, Yao, Liu, Liu, Sharma, Liu, NeurIPS 2023, arXiv 2304.04934",
    uses={"retain"},
    contrastive={"lr": 0.006, "l1_schedule": "constant"},
)
@dataclass(frozen=True, kw_only=True)
class L1Sparse(Method):
    """loss on retain + gamma_e * |weights|_1 with gamma_e = alpha (1 - e / (epochs - no_l1_epochs))."""

    alpha: float = bounded(1e-4, 0.0, 1.0)
    l1_schedule: str = choice("linear_decay", "constant")
    no_l1_epochs: int = bounded(0, 0, 100)
    optimizer: str = choice("sgd", "adam", "adamw")
    schedule: str = choice("constant", "onecycle", "cosine")
    lr: float = bounded(0.01, 0.0, 1.0)
    momentum: float = bounded(0.9, 0.0, 0.999)
    weight_decay: float = bounded(5e-4, 0.0, 0.1)
    epochs: int = bounded(10, 1, 100)
    batch_size: int = bounded(256, 2, 65536)

    def unlearn(self, learner: Learner, request: UnlearningRequest) -> Learner:
        unlearned = copy_of(learner)
        remember_only(unlearned, request.retain, request.stream("memory"))
        utility, order = loss_term(unlearned, request.stream("augment/retain")), request.stream("retain")

        def norm(_batch: Batch) -> Tensor:
            return torch.stack([parameter.abs().sum() for _, parameter in unlearned.trainable()]).sum()

        steps = steps_of(unlearned, len(request.retain), self.batch_size)
        descent = request.descent(unlearned, optimisation_of(self), steps)
        for epoch in descent.epochs():
            descent.over(request.retain, {"utility": (1.0, utility), "l1": (self.gamma(epoch), norm)}, order)
        return unlearned

    def gamma(self, epoch: int) -> float:
        """The weight of the penalty in an epoch, counted from 0."""
        sparse = self.epochs - self.no_l1_epochs
        if epoch >= sparse:
            return 0.0
        return self.alpha if self.l1_schedule == "constant" else self.alpha * (1 - epoch / sparse)
