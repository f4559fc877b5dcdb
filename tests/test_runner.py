"""What is tried again, what runs alone, and what Ctrl-C does, whoever the executor is."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from benchmark.display import Display
from benchmark.plan import Plan
from benchmark.runner import UNSAID, Limits, Summary, execute, time_limit


class Scripted:
    """Runs so many jobs at once in the order in which they come, and says of each attempt what it is told to say."""

    def __init__(self, script: dict[str, list[str]] | None = None, workers: int = 1) -> None:
        self.script, self.workers = script or {}, workers
        self.out: list[dict[str, Any]] = []
        self.began: list[dict[str, Any]] = []
        self.beside: list[set[str]] = []  # what ran when each of them began, itself among it
        self.cancelled = 0
        self.during: Callable[[dict[str, Any]], None] = lambda job: None

    def submit(self, job: dict[str, Any]) -> None:
        self.out.append(job)
        self.began.append(job)
        self.beside.append({job["key"] for job in self.out})

    def completed(self) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        while self.out:
            self.during(self.out[0])
            job = self.out.pop(0)
            said = self.script.get(job["key"], [])
            status = said[min(job["attempt"], len(said)) - 1] if said else "ok"
            error = f"line one\n{job['key']} {status}." if status in ("failed", *UNSAID) else None
            yield job, {"status": status, "error": error, "seconds": {}, "notes": []}

    def running(self) -> list[dict[str, Any]]:
        return self.out

    def cancel(self) -> None:
        self.cancelled += 1
        self.out.clear()

    @property
    def order(self) -> list[str]:
        return [job["key"] for job in self.began]


class Heard(Display):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.ended: list[tuple[str, str]] = []
        self.sentences: list[str] = []

    def finished(self, job, result):
        self.ended.append((job["key"], result["status"]))

    def say(self, sentence):
        self.sentences.append(sentence)


class Shelf:
    """Takes the records that jobs could not leave."""

    def __init__(self) -> None:
        self.left: dict[str, str] = {}

    def __call__(self, job: dict[str, Any], error: str) -> str:
        self.left[job["key"]] = error
        return error


def graph(*lines: str, **more: Any) -> Plan:
    """`"kind key: need need"` for each job."""
    jobs = {}
    for line in lines:
        head, _, needs = line.partition(":")
        kind, key = head.split()
        run = {"task": {"name": "t"}, "seed": 0}
        jobs[key] = {"key": key, "kind": kind, "role": key, "needs": needs.split(), "run": run}
    return Plan("made-up", jobs=jobs, **more)


# -- once more ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", UNSAID)
def test_what_died_hung_or_lacked_memory_is_tried_again(status):
    executor, shelf, display = Scripted({"a": [status, status, "ok"]}), Shelf(), Heard()
    summary = execute(graph("run a", "run b: a"), executor, 1, display, leave_record=shelf)
    assert executor.order == ["a", "a", "a", "b"]
    assert [job["attempt"] for job in executor.began] == [1, 2, 3, 1]
    assert display.ended == [("a", "ok"), ("b", "ok")] and summary.done == 2
    assert summary.failed == [] and shelf.left == {}
    assert summary.notes == [f"t, a, seed 0: done at attempt 3; before: a {status}."]


@pytest.mark.parametrize("status", UNSAID)
def test_after_three_attempts_it_has_failed_and_a_record_says_so(status):
    executor, shelf = Scripted({"a": [status]}), Shelf()
    summary = execute(graph("run a", "population all: a"), executor, 1, Display(), leave_record=shelf)
    assert executor.order == ["a", "a", "a", "all"]
    assert shelf.left == {"a": f"line one\na {status}, tried 3 times."}
    assert summary.failed == [("t, a, seed 0", shelf.left["a"])] and summary.notes == []


@pytest.mark.parametrize("status", ["failed", "diverged", "collapsed", "no_change", "ok"])
def test_what_a_job_says_itself_is_final(status):
    executor, shelf = Scripted({"a": [status]}), Shelf()
    execute(graph("run a"), executor, 1, Display(), leave_record=shelf)
    assert executor.order == ["a"] and shelf.left == {}


def test_an_error_after_a_death_is_final():
    executor, shelf = Scripted({"a": ["died", "failed"]}), Shelf()
    summary = execute(graph("run a"), executor, 1, Display(), leave_record=shelf)
    assert executor.order == ["a", "a"] and shelf.left == {}
    assert summary.failed == [("t, a, seed 0", "line one\na failed.")]


def test_runs_whose_model_could_not_be_trained_fail_with_a_record_and_are_not_tried():
    executor, shelf, display = Scripted({"model": ["died", "timeout", "out_of_memory"]}), Shelf(), Heard()
    plan = graph("train model", "train other", "run a: model other", "run b: other", "population all: a b")
    summary = execute(plan, executor, 1, display, leave_record=shelf)
    assert executor.order == ["model", "other", "model", "b", "model", "all"]
    why = "t, model, seed 0, which it needs, failed: model out_of_memory, tried 3 times."
    assert shelf.left == {"model": "line one\nmodel out_of_memory, tried 3 times.", "a": why}
    assert ("a", "failed") in display.ended and summary.done == 5
    assert [job for job, _ in summary.failed] == ["t, model, seed 0", "t, a, seed 0"]


def test_runs_whose_model_failed_with_an_error_leave_the_record_themselves():
    executor, shelf = Scripted({"model": ["failed"]}), Shelf()
    execute(graph("train model", "run a: model"), executor, 1, Display(), leave_record=shelf)
    assert executor.order == ["model", "a"] and shelf.left == {}


def test_what_kept_a_record_from_being_left_is_said():
    executor = Scripted({"a": ["died"]})
    summary = execute(graph("run a"), executor, 1, Display(), leave_record=lambda job, error: f"{error} And no disk.")
    assert summary.failed == [("t, a, seed 0", "line one\na died, tried 3 times. And no disk.")]


# -- terms -------------------------------------------------------------------------------------------------


def test_a_job_gets_twenty_times_its_estimate_at_least_ten_minutes_and_a_day_if_there_is_none():
    assert [time_limit(seconds) for seconds in (1.0, 30.0, 31.0, None)] == [600.0, 600.0, 620.0, 86_400.0]


@pytest.mark.parametrize(
    ("limits", "suite", "expected"),
    [
        (Limits(), None, [2000.0, 86_400.0]),
        (Limits(), 50.0, [50.0, 50.0]),
        (Limits(seconds=7.0, memory_bytes=1e9), 50.0, [7.0, 7.0]),
    ],
)
def test_the_command_s_limit_goes_before_the_suite_s_and_that_before_the_estimate_s(limits, suite, expected):
    executor = Scripted()
    plan = graph("run long", "run unknown", estimates={"long": 100.0}, time_limit=suite)
    execute(plan, executor, 1, Display(), limits)
    assert [job["time_limit"] for job in executor.began] == expected
    assert [job["memory_limit"] for job in executor.began] == [limits.memory_bytes] * 2


def test_no_more_jobs_are_out_than_there_are_workers_and_the_longest_of_all_that_wait_goes_next():
    executor = Scripted(workers=2)
    plan = graph("train a", "run b", "run c", "run long: a", estimates={"long": 9.0, "a": 8.0, "b": 2.0, "c": 1.0})
    execute(plan, executor, 2, Display())
    assert executor.order == ["a", "b", "long", "c"]
    assert all(len(beside) <= 2 for beside in executor.beside)


def test_an_executor_that_has_grown_meanwhile_is_given_more():
    executor = Scripted()
    executor.during = lambda job: setattr(executor, "workers", 3)
    execute(graph("run a", "run b", "run c", "run d", "run e"), executor, 1, Display())
    assert list(map(len, executor.beside)) == [1, 1, 2, 3, 3]


# -- alone -------------------------------------------------------------------------------------------------


def test_with_an_exclusive_suite_runs_are_alone_and_the_rest_shares():
    executor = Scripted({"a": ["died", "ok"]}, workers=3)
    plan = graph("train m", "train n", "run a: m", "run b: m", "run c: n", "population all: a", exclusive=True)
    execute(plan, executor, 3, Display())
    beside = dict(zip(executor.order, executor.beside, strict=True))
    assert beside["n"] == {"m", "n"}
    assert all(beside[run] == {run} for run in "abc") and executor.order.count("a") == 2
    assert {job["key"] for job in executor.began if job["exclusive"]} == set("abc")


def test_one_worker_alone_is_alone_and_two_are_not():
    for workers in (1, 2):
        executor = Scripted(workers=workers)
        execute(graph("run a", "run b"), executor, workers, Display())
        assert [job["exclusive"] for job in executor.began] == [workers == 1] * 2


# -- interrupted -------------------------------------------------------------------------------------------


def interrupted(
    executor: Scripted, *signals: signal.Signals, display: Heard | None = None
) -> tuple[Heard, type[BaseException] | None]:
    """Send these to this process while the first job runs; what was said and raised."""
    display, waiting = display or Heard(), list(signals)

    def during(job: dict[str, Any]) -> None:
        while waiting:
            os.kill(os.getpid(), waiting.pop(0))

    executor.during = during
    try:
        execute(graph("run a", "run b", "run c"), executor, executor.workers, display)
    except KeyboardInterrupt as problem:
        return display, type(problem)
    return display, None


@pytest.fixture(autouse=True)
def heeding() -> Iterator[None]:
    """As at a terminal, whoever started the tests; and afterwards as before."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    termination = signal.getsignal(signal.SIGTERM)  # Ray leaves a handler of its own
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is termination
    signal.signal(signal.SIGINT, before)


