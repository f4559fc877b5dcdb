"""Ctrl-C lets what runs finish, a second one ends it, and either way the same command goes on from there."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from benchmark.store import Records
from tests import tiny

ROOT = Path(__file__).parents[1]
PATIENCE = 240.0
"""Seconds that a test waits for another process before it fails."""
HOW_TO_GO_ON = "interrupted; type the same command again to go on from here.\n"
WAITS = """import os, time
        from pathlib import Path
        Path({folder!r}, "began").write_text(f"{{os.getpid()}}\\n")
        end = time.monotonic() + {patience}
        while not Path({folder!r}, "go").exists() and time.monotonic() < end:
            time.sleep(0.02)"""


class Command:
    """`python -m benchmark run` of the tiny suite with a method that waits for the file `go`, in a group of its own."""

    def __init__(self, folder: Path, executor: str) -> None:
        self.folder = folder
        plugin = tiny.plugin(folder, "waits", WAITS.format(folder=str(folder), patience=PATIENCE))
        suite = tiny.suite_file(folder, {"methods": ["waits", "no_op"], "seeds": 2})
        words = ["run", "--all", f"--suite={suite}", f"--plugin={plugin}", "--jobs=1", f"--executor={executor}"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmark", *words, *tiny.places(folder)],
            cwd=ROOT,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def signalled(self, how: signal.Signals) -> None:
        """As a terminal does: all of its group."""
        os.killpg(self.process.pid, how)

    def finishing(self) -> None:
        """Interrupt it while the method runs, and wait until it says what it does."""
        until((self.folder / "began").exists)
        self.signalled(signal.SIGINT)
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("finishing"):
                assert line == "finishing 1 running job; Ctrl-C again ends it.\n"
                return
        pytest.fail("it said nothing")

    def ended(self) -> tuple[int, str]:
        """Its exit code and what it said on standard error."""
        _, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, err

    @property
    def tree(self) -> list[psutil.Process]:
        one = psutil.Process(self.process.pid)
        return [one, *one.children(recursive=True)]


def until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def methods(folder: Path) -> list[str]:
    return sorted(record.run.method for record in Records(folder / "results").read())


@pytest.fixture
def command(tmp_path) -> Iterator[Callable[[str], Command]]:
    made: list[Command] = []

    def start(executor: str) -> Command:
        made.append(Command(tmp_path, executor))
        return made[-1]

    yield start
    for one in made:
        if one.process.poll() is None:
            for process in one.tree:
                process.kill()
        one.process.communicate()


@pytest.mark.parametrize("executor", ["local", pytest.param("serial", marks=pytest.mark.slow)])
def test_once_lets_the_running_job_finish_and_the_same_command_does_the_rest(command, tmp_path, executor):
    first = command(executor)
    first.finishing()
    (tmp_path / "go").touch()
    assert first.ended() == (130, HOW_TO_GO_ON)
    assert methods(tmp_path).count("waits") == 1 and len(methods(tmp_path)) < 4
    assert command(executor).ended()[0] == 0
    assert methods(tmp_path) == ["no_op"] * 2 + ["waits"] * 2


@pytest.mark.parametrize("executor", ["local", pytest.param("serial", marks=pytest.mark.slow)])
@pytest.mark.parametrize("how", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_twice_or_a_termination_ends_it_at_once(command, tmp_path, executor, how):
    first = command(executor)
    if how is signal.SIGINT:
        first.finishing()
    until((tmp_path / "began").exists)
    job = psutil.Process(int((tmp_path / "began").read_text()))
    tree = first.tree
    os.kill(first.process.pid, how)
    assert first.ended() == (130, HOW_TO_GO_ON)
    assert job not in alive([job]) and "waits" not in methods(tmp_path)
    until(lambda: alive(tree) == [])


def test_jobs_end_with_a_driver_that_is_killed(command, tmp_path):
    first = command("local")
    until((tmp_path / "began").exists)
    tree = first.tree
    first.process.kill()
    until(lambda: alive(tree) == [])
    assert len(tree) >= 4  # itself, the server, a guard, a job
    assert "waits" not in methods(tmp_path)
