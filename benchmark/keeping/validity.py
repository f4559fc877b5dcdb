"""Whether records can be believed: schema, names, hashes, and numbers that are possible and add up.

Reading them runs no code of theirs. That a number is possible does not make it true: only running it again does.
"""

import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import psutil

from benchmark.errors import BenchmarkError
from benchmark.places import File, Location, Place, absolute, place_of
from benchmark.provenance import PATH
from benchmark.records import method_folder, printable, read_any, unreadable
from benchmark.specs import (
    ENSEMBLE,
    AttackCurves,
    Cost,
    MetricValue,
    PopulationRecord,
    PopulationValue,
    Record,
    SplitSpec,
    TaskSpec,
)
from benchmark.store import Store

RANGES = {"auc": (0.0, 1.0), "fraction": (0.0, 1.0), "points": (-100.0, 100.0)}
_REPEAT = re.compile(r"(\.\d+)?\.json")
_USER = re.compile(r"[\w.+-]+@[\w-]+(\.[\w-]+)*")
_COMMON = {"root", "user", "localhost", "runner", "docker", "ubuntu"}  # names that tell nothing, and are words


@dataclass
class Verdict:
    """What was looked at, and (file, sentence) for whatever is wrong."""

    records: int = 0
    artefacts: int = 0
    absent: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        problems = [{"file": file, "problem": problem} for file, problem in self.problems]
        return {"records": self.records, "artefacts": self.artefacts, "absent": self.absent, "problems": problems}

    def in_words(self) -> list[str]:
        """The same for people: a line for each problem, then the counts."""
        lines = [f"{file}: {problem}" for file, problem in self.problems]
        wrong = len({file for file, _ in self.problems})
        checked = f"; {self.artefacts:,} artefacts checked, {self.absent:,} not in the store"
        count = f"{self.records:,} records, {f'{wrong:,} of them wrong' if wrong else 'all right'}"
        return [*lines, f"{count}{checked if self.artefacts or self.absent else ''}."]


def validate(location: Location, store: Location | None = None) -> Verdict:
    """Look at every record of a file or folder.

    Args:
        location: A record, a results folder or any folder with records below.
        store: Where the artefacts are, to be held against their hashes; those that are not there are counted.

    Raises:
        BenchmarkError: If there is nothing to look at.
    """
    place, files = _found(location)
    if not files:
        raise BenchmarkError(f"{location}: there are no records here; a results folder or a record's file is right.")
    verdict, speaking = Verdict(), Store(store) if store is not None else None

    @cache
    def damage(key: str) -> str | None:
        assert speaking is not None
        try:
            found = speaking.damage(key)
        except FileNotFoundError:
            verdict.absent += 1
            return None
        verdict.artefacts += 1
        return found

    for file in files:
        verdict.records += 1
        where = printable(str(place.at(file.name)))
        try:
            record = _read(place, file)
        except ValueError as error:
            verdict.problems.append((where, f"this is no record: {error}."))
            continue
        verdict.problems += [(where, f"{problem}.") for problem in problems(record, file.name)]
        if speaking is not None and isinstance(record, Record):
            verdict.problems += [(where, f"{problem}.") for problem in _artefacts(record, damage)]
    return verdict


def problems(record: Record | PopulationRecord, name: str) -> Iterator[str]:
    """What is wrong with a record.

    Args:
        record: As it was read.
        name: Of its file, with the folders that are known.
    """
    yield from _name(record, name)
    yield from _status(record)
    yield from _strings(record.model_dump(mode="json"))
    if record.provenance.commit == "unversioned":
        yield "provenance.commit is missing; records are made from a commit of the repository"
    for metric, value in record.metrics.items():
        yield from (f"metrics.{metric}: {problem}" for problem in _value(value))
    if isinstance(record, Record):
        yield from _run(record)
    else:
        yield from _population(record)


