"""A control: retraining that is given a share of the time. What is dearer than this and no better is not worth it.

The recipe is the original's on the retain set, its schedule run through in `share` of its epochs. That a fair share is
what the approximate methods of a task take cannot be known inside a method; the default is a tenth.
"""

from dataclasses import dataclass

from benchmark.api import Learner, Method, UnlearningRequest, bounded, register_method, train


@register_method("truncated_retrain", paper="control", uses={"retain"}, cost="0.1 E R")
@dataclass(frozen=True, kw_only=True)
class TruncatedRetrain(Method):
    """The recipe on retain alone, in round(share * epochs) epochs, one at least."""

    share: float = bounded(0.1, 0.0, 1.0)

    def unlearn(self, learner: Learner, request: UnlearningRequest) -> Learner:
        epochs = max(1, round(self.share * request.recipe.epochs))
        recipe = request.recipe.model_copy(update={"epochs": epochs})
        return train(request.fresh_learner, request.retain, recipe, request.seed, request.device, request.progress)
