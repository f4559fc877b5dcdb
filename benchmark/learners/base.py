"""The learner: a trainable model with its paradigm. It is what makes methods independent of how a model was trained."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
import torch.nn as nn
from torch import Generator, Tensor

from benchmark.learners.views import ViewPolicy

Reduction = Literal["mean", "none"]
Space = Literal["head", "encoder"]


class Learner(nn.Module):
    """Encoder, heads, loss and views. Images enter as [N, C, H, W] floats in [0, 1]; normalisation is inside."""

    paradigm: str
    num_classes: int
    view_count: int = 1
    needs_full_batches: bool = False
    """Whether the loss of an image depends on how many others are in its batch (METHODS C8)."""
    mean: Tensor
    std: Tensor

    def __init__(self, encoder: nn.Module, policy: ViewPolicy, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.encoder = encoder
        self.policy = policy
        self.remembers_keys = True
        self.register_buffer("mean", mean.view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", std.view(1, -1, 1, 1), persistent=False)

    # What training minimises

    def loss(self, images: Tensor, labels: Tensor, generator: Generator, reduction: Reduction = "mean") -> Tensor:
        """The paradigm's own training loss, views included: scalar, or [N] with reduction "none"."""
        return self.view_loss(self.views(images, generator), labels, reduction)

    def view_loss(self, views: list[Tensor], labels: Tensor, reduction: Reduction = "mean") -> Tensor:
        """The same on views that were drawn already."""
        raise NotImplementedError

    def views(self, images: Tensor, generator: Generator) -> list[Tensor]:
        """`view_count` augmented copies, each [N, C, H, W]; noise may leave [0, 1]."""
        return [self.policy(images, generator) for _ in range(self.view_count)]

    # What attacks and constraints read

    def confidence(self, images: Tensor, labels: Tensor, generator: Generator) -> Tensor:
        """[N], larger for what the model knows well; differentiable in images and weights."""
        return self.view_confidence(self.views(images, generator), labels)

    def view_confidence(self, views: list[Tensor], labels: Tensor, space: Space = "head") -> Tensor:
        """The same on views that were drawn already."""
        raise NotImplementedError

    def embed(self, images: Tensor) -> Tensor:
        """[N, D] encoder features, before any head."""
        features: Tensor = self.encoder(self.normalise(images))
        return features

    def normalise(self, images: Tensor) -> Tensor:
        """Pixels in [0, 1] -> what networks see."""
        return (images - self.mean) / self.std

    def project(self, images: Tensor) -> Tensor:
        """[N, P] output of the head that the loss compares (contrastive learners only)."""
        raise NotImplementedError(f"{self.paradigm} learners have no projection head")

    def predict(self, images: Tensor) -> Tensor:
        """[N, num_classes] logits (supervised learners only)."""
        raise NotImplementedError(f"{self.paradigm} learners do not classify")

    # Anatomy

    def blocks(self) -> list[nn.Module]:
        """The encoder's parts that hold parameters, from input to output; a stage counts by its blocks."""
        parts = []
        for child in self.encoder.children():
            parts += list(child.children()) if isinstance(child, nn.Sequential) else [child]
        return [part for part in parts if any(True for _ in part.parameters())]

    def heads(self) -> list[nn.Module]:
        """What follows the encoder in the online network."""
        raise NotImplementedError

    def targets(self) -> list[tuple[nn.Module, nn.Module]]:
        """(online, momentum copy) pairs; never in an optimiser."""
        return []

    def trainable(self) -> list[tuple[str, nn.Parameter]]:
        """Named parameters of the online network: what optimisers and masks see."""
        followers = {id(p) for _, target in self.targets() for p in target.parameters()}
        return [(name, p) for name, p in self.named_parameters() if id(p) not in followers]

    # Training-time state beyond weights

    def after_step(self) -> None:
        """After every optimiser step: momentum copies follow, queues take the step's keys."""

    def keep_keys(self, rows: Tensor) -> None:
        """Of the keys that this step will leave, keep those of these images ([n] bool) alone."""

    def rebuild_memory(self, images: Iterator[Tensor], generator: Generator) -> None:
        """Forget remembered keys and fill the memory from these images (METHODS C4)."""

    def clear_memory(self) -> None:
        """Forget remembered keys."""


def width_of(encoder: nn.Module) -> int:
    """D of an encoder of ours: timm's `num_features`."""
    return int(encoder.num_features)  # type: ignore[arg-type]


@contextmanager
def frozen_statistics(learner: Learner, batch_norm: bool = True, keys: bool = True) -> Iterator[None]:
    """Forward passes inside leave no trace: no key is remembered, and no running statistic moves.

    Args:
        learner: Changed inside, restored afterwards.
        batch_norm: False lets batch normalisation use and update batch statistics as in training.
        keys: False lets keys be remembered as in training.
    """
    norms = [m for m in learner.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]
    remembered = learner.remembers_keys
    learner.remembers_keys = remembered and not keys
    for norm in norms if batch_norm else ():
        norm.eval()
    try:
        yield
    finally:
        learner.remembers_keys = remembered
        for norm in norms if batch_norm else ():
            norm.train()


@torch.no_grad()
def follow(online: nn.Module, target: nn.Module, momentum: float) -> None:
    """Exponential moving average of parameters: target <- momentum * target + (1 - momentum) * online."""
    for source, moved in zip(online.parameters(), target.parameters(), strict=True):
        moved.lerp_(source, 1 - momentum)


def momentum_copy(module: nn.Module) -> nn.Module:
    """A copy that takes no gradient."""
    return copy.deepcopy(module).requires_grad_(False)
