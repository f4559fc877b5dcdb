"""What all seeds of a method say together: after all of its runs, from their outputs, or one sentence on why not."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark import jobs, registry
from benchmark.api import Finding, Population, PopulationMetric, Value
from benchmark.keeping.garbage import needed_by
from benchmark.populations import measure, stacked, together
from benchmark.specs import PopulationRecord, canonical_hash
from benchmark.store import Store
from tests import tiny
from tests.tiny import Bench


@pytest.fixture(autouse=True)
def own_process(monkeypatch) -> Iterator[None]:
    with tiny.own_process(monkeypatch):
        yield


def bench(folder: Path, **changes: Any) -> Bench:
    """Two seeds of two methods, and a metric that reads both seeds."""
    folder.mkdir(exist_ok=True)
    registry.add_plugin(tiny.metric(folder, "together", needs="seeds"))
    own = {"seeds": 2, "methods": ["no_op", "fine_tune"], "metrics": ["accuracy", "together"]}
    return Bench(folder, own | changes)


@pytest.fixture(scope="module")
def everything(tmp_path_factory) -> tuple[Path, list[tuple[str, dict[str, Any]]]]:
    """Where both methods' populations are done, and what came of each job."""
    folder = tmp_path_factory.mktemp("populations")
    with pytest.MonkeyPatch.context() as monkeypatch, tiny.own_process(monkeypatch):
        return folder, bench(folder).work()


@pytest.fixture
def done(everything) -> Bench:
    """Not to be changed."""
    return bench(everything[0])


def of(bench: Bench, method: str) -> PopulationRecord:
    (record,) = (record for record in bench.populations if record.method == method)
    return record


# -- what is left behind -----------------------------------------------------------------------------------


def test_all_seeds_of_a_method_leave_one_record_after_all_its_runs(everything, done):
    names = [name for name, _ in everything[1]]
    for method, status in (("no_op", "no_change"), ("fine_tune", "ok")):
        last = max(names.index(f"tiny-random, {method}, seed {seed}") for seed in (0, 1))
        assert names.index(f"tiny-random, {method}, all seeds") > last
        record = of(done, method)
        assert record.status == status or (method, record.status) == ("fine_tune", "collapsed")
        assert record.error is None
        assert (record.seeds, record.suite, record.task.name) == ([0, 1], "tiny", "tiny-random")
        assert record.params == next(r.run.params for r in done.records if r.run.method == method)
        runs = {r.run.seed: r.key for r in done.records if r.run.method == method}
        assert record.runs == [runs[0], runs[1]]
        assert record.seconds > 0 and record.provenance.commit
    assert len(done.populations) == 2


def outputs(bench: Bench, method: str, role: str) -> list[dict[str, Any]]:
    """Of both seeds, from the store."""
    runs = sorted((r for r in bench.records if r.run.method == method), key=lambda r: r.run.seed)
    return [bench.store.arrays(run.artefacts[f"{role}/outputs"]) for run in runs]


@pytest.mark.parametrize("method", ["no_op", "fine_tune"])
def test_a_number_of_the_unlearned_models_stands_between_those_of_originals_and_retrained_ones(done, method):
    found = of(done, method).metrics["together_value"]
    means = {
        role: [float(model["forget/features"].mean()) for model in outputs(done, method, role)]
        for role in ("unlearned", "original", "retrained")
    }
    assert found.value == pytest.approx(np.mean(means["unlearned"]))
    assert found.original == pytest.approx(np.mean(means["original"]))
    assert found.retrained == pytest.approx(np.mean(means["retrained"]))
    assert found.per_seed == pytest.approx(means["unlearned"], rel=1e-4)
    assert found.original_per_seed == pytest.approx(means["original"], rel=1e-4)
    assert (found.n, found.goal, found.label) == (7, "match_retrained", "theirs")


def test_a_distance_to_retrained_models_has_no_number_of_theirs(tmp_path):
    here = bench(tmp_path, methods=["no_op"])
    tiny.metric(tmp_path, "together", goal="min", needs="seeds")
    here.work()
    found = of(here, "no_op").metrics["together_value"]
    assert found.retrained is None and found.original == found.value
    assert len(tiny.calls(tmp_path)) == 2, "unlearned models and originals; never retrained ones"


