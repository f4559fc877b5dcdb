"""What git knows: commits by name, their order, their records without a checkout, and a worktree for a while."""

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

from benchmark.errors import BenchmarkError


@dataclass(frozen=True)
class Commit:
    """A commit as people know it; `date` is the committer's, in ISO form."""

    sha: str
    date: str
    subject: str

    @property
    def short(self) -> str:
        """Ten letters of its hash."""
        return self.sha[:10]


class Repository:
    """The git repository that a folder lies in.

    Raises:
        BenchmarkError: If it lies in none.
    """

    def __init__(self, folder: Path) -> None:
        place = folder.resolve()
        while not place.is_dir():
            place = place.parent
        top = _git(place, "rev-parse", "--show-toplevel")
        if top is None:
            raise BenchmarkError(
                f"{folder}: this is in no git repository, so no commits are known here; "
                "results folders can be compared anywhere."
            )
        self.root = Path(top.decode().strip()).resolve()

    def commit(self, name: str) -> Commit:
        """The commit that a hash, tag or branch names.

        Raises:
            BenchmarkError: If it names none.
        """
        found = None if name.startswith("-") else self._git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        if found is None:
            raise BenchmarkError(
                f"{name!r} is neither a results folder nor a commit, tag or branch of {self.root}; "
                "`git log` shows the commits."
            )
        return self._described("-1", found.decode().strip())[0]

    @cached_property
    def commits(self) -> dict[str, Commit]:
        """Hash -> commit, of all ancestors of HEAD: parents first, a merged branch in one piece before its merge."""
        if self._git("rev-parse", "--verify", "--quiet", "HEAD") is None:
            return {}
        return {commit.sha: commit for commit in self._described("--topo-order", "--reverse", "HEAD")}

    def between(self, good: Commit, bad: Commit) -> list[Commit]:
        """The commits after `good` up to `bad` along first parents, oldest first.

        Raises:
            BenchmarkError: If `good` is no such ancestor of `bad`.
        """
        line = [commit.sha for commit in self._described("--first-parent", bad.sha)]
        if good.sha not in line[1:]:
            raise BenchmarkError(
                f"{good.short} is no ancestor of {bad.short} along first parents; --good is the older of the two."
            )
        return self._described("--first-parent", "--reverse", f"{good.sha}..{bad.sha}")

    def tree(self, commit: Commit, path: Path) -> str | None:
        """The hash of a folder in a commit; None if it is not there."""
        found = self._git("rev-parse", "--verify", "--quiet", f"{commit.sha}:{path.as_posix()}")
        return found.decode().strip() if found else None

    @contextmanager
    def extracted(self, commit: Commit, path: Path, parts: Sequence[str]) -> Iterator[Path]:
        """A temporary copy of some parts of a folder of a commit; nothing is checked out."""
        archive = self._git("archive", "--format=zip", "-0", f"{commit.sha}:{path.as_posix()}", *parts)
        if archive is None:
            raise BenchmarkError(f"{commit.short}: git cannot read {path} of this commit.")
        with tempfile.TemporaryDirectory(prefix="benchmark-records-") as folder:
            with ZipFile(BytesIO(archive)) as files:
                files.extractall(folder)
            yield Path(folder)

    @contextmanager
    def worktree(self, folder: Path) -> Iterator["Worktree"]:
        """A checkout of its own, removed in the end whatever happens."""
        try:
            if self._git("worktree", "add", "--detach", "--no-checkout", str(folder), "HEAD") is None:
                raise BenchmarkError(f"{folder}: git cannot make a worktree here.")
            yield Worktree(folder)
        finally:
            self._git("worktree", "remove", "--force", str(folder))
            self._git("worktree", "prune")

    def git_path(self, name: str) -> Path:
        """Where git keeps a file of its own."""
        found = self._git("rev-parse", "--git-path", name) or b""
        return self.root / found.decode().strip()

    def _described(self, *arguments: str) -> list[Commit]:
        log = self._git("log", "--format=%H%x09%cI%x09%s", *arguments) or b""
        return [Commit(*line.split("\t", 2)) for line in log.decode(errors="replace").splitlines()]

    def _git(self, *arguments: str) -> bytes | None:
        return _git(self.root, *arguments)


@dataclass(frozen=True)
class Worktree:
    """A checkout that can be moved from commit to commit."""

    folder: Path

    def move_to(self, commit: Commit) -> bool:
        """Check a commit out; whether that went well."""
        return _git(self.folder, "checkout", "--quiet", "--force", "--detach", commit.sha) is not None


def _git(folder: Path, *arguments: str) -> bytes | None:
    """What git prints; None if it fails."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, check=False)
    except OSError as error:
        raise BenchmarkError(
            f"git cannot be started ({error.strerror}); install it, or give results folders."
        ) from error
    return done.stdout if done.returncode == 0 else None
