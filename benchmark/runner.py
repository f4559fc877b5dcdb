"""Plan -> executor: hands out jobs as what they need is there, tries again what died, and heeds Ctrl-C.

Executors only report how a job ended; what comes of it is decided here, so that it is the same for all of them.
"""

import heapq
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from benchmark.api import Executor
from benchmark.display import Display
from benchmark.errors import PlaceError
from benchmark.plan import Plan

RESULT_STAGES = ("train", "unlearn", "count", "observe", "score")
UNSAID = ("died", "timeout", "out_of_memory")
"""How a job ends that could not say itself what went wrong: its circumstances may have been to blame."""
ATTEMPTS = 3
LEAST_LIMIT, SLACK, UNKNOWN_LIMIT = 600.0, 20.0, 86_400.0


@dataclass(frozen=True)
class Limits:
    """What a job may take before it is ended.

    Attributes:
        seconds: For every job; unless said, the suite's limit, or what `time_limit` makes of its estimate.
        memory_bytes: Of all its processes together.
    """

    seconds: float | None = None
    memory_bytes: float | None = None


UNLIMITED = Limits()


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


def execute(
    plan: Plan,
    executor: Executor,
    workers: int,
    display: Display,
    limits: Limits = UNLIMITED,
    leave_record: Callable[[dict[str, Any], str], str] = lambda job, error: error,
) -> Summary:
    """Run every job of a plan.

    A job waits for the jobs that it needs; of those that wait for nothing the longest goes first, so that no core waits
    for the last one alone. One that died, took too long or ran out of memory is tried up to three times. One whose need
    failed still runs: it makes what is missing itself, or leaves a record of the failure. But where a training died
    each time, its runs fail with it.

    Args:
        plan: The jobs.
        executor: Where they run.
        workers: How many at once; no more are handed out, unless the executor has more by now.
        display: Told of starts and ends.
        limits: Of time and memory, handed on to the executor with each job.
        leave_record: Given a job that could not leave one itself, and the error; returns the error, with what kept
            the record from being written if something did.

    Raises:
        PlaceError: If the store or the results cannot be written any more; jobs that run are ended.
        KeyboardInterrupt: After Ctrl-C, once the running jobs are finished; after the second one, or SIGTERM, at once.
    """
    run = _Run(plan, executor, workers, display, limits, leave_record)
    start = time.perf_counter()
    with display.showing(plan, executor), run.heeding_signals():
        try:
            run.hand_out()
            for job, result in executor.completed():
                if result["status"] == "stopped":
                    raise PlaceError(result["error"])
                run.take_back(job, result)
                run.hand_out()
            if run.stopping and len(run.finished) < len(plan.jobs):
                raise KeyboardInterrupt
        except BaseException:
            run.ending = True
            executor.cancel()
            raise
    run.summary.seconds = time.perf_counter() - start
    return run.summary


def in_words(job: Mapping[str, Any]) -> str:
    """`digits-supervised-random, fine_tune, seed 0`."""
    run = job["run"]
    seed = "all seeds" if job["kind"] == "population" else f"seed {run['seed']}"
    return f"{run['task']['name']}, {job['role']}, {seed}"


def time_limit(estimate: float | None) -> float:
    """Seconds that a job may take: twenty times its estimate, at least ten minutes; a day if there is none."""
    return UNKNOWN_LIMIT if estimate is None else max(LEAST_LIMIT, SLACK * estimate)


