"""What a worker does: train, unlearn, observe, score. JSON in, JSON out.

A worker rebuilds every component by name, looks in the store before it computes, and writes whole artefacts, so
running a job twice is harmless. `train` jobs leave a model and its outputs; `run` jobs leave those and a record;
`score` jobs leave records of runs whose outputs are there; `population` jobs one of what all seeds say together.
"""

import gc
import math
import os
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmark import registry
from benchmark.api import ARTEFACTS, Method, Outputs, Population, info_of
from benchmark.components import build
from benchmark.cost import Stages, energy, peak_memory
from benchmark.data import Forbidden
from benchmark.errors import BenchmarkError, Diverged, PlaceError
from benchmark.keys import together_key
from benchmark.learners.base import Learner
from benchmark.models import TRAINED_ON, Models
from benchmark.observe import observe
from benchmark.populations import measure, stacked, together
from benchmark.provenance import anonymous, provenance
from benchmark.relearning import relearn
from benchmark.scoring import ROLES, Scorer
from benchmark.shards import ShardedRequest
from benchmark.specs import (
    Cost,
    PopulationRecord,
    PopulationValue,
    Record,
    RunSpec,
    Status,
    TaskSpec,
    derive_seed,
)
from benchmark.store import PopulationRecords, Records, Store
from benchmark.training import UnlearningRequest

Ending = Status | Literal["out_of_memory"]


