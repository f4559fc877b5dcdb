"""Plan -> executor: hands out jobs as what they need is there, and tells a display what happens."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmark.api import Executor
from benchmark.display import Display
from benchmark.errors import PlaceError
from benchmark.plan import Plan

RESULT_STAGES = ("train", "unlearn", "count", "observe", "score")


@dataclass
class Summary:
    """What came of a plan."""

    done: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)  # (job in words, error)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    work_seconds: dict[str, float] = field(default_factory=dict)
    workers: int = 1

    @property
    def harness_share(self) -> float:
        """Share of the workers' time that was neither training, unlearning, observing nor scoring."""
        if not self.seconds:
            return 0.0
        return max(0.0, 1 - sum(self.work_seconds.values()) / (self.seconds * self.workers))


def execute(plan: Plan, executor: Executor, workers: int, display: Display) -> Summary:
    """Run every job of a plan.

    A job waits for the jobs that it needs. One whose need failed still runs: it makes what is missing itself, or
    leaves a record of the failure. Longest first, so that no core waits for the last one alone.

    Args:
        plan: The jobs.
        executor: Where they run.
        workers: How many at once, for the account of time.
        display: Told of starts and ends.

    Raises:
        PlaceError: If the store or the results cannot be written any more; jobs that run are ended.
    """
    summary = Summary(workers=workers)
    missing = {key: set(job["needs"]) & plan.jobs.keys() for key, job in plan.jobs.items()}
    needed_by: dict[str, list[str]] = {}
    for key, needs in missing.items():
        for need in needs:
            needed_by.setdefault(need, []).append(key)
    start = time.perf_counter()
    with display.showing(plan, executor):
        try:
            _submit(plan, [key for key, needs in missing.items() if not needs], executor)
            for job, result in executor.completed():
                if result["status"] == "stopped":
                    raise PlaceError(result["error"])
                _account(summary, job, result)
                display.finished(job, result)
                waiting = needed_by.get(job["key"], [])
                for key in waiting:
                    missing[key].discard(job["key"])
                _submit(plan, [key for key in waiting if not missing[key]], executor)
        except BaseException:
            executor.cancel()
            raise
    summary.seconds = time.perf_counter() - start
    return summary


def in_words(job: Mapping[str, Any]) -> str:
    """`digits-supervised-random, fine_tune, seed 0`."""
    run = job["run"]
    seed = "all seeds" if job["kind"] == "population" else f"seed {run['seed']}"
    return f"{run['task']['name']}, {job['role']}, {seed}"


def _submit(plan: Plan, ready: list[str], executor: Executor) -> None:
    for key in sorted(ready, key=lambda key: -plan.estimates.get(key, 0.0)):
        executor.submit(plan.jobs[key])


def _account(summary: Summary, job: Mapping[str, Any], result: Mapping[str, Any]) -> None:
    summary.done += 1
    summary.notes += [f"{in_words(job)}: {note}" for note in result["notes"]]
    for stage in RESULT_STAGES:
        summary.work_seconds[stage] = summary.work_seconds.get(stage, 0.0) + result["seconds"].get(stage, 0.0)
    if result["status"] in ("failed", "died"):
        summary.failed.append((in_words(job), result["error"] or ""))
