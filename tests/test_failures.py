"""What could not be done leaves a record; what another attempt may help does not count as done."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmark import jobs, session
from benchmark.specs import Record
from tests import tiny
from tests.tiny import Bench

SCARCE = {
    "python": "raise MemoryError",
    "numpy": "import numpy; numpy.ones(2**50)",
    "torch": "import torch; torch.empty(2**58)",
    "gpu": "import torch; raise torch.OutOfMemoryError('CUDA out of memory')",
}


@pytest.fixture(autouse=True)
def own_process(monkeypatch) -> Iterator[None]:
    with tiny.own_process(monkeypatch):
        yield


@pytest.fixture
def bench(tmp_path) -> Bench:
    """Its method does what the file `deed.py` beside it says, nothing unless there is one."""
    body = f"deed = __import__('pathlib').Path({str(tmp_path)!r}, 'deed.py')\n        " + (
        "exec(deed.read_text()) if deed.exists() else None"
    )
    session.registry.add_plugin(tiny.plugin(tmp_path, "theirs", body))
    return Bench(tmp_path, {"methods": ["theirs"]})


def does(bench: Bench, deed: str) -> None:
    (bench.folder / "deed.py").write_text(deed)


def job_of(bench: Bench, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = next(job for job in bench.plan().jobs.values() if job["kind"] == kind)
    return found


@pytest.mark.parametrize("where", SCARCE)
def test_want_of_memory_is_no_verdict_on_a_method(bench, where):
    does(bench, SCARCE[where])
    result = dict(bench.work())["tiny-random, theirs, seed 0"]
    assert result["status"] == "out_of_memory" and "deed" in result["error"]
    assert bench.records == [] and [job["kind"] for job in bench.plan().jobs.values()] == ["run"]


def test_want_of_memory_while_scoring_is_none_either(bench, monkeypatch):
    bench.work()
    monkeypatch.setattr(jobs, "_status", lambda *_, **__: (_ for _ in ()).throw(MemoryError))
    tiny.metric(bench.folder, "another")
    session.registry.add_plugin(bench.folder / "another.py")
    more = Bench(bench.folder, bench.changes | {"metrics": ["accuracy", "another"]})
    ((_, result),) = more.work()
    assert result["status"] == "out_of_memory" and result["error"].startswith("theirs: ")
    assert len(bench.records) == 1


def test_a_job_that_died_leaves_a_record_and_is_tried_again_by_the_next_command(bench):
    job = job_of(bench, "run")
    assert jobs.record_failure(job | {"attempt": 3}, "the worker died.") == "the worker died."
    (record,) = bench.records
    assert (record.status, record.error, record.metrics, record.cost) == ("failed", "the worker died.", {}, None)
    assert record.key == job["key"] and record.run.method == "theirs" and record.artefacts == job["keys"]
    assert job["key"] in bench.plan().jobs
    bench.work()
    assert [record.status for record in bench.records] == ["failed", "no_change"]
    assert bench.plan().jobs == {}


def test_a_fresh_run_that_died_is_tried_again_though_an_earlier_one_was_done(bench):
    bench.work()
    job = next(job for job in bench.plan(fresh=True).jobs.values() if job["kind"] == "run")
    jobs.record_failure(job, "the worker died.")
    assert [record.status for record in bench.records] == ["no_change", "failed"]
    assert [job["role"] for job in bench.plan().jobs.values()] == ["theirs"]


def test_training_that_died_leaves_no_record_of_its_own(bench):
    assert jobs.record_failure(job_of(bench, "train"), "the worker died.") == "the worker died."
    assert bench.records == []


def test_of_runs_that_are_scored_together_those_that_are_done_keep_their_record(tmp_path):
    two = Bench(tmp_path, {"methods": ["retrain", "no_op"]})
    two.work()
    tiny.metric(tmp_path, "another")
    session.registry.add_plugin(tmp_path / "another.py")
    more = Bench(tmp_path, two.changes | {"metrics": ["accuracy", "another"]})
    job = job_of(more, "score")
    first, second = job["batch"]
    jobs.run_job(job | {"batch": [first]})
    jobs.record_failure(job, "the worker died.")
    new = {record.key: record for record in more.records}
    assert new[first["key"]].status != "failed" and new[second["key"]].error == "the worker died."
    assert [entry["key"] for entry in job_of(more, "score")["batch"]] == [second["key"]]


def test_a_population_that_died_leaves_a_record_and_is_tried_again(tmp_path):
    session.registry.add_plugin(tiny.metric(tmp_path, "together", needs="seeds"))
    bench = Bench(tmp_path, {"methods": ["no_op"], "seeds": 2, "metrics": ["accuracy", "together"]})
    bench.work(without=["tiny-random, no_op, all seeds"])
    job = job_of(bench, "population")
    jobs.record_failure(job, "the worker died.")
    (record,) = bench.populations
    assert (record.status, record.error, record.key) == ("failed", "the worker died.", job["key"])
    assert list(bench.plan().jobs) == [job["key"]]


def test_what_keeps_a_record_from_being_left_is_said(bench):
    job = job_of(bench, "run")
    (bench.folder / "results" / "records" / "tiny-random").parent.mkdir(parents=True)
    (bench.folder / "results" / "records" / "tiny-random").write_text("in the way")
    error = jobs.record_failure(job, "the worker died.")
    assert error.startswith("the worker died.\nand no record could be left: ") and "cannot be written" in error


def test_a_child_that_a_method_forked_and_that_comes_back_leaves_no_record(bench):
    does(bench, "import os; child = os.fork(); child and os.waitpid(child, 0)")
    assert [result["status"] for _, result in bench.work()] == ["ok", "ok", "no_change"]
    assert len(bench.records) == 1


@pytest.mark.parametrize("exclusive", [False, True])
def test_a_record_says_how_often_it_was_tried_and_whether_it_was_let_run_alone(bench, exclusive):
    for job in bench.plan().jobs.values():
        assert jobs.run_job(json.loads(json.dumps(job | {"attempt": 2, "exclusive": exclusive})))["error"] is None
    (record,) = bench.records
    assert record.cost is not None and (record.cost.attempts, record.cost.exclusive) == (2, exclusive)


def test_records_from_before_attempts_were_counted_still_load(bench):
    bench.work()
    content = json.loads(next(Path(bench.folder / "results").rglob("*.json")).read_text())
    del content["cost"]["attempts"]
    old = Record.model_validate(content)
    assert old.cost is not None and old.cost.attempts == 1