def _found(location: Location) -> tuple[Place, list[File]]:
    """The files that should be records: of a results folder those of its two shelves, else all JSON."""
    location = absolute(location)
    if isinstance(location, Path) and location.is_file():
        place = place_of(location.parent)
        return place, [file for file in place.files("") if file.name == location.name]
    place = place_of(location)
    files = [file for file in place.files("") if file.name.endswith(".json") or not file.plain]
    shelved = [file for file in files if file.name.partition("/")[0] in ("records", "populations")]
    return place, sorted(shelved or files, key=lambda file: file.name)


def _read(place: Place, file: File) -> Record | PopulationRecord:
    if reason := unreadable(file):
        raise ValueError(reason)
    return read_any(place.read(file.name))


def _name(record: Record | PopulationRecord, name: str) -> Iterator[str]:
    path = PurePosixPath(name)
    stem = f"{record.key}-{record.provenance.commit[:12]}"
    if not path.name.startswith(stem) or not _REPEAT.fullmatch(path.name.removeprefix(stem)):
        yield f"the file is not named by key and commit, {stem}.json"
    task, method = _identity(record)
    for folder, right in zip(path.parts[-2::-1], (method_folder(method), task.name), strict=False):
        if folder != right:
            yield f"it lies in a folder {folder!r}, and {right!r} is right"


def _identity(record: Record | PopulationRecord) -> tuple[TaskSpec, str]:
    if isinstance(record, Record):
        return record.run.task, record.run.method
    return record.task, record.method


def _status(record: Record | PopulationRecord) -> Iterator[str]:
    if record.status in ("failed", "diverged"):
        if record.metrics:
            yield f"the status is {record.status}, and yet there are metrics"
        if not record.error:
            yield f"the status is {record.status}, and nothing says why"
    else:
        if not record.metrics:
            yield f"the status is {record.status}, and yet there are no metrics"
        if record.error:
            yield f"the status is {record.status}, and yet there is an error"


def _value(value: MetricValue | PopulationValue) -> Iterator[str]:
    low, high = RANGES.get(value.unit, (float("-inf"), float("inf")))
    numbers: dict[str, list[float]] = {
        name: [number] for name in ("value", "original", "retrained") if (number := getattr(value, name)) is not None
    }
    if isinstance(value, PopulationValue):
        numbers |= {"per_seed": value.per_seed, "original_per_seed": value.original_per_seed}
        if value.per_example and len(value.per_example) != value.n:
            yield f"per_example has {len(value.per_example)} numbers for {value.n} examples"
    for name, found in numbers.items():
        if any(not low <= number <= high for number in found):
            yield f"{name} leaves [{low:g}, {high:g}], which no {value.unit} does"
    if value.low is not None and value.high is not None and value.low > value.high:
        yield f"the interval from {value.low:g} to {value.high:g} is upside down"


def _run(record: Record) -> Iterator[str]:
    total = sum(record.sizes.values())
    for metric, value in record.metrics.items():
        if value.n > total:
            yield f"metrics.{metric}: it rests on {value.n} examples, and all sets together have {total}"
    if record.sizes:
        yield from _sizes(record.sizes, record.run.task.split)
    if record.status not in ("failed", "diverged") and record.cost is None:
        yield f"the status is {record.status}, and nothing says what it cost"
    if record.cost is not None:
        yield from _cost(record.cost)
    for attack, curves in record.curves.items():
        yield from (f"curves.{attack}: {problem}" for problem in _curves(curves))
    models = _ensemble(record.run.task)
    if models is not None:
        yield from _one_pool(record.run.task)
        if not 0 <= record.run.seed < models:
            yield f"run.seed is {record.run.seed}, and the ensemble has seeds 0 to {models - 1}"


def _population(record: PopulationRecord) -> Iterator[str]:
    seeds = record.seeds
    if len(set(seeds)) < len(seeds) or len(seeds) < 2:
        yield f"seeds are {seeds}; two or more different ones are right"
    if len(record.runs) != len(seeds):
        yield f"there are {len(record.runs)} runs for {len(seeds)} seeds"
    for metric, value in record.metrics.items():
        for name in ("per_seed", "original_per_seed"):
            if (found := len(getattr(value, name))) not in (0, len(seeds)):
                yield f"metrics.{metric}: {name} has {found} numbers for {len(seeds)} seeds"
    if record.seconds < 0:
        yield f"seconds is {record.seconds:g}, below 0"
    models = _ensemble(record.task)
    if models is not None:
        yield from _one_pool(record.task)
        if sorted(seeds) != list(range(models)):
            yield f"the ensemble has seeds 0 to {models - 1}, and these are others"


