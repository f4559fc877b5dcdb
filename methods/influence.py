"""Influence unlearning: one Newton step from the minimiser on all images towards that on the images that stay.

Koh and Liang (ICML 2017) and Izzo et al. (AISTATS 2021); with the empirical Fisher information in the Hessian's place
(WoodFisher, Singh and Alistarh, NeurIPS 2020) the baseline "IU" of Jia et al. (NeurIPS 2023). Here the system is solved
by conjugate gradients, its matrix never written down.

`solver="reference"` is the recursion in the baseline's code, for published rows only: its vector o stays parallel to
the first gradient for ever, so the "inverse Fisher" is a correction of rank one and the method a scaled gradient step.

On MoCo and BYOL, an adaptation of ours, losses are theirs and alpha is 1: steps of 20 collapse them. SimCLR has no loss
of a single image.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import jvp, vjp

from benchmark.api import (
    ExampleSet,
    Learner,
    Method,
    UnlearningRequest,
    as_function,
    at_rest,
    bounded,
    choice,
    copy_of,
    edit_weights,
    example_gradients,
    plain_views,
    register_method,
    remember_only,
)

Seen = list[tuple[list[Tensor], Tensor]]
"""Batches of (views, labels)."""


@register_method(
    "influence",
    paper="Koh, Liang, ICML 2017, arXiv 1703.04730; Jia et al., NeurIPS 2023, arXiv 2304.04934",
    uses={"forget", "retain"},
    paradigms={"supervised", "moco", "byol"},
    scenarios={"random", "indices", "class"},
    presets={"reference": {"solver": "reference"}},
    contrastive={"alpha": 1.0},
)
@dataclass(frozen=True, kw_only=True)
class Influence(Method):
    """weights <- weights + alpha (damping I + mean g g^T)^-1 (grad L(all) - grad L(retain))."""

    alpha: float = bounded(20.0, 0.0, 1000.0)
    solver: str = choice("cg", "reference")
    damping: float = bounded(1.0, 1e-3, 100.0)
    samples: int = bounded(1000, 1, 10**6)
    tolerance: float = bounded(1e-3, 0.0, 1.0)
    iterations: int = bounded(50, 1, 10000)
    batch_size: int = bounded(64, 2, 65536)

    def unlearn(self, learner: Learner, request: UnlearningRequest) -> Learner:
        unlearned = copy_of(learner)
        remember_only(unlearned, request.retain, request.stream("memory"))
        right = self.difference(unlearned, request)
        seen = self._single_images(unlearned, request)
        if self.solver == "cg":
            step, residual, count = conjugate_gradients(
                lambda u: self.damping * u + fisher_product(unlearned, seen, u), right, self.tolerance, self.iterations
            )
            request.log.append({"epoch": 1, "residual": residual, "iterations": float(count)})
        else:
            step = rank_one(_single_gradients(unlearned, seen), right, self.samples)
        moves = _split(unlearned, self.alpha * step)
        edit_weights(unlearned, lambda name, weight: weight + moves[name])
        return unlearned

    def difference(self, learner: Learner, request: UnlearningRequest) -> Tensor:
        """[P] (sum of forget gradients - n_f / n_r * sum of retain gradients) / N = grad L(all) - grad L(retain)."""
        forget, retain = len(request.forget), len(request.retain)
        of_forget = self._summed_gradient(learner, request.forget, request)
        of_retain = self._summed_gradient(learner, request.retain, request)
        return (of_forget - forget / retain * of_retain) / (forget + retain)

    def _summed_gradient(self, learner: Learner, examples: ExampleSet, request: UnlearningRequest) -> Tensor:
        views, weights = request.stream(f"augment/{examples.name}"), [weight for _, weight in learner.trainable()]
        total = torch.zeros(sum(weight.numel() for weight in weights), device=request.device)
        for batch in examples.batches(self.batch_size):
            with at_rest(learner):
                losses = learner.view_loss(plain_views(learner, batch.images, views), batch.labels, "none")
                total += _flat(torch.autograd.grad(losses.sum(), weights))
        return total

    def _single_images(self, learner: Learner, request: UnlearningRequest) -> Seen:
        """At most `samples` retain images as the learner's loss sees them."""
        order, views = request.stream("samples"), request.stream("augment/samples")
        chosen = torch.randperm(len(request.retain), generator=order)[: self.samples]
        batches = request.retain.altered(positions=chosen).batches(self.batch_size)
        return [(plain_views(learner, batch.images, views), batch.labels) for batch in batches]


def fisher_product(learner: Learner, seen: Seen, vector: Tensor) -> Tensor:
    """Mean over images of g (g . vector), by one forward-mode and one backward pass.

    Args:
        learner: Whose per-image losses have the gradients g.
        seen: Views and labels.
        vector: [P].
    """
    losses = as_function(learner, lambda model, views, labels: model.view_loss(views, labels, "none"))
    weights = {name: weight.detach() for name, weight in learner.trainable()}
    tangent, total = _split(learner, vector), torch.zeros_like(vector)
    with at_rest(learner):
        for views, labels in seen:

            def of(weights: dict[str, Tensor], views: list[Tensor] = views, labels: Tensor = labels) -> Tensor:
                return losses(weights, views, labels)

            along = jvp(of, (weights,), (tangent,))[1]
            (found,) = vjp(of, weights)[1](along)
            total += _flat(found[name] for name in weights)
    return total / sum(len(labels) for _, labels in seen)


def conjugate_gradients(
    product: Callable[[Tensor], Tensor], right: Tensor, tolerance: float, iterations: int
) -> tuple[Tensor, float, int]:
    """Solve H u = right: (u, |H u - right| / |right|, iterations). Hestenes and Stiefel, 1952.

    Args:
        product: u -> H u, positive definite.
        right: [P].
        tolerance: Relative residual at which it is solved.
        iterations: At most.
    """
    solution, residual = torch.zeros_like(right), right.clone()
    direction, size, start = right.clone(), right.dot(right), right.dot(right)
    count = 0
    while count < iterations and size > tolerance**2 * start:
        count += 1
        image = product(direction)
        length = size / direction.dot(image)
        solution += length * direction
        residual -= length * image
        direction = residual + residual.dot(residual) / size * direction
        size = residual.dot(residual)
    return solution, float((size / start).sqrt()) if start > 0 else 0.0, count


def rank_one(gradients: Iterator[Tensor], right: Tensor, count: int) -> Tensor:
    """What the baseline's code makes of `right` with [P] gradients of single images, `count` being its N0."""
    o, k = next(gradients), right.clone()
    for gradient in gradients:
        scale = count + o.dot(gradient)
        k -= k.dot(gradient) / scale * o
        o = o - o.dot(gradient) / scale * o
    return k


def _single_gradients(learner: Learner, seen: Seen) -> Iterator[Tensor]:
    for views, labels in seen:
        for start in range(0, len(labels), 16):
            part = slice(start, start + 16)
            found = example_gradients(learner, [view[part] for view in views], labels[part])
            yield from torch.cat([value.flatten(1) for value in found.values()], dim=1)


def _flat(parts: Iterable[Tensor]) -> Tensor:
    return torch.cat([part.flatten() for part in parts])


def _split(learner: Learner, vector: Tensor) -> dict[str, Tensor]:
    """[P] -> a tensor for each trainable parameter."""
    names, weights = zip(*learner.trainable(), strict=True)
    parts = vector.split([weight.numel() for weight in weights])
    return {name: part.view(weight.shape) for name, weight, part in zip(names, weights, parts, strict=True)}
