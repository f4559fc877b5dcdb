"""The one training loop, and what an unlearning method is handed.

Training, retraining and every method that takes gradient steps go through `optimise`. It is seeded, deterministic on
a CPU, runs in the recipe's numerics, and stops with a clear error when a loss is not finite.
"""

import copy
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
import torch.nn as nn
from torch import Generator, Tensor

from benchmark.data import Batch, ExampleSet
from benchmark.errors import Diverged
from benchmark.learners.base import Learner, frozen_statistics
from benchmark.specs import Optimisation, Recipe, derive_seed

__all__ = [
    "Descent",
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
Mask = Mapping[str, Tensor]


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

    def untrained(self, purpose: str = "init") -> Learner:
        """A fresh learner; `init` is the one that `train` with this request's seed begins with."""
        return self.fresh_learner(derive_seed(self.seed, purpose)).to(self.device)

    def optimise(
        self, learner: Learner, examples: ExampleSet, objective: Objective, how: Optimisation, **options: Any
    ) -> None:
        """`optimise` with this request's order, numerics, log and progress; `only` and `mask` are its options."""
        order = self.stream(examples.name)
        own: dict[str, Any] = {"recipe": self.recipe, "log": self.log, "progress": self.progress}
        optimise(learner, examples, objective, how, order=order, **own, **options)

    def descent(self, learner: Learner, how: Optimisation, steps: int = 0, **options: Any) -> "Descent":
        """`Descent` with this request's numerics, log and progress."""
        return Descent(learner, how, self.recipe, steps, log=self.log, progress=self.progress, **options)


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
    only: Collection[str] | None = None,
    mask: Mask | None = None,
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
        only: Names of the parameters that are optimised; all unless said. The others take no gradient meanwhile.
        mask: Parameter name -> which of its entries may move. What lies outside stays bit for bit (METHODS C9).

    Raises:
        Diverged: If the loss of an epoch is not finite.
    """
    drop_last = how.drop_last or learner.needs_full_batches
    drops = drop_last and len(examples) >= how.batch_size
    steps = len(examples) // how.batch_size if drops else math.ceil(len(examples) / how.batch_size)
    descent = Descent(learner, how, recipe, steps, log=log, progress=progress, on_step=on_step, only=only, mask=mask)
    for _ in descent.epochs():
        descent.over(examples, objective, order)


class Descent:
    """Gradient steps that share one optimiser, its state and its schedule; the learner is changed in place.

    `optimise` is the common case. Methods that alternate between sets, objectives or rates make one of these, and
    within each of its `epochs()` as many passes `over` sets, or single steps, as they need.

    Args:
        learner: In training mode from now on, in evaluation mode after the last epoch.
        how: Optimiser, learning rate, schedule, epochs; batch size of passes that do not say their own.
        recipe: Numerics.
        steps: Of an epoch, for schedules that are not constant.
        log: As for `optimise`; so are `progress`, `on_step`, `only` and `mask`.
        project: Called with the number of steps done after each change of the weights, before momentum copies follow.
        on_gradients: Called before gradients are clipped and used; may change every `p.grad`.
    """

    def __init__(
        self,
        learner: Learner,
        how: Optimisation,
        recipe: Recipe,
        steps: int = 0,
        *,
        log: list[dict[str, float]] | None = None,
        progress: Progress | None = None,
        on_step: Callable[[int], None] | None = None,
        only: Collection[str] | None = None,
        mask: Mask | None = None,
        project: Callable[[int], None] | None = None,
        on_gradients: Callable[[], None] | None = None,
    ) -> None:
        learner.train()
        if recipe.channels_last:
            learner.to(memory_format=torch.channels_last)
        self.learner, self.how, self.recipe = learner, how, recipe
        self.log, self.progress, self.on_step = log, progress, on_step
        self.project, self.on_gradients = project, on_gradients
        self.done = 0
        self._stopped = False
        self._sums: dict[str, tuple[Tensor, int]] = {}
        chosen = {name: p for name, p in learner.trainable() if only is None or name in only}
        self._resting = [p for name, p in learner.trainable() if name not in chosen]
        for parameter in self._resting:
            parameter.requires_grad_(False)
        self.parameters = list(chosen.values())
        self.optimizer = make_optimizer(self.parameters, how)
        self._schedule = _schedule(self.optimizer, how, steps)
        self._held = [(p, ~mask[n], p.detach().clone()) for n, p in chosen.items() if n in mask] if mask else []

    def epochs(self) -> Iterator[int]:
        """0, 1, … as `how` says; after each, its row is logged and a loss that is not finite raises Diverged."""
        for epoch in range(self.how.epochs):
            yield epoch
            _close_epoch(epoch, {name: float(sum_) / count for name, (sum_, count) in self._sums.items()}, self.log)
            self._sums.clear()
            if self.progress is not None:
                self.progress(epoch + 1, self.how.epochs)
            if self._stopped:
                break
        for parameter in self._resting:
            parameter.requires_grad_(True)
        self.learner.eval()

    def stop(self) -> None:
        """Let this epoch be the last."""
        self._stopped = True

    def over(
        self,
        examples: ExampleSet,
        objective: Objective,
        order: Generator,
        batch_size: int | None = None,
        steps: int | None = None,
    ) -> None:
        """One pass, or its first `steps`; a learner that needs full batches gets them."""
        drop_last = self.how.drop_last or self.learner.needs_full_batches
        for batch in islice(examples.batches(batch_size or self.how.batch_size, order, drop_last), steps):
            self.step(batch, objective)

    def step(self, batch: Batch, objective: Objective) -> None:
        """One step on a weighted sum of terms of a batch."""
        with autocast(self.recipe, batch.images.device):
            values = {name: weight * term(batch) for name, (weight, term) in objective.items() if weight != 0}
        loss = torch.stack(list(values.values())).sum()
        self.optimizer.zero_grad()
        loss.backward()
        for parameter, fixed, _ in self._held:
            if parameter.grad is not None:
                parameter.grad.masked_fill_(fixed, 0)
        if self.on_gradients is not None:
            self.on_gradients()
        if self.how.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.how.max_grad_norm)
        self.optimizer.step()
        self._put_back()
        self.done += 1
        if self.project is not None:
            self.project(self.done)
        self._schedule.step()
        self.learner.after_step()
        if self.on_step is not None:
            self.on_step(self.done)
        for name, value in {"loss": loss, **values}.items():
            total, count = self._sums.get(name, (torch.zeros((), device=loss.device), 0))
            self._sums[name] = (total + value.detach(), count + 1)

    def scale_rate(self, factor: float) -> None:
        """From now on `factor` times the learning rate that `how` names; for a constant schedule."""
        for group in self.optimizer.param_groups:
            group["lr"] = factor * self.how.lr

    @torch.no_grad()
    def _put_back(self) -> None:
        """Outside the mask weights are what they were and optimisers remember nothing."""
        for parameter, fixed, start in self._held:
            parameter.copy_(torch.where(fixed, start, parameter))
            for value in self.optimizer.state[parameter].values():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    value.masked_fill_(fixed, 0)


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
