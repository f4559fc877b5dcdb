"""What is asked for and what is left behind, as data: suites, tasks, runs, jobs and records.

Unknown keys are errors everywhere. Nothing here imports torch, so whatever only reads records stays light.
"""

import hashlib
import json
import math
import re
import tomllib
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from benchmark.errors import BenchmarkError, UnknownName

RECORD_VERSION = 1
LEAST_ENSEMBLE = 8
DEEPEST = 20
"""Levels that settings may be nested."""
ENSEMBLE = ".ensemble"  # between a task's name and the number of models, in the name of its ensemble
SHARDED = ".sharded"  # between a task's name and "shards x slices"

PARADIGMS = frozenset({"supervised", "simclr", "moco", "byol"})


def _settings(values: dict[str, Any]) -> dict[str, Any]:
    """Free values as JSON can hold them: finite numbers, and no deeper than anybody nests them."""
    level: list[Any] = [values]
    for _ in range(DEEPEST):
        if any(isinstance(value, float) and not math.isfinite(value) for value in level):
            raise ValueError("a number in it is not finite")
        level = [
            entry
            for value in level
            if isinstance(value, dict | list | tuple)
            for entry in (value.values() if isinstance(value, dict) else value)
        ]
    if level:
        raise ValueError(f"it is nested more than {DEEPEST} levels deep")
    return values


def _for_reading(text: str) -> str:
    if not text.replace("\n", "").replace("\t", "").isprintable():
        raise ValueError("there are control characters in it, which a terminal would take for commands")
    return text


def _moment(date: str) -> str:
    try:
        datetime.fromisoformat(date)
    except ValueError:
        raise ValueError("this is no date; 2026-01-31T12:00:00+00:00 is one") from None
    return date


NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=80)]
Name = Annotated[str, Field(pattern=rf"^{NAME}$", max_length=120)]
MethodName = Annotated[
    str, Field(pattern=rf"^{NAME}(\[[A-Za-z0-9_.-]+\])?$", max_length=120, description="name or name[preset]")
]
Key = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="sha256 of what determines a result")]
Commit = Annotated[str, Field(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64}|unversioned)$")]
Text = Annotated[str, AfterValidator(_for_reading)]
Date = Annotated[str, AfterValidator(_moment)]
Settings = Annotated[dict[str, Any], AfterValidator(_settings)]
SetName = Literal["forget", "retain", "heldout", "third_party", "validation", "test"]
Status = Literal["ok", "failed", "diverged", "collapsed", "no_change"]
Goal = Literal["max", "min", "match_retrained", "info"]
Unit = Literal["auc", "fraction", "points", "number"]
Role = Literal["forgetting", "retain_privacy", "utility", "info"]
Tier = Literal["every_run", "population", "probing", "legacy"]
Signal = Literal["loss", "entropy", "similarity", "features"]


class Spec(BaseModel):
    """A frozen model that refuses keys it does not know, and numbers that are none."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Ref(Spec):
    """A component by name with its parameters: `"digits"` or `{name = "digits", …}`."""

    name: str
    params: Settings = {}

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, dict) and "params" not in value:
            name = {"name": value["name"]} if "name" in value else {}
            return name | {"params": {k: v for k, v in value.items() if k != "name"}}
        return value


class Optimisation(Spec):
    """How a loop of gradient steps goes; `Recipe` and the methods share it."""

    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: float = Field(ge=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(0.0, ge=0)
    schedule: Literal["constant", "cosine", "onecycle"] = "constant"
    epochs: int = Field(ge=0)
    batch_size: int = Field(ge=1)
    drop_last: bool = False
    max_grad_norm: float | None = Field(None, gt=0)


class Recipe(Optimisation):
    """How the original and the retrained model are trained, and in which numerics everything trains."""

    precision: Literal["float32", "bfloat16"] = "float32"
    channels_last: bool = False


class SplitSpec(Spec):
    """Sizes of a task's sets. Held-out and third-party are as large as the forget set unless said."""

    train: int = Field(ge=2, description="retain + forget")
    heldout: int | None = Field(None, ge=1)
    third_party: int | None = Field(None, ge=1)
    validation: int = Field(0, ge=0)
    test: int | None = Field(None, ge=1, description="all of the dataset's own test part unless said")
    seed: int | None = Field(None, description="one split for all seeds; unless said each seed draws its own")
    pairs: bool = Field(False, description="seeds 2j and 2j+1 share a pool; fair coins part it, one forgets each half")
    placebo: bool = Field(False, description="methods are also run on never trained images in the forget set's place")

    @model_validator(mode="after")
    def _halves_are_equal(self) -> "SplitSpec":
        if self.pairs and self.heldout is not None:
            raise ValueError("pairs part one pool in two halves; leave out `heldout`")
        return self


