"""Where jobs run makes no difference to what they find, and a job that misbehaves hurts nobody but itself."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from benchmark import registry, session
from benchmark.display import Display
from benchmark.jobs import record_failure, run_job
from benchmark.plan import Plan
from benchmark.provenance import anonymous
from benchmark.runner import UNLIMITED, Limits, Summary, execute, in_words
from benchmark.specs import Record
from benchmark.store import Records
from tests import tiny

PATIENCE = 60.0
"""Seconds that a test waits for another process before it fails."""


@pytest.fixture(autouse=True)
def own_process(monkeypatch) -> Iterator[None]:
    with tiny.own_process(monkeypatch):
        yield


def planned(folder: Path, changes: dict[str, Any], plugins: list[Path]) -> Plan:
    where = session.options(folder / "store", folder / "results", folder / "data", "cpu", fresh=False)
    return session.plan(str(tiny.suite_file(folder, changes)), where, None, None, None, None, plugins)


def run(
    folder: Path,
    executor: str,
    changes: dict[str, Any] | None = None,
    plugins: list[Path] | None = None,
    limits: Limits = UNLIMITED,
) -> tuple[Summary, dict[str, Record]]:
    """Run the tiny suite; method name -> record."""
    work = planned(folder, changes or {}, plugins or [])
    start = registry.get("executor", executor).target
    summary = execute(work, start(workers=2), 2, Display(), limits, record_failure)
    return summary, {record.run.method: record for record in Records(folder / "results").read()}


def until(happened: Callable[[], bool]) -> None:
    """Wait for what another process does."""
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> dict[str, dict[str, Any]]:
    """What the serial executor finds."""
    summary, records = run(tmp_path_factory.mktemp("serial"), "serial")
    assert summary.failed == [] and summary.done == 5
    return {method: tiny.said(record) for method, record in records.items()}


MISDEEDS = {
    "dies": "import os; os._exit(3)",
    "killed": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "leaves": "raise SystemExit(0)",
    "raises": "raise RuntimeError('broken on purpose')",
    "spoils": "import os, random, torch; torch.set_default_dtype(torch.float64); torch.manual_seed(1); random.seed(1); "
    "torch.set_num_threads(2); torch.use_deterministic_algorithms(False); os.environ['OMP_NUM_THREADS'] = '7'; "
    "os.chdir('/')",
    "scarce": "raise MemoryError",
    "prints": "print('x' * 10**8)",
    "forks": """import os, time
        if os.fork() == 0:
            os.setsid()
            time.sleep(600)""",
}


def test_local_finds_what_serial_finds_and_misbehaving_jobs_hurt_only_themselves(tmp_path, expected, capfd):
    plugins = [tiny.plugin(tmp_path, name, body) for name, body in MISDEEDS.items()]
    methods = [
        "spoils",
        "dies",
        "prints",
        "retrain",
        "leaves",
        "forks",
        "raises",
        "no_op",
        "killed",
        "fine_tune",
        "scarce",
    ]
    summary, records = run(tmp_path, "local", {"methods": methods}, plugins)

    assert summary.done == 2 + len(methods)
    assert len("".join(capfd.readouterr())) < 10_000
    assert {method: tiny.said(records[method]) for method in expected} == expected
    failed = dict(summary.failed)
    bad = ("dies", "killed", "leaves", "raises", "scarce")
    assert failed.keys() == {f"tiny-random, {method}, seed 0" for method in bad}
    assert all(records[method].status == "no_change" for method in ("spoils", "prints", "forks"))
    assert failed["tiny-random, dies, seed 0"] == "the worker died with exit code 3, tried 3 times."
    assert failed["tiny-random, killed, seed 0"].startswith("the worker was killed by SIGKILL, as ")
    assert records["raises"].status == "failed" and "broken on purpose" in records["raises"].error
    assert "Traceback" in records["raises"].error and records["raises"].metrics == {}
    assert records["scarce"].error.endswith("MemoryError, tried 3 times.")
    for method in ("dies", "killed", "scarce"):
        assert records[method].status == "failed" and records[method].cost is None
        assert records[method].error == anonymous(failed[f"tiny-random, {method}, seed 0"])

    again = planned(tmp_path, {"methods": methods}, plugins)
    assert [job["kind"] for job in again.jobs.values()] == ["run"] * 3
    assert {job["role"] for job in again.jobs.values()} == {"dies", "killed", "scarce"}


def test_a_method_that_exits_has_failed_like_one_that_raises(tmp_path):
    _, records = run(tmp_path, "local", {"methods": ["leaves"]}, [tiny.plugin(tmp_path, "leaves", MISDEEDS["leaves"])])
    assert records["leaves"].status == "failed"


@pytest.mark.parametrize("exclusive", [False, True])
def test_records_say_whether_the_suite_had_them_run_alone(tmp_path, exclusive):
    _, records = run(tmp_path, "serial", {"methods": ["retrain", "no_op"], "exclusive": exclusive})
    assert [record.cost.exclusive for record in records.values()] == [exclusive] * 2


def test_each_job_has_a_process_of_its_own_with_one_thread(tmp_path):
    body = "import os, torch; raise RuntimeError(f'{os.getpid()} {torch.get_num_threads()} {os.environ[\"{0}\"]}')"
    body = body.replace("{0}", "OMP_NUM_THREADS")
    plugins = [tiny.plugin(tmp_path, name, body) for name in ("first", "second")]
    _, records = run(tmp_path, "local", {"methods": ["first", "second"]}, plugins)
    said = [record.error.strip().splitlines()[-1].split()[1:] for record in records.values()]
    assert [threads for _, *threads in said] == [["1", "1"]] * 2
    assert len({process for process, *_ in said} | {str(os.getpid())}) == 3


def test_arithmetic_has_as_many_threads_as_the_job_in_whatever_process_it_runs(tmp_path, monkeypatch):
    job = next(iter(planned(tmp_path, {"methods": ["no_op"]}, []).jobs.values()))
    with tiny.own_process(monkeypatch), threadpool_limits(2):
        run_job(job)
        assert {pool["user_api"]: pool["num_threads"] for pool in threadpool_info()} == {"blas": 1, "openmp": 1}


WAITS = """import time
        from pathlib import Path
        Path({folder!r}, "began").touch()
        end = time.monotonic() + {patience}
        while not Path({folder!r}, "go").exists() and time.monotonic() < end:
            time.sleep(0.02)"""


def waiting_job(folder: Path) -> dict[str, Any]:
    """A job that ends when the file `go` appears."""
    path = tiny.plugin(folder, "waits", WAITS.format(folder=str(folder), patience=PATIENCE))
    work = planned(folder, {"methods": ["waits"]}, [path])
    return next(job for job in work.jobs.values() if job["kind"] == "run")


def test_running_lists_the_jobs_that_run_and_not_those_that_wait(tmp_path):
    executor = registry.get("executor", "local").target(workers=1)
    job = waiting_job(tmp_path)
    executor.submit(job)
    executor.submit(job | {"key": "0" * 64})
    until((tmp_path / "began").exists)
    assert executor.running() == [job]
    (tmp_path / "go").touch()
    assert [result["status"] for _, result in executor.completed()] == ["no_change"] * 2
    assert executor.running() == []


def test_cancelling_stops_what_runs_and_drops_what_waits(tmp_path):
    executor = registry.get("executor", "local").target(workers=1)
    job = waiting_job(tmp_path)
    executor.submit(job)
    executor.submit(job)
    until((tmp_path / "began").exists)
    executor.cancel()
    assert executor.running() == [] and list(executor.completed()) == []
    assert Records(tmp_path / "results").keys() == set()
    workers = [p for p in psutil.Process().children(recursive=True) if p.ppid() != os.getpid()]
    assert all(worker.status() == psutil.STATUS_ZOMBIE for worker in workers if worker.is_running())


@pytest.mark.parametrize("up", [0, 1, pytest.param(2, marks=pytest.mark.slow)], ids=["job", "guard", "server"])
def test_a_process_that_is_killed_from_outside_is_replaced_and_nobody_can_tell(tmp_path, expected, up):
    """The job at its first attempt, or its guard, or the server that both are forked from."""
    plugin = tiny.plugin(tmp_path, "kills", KILLS.format(folder=str(tmp_path), up=up))
    summary, records = run(tmp_path, "local", {"methods": ["kills", *expected]}, [plugin])
    assert summary.failed == []
    assert {method: tiny.said(records[method]) for method in expected} == expected
    assert records["kills"].status == "no_change"
    attempts = {method: record.cost.attempts for method, record in records.items()}
    assert attempts.pop("kills") == (2 if up < 2 else 1) and set(attempts.values()) == {1}
    assert len(summary.notes) == (1 if up < 2 else 0)


KILLS = """import os, psutil, signal, time
        from pathlib import Path
        marker = Path({folder!r}, "killed")
        if not marker.exists():
            marker.touch()
            [psutil.Process(), *psutil.Process().parents()][{up}].kill()
            time.sleep(60 if {up} < 2 else 0.2)"""


@pytest.mark.parametrize(
    ("body", "limits", "error"),
    [
        ("import time; time.sleep(600)", Limits(seconds=1.5), "took longer than 1.5 s"),
        ("kept = [b'1' * 10**7 for _ in range(10**6)]", Limits(memory_bytes=2e9), "took more than 2 GB of memory"),
    ],
    ids=["hangs", "leaks"],
)
def test_a_job_that_takes_more_than_it_may_is_recorded_as_failed(tmp_path, body, limits, error):
    run(tmp_path, "serial", {"methods": ["no_op"]})  # trains, for which there is no hurry
    plugin = tiny.plugin(tmp_path, "greedy", body)
    summary, records = run(tmp_path, "local", {"methods": ["no_op", "greedy"]}, [plugin], limits)
    assert summary.done == 1
    assert summary.failed == [("tiny-random, greedy, seed 0", f"the job {error}, tried 3 times.")]
    assert (records["greedy"].status, records["greedy"].error) == ("failed", summary.failed[0][1])


def test_serial_drops_what_waits_when_it_is_cancelled(tmp_path):
    executor = registry.get("executor", "serial").target()
    executor.submit({"key": "x"})
    executor.cancel()
    assert list(executor.completed()) == [] and executor.running() == []


# -- handing out -------------------------------------------------------------------------------------------


class Pretended:
    """Takes the jobs in the order in which they come and says what it is told to say."""

    workers = 1

    def __init__(self, statuses: dict[str, str] | None = None) -> None:
        self.statuses = statuses or {}
        self.waiting: list[dict[str, Any]] = []
        self.began: list[str] = []
        self.cancelled = False

    def submit(self, job: dict[str, Any]) -> None:
        self.waiting.append(job)

    def completed(self) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        while self.waiting:
            job = self.waiting.pop(0)
            self.began.append(job["key"])
            status = self.statuses.get(job["key"], "ok")
            error = "it broke." if status in ("failed", "died") else None
            yield job, {"status": status, "error": error, "seconds": {"train": 2.0, "load": 9.0}, "notes": ["mended"]}

    def running(self) -> list[dict[str, Any]]:
        return []

    def cancel(self) -> None:
        self.cancelled = True


def graph(needs: dict[str, list[str]], estimates: dict[str, float] | None = None) -> Plan:
    run = {"task": {"name": "t"}, "seed": 0}
    jobs = {key: {"key": key, "kind": "run", "role": key, "needs": need, "run": run} for key, need in needs.items()}
    return Plan("made-up", jobs=jobs, estimates=estimates or {})


def test_a_job_waits_for_all_that_it_needs():
    executor = Pretended()
    execute(graph({"c": ["a", "b"], "d": ["c"], "a": [], "b": [], "e": ["elsewhere"]}), executor, 1, Display())
    assert executor.began == ["a", "b", "e", "c", "d"]


def test_the_longest_of_those_that_can_start_comes_first():
    executor = Pretended()
    plan = graph({"short": [], "long": [], "unknown": [], "after": ["long"]}, {"short": 1.0, "long": 9.0})
    execute(plan, executor, 1, Display())
    assert executor.began == ["long", "short", "unknown", "after"]


@pytest.mark.parametrize("status", ["failed", "died"])
def test_a_job_whose_need_failed_still_runs_and_the_failure_is_said(status):
    executor = Pretended({"a": status})
    summary = execute(graph({"a": [], "b": ["a"]}), executor, 1, Display())
    assert executor.began == (["a", "b"] if status == "failed" else ["a", "a", "a", "b"])
    assert summary.failed == [("t, a, seed 0", "it broke." if status == "failed" else "it broke, tried 3 times.")]
    assert summary.notes == ["t, a, seed 0: mended", "t, b, seed 0: mended"]


@pytest.mark.parametrize("status", ["ok", "collapsed", "no_change", "diverged"])
def test_a_bad_result_is_no_failure(status):
    assert execute(graph({"a": []}), Pretended({"a": status}), 1, Display()).failed == []


def test_a_population_waits_for_the_runs_of_all_seeds_and_is_named_without_one():
    plan = graph({"all": ["a", "b"], "a": [], "b": []})
    plan.jobs["all"] |= {"kind": "population", "role": "no_op"}
    executor = Pretended({"a": "failed", "all": "failed"})
    summary = execute(plan, executor, 1, Display())
    assert executor.began == ["a", "b", "all"]
    assert [job for job, _ in summary.failed] == ["t, a, seed 0", "t, no_op, all seeds"]


def test_only_work_counts_as_work():
    summary = execute(graph({"a": [], "b": []}), Pretended(), 1, Display())
    assert summary.work_seconds == {"train": 4.0, "unlearn": 0.0, "count": 0.0, "observe": 0.0, "score": 0.0}
    assert Summary(seconds=10.0, workers=2, work_seconds={"train": 15.0}).harness_share == pytest.approx(0.25)
    assert Summary().harness_share == 0.0


@pytest.mark.parametrize("problem", [KeyboardInterrupt, BrokenPipeError])
def test_whatever_interrupts_cancels_the_rest(problem):
    class Interrupted(Display):
        def finished(self, job, result):
            raise problem

    executor = Pretended()
    with pytest.raises(problem):
        execute(graph({"a": [], "b": []}), executor, 1, Interrupted())
    assert executor.cancelled and executor.began == ["a"]


def test_handing_out_ten_thousand_jobs_takes_no_time():
    plan = graph({"shared": [], **{str(number): ["shared"] for number in range(10_000)}})
    start = time.perf_counter()
    assert execute(plan, Pretended(), 1, Display()).done == 10_001
    assert time.perf_counter() - start < 5
    assert in_words(plan.jobs["7"]) == "t, 7, seed 0"
