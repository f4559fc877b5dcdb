"""SCRUB: move away from the original on the forget set, stay with it on the retain set.

Kurmanji et al. (NeurIPS 2023). The teacher is the frozen original. In the first `msteps` epochs a pass over forget
maximises the student's distance to it; every epoch ends with a pass over retain that minimises the training loss and
the same distance. At the start the distance and its gradient are zero: the first pass moves because the student's
batch normalisation is in training mode. The preset `r` is SCRUB+R: of the students after every epoch it returns the
one whose error on forget is nearest to the last one's error on third-party images of the same labels.

On contrastive learners the distance is 1 - cosine of encoder features, our adaptation.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from benchmark.api import (
    Batch,
    ExampleSet,
    GradientMethod,
    Learner,
    Term,
    UnlearningRequest,
    answers,
    bounded,
    choice,
    kl,
    logits_over,
    pointwise_distance,
    prepared,
    register_method,
    seen_features,
    teacher_and_student,
)


@register_method(
    "scrub",
    paper="Kurmanji, Triantafillou, Hayes, Triantafillou, NeurIPS 2023, arXiv 2302.09880",
    uses={"forget", "retain", "third_party"},
    cost="3 (R + f(R)) + 2 (F + f(F))",
    scenarios={"random", "class", "subclass", "indices"},
    presets={
        "r": {"rewind": True},
        "small": {
            "optimizer": "adam",
            "weight_decay": 0.1,
            "gamma": 1.0,
            "alpha": 0.5,
            "temperature": 2.0,
            "msteps": 3,
            "epochs": 10,
            "decay": "5 8 9",
            "batch_size": 32,
            "forget_batch_size": 64,
        },
        "privacy": {"gamma": 1.0, "alpha": 0.5, "msteps": 3, "epochs": 5, "batch_size": 32, "forget_batch_size": 16},
    },
    optimises={"loss", "entropy", "features"},
)
@dataclass(frozen=True, kw_only=True)
class Scrub(GradientMethod):
    """min gamma * loss + alpha * d(original, student) on retain, max d on forget, d = T^2 KL."""

    gamma: float = bounded(0.99, 0.01, 10.0)
    alpha: float = bounded(0.001, 0.0, 10.0)
    temperature: float = bounded(4.0, 0.1, 100.0)
    msteps: int = bounded(2, 0, 100)
    passes: str = choice("interleaved", "max_then_min")
    decay: str = choice("3 5 9", "5 8 9", "never")
    rewind: bool = False
    bn_forget: str = choice("train", "frozen")
    optimizer: str = choice("sgd", "adam", "adamw")
    lr: float = bounded(5e-4, 0.0, 0.1)
    weight_decay: float = bounded(5e-4, 0.0, 0.5)
    epochs: int = bounded(3, 1, 100)
    batch_size: int = bounded(128, 2, 65536)
    forget_batch_size: int = bounded(32, 2, 65536)
    max_grad_norm: float | None = bounded(None, 1e-6, 1e6)

    def reads(self) -> frozenset[str]:
        """Third-party images only to rewind."""
        return frozenset({"forget", "retain"} | ({"third_party"} if self.rewind else set()))

    def refuses(self, paradigm: str) -> str | None:
        return "rewinding compares classification errors" if self.rewind and paradigm != "supervised" else None

    def unlearn(self, learner: Learner, request: UnlearningRequest) -> Learner:
        unlearned = prepared(learner, request)
        forget_order, order = request.stream("forget"), request.stream("retain")
        away = {"away": (-1.0, self._distance(learner, unlearned, request.stream("augment/forget")))}
        stay = self._stay(learner, unlearned, request.stream("augment/retain"))
        students = [copy.deepcopy(unlearned.state_dict())] if self.rewind else []
        errors = [error(unlearned, request.forget)] if self.rewind else []
        descent = request.descent(unlearned, self.how())
        for epoch in descent.epochs():
            descent.scale_rate(self.rate(epoch))
            if epoch < self.msteps:
                descent.over(request.forget, away, forget_order, self.forget_batch_size)
            if epoch >= self.msteps or self.passes == "interleaved":
                descent.over(request.retain, stay, order)
            if self.rewind:
                students.append(copy.deepcopy(unlearned.state_dict()))
                errors.append(error(unlearned, request.forget))
        if self.rewind:
            goal = error(unlearned, alike(request.third_party, request.forget))
            nearest = min(range(len(errors)), key=lambda epoch: abs(errors[epoch] - goal))
            unlearned.load_state_dict(students[nearest])
        return unlearned

    def rate(self, epoch: int) -> float:
        """Factor of the learning rate in an epoch, counted from 0: a tenth for each decay epoch that is over."""
        over = 0 if self.decay == "never" else sum(epoch + 1 > int(last) for last in self.decay.split())
        return 0.1**over

    def divergence(self, teacher: Tensor, student: Tensor, paradigm: str) -> Tensor:
        """The distance d of two networks' logits, or of their features."""
        if paradigm != "supervised":
            return pointwise_distance(teacher, student)
        return self.temperature**2 * kl(teacher, student, self.temperature)

    def _distance(self, teacher: Learner, unlearned: Learner, views: Generator) -> Term:
        """The distance on one view of forget images."""

        def term(batch: Batch) -> Tensor:
            view = unlearned.policy(batch.images, views)
            both = teacher_and_student(teacher, unlearned, view, self.bn_forget)
            return self.divergence(*both, unlearned.paradigm)

        return term

    def _stay(self, teacher: Learner, unlearned: Learner, views: Generator) -> dict[str, tuple[float, Term]]:
        """The training loss and d on retain images, from one forward pass of the student."""
        last: list[Tensor] = []

        def utility(batch: Batch) -> Tensor:
            drawn = unlearned.views(batch.images, views)
            with seen_features(unlearned) as seen:
                loss = unlearned.view_loss(drawn, batch.labels)
            last[:] = [drawn[0], seen[0]]
            return loss

        def distance(_batch: Batch) -> Tensor:
            view, features = last
            with torch.no_grad():
                theirs = answers(teacher, teacher.embed(view))
            return self.divergence(theirs, answers(unlearned, features), unlearned.paradigm)

        return {"utility": (self.gamma, utility), "distance": (self.alpha, distance)}


def error(learner: Learner, examples: ExampleSet) -> float:
    """Share of images that are classified wrongly."""
    return float((logits_over(learner, examples).argmax(1) != examples.labels).float().mean())


def alike(unseen: ExampleSet, forget: ExampleSet) -> ExampleSet:
    """The unseen images whose labels occur among the forgotten ones."""
    return unseen.altered(positions=torch.isin(unseen.labels, forget.labels).nonzero().squeeze(1))