def spoken(display: Heard) -> list[str]:
    end = time.monotonic() + 10
    while not display.sentences and time.monotonic() < end:
        time.sleep(0.01)
    return display.sentences


@pytest.mark.parametrize(
    ("workers", "sentence"),
    [
        (1, "finishing 1 running job; Ctrl-C again ends it."),
        (2, "finishing 2 running jobs; Ctrl-C again ends them."),
    ],
)
def test_the_first_interruption_lets_running_jobs_finish_and_starts_no_other(workers, sentence):
    executor = Scripted(workers=workers)
    display, raised = interrupted(executor, signal.SIGINT)
    assert raised is KeyboardInterrupt
    assert [key for key, _ in display.ended] == executor.order == ["a", "b"][:workers]
    assert spoken(display) == [sentence]


@pytest.mark.parametrize("signals", [[signal.SIGINT, signal.SIGINT], [signal.SIGTERM], [signal.SIGINT, signal.SIGTERM]])
def test_the_second_interruption_and_a_termination_end_them(signals):
    executor = Scripted(workers=2)
    display, raised = interrupted(executor, *signals)
    assert raised is KeyboardInterrupt
    assert executor.cancelled == 1 and display.ended == []


def test_more_signals_do_not_disturb_the_end():
    class Slow(Scripted):
        def cancel(self):
            os.kill(os.getpid(), signal.SIGINT)
            super().cancel()

    executor = Slow(workers=2)
    assert interrupted(executor, signal.SIGTERM)[1] is KeyboardInterrupt
    assert executor.cancelled == 1


def test_an_interruption_during_the_last_jobs_comes_too_late_to_matter():
    executor = Scripted(workers=3)
    display, raised = interrupted(executor, signal.SIGINT)
    assert raised is None and len(display.ended) == 3


def test_what_died_after_the_interruption_is_left_for_the_next_command():
    executor, shelf = Scripted({"a": ["died"]}), Shelf()
    executor.during = lambda job: os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        execute(graph("run a"), executor, 1, Heard(), leave_record=shelf)
    assert executor.order == ["a"] and shelf.left == {}


def test_a_command_that_was_started_to_ignore_interruptions_does():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    executor = Scripted()
    display, raised = interrupted(executor, signal.SIGINT, signal.SIGINT)
    assert raised is None and executor.order == ["a", "b", "c"] and display.sentences == []
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_elsewhere_than_in_the_main_thread_signals_are_left_alone():
    found: list[Summary] = []
    thread = threading.Thread(target=lambda: found.append(execute(graph("run a"), Scripted(), 1, Display())))
    thread.start()
    thread.join()
    assert found[0].done == 1
