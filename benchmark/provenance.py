"""Where a record comes from: commit, versions, hardware. No host names, no user names, no paths that hold them."""

import platform
import re
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import psutil

from benchmark import ROOT, __version__
from benchmark.specs import Provenance

PATH = re.compile(r"(?<![\w./…-])(?:/|[A-Za-z]:\\)(?:[^\s/\\:'\"<>|]+[/\\])+(?=[^\s/\\:'\"<>|])")
"""The folders of an absolute path, of which there is at least one."""

_COLOUR = re.compile(r"\x1b\[[\d;]*m")
_PACKAGES = ("torch", "torchvision", "timm", "lightly", "numpy", "scipy", "scikit-learn")


def provenance() -> Provenance:
    """Of a record made now."""
    commit, dirty = commit_of_code()
    return Provenance(
        commit=commit,
        dirty=dirty,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        versions={"python": platform.python_version(), "benchmark": __version__, **_versions()},
        hardware=_hardware(),
    )


def anonymous(text: str) -> str:
    """A traceback or a sentence without the folders of this machine, which hold its users' names, and without colours.

    >>> anonymous("/home/ada/pictures/cat.png: there is no such file")
    '…/cat.png: there is no such file'
    """
    bare = "".join(letter for letter in _COLOUR.sub("", text) if letter.isprintable() or letter in "\n\t")
    return PATH.sub("…/", bare.replace(f"{ROOT.parent}/", ""))


@cache
def commit_of_code() -> tuple[str, bool]:
    """The commit of the checkout that runs, and whether its code differs from it; `unversioned` outside git."""
    root = ROOT.parent
    head = _git(root, "rev-parse", "HEAD")
    if head is None:
        return "unversioned", False
    changes = _git(root, "status", "--porcelain", "--untracked-files=no", "--", "benchmark", "methods", "datasets")
    return head, bool(changes)


@cache
def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@cache
def _hardware() -> dict[str, str | int]:
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "processor": _processor(),
        "cores": psutil.cpu_count(logical=True) or 0,
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "gpu": _gpu(),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def _gpu() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "none"


def _git(folder: object, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