def test_populations_are_cached(done, monkeypatch):
    work = done.plan()
    assert not work.jobs and len(work.cached_populations) == 2


def test_a_changed_metric_of_all_seeds_is_computed_again_without_any_model_and_no_run_is(tmp_path, monkeypatch):
    here = bench(tmp_path)
    here.work()
    tiny.metric(tmp_path, "together", "Finding(0.5, 3)", needs="seeds")
    tiny.calls(tmp_path)
    monkeypatch.setattr(Store, "weights", lambda *_: pytest.fail("weights were read"))
    monkeypatch.setattr("benchmark.models.load_task", lambda *_: pytest.fail("images were read"))
    assert [name for name, _ in here.work()] == ["tiny-random, no_op, all seeds", "tiny-random, fine_tune, all seeds"]
    assert len(tiny.calls(tmp_path)) == 2 * 3
    assert [record.metrics["together_value"].value for record in here.populations].count(0.5) == 2
    assert len(here.records) == 4 and not here.plan().jobs


# -- what goes wrong ---------------------------------------------------------------------------------------

FAILS = """from benchmark.specs import derive_seed
        if request.seed == derive_seed("tiny-random", "method", "moody", 1):
            {misdeed}"""
NAN = "learner = copy_of(learner); learner.classifier.bias.data.fill_(float('nan')); return learner"


@pytest.mark.parametrize(
    ("misdeed", "status"),
    [("raise RuntimeError('not today')", "failed"), (NAN, "diverged")],
    ids=["raises", "diverges"],
)
def test_a_seed_that_went_wrong_fails_the_population_of_its_method_with_a_sentence_and_hides_no_run(
    tmp_path, misdeed, status
):
    registry.add_plugin(tiny.plugin(tmp_path, "moody", FAILS.format(misdeed=misdeed)))
    here = bench(tmp_path, methods=["moody", "no_op"])
    results = dict(here.work())
    sentence = f"1 of 2 seeds have no model to measure: 1 ({status})."
    assert results["tiny-random, moody, all seeds"]["status"] == "failed"
    assert results["tiny-random, moody, all seeds"]["error"] == sentence
    record = of(here, "moody")
    assert (record.status, record.error, record.metrics, record.seeds) == ("failed", sentence, {}, [0, 1])
    assert of(here, "no_op").metrics
    runs = {(r.run.method, r.run.seed): r for r in here.records}
    assert {run: r.status for run, r in runs.items()} == {
        ("moody", 0): "no_change", ("moody", 1): status, ("no_op", 0): "no_change", ("no_op", 1): "no_change"
    }  # fmt: skip
    assert runs["moody", 0].metrics == runs["no_op", 0].metrics
    assert not here.plan().jobs, "what failed would only fail again"


def test_a_seed_that_left_nothing_fails_the_population_until_it_is_there(tmp_path):
    """A worker that dies leaves no record, so its run is done again; the population must not stay failed."""
    here = bench(tmp_path, methods=["no_op"])
    results = dict(here.work(without=["tiny-random, no_op, seed 1"]))
    sentence = "1 of 2 seeds have no model to measure: 1 (missing)."
    assert results["tiny-random, no_op, all seeds"]["error"] == sentence
    assert of(here, "no_op").status == "failed"
    assert [name for name, _ in here.work()] == ["tiny-random, no_op, seed 1", "tiny-random, no_op, all seeds"]
    found = {record.status: record for record in here.populations}
    assert found.keys() == {"failed", "no_change"} and found["no_change"].metrics
    assert not here.plan().jobs


def test_a_metric_that_raises_fails_the_population_with_its_traceback_and_hides_no_run(tmp_path):
    here = bench(tmp_path, methods=["no_op"])
    tiny.metric(tmp_path, "together", "{}['nothing']", needs="seeds")
    results = dict(here.work())
    assert results["tiny-random, no_op, all seeds"]["status"] == "failed"
    assert "KeyError: 'nothing'" in of(here, "no_op").error and "together.py" in of(here, "no_op").error
    assert [record.status for record in here.records] == ["no_change"] * 2
    assert all(record.metrics for record in here.records)


