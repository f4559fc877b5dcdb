"""All that a plug-in imports: the contracts of methods, datasets, scenarios, metrics, executors, and their decorators.

A method is one file:

    @register_method("my_method", paper="…", uses={"retain"})
    @dataclass(frozen=True, kw_only=True)
    class MyMethod(Method):
        lr: float = bounded(0.01, 1e-5, 1.0)

        def unlearn(self, learner, request):
            unlearned = copy_of(learner)
            …
            return unlearned
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import BenchmarkError, UndeclaredAccess
from benchmark.registry import register
from benchmark.specs import Goal, Optimisation, Role, Signal, SplitSpec, Tier, Unit

if TYPE_CHECKING:
    from benchmark.data import Batch, ExampleSet, ImageData, Mixture
    from benchmark.decoding import decode_images
    from benchmark.importance import (
        as_function,
        batch_gradients,
        dampen,
        energy_of,
        example_gradients,
        fisher_diagonal,
        loss_of,
        mean_absolute,
        mean_gradient,
        mean_square,
        saliency,
        top_mask,
    )
    from benchmark.input_gradients import GradientPenaltyTerm, GradientReading
    from benchmark.learners.base import Learner
    from benchmark.mechanics import (
        answers,
        at_rest,
        edit_weights,
        half_squared_distance,
        kl,
        logits_over,
        loss_term,
        names_in,
        plain_views,
        pointwise_distance,
        relational_distance,
        replace_parts,
        seen_features,
        sign_step,
        split_blocks,
        steps_of,
        views_with_other_positives,
        weights_of,
        with_copies,
    )
    from benchmark.relabelling import Relabelling
    from benchmark.training import (
        Descent,
        Term,
        UnlearningRequest,
        copy_of,
        frozen_statistics,
        full_precision,
        optimisation_of,
        optimise,
        remember_only,
        train,
    )

PARADIGMS = frozenset({"supervised", "simclr", "moco", "byol"})
CONTRASTIVE = PARADIGMS - {"supervised"}
SETS = frozenset({"forget", "retain", "third_party"})
Needs = Literal["run", "relearning", "seeds", "pairs", "ensemble"]

_TORCH_NAMES = {
    "Batch": "benchmark.data",
    "ExampleSet": "benchmark.data",
    "ImageData": "benchmark.data",
    "Mixture": "benchmark.data",
    "decode_images": "benchmark.decoding",
    "as_function": "benchmark.importance",
    "batch_gradients": "benchmark.importance",
    "dampen": "benchmark.importance",
    "energy_of": "benchmark.importance",
    "example_gradients": "benchmark.importance",
    "fisher_diagonal": "benchmark.importance",
    "loss_of": "benchmark.importance",
    "mean_absolute": "benchmark.importance",
    "mean_gradient": "benchmark.importance",
    "mean_square": "benchmark.importance",
    "saliency": "benchmark.importance",
    "top_mask": "benchmark.importance",
    "GradientPenaltyTerm": "benchmark.input_gradients",
    "GradientReading": "benchmark.input_gradients",
    "Learner": "benchmark.learners.base",
    "answers": "benchmark.mechanics",
    "at_rest": "benchmark.mechanics",
    "edit_weights": "benchmark.mechanics",
    "half_squared_distance": "benchmark.mechanics",
    "kl": "benchmark.mechanics",
    "logits_over": "benchmark.mechanics",
    "loss_term": "benchmark.mechanics",
    "names_in": "benchmark.mechanics",
    "plain_views": "benchmark.mechanics",
    "pointwise_distance": "benchmark.mechanics",
    "relational_distance": "benchmark.mechanics",
    "replace_parts": "benchmark.mechanics",
    "seen_features": "benchmark.mechanics",
    "sign_step": "benchmark.mechanics",
    "split_blocks": "benchmark.mechanics",
    "steps_of": "benchmark.mechanics",
    "views_with_other_positives": "benchmark.mechanics",
    "weights_of": "benchmark.mechanics",
    "with_copies": "benchmark.mechanics",
    "Relabelling": "benchmark.relabelling",
    "Descent": "benchmark.training",
    "Term": "benchmark.training",
    "UnlearningRequest": "benchmark.training",
    "copy_of": "benchmark.training",
    "frozen_statistics": "benchmark.training",
    "full_precision": "benchmark.training",
    "optimisation_of": "benchmark.training",
    "optimise": "benchmark.training",
    "remember_only": "benchmark.training",
    "train": "benchmark.training",
}

__all__ = [
    "CONTRASTIVE",
    "PARADIGMS",
    "Batch",
    "BenchmarkError",
    "Dataset",
    "DatasetInfo",
    "Descent",
    "ExampleSet",
    "Executor",
    "Finding",
    "GradientPenaltyTerm",
    "GradientReading",
    "ImageData",
    "Learner",
    "Method",
    "MethodInfo",
    "Metric",
    "MetricInfo",
    "Mixture",
    "Optimisation",
    "Outputs",
    "Population",
    "PopulationMetric",
    "References",
    "Relabelling",
    "Scenario",
    "Signal",
    "SplitSpec",
    "Term",
    "UndeclaredAccess",
    "UnlearningRequest",
    "Value",
    "answers",
    "as_function",
    "at_rest",
    "batch_gradients",
    "bounded",
    "choice",
    "copy_of",
    "dampen",
    "decode_images",
    "edit_weights",
    "energy_of",
    "example_gradients",
    "fisher_diagonal",
    "frozen_statistics",
    "full_precision",
    "half_squared_distance",
    "kl",
    "logits_over",
    "loss_of",
    "loss_term",
    "mean_absolute",
    "mean_gradient",
    "mean_square",
    "names_in",
    "optimisation_of",
    "optimise",
    "plain_views",
    "pointwise_distance",
    "register_dataset",
    "register_executor",
    "register_learner",
    "register_method",
    "register_metric",
    "register_scenario",
    "relational_distance",
    "remember_only",
    "replace_parts",
    "saliency",
    "seen_features",
    "sign_step",
    "split_blocks",
    "steps_of",
    "top_mask",
    "train",
    "views_with_other_positives",
    "weights_of",
    "with_copies",
]


def __getattr__(name: str) -> Any:
    """What needs torch is imported when it is first asked for: reports read metric metadata without it."""
    if name not in _TORCH_NAMES:
        raise AttributeError(f"module 'benchmark.api' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_TORCH_NAMES[name]), name)


# -- methods -----------------------------------------------------------------------------------------------


class Method(ABC):
    """An unlearning method: a frozen keyword-only dataclass whose fields are its hyper-parameters."""

    @abstractmethod
    def unlearn(self, learner: Learner, request: UnlearningRequest) -> Learner:
        """Return a new learner that has forgotten `request.forget`; the given one stays as it is."""

    def reads(self) -> frozenset[str]:
        """The sets that these hyper-parameters need: all that is declared, unless a method says less."""
        info: MethodInfo = info_of(self)
        return info.uses

    def refuses(self, paradigm: str) -> str | None:
        """Why these hyper-parameters are not defined for a paradigm that the method allows; None if they are."""
        return None


@dataclass(frozen=True)
class MethodInfo:
    """What the registry, the plan and the leaderboard know of a method."""

    name: str
    paper: str
    paradigms: frozenset[str]
    scenarios: frozenset[str] | None
    uses: frozenset[str]
    presets: Mapping[str, Mapping[str, Any]]
    contrastive: Mapping[str, Any]
    oracle: bool
    optimises: frozenset[Signal]


def register_method(
    name: str,
    *,
    paper: str,
    uses: Collection[str],
    paradigms: Collection[str] = PARADIGMS,
    scenarios: Collection[str] | None = None,
    presets: Mapping[str, Mapping[str, Any]] | None = None,
    contrastive: Mapping[str, Any] | None = None,
    oracle: bool = False,
    optimises: Collection[Signal] = (),
) -> Callable[[type], type]:
    """Register an unlearning method.

    Args:
        name: Its name on the command line and in tables.
        paper: Authors, title, venue or arXiv id.
        uses: The sets it is given: any of forget, retain, third_party. Others raise when touched.
        paradigms: Where it is applicable.
        scenarios: Where it is applicable; None is everywhere.
        presets: Named parameter sets, run as `name[preset]`.
        contrastive: Defaults that differ on contrastive learners.
        oracle: True for exact retraining, whose distance to the retrained model is the oracle floor.
        optimises: Signals that are its own objective on forget images; numbers made from them do not rank it.
    """
    unknown = set(uses) - SETS
    if unknown:
        raise BenchmarkError(f"method {name!r}: uses={sorted(unknown)} is not among {sorted(SETS)}.")
    info = MethodInfo(
        name,
        paper,
        frozenset(paradigms),
        None if scenarios is None else frozenset(scenarios),
        frozenset(uses),
        presets or {},
        contrastive or {},
        oracle,
        frozenset(optimises),
    )
    return _with_info("method", name, info)


def bounded(default: float | int | None, low: float, high: float) -> Any:
    """A numeric hyper-parameter with its admissible range, ends included; a default of None may be left so."""
    return field(default=default, metadata={"low": low, "high": high})


def choice(default: str, *others: str) -> Any:
    """A hyper-parameter that is one of a few words; the default comes first."""
    return field(default=default, metadata={"choices": (default, *others)})


# -- datasets and scenarios --------------------------------------------------------------------------------


@dataclass(frozen=True)
class DatasetInfo:
    """What tables, docs and citations are made from."""

    name: str
    title: str
    licence: str
    citation: str
    classes: int | None
    shape: tuple[int, int, int] | None
    mean: tuple[float, ...]
    std: tuple[float, ...]


class Dataset(ABC):
    """A labelled image set: a frozen keyword-only dataclass whose fields are its arguments."""

    @abstractmethod
    def files(self, root: Path) -> list[Path]:
        """The files that hold the data, below `root` or where they already lie; fetched if absent.

        Raises:
            BenchmarkError: If they are neither there nor to be had, saying what to do.
        """

    @abstractmethod
    def load(self, root: Path) -> ImageData:
        """Decode the files."""


def register_dataset(
    name: str,
    *,
    title: str,
    licence: str,
    citation: str,
    classes: int | None = None,
    shape: tuple[int, int, int] | None = None,
    mean: Sequence[float] = (0.5,),
    std: Sequence[float] = (0.25,),
) -> Callable[[type], type]:
    """Register a dataset. A name used as `name:ARGUMENT` sets the class's first field.

    Args:
        name: Its name in suites.
        title: Its name in text.
        licence: As its makers state it.
        citation: Authors, title, venue.
        classes: Number of classes, if it is always the same.
        shape: (channels, height, width), if it is always the same.
        mean: Channel means of pixels in [0, 1] that learners subtract.
        std: Channel deviations that learners divide by.
    """
    info = DatasetInfo(name, title, licence, citation, classes, shape, tuple(mean), tuple(std))
    return _with_info("dataset", name, info)


class Scenario(ABC):
    """The rule that says which training candidates may be forgotten, and how many are.

    Which of the eligible ones are forgotten, held out or handed to third parties is one random draw that the
    harness makes, so that the three sets are exchangeable whatever the rule.
    """

    exclusive: ClassVar[bool] = False
    """True if the retain set holds nothing that is eligible (a class is forgotten whole)."""

    @abstractmethod
    def eligible(
        self, labels: NDArray[np.int64], indices: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Positions in `labels` ([N], with `indices` [N] in the dataset) of what may be forgotten."""

    def forget_count(self, train: int, eligible: int, split: SplitSpec) -> int:
        """How many of the eligible images are forgotten: by default what the other sets of the pool leave."""
        taken = [count for count in (split.heldout, split.third_party) if count is not None]
        return max(0, (eligible - sum(taken)) // (3 + split.placebo - len(taken)))


def register_scenario(name: str, *, description: str) -> Callable[[type], type]:
    """Register a scenario. A name used as `name:ARGUMENT` sets the class's first field."""
    return _with_info("scenario", name, description)


def register_learner(name: str, *, description: str, paper: str) -> Callable[[type], type]:
    """Register a learner; its name is its paradigm."""
    return _with_info("learner", name, {"description": description, "paper": paper})


# -- metrics -----------------------------------------------------------------------------------------------

Outputs = Mapping[str, NDArray[Any]]
"""What was observed of one model: `forget/logits` [n, C], `test/labels` [n], `retain/features` [n, D], …"""


@dataclass(frozen=True)
class References:
    """The outputs that a model is held against, and a place for what need not be computed for each model anew."""

    original: Outputs
    retrained: Outputs
    memo: dict[str, dict[str, float]] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Population:
    """Outputs of many models of one task, one per seed: what population metrics read beside the models they score.

    Attributes:
        seeds: [S] training seeds, increasing. Where the task's split is in pairs, 2j and 2j+1 share one pool.
        original: The models before unlearning, in the order of the seeds.
        retrained: Models that never saw the pool, in the same order.
        paired: Whether every seed has its partner, who forgot what this one was never shown.
    """

    seeds: tuple[int, ...]
    original: Sequence[Outputs]
    retrained: Sequence[Outputs]
    paired: bool


@dataclass(frozen=True)
class Value:
    """What a metric's number means: feeds tables, axes and ranks. Headline numbers are columns of the leaderboard."""

    label: str
    goal: Goal
    role: Role = "info"
    unit: Unit = "fraction"
    attack: bool = False
    headline: bool = False
    signal: Signal | None = None


@dataclass(frozen=True)
class Finding:
    """One number of a population, with what it is made of.

    Attributes:
        value: The number.
        n: Examples that it rests on.
        low: Lower end of its 95 % interval, where there is one.
        high: Upper end.
        per_seed: [S] where the number is a mean over seeds.
        per_example: [n] where it is a mean over the examples of the pool, in the order of their indices.
    """

    value: float
    n: int
    low: float | None = None
    high: float | None = None
    per_seed: Sequence[float] = ()
    per_example: Sequence[float] = ()


@dataclass(frozen=True)
class MetricInfo:
    """A registered family of numbers."""

    name: str
    paradigms: frozenset[str]
    values: Mapping[str, Value]
    source: str
    tier: Tier
    needs: Needs


class Metric(ABC):
    """Scores saved outputs, never a live model."""

    @abstractmethod
    def compute(self, outputs: Outputs, references: References) -> dict[str, float]:
        """Value name -> number, for one model; a value that its outputs do not allow is left out."""

    def sizes(self, outputs: Outputs) -> dict[str, int]:
        """Value name -> number of examples that it rests on."""
        raise NotImplementedError

    def intervals(self, outputs: Outputs) -> dict[str, tuple[float, float]]:
        """Value name -> 95 % interval from this model's examples alone, where there is one."""
        return {}

    def notes(self, outputs: Outputs) -> dict[str, str]:
        """Value name -> why the number cannot be ranked, such as "too few non-members"."""
        return {}

    def scores(self, outputs: Outputs) -> dict[str, dict[str, NDArray[np.float64]]]:
        """For attacks: value name -> set name -> [n] scores, larger = more member-like."""
        return {}


class PopulationMetric(ABC):
    """Scores the saved outputs of many seeds' models together."""

    @abstractmethod
    def compute(self, models: Sequence[Outputs], population: Population) -> dict[str, Finding]:
        """Value name -> finding for one model per seed: the unlearned ones, the originals, or retrained ones.

        It is asked about retrained models only if all its goals are `match_retrained`.
        """


def register_metric(
    name: str,
    *,
    values: Mapping[str, Value],
    source: str,
    paradigms: Collection[str] = PARADIGMS,
    tier: Tier = "every_run",
    needs: Needs = "run",
) -> Callable[[type], type]:
    """Register a metric family with the meaning of each of its numbers.

    Args:
        name: Its name in suites.
        values: Each number that it may give, with its meaning.
        source: Authors, title, venue or arXiv id.
        paradigms: Where it is defined.
        tier: The group by which suites choose it.
        needs: What it reads: one "run", or also what "relearning" leaves of it; for a PopulationMetric all "seeds" of a
            task, seeds in "pairs" that forget complementary halves of a pool, or an "ensemble": such pairs on one pool
            for all seeds.
    """
    return _with_info("metric", name, MetricInfo(name, frozenset(paradigms), dict(values), source, tier, needs))


# -- executors ---------------------------------------------------------------------------------------------


class Executor(ABC):
    """Where jobs run. JSON in, JSON out.

    Made with `workers`, how many jobs are to run at once, and `gpus_per_job`, which is None where none are handed out.
    An executor reports how a job ended and tries nothing again: where the job cannot say it itself, its result's status
    is "died", "timeout" (after the job's `time_limit`, in seconds) or "out_of_memory" (above its `memory_limit`, in
    bytes), and its error says more.

    Attributes:
        workers: How many jobs run at once, which may be fewer than were asked for, and change while they run.
    """

    workers: int = 1

    @abstractmethod
    def submit(self, job: dict[str, Any]) -> None:
        """Take a job; it starts when there is room."""

    @abstractmethod
    def completed(self) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """(job, result) as they finish, until nothing that was submitted is left; more may be submitted meanwhile."""

    @abstractmethod
    def running(self) -> list[dict[str, Any]]:
        """The jobs that run now, for display."""

    @abstractmethod
    def cancel(self) -> None:
        """Drop what waits and stop what runs."""


def register_executor(name: str, *, description: str) -> Callable[[type], type]:
    """Register an executor for `run --executor`."""
    return _with_info("executor", name, description)


def info_of(component: Any) -> Any:
    """What the decorator said of a component or its class."""
    return component._benchmark_info


def _with_info(kind: str, name: str, info: Any) -> Callable[[type], type]:
    def decorate(target: type) -> type:
        target._benchmark_info = info  # type: ignore[attr-defined]
        return register(kind, name, info)(target)

    return decorate
