"""PRMQ: nearly all weights are pruned and drawn anew, the teacher's entropy is matched on retain, weights become fp16.

A solution of the NeurIPS 2023 unlearning challenge, after its port in Cadet et al., "Deep Unlearn" (arXiv 2410.01276,
2024). Of all weights and biases of convolutions and linear layers, ranked together, the fraction `prune` of smallest
size is redrawn uniformly within fan_in^-1/2 (biases become 0). The loss on retain is cross-entropy, classes weighted by
their count to the power -0.1, plus the squared difference of the prediction's entropy from the original's, which reads
the same views in evaluation mode. `epochs` may end within a pass. At the end weights are rounded to half precision.

The port takes one step more, and casts running statistics too, which can overflow; neither is done here.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Generator, Tensor

from benchmark.api import (
    Batch,
    GradientMethod,
    Learner,
    UnlearningRequest,
    bounded,
    copy_of,
    edit_weights,
    register_method,
    steps_of,
    teacher_and_student,
    top_mask,
)


@register_method(
    "prune_reinit_match_quantise",
    paper="NeurIPS 2023 unlearning challenge; Cadet et al., arXiv 2410.01276, 2024",
    uses={"retain"},
    cost="3.2 (R + f(R))",
    paradigms={"supervised"},
    scenarios={"random", "indices"},
)
@dataclass(frozen=True, kw_only=True)
class PruneReinitMatchQuantise(GradientMethod):
    """Redrawn weights, then cross-entropy on retain + (entropy - original's entropy)^2, then half precision."""

    prune: float = bounded(0.99, 0.0, 1.0)
    lr: float = bounded(5e-4, 0.0, 0.1)
    epochs: float = bounded(3.2, 0.1, 100.0)
    batch_size: int = bounded(64, 2, 65536)

    def unlearn(self, learner: Learner, request: UnlearningRequest) -> Learner:
        unlearned, teacher = copy_of(learner), copy_of(learner)
        redraw_smallest(unlearned, self.prune, request.stream("init"))
        views, order = request.stream("augment/retain"), request.stream("retain")
        counts = torch.bincount(request.retain.labels, minlength=request.num_classes)
        weight = counts.clamp(min=1).float() ** -0.1

        def utility(batch: Batch) -> Tensor:
            (drawn,) = unlearned.views(batch.images, views)
            goal, logits = teacher_and_student(teacher, unlearned, drawn)
            return F.cross_entropy(logits, batch.labels, weight) + F.mse_loss(entropy(logits), entropy(goal))

        per_pass = steps_of(unlearned, len(request.retain), self.batch_size)
        left = int(self.epochs * per_pass)
        descent = request.descent(unlearned, self.how(epochs=math.ceil(left / per_pass)))
        for _ in descent.epochs():
            descent.over(request.retain, {"utility": (1.0, utility)}, order, steps=left - descent.done)
        edit_weights(unlearned, lambda _name, weight: weight.half().float())
        return unlearned


def entropy(logits: Tensor) -> Tensor:
    """[n] entropies of softmaxes of [n, C], in nats."""
    logs = logits.log_softmax(1)
    return -(logs.exp() * logs).sum(1)


def redraw_smallest(learner: Learner, share: float, generator: Generator) -> None:
    """Draw anew exactly round(share * n) of all n weights and biases of convolutions and linear layers."""
    fan_in: dict[int, int] = {}
    for module in learner.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            fan_in |= {id(p): module.weight[0].numel() for p in module.parameters()}
    prunable = {name: p for name, p in learner.trainable() if id(p) in fan_in}
    count = sum(p.numel() for p in prunable.values())
    small = top_mask({n: -p.detach().abs() for n, p in prunable.items()}, (round(share * count) + 0.5) / count)
    fresh = {
        name: torch.zeros_like(p)
        if p.dim() == 1
        else (torch.rand(p.shape, generator=generator) * 2 - 1).to(p.device) / math.sqrt(fan_in[id(p)])
        for name, p in prunable.items()
    }
    edit_weights(
        learner, lambda name, weight: torch.where(small[name], fresh[name], weight) if name in small else weight
    )
