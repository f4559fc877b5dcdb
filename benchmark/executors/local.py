"""A process per job on the cores of this machine, forked from a server that has imported torch already.

No job sees another's global state, a job that dies takes nothing with it, and starting one costs milliseconds.
"""

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import Future
from multiprocessing import forkserver
from queue import SimpleQueue
from typing import Any

import pebble
from pebble import ProcessExpired, ProcessPool

from benchmark.api import Executor, register_executor

_WARM = ["benchmark.jobs", "benchmark.warm"]


@register_executor("local", description="a process per job on all cores of this machine")
class Local(Executor):
    def __init__(self, workers: int = 1) -> None:
        for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ.setdefault(variable, "1")  # read when a worker's libraries load
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_WARM)
        forkserver.ensure_running()  # it imports while this process goes on
        pebble.CONSTS.sleep_unit = 0.01  # of its polling: the default of 0.1 s costs each short job as much again
        self._pool = ProcessPool(max_workers=workers, max_tasks=1, context=context)
        self._jobs: dict[Future[Any], dict[str, Any]] = {}
        self._done: SimpleQueue[Future[Any]] = SimpleQueue()

    def submit(self, job: dict[str, Any]) -> None:
        future = self._pool.schedule(_work, args=[job])
        self._jobs[future] = job
        future.add_done_callback(self._done.put)

    def running(self) -> list[dict[str, Any]]:
        return [job for future, job in list(self._jobs.items()) if future.running()]

    def completed(self) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        while self._jobs:
            future = self._done.get()
            yield self._jobs.pop(future), _result(future)
        self._pool.close()
        self._pool.join()

    def cancel(self) -> None:
        self._pool.stop()
        self._pool.join()
        self._jobs.clear()


def _work(job: dict[str, Any]) -> dict[str, Any]:
    """Runs in the worker."""
    from benchmark.jobs import run_job

    return run_job(job)


def _result(future: Future[Any]) -> dict[str, Any]:
    """What the worker returned, or why it could not."""
    death = future.exception()  # asked for, not raised: a job's SystemExit must not end this process
    if death is None:
        result: dict[str, Any] = future.result()
        return result
    reason = f"{type(death).__name__}: {death}"
    if isinstance(death, ProcessExpired):
        reason = f"the worker died with exit code {death.exitcode}."
    return {"status": "died", "error": reason, "seconds": {}, "notes": []}