def _sizes(sizes: dict[str, int], split: SplitSpec) -> Iterator[str]:
    """Whether the sets are as large as the split made them."""
    names = ("forget", "heldout", "third_party", "retain", "validation", "test")
    missing = [name for name in names if name not in sizes]
    if missing or min(sizes.values()) < 0:
        yield f"sizes lack {', '.join(missing)}" if missing else "sizes are below 0"
        return
    drawn = split.train - sizes["retain"]  # how many the scenario had forgotten
    wanted = {"third_party": split.third_party or drawn, "validation": split.validation}
    if split.pairs:
        if (pool := sizes["forget"] + sizes["heldout"]) != 2 * drawn:
            yield f"forget and held-out sets have {pool} images together, and {2 * drawn} are right"
    else:
        wanted |= {"forget": drawn, "heldout": split.heldout or drawn}
    if split.test is not None:
        wanted["test"] = split.test
    if split.placebo:
        wanted["placebo"] = drawn
    for name, right in wanted.items():
        if sizes.get(name, 0) != right:
            yield f"sizes.{name} is {sizes.get(name, 0)}, and {right} is right with {split.train} training images"


def _cost(cost: Cost) -> Iterator[str]:
    for name, value in cost.model_dump().items():
        if isinstance(value, int | float) and value < 0:
            yield f"cost.{name} is {value:g}, below 0"


def _curves(curves: AttackCurves) -> Iterator[str]:
    for role in ("original", "retrained", "unlearned"):
        curve = getattr(curves, role)
        if len(curve.tpr) != len(curves.fpr) or any(len(v) != len(curves.levels) for v in curve.quantiles.values()):
            yield f"{role} has another number of points than its axis"
        if any(not 0 <= rate <= 1 for rate in (*curve.tpr, *curves.fpr)):
            yield f"a rate of {role} leaves [0, 1]"


def _ensemble(task: TaskSpec) -> int | None:
    """How many models the name of a task says; None if it is no ensemble's."""
    _, found, number = task.name.rpartition(ENSEMBLE)
    return int(number) if found and number.isdecimal() else None


def _one_pool(task: TaskSpec) -> Iterator[str]:
    if not task.split.pairs or task.split.seed is None:
        yield "run.task.split is not that of an ensemble, whose seeds are pairs on one pool"


def _strings(content: Any, where: str = "") -> Iterator[str]:
    """What a record must not say: where it was made, by whom, and what a terminal would take for a command."""
    if isinstance(content, dict):
        for name, value in content.items():
            yield from _strings(value, f"{where}.{name}".lstrip("."))
    elif isinstance(content, list):
        for value in content:
            if not isinstance(value, float):  # of which there are thousands
                yield from _strings(value, where)
    elif isinstance(content, str):
        if PATH.search(content):
            yield f"{where} holds an absolute path; give data and files by relative ones"
        if _USER.search(content) or _names_of_this_machine().search(content):
            yield f"{where} holds the name of a machine or of its user"
        if not content.replace("\n", "").replace("\t", "").isprintable():
            yield f"{where} holds control characters"


@cache
def _names_of_this_machine() -> re.Pattern[str]:
    names = {socket.gethostname(), psutil.Process().username()}
    telling = [re.escape(name) for name in names if len(name) > 3 and name.lower() not in _COMMON]
    return re.compile(rf"(?<!\w)({'|'.join(telling) or '(?!)'})(?!\w)")


def _artefacts(record: Record, damage: Callable[[str], str | None]) -> Iterator[str]:
    for role, key in record.artefacts.items():
        if role != "dataset" and (found := damage(key)):
            yield f"artefacts.{role}: {key[:12]} is damaged: {found}"
