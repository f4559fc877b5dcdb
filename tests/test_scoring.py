"""Numbers from stored outputs: computed once for each model, again only if their metric changed, and never with one."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark import models, registry
from benchmark.specs import Record
from benchmark.store import Store
from tests import tiny
from tests.tiny import Bench

METHODS = ["no_op", "fine_tune"]
CHANGES = {"seeds": 2, "methods": METHODS, "metrics": ["accuracy", "membership_inference", "first", "second"]}


@pytest.fixture(autouse=True)
def own_process(monkeypatch) -> Iterator[None]:
    with tiny.own_process(monkeypatch):
        yield


@pytest.fixture(scope="module")
def everything(tmp_path_factory) -> Path:
    """Where the suite is done with two metrics of somebody's, which log their calls."""
    folder = tmp_path_factory.mktemp("scored")
    with pytest.MonkeyPatch.context() as monkeypatch, tiny.own_process(monkeypatch):
        plugins(folder)
        results = Bench(folder, CHANGES).work()
    assert len(results) == 8 and not {"failed", "diverged"} & {result["status"] for _, result in results}
    (folder / "calls").rename(folder / "first-calls")
    return folder


def plugins(folder: Path) -> None:
    for name in ("first", "second"):
        registry.add_plugin(tiny.metric(folder, name))


@pytest.fixture
def done(everything, tmp_path) -> Bench:
    """A copy of it; the metrics are those of the copy."""
    shutil.copytree(everything, tmp_path / "done")
    plugins(tmp_path / "done")
    return Bench(tmp_path / "done", CHANGES)


@pytest.fixture
def no_models(monkeypatch) -> None:
    """Whatever loads or trains a model fails the test."""
    monkeypatch.setattr(Store, "weights", lambda *_: pytest.fail("weights were read"))
    for name in ("train", "build_learner", "load_task"):
        monkeypatch.setattr(models, name, lambda *_, name=name: pytest.fail(f"{name} was called"))


def newest(bench: Bench) -> dict[tuple[str, int], Record]:
    """(method, seed) -> the record of the key that is planned now."""
    cached = bench.plan().cached
    return {(r.run.method, r.run.seed): r for r in bench.records if r.key in cached}


def test_numbers_of_original_and_retrained_are_computed_once_for_all_methods_of_a_seed(everything):
    names = (everything / "first-calls").read_text().split()
    assert names.count("first") == names.count("second") == 2 * (len(METHODS) + 2)


def test_what_is_recorded_and_stored_is_not_scored_again(done):
    assert not done.plan().jobs
    assert tiny.calls(done.folder) == []


def test_a_changed_metric_is_computed_again_alone_and_without_any_model(done, no_models):
    before = newest(done)
    tiny.metric(done.folder, "second", value="0.25")
    plan = done.plan()
    assert [(job["kind"], len(job["batch"])) for job in plan.jobs.values()] == [("score", 2), ("score", 2)]
    results = done.work(plan)
    assert [(result["status"], result["notes"]) for _, result in results] == [("ok", [])] * 2
    assert all(result["seconds"].keys() == {"score"} for _, result in results)
    assert tiny.calls(done.folder) == ["second"] * 2 * (len(METHODS) + 2)

    after = newest(done)
    assert after.keys() == before.keys() == {(method, seed) for method in METHODS for seed in (0, 1)}
    for run, record in after.items():
        assert record.key != before[run].key
        assert record.metrics.keys() == before[run].metrics.keys()
        changed = {name for name, value in record.metrics.items() if value != before[run].metrics[name]}
        assert changed == {"second_value"}
        value = record.metrics["second_value"]
        assert (value.value, value.original, value.retrained) == (0.25, 0.25, 0.25)
        assert record.curves == before[run].curves and record.status == before[run].status
        assert record.cost.unlearn_seconds == before[run].cost.unlearn_seconds
        assert record.cost.train_seconds == before[run].cost.train_seconds
        assert (record.sizes, record.log, record.artefacts) == (
            before[run].sizes, before[run].log, before[run].artefacts
        )  # fmt: skip
    assert len(done.records) == 8, "what was there is not edited"
    assert not done.plan().jobs


def test_a_metric_whose_comments_changed_is_not_computed_again(done):
    path = done.folder / "second.py"
    path.write_text("# said better\n" + path.read_text().replace('"""Theirs."""', '"""Another\'s."""'))
    assert not done.plan().jobs


def test_a_new_metric_is_computed_beside_what_is_there(done, no_models):
    registry.add_plugin(tiny.metric(done.folder, "third", tier="probing"))
    bench = Bench(done.folder, CHANGES | {"metrics": [*CHANGES["metrics"], "third"]})
    assert {result["status"] for _, result in bench.work()} == {"ok"}
    assert set(tiny.calls(done.folder)) == {"third"}
    assert all(record.metrics["third_value"].tier == "probing" for record in newest(bench).values())


