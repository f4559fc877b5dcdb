"""FCS: flatten the answers on forget, then make no forget image more alike to one retain image than to another.

The first-place solution of the NeurIPS 2023 unlearning challenge, after its port in Cadet et al., "Deep Unlearn" (arXiv
2410.01276, 2024). One pass over forget descends on KL(uniform || prediction). Then every epoch pairs forget and retain
batches, descends on the mean negative log-softmax of their logits' dot products over the retain images (contrastive in
name only: nothing is a positive), and repairs with an epoch of the training loss on retain. Three optimisers, each with
a momentum of its own; batch normalisation trains throughout, also on what is not descended on. The contrast's rate
follows a cosine to 0 (there to 1e-6).

Encoders do not predict, so on them (ours, untested) the first pass is left out and dot products are of features.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.api import (
    Batch,
    GradientMethod,
    Learner,
    UnlearningRequest,
    bounded,
    kl,
    prepared,
    register_method,
    steps_of,
    utility,
)


@register_method(
    "forget_contrast_strengthen",
    paper="NeurIPS 2023 unlearning challenge; Cadet et al., arXiv 2410.01276, 2024",
    uses={"forget", "retain"},
    cost="F + 8 (F + f(F) + R)",
    scenarios={"random", "indices"},
    optimises={"loss", "entropy", "features"},
)
@dataclass(frozen=True, kw_only=True)
class ForgetContrastStrengthen(GradientMethod):
    """A pass of uniform answers on forget; epochs of even similarities and of the training loss on retain."""

    uniform_lr: float = bounded(0.005, 0.0, 0.1)
    contrast_lr: float = bounded(3e-4, 0.0, 0.1)
    temperature: float = bounded(1.15, 0.1, 5.0)
    lr: float = bounded(0.004, 0.0, 0.1)
    weight_decay: float = bounded(1e-2, 0.0, 0.1)
    epochs: int = bounded(8, 0, 100)

    def unlearn(self, learner: Learner, request: UnlearningRequest) -> Learner:
        unlearned = prepared(learner, request)
        views = {name: request.stream(f"augment/{name}") for name in ("forget", "retain/pairs")}
        size = min(self.batch_size, len(request.retain))
        partners = request.retain.stream(size, request.stream("retain/pairs"))
        read = unlearned.predict if unlearned.paradigm == "supervised" else unlearned.embed

        def uniformity(batch: Batch) -> Tensor:
            logits = unlearned.predict(unlearned.policy(batch.images, views["forget"])).float()
            return kl(torch.zeros_like(logits), logits)

        def contrast(batch: Batch) -> Tensor:
            with torch.no_grad():
                retain = read(unlearned.policy(next(partners).images, views["retain/pairs"]))
            return unevenness(read(unlearned.policy(batch.images, views["forget"])), retain, self.temperature)

        if unlearned.paradigm == "supervised":
            once = self.how(lr=self.uniform_lr, weight_decay=0.0, epochs=1)
            request.optimise(unlearned, request.forget, {"uniformity": (1.0, uniformity)}, once)
        orders = request.stream("forget/pairs"), request.stream("retain")
        steps = steps_of(unlearned, len(request.forget), self.batch_size)
        how = self.how(lr=self.contrast_lr, weight_decay=0.0, schedule="cosine")
        spread, repair = request.descent(unlearned, how, steps), request.descent(unlearned, self.how())
        objective = utility(unlearned, request)
        for _ in zip(spread.epochs(), repair.epochs(), strict=True):
            spread.over(request.forget, {"contrast": (1.0, contrast)}, orders[0])
            repair.over(request.retain, objective, orders[1])
        return unlearned


def unevenness(forget: Tensor, retain: Tensor, temperature: float) -> Tensor:
    """Mean negative log-softmax over retain [m, D] of dot products with forget [n, D]: log m if they are all even."""
    return -(forget.float() @ retain.float().T / temperature).log_softmax(1).mean()
