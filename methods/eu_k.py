"""EU-k: the last k blocks and the heads are made anew and trained on the retain set as the original was.

Goel et al. (arXiv 2201.06640), who count layers; here k counts blocks of the encoder from its output. The features
below are the original's, so this is exact for the new part alone. With all blocks made anew it is retraining.
"""

from dataclasses import dataclass

from benchmark.api import (
    Learner,
    Method,
    UnlearningRequest,
    bounded,
    loss_term,
    names_in,
    optimise,
    register_method,
    replace_parts,
    split_blocks,
    with_copies,
)


@register_method(
    "eu_k",
    paper="Goel, Prabhu, Sanyal, Lim, Torr, Kumaraguru, arXiv 2201.06640, 2022",
    uses={"retain"},
    cost="E R, backward through the last block alone",
)
@dataclass(frozen=True, kw_only=True)
class EUk(Method):
    """The recipe on retain, for the end of the network; `epochs` other than the recipe's on demand."""

    k: int = bounded(1, 1, 1000)
    epochs: int | None = bounded(None, 1, 10000)

    def unlearn(self, learner: Learner, request: UnlearningRequest) -> Learner:
        unlearned = request.untrained()
        first, last = split_blocks(unlearned, self.k)
        replace_parts(unlearned, first, learner)
        utility = loss_term(unlearned, request.stream("augment"), resting=with_copies(unlearned, first))
        optimise(
            unlearned,
            request.retain,
            {"utility": (1.0, utility)},
            request.recipe.model_copy(update={"epochs": self.epochs or request.recipe.epochs}),
            order=request.stream("order"),
            recipe=request.recipe,
            log=request.log,
            progress=request.progress,
            only=names_in(unlearned, last),
        )
        return unlearned
