"""The smallest suite that goes through everything: 48 digits, one epoch, a network of two blocks; and its helpers."""

import copy
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark import registry
from benchmark.specs import Record, Suite

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


@contextmanager
def own_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What commands and executors change in a process is changed back: plug-ins, threads, determinism."""
    monkeypatch.setattr(registry, "_index", own_index())
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
