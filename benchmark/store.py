"""Artefacts by content key: trained models, observed outputs, scores. Written whole, checked when read, no locks.

An artefact is a folder that holds arrays (npz without pickle) and weights (safetensors) under names made from their
own sha256, and `meta.json`, which carries a hash of its own and is written last: without it the artefact is not
there. Two writers of one key can therefore only repeat each other. Records lie beside it, in a place of their own.
"""

import hashlib
import io
import json
import re
import uuid
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import date
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmark.places import Location, local_folder, place_of, write_atomic
from benchmark.records import PopulationRecords, Records

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["PopulationRecords", "Records", "Store", "write_atomic"]

_FILE = re.compile(r"([0-9a-f]{64})\.(npz|safetensors)")
_COMPLETE = "meta.json"

Found = TypeVar("Found")


class _Damaged(Exception):
    """What is wrong with an artefact."""


class Store:
    """The artefacts at a place.

    Attributes:
        folder: The local folder for what has to be local: that of the store, or the cache's if it is at a URL.
        notes: Sentences on what was damaged.
    """

    def __init__(self, location: Location) -> None:
        self.place = place_of(location)
        self.folder = local_folder(location)
        self.notes: list[str] = []

    def check_writable(self) -> None:
        """Raise PlaceError unless artefacts can be written."""
        self.place.check_writable("store", "--store")

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
        content = json.loads(json.dumps({"files": files, "meta": dict(meta or {})}))  # as it will be read
        data = json.dumps(content | {"sha256": _digest(content)}, sort_keys=True).encode()
        if replace:
            self.place.write(f"{folder_of(key)}/{_COMPLETE}", data)
        else:  # of two at once the first one stays
            self.place.create(f"{folder_of(key)}/{_COMPLETE}", data)

    def contains(self, key: str) -> bool:
        """Whether an artefact is there (its files are checked when they are read)."""
        return self.place.exists(f"{folder_of(key)}/{_COMPLETE}")

    def meta(self, key: str) -> dict[str, Any] | None:
        """What was noted with an artefact; None if it is not there or cannot be read."""
        return self._checked(key, lambda content: dict(content["meta"]))

    def arrays(self, key: str) -> dict[str, NDArray[Any]] | None:
        """The arrays of an artefact; None if they are not there or damaged."""
        return self._checked(key, lambda content: self._arrays(key, content))

    def weights(self, key: str) -> "dict[str, Tensor] | None":
        """The weights of an artefact; None if they are not there or damaged."""
        return self._checked(key, lambda content: self._weights(key, content))

    def discard(self, key: str) -> None:
        """Forget an artefact, if it is there."""
        self.place.remove([f"{folder_of(key)}/{_COMPLETE}"])

    def keys(self) -> set[str]:
        """All artefacts, by listing folders once instead of asking for each."""
        return {name.split("/")[2] for name in self.place.names("artefacts") if name.endswith(f"/{_COMPLETE}")}

    def damage(self, key: str) -> str | None:
        """What is wrong with an artefact, which stays where it is; None if it is whole.

        Raises:
            FileNotFoundError: If it is not there.
        """
        try:
            content = self._content(key)
            for kind in content["files"]:
                self._bytes(key, content, kind)
        except _Damaged as damage:
            return str(damage)
        return None

    def files_of(self, key: str) -> set[str]:
        """The files that make up an artefact; none if it is damaged or not there."""
        try:
            content = self._content(key)
        except (_Damaged, FileNotFoundError):
            return set()
        return {f"{folder_of(key)}/{name}" for name in (_COMPLETE, *content["files"].values())}

    def _put_file(self, key: str, data: bytes, suffix: str) -> str:
        name = f"{hashlib.sha256(data).hexdigest()}.{suffix}"
        self.place.write(f"{folder_of(key)}/{name}", data)
        return name

    def _checked(self, key: str, read: Callable[[dict[str, Any]], Found]) -> Found | None:
        try:
            return read(self._content(key))
        except FileNotFoundError:
            return None
        except _Damaged as damage:
            self._quarantine(key, str(damage))
            return None

    def _content(self, key: str) -> dict[str, Any]:
        """What `meta.json` says. The one of an earlier version carries no hash of its own."""
        try:
            content: dict[str, Any] = json.loads(self.place.read(f"{folder_of(key)}/{_COMPLETE}"))
            said = {name: content[name] for name in ("files", "meta")}
            whole = content.keys() in (said.keys(), said.keys() | {"sha256"})
            whole = whole and content.get("sha256", _digest(said)) == _digest(said)
            named = all(_FILE.fullmatch(name) for name in said["files"].values())
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise _Damaged(f"{_COMPLETE} is damaged") from error
        if not whole or not named:
            raise _Damaged(f"{_COMPLETE} {'is damaged' if named else 'names what is no file of the artefact'}")
        return content

    def _bytes(self, key: str, content: Mapping[str, Any], kind: str) -> bytes:
        name = content["files"][kind]
        try:
            data = self.place.read(f"{folder_of(key)}/{name}")
        except FileNotFoundError:
            data = b""
        if hashlib.sha256(data).hexdigest() != name.partition(".")[0]:
            raise _Damaged(f"{kind} do not match their hash")
        return data

    def _arrays(self, key: str, content: Mapping[str, Any]) -> dict[str, NDArray[Any]] | None:
        if "arrays" not in content["files"]:
            return None
        buffer = io.BytesIO(self._bytes(key, content, "arrays"))
        try:
            with zipfile.ZipFile(buffer) as archive:  # ours are not compressed, and what is may be endless
                if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                    raise ValueError("compressed")
            with np.load(buffer, allow_pickle=False) as stored:
                arrays = dict(stored)
            if not all(isinstance(array, np.ndarray) for array in arrays.values()):
                raise ValueError("bytes")  # which numpy hands out as they are
            return arrays
        except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, MemoryError) as error:
            raise _Damaged("arrays are no plain npz, which holds numbers and no pickle") from error

    def _weights(self, key: str, content: Mapping[str, Any]) -> "dict[str, Tensor] | None":
        if "weights" not in content["files"]:
            return None
        import safetensors.torch

        try:
            return safetensors.torch.load(self._bytes(key, content, "weights"))
        except (safetensors.SafetensorError, KeyError, ValueError) as error:
            raise _Damaged("weights are no safetensors") from error

    def _quarantine(self, key: str, reason: str) -> None:
        """Move a damaged artefact aside, so that it is computed again, and say so."""
        aside = f"quarantine/{date.today().isoformat()}/{key}-{uuid.uuid4().hex[:8]}"
        with suppress(FileNotFoundError):  # another worker met the same damage first
            self.place.move(folder_of(key), aside)
        self.notes.append(f"artefact {key[:12]}: {reason}; moved to {self.place.at(aside)} and computed again")


def folder_of(key: str) -> str:
    """Where an artefact lies in its store."""
    return f"artefacts/{key[:2]}/{key}"


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


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
