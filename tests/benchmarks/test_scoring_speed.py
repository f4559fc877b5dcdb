"""Runs scored per second and core from stored outputs: what changing a metric costs, of classifiers and encoders.

The store holds 25 seeds x 8 methods as the quick suite leaves them. Three trained models stand behind it; every other
array is one of theirs with a little noise of its own, for a metric's time depends on sizes and not on who made them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmark import jobs, registry
from benchmark.plan import Known, Options, Plan, make_plan
from benchmark.specs import Suite
from benchmark.store import Records, Store
from tests import tiny

SEEDS = 25
METHODS = [
    "retrain", "no_op", "fine_tune", "gradient_ascent", "gradient_constraint", "gradient_constraint[placebo]",
    "gradient_penalty", "third_party_alignment",
]  # fmt: skip
RUNS = SEEDS * len(METHODS)
ENCODER = {"name": "resnet", "layers": [1, 1, 1], "channels": [16, 32, 64], "stem_stride": 1}
TASK: dict[str, Any] = {
    "name": "digits",
    "dataset": "digits",
    "scenario": {"name": "random", "fraction": 0.2},
    "split": {"train": 850, "test": 397},  # forget, held-out and third-party 170 each, retain 680
    "recipe": {"lr": 0.003, "epochs": 3, "batch_size": 64, "optimizer": "adamw", "schedule": "onecycle"},
    "evaluation": {"knn_neighbours": 20},
    "methods": {"fine_tune": {"epochs": 1, "batch_size": 64}},
}
LEARNERS: dict[str, dict[str, Any]] = {
    "supervised": {"learner": {"name": "supervised", "encoder": ENCODER}, "label_noise": 0.2},
    "simclr": {
        "learner": {"name": "simclr", "temperature": 0.2, "encoder": ENCODER},
        "views": {"rotation": 0.1, "shift": 0.06, "noise": 0.03},
    },
}
ROLES = {"original": "original", "retrained": "retrained", "unlearned": "fine_tune"}


@pytest.fixture(autouse=True)
def own_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with tiny.own_process(monkeypatch):
        yield


def planned(paradigm: str, folder: Path, seeds: int, methods: list[str], metrics: list[str] | None = None) -> Plan:
    task = TASK | LEARNERS[paradigm]
    words = {"name": "speed", "version": 1, "description": "-", "seeds": seeds, "methods": methods, "tasks": [task]}
    suite = Suite.model_validate(words | {"metrics": metrics or ["every_run"]})
    options = Options(folder / "store", folder / "results", folder / "data")
    return make_plan(suite, options, lambda task: "digits", Known(set(), Store(folder / "store").keys()))


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Paradigm -> where outputs of all runs are stored, and no number."""
    return {paradigm: fill(paradigm, tmp_path_factory.mktemp(paradigm)) for paradigm in LEARNERS}


def fill(paradigm: str, folder: Path) -> Path:
    torch.set_num_threads(1)
    first = planned(paradigm, folder / "trained", 1, ["fine_tune"])
    for job in first.jobs.values():
        assert jobs.run_job(job)["status"] not in ("failed", "diverged")
    own = next(job["keys"] for job in first.jobs.values() if job["kind"] == "run")
    trained = Store(folder / "trained" / "store")
    store, noise = Store(folder / "store"), np.random.default_rng(0)
    outputs = {role: trained.arrays(own[f"{role}/outputs"]) or {} for role in ROLES}
    for job in planned(paradigm, folder, SEEDS, METHODS).jobs.values():
        if job["kind"] not in ("train", "run"):
            continue
        role = job["role"] if job["kind"] == "train" else "unlearned"
        arrays = {name: varied(name, array, noise) for name, array in outputs[role].items()}
        store.put(job["keys"][f"{role}/outputs"], arrays=arrays, meta=trained.meta(own[f"{role}/outputs"]))
        store.put(job["keys"][role], meta=trained.meta(own[role]))
    return folder


def varied(name: str, array: np.ndarray, noise: np.random.Generator) -> np.ndarray:
    """Numbers with noise of 1 % of their spread; indices and labels as they are."""
    if array.dtype != np.float32:
        return array
    other = array + np.float32(0.01 * array.std()) * noise.standard_normal(array.shape, np.float32)
    return np.clip(other, -1, 1) if name.endswith("similarities") else other


@pytest.mark.parametrize("paradigm", LEARNERS)
def test_scoring_a_store_from_its_outputs(benchmark: Any, filled: dict[str, Path], paradigm: str) -> None:
    work = planned(paradigm, filled[paradigm], SEEDS, METHODS)
    todo = [job for job in work.jobs.values() if job["kind"] == "score"]
    assert work.runs == RUNS and len(todo) == SEEDS
    results = benchmark.pedantic(lambda: [jobs.run_job(job) for job in todo], rounds=1)
    assert {result["error"] for result in results} == {None}
    records = list(Records(filled[paradigm] / "results").read())
    assert len(records) == RUNS
    assert records[0].sizes["forget"] == records[0].sizes["heldout"] == 170 and records[0].sizes["retain"] == 680
    report(benchmark, f"{paradigm}: {len(records[0].run.metrics)} metrics of every run, all computed")


@pytest.mark.parametrize("paradigm", LEARNERS)
def test_scoring_a_store_again_when_one_metric_has_changed(
    benchmark: Any, filled: dict[str, Path], paradigm: str, tmp_path: Path
) -> None:
    """The numbers of all others are kept, and it takes no time itself: what is left is reading and writing."""
    for job in planned(paradigm, filled[paradigm], SEEDS, METHODS).jobs.values():
        if job["kind"] == "score":
            jobs.run_job(job)
    registry.add_plugin(tiny.metric(tmp_path))
    work = planned(paradigm, filled[paradigm], SEEDS, METHODS, ["every_run", "measured"])
    todo = [job for job in work.jobs.values() if job["kind"] == "score"]
    results = benchmark.pedantic(lambda: [jobs.run_job(job) for job in todo], rounds=1)
    assert {result["error"] for result in results} == {None}
    assert len(tiny.calls(tmp_path)) == RUNS + 2 * SEEDS
    report(benchmark, f"{paradigm}: one metric of every run has changed")


def report(benchmark: Any, what: str) -> None:
    """Runs per second on one core, and how long a thousand take, which scales from 200."""
    if benchmark.disabled:
        pytest.skip("speeds need --benchmark-enable")
    seconds = benchmark.stats.stats.median
    benchmark.extra_info |= {"runs": RUNS, "runs_per_second": RUNS / seconds, "seconds_per_1000": 1000 * seconds / RUNS}
    speed = f"{RUNS / seconds:.1f} per second, 1,000 in {1000 * seconds / RUNS:.0f} s"
    print(f"\n{what}: {RUNS} runs in {seconds:.1f} s, {speed}")
