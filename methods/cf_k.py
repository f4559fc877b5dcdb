"""CF-k: fine-tuning of the last k blocks and the heads on the retain set, everything before them frozen.

Goel et al. (arXiv 2201.06640), who count layers; here k counts blocks of the encoder from its output (a residual block
is one). Frozen blocks are in no optimiser, and their batch normalisation stays in evaluation mode.
"""

from dataclasses import dataclass

from benchmark.api import (
    GradientMethod,
    Learner,
    UnlearningRequest,
    bounded,
    choice,
    names_in,
    prepared,
    register_method,
    split_blocks,
    utility,
    with_copies,
)


@register_method(
    "cf_k",
    paper="Goel, Prabhu, Sanyal, Lim, Torr, Kumaraguru, arXiv 2201.06640, 2022",
    uses={"retain"},
    cost="10 R, backward through the last block alone",
    contrastive={"lr": 0.006},
)
@dataclass(frozen=True, kw_only=True)
class CFk(GradientMethod):
    """Epochs of the training loss on retain, for the end of the network."""

    k: int = bounded(1, 1, 1000)
    optimizer: str = choice("sgd", "adam", "adamw")
    schedule: str = choice("constant", "onecycle", "cosine")

    def unlearn(self, learner: Learner, request: UnlearningRequest) -> Learner:
        unlearned = prepared(learner, request)
        first, last = split_blocks(unlearned, self.k)
        objective = utility(unlearned, request, resting=with_copies(unlearned, first))
        request.optimise(unlearned, request.retain, objective, self.how(), only=names_in(unlearned, last))
        return unlearned