@pytest.mark.parametrize("role", ["original", "unlearned"])
def test_damaged_outputs_of_any_seed_are_made_again_alike(tmp_path, role):
    here = bench(tmp_path, methods=["fine_tune"])
    here.work()
    before = of(here, "fine_tune").metrics["together_value"]
    key = next(r for r in here.records if r.run.seed == 1).artefacts[f"{role}/outputs"]
    (file,) = tiny.artefact(here.store, key).glob("*.npz")
    file.write_bytes(b"damaged")
    path = tiny.metric(tmp_path, "together", needs="seeds")
    path.write_text(path.read_text() + "\nANOTHER = 1\n")
    ((name, result),) = here.work()
    assert name == "tiny-random, fine_tune, all seeds" and result["error"] is None
    assert [note.partition(":")[0] for note in result["notes"]] == [f"artefact {key[:12]}"]
    assert [record.metrics["together_value"] for record in here.populations] == [before] * 2


@pytest.mark.parametrize(
    ("statuses", "sentence"),
    [
        ({0: "ok", 1: "no_change", 2: "collapsed"}, None),
        ({0: "ok", 1: "failed"}, "1 of 2 seeds have no model to measure: 1 (failed)."),
        (
            dict(enumerate(["missing", "diverged", "ok", *["failed"] * 6])),
            "8 of 9 seeds have no model to measure: 0 (missing), 1 (diverged), 3 (failed), 4 (failed), 5 (failed).",
        ),
    ],
)
def test_seeds_without_a_model_are_named_by_the_first_five(statuses, sentence):
    assert together(statuses) == sentence


# -- ensembles ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory) -> Bench:
    """Eight models a side of one method on one pool. Not to be changed."""
    folder = tmp_path_factory.mktemp("ensemble")
    with pytest.MonkeyPatch.context() as monkeypatch, tiny.own_process(monkeypatch):
        registry.add_plugin(tiny.metric(folder, "strong", needs="ensemble", tier="population"))
        here = Bench(folder, {"methods": ["fine_tune"], "metrics": ["accuracy", "strong"], "tasks.0.ensemble": 8})
        here.work(here.plan(metrics=("accuracy", "strong")))
    return here


def test_an_ensemble_leaves_its_population_under_a_name_of_its_own(ensemble):
    (record,) = ensemble.populations
    assert record.task.name == "tiny-random.ensemble8"
    assert record.seeds == list(range(8))
    assert record.metrics.keys() >= {"strong_value"} and record.metrics["strong_value"].tier == "population"
    assert len(record.metrics["strong_value"].per_seed) == 8
    runs = [r for r in ensemble.records if r.task == "tiny-random.ensemble8"]
    assert sorted(r.key for r in runs) == sorted(record.runs)
    assert all(r.metrics and not r.curves for r in runs), "figures are of the task that asks for the ensemble"
    assert len({tuple(sorted(r.sizes.items())) for r in runs}) > 1, "coins, not equal halves"


@pytest.mark.parametrize("role", ["unlearned", "original", "retrained"])
def test_the_whole_pool_under_every_model_is_kept_as_arrays(ensemble, role):
    (record,) = ensemble.populations
    runs = {r.key: r for r in ensemble.records}
    members = [runs[key].artefacts for key in record.runs]
    arrays = ensemble.store.arrays(canonical_hash([member[f"{role}/outputs"] for member in members]))
    pool = arrays["pool/indices"]
    assert pool.shape == (24,) and (np.diff(pool) > 0).all()
    shapes = {name: (array.shape, array.dtype) for name, array in arrays.items() if name != "pool/indices"}
    assert shapes == {
        "pool/logits": ((8, 24, 10), np.float32),
        "pool/features": ((8, 24, 8), np.float32),
        "pool/labels": ((8, 24), np.int64),
        "pool/forgotten": ((8, 24), np.bool_),
    }
    for model, member in enumerate(members):
        own = ensemble.store.arrays(member[f"{role}/outputs"])
        for place, index in enumerate(pool):
            (name,) = [n for n in ("forget", "heldout") if index in own[f"{n}/indices"]]
            row = int(np.flatnonzero(own[f"{name}/indices"] == index)[0])
            assert arrays["pool/forgotten"][model, place] == (name == "forget")
            assert np.array_equal(arrays["pool/logits"][model, place], own[f"{name}/logits"][row])
            assert arrays["pool/labels"][model, place] == own[f"{name}/labels"][row]
    forgotten = arrays["pool/forgotten"]
    assert (forgotten[0::2] != forgotten[1::2]).all(), "each image is forgotten by one of a pair"


