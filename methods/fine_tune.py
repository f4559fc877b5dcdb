"""Fine-tuning on the retain set, in the hope that the rest fades: the baseline of the field.

Golatkar, Achille, Soatto (CVPR 2020), Warnecke et al. (2021) and many after. `bn` and `l2_to_original` reproduce the
variant in the notebooks of SCRUB's authors.
"""

from dataclasses import dataclass

from benchmark.api import (
    Learner,
    Method,
    UnlearningRequest,
    bounded,
    choice,
    copy_of,
    half_squared_distance,
    loss_term,
    optimisation_of,
    register_method,
    remember_only,
)


@register_method(
    "fine_tune",
    paper="Golatkar, Achille, Soatto, CVPR 2020, arXiv 1911.04933; Warnecke et al., arXiv 2108.11577",
    uses={"retain"},
    cost="10 R",
    contrastive={"lr": 0.006},
)
@dataclass(frozen=True, kw_only=True)
class FineTune(Method):
    """Epochs of the training loss on retain."""

    bn: str = choice("train", "frozen")
    l2_to_original: float = bounded(0.0, 0.0, 1000.0)
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
        objective = {
            "utility": (1.0, loss_term(unlearned, request.stream("augment/retain"), self.bn)),
            "distance": (self.l2_to_original, lambda _batch: half_squared_distance(unlearned, learner)),
        }
        request.optimise(unlearned, request.retain, objective, optimisation_of(self))
        return unlearned