class Evaluation(Spec):
    """What is observed of every model, alike for original, retrained and unlearned."""

    views: int = Field(10, ge=2, description="fixed views per image for attacks on encoders")
    retain_probe: int = Field(2000, ge=1, description="at most so many retain images are attacked")
    knn_neighbours: int = Field(200, ge=1)


class Shards(Spec):
    """Training in shards and slices: Bourtoule et al., Machine Unlearning, IEEE S&P 2021."""

    count: int = Field(5, ge=1, le=20)
    slices: int = Field(5, ge=1, le=20)
    vote: Literal["mean", "majority"] = "mean"


class TaskSpec(Spec):
    """Dataset x learner x scenario with a training recipe: what a method is run on."""

    name: Slug
    dataset: Ref
    learner: Ref
    scenario: Ref
    split: SplitSpec
    recipe: Recipe
    views: Settings = {}
    image_size: int | None = Field(None, ge=4, description="images are averaged down to this side in pixels")
    label_noise: float = Field(0.0, ge=0, lt=1, description="fraction of non-test labels replaced at random")
    evaluation: Evaluation = Evaluation()
    seeds: int | None = Field(None, ge=1, description="instead of the suite's number")
    ensemble: int | None = Field(None, ge=LEAST_ENSEMBLE, multiple_of=2, description="models for population metrics")
    shards: Shards | None = Field(None, description="of models for methods that read what training left in shards")
    in_shards: bool = Field(False, description="the task's models are trained so")
    split_of: Slug | None = Field(None, description="the task whose images these are; its own unless said")
    methods: dict[str, Settings] = Field({}, description="hyper-parameters of this task, by method name")

    @model_validator(mode="after")
    def _variants_can_be_named(self) -> "TaskSpec":
        longest = 64 if self.ensemble is not None or self.shards is not None else 80
        if len(re.split(f"{re.escape(ENSEMBLE)}|{re.escape(SHARDED)}", self.name)[0]) > longest:
            raise ValueError("a task that asks for an ensemble or shards has a name of at most 64 letters; shorten it")
        if (self.shards is not None or self.in_shards) and self.paradigm != "supervised":
            raise ValueError(f"shards are defined for supervised learners, not for {self.paradigm}; leave them out")
        if self.in_shards and self.shards is None:
            raise ValueError("say `shards = { count = …, slices = … }` where the models are trained in shards")
        return self

    @property
    def paradigm(self) -> str:
        """A learner's name is its paradigm."""
        return self.learner.name

    def identity(self) -> dict[str, Any]:
        """What makes two tasks the same job: everything but how often and with which method settings."""
        asked = {"seeds", "methods", "ensemble"}
        return self.model_dump(mode="json", exclude=asked if self.in_shards else asked | {"shards"})

    def as_ensemble(self, models: int) -> "TaskSpec":
        """The same task with one pool for all seeds, of which each forgets a random half."""
        split = self.split.model_copy(update={"heldout": None, "pairs": True, "placebo": False, "seed": 0})
        name = f"{self.name}{ENSEMBLE}{models}"
        return self.model_copy(update={"name": name, "split": split, "seeds": models, "ensemble": models})

    def as_sharded(self) -> "TaskSpec":
        """The same task, images included, with models that are trained in shards."""
        shards = self.shards or Shards()
        name = f"{self.name}{SHARDED}{shards.count}x{shards.slices}"
        return self.model_copy(update={"name": name, "split_of": self.name, "in_shards": True, "ensemble": None})