def test_all_that_an_ensemble_leaves_is_needed(ensemble):
    needed = needed_by(ensemble.records, ensemble.populations)
    assert ensemble.store.keys() == needed - {record.artefacts["dataset"] for record in ensemble.records}


def model(forget: list[int], heldout: list[int]) -> dict[str, np.ndarray]:
    """Logits that are the images' indices."""
    return {
        f"{name}/{what}": np.array(values, dtype)[:, None] if what == "logits" else np.array(values, dtype)
        for name, values in (("forget", forget), ("heldout", heldout))
        for what, dtype in (("indices", np.int64), ("logits", np.float32))
    } | {"test/logits": np.zeros((2, 1), np.float32)}


def test_models_are_stacked_by_image_whoever_forgot_it():
    arrays = stacked([model([9, 4], [1]), model([1], [4, 9])])
    assert arrays["pool/indices"].tolist() == [1, 4, 9]
    assert arrays["pool/logits"].tolist() == [[[1.0], [4.0], [9.0]]] * 2
    assert arrays["pool/forgotten"].tolist() == [[False, True, True], [True, False, False]]
    assert arrays.keys() == {"pool/indices", "pool/logits", "pool/forgotten"}


@pytest.mark.parametrize("other", [model([1], [4, 8]), model([1], [4]), model([1], [4, 9, 10])])
def test_models_of_different_pools_cannot_be_stacked(other):
    with pytest.raises(ValueError, match="the models' pools differ; seeds of one ensemble part the same pool"):
        stacked([model([9, 4], [1]), other])


# -- what metrics are given --------------------------------------------------------------------------------


@pytest.mark.parametrize(("seeds", "paired"), [([3, 2], True), ([0, 2, 3], False)])
def test_metrics_are_given_the_models_in_the_order_of_the_seeds_and_whether_they_are_pairs(
    tmp_path, monkeypatch, seeds, paired
):
    given = []

    def spy(metrics: list[str], unlearned: list[Any], population: Population) -> dict[str, Any]:
        given.append((unlearned, population))
        return {}

    monkeypatch.setattr(jobs, "measure", spy)
    sizes = tiny.SUITE["tasks"][0]["split"] | {"pairs": True}
    here = bench(tmp_path, seeds=seeds, methods=["no_op"], **{"tasks.0.split": sizes})
    here.work()
    ((unlearned, population),) = given
    assert (population.seeds, population.paired) == (tuple(sorted(seeds)), paired)
    runs = sorted(here.records, key=lambda record: record.run.seed)
    sides = {"unlearned": unlearned, "original": population.original, "retrained": population.retrained}
    for role, models in sides.items():
        for run, one in zip(runs, models, strict=True):
            stored = here.store.arrays(run.artefacts[f"{role}/outputs"])
            assert one.keys() == stored.keys() and all(np.array_equal(one[name], stored[name]) for name in stored)


def test_numbers_that_are_given_for_the_unlearned_models_alone_have_no_anchors(tmp_path, monkeypatch):
    class Two(PopulationMetric):
        def compute(self, models: Any, population: Population) -> dict[str, Finding]:
            found = {"always": Finding(0.123456789, 5, 0.1, 0.2, [0.123456789], [1 / 3])}
            return found | ({"sometimes": Finding(1.0, 5)} if models[0] == "unlearned" else {})

    values = {name: Value(name, "match_retrained") for name in ("always", "sometimes")}
    info = registry.get("metric", "accuracy").info
    component = registry.Component(
        "metric", "two", Two, type(info)("two", info.paradigms, values, "", "probing", "seeds"), Path()
    )
    monkeypatch.setitem(registry._index.components, ("metric", "two"), component)
    population = Population((0,), ["original"], ["retrained"], paired=False)
    found = measure(["two"], ["unlearned"], population)
    assert (found["sometimes"].original, found["sometimes"].retrained) == (None, None)
    always = found["always"]
    assert (always.value, always.original, always.retrained) == (0.123456789, 0.123456789, 0.123456789)
    assert (always.low, always.high, always.n, always.tier) == (0.1, 0.2, 5, "probing")
    assert (always.per_seed, always.per_example) == ([0.12346], [0.33333]), "lists are short in a record"
