"""CFW: noise on convolutions, fine-tuning on retain, and a little noise once more before the last epoch.

A solution of the NeurIPS 2023 unlearning challenge, after its port in Cadet et al., "Deep Unlearn" (arXiv 2410.01276,
2024). The strong noise is meant for the first convolution, which is all that the port reaches on a ResNet; on all of
them 0.6 is destruction, so set `std` with `scope`. The port's class weights multiply a loss that is averaged already
and so weigh nothing; here there are none. Encoders are fine-tuned by their own loss, in batches of 256 at a rate larger
in proportion (ours).
"""

import math
from dataclasses import dataclass

import torch
import torch.nn as nn
from torch import Generator

from benchmark.api import (
    Learner,
    Method,
    UnlearningRequest,
    bounded,
    choice,
    copy_of,
    edit_weights,
    loss_term,
    optimisation_of,
    register_method,
    remember_only,
)


@register_method(
    "confuse_finetune_weighted",
    paper="NeurIPS 2023 unlearning challenge; Cadet et al., arXiv 2410.01276, 2024",
    uses={"retain"},
    scenarios={"random", "indices"},
    contrastive={"lr": 0.0028, "batch_size": 256},
)
@dataclass(frozen=True, kw_only=True)
class ConfuseFinetuneWeighted(Method):
    """Gaussian noise of `std` at once and of `late_std` before the last epoch; cosine rate, epoch by epoch."""

    scope: str = choice("first_conv", "all_conv")
    std: float = bounded(0.6, 0.0, 1.0)
    late_std: float = bounded(0.005, 0.0, 1.0)
    optimizer: str = choice("sgd", "adam", "adamw")
    lr: float = bounded(7e-4, 0.0, 0.1)
    momentum: float = bounded(0.9, 0.0, 0.999)
    weight_decay: float = bounded(5e-4, 0.0, 0.1)
    epochs: int = bounded(4, 1, 37)
    batch_size: int = bounded(64, 2, 65536)

    def unlearn(self, learner: Learner, request: UnlearningRequest) -> Learner:
        unlearned = copy_of(learner)
        draws = request.stream("noise")
        confuse(unlearned, self.scope, self.std, draws)
        remember_only(unlearned, request.retain, request.stream("memory"))
        order, utility = request.stream("retain"), loss_term(unlearned, request.stream("augment/retain"))
        descent = request.descent(unlearned, optimisation_of(self))
        for epoch in descent.epochs():
            if 0 < epoch == self.epochs - 1:
                confuse(unlearned, self.scope, self.late_std, draws)
            descent.scale_rate(0.5 + 0.5 * math.cos(math.pi * epoch / self.epochs))
            descent.over(request.retain, {"utility": (1.0, utility)}, order)
        return unlearned


def confuse(learner: Learner, scope: str, std: float, generator: Generator) -> None:
    """Add noise to kernels in scope, the same to their momentum copies; a `std` of 0 draws nothing."""
    if std == 0:
        return
    kernels = {id(m.weight) for m in learner.modules() if isinstance(m, nn.Conv2d)}
    scoped = [(name, p) for name, p in learner.trainable() if id(p) in kernels][: 1 if scope == "first_conv" else None]
    noise = {name: torch.randn(p.shape, generator=generator).to(p.device) for name, p in scoped}
    edit_weights(learner, lambda name, weight: weight + std * noise[name] if name in noise else weight)
