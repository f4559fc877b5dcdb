"""A run that is killed at any moment and started again ends with the records of one that nobody disturbed."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console

from benchmark import session
from benchmark.store import PopulationRecords, Records, Store
from tests import tiny

ROOT = Path(__file__).parents[1]
PATIENCE = 120.0
"""Seconds that a test waits for another process before it fails."""
CHANGES = {
    "seeds": 4,
    "tasks.0.recipe.epochs": 10,
    "tasks.0.methods.fine_tune.epochs": 10,
    "metrics": [*tiny.SUITE["metrics"], "together"],
}
KILLS = "UNLEARNING_BENCHMARK_KILLS"


@pytest.fixture(autouse=True)
def own_process(monkeypatch) -> Iterator[None]:
    with tiny.own_process(monkeypatch):
        yield


def finish(folder: Path) -> dict[str, dict[str, Any]]:
    """Run, in this process, whatever is still to do; run key -> what its record says."""
    where = session.options(folder / "store", folder / "results", folder / "data", "cpu", fresh=False)
    work = session.plan(str(tiny.suite_file(folder, CHANGES)), where, None, None, None, None, [plugin(folder)])
    assert not session.run(work, where, session.Machine("serial"), Console(file=StringIO()), quiet=True).failed
    return said(folder)


def said(folder: Path) -> dict[str, dict[str, Any]]:
    found = {record.key: tiny.said(record) for record in Records(folder / "results").read()}
    populations = PopulationRecords(folder / "results").read()
    what = {"seconds", "provenance"}
    return found | {population.key: population.model_dump(mode="json", exclude=what) for population in populations}


def plugin(folder: Path) -> Path:
    """A metric of all seeds, the same file for all."""
    return tiny.metric(folder.parent, "together", needs="seeds")


def start(folder: Path) -> "subprocess.Popen[str]":
    """`python -m benchmark run` in a process group of its own."""
    words = ["run", "--all", f"--suite={tiny.suite_file(folder, CHANGES)}", f"--plugin={plugin(folder)}", "--jobs=2"]
    command = [sys.executable, "-m", "benchmark", *words, *tiny.places(folder)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, start_new_session=True, preexec_fn=_heed_interrupts, **pipes)


def _heed_interrupts() -> None:
    """A shell lets what it starts in the background ignore them, and its children would inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def artefacts(folder: Path) -> int:
    """How many models, outputs and finished runs the store holds."""
    return len(Store(folder / "store").keys())


def disturb(folder: Path, how: signal.Signals, more: int, pause: float = 0.0) -> tuple[int, str, str]:
    """Start the run; once the store holds so many more artefacts, and a moment later, signal its whole tree."""
    wanted = artefacts(folder) + more
    run = start(folder)
    end = time.monotonic() + PATIENCE
    while artefacts(folder) < wanted and run.poll() is None:
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)
    time.sleep(pause)
    tree = [psutil.Process(run.pid), *psutil.Process(run.pid).children(recursive=True)] if run.poll() is None else []
    if tree:
        os.killpg(run.pid, how)
    out, err = run.communicate(timeout=PATIENCE)
    psutil.wait_procs(tree, timeout=10)
    return run.returncode, out, err


def check(folder: Path, expected: dict[str, dict[str, Any]]) -> None:
    """All records, equal in value, each once; nothing half-written; no worker left."""
    assert said(folder) == expected
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len([path for path in files if {"records", "populations"} & set(path.parts)]) == len(expected)
    assert [path for path in files if path.name.startswith(".")] == []
    assert not (folder / "store" / "quarantine").exists()
    store = Store(folder / "store")
    for record in Records(folder / "results").read():
        for role, key in record.artefacts.items():
            assert role == "dataset" or store.arrays(key) is not None or store.weights(key) is not None, role
    assert store.notes == []


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    """One for a run that nobody disturbs, one for the other."""
    for name in ("undisturbed", "disturbed"):
        (tmp_path / name).mkdir()
    return tmp_path / "undisturbed", tmp_path / "disturbed"


def test_a_run_that_is_interrupted_once_and_killed_three_times_ends_with_the_same_records(folders):
    undisturbed, disturbed = folders
    moments = random.Random(0)
    code, _, err = disturb(disturbed, signal.SIGINT, 1)  # first, while there is most to interrupt
    assert (code, err) == (130, "interrupted; type the same command again to go on from here.\n")
    for _ in range(3):
        code, _, _ = disturb(disturbed, signal.SIGKILL, moments.randint(0, 4), moments.uniform(0, 0.2))
        assert code == -signal.SIGKILL
    assert artefacts(disturbed) > 0
    before = said(disturbed)
    after = finish(disturbed)
    assert len(before) < len(after)
    check(disturbed, finish(undisturbed))


@pytest.mark.slow
def test_a_run_that_is_killed_many_times_ends_with_the_same_records(folders):
    undisturbed, disturbed = folders
    moments = random.Random(1)
    kills = int(os.environ.get(KILLS, "10"))
    for _ in range(kills):
        disturb(disturbed, signal.SIGKILL, moments.randint(0, 4), moments.uniform(0, 0.2))
    finish(disturbed)
    check(disturbed, finish(undisturbed))
