"""What a set of images says of every single weight: gradients per batch or per example, and what is made of them.

Saliency masks, Fisher information and their like. All of it is read with batch normalisation frozen, in float32, on
plain images in classifiers, on two views of a stream that all sets share in contrastive learners (METHODS C11, A5).
Importances depend on the batch size, so sets that are compared are read with one.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
import torch.nn as nn
from torch import Tensor
from torch.func import functional_call, grad, vmap

from benchmark.data import ExampleSet
from benchmark.errors import BenchmarkError
from benchmark.learners.base import Learner
from benchmark.mechanics import at_rest, edit_weights, plain_views
from benchmark.training import UnlearningRequest

PerWeight = dict[str, Tensor]
"""Name of a trainable parameter -> a tensor of its shape."""
Reading = Callable[[Learner, list[Tensor], Tensor], Tensor]
"""(learner, views, labels) -> scalar."""


def loss_of(learner: Learner, views: list[Tensor], labels: Tensor) -> Tensor:
    """The mean training loss."""
    return learner.view_loss(views, labels)


def energy_of(learner: Learner, views: list[Tensor], labels: Tensor) -> Tensor:
    """Mean squared norm of the output, logits or unnormalised projections; labels are not read."""
    read = learner.predict if learner.paradigm == "supervised" else learner.project
    return torch.stack([read(view).float().square().sum(1).mean() for view in views]).mean()


def batch_gradients(
    learner: Learner,
    examples: ExampleSet,
    request: UnlearningRequest,
    batch_size: int,
    of: Reading = loss_of,
    drop_last: bool = True,
) -> Iterator[PerWeight]:
    """Gradients of `of` at the learner's weights, one for each batch of a shuffled pass.

    Every call begins the same streams of order and views. Batches are full, unless `drop_last` is False and the learner
    does without; a set smaller than `batch_size` is one batch.
    """
    drop_last = drop_last or learner.needs_full_batches
    order, views = request.stream("importance"), request.stream("augment/importance")
    names, parameters = zip(*learner.trainable(), strict=True)
    for batch in examples.batches(batch_size, order, drop_last):
        with at_rest(learner):
            value = of(learner, plain_views(learner, batch.images, views), batch.labels)
            found = torch.autograd.grad(value, parameters, allow_unused=True, materialize_grads=True)
        yield dict(zip(names, found, strict=True))


def saliency(gradients: Iterable[PerWeight]) -> PerWeight:
    """|sum of gradients|, the signs kept until the end (SalUn)."""
    total, _ = _summed(gradients, lambda gradient: gradient)
    return {name: value.abs() for name, value in total.items()}


def mean_square(gradients: Iterable[PerWeight]) -> PerWeight:
    """Mean over batches of the squared gradient: the empirical Fisher diagonal of batch means (SSD)."""
    total, count = _summed(gradients, torch.square)
    return {name: value / count for name, value in total.items()}


def mean_absolute(gradients: Iterable[PerWeight]) -> PerWeight:
    """Mean over batches of the gradient's absolute value (loss-free SSD)."""
    total, count = _summed(gradients, torch.abs)
    return {name: value / count for name, value in total.items()}


def mean_gradient(gradients: Iterable[PerWeight]) -> PerWeight:
    """Mean over batches: the gradient of the mean loss."""
    total, count = _summed(gradients, lambda gradient: gradient)
    return {name: value / count for name, value in total.items()}


def top_mask(scores: Mapping[str, Tensor], density: float) -> PerWeight:
    """True at the floor(density * n) largest of all n scores, all tensors ranked together; ties by position."""
    flat = torch.cat([score.flatten() for score in scores.values()])
    chosen = torch.zeros(len(flat), dtype=torch.bool, device=flat.device)
    chosen[flat.argsort(descending=True, stable=True)[: int(density * len(flat))]] = True
    parts = chosen.split([score.numel() for score in scores.values()])
    return {name: part.view(score.shape) for (name, score), part in zip(scores.items(), parts, strict=True)}


