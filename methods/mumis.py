"""MU-Mis: an image that contributed to training makes the logit of its class sensitive to its pixels; undo just that.

Cheng et al., "Remaining-data-free Machine Unlearning by Suppressing Sample Contribution" (ICLR 2026, arXiv 2402.15109).
On forget images, descent on the squared input gradient of the logit of the image's class minus that of another class,
drawn anew each time. No retain image is needed. The second term has no bound, so training stops when the other logits'
sensitivity has fallen, turned and come back to `delta` of where it began.

A reconstruction: loss and stop rule are second-hand, the official code was not to be had, and rates, delta and batch
normalisation (frozen) are ours. Images are read without augmentation, gradients in [0, 1] pixels. Where the other
logits gain sensitivity from the first, as they did on our small classifiers, a `delta` of 1 stops at once: raise it.
Weak, by its authors' own account, where forget images are drawn at random rather than of one class.
"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from benchmark.api import (
    Batch,
    ExampleSet,
    GradientMethod,
    Learner,
    UnlearningRequest,
    at_rest,
    bounded,
    choice,
    copy_of,
    frozen_statistics,
    full_precision,
    register_method,
)


@register_method(
    "mumis",
    paper="reconstruction of Cheng et al., ICLR 2026, arXiv 2402.15109",
    uses={"forget"},
    cost="20 (2 d(F) + F)",
    paradigms={"supervised"},
    scenarios={"class", "subclass", "random", "indices"},
)
@dataclass(frozen=True, kw_only=True)
class MUMis(GradientMethod):
    """mean |grad_x z_own|^2 - |grad_x z_other|^2 on forget; at most `epochs`, less by the stop rule."""

    delta: float = bounded(1.0, 0.8, 1.5)
    optimizer: str = choice("sgd", "adam", "adamw")
    lr: float = bounded(1e-4, 1e-7, 1e-2)
    weight_decay: float = bounded(0.0, 0.0, 0.1)
    epochs: int = bounded(20, 1, 100)
    batch_size: int = bounded(128, 2, 65536)
    max_grad_norm: float | None = bounded(None, 1e-6, 1e6)

    def unlearn(self, learner: Learner, request: UnlearningRequest) -> Learner:
        unlearned = copy_of(learner)
        order, labels = request.stream("forget"), request.stream("labels")

        def contribution(batch: Batch) -> Tensor:
            with frozen_statistics(unlearned), full_precision(request.device):
                own, other = squared_sensitivities(
                    unlearned, batch.images, batch.labels, other_classes(batch.labels, request.num_classes, labels)
                )
            return (own - other).mean()

        def tracked() -> float:
            return mean_sensitivity(unlearned, request.forget, self.batch_size, request.stream("labels/tracked"))

        history = [tracked()]
        descent = request.descent(unlearned, self.how())
        for _ in descent.epochs():
            descent.over(request.forget, {"contribution": (1.0, contribution)}, order)
            history.append(tracked())
            if has_turned(history, self.delta):
                descent.stop()
        return unlearned


def other_classes(labels: Tensor, classes: int, generator: Generator) -> Tensor:
    """[n] classes drawn uniformly from all but the image's own."""
    shift = torch.randint(1, classes, (len(labels),), generator=generator).to(labels.device)
    return (labels + shift) % classes


def squared_sensitivities(learner: Learner, images: Tensor, *classes: Tensor) -> list[Tensor]:
    """For each choice of classes ([n]): |grad_x z_class(x)|^2 of every image, [n]; differentiable in the weights."""
    at = images.detach().requires_grad_()
    logits = learner.predict(at)
    found = []
    for chosen in classes:
        (slope,) = torch.autograd.grad(logits.gather(1, chosen[:, None]).sum(), at, create_graph=True)
        found.append(slope.square().sum((1, 2, 3)))
    return found


def mean_sensitivity(learner: Learner, examples: ExampleSet, batch_size: int, labels: Generator) -> float:
    """Mean |grad_x z_other(x)| over a set."""
    norms = []
    for batch in examples.batches(batch_size):
        with at_rest(learner):
            others = other_classes(batch.labels, examples.num_classes, labels)
            norms.append(squared_sensitivities(learner, batch.images, others)[0].detach().sqrt())
    return float(torch.cat(norms).mean())


def has_turned(history: list[float], delta: float) -> bool:
    """Whether the last value has risen from the least one before it, and is more than delta times the first."""
    return history[-1] > min(history[:-1]) and history[-1] > delta * history[0]
