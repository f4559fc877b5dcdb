"""Jobs as Ray tasks: the records of one process, on one node or two, whatever is lost on the way. All on 127.0.0.1."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmark import __version__, registry, session
from benchmark.display import Display
from benchmark.errors import BenchmarkError
from benchmark.executors import ray as executor_module
from benchmark.executors.ray import RayTasks
from benchmark.plan import Plan
from benchmark.runner import Summary, execute
from benchmark.specs import Record
from benchmark.store import Records
from tests import clusters, tiny

ROOT = Path(__file__).parents[1]
PATIENCE = 300.0
"""Seconds that a test waits for another process before it fails."""


@pytest.fixture(autouse=True)
def own_process(monkeypatch) -> Iterator[None]:
    with tiny.own_process(monkeypatch):
        yield


def planned(folder: Path, changes: dict[str, Any] | None = None, plugins: list[Path] | None = None) -> Plan:
    where = session.options(folder / "store", folder / "results", folder / "data", "cpu", fresh=False)
    return session.plan(str(tiny.suite_file(folder, changes)), where, None, None, None, None, plugins)


def run(work: Plan, display: Display | None = None, **more: Any) -> Summary:
    executor = registry.get("executor", "ray").target(workers=2, **more)
    return execute(work, executor, executor.workers, display or Display())


def records(folder: Path) -> dict[str, list[Record]]:
    """By method."""
    found: dict[str, list[Record]] = {}
    for record in Records(folder / "results").read():
        found.setdefault(record.run.method, []).append(record)
    return found


def said(folder: Path) -> list[dict[str, Any]]:
    return [tiny.said(record) for record in Records(folder / "results").read()]


def serially(folder: Path, changes: dict[str, Any] | None = None, plugins: list[Path] | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    executor = registry.get("executor", "serial").target()
    assert not execute(planned(folder, changes, plugins), executor, 1, Display()).failed
    return folder


def until(happened: Callable[[], Any]) -> Any:
    """Wait for what another process does; return what it came to."""
    end = time.monotonic() + PATIENCE
    while not (found := happened()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return found


def tree(process: psutil.Process | None = None) -> list[psutil.Process]:
    return [process or psutil.Process(), *(process or psutil.Process()).children(recursive=True)]


def heard_outside(processes: list[psutil.Process]) -> list[Any]:
    """Addresses that they listen on, but for this machine's own."""
    heard = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            heard += [c.laddr for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert heard
    return [address for address in heard if address.ip.removeprefix("::ffff:") != "127.0.0.1"]


class Watched(Display):
    """Does something when the first job has ended."""

    def __init__(self, act: Callable[[], None]) -> None:
        self.act: Callable[[], None] | None = act

    def finished(self, job: Any, result: Any) -> None:
        act, self.act = self.act, None
        if act is not None:
            act()


WAITS = """import os, time
        from pathlib import Path
        Path({folder!r}, f"began-{{os.getpid()}}").touch()
        end = time.monotonic() + {patience}
        while not Path({folder!r}, "go").exists() and time.monotonic() < end:
            time.sleep(0.02)"""


@pytest.fixture
def waits(tmp_path) -> Path:
    """A method that waits for the file `go`."""
    return tiny.plugin(tmp_path, "waits", WAITS.format(folder=str(tmp_path), patience=PATIENCE))


def began(folder: Path) -> list[int]:
    return [int(path.name.partition("-")[2]) for path in folder.glob("began-*")]


# -- on this machine ---------------------------------------------------------------------------------------


def test_ray_finds_what_serial_finds_and_misbehaving_jobs_hurt_only_themselves(tmp_path):
    misdeeds = {
        "dies": "import os; os._exit(3)",
        "raises": "raise RuntimeError('broken on purpose')",
        "spoils": "import os, random, torch; torch.set_default_dtype(torch.float64); torch.manual_seed(1); "
        "random.seed(1); torch.set_num_threads(2); torch.use_deterministic_algorithms(False); os.chdir('/')",
        "tells": "import os, torch; raise RuntimeError(f'{torch.get_num_threads()} {os.environ[\"OMP_NUM_THREADS\"]}')",
    }
    plugins = [tiny.plugin(tmp_path, name, body) for name, body in misdeeds.items()]
    work = planned(tmp_path, {"methods": ["spoils", "dies", "raises", "tells", "no_op", "fine_tune"]}, plugins)
    outside: list[Any] = []
    summary = run(work, Watched(lambda: outside.extend(heard_outside(tree()))))

    assert summary.done == 8 and outside == []
    found = records(tmp_path)
    alone = records(serially(tmp_path / "serial", {"methods": ["no_op", "fine_tune"]}))
    assert {name: tiny.said(found[name][0]) for name in alone} == {name: tiny.said(alone[name][0]) for name in alone}
    failed = dict(summary.failed)
    assert failed.keys() == {f"tiny-random, {method}, seed 0" for method in ("dies", "raises", "tells")}
    assert failed["tiny-random, dies, seed 0"] == "the worker died with exit code 3, tried 3 times."
    assert [(record.status, record.cost) for record in found["raises"]] == [("failed", None)]
    assert "broken on purpose" in failed["tiny-random, raises, seed 0"]
    assert failed["tiny-random, tells, seed 0"].strip().endswith("RuntimeError: 1 1")
    assert not [p for p in tree() if "ray" in p.name() or any("/ray/" in word for word in p.cmdline())]


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupted_run_leaves_no_process_behind_and_can_be_resumed(tmp_path, waits, times):
    """As a terminal does it: to the whole group of processes, Ray's among them."""
    words = ["run", "--all", f"--suite={tiny.suite_file(tmp_path, {'methods': ['waits', 'fine_tune']})}", "--jobs=1"]
    words += [f"--plugin={waits}", "--executor=ray", *tiny.places(tmp_path)]
    command = [sys.executable, "-m", "benchmark", *words]
    pipes: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    driver = subprocess.Popen(command, cwd=ROOT, start_new_session=True, preexec_fn=_heed_interrupts, **pipes)
    until(lambda: began(tmp_path) or driver.poll() is not None)
    started = tree(psutil.Process(driver.pid))
    os.killpg(driver.pid, signal.SIGINT)
    if times == 2:
        time.sleep(0.5)
        os.killpg(driver.pid, signal.SIGINT)
    else:
        (tmp_path / "go").touch()
    said = driver.communicate(timeout=PATIENCE)[1]
    assert driver.returncode == 130 and "type the same command again to go on from here" in said
    until(lambda: not [p for p in started if p.is_running() and p.status() != psutil.STATUS_ZOMBIE])
    assert len(Records(tmp_path / "results").keys()) == 2 - times
    (tmp_path / "go").touch()
    assert subprocess.run(command, cwd=ROOT, capture_output=True, timeout=PATIENCE, check=False).returncode == 0
    assert len(Records(tmp_path / "results").keys()) == 2


def _heed_interrupts() -> None:
    """A shell lets what it starts in the background ignore them, and its children would inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


# -- what is refused ---------------------------------------------------------------------------------------


def test_without_ray_it_is_said_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BenchmarkError, match=r"Ray is not installed; `pip install 'unlearning-benchmark\[ray\]'`"):
        RayTasks()


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1", "127.0.0.1:many", "127.0.0.1:{closed}"])
def test_where_no_cluster_answers_it_is_said_at_once(address):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = address.format(closed=free.getsockname()[1])
    with pytest.raises(BenchmarkError, match=f"^--address {address}: no Ray cluster answers there"):
        RayTasks(address=address)


def test_an_address_is_for_executors_that_know_clusters():
    with pytest.raises(BenchmarkError, match="the executor 'local' knows no clusters; give --executor ray"):
        session.Machine("local", address="127.0.0.1:6379").start("cpu")


def test_a_driver_needs_no_gpu_where_the_cluster_has_them(tmp_path, monkeypatch):
    monkeypatch.setattr(session, "_check_device", lambda device: pytest.fail("asked here"))
    assert session.options(tmp_path, tmp_path, tmp_path, "cuda", False, elsewhere=True).device == "cuda"


# -- on two nodes ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with clusters.head() as made:
        yield made


@pytest.fixture
def second(cluster) -> Iterator[Any]:
    """The node beside the head."""
    with clusters.another_node(cluster) as node:
        yield node


@contextmanager
def while_two_wait(folder: Path, act: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Beside what is done inside: once two jobs wait, do something, then let all go on."""

    def watch() -> None:
        try:
            until(lambda: len(began(folder)) >= 2)
            act()
        finally:
            (folder / "go").touch()

    with ThreadPoolExecutor(1) as pool:
        watched = pool.submit(watch)
        yield
        watched.result()


@pytest.mark.slow
def test_a_node_that_is_lost_in_the_midst_costs_no_record(tmp_path, cluster, second, waits):
    changes = {"seeds": 3, "methods": ["waits", "fine_tune"]}
    work = planned(tmp_path, changes, [waits])

    def lose() -> None:
        cluster.remove_node(second, allow_graceful=False)
        until(
            lambda: not all(map(psutil.pid_exists, began(tmp_path)))
        )  # its worker missed it, and its job's guard that

    with while_two_wait(tmp_path, lose):
        summary = run(work, address=cluster.address)
    assert summary.failed == [] and summary.done == 12
    assert [note.partition(":")[0] for note in summary.notes if "done at attempt 2" in note]
    assert said(tmp_path) == said(serially(tmp_path / "serial", changes, [waits]))


@pytest.mark.slow
def test_a_worker_of_ray_that_is_killed_costs_no_record(tmp_path, cluster, second, waits):
    changes = {"seeds": 2, "methods": ["waits"]}
    work = planned(tmp_path, changes, [waits])

    def kill() -> None:
        job = psutil.Process(began(tmp_path)[0])
        worker = next(parent for parent in job.parents() if parent.name().startswith("ray::"))
        worker.kill()
        until(lambda: not job.is_running())  # its guard saw it

    with while_two_wait(tmp_path, kill):
        summary = run(work, address=cluster.address)
    assert summary.failed == [] and summary.done == 6
    assert sum("done at attempt 2; before: WorkerCrashedError" in note for note in summary.notes) == 1
    assert said(tmp_path) == said(serially(tmp_path / "serial", changes, [waits]))


@pytest.mark.slow
def test_cancelling_ends_what_runs_on_a_cluster_and_leaves_the_cluster(tmp_path, cluster, second, waits):
    work = planned(tmp_path, {"seeds": 2, "methods": ["waits"]}, [waits])
    executor = RayTasks(address=cluster.address)
    for job in work.jobs.values():
        if job["kind"] == "run":
            executor.submit(job)
    until(lambda: len(began(tmp_path)) >= 2)
    assert [job["run"]["seed"] for job in executor.running()] == [0, 1]
    executor.cancel()
    assert executor.running() == [] and list(executor.completed()) == []
    until(lambda: not any(map(psutil.pid_exists, began(tmp_path))))
    assert Records(tmp_path / "results").keys() == set()
    (tmp_path / "go").touch()
    assert run(work, address=cluster.address).failed == []


@pytest.mark.slow
def test_a_driver_that_is_killed_and_started_again_ends_with_the_same_records(tmp_path, cluster, second, waits):
    changes = {"seeds": 2, "methods": ["waits", "fine_tune"]}
    suite = tiny.suite_file(tmp_path, changes)
    words = ["run", "--all", f"--suite={suite}", f"--plugin={waits}", f"--address={cluster.address}", "--executor=ray"]
    command = [sys.executable, "-m", "benchmark", *words, *tiny.places(tmp_path)]
    driver = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: len(began(tmp_path)) >= 2 or driver.poll() is not None)
    driver.send_signal(signal.SIGKILL)
    assert driver.wait(PATIENCE) == -signal.SIGKILL
    until(lambda: not any(map(psutil.pid_exists, began(tmp_path))))
    (tmp_path / "go").touch()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    assert said(tmp_path) == said(serially(tmp_path / "serial", changes, [waits]))


