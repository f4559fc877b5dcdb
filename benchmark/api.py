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
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import BenchmarkError, Diverged, UndeclaredAccess
from benchmark.metric_api import (
    Finding,
    Metric,
    MetricInfo,
    Outputs,
    Population,
    PopulationMetric,
    References,
    Value,
    register_metric,
)
from benchmark.registry import register
from benchmark.specs import PARADIGMS, Optimisation, Signal, SplitSpec

if TYPE_CHECKING:
    from benchmark.curvature import (
        Sample,
        class_fisher_diagonal,
        conjugate_gradients,
        fisher_product,
        per_weight,
        single_gradients,
        summed_gradient,
    )
    from benchmark.data import Batch, ExampleSet, ImageData, Mixture
    from benchmark.decoding import decode_images
    from benchmark.edits import add_noise, kernels
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
    from benchmark.shards import ShardedRequest
    from benchmark.steps import (
        GradientMethod,
        epochs_on_retain,
        half_cosine,
        optimise_apart,
        prepared,
        teacher_and_student,
        utility,
    )
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

CONTRASTIVE = PARADIGMS - {"supervised"}
SETS = frozenset({"forget", "retain", "third_party"})
ARTEFACTS = "artefacts"

_LAZY = {
    "benchmark.curvature": (
        "Sample class_fisher_diagonal conjugate_gradients fisher_product per_weight single_gradients summed_gradient"
    ),
    "benchmark.data": "Batch ExampleSet ImageData Mixture",
    "benchmark.decoding": "decode_images",
    "benchmark.edits": "add_noise kernels",
    "benchmark.importance": (
        "as_function batch_gradients dampen energy_of example_gradients fisher_diagonal loss_of mean_absolute "
        "mean_gradient mean_square saliency top_mask"
    ),
    "benchmark.input_gradients": "GradientPenaltyTerm GradientReading",
    "benchmark.learners.base": "Learner",
    "benchmark.mechanics": (
        "answers at_rest edit_weights half_squared_distance kl logits_over loss_term names_in plain_views "
        "pointwise_distance relational_distance replace_parts seen_features sign_step split_blocks steps_of "
        "views_with_other_positives weights_of with_copies"
    ),
    "benchmark.relabelling": "Relabelling",
    "benchmark.shards": "ShardedRequest",
    "benchmark.steps": (
        "GradientMethod epochs_on_retain half_cosine optimise_apart prepared teacher_and_student utility"
    ),
    "benchmark.training": (
        "Descent Term UnlearningRequest copy_of frozen_statistics full_precision optimisation_of optimise "
        "remember_only train"
    ),
}
HOMES = {name: module for module, names in _LAZY.items() for name in names.split()}
"""Name -> the module that it comes from, for what needs torch and is imported when it is first asked for."""

__all__ = [
    "CONTRASTIVE",
    "PARADIGMS",
    "Batch",
    "BenchmarkError",
    "Dataset",
    "DatasetInfo",
    "Descent",
    "Diverged",
    "ExampleSet",
    "Executor",
    "Finding",
    "GradientMethod",
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
    "Sample",
    "Scenario",
    "ShardedRequest",
    "Signal",
    "SplitSpec",
    "Term",
    "UndeclaredAccess",
    "UnlearningRequest",
    "Value",
    "add_noise",
    "answers",
    "as_function",
    "at_rest",
    "batch_gradients",
    "bounded",
    "choice",
    "class_fisher_diagonal",
    "conjugate_gradients",
    "copy_of",
    "dampen",
    "decode_images",
    "edit_weights",
    "energy_of",
    "epochs_on_retain",
    "example_gradients",
    "fisher_diagonal",
    "fisher_product",
    "frozen_statistics",
    "full_precision",
    "half_cosine",
    "half_squared_distance",
    "kernels",
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
    "optimise_apart",
    "per_weight",
    "plain_views",
    "pointwise_distance",
    "prepared",
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
    "single_gradients",
    "split_blocks",
    "steps_of",
    "summed_gradient",
    "teacher_and_student",
    "top_mask",
    "train",
    "utility",
    "views_with_other_positives",
    "weights_of",
    "with_copies",
]


def __getattr__(name: str) -> Any:
    """What needs torch is imported when it is first asked for: reports read metric metadata without it."""
    if name not in HOMES:
        raise AttributeError(f"module 'benchmark.api' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(HOMES[name]), name)


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
    cost: str = ""
    preset_scenarios: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def scenarios_of(self, name: str) -> frozenset[str] | None:
        """Where the method is applicable, or the preset that its whole name says; None is everywhere."""
        return self.preset_scenarios.get(name.partition("[")[2].rstrip("]"), self.scenarios)


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
    cost: str = "",
    preset_scenarios: Mapping[str, Collection[str]] | None = None,
) -> Callable[[type], type]:
    """Register an unlearning method.

    Args:
        name: Its name on the command line and in tables.
        paper: Authors, title, venue or arXiv id.
        uses: The sets it is given: any of forget, retain, third_party. Others raise when touched. Beside them
            "artefacts", what training in shards left: such a method runs where the task's models are trained so.
        paradigms: Where it is applicable.
        scenarios: Where it is applicable; None is everywhere.
        presets: Named parameter sets, run as `name[preset]`.
        contrastive: Defaults that differ on contrastive learners.
        oracle: True for exact retraining, whose distance to the retrained model is the oracle floor.
        optimises: Signals that are its own objective on forget images; numbers made from them do not rank it.
        cost: In passes over the sets with default parameters, such as "F + 10 (R + F)": R, F and T are a forward and
            backward pass over retain, forget, third party, f(·) is forward alone, d(·) a double backward, E the
            recipe's epochs. For tables only, so no content key holds it.
        preset_scenarios: Preset -> where it is applicable, if that is not where the method is.
    """
    unknown = set(uses) - SETS - {ARTEFACTS}
    if unknown:
        raise BenchmarkError(f"method {name!r}: uses={sorted(unknown)} is not among {sorted({*SETS, ARTEFACTS})}.")
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
        cost,
        {preset: frozenset(names) for preset, names in (preset_scenarios or {}).items()},
    )
    if lost := set(info.preset_scenarios) - set(info.presets):
        raise BenchmarkError(f"method {name!r}: preset_scenarios={sorted(lost)} is not among {sorted(info.presets)}.")
    return register("method", name, info)


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
    return register("dataset", name, info)


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
    return register("scenario", name, description)


def register_learner(name: str, *, description: str, paper: str) -> Callable[[type], type]:
    """Register a learner; its name is its paradigm."""
    return register("learner", name, {"description": description, "paper": paper})


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
    return register("executor", name, description)


def info_of(component: Any) -> Any:
    """What the decorator said of a component or its class."""
    return component._benchmark_info
