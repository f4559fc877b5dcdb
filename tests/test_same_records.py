"""The quick suite says the same wherever its jobs run: in one process, in many, on two nodes, in shards."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from threadpoolctl import threadpool_limits

from benchmark import session
from benchmark.display import Display
from benchmark.runner import execute
from benchmark.specs import Record
from benchmark.store import Records
from tests import clusters, tiny

ROOT = Path(__file__).parents[1]
TASKS = ["digits-supervised-random", "digits-simclr-class"]
METHODS = ["retrain", "fine_tune", "gradient_constraint"]
SEEDS = 2
COUNTS = {"samples_seen", "flops", "device", "threads"}
"""What of a record's cost is the same every time; the rest are times, load and memory."""


def run(folder: Path, executor: str, jobs: int = 1, address: str | None = None) -> list[dict[str, Any]]:
    where = session.options(folder / "store", folder / "results", folder / "data", "cpu", fresh=False)
    work = session.plan("quick", where, TASKS, METHODS, SEEDS, None, None)
    machine = session.Machine(executor, jobs, address=address).start("cpu")
    assert execute(work, machine, machine.workers, Display()).failed == []
    return said(folder)


def in_shards(folder: Path, count: int) -> list[dict[str, Any]]:
    """All shards at once, each a command of its own."""
    words = [f"--task={task}" for task in TASKS] + [f"--method={method}" for method in METHODS]
    words += [f"--seeds={SEEDS}", "--jobs=1", "--quiet", *tiny.places(folder)]
    shards = [
        subprocess.Popen([sys.executable, "-m", "benchmark", "run", *words, f"--shard={index}/{count}"], cwd=ROOT)
        for index in range(count)
    ]
    assert [shard.wait() for shard in shards] == [0] * count
    return said(folder)


def said(folder: Path) -> list[dict[str, Any]]:
    """What the records say, but for times, dates, load and memory; keys are in it, so none can be missing or double."""
    return [_without_circumstances(record) for record in Records(folder / "results").read()]


def _without_circumstances(record: Record) -> dict[str, Any]:
    assert record.cost is not None
    cost = record.cost.model_dump(include=COUNTS)
    return {**tiny.said(record), "cost": cost, "provenance": record.provenance.model_dump(exclude={"date"})}


@pytest.mark.slow
def test_the_quick_suite_says_the_same_wherever_it_runs(tmp_path, monkeypatch):
    with tiny.own_process(monkeypatch):
        with threadpool_limits(2):  # as libraries are loaded, unless the environment says otherwise
            expected = run(tmp_path / "serial", "serial")
        assert len(expected) == SEEDS * (len(TASKS) * len(METHODS) + 1)  # and a placebo arm in one of the tasks
        assert run(tmp_path / "local", "local", jobs=2) == expected
        with clusters.head() as cluster, clusters.another_node(cluster):
            assert run(tmp_path / "ray", "ray", address=cluster.address) == expected
        assert in_shards(tmp_path / "shards", 2) == expected