@pytest.mark.slow
def test_nodes_with_other_code_or_other_folders_and_clusters_without_gpus_are_refused(
    tmp_path, cluster, second, monkeypatch
):
    job = next(iter(planned(tmp_path).jobs.values()))

    def refusal(**more: Any) -> str:
        with pytest.raises(BenchmarkError) as refused:
            RayTasks(address=cluster.address, **more).submit(job)
        __import__("ray").shutdown()
        return str(refused.value)

    assert refusal(gpus_per_job=0.5).startswith("--executor ray: no node has a core and 0.5 of a GPU to give")
    with monkeypatch.context() as patch:
        patch.setattr(executor_module, "_code", lambda: "edited here")
        assert refusal().startswith(f"node 127.0.0.1 has other code ({__version__}, commit ")
    with monkeypatch.context() as patch:
        patch.setattr(executor_module, "PATIENCE", 0.0)
        patch.setattr(Path, "touch", lambda path: None)
        assert refusal() == (
            f"node 127.0.0.1 does not see {tmp_path / 'store'}; "
            "--store and --results must lie where all nodes see them."
        )


@pytest.mark.slow
def test_a_job_sees_the_gpu_that_ray_gave_it_alone(tmp_path, cluster):
    body = WAITS.format(folder=str(tmp_path), patience=PATIENCE)
    body += '\n        raise RuntimeError(os.environ["CUDA_VISIBLE_DEVICES"])'
    work = planned(tmp_path, {"seeds": 2, "methods": ["tells"]}, [tiny.plugin(tmp_path, "tells", body)])
    with clusters.another_node(cluster, num_cpus=2, num_gpus=2), while_two_wait(tmp_path):
        run(work, address=cluster.address, gpus_per_job=1.0)
    said = [record.error.strip().splitlines()[-1] for record in records(tmp_path)["tells"]]
    assert sorted(said) == ["RuntimeError: 0", "RuntimeError: 1"]


@pytest.mark.slow
def test_a_cluster_on_this_machine_listens_on_this_machine_alone(tmp_path, cluster, second):
    assert run(planned(tmp_path), address=cluster.address).failed == []
    assert heard_outside(tree()) == []