def dampen(learner: Learner, on_forget: PerWeight, on_all: PerWeight, threshold: float, strength: float) -> float:
    """Shrink weights that matter more to the forget set than to all images (Foster et al., AAAI 2024).

    Where I_f > threshold * I_D, weight <- min(strength * I_D / I_f, 1) * weight, in momentum copies too.

    Args:
        learner: Changed in place.
        on_forget: I_f, importances on the forget set.
        on_all: I_D, the same on all training images, with the same batch size.
        threshold: The paper's alpha.
        strength: The paper's lambda.

    Returns:
        The share of weights that were selected.
    """
    chosen = {name: here > threshold * on_all[name] for name, here in on_forget.items()}
    factors = {
        name: torch.where(chosen[name], strength * on_all[name] / here, 1.0).clamp(max=1)
        for name, here in on_forget.items()
    }
    edit_weights(learner, lambda name, weight: torch.where(chosen[name], factors[name] * weight, weight))
    return sum(int(c.sum()) for c in chosen.values()) / sum(c.numel() for c in chosen.values())


def as_function(learner: Learner, of: Reading = loss_of) -> Callable[[PerWeight, list[Tensor], Tensor], Tensor]:
    """(weights, views, labels) -> `of`, for torch.func; the learner's own weights are neither used nor changed."""
    reader = _Reader(learner, of)

    def function(weights: PerWeight, views: list[Tensor], labels: Tensor) -> Tensor:
        value: Tensor = functional_call(reader, {f"learner.{n}": w for n, w in weights.items()}, (views, labels))
        return value

    return function


def example_gradients(
    learner: Learner, views: list[Tensor], labels: Tensor, of: Reading = loss_of, chunk: int = 32
) -> PerWeight:
    """Name -> [n, *shape]: the gradient of each example's own `of`, `chunk` examples at a time.

    Args:
        learner: Not one whose batches couple their examples.
        views: Of `plain_views`, each [n, C, H, W].
        labels: [n].
        of: Is given one example at a time.
        chunk: Bounds the memory.
    """
    if learner.paradigm == "simclr":
        raise BenchmarkError("SimCLR has no gradient per example: the negatives of its loss couple the batch.")
    function = as_function(learner, of)

    def single(weights: PerWeight, views: list[Tensor], label: Tensor) -> Tensor:
        return function(weights, [view[None] for view in views], label[None])

    weights = {name: parameter.detach() for name, parameter in learner.trainable()}
    with at_rest(learner):
        found: PerWeight = vmap(grad(single), (None, 0, 0), chunk_size=chunk)(weights, views, labels)
    return found


def fisher_diagonal(
    learner: Learner, examples: ExampleSet, request: UnlearningRequest, batch_size: int, of: Reading = loss_of
) -> PerWeight:
    """Mean of the squared gradients of all single examples; streams are those of `batch_gradients`."""
    order, views = request.stream("importance"), request.stream("augment/importance")
    total: PerWeight = {}
    for batch in examples.batches(batch_size, order):
        drawn = plain_views(learner, batch.images, views)
        for name, gradients in example_gradients(learner, drawn, batch.labels, of).items():
            total[name] = total.get(name, 0.0) + gradients.square().sum(0)
    return {name: value / len(examples) for name, value in total.items()}


def _summed(gradients: Iterable[PerWeight], change: Callable[[Tensor], Tensor]) -> tuple[PerWeight, int]:
    total: PerWeight = {}
    count = 0
    for count, gradient in enumerate(gradients, start=1):  # noqa: B007
        for name, value in gradient.items():
            total[name] = total[name] + change(value) if name in total else change(value)
    return total, count


class _Reader(nn.Module):
    """`functional_call` calls modules."""

    def __init__(self, learner: Learner, of: Reading) -> None:
        super().__init__()
        self.learner, self.of = learner, of

    def forward(self, views: list[Tensor], labels: Tensor) -> Tensor:
        return self.of(self.learner, views, labels)
