"""One job after the other in this process, with nothing between you and it: for debugging. Limits are not kept."""

from collections import deque
from collections.abc import Iterator
from typing import Any

from benchmark.api import Executor, register_executor


@register_executor("serial", description="one job after the other in this process, for debugging")
class Serial(Executor):
    def __init__(self, workers: int = 1, gpus_per_job: float | None = None) -> None:
        self._waiting: deque[dict[str, Any]] = deque()
        self._running: list[dict[str, Any]] = []

    def submit(self, job: dict[str, Any]) -> None:
        self._waiting.append(job)

    def running(self) -> list[dict[str, Any]]:
        return self._running

    def completed(self) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        from benchmark.jobs import run_job

        while self._waiting:
            job = self._waiting.popleft()
            self._running = [job]
            yield job, run_job(job)
        self._running = []

    def cancel(self) -> None:
        self._waiting.clear()
