"""Ours: the confidences on forget images are moved onto those on third-party images, with the retain loss beside.

After the stated aim of gradient_constraint (outputs on forgotten and third-party data should be alike), but the
outputs are aligned directly: the 1-D Wasserstein distance of two batches of confidences. It aligns the two sets'
marginals only, so an attack on single examples may still see the forget set.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.api import (
    Learner,
    Method,
    Term,
    UnlearningRequest,
    bounded,
    choice,
    copy_of,
    frozen_statistics,
    optimisation_of,
    register_method,
    remember_only,
)


@register_method(
    "third_party_alignment",
    paper="ours",
    uses={"forget", "retain", "third_party"},
    cost="10 (2 R + f(R))",
    scenarios={"random", "class", "subclass", "indices"},
    contrastive={"weight": 10.0, "lr": 3e-3},
    optimises={"loss", "similarity"},
)
@dataclass(frozen=True, kw_only=True)
class ThirdPartyAlignment(Method):
    """loss on retain + weight * W1(confidences on forget, confidences on third party)."""

    weight: float = bounded(0.3, 0.0, 1000.0)
    optimizer: str = choice("adam", "sgd", "adamw")
    schedule: str = choice("onecycle", "constant", "cosine")
    lr: float = bounded(1e-3, 1e-6, 0.1)
    momentum: float = bounded(0.9, 0.0, 0.999)
    weight_decay: float = bounded(0.0, 0.0, 0.1)
    epochs: int = bounded(10, 1, 100)
    batch_size: int = bounded(64, 2, 65536)
    forget_batch_size: int = bounded(64, 2, 65536)

    def unlearn(self, learner: Learner, request: UnlearningRequest) -> Learner:
        unlearned = copy_of(learner)
        remember_only(unlearned, request.retain, request.stream("memory"))
        views = request.stream("augment/retain")
        request.optimise(
            unlearned,
            request.retain,
            {
                "utility": (1.0, lambda batch: unlearned.loss(batch.images, batch.labels, views)),
                "alignment": (self.weight, self._alignment(unlearned, request)),
            },
            optimisation_of(self),
        )
        return unlearned

    def _alignment(self, unlearned: Learner, request: UnlearningRequest) -> Term:
        size = min(self.forget_batch_size, len(request.forget), len(request.third_party))
        forget = request.forget.stream(size, request.stream("forget"))
        third_party = request.third_party.stream(size, request.stream("third_party"))
        views = {name: request.stream(f"augment/{name}") for name in ("forget", "third_party")}

        def term(_batch: object) -> Tensor:
            mine, theirs = next(forget), next(third_party)
            with frozen_statistics(unlearned):
                confidence = unlearned.confidence(mine.images, mine.labels, views["forget"])
                with torch.no_grad():
                    goal = unlearned.confidence(theirs.images, theirs.labels, views["third_party"])
            return wasserstein(confidence, goal)

        return term


def wasserstein(first: Tensor, second: Tensor) -> Tensor:
    """1-D Wasserstein distance of two equally large samples ([n] each): mean |difference| of the sorted values."""
    return (first.sort().values - second.sort().values).abs().mean()