class Suite(Spec):
    """A named, versioned list of tasks, methods, metrics and seeds."""

    name: Slug
    version: int = Field(ge=1)
    description: str
    seeds: int | list[int] = 3
    methods: list[str] = Field(min_length=1)
    metrics: list[str] = Field(min_length=1, description="names of metrics or of tiers")
    time_limit: float | None = Field(None, gt=0, description="seconds for a job; unless said 20 times its estimate")
    exclusive: bool = Field(False, description="runs, whose time is reported, have the machine to themselves")
    tasks: list[TaskSpec] = Field(min_length=1)

    @field_validator("tasks")
    @classmethod
    def _names_differ(cls, tasks: list[TaskSpec]) -> list[TaskSpec]:
        names = [task.name for task in tasks]
        double = {name for name in names if names.count(name) > 1}
        if double:
            raise ValueError(f"two tasks are called {sorted(double)[0]!r}; give each its own name")
        return tasks

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: int | list[int]) -> int | list[int]:
        listed = list(range(seeds)) if isinstance(seeds, int) else seeds
        if not listed or len(set(listed)) < len(listed):
            raise ValueError(f"say how many, at least 1, or list different ones, not {seeds}")
        return seeds

    def seed_list(self, task: TaskSpec) -> list[int]:
        """The training seeds of a task."""
        if task.seeds is not None:
            return list(range(task.seeds))
        return list(range(self.seeds)) if isinstance(self.seeds, int) else list(self.seeds)


class RunSpec(Spec):
    """One (task, method, seed), fully resolved: a record can be run again from this alone."""

    task: TaskSpec
    method: MethodName
    params: Settings
    seed: int
    metrics: list[Name]
    placebo: bool = Field(False, description="the forget set that the method was given was never trained on")


class Meaning(Spec):
    """What a number is, for whoever draws it."""

    goal: Goal
    role: Role
    label: Text
    unit: Unit
    attack: bool = False
    headline: bool = False
    tier: Tier = "every_run"
    signal: Signal | None = Field(None, description="what it is made from; a method that optimises it is not ranked")


class MetricValue(Meaning):
    """One number of one run between its two anchors."""

    value: float
    original: float
    retrained: float
    n: int = Field(ge=1, description="examples that the number rests on")
    low: float | None = None
    high: float | None = None
    note: Text | None = Field(None, description="why it cannot be ranked, such as too few non-members")

    @property
    def gap(self) -> float:
        """Signed distance to the retrained model."""
        return self.value - self.retrained


class Curve(Spec):
    """One attack on one model, small enough for a record: a ROC and the quantiles of its scores by set."""

    tpr: list[float]
    quantiles: dict[str, list[float]]


class AttackCurves(Spec):
    """The same attack before, after, and on the retrained model."""

    fpr: list[float]
    levels: list[float]
    label: Text
    original: Curve
    retrained: Curve
    unlearned: Curve


class Cost(Spec):
    """Seconds are wall-clock of the whole call; `cpu_seconds` is process time, so a crowded machine shows."""

    unlearn_seconds: float
    unlearn_cpu_seconds: float
    train_seconds: float
    retrain_seconds: float
    observe_seconds: float
    score_seconds: float
    unlearn_device_seconds: float | None = Field(None, description="between two events on a GPU's own clock")
    peak_memory_bytes: int = Field(description="allocated on a GPU; resident, libraries included, on a CPU")
    peak_reserved_bytes: int | None = Field(None, description="reserved on a GPU")
    samples_seen: dict[str, int] = {}
    flops: int | None = Field(None, description="of convolutions and matrix products; counted at a task's first seed")
    energy_joules: float | None = Field(None, description="of the whole GPU, by its own counter")
    artefact_bytes: int | None = Field(None, description="kept since training, for the method to read")
    device: str
    threads: int
    load_average: float
    exclusive: bool = Field(False, description="no other job of the command was let run beside it")
    attempts: int = Field(1, ge=1, description="more than 1: it died before, took too long or ran out of memory")


class Provenance(Spec):
    """Where a record comes from; never a host or user name."""

    commit: Commit
    dirty: bool
    date: Date
    versions: dict[Name, Text]
    hardware: dict[Name, Text | int]


