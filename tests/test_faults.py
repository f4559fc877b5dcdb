"""Faults of the machine: full and read-only disks, clocks that go backwards, files that change, two drivers at once."""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from benchmark import session
from benchmark.errors import PlaceError
from benchmark.report import build_report, figures_are_outdated
from benchmark.report.selection import newest
from benchmark.store import PopulationRecords, Records, Store
from tests import tiny
from tests.report import factory

ROOT = Path(__file__).parents[1]
PATIENCE = 240.0
"""Seconds that a test waits for another process before it fails."""
SUITE = {"metrics": [*tiny.SUITE["metrics"], "together"], "seeds": 2}


@pytest.fixture(autouse=True)
def own_process(monkeypatch) -> Iterator[None]:
    with tiny.own_process(monkeypatch):
        yield


def command(folder: Path) -> list[str]:
    """`python -m benchmark run --all` on the tiny suite, one job after the other."""
    plugin = tiny.metric(folder, "together", needs="seeds")
    run = [sys.executable, "-m", "benchmark", "run", "--all", "--executor=serial", "--quiet", f"--plugin={plugin}"]
    return [*run, f"--suite={tiny.suite_file(folder, SUITE)}", *tiny.places(folder)]


def start(words: list[str]) -> "subprocess.Popen[str]":
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(words, cwd=ROOT, **pipes)


