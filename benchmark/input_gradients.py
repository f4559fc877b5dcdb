"""Norms of the gradient of a model's confidence with respect to its input, for the methods that constrain them.

The idea of a penalty on input gradients at points between two sets is WGAN-GP's (Gulrajani et al., NeurIPS 2017).
The papers that use it for unlearning leave open which scalar, in which space and with respect to what: here each
reading has a name.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.data import Batch, ExampleSet
from benchmark.errors import BenchmarkError
from benchmark.learners.base import Learner, frozen_statistics
from benchmark.training import UnlearningRequest, full_precision

SUPERVISED_SCALARS = ("margin", "log_odds", "max_prob", "logit_sum")
CONTRASTIVE_SCALARS = ("pos_cosine", "neg_infonce", "output_sum")


@dataclass(frozen=True)
class GradientReading:
    """One reading of "the gradient of the confidence".

    Attributes:
        scalar: Classifiers: margin (largest minus second logit) | log_odds (of the predicted class) | max_prob |
            logit_sum. Encoders: pos_cosine (of two views) | neg_infonce | output_sum.
        space: Encoders: head | encoder.
        wrt: input | feature.
        pixels: raw ([0, 1]) | normalised: the unit of the input.
        bn: frozen | train: statistics in the forward pass.
    """

    scalar: str
    space: str = "head"
    wrt: str = "input"
    pixels: str = "raw"
    bn: str = "frozen"

    def refusal(self, paradigm: str) -> str | None:
        """Why the scalar is not defined for a paradigm, or its gradient depends on no weight; None if it is fine."""
        known = SUPERVISED_SCALARS if paradigm == "supervised" else CONTRASTIVE_SCALARS
        if self.scalar not in known:
            return f"scalar = {self.scalar!r} is not defined for {paradigm} learners; known: {', '.join(known)}"
        if (self.scalar, self.space, self.wrt) == ("output_sum", "encoder", "feature"):
            return "the sum of features has the same gradient everywhere with respect to features"
        return None

    def scalars(self, learner: Learner, views: list[Tensor]) -> Tensor:
        """[N] confidences of drawn views."""
        if learner.paradigm == "supervised":
            return _of_logits(learner.predict(views[0]).float(), self.scalar)
        nobody = torch.zeros(len(views[0]), dtype=torch.long, device=views[0].device)
        if self.scalar == "pos_cosine":
            return learner.view_confidence(views, nobody, "head" if self.space == "head" else "encoder")
        if self.scalar == "neg_infonce":
            return -learner.view_loss(views, nobody, reduction="none")
        return (learner.project if self.space == "head" else learner.embed)(views[0]).float().sum(1)

    def norms(self, learner: Learner, views: list[Tensor], create_graph: bool = True) -> Tensor:
        """[N] l2 norms of the scalar's gradient at view 1, in float32, leaving no trace in the learner.

        Statistics are frozen unless `bn` says otherwise: with batch statistics the gradients of different images mix.
        """
        at = views[0].detach().requires_grad_()
        features: list[Tensor] = []
        hook = learner.encoder.register_forward_hook(lambda _module, _input, output: features.append(output))
        try:
            with frozen_statistics(learner, self.bn == "frozen"), full_precision(at.device):
                scalars = self.scalars(learner, [at, *views[1:]])
                point = at if self.wrt == "input" else features[0]
                (gradient,) = torch.autograd.grad(scalars.sum(), point, create_graph=create_graph)
        finally:
            hook.remove()
        if self.wrt == "input" and self.pixels == "normalised":
            gradient = gradient * learner.std
        return gradient.flatten(1).float().square().sum(1).add(1e-12).sqrt()


def _of_logits(logits: Tensor, scalar: str) -> Tensor:
    top = logits.topk(2, dim=1)
    if scalar == "margin":
        return top.values[:, 0] - top.values[:, 1]
    if scalar == "log_odds":
        others = logits.scatter(1, top.indices[:, :1], -float("inf"))
        return top.values[:, 0] - others.logsumexp(1)
    if scalar == "max_prob":
        return logits.softmax(1).amax(1)
    return logits.sum(1)


class GradientPenaltyTerm:
    """mean_i (|grad s(x_i)| - c)^2, with x_i an image of `first`, or a random point between it and one of `second`.

    The images are augmented first and interpolated afterwards, each pair with one share for all its views.
    """

    def __init__(
        self,
        reading: GradientReading,
        learner: Learner,
        request: UnlearningRequest,
        first: ExampleSet,
        second: ExampleSet | None,
        batch_size: int,
        target: float = 0.0,
    ) -> None:
        if refusal := reading.refusal(learner.paradigm):
            raise BenchmarkError(f"{refusal}.")
        self.reading, self.learner, self.request, self.target = reading, learner, request, target
        self.size = min(batch_size, len(first), len(first if second is None else second))
        self.firsts = first.stream(self.size, request.stream("first"))
        self.seconds = None if second is None else second.stream(self.size, request.stream("second"))
        self.views = {role: request.stream(f"augment/{role}") for role in ("first", "second")}
        self.mixing = request.stream("noise")

    def __call__(self, _batch: Batch) -> Tensor:
        points = self.learner.views(next(self.firsts).images, self.views["first"])
        if self.seconds is not None:
            share = self.shares()
            others = self.learner.views(next(self.seconds).images, self.views["second"])
            points = [share * a + (1 - share) * b for a, b in zip(points, others, strict=True)]
        return (self.reading.norms(self.learner, points) - self.target).square().mean()

    def shares(self) -> Tensor:
        """[n, 1, 1, 1] uniform in [0, 1]: how much of the first image is in the mixture."""
        return torch.rand(self.size, 1, 1, 1, generator=self.mixing).to(self.request.device)
