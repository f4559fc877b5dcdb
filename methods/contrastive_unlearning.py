"""Contrastive unlearning: features of forget images are pushed from their class towards the others, CE holds the rest.

Lee, Zhang, Yang, Lou, Xiong, "Contrastive Unlearning" (IJCAI 2025). A reconstruction: its equations 5 to 7 and its
algorithm are known to us at second hand, its settings are not; ours stand in their place. A forget image of whose
class no retain image is in the batch is left out, unless a class is forgotten: then all retain images attract it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from benchmark.api import (
    Batch,
    GradientMethod,
    Learner,
    UnlearningRequest,
    answers,
    bounded,
    copy_of,
    logits_over,
    register_method,
)


@register_method(
    "contrastive_unlearning",
    paper="reconstruction of Lee, Zhang, Yang, Lou, Xiong, IJCAI 2025, arXiv 2401.10458",
    uses={"forget", "retain"},
    cost="40 (F + as many of R)",
    paradigms={"supervised"},
    scenarios={"random", "indices", "class"},
    optimises={"features"},
)
@dataclass(frozen=True, kw_only=True)
class ContrastiveUnlearning(GradientMethod):
    """Each forget batch meets `repeats` retain batches: unlearn_weight * contrast + utility_weight * cross-entropy."""

    temperature: float = bounded(0.1, 0.01, 10.0)
    unlearn_weight: float = bounded(1.0, 0.0, 100.0)
    utility_weight: float = bounded(1.0, 0.0, 100.0)
    repeats: int = bounded(4, 1, 16)
    detach_retain: bool = False

    def unlearn(self, learner: Learner, request: UnlearningRequest) -> Learner:
        unlearned = copy_of(learner)
        whole_class = request.scenario == "class"
        order, views = request.stream("forget"), request.stream("augment/both")
        retain = request.retain.stream(self.batch_size, request.stream("retain"))
        descent = request.descent(unlearned, self.how())
        for _ in descent.epochs():
            for forget in request.forget.batches(self.batch_size, order):
                for _ in range(self.repeats):
                    term = self.loss_beside(next(retain), unlearned, views, whole_class)
                    descent.step(forget, {"unlearning": (1.0, term)})
            if whole_class and self._at_chance(unlearned, request):
                descent.stop()
        return unlearned

    def loss_beside(
        self, retain: Batch, unlearned: Learner, views: Generator, whole_class: bool
    ) -> Callable[[Batch], Tensor]:
        """Of a forget batch, both batches being one to batch normalisation."""

        def term(forget: Batch) -> Tensor:
            (view,) = unlearned.views(torch.cat([forget.images, retain.images]), views)
            features = unlearned.embed(view)
            loss = self.utility_weight * F.cross_entropy(answers(unlearned, features)[len(forget) :], retain.labels)
            if self.unlearn_weight == 0:
                return loss
            pushed, held = F.normalize(features.float()).split([len(forget), len(retain)])
            if self.detach_retain:
                held = held.detach()
            return loss + self.unlearn_weight * contrast(
                pushed, held, forget.labels, retain.labels, self.temperature, whole_class
            )

        return term

    def _at_chance(self, unlearned: Learner, request: UnlearningRequest) -> bool:
        right = logits_over(unlearned, request.forget).argmax(1) == request.forget.labels
        return float(right.float().mean()) <= 1 / request.num_classes


def contrast(
    forget: Tensor, retain: Tensor, forget_labels: Tensor, retain_labels: Tensor, temperature: float, whole_class: bool
) -> Tensor:
    """Mean over forget images of -mean of u.a over others' classes / t + log sum over their own of exp(u.p / t).

    Args:
        forget: [n, D] unit features u.
        retain: [m, D] unit features: a of another class, p of the same.
        forget_labels: [n].
        retain_labels: [m].
        temperature: t.
        whole_class: No p exists; the second term is the logarithm of the number of a.

    Returns:
        Scalar; 0 if no image has what it takes.
    """
    same = forget_labels[:, None] == retain_labels
    usable = (~same).any(1) & (same.any(1) | whole_class)
    if not usable.any():
        return forget.sum() * 0
    alike, same = (forget @ retain.T / temperature)[usable], same[usable]
    others = (~same).sum(1)
    pull = alike.masked_fill(same, 0).sum(1) / others
    push = others.log() if whole_class else alike.masked_fill(~same, -float("inf")).logsumexp(1)
    return (push - pull).mean()
