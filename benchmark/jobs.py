"""What a worker does: train, unlearn, observe, score. JSON in, JSON out.

A worker rebuilds every component by name, looks in the store before it computes, and writes whole artefacts, so
running a job twice is harmless. `train` jobs leave a model and its outputs; `run` jobs leave those and a record.
"""

import gc
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from benchmark import registry
from benchmark.api import Method, info_of
from benchmark.components import build, make
from benchmark.data import DataCache, ExampleSet, Forbidden, ImageData, TaskData, join, split_task
from benchmark.errors import BenchmarkError, Diverged
from benchmark.learners.base import Learner
from benchmark.learners.factory import build_learner
from benchmark.observe import observe
from benchmark.provenance import provenance
from benchmark.scoring import curves_of, score
from benchmark.specs import Cost, Record, RunSpec, Status, TaskSpec, derive_seed
from benchmark.store import Records, Store
from benchmark.training import UnlearningRequest, train

TRAINED_ON = {"original": ("forget", "retain"), "retrained": ("retain",)}


class Job(BaseModel):
    """One node of the plan, as JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    kind: Literal["train", "run"]
    role: str  # "original" or "retrained" for train jobs, the method's name for runs
    needs: list[str]
    run: RunSpec
    suite: str
    keys: dict[str, str]  # model and outputs keys of original, retrained and, for runs, unlearned; the dataset's
    store: str
    results: str
    data: str
    plugins: list[str]
    device: str
    threads: int
    fresh: bool = False


@dataclass
class Stages:
    """Seconds by stage of one job, by the wall clock and, on a GPU, by the device's own."""

    seconds: dict[str, float] = field(default_factory=dict)
    device_seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, name: str, device: torch.device) -> Iterator[None]:
        """Time what stands inside, the device's queue empty before and after."""
        events = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if device.type == "cuda" else []
        synchronise(device)
        start = time.perf_counter()
        for event in events[:1]:
            event.record()
        yield
        for event in events[1:]:
            event.record()
        synchronise(device)
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
        if events:
            self.device_seconds[name] = events[0].elapsed_time(events[1]) / 1000