class Job(BaseModel):
    """One node of the plan, as JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    kind: Literal["train", "run", "score", "population"]
    role: str  # "original" or "retrained" for train jobs, the method's name for runs and populations
    needs: list[str]
    run: RunSpec
    suite: str
    keys: dict[str, str]  # model and outputs keys of original, retrained and, for runs, unlearned; the dataset's
    sources: dict[str, str]  # metric -> hash of its source
    batch: list[dict[str, Any]] = []  # of score jobs: key, role, run and keys of each run
    seeds: list[int] = []  # of population jobs, with the keys of each seed's run, models and outputs
    members: list[dict[str, str]] = []
    counts_flops: bool = False
    store: str
    results: str
    data: str
    plugins: list[str]
    device: str
    threads: int
    fresh: bool = False
    attempt: int = 1
    exclusive: bool = False
    time_limit: float | None = None  # seconds; it and the next are for executors to keep
    memory_limit: float | None = None  # bytes


def run_job(content: dict[str, Any], progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """Do one job.

    Args:
        content: A Job as JSON.
        progress: Called with (epoch, epochs).

    Returns:
        {"status", "error", "seconds": {stage: s}, "notes": sentences worth showing}. What goes wrong inside a method
        is recorded as a failed run; it does not raise. Want of memory is not recorded yet: another attempt may help.
        Nor is anything if nothing can be written, the disk being full say: the status is "stopped" then, for every
        other job would end alike.
    """
    job = Job.model_validate(content)
    torch.set_num_threads(job.threads)
    threadpool_limits(job.threads)  # NumPy's too: the last bits of a product depend on how it was split
    torch.use_deterministic_algorithms(True, warn_only=job.device != "cpu")
    for plugin in job.plugins:
        registry.add_plugin(plugin)
    worker = Worker(job, progress)
    status: str
    try:
        status, error = worker.do()
    except PlaceError as problem:
        status, error = "stopped", str(problem)
    return {"status": status, "error": error, "seconds": worker.stages.seconds, "notes": worker.store.notes}


def record_failure(content: dict[str, Any], error: str) -> str:
    """Leave, in the place of a job that died, the records of its failure. They do not count as done.

    Args:
        content: A Job as JSON.
        error: How it died.

    Returns:
        The error, with what kept a record from being left, if anything did.
    """
    worker = Worker(Job.model_validate(content))
    try:
        if worker.job.kind != "score":
            return worker.fail(error, lasting=False)
        done = worker.records.keys()  # by an attempt that died later
        left = [one for one in worker.job.batch if not (one["key"] in done and worker.store.contains(one["key"]))]
        found = {worker._for_run(**_typed(entry)).fail(error, lasting=False) for entry in left}
    except PlaceError as another:
        return f"{error}\nand no record could be left: {another}"
    return max(found, key=len, default=error)


class Worker:
    """The stages of one job. Each looks for its artefact before it makes it."""

    def __init__(
        self, job: Job, progress: Callable[[int, int], None] | None = None, store: Store | None = None
    ) -> None:
        self.job, self.progress = job, progress
        self.task: TaskSpec = job.run.task
        self.store = store or Store(job.store)
        self.records, self.populations = Records(job.results), PopulationRecords(job.results)
        self._known: list[str] = []  # records of this job's key from before it began
        self.device = torch.device(job.device)
        self.stages = Stages()
        self._scorer = Scorer(self.store, job.sources, self._observed)
        self.models = Models(
            self.task, job.run.seed, job.keys, self.store, Path(job.data), self.device, self.stages, progress
        )
        self._process = os.getpid()

    def do(self) -> tuple[Ending, str | None]:
        """The job's status and what went wrong; a failure inside a run or a population leaves its record."""
        shelf = self.populations if self.job.kind == "population" else self.records
        try:
            if self.job.kind in ("run", "population"):
                self._known = shelf.names_of(self.task.name, self.job.run.method, self.job.key)
            done: tuple[Ending, str | None] = getattr(self, self.job.kind)()
            return done
        except PlaceError:
            raise
        except (Exception, SystemExit) as problem:
            error = _explain(problem)
            return ("out_of_memory", error) if _lacks_memory(problem) else ("failed", self.fail(error))

    def fail(self, error: str, lasting: bool = True) -> str:
        """Leave the record of a failure; return the error, with what kept the record from being left, if anything did.

        Args:
            error: What went wrong.
            lasting: Whether the run counts as done; if not, the next command tries it again.
        """
        try:
            if self.job.kind == "run":
                self.record("failed", error)
            elif self.job.kind == "population":
                self.record_population("failed", error)
            if not lasting:
                self.store.discard(self.job.key)
        except PlaceError:
            raise
        except Exception as another:
            error += f"\nand no record could be left: {_explain(another)}"
        return error

    # The kinds of jobs

    def train(self) -> tuple[Status, str | None]:
        """An original or retrained model and its outputs, or the model of one of its shards."""
        if self.job.role not in TRAINED_ON:
            self.models.shard(self.job.role, fresh=self.job.fresh)
        for place in self._places(self.job.role):
            self.outputs(place, fresh=self.job.fresh)
        return "ok", None

    def run(self) -> tuple[Status, str | None]:
        """Unlearn, observe, score, record."""
        for role in TRAINED_ON:
            self._scorer.outputs(role, self.job.keys)
        meta = self.unlearn(fresh=self.job.fresh)
        if meta["status"] == "diverged":
            self.record("diverged", meta["error"], meta)
            return "diverged", meta["error"]
        if self.job.fresh:
            for place in self._places("unlearned"):
                self.outputs(place, fresh=True)
        outputs = self._scorer.outputs("unlearned", self.job.keys)
        if not all(np.isfinite(array).all() for array in outputs.values()):
            error = "an output of the unlearned model is not finite, though its weights are."
            self.record("diverged", error, meta)
            return "diverged", error
        with self.stages.timed("score", torch.device("cpu")):
            metrics = self._scorer.score(self.job.keys, self.job.fresh)
            ensemble = self.task.split.pairs and self.task.split.seed is not None
            curves = {} if ensemble else self._scorer.curves(self.job.keys)
        status = _status(self.task.paradigm, outputs, unchanged=meta["unchanged"])
        self.record(status, None, meta, metrics=metrics, curves=curves)
        return status, None

    def score(self) -> tuple[Ending, str | None]:
        """Runs of one seed whose outputs are stored, one after the other."""
        errors = []
        for entry in self.job.batch:
            one = self._for_run(**_typed(entry))
            one.models.share_data(self.models)
            one._scorer = self._scorer.observing(one._observed)
            status, error = one.do()
            self.models.share_data(one.models)
            self.stages.add(one.stages)
            if status == "out_of_memory":
                return status, f"{entry['role']}: {error}"
            errors += [f"{entry['role']}: {error}"] if status == "failed" else []
        return ("failed", "; ".join(errors)) if errors else ("ok", None)

    def population(self) -> tuple[Status, str | None]:
        """What the models of all seeds say together."""
        statuses = [(self.store.meta(member["run"]) or {}).get("status", "missing") for member in self.job.members]
        error = together(dict(zip(self.job.seeds, statuses, strict=True)))
        if error is not None:
            self.record_population("failed", error)
            return "failed", error
        with self.stages.timed("score", torch.device("cpu")):
            seeds, split = self.job.seeds, self.task.split
            runs = [self.job.run.model_copy(update={"seed": seed}) for seed in seeds]
            workers = [self._for_run(run=r, keys=k) for r, k in zip(runs, self.job.members, strict=True)]
            models = {role: [worker.outputs(f"{role}/outputs") for worker in workers] for role in ROLES}
            if split.pairs and split.seed is not None:
                for role, found in models.items():
                    key = together_key(self.job.members, role)
                    if not self.store.contains(key):
                        self.store.put(key, arrays=stacked(found))
            population = Population(
                seeds=tuple(seeds),
                original=models["original"],
                retrained=models["retrained"],
                paired=split.pairs and all(seed ^ 1 in seeds for seed in seeds),
            )
            metrics = measure(self.job.run.metrics, models["unlearned"], population)
        status: Status = "no_change" if set(statuses) == {"no_change"} else "ok"
        self.record_population("collapsed" if "collapsed" in statuses else status, None, metrics)
        return status, None

    # Stages

    def outputs(self, place: str, fresh: bool = False) -> dict[str, NDArray[Any]]:
        """What is observed of a model at a place, "original/outputs" say; from the store, or observed now.

        Args:
            place: Role of the model, and what is observed of it.
            fresh: Never an earlier run's.
        """
        key = self.job.keys[place]
        found = None if fresh else self.store.arrays(key)
        if found is None:
            role, what = place.split("/")
            learner = (
                self._unlearned() if role == "unlearned" else self.models.reference(role, fresh and what == "outputs")
            )
            with self.stages.timed("observe", self.device):
                seed = derive_seed(self.task.name, "views")  # the same for every model of the task (METRICS V7)
                if what == "outputs":
                    found = observe(learner, self.models.data, self.task.evaluation, seed, self.device)
                else:
                    order = derive_seed(self.task.name, "relearning", self.job.run.seed)
                    found = relearn(
                        learner, self.models.data, self.task.recipe, self.task.evaluation, order, seed, self.device
                    )
            sizes = {"sizes": self.models.data.sizes(), "duplicates_dropped": self.models.data.duplicates_dropped}
            self.store.put(key, arrays=found, meta=sizes, replace=fresh)
        return found

    def _observed(self, role: str) -> dict[str, NDArray[Any]]:
        """All that is observed of one model."""
        found: dict[str, NDArray[Any]] = {}
        for place in self._places(role):
            found |= self.outputs(place)
        return found

    def _for_run(self, **changes: Any) -> "Worker":
        """A worker for one of the runs that this job is about; it makes what the store lacks, as in its own job."""
        return Worker(self.job.model_copy(update={"kind": "run", "batch": [], **changes}), store=self.store)

    def _places(self, role: str) -> list[str]:
        return [name for name in self.job.keys if name.startswith(f"{role}/")]

    def unlearn(self, fresh: bool = False) -> dict[str, Any]:
        """Have the method make the unlearned model, unless the store has it; return what is noted with it."""
        key = self.job.keys["unlearned"]
        known = None if fresh else self.store.meta(key)
        if known is not None:
            return known
        original = self.models.reference("original")
        name, params = self.job.run.method, self.job.run.params
        method: Method = build(_method_class(name), params, f"method {name!r}")
        request = self._request(method, original)
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        before, joules = _parameters(original), energy(self.device)
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
        used = energy(self.device)
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
            "energy_joules": None if joules is None or used is None else used - joules,
            "flops": self._flops(method) if self.job.counts_flops and error is None else None,
            "load_average": load,
            "log": request.log,
        }
        self.store.put(key, weights=state, meta=meta, replace=fresh)
        return meta

    def _flops(self, method: Method) -> int:
        """Of the same call once more, untimed: counting slows it down."""
        original = self.models.reference(
            "original"
        )  # loaded anew, for some methods return the learner that they are given
        with self.stages.timed("count", self.device), FlopCounterMode(display=False) as counter:
            method.unlearn(original, self._request(method, original))
        return int(counter.get_total_flops())

    def _unlearned(self) -> Learner:
        """The unlearned model from the store; made again if its weights turn out to be damaged."""
        weights = self.store.weights(self.job.keys["unlearned"])
        if weights is None:
            self.unlearn()
            weights = self.store.weights(self.job.keys["unlearned"])
        return self.models.loaded(weights or {})

    def _request(self, method: Method, original: Learner) -> UnlearningRequest:
        """What the method is handed: the sets that it declares, and stand-ins that raise for the others."""
        stand_in = {"forget": "placebo"} if self.job.run.placebo else {}
        sets: dict[str, Any] = {
            name: self.models.examples(self.models.data[stand_in.get(name, name)], name)
            if name in method.reads()
            else Forbidden(self.job.run.method, name)
            for name in ("forget", "retain", "third_party")
        }
        given: dict[str, Any] = {
            **sets,
            "recipe": self.task.recipe,
            "fresh_learner": self.models.build,
            "seed": derive_seed(self.task.name, "method", self.job.run.method, self.job.run.seed),
            "device": self.device,
            "scenario": self.task.scenario.name.partition(":")[0],
            "num_classes": original.num_classes,
            "progress": self.progress,
        }
        if ARTEFACTS not in method.reads():
            return UnlearningRequest(**given)
        log: list[dict[str, float]] = []
        return ShardedRequest(**given, log=log, artefacts=self.models.artefacts(log))

    def record(self, status: Status, error: str | None, meta: dict[str, Any] | None = None, **found: Any) -> None:
        """Leave the run's record."""
        method = _method_class(self.job.run.method)
        self._mark(status)
        observed = (self.store.meta(self.job.keys["unlearned/outputs"]) or {}) if meta else {}
        self.records.add(
            Record(
                key=self.job.key,
                suite=self.job.suite,
                run=self.job.run,
                paradigm=self.task.paradigm,
                uses=sorted(build(method, self.job.run.params, self.job.run.method).reads()),
                oracle=info_of(method).oracle,
                optimises=sorted(info_of(method).optimises),
                status=status,
                error=None if error is None else anonymous(error),
                sizes=observed.get("sizes", {}),
                duplicates_dropped=observed.get("duplicates_dropped", 0),
                log=[_finite(row) for row in meta["log"]] if meta else [],
                cost=self._cost(meta) if meta else None,
                artefacts=self.job.keys,
                provenance=provenance(),
                **found,
            ),
            fresh=self.job.fresh,
            known=self._known,
        )

    def record_population(
        self, status: Status, error: str | None, metrics: dict[str, PopulationValue] | None = None
    ) -> None:
        """Leave the record of all seeds."""
        info = info_of(_method_class(self.job.run.method))
        self._mark(status)
        self.populations.add(
            PopulationRecord(
                key=self.job.key,
                suite=self.job.suite,
                task=self.task,
                method=self.job.run.method,
                params=self.job.run.params,
                seeds=self.job.seeds,
                oracle=info.oracle,
                optimises=sorted(info.optimises),
                status=status,
                error=None if error is None else anonymous(error),
                metrics=metrics or {},
                seconds=self.stages.seconds.get("score", 0.0),
                runs=[member["run"] for member in self.job.members],
                provenance=provenance(),
            ),
            fresh=self.job.fresh,
            known=self._known,
        )

    def _mark(self, status: Status) -> None:
        """With the record it says: this run is done, here."""
        if os.getpid() != self._process:
            os._exit(1)  # a child that a method forked came back as well; its parent speaks for the job
        seed = "all seeds" if self.job.kind == "population" else f"seed {self.job.run.seed}"
        what = f"{self.task.name}, {self.job.role}, {seed}"
        self.store.put(self.job.key, meta={"status": status, "what": what}, replace=True)

    def _cost(self, meta: dict[str, Any]) -> Cost:
        trained = {role: self.models.cost(role) for role in TRAINED_ON}
        return Cost(
            unlearn_seconds=meta["seconds"],
            unlearn_cpu_seconds=meta["cpu_seconds"],
            train_seconds=trained["original"].get("seconds", 0.0),
            retrain_seconds=trained["retrained"].get("seconds", 0.0),
            observe_seconds=self.stages.seconds.get("observe", 0.0),
            score_seconds=self.stages.seconds.get("score", 0.0),
            unlearn_device_seconds=meta["device_seconds"],
            peak_memory_bytes=meta["peak_memory_bytes"],
            peak_reserved_bytes=meta["peak_reserved_bytes"],
            samples_seen=meta["samples_seen"],
            flops=meta.get("flops"),
            energy_joules=meta.get("energy_joules"),
            artefact_bytes=trained["original"].get("bytes"),
            device=self.job.device,
            threads=self.job.threads,
            load_average=meta["load_average"],
            exclusive=self.job.exclusive,
            attempts=self.job.attempt,
        )


def _typed(entry: dict[str, Any]) -> dict[str, Any]:
    return entry | {"run": RunSpec.model_validate(entry["run"])}


def _finite(row: dict[str, float]) -> dict[str, float]:
    """What a method noted of an epoch, as far as JSON can hold it."""
    return {name: value for name, value in row.items() if math.isfinite(value)}


def _method_class(name: str) -> type:
    target: type = registry.get("method", name.partition("[")[0]).target
    return target


def _parameters(learner: Learner) -> dict[str, Tensor]:
    """A copy of the trainable parameters."""
    return {name: parameter.detach().clone() for name, parameter in learner.trainable()}


def _same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


def _status(paradigm: str, outputs: Outputs, unchanged: bool) -> Status:
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


def _lacks_memory(problem: BaseException) -> bool:
    """Python's own error (numpy's is one), a GPU's, or that of torch's allocator on the CPU, which has no class."""
    return isinstance(problem, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(problem)


def _explain(problem: BaseException) -> str:
    """One sentence for our own errors, the traceback for everybody else's."""
    return str(problem) if isinstance(problem, BenchmarkError) else traceback.format_exc(limit=-8)
