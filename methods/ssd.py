"""Selective synaptic dampening: shrink the weights that matter far more to the forget set than to all images.

Foster, Schoepf, Brintrup (AAAI 2024). Importance is the squared gradient of the batch-mean loss at the original,
averaged over batches, as in the authors' code, or of single examples (`per_example`), the true diagonal of the
empirical Fisher matrix. Nothing is trained. If hardly a weight qualifies, which is the rule for random forget sets,
the original comes back: the log says what share was dampened.
"""

from dataclasses import dataclass

from torch import Tensor

from benchmark.api import (
    ExampleSet,
    Learner,
    Method,
    Mixture,
    UnlearningRequest,
    batch_gradients,
    bounded,
    choice,
    dampen,
    fisher_diagonal,
    mean_square,
    prepared,
    register_method,
    remember_only,
)


@register_method(
    "ssd",
    paper="Foster, Schoepf, Brintrup, AAAI 2024, arXiv 2308.07707",
    uses={"forget", "retain"},
    cost="F + (R + F)",
    scenarios={"random", "class", "subclass", "indices"},
)
@dataclass(frozen=True, kw_only=True)
class SSD(Method):
    """weight <- min(strength * I_D / I_f, 1) * weight wherever I_f > alpha * I_D."""

    alpha: float = bounded(10.0, 0.0, 1000.0)
    strength: float = bounded(1.0, 0.0, 1.0)
    importance: str = choice("batch_mean_squared", "per_example")
    batch_size: int = bounded(64, 2, 65536)

    def refuses(self, paradigm: str) -> str | None:
        if self.importance == "per_example" and paradigm == "simclr":
            return "SimCLR has no gradient per example: negatives couple the batch"
        return None

    def unlearn(self, learner: Learner, request: UnlearningRequest) -> Learner:
        unlearned = prepared(learner, request)
        everything = Mixture(request.forget, request.retain, name="all")
        on_forget, on_all = (self._importance(unlearned, s, request) for s in (request.forget, everything))
        share = dampen(unlearned, on_forget, on_all, self.alpha, self.strength)
        request.log.append({"dampened": share})
        remember_only(unlearned, request.retain, request.stream("memory"))  # by the keys of the dampened network
        return unlearned

    def _importance(self, learner: Learner, examples: ExampleSet, request: UnlearningRequest) -> dict[str, Tensor]:
        size = min(self.batch_size, len(request.forget))  # one for both sets: importances depend on it
        if self.importance == "per_example":
            return fisher_diagonal(learner, examples, request, size)
        return mean_square(batch_gradients(learner, examples, request, size))
