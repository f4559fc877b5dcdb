"""Records as JSON files, one for each run and for each method's seeds together: created once, never edited.

What is read may be a stranger's: a file says one thing only, is of a sensible size, knows its schema and names
nothing outside its folder, or it is refused with a sentence. Records of earlier schemas are brought up to date.
"""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from benchmark import specs
from benchmark.errors import BenchmarkError
from benchmark.places import File, Location, place_of
from benchmark.specs import PopulationRecord, Record

LARGEST = 50 * 2**20
"""Bytes of a record: hundreds of times what the largest ensemble leaves."""

UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""Schema version -> what makes a record of the next version of one of this, as they stand in their files.

Fields with defaults may be added without a new version.
"""

_NUMBERS = re.compile(r"\[\n[\s\d.eE+,-]+\]")  # a list of numbers, which a reader wants on one line

Kept = TypeVar("Kept", Record, PopulationRecord)


class _Shelf(ABC, Generic[Kept]):
    """A folder of JSON files, one for each thing kept: `<task>/<method>/<key>-<commit>.json`."""

    kept: type[Kept]
    what: str

    def __init__(self, results: Location) -> None:
        self._place = place_of(results)

    def check_writable(self) -> None:
        """Raise PlaceError unless records can be written."""
        self._place.check_writable("results folder", "--results")

    def add(self, record: Kept, *, fresh: bool = False, known: Collection[str] = ()) -> Location:
        """Write a record under a name of its own; what is there is never edited.

        Args:
            record: Of something that was done.
            fresh: It was done on purpose though it had been done, so that it gets a record beside the others. Else a
                record of the same key stays alone, if it is of the same commit or was left by somebody else meanwhile,
                and tells of no failure where this one does not.
            known: What `names_of` said of its key before the work began.

        Returns:
            Where the record of what was done is, this one or the one that stays.
        """
        task, method = self._of(record)
        stem = f"{record.key}-{record.provenance.commit[:12]}"
        text = _NUMBERS.sub(lambda numbers: " ".join(numbers[0].split()), record.model_dump_json(indent=1))
        while True:
            there = self.names_of(task, method, record.key)
            alike = [name for name in there if PurePosixPath(name).name.startswith(f"{stem}.")]
            rivals = [] if fresh else [name for name in there if name in alike or name not in known]
            for name in rivals:
                if record.status == "failed" or self._read(name, self._place.read(name)).status != "failed":
                    return self._place.at(name)
            repeat = f".{_in_order(alike[-1])[2] + 1}" if alike else ""
            name = f"{self._folder(task, method)}/{stem}{repeat}.json"
            if self._place.create(name, f"{text}\n".encode()):
                return self._place.at(name)

    def names_of(self, task: str, method: str, key: str) -> list[str]:
        """The files that tell of a key, in the order in which they were left."""
        found = self._place.names(self._folder(task, method))
        return sorted((name for name in found if _is_record(name) and _key(name) == key), key=_in_order)

    def names(self) -> Iterator[str]:
        """The files of all records, in any order."""
        return (name for name in self._place.names(self.what) if _is_record(name))

    def keys(self) -> set[str]:
        """The keys that have a record, from file names alone."""
        return {_key(name) for name in self.names()}

    def read(self) -> Iterator[Kept]:
        """Every record.

        Raises:
            BenchmarkError: If a file is no record, naming it.
        """
        there = self._place.files(self.what)
        files = sorted((file for file in there if _is_record(file.name) or not file.plain), key=_when_left)
        for file in files:
            if reason := unreadable(file):
                raise self._refusal(file.name, reason)
        for file, data in zip(files, self._place.read_all(file.name for file in files), strict=True):
            yield self._read(file.name, data)

    def _folder(self, task: str, method: str) -> str:
        return f"{self.what}/{task}/{method_folder(method)}"

    def _read(self, name: str, data: bytes) -> Kept:
        try:
            return read_as(self.kept, data)
        except ValueError as error:
            raise self._refusal(name, str(error)) from error

    def _refusal(self, name: str, reason: str) -> BenchmarkError:
        return BenchmarkError(f"{printable(str(self._place.at(name)))}: this is no record: {reason}.")

    @abstractmethod
    def _of(self, record: Kept) -> tuple[str, str]:
        """The names of its task and method."""


class Records(_Shelf[Record]):
    """The folder of records: `records/<task>/<method>/<key>-<commit>.json`."""

    kept, what = Record, "records"

    def _of(self, record: Record) -> tuple[str, str]:
        return record.task, record.run.method


class PopulationRecords(_Shelf[PopulationRecord]):
    """What all seeds of a method say together: `populations/<task>/<method>/<key>-<commit>.json`."""

    kept, what = PopulationRecord, "populations"

    def _of(self, record: PopulationRecord) -> tuple[str, str]:
        return record.task.name, record.method


def unreadable(file: File) -> str | None:
    """Why a file is not even opened; None if it is."""
    if not file.plain:
        return "it is a link or no plain file; put the file itself there"
    if file.size > LARGEST:
        size, most = (f"{size / 2**20:,.0f} MiB" for size in (file.size, LARGEST))
        return f"it has {size}, and no record has more than {most}"
    return None


def read_as(kept: type[Kept], data: bytes) -> Kept:
    """The record that a file holds.

    Raises:
        ValueError: If it holds none, or one of a newer schema, in words for people.
    """
    with _in_words():
        return kept.model_validate(_upgraded(parsed(data)))


def read_any(data: bytes) -> Record | PopulationRecord:
    """The same of a file that may hold either kind."""
    with _in_words():
        content = _upgraded(parsed(data))
        return Record.model_validate(content) if "run" in content else PopulationRecord.model_validate(content)


def parsed(data: bytes) -> dict[str, Any]:
    """JSON that everybody reads alike: an object without repeated keys, NaN and infinities.

    Raises:
        ValueError: If it is something else.
        RecursionError: If it is nested too deeply.
    """
    content = json.loads(data, object_pairs_hook=_without_repeats, parse_constant=_no_number)
    if not isinstance(content, dict):
        raise ValueError("a JSON object is right")
    return content


def method_folder(method: str) -> str:
    """A method's name as a folder: `gradient_constraint[placebo]` -> `gradient_constraint.placebo`."""
    return method.replace("[", ".").replace("]", "")


