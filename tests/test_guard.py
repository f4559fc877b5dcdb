"""Whatever a job does, its guard says how it ended, and nothing of it is left."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmark.guard import KEPT, guard

PATIENCE = 60.0
"""Seconds that a test waits for another process before it fails."""
FORK = multiprocessing.get_context("fork")

Ask = Callable[..., dict[str, Any]]


class Guarded:
    """A guard, forked from this process, that does one kind of work."""

    def __init__(self, work: Callable[..., Any]) -> None:
        self.wire, theirs = FORK.Pipe()
        self.process = FORK.Process(target=self._guard, args=(self.wire, theirs, work))
        self.process.start()
        theirs.close()

    @staticmethod
    def _guard(ours: Connection, theirs: Connection, work: Callable[..., Any]) -> None:
        ours.close()  # as if it had not been forked from the driver
        guard(theirs, work)

    def send(self, **job: Any) -> None:
        self.wire.send_bytes(json.dumps(job).encode())

    def answer(self) -> dict[str, Any]:
        assert self.wire.poll(PATIENCE), "waited in vain"
        found: dict[str, Any] = json.loads(self.wire.recv_bytes())
        return found

    def ask(self, **job: Any) -> dict[str, Any]:
        self.send(**job)
        return self.answer()


@pytest.fixture
def guarded() -> Iterator[Callable[..., Guarded]]:
    made: list[Guarded] = []

    def make(work: Callable[..., Any]) -> Guarded:
        made.append(Guarded(work))
        return made[-1]

    yield make
    for one in made:
        one.wire.close()
        one.process.join(PATIENCE)
        assert not one.process.is_alive()


def until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def noted(path: Path) -> int:
    """The process id that a job wrote down."""
    until(lambda: path.exists() and path.read_text().endswith("\n"))
    return int(path.read_text())


def note(path: Path) -> None:
    path.write_text(f"{os.getpid()}\n")


def test_results_come_back_in_order_each_from_a_process_of_its_own(guarded):
    one = guarded(lambda job: {"double": 2 * job["number"], "process": os.getpid()})
    found = [one.ask(number=number) for number in range(3)]
    assert [answer["double"] for answer in found] == [0, 2, 4]
    assert len({answer["process"] for answer in found} | {os.getpid(), one.process.pid}) == 5


def test_what_a_job_changes_in_its_process_does_not_reach_the_next(guarded):
    def work(job):
        seen = {"folder": os.getcwd(), "variable": os.environ.get("SPOILT"), "path": sys.path[0]}
        os.chdir("/")
        os.environ["SPOILT"] = "1"
        sys.path.insert(0, "/spoilt")
        os.close(1)
        return seen

    one = guarded(work)
    clean = {"folder": os.getcwd(), "variable": None, "path": sys.path[0]}
    assert [one.ask(), one.ask()] == [clean, clean]


@pytest.mark.parametrize(
    ("misdeed", "words"),
    [
        (lambda: os._exit(3), "the worker died with exit code 3."),
        (lambda: os._exit(0), "the worker died with exit code 0."),
        (lambda: sys.exit(4), "the worker died with exit code 4."),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "the worker was killed by SIGKILL, as the system does"),
        (lambda: os.kill(os.getpid(), signal.SIGTERM), "the worker was killed by SIGTERM."),
        (lambda: os.kill(os.getpid(), signal.SIGRTMIN + 3), f"the worker was killed by signal {signal.SIGRTMIN + 3}."),
        (lambda: os.closerange(3, 1000), "the worker died with exit code 1."),
        (lambda: {1, 2}, "the worker died with exit code 1."),
    ],
)
def test_how_a_job_died_is_said_and_the_next_one_runs(guarded, misdeed, words):
    one = guarded(lambda job: misdeed() if job["bad"] else {"status": "ok"})
    found = one.ask(bad=True)
    assert found["status"] == "died" and found["error"].splitlines()[-1].startswith(words)
    assert one.ask(bad=False) == {"status": "ok"}


def test_the_last_words_of_a_job_that_dies_are_kept(guarded):
    def work(job):
        print("this is")
        print("the end", file=sys.stderr)
        os._exit(3)

    assert guarded(work).ask()["error"] == "this is\nthe end\nthe worker died with exit code 3."


def test_a_crash_says_where(guarded):
    error = guarded(lambda job: os.kill(os.getpid(), signal.SIGSEGV)).ask()["error"]
    assert "Segmentation fault" in error and error.endswith("\nthe worker was killed by SIGSEGV.")
    assert len(error) < KEPT + 100


def test_a_job_that_takes_too_long_is_ended_with_its_children(guarded, tmp_path):
    def work(job):
        if os.fork() == 0:
            note(tmp_path / "child")
        time.sleep(PATIENCE)

    found = guarded(work).ask(time_limit=0.5)
    assert (found["status"], found["error"]) == ("timeout", "the job took longer than 0.5 s.")
    assert gone(noted(tmp_path / "child"))


def test_a_job_that_takes_too_much_memory_is_ended(guarded):
    def leak(job):
        kept = []
        while True:
            kept.append(b"1" * 10**7)
            time.sleep(0.001)

    limit = psutil.Process().memory_info().rss + 2e8
    found = guarded(leak).ask(memory_limit=limit, time_limit=PATIENCE)
    assert found["status"] == "out_of_memory"
    assert found["error"] == f"the job took more than {limit / 1e9:g} GB of memory."


def test_the_memory_of_its_children_is_a_job_s(guarded):
    def work(job):
        if os.fork() == 0:
            kept = b"1" * limit
            time.sleep(PATIENCE + len(kept) % 2)
        time.sleep(PATIENCE)

    limit = psutil.Process().memory_info().rss + 10**8
    assert guarded(work).ask(memory_limit=limit, time_limit=PATIENCE)["status"] == "out_of_memory"


def test_printing_without_end_fills_nothing(guarded):
    one = guarded(lambda job: [print(number) for number in iter(int, 1)])
    one.send(time_limit=1.0)
    before = psutil.Process(one.process.pid).memory_info().rss
    found = one.answer()
    assert found["status"] == "timeout" and len(found["error"]) < KEPT + 100
    assert psutil.Process(one.process.pid).memory_info().rss < before + 2e7


def test_what_is_printed_by_a_job_that_ends_well_is_not_seen(guarded, capfd):
    def work(job):
        print("out")
        print("err", file=sys.stderr)
        subprocess.run(["echo", "child"], check=True)
        return {"status": "ok"}

    assert guarded(work).ask() == {"status": "ok"}
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("dies", [False, True])
def test_what_a_job_forked_and_left_ends_with_it(guarded, tmp_path, dies):
    """In a session of its own, its parent gone, every pipe inherited."""

    def work(job):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                note(tmp_path / "orphan")
                time.sleep(PATIENCE)
            os._exit(0)
        until((tmp_path / "orphan").exists)
        return os._exit(3) if dies else {"status": "ok"}

    assert guarded(work).ask()["status"] == ("died" if dies else "ok")
    assert gone(noted(tmp_path / "orphan"))


def test_a_child_that_comes_back_from_the_job_says_nothing(guarded):
    def work(job):
        child = os.fork()
        if child:
            os.waitpid(child, 0)
        return {"parent": bool(child)}

    one = guarded(work)
    assert [one.ask(), one.ask()] == [{"parent": True}] * 2


def sleeps(path: Path) -> Callable[..., Any]:
    def work(job):
        note(path)
        time.sleep(PATIENCE)

    return work


def end_driver(one: Guarded) -> None:
    one.wire.close()


def terminate(one: Guarded) -> None:
    one.process.terminate()


def kill(one: Guarded) -> None:
    one.process.kill()


@pytest.mark.parametrize("how", [end_driver, terminate, kill])
def test_a_job_ends_with_its_guard_and_the_guard_with_the_driver(guarded, tmp_path, how):
    one = guarded(sleeps(tmp_path / "job"))
    one.send()
    job = noted(tmp_path / "job")
    how(one)
    until(lambda: gone(job) and gone(one.process.pid))


def test_an_interruption_reaches_neither_guard_nor_job(guarded, tmp_path):
    def work(job):
        note(tmp_path / "job")
        until((tmp_path / "go").exists)
        return {"status": "ok"}

    one = guarded(work)
    one.send()
    for pid in (one.process.pid, noted(tmp_path / "job")):
        os.kill(pid, signal.SIGINT)
    (tmp_path / "go").touch()
    assert one.answer() == {"status": "ok"}
