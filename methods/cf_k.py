"""CF-k: fine-tuning of the last k blocks and the heads on the retain set, everything before them frozen.

Goel et al. (arXiv 2201.06640), who count layers; here k counts blocks of the encoder from its output (a residual block
is one). Frozen blocks are in no optimiser, and their batch normalisation stays in evaluation mode.
"""

from dataclasses import dataclass

from benchmark.api import (
    Learner,
    Method,
    UnlearningRequest,
    bounded,
    choice,
    copy_of,
    loss_term,
    names_in,
    optimisation_of,
    register_method,
    remember_only,
    split_blocks,
    with_copies,
)


@register_method(
    "cf_k",
    paper="Goel, Prabhu, Sanyal, Lim, Torr, Kumaraguru, arXiv 2201.06640, 2022",
    uses={"retain"},
    contrastive={"lr": 0.006},
)
@dataclass(frozen=True, kw_only=True)
class CFk(Method):
    """Epochs of the training loss on retain, for the end of the network."""

    k: int = bounded(1, 1, 1000)
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
        first, last = split_blocks(unlearned, self.k)
        utility = loss_term(unlearned, request.stream("augment/retain"), resting=with_copies(unlearned, first))
        request.optimise(
            unlearned,
            request.retain,
            {"utility": (1.0, utility)},
            optimisation_of(self),
            only=names_in(unlearned, last),
        )
        return unlearned
