"""Fisher forgetting: noise on every weight, the more the less the weight matters to the images that stay.

Golatkar, Achille, Soatto, "Eternal Sunshine of the Spotless Net" (CVPR 2020). No step is taken and no forget image is
read: weights become samples of a Gaussian round themselves with variance alpha / F, where F is the diagonal of the
Fisher information on retain. Constants are those of the authors' code, as is the exponent; their closed form has a
standard deviation of F^(-1/4). F takes as many gradients of each image as there are classes: `samples` caps it.

On encoders, an adaptation of ours, F is the mean square of batch gradients of the contrastive loss.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.api import (
    Learner,
    Method,
    UnlearningRequest,
    batch_gradients,
    bounded,
    choice,
    class_fisher_diagonal,
    edit_weights,
    mean_square,
    names_in,
    prepared,
    register_method,
)


@register_method(
    "fisher_forgetting",
    paper="Golatkar, Achille, Soatto, CVPR 2020, arXiv 1911.04933",
    uses={"retain"},
    cost="R once for each class",
    scenarios={"random", "indices", "class"},
)
@dataclass(frozen=True, kw_only=True)
class FisherForgetting(Method):
    """weight <- weight + sqrt(alpha / F) * N(0, 1); a class that nobody in retain is of loses its output as well."""

    alpha: float = bounded(1e-6, 0.0, 1e-2)
    fisher: str = choice("expected", "empirical")
    exponent: float = bounded(0.5, 0.0, 1.0)
    samples: int | None = bounded(None, 1, 10**9)
    batch_size: int = bounded(64, 2, 65536)

    def unlearn(self, learner: Learner, request: UnlearningRequest) -> Learner:
        unlearned = prepared(learner, request)
        retain, drawn = request.retain, request.stream("samples")
        if self.samples is not None and self.samples < len(retain):
            retain = retain.altered(positions=torch.randperm(len(retain), generator=drawn)[: self.samples])
        if learner.paradigm == "supervised":
            information = class_fisher_diagonal(unlearned, retain, self.fisher)
        else:
            information = mean_square(batch_gradients(unlearned, retain, request, self.batch_size))
        last = names_in(unlearned, unlearned.heads()) if learner.paradigm == "supervised" else set()
        gone = torch.zeros(request.num_classes, dtype=torch.bool, device=request.device)
        if request.scenario == "class":
            gone[:] = True
            gone[request.retain.labels] = False
        noise = request.stream("noise")
        deviations, draws = {}, {}
        for name, found in information.items():
            deviations[name] = self.variance(found, gone if name in last else None).sqrt()
            draws[name] = torch.randn(found.shape, generator=noise).to(found.device)

        def blurred(name: str, weight: Tensor) -> Tensor:
            kept = weight.clone()
            if name in last:
                kept[gone] = 0
            return kept + deviations[name] * draws[name]

        edit_weights(unlearned, blurred)
        request.log.append({"epoch": 1, "images": float(len(retain))})
        return unlearned

    def variance(self, information: Tensor, gone: Tensor | None) -> Tensor:
        """Of a weight's noise, like `information`: shared along dimension 1, ten times as large in the last layer.

        Args:
            information: F of one tensor.
            gone: [C] bool, the forgotten classes, for tensors of the last layer; None for all others.
        """
        variance = (information + 1e-8).pow(-2 * self.exponent).clamp(max=1e3 if gone is None else 1e2) * self.alpha
        if variance.ndim > 1:
            variance = variance.mean(1, keepdim=True).expand_as(variance).clone()
        if gone is not None:
            variance[gone] = 1e-4
        return variance * 10 if gone is not None or variance.ndim == 1 else variance
