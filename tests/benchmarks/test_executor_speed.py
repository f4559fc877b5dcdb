"""What a job costs beyond its work, and what a second worker is worth."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stress import speed


@pytest.fixture
def job(tmp_path: Path) -> Iterator[speed.Job]:
    with speed.a_job(tmp_path) as found:
        yield found


def test_jobs_that_do_nothing(benchmark: Any, job: speed.Job) -> None:
    count = 2 if benchmark.disabled else 200
    benchmark.pedantic(speed.seconds, args=(speed.idle(job, count), 2), rounds=3, warmup_rounds=1)
    if not benchmark.disabled:
        benchmark.extra_info["seconds_per_job"] = round(benchmark.stats.stats.median / count, 4)


def test_two_workers_against_one(benchmark: Any, job: speed.Job) -> None:
    """Both in one run, for only their ratio means something on another machine."""
    jobs = speed.busy(job, 2 if benchmark.disabled else 8)
    found: list[float] = []
    benchmark.pedantic(lambda: found.append(speed.seconds(jobs, 1) / speed.seconds(jobs, 2)), rounds=1)
    benchmark.extra_info["speed_up"] = round(found[0], 2)
