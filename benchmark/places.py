"""Where files lie: a folder of this machine, or a URL of an object store that fsspec knows (`s3://bucket/x`).

A file is there whole or not at all, whoever is killed meanwhile: in a folder it is written under a temporary name,
flushed and renamed; an object store takes whole objects. Names are relative to the place, with `/` between their
parts. No locks: of two who create one name one is told that it was there already.
"""

import hashlib
import os
import socket
import stat
import tempfile
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import psutil

from benchmark.errors import BenchmarkError, PlaceError

Location = str | Path
"""A path, or a URL as text."""

TEMPORARY = ".tmp-"
_HOST = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
_AT_ONCE = 256  # objects asked for together


@dataclass(frozen=True)
class File:
    """A file of a place.

    Attributes:
        name: Of the file, within the place.
        size: Bytes.
        modified: Seconds since 1970; None where the place does not say.
        plain: False for links, pipes and whatever else nobody here has left.
    """

    name: str
    size: int
    modified: float | None
    plain: bool = True


class Place(ABC):
    """A tree of files. What cannot be written or read raises PlaceError, what is not there FileNotFoundError."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The whole file."""

    @abstractmethod
    def read_all(self, names: Iterable[str]) -> Iterator[bytes]:
        """Several files, in order."""

    @abstractmethod
    def write(self, name: str, data: bytes) -> None:
        """Write a file, whatever was there."""

    @abstractmethod
    def create(self, name: str, data: bytes) -> bool:
        """Write a file unless there is one; whether it was written."""

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Whether there is such a file."""

    @abstractmethod
    def names(self, below: str) -> Iterator[str]:
        """The names of all files below a folder, by listing folders and nothing else."""

    @abstractmethod
    def files(self, below: str) -> Iterator[File]:
        """All files below a folder, with size and time. Links are named, never followed."""

    @abstractmethod
    def move(self, name: str, to: str) -> None:
        """Give a folder another name."""

    @abstractmethod
    def remove(self, names: Sequence[str]) -> None:
        """Remove files, and folders that they leave empty; what is gone already is no error."""

    @abstractmethod
    def at(self, name: str) -> Location:
        """Where a file lies, for people."""

    @abstractmethod
    def check_writable(self, what: str, option: str) -> None:
        """Raise PlaceError unless files can be written, naming the option that gives another place."""


def place_of(location: Location) -> Place:
    """The place at a path or URL."""
    location = absolute(location)
    return Folder(location) if isinstance(location, Path) else Bucket(location)


def absolute(location: Location) -> Location:
    """A path made absolute (that of a `file://` URL too), any other URL as it is.

    Raises:
        BenchmarkError: If a URL names no folder.
    """
    scheme, url, rest = str(location).partition("://")
    if not url:
        return Path(location).resolve()
    if scheme in ("file", "local"):
        return Path(rest).resolve()
    if not rest.strip("/"):
        raise BenchmarkError(f"{location}: this URL names no folder; {scheme}://bucket/folder is right.")
    return f"{scheme}://{rest.rstrip('/')}"


def local_folder(location: Location) -> Path:
    """Where files of a store lie that have to be local, decoded datasets say: in it, or else in the cache folder."""
    location = absolute(location)
    return location if isinstance(location, Path) else cache_folder() / "store"


def cache_folder() -> Path:
    """This machine's folder for what can be made or fetched again."""
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "unlearning-benchmark"
    return Path(os.environ.get("UNLEARNING_BENCHMARK_CACHE", default)).resolve()


