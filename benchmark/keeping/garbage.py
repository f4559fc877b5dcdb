"""What of a store nobody needs: artefacts that no record speaks of, what dead processes left, what was put aside.

Needed is all without which the same command on the same records would have to compute something: models and their
outputs, the note that a run is done here, each metric's numbers, what the seeds of an ensemble share. Numbers of
metrics that have changed since, or that are not registered, go; they come back from outputs, without any model.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import PurePosixPath
from typing import Any

from benchmark import keys, registry
from benchmark.errors import BenchmarkError
from benchmark.places import TEMPORARY, File, Folder, Location, is_leftover
from benchmark.scoring import ROLES
from benchmark.specs import PopulationRecord, Record
from benchmark.store import PopulationRecords, Records, Store

DAY = 86_400.0


@dataclass(frozen=True)
class Share:
    """How many things of one kind, and their bytes."""

    count: int = 0
    size: int = 0

    def __str__(self) -> str:
        return f"{self.count:,} ({self.size / 2**20:,.1f} MiB)"


@dataclass(frozen=True)
class Garbage:
    """What was found in a store; of what may go it holds the files.

    Attributes:
        removed: Kind of thing -> how many are removed, or would be.
        needed: Artefacts that records need.
        young: Artefacts that none needs yet: somebody may be at work.
        files: What is removed, in an order in which no artefact is ever there by half.
    """

    removed: dict[str, Share]
    needed: Share
    young: Share
    files: tuple[str, ...]

    @property
    def freed(self) -> int:
        """Bytes."""
        return sum(share.size for share in self.removed.values())

    def as_json(self) -> dict[str, Any]:
        """In numbers."""
        return asdict(self) | {"freed_bytes": self.freed, "files": len(self.files)}

    def in_words(self, dry: bool) -> list[str]:
        """The same for people."""
        lines = [f"{'would remove' if dry else 'removed'} {what}: {share}" for what, share in self.removed.items()]
        freed = f"{'would free' if dry else 'freed'} {self.freed / 2**20:,.1f} MiB"
        young = f" and {self.young} that none needs yet, being young" if self.young.count else ""
        return [*lines, f"{freed}; kept artefacts: {self.needed} that records need{young}."]


def collect(
    location: Location, results: Sequence[Location], days: float = 1.0, quarantine_days: float = 7.0, dry: bool = False
) -> Garbage:
    """Remove what no record needs.

    Args:
        location: Of the store.
        results: Every place with records that the store serves.
        days: What is younger stays, needed or not.
        quarantine_days: The same for what was put aside as damaged.
        dry: Only look.

    Raises:
        BenchmarkError: If a results folder holds no records, since then everything would go.
    """
    store = Store(location)
    needed: set[str] = set()
    for place in results:
        found = needed_by(list(Records(place).read()), list(PopulationRecords(place).read()))
        if not found:
            raise BenchmarkError(
                f"{place}: there are no records here, so nothing of {location} would stay; say with --results "
                "where the records are."
            )
        needed |= found
    garbage = _Search(store, needed, days * DAY, quarantine_days * DAY).result()
    if not dry:
        store.place.remove(garbage.files)
    return garbage


def needed_by(records: Iterable[Record], populations: Iterable[PopulationRecord]) -> set[str]:
    """The keys of all that records speak of."""
    records = list(records)
    needed = {key for record in records for key in (record.key, *record.artefacts.values(), *_numbers(record))}
    runs = {record.key: record.artefacts for record in records}
    for population in populations:
        members = [runs[key] for key in population.runs if key in runs]
        needed |= {population.key, *(keys.together_key(members, role) for role in ROLES)}
    return needed


def _numbers(record: Record) -> Iterator[str]:
    """What the metrics of a run leave in the store, by their source of today."""
    known = set(registry.names("metric"))
    for metric in known.intersection(record.run.metrics):
        for role in ROLES:
            yield keys.numbers_key(metric, keys.source("metric", metric), role, record.artefacts)


class _Search:
    """One look through a store."""

    def __init__(self, store: Store, needed: set[str], young: float, young_aside: float) -> None:
        self._store, self._needed = store, needed
        self._young, self._young_aside, self._now = young, young_aside, time.time()
        self._removed: dict[str, Share] = {}
        self._first: list[str] = []
        self._then: list[str] = []

    def result(self) -> Garbage:
        rooms: dict[str, list[File]] = {"artefacts": [], "quarantine": [], "datasets": []}
        for file in self._store.place.files(""):
            if self._is_left_behind(file):
                self._remove("leftovers", [file])
            elif file.plain:
                rooms.setdefault(file.name.partition("/")[0], []).append(file)
        needed, young = Share(), Share()
        for key, files in _by_folder(rooms["artefacts"], 2).items():
            if key in self._needed and any(_is_last(file) for file in files):
                needed = _with(needed, files)
                self._remove("files that no artefact names", self._superseded(key, files))
            elif self._is_young(files):
                young = _with(young, files)
            else:
                self._remove("artefacts", files)
        for files in _by_folder(rooms["quarantine"], 2).values():
            if self._age_aside(files) > self._young_aside:
                self._remove("damaged artefacts that were put aside", files)
        if isinstance(self._store.place, Folder):  # those of a store at a URL lie where other stores' lie too
            for file in rooms["datasets"]:
                path = PurePosixPath(file.name)
                if path.parent.name == "decoded" and path.stem not in self._needed and not self._is_young([file]):
                    self._remove("decoded datasets", [file])
        return Garbage(self._removed, needed, young, (*self._first, *self._then))

    def _remove(self, what: str, files: list[File]) -> None:
        if files:
            self._removed[what] = _with(self._removed.get(what, Share()), files)
            self._first += [file.name for file in files if _is_last(file)]
            self._then += [file.name for file in files if not _is_last(file)]

    def _is_left_behind(self, file: File) -> bool:
        """A temporary file whose process is dead; of another machine's, one that nobody can still write at."""
        mine = is_leftover(file.name)
        return mine or (PurePosixPath(file.name).name.startswith(TEMPORARY) and not self._is_young([file]))

    def _is_young(self, files: list[File]) -> bool:
        """By the newest file; one from the future, a clock having gone backwards, is young as well."""
        return any(file.modified is None or self._now - file.modified < self._young for file in files)

    def _age_aside(self, files: list[File]) -> float:
        """Seconds since an artefact was put aside: by the folder of the day, for its files keep their times."""
        try:
            day = date.fromisoformat(files[0].name.split("/")[1])
        except ValueError:
            return min(self._now - (file.modified or self._now) for file in files)
        return (date.fromtimestamp(self._now) - day).total_seconds()

    def _superseded(self, key: str, files: list[File]) -> list[File]:
        """Files of an artefact that it does not name: it was made again, or two made it at once."""
        suffixes = [PurePosixPath(file.name).suffix for file in files]
        if len(set(suffixes)) == len(suffixes) or self._is_young(files):
            return []
        named = self._store.files_of(key)
        return [file for file in files if named and file.name not in named]


def _by_folder(files: Iterable[File], depth: int) -> dict[str, list[File]]:
    """Files by the name of their folder so many levels down."""
    found: dict[str, list[File]] = {}
    for file in files:
        parts = file.name.split("/")
        if len(parts) > depth:
            found.setdefault(parts[depth], []).append(file)
    return found


def _is_last(file: File) -> bool:
    return file.name.endswith("/meta.json")


def _with(share: Share, files: list[File]) -> Share:
    return Share(share.count + 1, share.size + sum(file.size for file in files))
