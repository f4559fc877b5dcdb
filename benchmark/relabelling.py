"""Learning wrong answers for forget images beside the right ones for retain images.

In classifiers wrong labels (Golatkar et al., CVPR 2020; Graves et al., AAAI 2021); in contrastive learners, which have
no labels, wrong positives: a forget image is drawn to a view of another one (METHODS A3).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from benchmark.data import Batch, ExampleSet, Mixture
from benchmark.learners.base import Learner
from benchmark.mechanics import loss_term, steps_of, views_with_other_positives
from benchmark.specs import Optimisation
from benchmark.training import Term, UnlearningRequest


@dataclass(frozen=True)
class Relabelling:
    """How forget images get their labels, and when they are shown.

    Attributes:
        redraw: `epoch` or `once`.
        exclude_true: Whether an image's own label, and where classes are forgotten any of theirs, is never drawn.
        order: `mixed` batches of forget and retain images, or `forget_first`, a pass over each.
    """

    redraw: str = "epoch"
    exclude_true: bool = True
    order: str = "mixed"

    def train(self, unlearned: Learner, request: UnlearningRequest, how: Optimisation, **options: Any) -> None:
        """Epochs over both sets with one optimiser; `options` are those of `request.descent`."""
        forget, retain = request.forget, request.retain
        forget_order, order, labels = (request.stream(name) for name in ("forget", "retain", "labels"))
        views, partners = request.stream("augment/retain"), request.stream("partners")
        right = {"utility": (1.0, loss_term(unlearned, views))}
        wrong = {"relabelled": (1.0, _wrong_answers(unlearned, forget, views, partners))}
        descent = request.descent(unlearned, how, self.steps(unlearned, request, how), **options)
        for epoch in descent.epochs():
            if unlearned.paradigm == "supervised" and (epoch == 0 or self.redraw == "epoch"):
                forget = request.forget.altered(labels=self.labels(request, labels))
            if self.order == "mixed":
                descent.over(Mixture(forget, retain, name="retain"), wrong, order)
            else:
                descent.over(Mixture(forget, name="forget"), wrong, forget_order)
                descent.over(retain, right, order)

    def steps(self, learner: Learner, request: UnlearningRequest, how: Optimisation) -> int:
        """Of an epoch."""
        sizes = [len(request.forget), len(request.retain)]
        passes = [sum(sizes)] if self.order == "mixed" else sizes
        return sum(steps_of(learner, images, how.batch_size) for images in passes)

    def labels(self, request: UnlearningRequest, generator: Generator) -> Tensor:
        """[n] labels for the forget images, uniform over those that are allowed."""
        own = request.forget.labels
        allowed = torch.ones(len(own), request.num_classes, device="cpu")
        if self.exclude_true:
            allowed[torch.arange(len(own)), own.cpu()] = 0
            if request.scenario == "class":
                allowed[:, own.unique().cpu()] = 0
        return torch.multinomial(allowed, 1, generator=generator).squeeze(1) if len(own) else own


def _wrong_answers(learner: Learner, forget: ExampleSet, views: Generator, partners: Generator) -> Term:
    """The training loss on a mixture whose first part are forget images, relabelled already in classifiers."""

    def term(batch: Batch) -> Tensor:
        if learner.paradigm == "supervised":
            return learner.loss(batch.images, batch.labels, views)
        rows = batch.part(0)
        drawn = views_with_other_positives(learner, batch, forget, rows, views, partners)
        loss = learner.view_loss(drawn, batch.labels)
        learner.keep_keys(~rows)
        return loss

    return term
