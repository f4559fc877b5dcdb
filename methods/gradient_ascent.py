"""Gradient ascent on the forget set (NegGrad): Golatkar, Achille, Soatto (CVPR 2020); Thudi et al. (2022).

On classifiers the loss has no bound, so it ends in doing nothing or in collapse unless its rate is just right; on
contrastive learners the loss is bounded by 2/temperature + log(negatives), and it fails by collapse alone.
"""

from dataclasses import dataclass

from torch import Tensor

from benchmark.api import (
    Batch,
    Learner,
    Method,
    UnlearningRequest,
    bounded,
    choice,
    copy_of,
    frozen_statistics,
    optimisation_of,
    register_method,
)


@register_method(
    "gradient_ascent",
    paper="Golatkar, Achille, Soatto, CVPR 2020, arXiv 1911.04933; Thudi et al., arXiv 2109.13398",
    uses={"forget"},
    cost="5 F",
    optimises={"loss", "similarity"},
)
@dataclass(frozen=True, kw_only=True)
class GradientAscent(Method):
    """Epochs of the negated training loss on forget."""

    bn_forget: str = choice("frozen", "train")
    optimizer: str = choice("sgd", "adam", "adamw")
    lr: float = bounded(1e-5, 0.0, 0.1)
    momentum: float = bounded(0.9, 0.0, 0.999)
    weight_decay: float = bounded(5e-4, 0.0, 0.1)
    epochs: int = bounded(5, 1, 100)
    batch_size: int = bounded(256, 2, 65536)
    max_grad_norm: float | None = bounded(None, 1e-6, 1e6)

    def unlearn(self, learner: Learner, request: UnlearningRequest) -> Learner:
        unlearned = copy_of(learner)
        views = request.stream("augment/forget")

        def ascent(batch: Batch) -> Tensor:
            with frozen_statistics(unlearned, self.bn_forget == "frozen"):
                return -unlearned.loss(batch.images, batch.labels, views)

        request.optimise(unlearned, request.forget, {"ascent": (1.0, ascent)}, optimisation_of(self))
        unlearned.clear_memory()  # a queue without retain images to refill it from would still hold forget keys
        return unlearned