def run_job(content: dict[str, Any], progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """Do one job.

    Args:
        content: A Job as JSON.
        progress: Called with (epoch, epochs).

    Returns:
        {"status", "error", "seconds": {stage: s}, "notes": sentences worth showing}. What goes wrong inside a method
        is recorded as a failed run; it does not raise.
    """
    job = Job.model_validate(content)
    torch.set_num_threads(job.threads)
    torch.use_deterministic_algorithms(True, warn_only=job.device != "cpu")
    for plugin in job.plugins:
        registry.add_plugin(plugin)
    worker = Worker(job, progress)
    try:
        status, error = worker.train() if job.kind == "train" else worker.run()
    except (Exception, SystemExit) as problem:
        status, error = "failed", _explain(problem)
        if job.kind == "run":
            try:
                worker.record(status, error)
            except Exception as another:
                error += f"\nand no record could be left: {_explain(another)}"
    return {"status": status, "error": error, "seconds": worker.stages.seconds, "notes": worker.store.notes}


class Worker:
    """The stages of one job. Each looks for its artefact before it makes it."""

    def __init__(self, job: Job, progress: Callable[[int, int], None] | None) -> None:
        self.job, self.progress = job, progress
        self.task: TaskSpec = job.run.task
        self.store, self.records = Store(Path(job.store)), Records(Path(job.results))
        self.device = torch.device(job.device)
        self.stages = Stages()
        self._data: TaskData | None = None
        self._dataset_info: Any = None

    # The two kinds of jobs

    def train(self) -> tuple[Status, str | None]:
        """An original or retrained model and its outputs."""
        self.outputs(self.job.role, fresh=self.job.fresh)
        return "ok", None

    def run(self) -> tuple[Status, str | None]:
        """Unlearn, observe, score, record."""
        references = {role: self.outputs(role) for role in TRAINED_ON}
        meta = self.unlearn(fresh=self.job.fresh)
        if meta["status"] == "diverged":
            self.record("diverged", meta["error"], meta)
            return "diverged", meta["error"]
        outputs = self.outputs("unlearned", fresh=self.job.fresh)
        if not all(np.isfinite(array).all() for array in outputs.values()):
            error = "an output of the unlearned model is not finite, though its weights are."
            self.record("diverged", error, meta)
            return "diverged", error
        with self.stages.timed("score", torch.device("cpu")):
            metrics = score(self.job.run.metrics, self.task.paradigm, outputs, **references)
            curves = curves_of(self.job.run.metrics, self.task.paradigm, outputs, **references)
        status = _status(self.task.paradigm, outputs, unchanged=meta["unchanged"])
        self.record(status, None, meta, metrics=metrics, curves=curves)
        return status, None

    # Stages

    def outputs(self, role: str, fresh: bool = False) -> dict[str, NDArray[Any]]:
        """The outputs of a model, from the store or observed now; never an earlier run's if `fresh`."""
        key = self.job.keys[f"{role}/outputs"]
        found = None if fresh else self.store.arrays(key)
        if found is None:
            learner = self._unlearned() if role == "unlearned" else self._reference(role, fresh)
            with self.stages.timed("observe", self.device):
                seed = derive_seed(self.task.name, "views", self.job.run.seed)
                found = observe(learner, self.data, self.task.evaluation, seed, self.device)
            self.store.put(key, arrays=found, replace=fresh)
        return found

    def _reference(self, role: str, fresh: bool = False) -> Learner:
        """The original or retrained model: one function, two sets of indices."""
        key = self.job.keys[role]
        weights = None if fresh else self.store.weights(key)
        if weights is None:
            names = TRAINED_ON[role]
            examples = ExampleSet(join([self.data[n] for n in names]), role, self.device, self._channels_last)
            seed = derive_seed(self.task.name, "train", "+".join(names), self.job.run.seed)
            with self.stages.timed("train", self.device):
                trained = train(self._build, examples, self.task.recipe, seed, self.device, self.progress)
            weights = trained.state_dict()
            meta = {"seconds": self.stages.seconds["train"], "samples_seen": examples.samples_seen}
            self.store.put(key, weights=weights, meta=meta, replace=fresh)
        return self._loaded(weights)

    def unlearn(self, fresh: bool = False) -> dict[str, Any]:
        """Have the method make the unlearned model, unless the store has it; return what is noted with it."""
        key = self.job.keys["unlearned"]
        known = None if fresh else self.store.meta(key)
        if known is not None:
            return known
        original = self._reference("original")
        name, params = self.job.run.method, self.job.run.params
        method: Method = build(_method_class(name), params, f"method {name!r}")
        request = self._request(method, original)
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        before = _parameters(original)
        load, cpu = os.getloadavg()[0], time.process_time()
        state: dict[str, Tensor] = {}
        unchanged, error = False, None
        with self.stages.timed("unlearn", self.device):
            try:
                unlearned = method.unlearn(original, request)
            except Diverged as problem:
                error = str(problem)
        if error is None:
            state, unchanged = unlearned.state_dict(), _same(_parameters(unlearned), before)
        cpu = time.process_time() - cpu
        if not all(bool(tensor.isfinite().all()) for tensor in state.values()):
            state, error = {}, "a weight of the unlearned model is not finite."
        meta = {
            "status": "ok" if error is None else "diverged",
            "error": error,
            "unchanged": unchanged,
            "seconds": self.stages.seconds["unlearn"],
            "cpu_seconds": cpu,
            "device_seconds": self.stages.device_seconds.get("unlearn"),
            **peak_memory(self.device),
            "samples_seen": request.samples_seen(),
            "load_average": load,
            "log": request.log,
        }
        self.store.put(key, weights=state, meta=meta, replace=fresh)
        return meta

    def _unlearned(self) -> Learner:
        """The unlearned model from the store; made again if its weights turn out to be damaged."""
        weights = self.store.weights(self.job.keys["unlearned"])
        if weights is None:
            self.unlearn()
            weights = self.store.weights(self.job.keys["unlearned"])
        return self._loaded(weights or {})

    def _loaded(self, weights: dict[str, Tensor]) -> Learner:
        """A learner with these weights, laid out alike whether they come from training or from the store."""
        learner = self._build(0)
        learner.load_state_dict(weights)
        return learner.to(self.device).eval()

    def _request(self, method: Method, original: Learner) -> UnlearningRequest:
        """What the method is handed: the sets that it declares, and stand-ins that raise for the others."""
        sets: dict[str, Any] = {
            name: ExampleSet(self.data[name], name, self.device, self._channels_last)
            if name in method.reads()
            else Forbidden(self.job.run.method, name)
            for name in ("forget", "retain", "third_party")
        }
        return UnlearningRequest(
            **sets,
            recipe=self.task.recipe,
            fresh_learner=self._build,
            seed=derive_seed(self.task.name, "method", self.job.run.method, self.job.run.seed),
            device=self.device,
            scenario=self.task.scenario.name.partition(":")[0],
            num_classes=original.num_classes,
            progress=self.progress,
        )

    def record(self, status: Status, error: str | None, meta: dict[str, Any] | None = None, **found: Any) -> None:
        """Leave the run's record."""
        method = _method_class(self.job.run.method)
        what = f"{self.task.name}, {self.job.run.method}, seed {self.job.run.seed}"
        marker = {"status": status, "what": what}  # with the record it says: this run is done, here
        self.store.put(self.job.key, meta=marker, replace=self.job.fresh)
        self.records.add(
            Record(
                key=self.job.key,
                suite=self.job.suite,
                run=self.job.run,
                paradigm=self.task.paradigm,
                uses=sorted(build(method, self.job.run.params, self.job.run.method).reads()),
                oracle=info_of(method).oracle,
                status=status,
                error=error,
                sizes=self.data.sizes() if meta else {},
                duplicates_dropped=self.data.duplicates_dropped if meta else 0,
                log=meta["log"] if meta else [],
                cost=self._cost(meta) if meta else None,
                artefacts=self.job.keys,
                provenance=provenance(),
                **found,
            )
        )

    def _cost(self, meta: dict[str, Any]) -> Cost:
        trained = {role: (self.store.meta(self.job.keys[role]) or {}).get("seconds", 0.0) for role in TRAINED_ON}
        return Cost(
            unlearn_seconds=meta["seconds"],
            unlearn_cpu_seconds=meta["cpu_seconds"],
            train_seconds=trained["original"],
            retrain_seconds=trained["retrained"],
            observe_seconds=self.stages.seconds.get("observe", 0.0),
            score_seconds=self.stages.seconds.get("score", 0.0),
            unlearn_device_seconds=meta["device_seconds"],
            peak_memory_bytes=meta["peak_memory_bytes"],
            peak_reserved_bytes=meta["peak_reserved_bytes"],
            samples_seen=meta["samples_seen"],
            device=self.job.device,
            threads=self.job.threads,
            load_average=meta["load_average"],
        )

    # What stages need

    @property
    def data(self) -> TaskData:
        """The task's sets for this seed."""
        if self._data is None:
            cache = DataCache(self.store.folder / "datasets")
            self._data = load_task(self.task, self.job.run.seed, Path(self.job.data), cache, self.job.keys["dataset"])
        return self._data

    @property
    def _channels_last(self) -> bool:
        return self.task.recipe.channels_last

    def _build(self, seed: int) -> Learner:
        info = registry.get("dataset", self.task.dataset.name.partition(":")[0]).info
        images = self.data["retain"]
        channels, classes = images.images.shape[1], len(images.classes)
        return build_learner(self.task.learner, self.task.views, info, channels, classes, seed)


def load_task(task: TaskSpec, seed: int, root: Path, cache: DataCache, dataset_key: str) -> TaskData:
    """Dataset -> sets of one task and seed; decoded once and kept in the cache under its key."""
    dataset = make("dataset", task.dataset, task.name)

    def decode() -> ImageData:
        data: ImageData = dataset.load(root)
        return data if task.image_size is None else data.downscaled(task.image_size)

    data = cache.load(dataset_key, decode)
    split_seed = derive_seed(task.name, "split", seed if task.split.seed is None else task.split.seed)
    return split_task(data, make("scenario", task.scenario, task.name), task.split, task.label_noise, split_seed)


def synchronise(device: torch.device) -> None:
    """Wait for what the device was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory(device: torch.device) -> dict[str, int | None]:
    """Since the last reset on a GPU; of the whole process, libraries included, on a CPU."""
    if device.type == "cuda":
        allocated, reserved = torch.cuda.max_memory_allocated(device), torch.cuda.max_memory_reserved(device)
        return {"peak_memory_bytes": allocated, "peak_reserved_bytes": reserved}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    resident: int = psutil.Process().memory_info().rss
    return {
        "peak_memory_bytes": max(peak if sys.platform == "darwin" else peak * 1024, resident),
        "peak_reserved_bytes": None,
    }


def _method_class(name: str) -> type:
    target: type = registry.get("method", name.partition("[")[0]).target
    return target


def _parameters(learner: Learner) -> dict[str, Tensor]:
    """A copy of the trainable parameters."""
    return {name: parameter.detach().clone() for name, parameter in learner.trainable()}


def _same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


def _status(paradigm: str, outputs: dict[str, NDArray[Any]], unchanged: bool) -> Status:
    """`collapsed` by METHODS C10: worse on retain than a constant predictor, or all embeddings alike."""
    if unchanged:
        return "no_change"
    if paradigm == "supervised":
        logits, labels = outputs["retain/logits"].astype(np.float64), outputs["retain/labels"]
        loss = np.mean(np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(labels)), labels])
        share = np.bincount(labels) / len(labels)
        constant = -np.sum(share[share > 0] * np.log(share[share > 0]))
        return "collapsed" if loss > constant else "ok"
    features = outputs["retain/features"][:512].astype(np.float64)
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    cosines = np.abs(unit @ unit.T)[~np.eye(len(unit), dtype=bool)]
    return "collapsed" if cosines.mean() > 0.99 else "ok"


def _explain(problem: BaseException) -> str:
    """One sentence for our own errors, the traceback for everybody else's."""
    return str(problem) if isinstance(problem, BenchmarkError) else traceback.format_exc(limit=-8)
