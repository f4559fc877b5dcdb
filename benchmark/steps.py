"""What methods of gradient steps begin with and repeat: their settings, the copy that they change, steps on retain.

A content key holds this file's source only where the method imports something of it (`keys`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from benchmark.api import Method, bounded
from benchmark.data import ExampleSet
from benchmark.learners.base import Learner, frozen_statistics
from benchmark.mechanics import answers, loss_term
from benchmark.specs import Optimisation
from benchmark.training import Objective, Term, UnlearningRequest, copy_of, optimise, remember_only


@dataclass(frozen=True, kw_only=True)
class GradientMethod(Method):
    """A method of gradient steps. The defaults are the field's for classifiers (METHODS C6); methods set their own.

    SGD at a constant rate, unless a method has fields `optimizer`, `schedule` or `max_grad_norm` besides.
    """

    lr: float = bounded(0.01, 0.0, 1.0)
    momentum: float = bounded(0.9, 0.0, 0.999)
    weight_decay: float = bounded(5e-4, 0.0, 0.1)
    epochs: int = bounded(10, 1, 100)
    batch_size: int = bounded(256, 2, 65536)

    def how(self, **changes: Any) -> Optimisation:
        """The optimisation that the fields describe, but for `changes`."""
        own = {name: getattr(self, name) for name in Optimisation.model_fields if hasattr(self, name)}
        return Optimisation(**(own | changes))


def prepared(learner: Learner, request: UnlearningRequest) -> Learner:
    """A copy to work on; a memory that it has holds keys of retain images alone (METHODS C1, C4)."""
    unlearned = copy_of(learner)
    remember_only(unlearned, request.retain, request.stream("memory"))
    return unlearned


def utility(unlearned: Learner, request: UnlearningRequest, **options: Any) -> dict[str, tuple[float, Term]]:
    """The objective of fine-tuning: the training loss on retain; `options` are those of `loss_term`."""
    return {"utility": (1.0, loss_term(unlearned, request.stream("augment/retain"), **options))}


def epochs_on_retain(
    unlearned: Learner,
    request: UnlearningRequest,
    how: Optimisation,
    rate: Callable[[int, int], float],
    before: Callable[[int], None] | None = None,
    **options: Any,
) -> None:
    """Epochs of the training loss on retain, each at a rate of its own.

    Args:
        unlearned: Changed in place.
        request: Its retain set is read.
        how: With a constant schedule.
        rate: (epoch from 0 on, epochs) -> factor of the learning rate.
        before: Called with the number of each epoch before it begins.
        options: Those of `request.descent`.
    """
    order, objective = request.stream("retain"), utility(unlearned, request)
    descent = request.descent(unlearned, how, **options)
    for epoch in descent.epochs():
        if before is not None:
            before(epoch)
        descent.scale_rate(rate(epoch, how.epochs))
        descent.over(request.retain, objective, order)


def half_cosine(epoch: int, epochs: int) -> float:
    """A rate that falls from 1 towards 0."""
    return (1 + math.cos(math.pi * epoch / epochs)) / 2


def optimise_apart(
    learner: Learner,
    examples: ExampleSet,
    objective: Objective,
    how: Optimisation,
    request: UnlearningRequest,
    order: Generator,
    **options: Any,
) -> dict[str, float]:
    """`optimise` for one of several trainings: the last row of its log is returned, the record's is left alone."""
    rows: list[dict[str, float]] = []
    optimise(learner, examples, objective, how, order=order, recipe=request.recipe, log=rows, **options)
    return rows[-1]


def teacher_and_student(teacher: Learner, student: Learner, view: Tensor, bn: str = "train") -> tuple[Tensor, Tensor]:
    """What both say of one view: logits [n, C] of classifiers, features [n, D] of encoders, the teacher's as constants.

    Args:
        teacher: In evaluation mode.
        student: In training mode.
        view: [n, C, H, W].
        bn: `train`, or `frozen`: the student's batch normalisation uses its running statistics and keeps them.
    """
    with torch.no_grad():
        goal = answers(teacher, teacher.embed(view))
    with frozen_statistics(student, bn == "frozen"):
        return goal, answers(student, student.embed(view))
