"""RNI: the head is reset, and for some epochs a few tensors at a time are shaken and trained, then everything is.

A solution of the NeurIPS 2023 unlearning challenge, after its port in Cadet et al., "Deep Unlearn" (arXiv 2410.01276,
2024). Each early epoch draws `tensors` tensors that are not of batch normalisation; these and all of batch
normalisation are trained on retain, the rest rests. From the second epoch on noise is added to a share of those drawn,
but never to one that an earlier epoch had drawn already. Later epochs train everything, the last at a rate of its own.
Every epoch begins with an empty optimiser.

Batch normalisation is known by its modules, where the port looks for "bn" in names and misses some. Encoders descend on
their own loss; that all heads are reset there, in batches of 256 at rates larger in proportion, is ours.
"""

from dataclasses import dataclass

import torch
import torch.nn as nn
from torch import Generator

from benchmark.api import (
    GradientMethod,
    Learner,
    UnlearningRequest,
    add_noise,
    bounded,
    choice,
    copy_of,
    optimise_apart,
    register_method,
    remember_only,
    replace_parts,
    utility,
)


@register_method(
    "repeated_noise",
    paper="NeurIPS 2023 unlearning challenge; Cadet et al., arXiv 2410.01276, 2024",
    uses={"retain"},
    cost="9 R",
    scenarios={"random", "indices"},
    contrastive={"lr": 8e-4, "last_lr": 4e-3, "batch_size": 256},
)
@dataclass(frozen=True, kw_only=True)
class RepeatedNoise(GradientMethod):
    """`partial_epochs` of a few noisy tensors on retain, then `epochs` of all."""

    reset: str = choice("heads", "nothing")
    tensors: int = bounded(9, 1, 1000)
    ratio: float = bounded(0.7, 0.0, 1.0)
    noise: float = bounded(0.04, 0.0, 1.0)
    partial_epochs: int = bounded(5, 0, 37)
    epochs: int = bounded(4, 1, 37)
    lr: float = bounded(2e-4, 1e-5, 0.1)
    last_lr: float = bounded(1e-3, 1e-5, 0.1)
    batch_size: int = bounded(64, 2, 65536)

    def unlearn(self, learner: Learner, request: UnlearningRequest) -> Learner:
        unlearned = copy_of(learner)
        if self.reset == "heads":
            replace_parts(unlearned, unlearned.heads(), request.untrained())
        remember_only(unlearned, request.retain, request.stream("memory"))
        order, tensors, noise = (request.stream(name) for name in ("retain", "tensors", "noise"))
        objective = utility(unlearned, request)
        norms, others = parted(unlearned)
        earlier: set[str] = set()
        total = self.partial_epochs + self.epochs
        for epoch in range(total):
            only = None
            if epoch < self.partial_epochs:
                chosen = drawn(others, self.tensors, tensors)
                if epoch > 0:
                    noisy = drawn(chosen, int(self.ratio * self.tensors), tensors)
                    add_noise(unlearned, {*noisy} - earlier, self.noise, noise)
                earlier |= {*chosen}
                only = {*chosen, *norms}
            how = self.how(epochs=1, lr=self.last_lr if epoch == total - 1 else self.lr)
            row = optimise_apart(unlearned, request.retain, objective, how, request, order, only=only)
            request.log.append({**row, "epoch": epoch + 1})
            if request.progress is not None:
                request.progress(epoch + 1, total)
        return unlearned


def parted(learner: Learner) -> tuple[list[str], list[str]]:
    """Names of the trainable tensors of batch normalisation, and of all others."""
    norms = (m for m in learner.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))
    inside = {id(p) for norm in norms for p in norm.parameters()}
    names: tuple[list[str], list[str]] = ([], [])
    for name, parameter in learner.trainable():
        names[id(parameter) not in inside].append(name)
    return names


def drawn(names: list[str], count: int, generator: Generator) -> list[str]:
    """At most so many of them, at random."""
    return [names[place] for place in torch.randperm(len(names), generator=generator)[:count].tolist()]
