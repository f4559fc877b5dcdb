"""A control: returns a copy of the original. Whatever scores like it has not unlearned."""

from dataclasses import dataclass

from benchmark.api import Learner, Method, UnlearningRequest, copy_of, register_method


@register_method("no_op", paper="control", uses=(), cost="0")
@dataclass(frozen=True, kw_only=True)
class NoOp(Method):
    """Nothing."""

    def unlearn(self, learner: Learner, request: UnlearningRequest) -> Learner:
        return copy_of(learner)
