"""What a job costs: seconds by stage, peak memory, energy; on a GPU by its own clock and counters."""

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil
import torch


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

    def add(self, other: "Stages") -> None:
        """Count what another job took as well."""
        for name, seconds in other.seconds.items():
            self.seconds[name] = self.seconds.get(name, 0.0) + seconds


def synchronise(device: torch.device) -> None:
    """Wait for what the device was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def energy(device: torch.device) -> float | None:
    """Joules that a GPU has used since its driver was loaded; None where NVML is not there to say so."""
    if device.type != "cuda":
        return None
    try:
        import pynvml  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return None
    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}".encode())
    return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000


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
