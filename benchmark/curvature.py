"""The Fisher information matrix of a learner: its diagonal over classes, products with it, systems that hold it.

Read at rest and in float32 (METHODS C14). A content key holds this file's source only where the method imports
something of it (`keys`).
"""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Generator, Tensor
from torch.func import jvp, vjp

from benchmark.data import Batch, ExampleSet
from benchmark.importance import PerWeight, as_function, example_gradients
from benchmark.learners.base import Learner
from benchmark.mechanics import at_rest, plain_views

Sample = list[tuple[list[Tensor], Tensor]]
"""Batches of (views, labels) that are read again and again."""
AT_ONCE = 16
"""Images whose gradients are held together: each is as large as the network."""


def class_fisher_diagonal(learner: Learner, examples: ExampleSet, kind: str = "expected") -> PerWeight:
    """A classifier's mean over images of sum_y p(y|x) (grad log p(y|x))^2, p taking no gradient.

    Args:
        learner: Supervised.
        examples: Read in order; of each image as many gradients are taken as there are classes.
        kind: `expected`, or `empirical`: the image's own label is taken for certain, which costs one gradient.
    """
    total = {name: torch.zeros_like(weight) for name, weight in learner.trainable()}
    for batch in examples.batches(AT_ONCE):
        with torch.no_grad():
            p = learner.predict(batch.images).float().softmax(1)
        one = torch.ones(len(batch), device=p.device)
        every = [(torch.full_like(batch.labels, y), p[:, y]) for y in range(p.shape[1])]
        for labels, weights in every if kind == "expected" else [(batch.labels, one)]:
            for name, gradient in example_gradients(learner, [batch.images], labels).items():
                total[name] += torch.einsum("n,n...->...", weights, gradient.square()).detach()
    return {name: value / len(examples) for name, value in total.items()}


def fisher_product(learner: Learner, seen: Sample, vector: Tensor) -> Tensor:
    """Mean over images of g (g . vector), by one forward-mode and one backward pass.

    Args:
        learner: Whose per-image losses have the gradients g.
        seen: Views and labels.
        vector: [P].
    """
    losses = as_function(learner, lambda model, views, labels: model.view_loss(views, labels, "none"))
    weights = {name: weight.detach() for name, weight in learner.trainable()}
    tangent, total = per_weight(learner, vector), torch.zeros_like(vector)
    with at_rest(learner):
        for views, labels in seen:

            def of(weights: dict[str, Tensor], views: list[Tensor] = views, labels: Tensor = labels) -> Tensor:
                return losses(weights, views, labels)

            along = jvp(of, (weights,), (tangent,))[1]
            (found,) = vjp(of, weights)[1](along)
            total += flattened(found[name] for name in weights)
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


def summed_gradient(learner: Learner, batches: Iterable[Batch], views: Generator) -> Tensor:
    """[P] the sum over all images of the gradients of their losses; `views` draws what encoders see."""
    weights = [weight for _, weight in learner.trainable()]
    total = torch.zeros(sum(weight.numel() for weight in weights), device=weights[0].device)
    for batch in batches:
        with at_rest(learner):
            losses = learner.view_loss(plain_views(learner, batch.images, views), batch.labels, "none")
            total += flattened(torch.autograd.grad(losses.sum(), weights))
    return total


def single_gradients(learner: Learner, seen: Sample) -> Iterator[Tensor]:
    """[P] the gradient of each image's own loss, one after the other."""
    for views, labels in seen:
        for start in range(0, len(labels), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            found = example_gradients(learner, [view[part] for view in views], labels[part])
            yield from torch.cat([value.flatten(1) for value in found.values()], dim=1)


def flattened(parts: Iterable[Tensor]) -> Tensor:
    """[P]: all entries of these tensors in a row."""
    return torch.cat([part.flatten() for part in parts])


def per_weight(learner: Learner, vector: Tensor) -> dict[str, Tensor]:
    """[P] -> a tensor for each trainable parameter."""
    names, weights = zip(*learner.trainable(), strict=True)
    parts = vector.split([weight.numel() for weight in weights])
    return {name: part.view(weight.shape) for name, weight, part in zip(names, weights, parts, strict=True)}
