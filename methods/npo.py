"""Negative preference optimisation: ascent on the forget loss that fades, image by image, as it succeeds.

Zhang, Lin, Bai, Mei (COLM 2024), for language models; the form for images follows MU-Bench, except that the sigmoid is
taken of every image's own difference to the original. Its gradient begins as that of plain ascent and is weighted by
2 sigmoid(-beta d), d the rise of the image's loss, so it does not diverge; beta near 0 is plain ascent. The preset
`retain` adds the training loss on a batch of retain images to each step.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from benchmark.api import (
    Batch,
    GradientMethod,
    Learner,
    Term,
    UnlearningRequest,
    bounded,
    choice,
    copy_of,
    frozen_statistics,
    loss_term,
    register_method,
    remember_only,
)


@register_method(
    "npo",
    paper="Zhang, Lin, Bai, Mei, COLM 2024, arXiv 2404.05868",
    uses={"forget", "retain"},
    cost="5 (F + f(F))",
    scenarios={"random", "class", "subclass", "indices"},
    presets={"retain": {"retain_weight": 1.0}},
    optimises={"loss", "similarity"},
)
@dataclass(frozen=True, kw_only=True)
class NPO(GradientMethod):
    """-(2 / beta) mean log sigmoid(beta (loss - loss of the original)) on forget, plus the loss on retain on demand."""

    beta: float = bounded(0.1, 1e-3, 100.0)
    retain_weight: float = bounded(0.0, 0.0, 100.0)
    bn_forget: str = choice("frozen", "train")
    optimizer: str = choice("sgd", "adam", "adamw")
    schedule: str = choice("constant", "onecycle", "cosine")
    lr: float = bounded(1e-4, 0.0, 0.1)
    epochs: int = bounded(5, 1, 100)
    max_grad_norm: float | None = bounded(None, 1e-6, 1e6)

    def reads(self) -> frozenset[str]:
        """A retain term that is off needs no data."""
        return frozenset({"forget", "retain"} if self.retain_weight else {"forget"})

    def unlearn(self, learner: Learner, request: UnlearningRequest) -> Learner:
        unlearned = copy_of(learner)
        objective: dict[str, tuple[float, Term]] = {
            "preference": (1.0, self._preference(learner, unlearned, request.stream("augment/forget")))
        }
        if self.retain_weight:
            remember_only(unlearned, request.retain, request.stream("memory"))
            batches = request.retain.stream(self.batch_size, request.stream("retain"))
            loss = loss_term(unlearned, request.stream("augment/retain"))
            objective["utility"] = (self.retain_weight, lambda _batch: loss(next(batches)))
        request.optimise(unlearned, request.forget, objective, self.how())
        if not self.retain_weight:
            unlearned.clear_memory()  # a queue without retain images to refill it from would still hold forget keys
        return unlearned

    def _preference(self, original: Learner, unlearned: Learner, views: Generator) -> Term:
        """Both losses on the same views; that of the original in evaluation mode."""

        def term(batch: Batch) -> Tensor:
            drawn = unlearned.views(batch.images, views)
            with torch.no_grad():
                before = original.view_loss(drawn, batch.labels, reduction="none")
            with frozen_statistics(unlearned, self.bn_forget == "frozen"):
                now = unlearned.view_loss(drawn, batch.labels, reduction="none")
            return preference(now - before, self.beta)

        return term


def preference(rise: Tensor, beta: float) -> Tensor:
    """-(2 / beta) mean log sigmoid(beta d) of each image's rise d of the loss [n]."""
    return -2 / beta * F.logsigmoid(beta * rise).mean()