class Folder(Place):
    """A folder of this machine, or one that it shares with others."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, name: str) -> bytes:
        path = self.root / name
        with _sentences(self.root, "read", FileNotFoundError):
            if not stat.S_ISREG(path.lstat().st_mode):  # a pipe would be waited for, a device read without end
                raise BenchmarkError(f"{path}: this is a link or no plain file; put the file itself there.")
            return path.read_bytes()

    def read_all(self, names: Iterable[str]) -> Iterator[bytes]:
        return map(self.read, names)

    def write(self, name: str, data: bytes) -> None:
        write_atomic(self._inside(name), data)

    def create(self, name: str, data: bytes) -> bool:
        path = self._inside(name)
        with _temporary(path, data) as temporary:
            try:
                os.link(temporary, path)
            except FileExistsError:
                return False
            except OSError:  # a file system without hard links, where two who come at once both believe they were first
                if path.exists():
                    return False
                os.replace(temporary, path)
        return True

    def exists(self, name: str) -> bool:
        return (self.root / name).is_file()

    def names(self, below: str) -> Iterator[str]:
        return (entry.path[len(str(self.root)) + 1 :] for entry in _entries(self.root / below))

    def files(self, below: str) -> Iterator[File]:
        for entry in _entries(self.root / below):
            with suppress(FileNotFoundError):  # it was moved while we looked
                found = entry.stat(follow_symlinks=False)
                plain = stat.S_ISREG(found.st_mode)
                yield File(entry.path[len(str(self.root)) + 1 :], found.st_size, found.st_mtime, plain)

    def move(self, name: str, to: str) -> None:
        target = self._inside(to)
        with _sentences(self.root, "written", FileNotFoundError):
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(self.root / name, target)

    def remove(self, names: Sequence[str]) -> None:
        for path in map(self._inside, names):
            with _sentences(self.root, "written"):
                path.unlink(missing_ok=True)
                with suppress(OSError):  # not empty
                    path.parent.rmdir()

    def at(self, name: str) -> Path:
        return self.root / name

    def check_writable(self, what: str, option: str) -> None:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as error:
            raise PlaceError(
                f"{self.root}: the {what} cannot be written ({error.strerror}); give another one with {option}."
            ) from error

    def remove_leftovers(self) -> int:
        """Remove the temporary files that killed processes of this machine left; return how many."""
        left = [name for name in self.names("") if is_leftover(name)]
        self.remove(left)
        return len(left)

    def _inside(self, name: str) -> Path:
        """The path of a file that is to be written, after a look where links of the folder lead."""
        path = self.root / name
        if not Path(os.path.realpath(path.parent)).is_relative_to(os.path.realpath(self.root)):
            raise BenchmarkError(f"{path}: this leads out of {self.root}; remove the link, nothing was written.")
        return path


class Bucket(Place):
    """A tree of objects at a URL."""

    def __init__(self, url: str) -> None:
        import fsspec

        self.url = url
        try:  # others write here too, so that a listing is stale as soon as it is kept
            self._files, root = fsspec.url_to_fs(url, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            raise BenchmarkError(
                f"{url}: {str(error).rstrip('.')}; the extra `remote` brings s3://, fsspec knows many others."
            ) from error
        self._root = root.rstrip("/")

    def read(self, name: str) -> bytes:
        with _sentences(self.url, "read", FileNotFoundError):
            data: bytes = self._files.cat_file(self._path(name))
            return data

    def read_all(self, names: Iterable[str]) -> Iterator[bytes]:
        left = iter(names)
        while some := [self._path(name) for name in islice(left, _AT_ONCE)]:
            with _sentences(self.url, "read", FileNotFoundError):
                found = self._files.cat(some)
            yield from (found[path] for path in some)

    def write(self, name: str, data: bytes) -> None:
        with _sentences(self.url, "written"):
            self._files.pipe_file(self._path(name), data)

    def create(self, name: str, data: bytes) -> bool:
        with _sentences(self.url, "written"):
            try:
                self._files.pipe_file(self._path(name), data, mode="create")
            except Exception:  # stores say in different ways that it is there, and a request sent twice meets itself
                if not self._files.isfile(self._path(name)):
                    raise
                return bool(self._files.cat_file(self._path(name)) == data)
        return True

    def exists(self, name: str) -> bool:
        with _sentences(self.url, "read"):
            return bool(self._files.isfile(self._path(name)))

    def names(self, below: str) -> Iterator[str]:
        return (file.name for file in self.files(below))

    def files(self, below: str) -> Iterator[File]:
        with _sentences(self.url, "read"):
            found: dict[str, dict[str, Any]] = self._files.find(self._path(below), detail=True)
        for path, entry in found.items():
            yield File(path[len(self._root) + 1 :], int(entry["size"]), _modified(entry))

    def move(self, name: str, to: str) -> None:
        names = list(self.names(name))
        if not names:
            raise FileNotFoundError(f"{self.url}/{name}")
        with _sentences(self.url, "written"):
            for one in names:
                self._files.cp_file(self._path(one), self._path(to + one.removeprefix(name)))
        self.remove(names)

    def remove(self, names: Sequence[str]) -> None:
        left = iter(names)
        while some := [self._path(name) for name in islice(left, _AT_ONCE)]:
            with _sentences(self.url, "written"), suppress(FileNotFoundError):
                self._files.rm(some)

    def at(self, name: str) -> str:
        return f"{self.url}/{name}"

    def check_writable(self, what: str, option: str) -> None:
        probe = f"{TEMPORARY}{uuid.uuid4().hex}"
        try:
            self.write(probe, b"")
            self.remove([probe])
        except PlaceError as error:
            raise PlaceError(f"{str(error).partition(';')[0]}; give another {what} with {option}.") from error

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: under a temporary name, flushed, then renamed.

    Raises:
        PlaceError: If it cannot be written; what was there is still there.
    """
    with _temporary(path, data) as temporary:
        os.replace(temporary, path)


