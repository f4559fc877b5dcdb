"""The one training loop, and what an unlearning method is handed.

Training, retraining and every method that takes gradient steps go through `optimise`. It is seeded, deterministic on
a CPU, runs in the recipe's numerics, and stops with a clear error when a loss is not finite.
"""

import copy
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
import torch.nn as nn
from torch import Generator, Tensor

from benchmark.data import Batch, ExampleSet
from benchmark.errors import Diverged
from benchmark.learners.base import Learner, frozen_statistics
from benchmark.specs import Optimisation, Recipe, derive_seed

__all__ = [
    "UnlearningRequest",
    "copy_of",
    "frozen_statistics",
    "full_precision",
    "optimisation_of",
    "optimise",
    "remember_only",
    "train",
]

Progress = Callable[[int, int], None]
Term = Callable[[Batch], Tensor]
Objective = Mapping[str, tuple[float, Term]]


@dataclass(frozen=True)
class UnlearningRequest:
    """What a method is given beside the learner. A set that it does not declare raises when it is touched.

    Attributes:
        forget: The images that must go.
        retain: The images that stay.
        third_party: Images that the model never saw.
        recipe: How the original was trained.
        fresh_learner: seed name -> an untrained learner of the task.
        seed: Of this run; `stream(name)` derives every generator from it.
        device: Where tensors live.
        scenario: Name of the scenario.
        num_classes: Of the dataset.
        log: One row per epoch, kept in the record.
        progress: Called with (epoch, epochs).
    """

    forget: ExampleSet
    retain: ExampleSet
    third_party: ExampleSet
    recipe: Recipe
    fresh_learner: Callable[[int], Learner]
    seed: int
    device: torch.device
    scenario: str
    num_classes: int
    log: list[dict[str, float]] = field(default_factory=list)
    progress: Progress | None = None

    def stream(self, name: str) -> Generator:
        """A generator of its own for each purpose (METHODS C7): a term that is off draws nothing from the others."""
        return _generator(derive_seed(self.seed, name))

    def samples_seen(self) -> dict[str, int]:
        """How many images of each declared set were taken so far."""
        sets = (self.forget, self.retain, self.third_party)
        return {examples.name: examples.samples_seen for examples in sets if isinstance(examples, ExampleSet)}

    def optimise(self, learner: Learner, examples: ExampleSet, objective: Objective, how: Optimisation) -> None:
        """`optimise` with this request's order, numerics, log and progress."""
        optimise(
            learner,
            examples,
            objective,
            how,
            order=self.stream(examples.name),
            recipe=self.recipe,
            log=self.log,
            progress=self.progress,
        )


def train(
    build: Callable[[int], Learner],
    examples: ExampleSet,
    recipe: Recipe,
    seed: int,
    device: torch.device,
    progress: Progress | None = None,
) -> Learner:
    """A model from nothing: what trains original and retrained models, and what the method `retrain` calls.

    Args:
        build: seed -> an untrained learner.
        examples: All it ever sees.
        recipe: How.
        seed: Of initialisation, order and views.
        device: Where.
        progress: Called with (epoch, epochs).

    Raises:
        Diverged: If the loss is not finite.
    """
    learner = build(derive_seed(seed, "init")).to(device)
    views = _generator(derive_seed(seed, "augment"))
    optimise(
        learner,
        examples,
        {"utility": (1.0, lambda batch: learner.loss(batch.images, batch.labels, views))},
        recipe,
        order=_generator(derive_seed(seed, "order")),
        recipe=recipe,
        progress=progress,
    )
    return learner