def test_a_metric_that_is_left_out_leaves_records_without_it_and_computes_nothing(done, no_models):
    bench = Bench(done.folder, CHANGES | {"metrics": ["accuracy", "first"]})
    bench.work()
    assert tiny.calls(done.folder) == []
    assert all("second_value" not in record.metrics for record in newest(bench).values())
    assert all(record.metrics["first_value"] for record in newest(bench).values())


def test_numbers_are_those_of_each_model_s_own_outputs(done):
    for record in newest(done).values():
        assert record.metrics["first_value"] == record.metrics["second_value"]
        expected = {
            role: float(done.store.arrays(record.artefacts[f"{role}/outputs"])["forget/features"].mean())
            for role in ("unlearned", "original", "retrained")
        }
        value = record.metrics["first_value"]
        assert (value.value, value.original, value.retrained) == tuple(expected.values())
        assert value.n == record.sizes["forget"] == 12


def test_numbers_stand_in_the_order_of_their_metric(done):
    """The first attack is the one that reports read first, so no order may come from the store."""
    for record in newest(done).values():
        names = [name for name in record.metrics if name.startswith("mia_auc_")]
        values = registry.get("metric", "membership_inference").info.values
        assert names == [name for name in values if name in names] != sorted(names)


def test_a_run_for_which_a_metric_raises_fails_alone_and_is_named(done):
    same = "(one['forget/features'] == m['forget/features']).all()"
    like_an_anchor = f"any({same} for m in (other.original, other.retrained))"
    tiny.metric(done.folder, "second", value=f"1.0 if {like_an_anchor} else {{}}['nothing']")
    results = done.work()
    assert [result["status"] for _, result in results] == ["failed"] * 2
    assert all(result["error"].startswith("fine_tune: Traceback") for _, result in results)
    found = newest(done)
    assert {run: record.status == "failed" for run, record in found.items()} == {
        (method, seed): method == "fine_tune" for method in METHODS for seed in (0, 1)
    }
    assert all("KeyError: 'nothing'" in found["fine_tune", seed].error for seed in (0, 1))
    assert all(found["no_op", seed].metrics["second_value"].value == 1.0 for seed in (0, 1))


def test_seconds_of_scoring_are_those_of_each_run(done, monkeypatch):
    """A clock that moves by one second whenever it is asked: every run takes one, however many a job has."""
    ticks = iter(range(10_000))
    monkeypatch.setattr("benchmark.cost.time.perf_counter", lambda: float(next(ticks)))
    tiny.metric(done.folder, "second", value="0.5")
    results = done.work()
    assert [record.cost.score_seconds for record in newest(done).values()] == [1.0] * 4
    assert [result["seconds"] for _, result in results] == [{"score": 2.0}] * 2


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("role", ["original", "retrained", "unlearned"])
def test_outputs_that_turn_out_to_be_damaged_are_made_again_alike(done, role, method):
    before = newest(done)
    tiny.metric(done.folder, "second", value="0.5")
    plan = done.plan()
    key = before[method, 1].artefacts[f"{role}/outputs"]
    (file,) = tiny.artefact(done.store, key).glob("*.npz")
    file.write_bytes(file.read_bytes()[:100])
    results = dict(done.work(plan))
    assert {result["status"] for result in results.values()} == {"ok"}
    assert results["tiny-random, 2 methods, seed 0"]["notes"] == []
    assert [n.partition(":")[0] for n in results["tiny-random, 2 methods, seed 1"]["notes"]] == [f"artefact {key[:12]}"]
    for run, record in newest(done).items():
        assert record.metrics["first_value"] == before[run].metrics["first_value"]
        assert record.curves == before[run].curves


def test_damaged_numbers_are_computed_again(done):
    """They are small and many, and lie beside models and outputs."""
    before = newest(done)
    tiny.metric(done.folder, "second", value="0.5")
    for path in done.store.folder.glob("artefacts/*/*/meta.json"):
        if '"first_value"' in path.read_text():
            path.write_text("{")
    assert {result["status"] for _, result in done.work()} == {"ok"}
    assert tiny.calls(done.folder).count("first") == 2 * (len(METHODS) + 2)
    assert all(r.metrics["first_value"] == before[run].metrics["first_value"] for run, r in newest(done).items())


def test_fresh_runs_compute_all_numbers_again(done):
    done.work(done.plan(fresh=True))
    assert tiny.calls(done.folder).count("first") == 2 * 3 * len(METHODS), "three models of each run"
    said = [tiny.said(record) for record in done.records]
    assert len(said) == 8 and said[0::2] == said[1::2]