def finish(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


def said(results: Path) -> list[tuple[str, str, str]]:
    """(key, status, method) of every record, repeats included."""
    records = [(record.key, record.status, record.run.method) for record in Records(results).read()]
    return sorted(records + [(one.key, one.status, one.method) for one in PopulationRecords(results).read()])


def check(folder: Path) -> None:
    """Nine records, each once; nothing half-written; every artefact whole."""
    found = said(folder / "results")
    assert len(found) == len({key for key, _, _ in found}) == 9
    assert not [status for _, status, _ in found if status == "failed"]
    assert not list(folder.rglob(".tmp-*"))
    store, keys = Store(folder / "store"), Store(folder / "store").keys()
    assert keys and [damage for key in keys if (damage := store.damage(key))] == []


def planned(folder: Path, suite: Path | None = None) -> tuple[session.Plan, session.Options]:
    """The same in this process."""
    where = session.options(folder / "store", folder / "results", folder / "data", "cpu", fresh=False)
    plugin = tiny.metric(folder, "together", needs="seeds")
    suite = suite or tiny.suite_file(folder, SUITE)
    return session.plan(str(suite), where, None, None, None, None, [plugin]), where


def run(folder: Path, suite: Path | None = None) -> session.Outcome:
    return session.run(*planned(folder, suite), session.Machine("serial"), Console(file=StringIO()), quiet=True)


def decode(folder: Path) -> None:
    """Make the decoded dataset, which is larger than everything else."""
    session.rehearse(*planned(folder))


# -- two drivers -------------------------------------------------------------------------------------------


def test_two_drivers_at_once_lose_nothing_and_double_no_record(tmp_path):
    drivers = [start(command(tmp_path)) for _ in range(2)]
    for driver in drivers:
        code, _, err = finish(driver)
        assert code == 0, err
    check(tmp_path)
    assert not (tmp_path / "store" / "quarantine").exists()
    again = run(tmp_path)
    assert again.summary.done == 0 and len(again.plan.cached) == 6


# -- full disks --------------------------------------------------------------------------------------------


@contextmanager
def small_files() -> Iterator[None]:
    """No file may have more than 4 KiB: notes fit, weights do not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_takes_no_more_ends_the_run_with_a_sentence_and_it_goes_on_later(tmp_path):
    """A limit on the size of files stands for the disk."""
    decode(tmp_path)
    with small_files(), pytest.raises(PlaceError) as stopped:
        run(tmp_path)
    sentence = str(stopped.value)
    assert sentence.startswith(f"{tmp_path}/store/artefacts/") and "\n" not in sentence
    assert ": this cannot be written (File too large); put that right or give another place, and the same" in sentence
    assert not list(tmp_path.rglob(".tmp-*"))
    assert said(tmp_path / "results") == [], "no method failed"
    run(tmp_path)
    check(tmp_path)


@pytest.fixture
def mounted(tmp_path) -> Iterator[Path]:
    """A small disk of its own; where none can be mounted the tests beside these stand for it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system can be mounted here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize("full", ["store", "results"])
def test_a_full_disk_ends_the_run_with_a_sentence_and_it_goes_on_when_there_is_room(tmp_path, mounted, full):
    (mounted / full).mkdir()
    (tmp_path / full).symlink_to(mounted / full)
    decode(tmp_path)
    filler, disk = mounted / "filler", os.statvfs(mounted)
    filler.write_bytes(bytes(disk.f_bavail * disk.f_bsize - 40 * 1024))
    with pytest.raises(
        PlaceError, match=rf"^{mounted}/{full}/.*: this cannot be written \(No space left on device\); "
    ):
        run(tmp_path)
    assert not list(mounted.rglob(".tmp-*"))
    assert "failed" not in {status for _, status, _ in said(tmp_path / "results")}
    filler.unlink()
    subprocess.run(["mount", "-o", "remount,size=64m", str(mounted)], check=True)
    run(tmp_path)
    check(tmp_path)


def test_results_that_cannot_be_written_are_said_before_anything_is_computed(tmp_path, mounted):
    (mounted / "results").mkdir()
    (tmp_path / "results").symlink_to(mounted / "results")
    subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
    code, _, err = finish(start(command(tmp_path)))
    assert code == 2
    assert err == (
        f"error: {mounted}/results: the results folder cannot be written (Read-only file system); "
        "give another one with --results.\n"
    )
    assert Store(tmp_path / "store").keys() == set()


def test_a_results_folder_that_becomes_read_only_halfway_stops_the_run_and_fails_no_method(tmp_path, monkeypatch):
    link = os.link

    def read_only(source: Path, target: Path) -> None:
        if "records" in Path(target).parts:
            raise OSError(30, "Read-only file system")
        link(source, target)

    monkeypatch.setattr(os, "link", read_only)
    replace = os.replace
    monkeypatch.setattr(
        os, "replace", lambda *paths: read_only(*paths) if "records" in Path(paths[1]).parts else replace(*paths)
    )
    with pytest.raises(PlaceError, match=r"results/records/.*: this cannot be written \(Read-only file system\); put"):
        run(tmp_path)
    assert not (tmp_path / "results" / "leaderboard.md").exists()
    monkeypatch.undo()
    with tiny.own_process(monkeypatch):
        run(tmp_path)
    check(tmp_path)


# -- clocks ------------------------------------------------------------------------------------------------


def test_figures_are_drawn_again_if_records_changed_and_whatever_the_clock_says(tmp_path):
    records = [factory.record(factory.World(), factory.Method("m"), seed) for seed in range(2)]
    factory.write(tmp_path, records)
    assert figures_are_outdated(tmp_path)
    build_report(tmp_path, draw=False)
    assert figures_are_outdated(tmp_path), "tables are no figures"
    build_report(tmp_path)
    for when in (0.0, time.time() + 10**8):
        for path in (tmp_path / "records").rglob("*"):
            os.utime(path, (when, when))
        assert not figures_are_outdated(tmp_path)
    path = Records(tmp_path).add(records[0], fresh=True)
    os.utime(path, (0, 0))
    assert figures_are_outdated(tmp_path)
    path.unlink()
    assert not figures_are_outdated(tmp_path)
    factory.write(tmp_path, [], [factory.population(factory.World(), factory.Method("m"), {})])
    assert figures_are_outdated(tmp_path)


def test_the_last_of_repeated_records_counts_though_the_clock_went_backwards(tmp_path):
    world, method = factory.World(), factory.Method("m")
    for number, year in enumerate((2027, 2025, 2026)):
        one = factory.record(world, method, 0, date=f"{year}-01-01T00:00:00+00:00", log=[{"number": number}])
        Records(tmp_path).add(one, fresh=True)
    (kept,) = newest(Records(tmp_path).read())
    assert kept.log == [{"number": 2.0}]


# -- datasets ----------------------------------------------------------------------------------------------


def test_a_dataset_file_that_changes_between_runs_changes_every_key_and_changing_it_back_changes_them_back(tmp_path):
    pictures = tmp_path / "data" / "pictures"
    draw = np.random.default_rng(0)
    for name in ("cats", "dogs"):
        (pictures / name).mkdir(parents=True)
        for number in range(60):
            pixels = draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(pictures / name / f"{number}.bmp")  # all of one size
    suite = tiny.suite_file(tmp_path, {"tasks.0.dataset": "folder:pictures", "methods": ["no_op"], "seeds": 1})

    def keys() -> set[str]:
        work, _ = planned(tmp_path, suite)
        return {key for key, job in work.jobs.items() if job["kind"] == "run"} | work.cached

    before = keys()
    assert len(before) == 1 and keys() == before
    run(tmp_path, suite)
    assert keys() == before, "now they are cached"
    (picture,) = pictures.glob("dogs/7.bmp")
    content, when = picture.read_bytes(), picture.stat().st_mtime_ns
    picture.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(picture, ns=(when - 10**12, when - 10**12))  # a clock that went backwards
    after = keys()
    assert len(after) == 1 and not after & before
    assert run(tmp_path, suite).summary.done == 3
    assert len(list(Records(tmp_path / "results").read())) == 2
    picture.write_bytes(content)
    assert keys() == before
