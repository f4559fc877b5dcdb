"""What a job costs beyond its work, and what a second worker is worth: jobs that do nothing, jobs that only work."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmark import registry, session
from tests import tiny

Job = dict[str, Any]
BUSY = """import torch
        one = torch.rand(256, 256)
        for _ in range(1500):
            one = (one @ one).softmax(0)"""


@contextmanager
def a_job(folder: Path) -> Iterator[Job]:
    """A run whose method takes a second or less of one core, its models trained."""
    with pytest.MonkeyPatch().context() as monkeypatch, tiny.own_process(monkeypatch):
        plugin = tiny.plugin(folder, "busy", BUSY)
        where = session.options(folder / "store", folder / "results", folder / "data", "cpu", fresh=False)
        suite = tiny.suite_file(folder, {"methods": ["busy"]})
        work = session.plan(str(suite), where, None, None, None, None, [plugin])
        seconds(list(work.jobs.values())[:2], workers=2)
        yield list(work.jobs.values())[2]


def idle(job: Job, count: int) -> list[Job]:
    """They score an empty batch: all that is left is a process, JSON both ways, and opening the store."""
    return [job | {"key": f"{number:064}", "kind": "score", "batch": []} for number in range(count)]


def busy(job: Job, count: int) -> list[Job]:
    """Copies of a job, none of which finds what another has done."""
    return [job | {"key": f"{number:064}", "fresh": True} for number in range(count)]


def seconds(jobs: list[Job], workers: int) -> float:
    """That jobs took on so many workers; none may fail."""
    executor = registry.get("executor", "local").target(workers=workers)
    start = time.perf_counter()
    for job in jobs:
        executor.submit(job)
    assert [result["error"] for _, result in executor.completed()] == [None] * len(jobs)
    return time.perf_counter() - start