class _Run:
    """Where a plan stands."""

    def __init__(
        self,
        plan: Plan,
        executor: Executor,
        workers: int,
        display: Display,
        limits: Limits,
        leave_record: Callable[[dict[str, Any], str], str],
    ) -> None:
        self.plan, self.executor, self.workers, self.display = plan, executor, workers, display
        self.limits, self.leave_record = limits, leave_record
        self.summary = Summary(workers=workers)
        self.finished: set[str] = set()
        self.stopping = self.ending = False
        self._missing = {key: set(job["needs"]) & plan.jobs.keys() for key, job in plan.jobs.items()}
        self._needed_by: dict[str, list[str]] = {}
        for key, needs in self._missing.items():
            for need in needs:
                self._needed_by.setdefault(need, []).append(key)
        self._ready: list[tuple[float, int, str]] = []  # heaps: longest first, then in the order in which they came
        self._ready_for_alone: list[tuple[float, int, str]] = []
        self._came = 0
        self._out: set[str] = set()
        self._errors: dict[str, list[str]] = {}  # of a job's attempts so far
        self._lost: dict[str, str] = {}  # trainings that died each time -> error
        for key, needs in self._missing.items():
            if not needs:
                self._is_ready(key)

    def hand_out(self) -> None:
        """Submit what can start now. A job that is to have the machine alone waits until nothing else could run."""
        workers = max(self.workers, self.executor.workers)  # a cluster may have grown
        while not self.stopping and len(self._out) < workers:
            if self._ready and not any(self._runs_alone(key) for key in self._out):
                key = heapq.heappop(self._ready)[-1]
            elif self._ready_for_alone and not self._out:
                key = heapq.heappop(self._ready_for_alone)[-1]
            else:
                return
            self._out.add(key)
            self.executor.submit(self.plan.jobs[key] | self._terms(key))

    def take_back(self, job: dict[str, Any], result: dict[str, Any]) -> None:
        """A job ended: it is done, or it is tried again."""
        key = job["key"]
        self._out.discard(key)
        if result["status"] not in UNSAID:
            if self._errors.get(key):
                before = _last_line(self._errors[key][-1])
                self.summary.notes.append(f"{in_words(job)}: done at attempt {job['attempt']}; before: {before}")
            self._finish(job, result)
            return
        self._errors.setdefault(key, []).append(result["error"])
        if len(self._errors[key]) < ATTEMPTS:
            self._is_ready(key)
            return
        error = f"{result['error'].rstrip().rstrip('.')}, tried {ATTEMPTS} times."
        if job["kind"] == "train":
            self._lost[key] = error
        self._finish(job, result | {"error": self.leave_record(job, error)})

    @contextmanager
    def heeding_signals(self) -> Iterator[None]:
        """Ctrl-C once: start nothing more; twice, or SIGTERM: stop. A process that ignores Ctrl-C goes on doing so."""
        if threading.current_thread() is not threading.main_thread():  # only that one may
            yield
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        heeded = [number for number, reaction in before.items() if reaction not in (signal.SIG_IGN, None)]
        for number in heeded:
            signal.signal(number, self._signalled)
        try:
            yield
        finally:
            for number in heeded:
                signal.signal(number, before[number])

    def _signalled(self, number: int, _frame: object) -> None:
        if self.ending:
            return
        if self.stopping or number == signal.SIGTERM:
            self.ending = True
            raise KeyboardInterrupt
        self.stopping = True
        count = len(self.executor.running())
        jobs = "1 running job" if count == 1 else f"{count} running jobs"
        words = f"finishing {jobs}; Ctrl-C again ends {'it' if count == 1 else 'them'}."
        threading.Thread(target=self.display.say, args=[words]).start()  # this one may be in the midst of printing

    def _is_ready(self, key: str) -> None:
        heap = self._ready_for_alone if self._runs_alone(key) else self._ready
        self._came += 1
        heapq.heappush(heap, (-self.plan.estimates.get(key, 0.0), self._came, key))

    def _runs_alone(self, key: str) -> bool:
        return self.plan.exclusive and self.plan.jobs[key]["kind"] == "run"

    def _terms(self, key: str) -> dict[str, Any]:
        """What a job is told of its circumstances."""
        seconds = self.limits.seconds or self.plan.time_limit or time_limit(self.plan.estimates.get(key))
        return {
            "attempt": len(self._errors.get(key, [])) + 1,
            "exclusive": self._runs_alone(key) or self.workers == 1,
            "time_limit": seconds,
            "memory_limit": self.limits.memory_bytes,
        }

    def _finish(self, job: dict[str, Any], result: Mapping[str, Any]) -> None:
        self.finished.add(job["key"])
        _account(self.summary, job, result)
        self.display.finished(job, result)
        for key in self._needed_by.get(job["key"], []):
            self._missing[key].discard(job["key"])
            if not self._missing[key]:
                self._release(key)

    def _release(self, key: str) -> None:
        """All that a job needs has ended."""
        job = self.plan.jobs[key]
        lost = [need for need in job["needs"] if need in self._lost]
        if not lost or job["kind"] != "run":
            self._is_ready(key)
            return
        need = lost[0]
        error = f"{in_words(self.plan.jobs[need])}, which it needs, failed: {_last_line(self._lost[need])}"
        error = self.leave_record(job, error)
        self._finish(job, {"status": "failed", "error": error, "seconds": {}, "notes": []})


def _last_line(error: str) -> str:
    return error.strip().splitlines()[-1]


def _account(summary: Summary, job: Mapping[str, Any], result: Mapping[str, Any]) -> None:
    summary.done += 1
    summary.notes += [f"{in_words(job)}: {note}" for note in result["notes"]]
    for stage in RESULT_STAGES:
        summary.work_seconds[stage] = summary.work_seconds.get(stage, 0.0) + result["seconds"].get(stage, 0.0)
    if result["status"] in ("failed", *UNSAID):
        summary.failed.append((in_words(job), result["error"] or ""))
