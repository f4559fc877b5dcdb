"""Kills workers, drivers and nodes at random moments, damages files, and counts what was lost: nothing, it must say.

    python -m tests.stress [--kills 20] [--seed 0] [--without-ray]

First it times jobs that do nothing and jobs that only work, which needs a machine that does nothing else. Then each
kind of process is killed `--kills` times, with SIGKILL, in runs of the tiny suite that are started again until they are
complete. Their records must then be those of a run that nobody disturbed, each once. The README quotes the summary.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmark.records import Records
from benchmark.store import Store
from tests import tiny
from tests.stress import speed

ROOT = Path(__file__).parents[2]
CHANGES = {"seeds": 4, "tasks.0.recipe.epochs": 10, "tasks.0.methods.fine_tune.epochs": 10}
A_RUN = 3
"""Kills in one run, at most: a job that dies a third time is recorded as failed until the next command."""
PATIENCE = 300.0
NOTHING = 200
"""Jobs that do nothing."""
Kill = Callable[[psutil.Process], bool]


@dataclass
class Count:
    """What became of the runs in which one kind of process was killed."""

    kills: int = 0
    runs: int = 0
    lost: int = 0
    duplicated: int = 0
    different: int = 0
    planted: int = 0
    found: int = 0

    def row(self, name: str) -> str:
        """For the summary."""
        return (
            f"{name:<8} {self.kills:>5} {self.runs:>5} {self.lost:>5} {self.duplicated:>11} {self.different:>10} "
            f"{self.planted:>8} {self.found:>6}"
        )

    @property
    def clean(self) -> bool:
        """Whether nothing was lost, doubled or changed, and all damage was found."""
        return not (self.lost or self.duplicated or self.different) and self.planted == self.found


def main() -> None:
    """Print the summary; exit with 1 if anything was lost."""
    options = arguments()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "speed").mkdir()
        print(speeds(folder / "speed"), flush=True)
        expected = undisturbed(folder / "undisturbed")
        counts = {
            "worker": stress(folder / "worker", options.kills, chance, expected, kill_a_worker),
            "driver": stress(folder / "driver", options.kills, chance, expected, kill),
            "all": stress(folder / "all", options.kills, chance, expected, kill_everything),
        }
        if not options.without_ray:
            with two_nodes() as (address, lose_a_node):
                extra = ["--executor=ray", f"--address={address}"]
                counts["node"] = stress(folder / "node", options.kills, chance, expected, lose_a_node, extra)
    print("killed   times  runs  lost  duplicated  different  damaged  found")
    print("\n".join(count.row(name) for name, count in counts.items()))
    print(f"{len(expected)} records in each run.")
    raise SystemExit(0 if all(count.clean for count in counts.values()) else 1)


def arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.stress", description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="of each kind of process")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--without-ray", action="store_true", help="no cluster")
    return parser.parse_args()


def speeds(folder: Path) -> str:
    """Medians of three measurements: what a job costs beyond its work, and what a second worker is worth."""
    with speed.a_job(folder) as job:
        nothing = median(speed.seconds(speed.idle(job, NOTHING), 2) for _ in range(3))
        work = speed.busy(job, 16)
        faster = median(speed.seconds(work, 1) / speed.seconds(work, 2) for _ in range(3))
    return (
        f"{NOTHING} jobs that do nothing, 2 workers: {nothing:.1f} s, {1000 * nothing / NOTHING:.0f} ms each\n"
        f"2 workers against 1: {faster:.2f} times as fast\n"
    )


def stress(
    folder: Path,
    kills: int,
    chance: random.Random,
    expected: dict[str, Any],
    strike: Kill,
    extra: list[str] | None = None,
) -> Count:
    """Runs that are struck at random moments, until there were enough kills; each is then brought to its end."""
    count = Count()
    while count.kills < kills:
        own = folder / str(count.runs)
        own.mkdir(parents=True)
        for _ in range(min(A_RUN, kills - count.kills)):
            count.kills += disturb(own, chance, strike, extra or [])
        count.planted += damage(own, chance)
        complete(own, extra or [])
        count.runs += 1
        judge(own, expected, count)
        print(f"{folder.name}: {count.kills} of {kills} kills", file=sys.stderr, flush=True)
    return count


def disturb(folder: Path, chance: random.Random, strike: Kill, extra: list[str]) -> bool:
    """Start the run, strike once it has made a few more artefacts, and let what is left of it end."""
    wanted = artefacts(folder) + chance.randint(0, 6)
    run = start(folder, extra)
    struck, end = False, time.monotonic() + PATIENCE
    while not struck and run.poll() is None:
        assert time.monotonic() < end, "waited in vain"
        if artefacts(folder) >= wanted:
            time.sleep(chance.uniform(0, 0.3))
            with suppress(psutil.NoSuchProcess):
                struck = strike(psutil.Process(run.pid))
        time.sleep(0.02)
    run.communicate(timeout=PATIENCE)
    return struck


def kill(process: psutil.Process) -> bool:
    """One process alone."""
    process.kill()
    return True


def kill_a_worker(driver: psutil.Process) -> bool:
    """A process that does a job, or that stands between it and the driver, if there is one at this moment."""
    family = [child for child in driver.children(recursive=True) if "forkserver" in " ".join(child.cmdline())]
    leaves = [child for child in family if not child.children() and child.parent() != driver]
    return kill(leaves[0]) if leaves else False


def kill_everything(driver: psutil.Process) -> bool:
    """The driver and all that it started, as when a machine goes down."""
    for process in [driver, *driver.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    return True


@contextmanager
def two_nodes() -> Iterator[tuple[str, Kill]]:
    """A cluster of two nodes on this machine; what is called loses the second one and starts another."""
    from tests import clusters

    with clusters.head() as cluster:
        nodes = [cluster.add_node(**clusters.NODE)]

        def lose(_driver: psutil.Process) -> bool:
            cluster.remove_node(nodes.pop(), allow_graceful=False)
            nodes.append(cluster.add_node(**clusters.NODE))
            return True

        yield cluster.address, lose


def damage(folder: Path, chance: random.Random) -> int:
    """Flip a bit of one file of a finished artefact, or cut it; 1 if there was one."""
    store = Store(folder / "store")
    whole = sorted(store.keys())
    files = [name for key in whole for name in sorted(store.files_of(key))]
    if not files:
        return 0
    file = folder / "store" / chance.choice(files)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data if chance.random() < 0.5 else data[: len(data) // 2])
    return 1


def undisturbed(folder: Path) -> dict[str, Any]:
    """Record key -> what it says, of a run that nobody touches."""
    folder.mkdir()
    complete(folder, [])
    return {record.key: tiny.said(record) for record in Records(folder / "results").read()}


def complete(folder: Path, extra: list[str]) -> None:
    """Type the command again until it has nothing left to do."""
    for _ in range(5):
        run = start(folder, extra)
        out, err = run.communicate(timeout=PATIENCE)
        if run.returncode == 0 and json.loads(out)["jobs_done"] == 0:
            return
    raise AssertionError(f"the run does not end: {err[-2000:]}")


def start(folder: Path, extra: list[str]) -> "subprocess.Popen[str]":
    """`python -m benchmark run`."""
    executor = [] if any(word.startswith("--executor") for word in extra) else ["--jobs=2"]
    words = ["run", "--all", "--json", "--quiet", f"--suite={tiny.suite_file(folder, CHANGES)}", *executor, *extra]
    command = [sys.executable, "-m", "benchmark", *words, *tiny.places(folder)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, **pipes)


def artefacts(folder: Path) -> int:
    """How many models, outputs and finished runs the store holds."""
    return len(Store(folder / "store").keys())


def judge(folder: Path, expected: dict[str, Any], count: Count) -> None:
    """Hold the records against the expected ones, and read every artefact, so that all damage is met."""
    records = list(Records(folder / "results").read())
    done = [record for record in records if record.status != "failed"]
    keys = [record.key for record in done]
    count.lost += len(expected.keys() - set(keys))
    count.duplicated += len(keys) - len(set(keys))
    count.different += sum(tiny.said(record) != expected.get(record.key) for record in done)
    store = Store(folder / "store")
    for key in sorted(store.keys()):
        store.meta(key), store.arrays(key), store.weights(key)
    count.found += len(list((folder / "store" / "quarantine").glob("*/*")))


if __name__ == "__main__":
    main()
