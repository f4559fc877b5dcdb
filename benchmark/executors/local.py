"""A process per job on the cores or GPUs of this machine, forked from a server that has imported torch already.

No job sees another's global state, a job that dies takes nothing with it, and starting one costs milliseconds. Plain
`multiprocessing`, not a pool: workers of a pool share a pipe and its lock, which one that is killed can take with it.
"""

import json
import multiprocessing
import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from typing import Any

from benchmark.api import Executor, register_executor
from benchmark.errors import BenchmarkError
from benchmark.guard import cause_of_death, ended, guard

PATIENCE = 10.0
"""Seconds that a guard has to end its job before it is killed itself."""


@dataclass(frozen=True)
class Seat:
    """What a job that runs on GPUs may use.

    Attributes:
        devices: For CUDA_VISIBLE_DEVICES.
        share: Of each device's memory, in (0, 1].
    """

    devices: str
    share: float


@dataclass
class _Worker:
    """A guard, its seat, and the job that it has now."""

    guard: ForkServerProcess
    wire: Connection
    seat: Seat | None
    job: dict[str, Any]


@register_executor("local", description="a process per job on all cores or GPUs of this machine")
class Local(Executor):
    def __init__(self, workers: int = 1, gpus_per_job: float | None = None) -> None:
        for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ.setdefault(variable, "1")  # read when a worker's libraries load
        seats = [None] * workers if gpus_per_job is None else seats_on(visible_gpus(), gpus_per_job)[:workers]
        self.workers = len(seats)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["benchmark.warm"])
        forkserver.ensure_running()  # it imports while this process goes on
        self._seats: deque[Seat | None] = deque(seats)  # that have no guard yet
        self._idle: list[_Worker] = []
        self._busy: list[_Worker] = []
        self._waiting: deque[dict[str, Any]] = deque()
        self._ended: deque[tuple[dict[str, Any], dict[str, Any]]] = deque()

    def submit(self, job: dict[str, Any]) -> None:
        self._waiting.append(job)
        self._start()

    def running(self) -> list[dict[str, Any]]:
        return [worker.job for worker in self._busy]

    def completed(self) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        while self._busy or self._ended:
            ready = [] if self._ended else wait([worker.wire for worker in self._busy])
            for worker in [worker for worker in self._busy if worker.wire in ready]:
                self._busy.remove(worker)
                self._ended.append((worker.job, self._answer(worker)))
            self._start()
            while self._ended:
                yield self._ended.popleft()
        self._dismiss()

    def cancel(self) -> None:
        self._waiting.clear()
        self._ended.clear()
        self._dismiss()

    def _start(self) -> None:
        """Give what waits to those who have nothing to do."""
        while self._waiting and (self._idle or self._seats):
            job = self._waiting.popleft()
            try:
                worker = self._idle.pop() if self._idle else self._hire()
            except (OSError, EOFError) as problem:  # the server was killed; the next start makes another
                self._ended.append((job, ended("died", f"no worker could be started: {problem}.")))
                continue
            worker.job = job
            with suppress(ConnectionError):  # that a guard was killed is noticed when it is waited for
                worker.wire.send_bytes(json.dumps(job).encode())
            self._busy.append(worker)

    def _hire(self) -> _Worker:
        """A guard for the next seat."""
        wire, theirs = self._context.Pipe()
        process = self._context.Process(target=guard, args=(theirs, _work, self._seats[0]))
        with theirs:
            process.start()
        return _Worker(process, wire, self._seats.popleft(), {})

    def _answer(self, worker: _Worker) -> dict[str, Any]:
        """What a guard says of its job; if it was killed itself, that."""
        try:
            result: dict[str, Any] = json.loads(worker.wire.recv_bytes())
        except (EOFError, ConnectionError):
            worker.wire.close()
            worker.guard.join()
            self._seats.append(worker.seat)
            return ended("died", cause_of_death(worker.guard.exitcode))
        self._idle.append(worker)
        return result

    def _dismiss(self) -> None:
        """Send the guards home; who still has a job ends it at once."""
        workers = [*self._idle, *self._busy]
        for worker in workers:
            worker.wire.close()
        for worker in workers:
            worker.guard.join(PATIENCE)
            worker.guard.kill()
            worker.guard.join()
            self._seats.append(worker.seat)
        self._idle.clear()
        self._busy.clear()


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def seats_on(devices: Sequence[str], gpus_per_job: float) -> list[Seat]:
    """As many seats as fit: several on a GPU if a job needs a part of one; neighbours in the list on different GPUs.

    Raises:
        BenchmarkError: If there is no room for a single job, or a job needs one and a half.
    """
    asked = f"--gpus-per-job {gpus_per_job:g}"
    if gpus_per_job > 1 and not gpus_per_job.is_integer():
        raise BenchmarkError(f"{asked}: give a whole number, or a part of one GPU such as 0.25.")
    if gpus_per_job > len(devices) or not devices:
        raise BenchmarkError(f"{asked}: {len(devices)} GPUs are visible here; give what fits.")
    if gpus_per_job < 1:
        return [Seat(device, gpus_per_job) for _ in range(int(1 / gpus_per_job + 1e-9)) for device in devices]
    each = int(gpus_per_job)
    return [Seat(",".join(devices[i : i + each]), 1.0) for i in range(0, len(devices) - each + 1, each)]


def _work(job: dict[str, Any], seat: Seat | None) -> dict[str, Any]:
    """Runs in the worker."""
    if seat is not None:
        _take(seat)
    from benchmark.jobs import run_job

    return run_job(job)


def _take(seat: Seat) -> None:
    """Before the first call to CUDA, though after the import of torch.

    The CUDA driver reads CUDA_VISIBLE_DEVICES in cuInit, and `torch.cuda._lazy_init` puts that off until CUDA is first
    used. The server that this process was forked from has imported torch and used no GPU (a test holds it to that), or
    torch would refuse here: "Cannot re-initialize CUDA in forked subprocess".
    """
    os.environ["CUDA_VISIBLE_DEVICES"] = seat.devices
    if seat.share < 1:
        import torch

        torch.cuda.set_per_process_memory_fraction(seat.share)
