"""Artefacts by content key and records as JSON files; written whole or not at all, checked when read, no locks.

An artefact is a folder that holds arrays (npz without pickle) and weights (safetensors) under names made from their
own sha256, and `meta.json`, which is written last: without it the artefact is not there. Two writers of one key can
therefore only repeat each other.
"""

import hashlib
import io
import json
import os
import re
import socket
import tempfile
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import psutil
from numpy.typing import NDArray
from pydantic import ValidationError

from benchmark.errors import BenchmarkError
from benchmark.specs import PopulationRecord, Record

if TYPE_CHECKING:
    from torch import Tensor

_NUMBERS = re.compile(r"\[\n[\s\d.eE+,-]+\]")  # a list of numbers, which a reader wants on one line
_HOST = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]

Kept = TypeVar("Kept", Record, PopulationRecord)


class Store:
    """A folder of artefacts: trained models, observed outputs, scores."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.notes: list[str] = []

    def check_writable(self) -> None:
        """Raise BenchmarkError unless artefacts can be written."""
        _check_writable(self.folder, "store", "--store")

    def put(
        self,
        key: str,
        *,
        arrays: Mapping[str, NDArray[Any]] | None = None,
        weights: "Mapping[str, Tensor] | None" = None,
        meta: Mapping[str, Any] | None = None,
        replace: bool = False,
    ) -> None:
        """Write an artefact; one that is there already stays as it is unless it is to be replaced."""
        if self.contains(key) and not replace:
            return
        files = {}
        if arrays is not None:
            buffer = io.BytesIO()
            np.savez(buffer, **_plain(arrays))
            files["arrays"] = self._put_file(key, buffer.getvalue(), "npz")
        if weights is not None:
            import safetensors.torch

            packed = {name: _own_copy(tensor) for name, tensor in weights.items()}
            files["weights"] = self._put_file(key, safetensors.torch.save(packed), "safetensors")
        content = json.dumps({"files": files, "meta": dict(meta or {})}, sort_keys=True)
        write_atomic(self._folder(key) / "meta.json", content.encode())

    def contains(self, key: str) -> bool:
        """Whether an artefact is there (its files are checked when they are read)."""
        return (self._folder(key) / "meta.json").is_file()

    def meta(self, key: str) -> dict[str, Any] | None:
        """What was noted with an artefact; None if it is not there or cannot be read."""
        content = self._content(key)
        return None if content is None else content["meta"]

    def arrays(self, key: str) -> dict[str, NDArray[Any]] | None:
        """The arrays of an artefact; None if they are not there or damaged."""
        data = self._file(key, "arrays")
        if data is None:
            return None
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            return dict(stored)

    def weights(self, key: str) -> "dict[str, Tensor] | None":
        """The weights of an artefact; None if they are not there or damaged."""
        data = self._file(key, "weights")
        if data is None:
            return None
        import safetensors.torch

        return safetensors.torch.load(data)

    def discard(self, key: str) -> None:
        """Forget an artefact, if it is there."""
        (self._folder(key) / "meta.json").unlink(missing_ok=True)

    def keys(self) -> set[str]:
        """All artefacts, by listing folders once instead of asking for each."""
        return {entry.parent.name for entry in self.folder.glob("artefacts/*/*/meta.json")}

    def _folder(self, key: str) -> Path:
        return self.folder / "artefacts" / key[:2] / key

    def _put_file(self, key: str, data: bytes, suffix: str) -> str:
        name = f"{hashlib.sha256(data).hexdigest()}.{suffix}"
        write_atomic(self._folder(key) / name, data)
        return name

    def _content(self, key: str) -> dict[str, Any] | None:
        path = self._folder(key) / "meta.json"
        if not path.is_file():
            return None
        try:
            content: dict[str, Any] = json.loads(path.read_text())
            content["meta"], content["files"]
        except (ValueError, KeyError, TypeError):
            self._quarantine(key, "meta.json is damaged")
            return None
        return content

    def _file(self, key: str, kind: str) -> bytes | None:
        content = self._content(key)
        if content is None or kind not in content["files"]:
            return None
        name = str(content["files"][kind])
        path = self._folder(key) / Path(name).name
        data = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(data).hexdigest() != name.partition(".")[0]:
            self._quarantine(key, f"{kind} do not match their hash")
            return None
        return data

    def _quarantine(self, key: str, reason: str) -> None:
        """Move a damaged artefact aside, so that it is computed again, and say so."""
        aside = self.folder / "quarantine" / f"{key}-{uuid.uuid4().hex[:8]}"
        aside.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # another worker met the same damage first
            os.replace(self._folder(key), aside)
        self.notes.append(f"artefact {key[:12]}: {reason}; moved to {aside} and computed again")


class _Shelf(ABC, Generic[Kept]):
    """A folder of JSON files, one for each thing kept: `<task>/<method>/<key>-<commit>.json`."""

    kept: type[Kept]
    what: str

    def __init__(self, results: Path) -> None:
        self.folder = Path(results) / self.what

    def check_writable(self) -> None:
        """Raise BenchmarkError unless records can be written."""
        _check_writable(self.folder, "results folder", "--results")

    def add(self, record: Kept) -> Path:
        """Write a record under a name of its own; what is there is never edited."""
        stem = f"{record.key}-{record.provenance.commit[:12]}"
        task, method = self._of(record)
        folder = self.folder / task / method_folder(method)
        repeat = 1
        while (path := folder / (f"{stem}.json" if repeat == 1 else f"{stem}.{repeat}.json")).exists():
            repeat += 1
        text = _NUMBERS.sub(lambda numbers: " ".join(numbers[0].split()), record.model_dump_json(indent=1))
        write_atomic(path, f"{text}\n".encode())
        return path

    def keys(self) -> set[str]:
        """The keys that have a record, from file names alone."""
        return {path.name.partition("-")[0] for path in self.folder.glob("*/*/*.json")}

    def read(self) -> Iterator[Kept]:
        """Every record.

        Raises:
            BenchmarkError: If a file is no record, naming it.
        """
        for path in sorted(self.folder.glob("*/*/*.json"), key=_in_order):
            try:
                yield self.kept.model_validate_json(path.read_bytes())
            except ValidationError as error:
                first = error.errors()[0]
                place = ".".join(map(str, first["loc"]))
                raise BenchmarkError(f"{path}: this is no record: {place}: {first['msg']}.") from error

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


def _in_order(path: Path) -> tuple[Path, str, int]:
    """Of two records of one run, made in the same second say, the repeat (`.2.json`) comes after the first."""
    name, _, repeat = path.stem.partition(".")
    return path.parent, name, int(repeat or 1)


def method_folder(method: str) -> str:
    """A method's name as a folder: `gradient_constraint[placebo]` -> `gradient_constraint.placebo`."""
    return method.replace("[", ".").replace("]", "")


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: under a temporary name, flushed, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".tmp-{_HOST}-{os.getpid()}-{uuid.uuid4().hex}"
    try:
        with temporary.open("wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _check_writable(folder: Path, what: str, option: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise BenchmarkError(
            f"{folder}: the {what} cannot be written ({error.strerror}); give another one with {option}."
        ) from error


def _plain(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Arrays of Python objects would be pickled, and reading a pickle runs code."""
    for name, array in arrays.items():
        if np.asarray(array).dtype.hasobject:
            raise ValueError(f"array {name!r} holds Python objects; numbers are right.")
    return dict(arrays)


def _own_copy(tensor: "Tensor") -> "Tensor":
    """Contiguous and in memory of its own: safetensors takes neither views nor weights that are tied."""
    import torch

    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def remove_leftovers(folder: Path) -> int:
    """Remove the temporary files that killed processes of this machine left; return how many."""
    removed = 0
    for path in Path(folder).rglob(f".tmp-{_HOST}-*"):
        if not _lives(int(path.name.split("-")[2])):
            path.unlink(missing_ok=True)
            removed += 1
    return removed


def _lives(pid: int) -> bool:
    """Whether a process can still write; a killed one that nobody waited for cannot."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
