"""Loss-free selective synaptic dampening: as ssd, with the size of the output in the place of the loss.

Foster, Schoepf, Brintrup (ICLR 2024 Tiny Papers). Importance is the absolute gradient of the mean squared norm of a
batch's logits, averaged over batches, so no label is read. On contrastive learners the output is the projection before
it is normalised.
"""

from dataclasses import dataclass

from benchmark.api import (
    Learner,
    Method,
    Mixture,
    UnlearningRequest,
    batch_gradients,
    bounded,
    copy_of,
    dampen,
    energy_of,
    mean_absolute,
    register_method,
    remember_only,
)


@register_method(
    "lfssd",
    paper="Foster, Schoepf, Brintrup, ICLR 2024 Tiny Papers, arXiv 2402.19308",
    uses={"forget", "retain"},
    cost="F + (R + F)",
    scenarios={"random", "class", "subclass", "indices"},
)
@dataclass(frozen=True, kw_only=True)
class LossFreeSSD(Method):
    """Shrink what is more than alpha times as important for the forget set's outputs as for all outputs."""

    alpha: float = bounded(10.0, 0.0, 1000.0)
    strength: float = bounded(1.0, 0.0, 1.0)
    batch_size: int = bounded(64, 2, 65536)

    def unlearn(self, learner: Learner, request: UnlearningRequest) -> Learner:
        unlearned = copy_of(learner)
        size = min(self.batch_size, len(request.forget))
        on_forget, on_all = (
            mean_absolute(batch_gradients(unlearned, examples, request, size, energy_of))
            for examples in (request.forget, Mixture(request.forget, request.retain, name="all"))
        )
        request.log.append({"dampened": dampen(unlearned, on_forget, on_all, self.alpha, self.strength)})
        remember_only(unlearned, request.retain, request.stream("memory"))
        return unlearned
