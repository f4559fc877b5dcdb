"""The jobs of a plan as Ray tasks: on the cores of this machine, or on a cluster.

A task hands its job to the local executor of its node, so that a job is as isolated on a cluster as on a laptop: in a
process of its own, forked from a server that has imported torch. Ray's own way, a new worker for each task
(`max_calls=1`), takes 5.7 s of processor time per job for imports; this one takes 0.3 s, and holds one such server for
each worker.

Ray repeats nothing itself (`max_retries=0`). What became of a job whose worker or node was lost is said in its result,
and the runner decides, as for every executor.
"""

import hashlib
import os
import socket
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from types import ModuleType
from typing import Any

from benchmark import ROOT, __version__, component_folder
from benchmark.api import Executor, register_executor
from benchmark.errors import BenchmarkError
from benchmark.guard import ended
from benchmark.provenance import commit_of_code

Job = dict[str, Any]
Result = dict[str, Any]

LOOPBACK = "127.0.0.1"
PATIENCE = 60.0
"""Seconds in which a node must see a file that was written on another; network file systems keep old listings."""
_OBJECTS = 80 << 20  # bytes for Ray's objects, its least: only JSON goes through it


@register_executor("ray", description="Ray tasks, on this machine or on the cluster of --address")
class RayTasks(Executor):
    """A driver of Ray tasks.

    Args:
        workers: Jobs at once on this machine; a cluster that is there already takes as many as its nodes have room for.
        gpus_per_job: A part of one if below 1; none unless said.
        address: `HOST:PORT` of a cluster's head, or `auto`; unless said Ray is started here and ended with the run.

    Raises:
        BenchmarkError: If Ray is not installed, the cluster does not answer, or no node has room for a job.
    """

    def __init__(self, workers: int = 1, gpus_per_job: float | None = None, address: str | None = None) -> None:
        self._ray = _connected(workers, address)
        self._gpus = gpus_per_job
        self._task = self._ray.remote(num_gpus=gpus_per_job or 0, max_retries=0)(_work)
        self._jobs: dict[Future[Result], Job] = {}
        self._done: SimpleQueue[Future[Result]] = SimpleQueue()
        self._checked = address is None
        self.workers = self._room()
        if not self.workers:
            self.cancel()
            share = "" if gpus_per_job is None else f" and {gpus_per_job:g} of a GPU"
            raise BenchmarkError(
                f"--executor ray: no node has a core{share} to give; `ray status` shows what they have."
            )

    def submit(self, job: Job) -> None:
        if not self._checked:
            self._check_nodes(job)
            self._checked = True
        task = self._task.options(num_cpus=job["threads"]).remote(job, self._gpus, _code())
        future: Future[Result] = task.future()
        self._jobs[future] = job
        future.add_done_callback(self._done.put)

    def running(self) -> list[Job]:
        """Ray starts jobs in the order in which they came, so it is the first of them, as many as there is room for."""
        return list(self._jobs.values())[: self.workers]

    def completed(self) -> Iterator[tuple[Job, Result]]:
        while self._jobs:
            future = self._done.get()
            self.workers = max(1, self._room())  # nodes come and go; one job waits for the next
            yield self._jobs.pop(future), self._result(future)
        self._ray.shutdown()

    def cancel(self) -> None:
        """Ray ends the tasks of a driver that leaves, and whoever guards their jobs ends these."""
        self._jobs.clear()
        self._ray.shutdown()

    def _room(self) -> int:
        """How many jobs the nodes that live can run at once."""
        have = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        cores = [int(resources.get("CPU", 0)) for resources in have]
        if self._gpus is None:
            return sum(cores)
        return sum(min(core, int(node.get("GPU", 0) / self._gpus)) for core, node in zip(cores, have, strict=True))

    def _check_nodes(self, job: Job) -> None:
        """Raise BenchmarkError unless every node runs this code and sees the folders of the store and the results."""
        look = self._ray.remote(num_cpus=0, max_retries=0)(_look)
        pinned = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        alive = {node["NodeID"]: node["NodeManagerAddress"] for node in self._ray.nodes() if node["Alive"]}
        with _marked([folder for folder in (job["store"], job["results"]) if "://" not in folder]) as marks:
            looks = {
                key: look.options(scheduling_strategy=pinned(key, soft=False)).remote(marks, PATIENCE) for key in alive
            }
            for key, seen in looks.items():
                try:
                    wrong = _difference(self._ray.get(seen))
                except self._ray.exceptions.RayError as error:
                    wrong = f"cannot run the benchmark ({_last_line(error)}); install it there"
                if wrong:
                    raise BenchmarkError(f"node {alive[key]} {wrong}.")

    def _result(self, future: "Future[Result]") -> Result:
        """What the job left, or why there is nothing."""
        death = future.exception()
        if death is None:
            return future.result()
        errors = self._ray.exceptions
        status = "out_of_memory" if isinstance(death, errors.OutOfMemoryError) else "died"
        if isinstance(death, errors.RayTaskError):  # ours, on the worker: it would only be raised again
            status = "failed"
        return ended(status, f"{type(death).__name__}: {_last_line(death)}.")