def optimise(
    learner: Learner,
    examples: ExampleSet,
    objective: Objective,
    how: Optimisation,
    *,
    order: Generator,
    recipe: Recipe,
    log: list[dict[str, float]] | None = None,
    progress: Progress | None = None,
    on_step: Callable[[int], None] | None = None,
) -> None:
    """Epochs of gradient steps on a weighted sum of terms; the learner is changed in place, in evaluation mode after.

    Args:
        learner: Its `trainable()` parameters are optimised.
        examples: Drawn in shuffled batches, one a step.
        objective: Name -> (weight, term of the step's batch). A term of weight 0 is not evaluated and draws nothing.
        how: Optimiser, learning rate, schedule, epochs, batch size.
        order: Shuffles `examples`.
        recipe: Numerics.
        log: Takes a row {"epoch", "loss", each term} per epoch: means over steps.
        progress: Called with (epoch, epochs).
        on_step: Called with the number of steps done, after each.

    Raises:
        Diverged: If the loss of an epoch is not finite.
    """
    learner.train()
    if recipe.channels_last:
        learner.to(memory_format=torch.channels_last)
    parameters = [p for _, p in learner.trainable()]
    optimizer = make_optimizer(parameters, how)
    drop_last = how.drop_last or learner.needs_full_batches
    drops = drop_last and len(examples) >= how.batch_size
    steps = len(examples) // how.batch_size if drops else math.ceil(len(examples) / how.batch_size)
    schedule = _schedule(optimizer, how, steps)
    active = {name: term for name, term in objective.items() if term[0] != 0}
    done = 0
    for epoch in range(how.epochs):
        sums = {name: torch.zeros((), device=examples.device) for name in ("loss", *active)}
        for batch in examples.batches(how.batch_size, order, drop_last):
            with autocast(recipe, examples.device):
                values = {name: weight * term(batch) for name, (weight, term) in active.items()}
            loss = torch.stack(list(values.values())).sum()
            optimizer.zero_grad()
            loss.backward()
            if how.max_grad_norm is not None:
                nn.utils.clip_grad_norm_(parameters, how.max_grad_norm)
            optimizer.step()
            schedule.step()
            learner.after_step()
            done += 1
            if on_step is not None:
                on_step(done)
            for name, value in {"loss": loss, **values}.items():
                sums[name] += value.detach()
        _close_epoch(epoch, {name: float(total) / steps for name, total in sums.items()}, log)
        if progress is not None:
            progress(epoch + 1, how.epochs)
    learner.eval()


def make_optimizer(parameters: list[nn.Parameter], how: Optimisation) -> torch.optim.Optimizer:
    """The optimiser that `how` names, its state empty."""
    if how.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, how.lr, how.momentum, weight_decay=how.weight_decay, nesterov=how.nesterov, foreach=True
        )
    kind = torch.optim.Adam if how.optimizer == "adam" else torch.optim.AdamW
    return kind(parameters, how.lr, weight_decay=how.weight_decay, foreach=True)


def autocast(recipe: Recipe, device: torch.device) -> AbstractContextManager[object]:
    """bfloat16 where the recipe asks for it."""
    if recipe.precision == "bfloat16":
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """float32 inside an autocast region: Fisher information and double backward (METHODS C14)."""
    return torch.autocast(device.type, enabled=False)


def copy_of(learner: Learner) -> Learner:
    """A deep copy in evaluation mode; the original stays as it is (METHODS C1)."""
    return copy.deepcopy(learner).eval()


def remember_only(learner: Learner, examples: ExampleSet, views: Generator, batch_size: int = 256) -> None:
    """Replace remembered keys by keys of `examples` (METHODS C4); learners without a memory do nothing."""
    learner.rebuild_memory((batch.images for batch in examples.batches(batch_size, views)), views)


def optimisation_of(method: object) -> Optimisation:
    """The optimisation that a method's fields describe; what it has no field for keeps its default."""
    return Optimisation(**{name: getattr(method, name) for name in Optimisation.model_fields if hasattr(method, name)})


def _schedule(optimizer: torch.optim.Optimizer, how: Optimisation, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """Per step: constant, half a cosine, or one cycle up to `lr` and down (Smith & Topin 2019)."""
    total = max(1, how.epochs * steps)
    if how.schedule == "onecycle" and how.lr > 0:
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, how.lr, total_steps=total + 1, cycle_momentum=False)
    if how.schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
    return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0, total_iters=0)


def _close_epoch(epoch: int, means: dict[str, float], log: list[dict[str, float]] | None) -> None:
    if not all(map(math.isfinite, means.values())):
        raise Diverged(f"epoch {epoch + 1}: the loss is {means['loss']}; lower the learning rate or clip gradients.")
    if log is not None:
        log.append({"epoch": epoch + 1, **means})


def _generator(seed: int) -> Generator:
    return torch.Generator().manual_seed(seed)
