"""Who gets which GPU. There is none here: what is looked at is what CUDA would be told."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

from benchmark import ROOT, registry, session
from benchmark.errors import BenchmarkError
from benchmark.executors import local
from benchmark.executors.local import Seat, seats_on, visible_gpus
from benchmark.session import Machine
from tests import tiny


@pytest.fixture(autouse=True)
def own_process(monkeypatch) -> Iterator[None]:
    with tiny.own_process(monkeypatch):
        yield


@pytest.mark.parametrize(
    ("devices", "each", "expected"),
    [
        ("01", 1.0, [("0", 1.0), ("1", 1.0)]),
        ("01", 0.5, [("0", 0.5), ("1", 0.5), ("0", 0.5), ("1", 0.5)]),
        ("0", 0.25, [("0", 0.25)] * 4),
        ("0", 1 / 3, [("0", 1 / 3)] * 3),
        ("0", 0.4, [("0", 0.4)] * 2),
        ("012", 2.0, [("0,1", 1.0)]),
        ("4567", 2.0, [("4,5", 1.0), ("6,7", 1.0)]),
    ],
)
def test_jobs_that_need_a_part_of_a_gpu_share_it_and_neighbours_sit_apart(devices, each, expected):
    assert seats_on(devices, each) == [Seat(*seat) for seat in expected]


@pytest.mark.parametrize(
    ("devices", "each", "sentence"),
    [
        ("", 1.0, "--gpus-per-job 1: 0 GPUs are visible here; give what fits."),
        ("", 0.5, "--gpus-per-job 0.5: 0 GPUs are visible here; give what fits."),
        ("01", 4.0, "--gpus-per-job 4: 2 GPUs are visible here; give what fits."),
        ("01", 1.5, "--gpus-per-job 1.5: give a whole number, or a part of one GPU such as 0.25."),
    ],
)
def test_what_does_not_fit_is_refused(devices, each, sentence):
    with pytest.raises(BenchmarkError) as refused:
        seats_on(devices, each)
    assert str(refused.value) == sentence


def test_visible_are_those_that_the_environment_names_or_all(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus() == ["0", "1", "2"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "6,GPU-1a2b")
    assert visible_gpus() == ["6", "GPU-1a2b"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []


@pytest.mark.parametrize(("share", "told"), [(0.25, [0.25]), (1.0, [])])
def test_a_worker_sees_its_gpu_alone_and_takes_no_more_than_its_share(monkeypatch, share, told):
    seen: list[tuple[float, str]] = []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    monkeypatch.setattr(
        torch.cuda,
        "set_per_process_memory_fraction",
        lambda fraction: seen.append((fraction, local.os.environ["CUDA_VISIBLE_DEVICES"])),
    )
    monkeypatch.setattr("benchmark.jobs.run_job", lambda job: {"saw": local.os.environ["CUDA_VISIBLE_DEVICES"]})
    assert local._work({}, Seat("2", share)) == {"saw": "2"}
    assert seen == [(fraction, "2") for fraction in told]  # the environment first


def test_jobs_at_once_have_different_gpus_and_there_are_no_more_than_seats(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    body = "import os; raise RuntimeError(os.environ['CUDA_VISIBLE_DEVICES'])"
    plugin = tiny.plugin(tmp_path, "looks", body)
    where = session.options(tmp_path / "store", tmp_path / "results", tmp_path / "data", "cpu", fresh=False)
    suite = tiny.suite_file(tmp_path, {"methods": ["looks"], "seeds": 2})
    work = session.plan(str(suite), where, None, None, None, None, [plugin])
    executor = registry.get("executor", "local").target(workers=8, gpus_per_job=1.0)
    assert executor.workers == 2
    for job in work.jobs.values():
        if job["kind"] == "run":
            executor.submit(job)
    found = [result["error"].strip().splitlines()[-1] for _, result in executor.completed()]
    assert sorted(found) == ["RuntimeError: 4", "RuntimeError: 7"]


def test_the_server_that_workers_are_forked_from_uses_no_gpu():
    """It would choose for all of them, and torch refuses to use CUDA in a fork of a process that has used it."""
    code = """
import torch
def touched(*_): raise SystemExit("CUDA was asked for")
torch._C._cuda_getDeviceCount = torch._C._cuda_init = touched
import benchmark.warm
assert not torch.cuda.is_initialized()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT.parent, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("device", "asked", "given"), [("cpu", None, None), ("cuda", None, 1.0), ("cuda", 0.5, 0.5), ("cuda:1", None, None)]
)
def test_on_cuda_each_job_gets_a_gpu_unless_said(monkeypatch, device, asked, given):
    made: list[dict[str, object]] = []
    monkeypatch.setattr(registry.get("executor", "serial").target, "__init__", lambda self, **how: made.append(how))
    Machine("serial", 3, gpus_per_job=asked).start(device)
    assert made == [{"workers": 3, "gpus_per_job": given}]


@pytest.mark.parametrize("device", ["cpu", "cuda:1"])
def test_gpus_are_handed_out_of_all_that_are_visible(device):
    with pytest.raises(BenchmarkError, match="goes with --device cuda, which means any GPU, not with"):
        Machine("serial", gpus_per_job=0.5).start(device)