def printable(text: str, most: int | None = None) -> str:
    """A stranger's words on one line of a terminal, as much of them as one reads."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:most].rstrip(".")


def _upgraded(content: dict[str, Any]) -> dict[str, Any]:
    """A record of an earlier schema version as one of today's."""
    version = content.get("schema_version")
    if type(version) is not int or version < 1:
        raise ValueError(f"schema_version is {version!r}; a whole number from 1 on is right")
    if version > specs.RECORD_VERSION:
        raise ValueError(
            f"it is of schema version {version}, and this benchmark reads versions up to {specs.RECORD_VERSION}; "
            "a newer one reads it"
        )
    for step in range(version, specs.RECORD_VERSION):
        content = UPGRADES[step](content) | {"schema_version": step + 1}
    return content


@contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(printable(f"{where}: {first['msg']}", 300)) from error
    except (ValueError, RecursionError) as error:
        raise ValueError(printable(str(error), 300)) from error


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} stands there twice")
    return content


def _no_number(name: str) -> Any:
    raise ValueError(f"it holds {name}, which is no number")


def _is_record(name: str) -> bool:
    """Whether a file stands where records do; what people or file managers left elsewhere is none of ours."""
    return name.endswith(".json") and name.count("/") == 3


def _key(name: str) -> str:
    return PurePosixPath(name).name.partition("-")[0]


def _in_order(name: str) -> tuple[PurePosixPath, str, int]:
    """Of two records of one run, made in the same second say, the repeat (`.2.json`) comes after the first."""
    path = PurePosixPath(name)
    stem, _, repeat = path.stem.partition(".")
    return path.parent, stem, int(repeat) if repeat.isdecimal() else 1


def _when_left(file: File) -> tuple[PurePosixPath, str, int]:
    return _in_order(file.name)
