"""Retraining from nothing on the retain set: exact unlearning, and the reference of time.

Its initialisation and order are its own, independent of the reference retrained model that everything is held
against, so its row shows how far two retrained models are from each other: the oracle floor.
"""

from dataclasses import dataclass

from benchmark.api import Learner, Method, UnlearningRequest, register_method, train


@register_method(
    "retrain", paper="exact unlearning; the gold standard of the field", uses={"retain"}, oracle=True, cost="E R"
)
@dataclass(frozen=True, kw_only=True)
class Retrain(Method):
    """The recipe unchanged, on retain alone."""

    def unlearn(self, learner: Learner, request: UnlearningRequest) -> Learner:
        return train(
            request.fresh_learner, request.retain, request.recipe, request.seed, request.device, request.progress
        )
