"""MSG: in every convolution, the weights that forget and retain images disagree least about are drawn anew.

A top solution of the NeurIPS 2023 unlearning challenge, after its port in Cadet et al., "Deep Unlearn" (arXiv
2410.01276, 2024). The gradient of the loss on a retain subset as large as forget, minus that on forget, is read with
batch normalisation frozen; per convolution the fraction `rho` of smallest absolute value is re-initialised (Kaiming).
Then the network is fine-tuned on retain, weights that were kept taking a tenth of their gradient (but all of their
weight decay, as in the port). The rate rises over the first half of the epochs and falls over the second.

Unlike the port, biases of convolutions are kept. Encoders read and descend on their own loss; batches of 256 and a rate
that is larger in proportion are ours.
"""

from dataclasses import dataclass

import torch
import torch.nn as nn
from torch import Generator, Tensor

from benchmark.api import (
    GradientMethod,
    Learner,
    UnlearningRequest,
    batch_gradients,
    bounded,
    choice,
    edit_weights,
    epochs_on_retain,
    kernels,
    mean_gradient,
    prepared,
    register_method,
)


@register_method(
    "masked_small_gradients",
    paper="NeurIPS 2023 unlearning challenge; Cadet et al., arXiv 2410.01276, 2024",
    uses={"forget", "retain"},
    cost="2 F + 5 R",
    scenarios={"random", "indices"},
    contrastive={"lr": 0.004, "batch_size": 256},
)
@dataclass(frozen=True, kw_only=True)
class MaskedSmallGradients(GradientMethod):
    """Reset of convolutions' least telling weights, then fine-tuning on retain that spares the others."""

    rho: float = bounded(0.3, 0.0, 1.0)
    keep_scale: float = bounded(0.1, 0.0, 1.0)
    optimizer: str = choice("sgd", "adam", "adamw")
    lr: float = bounded(1e-3, 0.0, 0.1)
    epochs: int = bounded(5, 1, 37)
    batch_size: int = bounded(64, 2, 65536)

    def unlearn(self, learner: Learner, request: UnlearningRequest) -> Learner:
        unlearned = prepared(learner, request)
        reset = self._smallest(unlearned, request)
        fresh = {name: kaiming(weight, request.stream(f"init/{name}")) for name, weight in kernels(unlearned).items()}
        edit_weights(
            unlearned, lambda name, weight: torch.where(reset[name], fresh[name], weight) if name in reset else weight
        )
        shares = [(p, torch.where(reset[name], 1.0, self.keep_scale)) for name, p in kernels(unlearned).items()]

        def spare() -> None:
            for weight, share in shares:
                if weight.grad is not None:
                    weight.grad.mul_(share)

        epochs_on_retain(unlearned, request, self.how(), triangle, on_gradients=spare)
        return unlearned

    def _smallest(self, learner: Learner, request: UnlearningRequest) -> dict[str, Tensor]:
        """Name of a kernel -> True at its round(rho * n) entries of smallest gradient."""
        drawn = torch.randperm(len(request.retain), generator=request.stream("subset"))[: len(request.forget)]
        subset = request.retain.altered(positions=drawn)
        size = min(self.batch_size, len(subset))
        here = mean_gradient(batch_gradients(learner, subset, request, size))
        there = mean_gradient(batch_gradients(learner, request.forget, request, size))
        return {name: smallest(here[name] - there[name], self.rho) for name in kernels(learner)}


def smallest(values: Tensor, share: float) -> Tensor:
    """True at exactly round(share * n) entries of smallest absolute value; ties by position."""
    order = values.abs().flatten().argsort(stable=True)
    chosen = torch.zeros(values.numel(), dtype=torch.bool, device=values.device)
    chosen[order[: round(share * values.numel())]] = True
    return chosen.view(values.shape)


def kaiming(like: Tensor, generator: Generator) -> Tensor:
    """A fresh kernel of this shape."""
    fresh = nn.init.kaiming_normal_(torch.empty(like.shape), mode="fan_out", nonlinearity="relu", generator=generator)
    return fresh.to(like.device)


def triangle(epoch: int, epochs: int) -> float:
    """Factor of the rate in epoch 0, 1, …: of five 1/3, 2/3, 1, 2/3, 1/3."""
    rise = (epochs + 1) // 2
    return (epoch + 1) / rise if epoch < rise else (epochs - epoch) / (epochs + 1 - rise)
