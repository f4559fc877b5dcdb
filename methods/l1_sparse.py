"""Sparsity-aware unlearning: fine-tuning on the retain set with an l1 penalty that fades out.

Jia et al. (NeurIPS 2023): what a model knows of single images sits in small weights, so fine-tuning forgets more when
it also pushes weights towards zero. Nothing is pruned; the subgradient leaves weights small, not exactly zero.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.api import (
    Batch,
    GradientMethod,
    Learner,
    UnlearningRequest,
    bounded,
    choice,
    prepared,
    register_method,
    steps_of,
    utility,
)


@register_method(
    "l1_sparse",
    paper="Jia, Liu, Ram, Yao, Liu, Liu, Sharma, Liu, NeurIPS 2023, arXiv 2304.04934",
    uses={"retain"},
    cost="10 R",
    contrastive={"lr": 0.006, "l1_schedule": "constant"},
)
@dataclass(frozen=True, kw_only=True)
class L1Sparse(GradientMethod):
    """loss on retain + gamma_e * |weights|_1 with gamma_e = alpha (1 - e / (epochs - no_l1_epochs))."""

    alpha: float = bounded(1e-4, 0.0, 1.0)
    l1_schedule: str = choice("linear_decay", "constant")
    no_l1_epochs: int = bounded(0, 0, 100)
    optimizer: str = choice("sgd", "adam", "adamw")
    schedule: str = choice("constant", "onecycle", "cosine")

    def unlearn(self, learner: Learner, request: UnlearningRequest) -> Learner:
        unlearned = prepared(learner, request)
        objective, order = utility(unlearned, request), request.stream("retain")

        def norm(_batch: Batch) -> Tensor:
            return torch.stack([parameter.abs().sum() for _, parameter in unlearned.trainable()]).sum()

        steps = steps_of(unlearned, len(request.retain), self.batch_size)
        descent = request.descent(unlearned, self.how(), steps)
        for epoch in descent.epochs():
            descent.over(request.retain, objective | {"l1": (self.gamma(epoch), norm)}, order)
        return unlearned

    def gamma(self, epoch: int) -> float:
        """The weight of the penalty in an epoch, counted from 0."""
        sparse = self.epochs - self.no_l1_epochs
        if epoch >= sparse:
            return 0.0
        return self.alpha if self.l1_schedule == "constant" else self.alpha * (1 - epoch / sparse)
