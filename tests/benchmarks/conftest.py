"""Speeds in units of this machine: a fixed piece of work is timed before and after each benchmark.

Its time is kept as `extra_info["calibration_seconds"]`, and a baseline that is compared against is scaled by how much
faster or slower the machine is at it now. So `--benchmark-compare-fail=median:25%` holds ratios against each other, and
another machine's baseline still means something. Saved files name no host.
"""

from collections.abc import Iterator
from time import perf_counter
from typing import Any

import numpy as np
import pytest
import torch

_SCALED = ("min", "max", "mean", "median", "stddev", "iqr", "q1", "q3", "ld15iqr", "hd15iqr", "total")


def work() -> float:
    """What the hot paths are made of: a convolution with its gradient, sorting, matrix products, plain Python."""
    generator = np.random.default_rng(0)
    images = torch.from_numpy(generator.standard_normal((64, 8, 16, 16), dtype=np.float32))
    weights = torch.from_numpy(generator.standard_normal((16, 8, 3, 3), dtype=np.float32)).requires_grad_()
    total = 0.0
    for _ in range(4):
        loss = torch.nn.functional.conv2d(images, weights, padding=1).square().mean()
        loss.backward()
        total += float(loss.detach())
    matrix = generator.standard_normal((300, 300))
    total += float((matrix @ matrix).trace()) + float(np.sort(generator.standard_normal(200_000))[0])
    words = {f"word {number}": number for number in range(30_000)}
    return total + sum(words[word] for word in sorted(words))


def calibrated(rounds: int = 5) -> float:
    """Median seconds of the work, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    seconds = []
    for _ in range(rounds + 1):
        start = perf_counter()
        work()
        seconds.append(perf_counter() - start)
    torch.set_num_threads(threads)
    return float(np.median(seconds[1:]))


@pytest.fixture(autouse=True)
def _calibration(request: pytest.FixtureRequest) -> Iterator[None]:
    if "benchmark" not in request.fixturenames or request.getfixturevalue("benchmark").disabled:
        yield
        return
    benchmark = request.getfixturevalue("benchmark")
    before = calibrated()
    yield
    now = (before + calibrated()) / 2
    benchmark.extra_info["calibration_seconds"] = now
    for saved in (request.config._benchmarksession.compared_mapping or {}).values():  # type: ignore[attr-defined]
        if benchmark.fullname in saved:
            scale(saved[benchmark.fullname], now)


def scale(saved: dict[str, Any], now: float) -> None:
    """Say what a saved benchmark would take on a machine whose calibration takes so many seconds."""
    then = saved["extra_info"].get("calibration_seconds")
    if then:
        ratio = now / then
        stats = saved["stats"]
        stats |= {name: stats[name] * ratio for name in _SCALED if name in stats} | {"ops": stats["ops"] / ratio}
        saved["extra_info"]["calibration_seconds"] = now


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """No host name, nothing of the build."""
    for name in ("node", "release", "python_build", "python_compiler"):
        machine_info.pop(name, None)
    cpu = machine_info.get("cpu", {})
    machine_info["cpu"] = {name: cpu[name] for name in ("brand_raw", "arch", "count") if name in cpu}


def pytest_benchmark_compare_machine_info(**_: Any) -> None:
    """Another machine is no reason for a warning: that is what calibration is for."""
