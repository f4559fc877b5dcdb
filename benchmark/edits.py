"""Edits of single tensors that several methods make.

A content key holds this file's source only where the method imports something of it (`keys`).
"""

from collections.abc import Collection

import torch
import torch.nn as nn
from torch import Generator, Tensor

from benchmark.learners.base import Learner
from benchmark.mechanics import edit_weights


def kernels(learner: Learner) -> dict[str, nn.Parameter]:
    """Weights of the online network's convolutions by name, from input to output."""
    convolutions = {id(m.weight) for m in learner.modules() if isinstance(m, nn.Conv2d)}
    return {name: p for name, p in learner.trainable() if id(p) in convolutions}


def add_noise(learner: Learner, names: Collection[str], std: float, generator: Generator) -> None:
    """Gaussian noise on these trainable tensors, the same on their momentum copies."""

    def shaken(name: str, weight: Tensor) -> Tensor:
        return weight + (std * draws[name]).to(weight.device) if name in draws else weight

    draws = {name: torch.randn(p.shape, generator=generator) for name, p in learner.trainable() if name in names}
    edit_weights(learner, shaken)
