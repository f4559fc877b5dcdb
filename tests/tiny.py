"""The smallest suite that goes through everything: 48 digits, one epoch, a network of two blocks; and its helpers."""

import copy
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmark import jobs, registry
from benchmark.plan import Known, Options, Plan, make_plan
from benchmark.runner import in_words
from benchmark.specs import PopulationRecord, Record, Suite
from benchmark.store import PopulationRecords, Records, Store, folder_of

SUITE: dict[str, Any] = {
    "name": "tiny",
    "version": 1,
    "description": "as small as it gets",
    "seeds": 1,
    "methods": ["retrain", "no_op", "fine_tune"],
    "metrics": ["accuracy", "membership_inference"],
    "tasks": [
        {
            "name": "tiny-random",
            "dataset": "digits",
            "scenario": {"name": "random", "fraction": 0.25},
            "split": {"train": 48, "test": 40},
            "learner": {"name": "supervised", "encoder": {"layers": [2], "channels": [8]}},
            "recipe": {"lr": 0.05, "epochs": 1, "batch_size": 16},
            "methods": {"fine_tune": {"epochs": 1}},
        }
    ],
}
PLUGIN = '''"""A method of somebody's."""

from dataclasses import dataclass

from benchmark.api import Method, bounded, copy_of, register_method


@register_method("{name}", paper="none", uses={uses})
@dataclass(frozen=True, kw_only=True)
class Theirs(Method):
    """Theirs."""

    strength: float = bounded(1.0, 0.0, 2.0)

    def unlearn(self, learner, request):
        """Unlearn."""
        {body}
        return copy_of(learner)
'''

METRIC = '''"""A number of somebody's."""

from pathlib import Path

from benchmark.api import Finding, Metric, PopulationMetric, Value, register_metric


def seen():
    with Path(__file__).with_name("calls").open("a") as calls:
        calls.write("{name}\\n")


@register_metric("{name}", source="none", values={{"{name}_value": Value("theirs", {goal!r})}}, **{more!r})
class Theirs({base}):
    """Theirs."""

    def compute(self, one, other):
        seen()
        return {{"{name}_value": {value}}}

    def sizes(self, outputs):
        return {{"{name}_value": len(outputs["forget/labels"])}}
'''


def content(changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The suite as a dictionary; `{"tasks.0.recipe.lr": 0.1}` changes one entry, None removes it."""
    suite = copy.deepcopy(SUITE)
    for path, value in (changes or {}).items():
        *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        place: Any = suite
        for parent in parents:
            place = place[parent] if isinstance(parent, int) else place.setdefault(parent, {})
        if value is None:
            del place[last]
        else:
            place[last] = value
    return suite


def suite(changes: Mapping[str, Any] | None = None) -> Suite:
    """The suite as a model."""
    return Suite.model_validate(content(changes))


def suite_file(folder: Path, changes: Mapping[str, Any] | None = None) -> Path:
    """The suite as a TOML file."""
    path = folder / "tiny.toml"
    path.write_text("".join(f"{key} = {_toml(value)}\n" for key, value in content(changes).items()), encoding="utf-8")
    return path


def places(folder: Path) -> list[str]:
    """Options that keep a command inside a folder."""
    return [f"--{name}={folder / name}" for name in ("store", "results", "data")]


def plugin(folder: Path, name: str = "theirs", body: str = "", uses: Sequence[str] = ()) -> Path:
    """A file with one method that does `body` and returns a copy of the original."""
    path = folder / f"{name}.py"
    path.write_text(PLUGIN.format(name=name, body=body or "pass", uses=tuple(uses)), encoding="utf-8")
    return path


def metric(
    folder: Path,
    name: str = "measured",
    value: str = "float(one['forget/features'].mean())",
    goal: str = "match_retrained",
    **more: Any,
) -> Path:
    """A file with one metric: `one` are the outputs of a model, `other` its references; each call is a line in a log.

    If it needs "seeds", "pairs" or an "ensemble", `one` are those of many models and `other` is their population.
    """
    together = more.get("needs") in ("seeds", "pairs", "ensemble")
    if together and value.startswith("float("):
        each = f"[{value.replace('one[', 'model[')} for model in one]"
        value = f"(lambda each: Finding(sum(each) / len(each), 7, per_seed=each))({each})"
    base = "PopulationMetric" if together else "Metric"
    words = {"name": name, "goal": goal, "base": base, "value": value, "more": more}
    path = folder / f"{name}.py"
    path.write_text(METRIC.format(**words), encoding="utf-8")
    registry._index.components.pop(("metric", name), None)  # what was imported before is not what is there now
    return path


def calls(folder: Path) -> list[str]:
    """The metrics of `metric` that were computed since this was asked last, in order."""
    log = folder / "calls"
    names = log.read_text().split() if log.exists() else []
    log.write_text("")
    return names


@dataclass
class Bench:
    """A store and results of their own, and what the tiny suite still lacks there."""

    folder: Path
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def store(self) -> Store:
        return Store(self.folder / "store")

    @property
    def records(self) -> list[Record]:
        return list(Records(self.folder / "results").read())

    @property
    def populations(self) -> list[PopulationRecord]:
        return list(PopulationRecords(self.folder / "results").read())

    def plan(self, changes: Mapping[str, Any] | None = None, **options: Any) -> Plan:
        results = self.folder / "results"
        where = Options(self.folder / "store", results, self.folder / "data", **options)
        recorded = Records(results).keys() | PopulationRecords(results).keys()
        known = Known(recorded, self.store.keys())
        return make_plan(suite({**self.changes, **(changes or {})}), where, lambda task: "files", known)

    def work(self, plan: Plan | None = None, without: Sequence[str] = ()) -> list[tuple[str, dict[str, Any]]]:
        """(job in words, result) of each job, one after the other in this process; JSON in, JSON out.

        Args:
            plan: Of this bench; what is lacking, unless said.
            without: Jobs that nobody does, in words.
        """
        todo = [job for job in (plan or self.plan()).jobs.values() if in_words(job) not in without]
        return [(in_words(job), json.loads(json.dumps(jobs.run_job(json.loads(json.dumps(job)))))) for job in todo]


@contextmanager
def own_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What commands and executors change in a process is changed back: plug-ins, threads, determinism.

    Memory is not measured here, so garbage can wait.
    """
    monkeypatch.setattr(registry, "_index", own_index())
    monkeypatch.setattr(jobs, "gc", SimpleNamespace(collect=lambda: 0))
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(variable, "1")
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


def own_index() -> registry._Index:
    """A copy of what is registered, all of it imported, so that a test's plug-ins are nobody else's."""
    for kind in registry.KINDS:
        for name in registry.names(kind):
            registry.get(kind, name.partition("[")[0])
    copied = {part.name: copy.copy(getattr(registry._index, part.name)) for part in dataclasses.fields(registry._Index)}
    return registry._Index(**copied)


def artefact(store: Store, key: str) -> Path:
    """The folder of an artefact."""
    return store.folder / folder_of(key)


def said(record: Record) -> dict[str, Any]:
    """What a record says of a run, without what differs from one execution to the next: times, load, date."""
    content = record.model_dump(mode="json", exclude={"cost", "provenance", "log"})
    return content | {"log": [{k: v for k, v in row.items() if "seconds" not in k} for row in record.log]}


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_toml(entry)}" for key, entry in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)