def is_leftover(name: str) -> bool:
    """Whether a file is what a process of this machine wrote at when it was killed."""
    parts = name.rpartition("/")[2].split("-")
    ours = len(parts) == 4 and parts[:2] == [TEMPORARY.rstrip("-"), _HOST] and parts[2].isdecimal()
    return ours and not _lives(int(parts[2]))


@contextmanager
def _temporary(path: Path, data: bytes) -> Iterator[Path]:
    """A flushed file beside `path`, which is gone at the end whatever happens."""
    with _sentences(path.parent, "written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f"{TEMPORARY}{_HOST}-{os.getpid()}-{uuid.uuid4().hex}"
        try:
            with temporary.open("wb") as handle:
                handle.write(data)
                handle.flush()
                os.fsync(handle.fileno())
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def _sentences(location: Location, done: str, *passed: type[Exception]) -> Iterator[None]:
    """What goes wrong at a place as one sentence; libraries of object stores raise errors of their own kinds."""
    try:
        yield
    except Exception as error:
        if isinstance(error, (BenchmarkError, *passed)):
            raise
        reason = (error.strerror if isinstance(error, OSError) else None) or f"{type(error).__name__}: {error}"
        here = isinstance(error, NotADirectoryError | FileExistsError)  # what stands in the way of one name alone
        raise (BenchmarkError if here else PlaceError)(
            f"{location}: this cannot be {done} ({reason}); put that right or give another place, and the same "
            "command goes on from here."
        ) from error


def _entries(folder: Path) -> Iterator["os.DirEntry[str]"]:
    """Everything below a folder but folders; links are not followed."""
    if folder.is_symlink():
        raise BenchmarkError(f"{folder}: this is a symbolic link; put the folder itself there.")
    left = [str(folder)]
    while left:
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(left.pop()) as found:
            for entry in found:
                if entry.is_dir(follow_symlinks=False):
                    left.append(entry.path)
                else:
                    yield entry


def _modified(entry: dict[str, Any]) -> float | None:
    """When an object was changed, by whatever name its store calls that."""
    for name in ("LastModified", "last_modified", "mtime", "modified", "updated", "created"):
        when = entry.get(name)
        if when is not None:
            when = datetime.fromisoformat(when) if isinstance(when, str) else when
            return when.timestamp() if isinstance(when, datetime) else float(when)
    return None


def _lives(pid: int) -> bool:
    """Whether a process can still write; a killed one that nobody waited for cannot."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
