"""What a job costs beyond its work, and what a second worker is worth."""

import time
from pathlib import Path
from typing import Any

import pytest

from benchmark import registry, session
from tests import tiny

JOBS = 200
BUSY = """import torch
        one = torch.rand(256, 256)
        for _ in range(1500):
            one = (one @ one).softmax(0)"""


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A run whose method takes a second or two of one core, its models trained."""
    with tiny.own_process(monkeypatch):
        plugin = tiny.plugin(tmp_path, "busy", BUSY)
        where = session.options(tmp_path / "store", tmp_path / "results", tmp_path / "data", "cpu", fresh=False)
        suite = tiny.suite_file(tmp_path, {"methods": ["busy"]})
        work = session.plan(str(suite), where, None, None, None, None, [plugin])
        done(list(work.jobs.values())[:2], workers=2)
        yield list(work.jobs.values())[2]


def done(jobs: list[dict[str, Any]], workers: int) -> float:
    """Seconds that jobs took on so many workers."""
    executor = registry.get("executor", "local").target(workers=workers)
    start = time.perf_counter()
    for job in jobs:
        executor.submit(job)
    assert [result["error"] for _, result in executor.completed()] == [None] * len(jobs)
    return time.perf_counter() - start


def test_jobs_that_do_nothing(benchmark: Any, job: dict[str, Any]) -> None:
    """They score an empty batch: all that is left is a process, JSON both ways, and opening the store."""
    nothing = [job | {"key": f"{number:064}", "kind": "score", "batch": []} for number in range(JOBS)]
    benchmark.pedantic(done, args=(nothing, 2), rounds=3, warmup_rounds=1)
    if benchmark.disabled:
        pytest.skip("speeds need --benchmark-enable")
    seconds = benchmark.stats.stats.median
    benchmark.extra_info["seconds_per_job"] = round(seconds / JOBS, 4)
    print(f"\n{JOBS} jobs that do nothing, 2 workers: {seconds:.1f} s, {1000 * seconds / JOBS:.0f} ms each")


def test_two_workers_against_one(benchmark: Any, job: dict[str, Any]) -> None:
    """Both in one run, for only their ratio means something on another machine."""
    busy = [job | {"key": f"{number:064}", "fresh": True} for number in range(8)]
    found: list[float] = []
    benchmark.pedantic(lambda: found.append(done(busy, 1) / done(busy, 2)), rounds=1)
    benchmark.extra_info["speed_up"] = round(found[0], 2)
    print(f"\n2 workers against 1: {found[0]:.2f} times as fast")