def _connected(workers: int, address: str | None) -> ModuleType:
    """Ray, initialised.

    One that is started here listens on this machine alone: whoever reaches its sockets could run code here.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address is None:  # else Ray takes 127.0.0.1 for a way to name the machine, and asks for its address on the net
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    try:
        import ray
    except ImportError as error:
        raise BenchmarkError(
            "--executor ray: Ray is not installed; `pip install 'unlearning-benchmark[ray]'` installs it."
        ) from error
    quiet: dict[str, Any] = {"logging_level": "error", "log_to_driver": False}
    if address is None:
        place: dict[str, Any] = {"address": "local", "_node_ip_address": LOOPBACK, "include_dashboard": False}
        ray.init(**quiet, **place, num_cpus=workers, object_store_memory=_OBJECTS)
        return ray
    try:
        _check_answers(address)
        ray.init(**quiet, address=address)
    except (OSError, ValueError, RuntimeError) as error:
        raise BenchmarkError(
            f"--address {address}: no Ray cluster answers there ({error}); "
            "`ray start --head` starts one and says its address."
        ) from error
    return ray


def _check_answers(address: str) -> None:
    """Ask first: Ray itself would end this process, after a long wait."""
    if address == "auto":
        return
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        raise ValueError("HOST:PORT or auto is right")
    socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


@contextmanager
def _marked(folders: list[str]) -> Iterator[list[str]]:
    """A file in each folder while others look for it."""
    marks = [Path(folder) / f".seen-{uuid.uuid4().hex}" for folder in folders]
    try:
        for mark in marks:
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()
        yield [str(mark) for mark in marks]
    finally:
        for mark in marks:
            mark.unlink(missing_ok=True)


def _difference(there: dict[str, Any]) -> str | None:
    """What a node has that this one has not, or the other way round."""
    if there["missing"]:
        folder = Path(there["missing"][0]).parent
        return f"does not see {folder}; --store and --results must lie where all nodes see them"
    if there["code"] != _code():
        return f"has other code ({there['version']}) than this one ({_version()}); install the same on all nodes"
    return None


def _last_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].rstrip(".")


# -- on the nodes ------------------------------------------------------------------------------------------


def _work(job: Job, gpus: float | None, code: str) -> Result:
    """A task: the job in a process of its own, and what became of it."""
    if _code() != code:
        error = f"the node that took this job has other code ({_version()}); install the same version on all nodes."
        return ended("failed", error)
    executor, results = _local(gpus, os.environ.get("CUDA_VISIBLE_DEVICES"))
    executor.submit(job)
    return next(results)[1]


@cache
def _local(gpus: float | None, _devices: str | None) -> tuple[Executor, Iterator[tuple[Job, Result]]]:
    """Of this worker, on the devices that Ray gave it; its results never end, so it is there for the next task."""
    from benchmark.executors.local import Local

    executor = Local(workers=1, gpus_per_job=gpus)
    return executor, executor.completed()


def _look(marks: list[str], patience: float) -> dict[str, Any]:
    """What a node has: its code, and those of the files that it does not see after so many seconds."""
    end = time.monotonic() + patience
    while (missing := [mark for mark in marks if not Path(mark).exists()]) and time.monotonic() < end:
        time.sleep(0.2)
    return {"code": _code(), "version": _version(), "missing": missing}


def _version() -> str:
    commit, dirty = commit_of_code()
    return f"{__version__}, commit {commit[:12]}{', edited' if dirty else ''}"


@cache
def _code() -> str:
    """Hash of all our source, components included: a plan's keys hold only for the code that made them."""
    found = hashlib.sha256()
    for folder in (ROOT, component_folder("methods"), component_folder("datasets")):
        for path in sorted(folder.rglob("*.py")):
            found.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return found.hexdigest()