class Record(Spec):
    """The JSON that a finished run leaves. Created once, never edited."""

    schema_version: int = RECORD_VERSION
    key: Key
    suite: Slug
    run: RunSpec
    paradigm: Name
    uses: list[Name]
    oracle: bool = Field(description="an exact method: its distance to the retrained model is the oracle floor")
    optimises: list[Signal] = Field([], description="signals that are the method's own objective")
    status: Status
    error: Text | None = None
    sizes: dict[str, int] = {}
    duplicates_dropped: int = 0
    metrics: dict[Name, MetricValue] = {}
    curves: dict[Name, AttackCurves] = {}
    log: list[dict[str, float]] = []
    cost: Cost | None = None
    artefacts: dict[str, Key] = {}
    provenance: Provenance

    @property
    def task(self) -> str:
        return self.run.task.name


class PopulationValue(Meaning):
    """One number of many seeds' models together, between its anchors where it has them."""

    value: float
    original: float | None = Field(description="the same of the originals: what doing nothing scores")
    retrained: float | None = Field(description="the same of retrained models; None where it is a distance to them")
    low: float | None = None
    high: float | None = None
    n: int = Field(ge=1, description="examples that the number rests on")
    per_seed: list[float] = Field([], description="where it is a mean over seeds, in the order of `seeds`")
    original_per_seed: list[float] = []
    per_example: list[float] = Field([], description="in the order of the pool's indices")


class PopulationRecord(Spec):
    """What all seeds of one method on one task say together. Created once, never edited."""

    schema_version: int = RECORD_VERSION
    key: Key
    suite: Slug
    task: TaskSpec
    method: MethodName
    params: Settings
    seeds: list[int]
    oracle: bool
    optimises: list[Signal] = []
    status: Status
    error: Text | None = None
    metrics: dict[Name, PopulationValue] = {}
    seconds: float = Field(description="that the computation took, models and outputs being there")
    runs: list[Key] = Field(description="keys of the runs whose outputs it was computed from, in the order of `seeds`")
    provenance: Provenance


def canonical_hash(value: Any) -> str:
    """sha256 of canonical JSON (sorted keys, no spaces): the content key of a description."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def derive_seed(*parts: str | int) -> int:
    """A 63-bit seed from names, so that parts never share a stream by arithmetic accident."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:8], "big") >> 1


def suite_names(folder: Path) -> list[str]:
    """The suites that a folder holds."""
    return sorted(path.stem for path in folder.glob("*.toml"))


def load_suite(name_or_path: str, folder: Path) -> Suite:
    """Read a suite by name or from a TOML file.

    Raises:
        BenchmarkError: If it is unknown, no TOML, or says something that the schema does not know.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = folder / f"{name_or_path}.toml"
        if not path.is_file():
            raise UnknownName("suite", name_or_path, suite_names(folder))
    if not path.is_file():
        raise BenchmarkError(f"{path}: there is no such suite file.")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        return Suite.model_validate(content)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        place = f"{path}:{line.group(1)}" if line else str(path)
        raise BenchmarkError(f"{place}: this is no valid TOML: {error}.") from error
    except UnicodeDecodeError as error:
        raise BenchmarkError(f"{path}: this is no valid TOML: {error}; save it as UTF-8.") from error
    except ValidationError as error:
        raise BenchmarkError(f"{path}: {_sentence(error, content)}") from error


def _sentence(error: ValidationError, content: dict[str, Any]) -> str:
    """The first complaint of pydantic as `task 2 ('x'), recipe.lr: …`."""
    first = error.errors()[0]
    place = list(first["loc"])
    words = []
    if len(place) > 1 and place[0] == "tasks" and isinstance(place[1], int):
        task = content["tasks"][place[1]]
        name = task.get("name") if isinstance(task, dict) else None
        words.append(f"task {place[1] + 1} ({name or 'without a name'!r})")
        place = place[2:]
    if place:
        words.append(".".join(map(str, place)))
    return f"{', '.join(words)}: {_complaint(first)}"


def _complaint(first: Any) -> str:
    """What is wrong with one entry, and what would be right."""
    if first["type"] == "extra_forbidden":
        known = [name for spec in (Suite, TaskSpec, SplitSpec, Recipe, Evaluation) for name in spec.model_fields]
        near = get_close_matches(str(first["loc"][-1]), known, n=1)
        return f"this key is not known; {f'did you mean {near[0]!r}?' if near else 'remove it.'}"
    if first["type"] == "missing":
        return "this key is missing."
    if first["type"] == "value_error":
        return f"{first['ctx']['error']}."
    return f"{first['msg']} (got {first['input']!r})."
