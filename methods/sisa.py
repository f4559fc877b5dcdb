"""SISA: exact unlearning bought at training time, by training many small models instead of one.

Each image was seen by the model of its shard alone, and by that only from its slice on. To forget it, the model is
loaded as it was before that slice and trained on without it; all other shards stay as they are. The saving depends on
how few shards and slices the forget set is in: of K random images about S (1 - (1 - 1/S)^K) of S shards hold one, so
that a tenth of the data is in every shard and nothing is saved; the log says what was. The price is the accuracy that
smaller training sets lose, and the weights that are kept (`artefact_bytes` of the record's cost).
"""

from dataclasses import dataclass

from benchmark.api import Learner, Method, ShardedRequest, copy_of, register_method


@register_method(
    "sisa",
    paper="Bourtoule et al., Machine Unlearning, IEEE S&P 2021, arXiv 1912.03817",
    uses={"artefacts", "retain"},
    paradigms={"supervised"},
    oracle=True,
    cost="E R of the shards that hold a forget image",
)
@dataclass(frozen=True, kw_only=True)
class Sisa(Method):
    """Retrain affected shards from before their earliest affected slice; shards and slices are the task's."""

    def unlearn(self, learner: Learner, request: ShardedRequest) -> Learner:
        unlearned = copy_of(learner)
        for shard, first in request.artefacts.forget.first_slices().items():
            again = request.artefacts.resume(shard, first, request.retain)
            unlearned.models()[shard].load_state_dict(again)
        return unlearned
