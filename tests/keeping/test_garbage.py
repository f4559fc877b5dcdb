"""What of a store may go: never what a record needs, never what somebody may be writing."""

import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from benchmark import places, registry
from benchmark.errors import BenchmarkError
from benchmark.keeping import garbage
from benchmark.keeping.garbage import collect, needed_by
from benchmark.store import PopulationRecords, Records, Store, folder_of
from tests import tiny
from tests.tiny import Bench

OLD, YOUNG = "0" * 64, "1" * 64
CHANGES = {"methods": ["no_op", "fine_tune"], "metrics": ["accuracy", "together"], "seeds": 2}


@pytest.fixture(autouse=True)
def own_process(monkeypatch) -> Iterator[None]:
    with tiny.own_process(monkeypatch):
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A folder where two methods and what both seeds say are done."""
    folder = tmp_path_factory.mktemp("garbage")
    with pytest.MonkeyPatch.context() as monkeypatch, tiny.own_process(monkeypatch):
        registry.add_plugin(tiny.metric(folder, "together", needs="seeds"))
        Bench(folder, CHANGES).work()
    return folder


@pytest.fixture
def done(run, tmp_path) -> Bench:
    """A copy of it, a month old."""
    shutil.copytree(run, tmp_path / "copy")
    registry.add_plugin(run / "together.py")
    age(tmp_path / "copy", 30)
    return Bench(tmp_path / "copy", CHANGES)


def age(folder: Path, days: float) -> None:
    then = time.time() - days * garbage.DAY
    for path in folder.rglob("*"):
        os.utime(path, (then, then))


def gc(bench: Bench, **options: object) -> garbage.Garbage:
    return collect(bench.folder / "store", [bench.folder / "results"], **options)


def test_everything_that_a_run_leaves_is_needed_and_nothing_else(done):
    needed = needed_by(done.records, done.populations)
    dataset = {record.artefacts["dataset"] for record in done.records}
    stacks = {garbage.keys.together_key(m, role) for m in members(done) for role in garbage.ROLES}
    assert done.store.keys() == needed - dataset - stacks, "stacks are left by ensembles alone"
    before = tiny.files(done.folder)
    found = gc(done, days=0.0)
    assert (found.removed, found.freed, found.young.count) == ({}, 0, 0)
    assert found.needed.count == len(done.store.keys()) and found.needed.size > 0
    assert tiny.files(done.folder) == before
    assert done.plan().jobs == {}


def members(bench: Bench) -> list[list[dict[str, str]]]:
    runs = {record.key: record.artefacts for record in bench.records}
    return [[runs[key] for key in population.runs] for population in bench.populations]


@pytest.fixture
def littered(done) -> tuple[Bench, dict[str, str]]:
    """With one of everything that may go; file -> what it is called, all of it a month old."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    store = done.store
    store.put(OLD, arrays={"x": np.zeros(9)}, meta={})
    store.place.write(f"{folder_of('2' * 64)}/{'3' * 64}.npz", b"never finished")
    key = done.records[0].artefacts["original/outputs"]
    store.place.write(f"{folder_of(key)}/{'4' * 64}.npz", b"made again since")
    store.place.write(f"quarantine/{date.today() - timedelta(days=9)}/{OLD}-x/meta.json", b"")
    store.place.write(f"quarantine/{OLD}-y/meta.json", b"put aside before folders of days")
    for name in (f".tmp-{places._HOST}-{dead.pid}-x", f".tmp-00000000-{dead.pid}-x"):
        store.place.write(f"datasets/decoded/{name}", b"half")
    store.place.write(f"datasets/decoded/{OLD}.safetensors", b"nobody's")
    age(done.folder, 30)
    names = {
        **dict.fromkeys(store.place.names(folder_of(OLD)), "artefacts"),
        f"{folder_of('2' * 64)}/{'3' * 64}.npz": "artefacts",
        f"{folder_of(key)}/{'4' * 64}.npz": "files that no artefact names",
        **dict.fromkeys(store.place.names("quarantine"), "damaged artefacts that were put aside"),
        f"datasets/decoded/.tmp-{places._HOST}-{dead.pid}-x": "leftovers",
        f"datasets/decoded/.tmp-00000000-{dead.pid}-x": "leftovers",
        f"datasets/decoded/{OLD}.safetensors": "decoded datasets",
    }
    return done, names


def test_what_nobody_needs_is_removed_and_counted(littered):
    bench, litter = littered
    before = tiny.files(bench.folder / "store")
    looked = gc(bench, dry=True)
    assert tiny.files(bench.folder / "store") == before
    found = gc(bench)
    assert found == looked
    assert set(found.files) == litter.keys()
    assert before.keys() - tiny.files(bench.folder / "store").keys() == litter.keys()
    counts = {what: share.count for what, share in found.removed.items()}
    assert counts == {
        "artefacts": 2,
        "files that no artefact names": 1,
        "damaged artefacts that were put aside": 2,
        "leftovers": 2,
        "decoded datasets": 1,
    }
    assert found.freed == sum(len(before[name]) for name in litter)
    assert not (bench.folder / "store" / folder_of(OLD)).exists(), "no empty folder is left to be listed"
    assert bench.plan().jobs == {}
    assert gc(bench).removed == {}


def test_no_artefact_is_ever_there_by_half(littered):
    bench, _ = littered
    files = gc(bench, dry=True).files
    last = [name.endswith("/meta.json") for name in files]
    assert last == sorted(last, reverse=True) and any(last)


def test_what_is_young_or_from_the_future_stays_unless_it_is_asked_for(done):
    for key, days in ((YOUNG, 0.5), (OLD, -400)):
        done.store.put(key, meta={})
        age(done.store.folder / folder_of(key), days)
    done.store.place.write("datasets/decoded/x.safetensors", b"")
    done.store.place.write(f"datasets/decoded/.tmp-00000000-{os.getpid()}-x", b"")
    done.store.place.write(f"quarantine/{date.today() - timedelta(days=6)}/{OLD}-x/meta.json", b"")
    found = gc(done)
    assert found.removed == {} and found.young.count == 2
    assert gc(done, days=0.25, dry=True).removed["artefacts"].count == 1
    assert gc(done, days=0.25, quarantine_days=5.0, dry=True).removed.keys() == {
        "artefacts", "damaged artefacts that were put aside"
    }  # fmt: skip
    assert {YOUNG, OLD} <= done.store.keys()


def test_what_this_machine_s_dead_processes_left_goes_at_any_age_and_what_the_living_write_never(done):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    mine = f"artefacts/00/.tmp-{places._HOST}-{os.getpid()}-x"
    for name in (mine, f"artefacts/00/.tmp-{places._HOST}-{dead.pid}-x"):
        done.store.place.write(name, b"")
    assert gc(done).files == (f"artefacts/00/.tmp-{places._HOST}-{dead.pid}-x",)
    assert done.store.place.exists(mine)


def test_artefacts_that_another_results_folder_needs_stay_if_it_is_named(done, tmp_path):
    records = done.records
    for name, some in (("first", records[:1]), ("second", records[1:])):
        for record in some:
            Records(tmp_path / name).add(record)
    both = collect(done.folder / "store", [tmp_path / "first", tmp_path / "second"], dry=True)
    assert both.removed["artefacts"].count == 2, "the notes of the populations, which have no records there"
    assert collect(done.folder / "store", [tmp_path / "first"], dry=True).removed["artefacts"].count > 2


def test_without_records_nothing_is_removed_but_said(done, tmp_path):
    before = tiny.files(done.folder)
    with pytest.raises(
        BenchmarkError, match=r"empty: there are no records here, so nothing of .* would stay; say with"
    ):
        collect(done.folder / "store", [done.folder / "results", tmp_path / "empty"])
    assert tiny.files(done.folder) == before


def test_numbers_of_metrics_that_nobody_knows_go_and_no_run_is_done_again_for_them(done):
    before = done.store.keys()
    (record,) = [record for record in done.records if record.run.method == "no_op" and record.run.seed == 0]
    path = Records(done.folder / "results").add(record)
    text = path.read_text()
    path.write_text(text.replace('"accuracy"', '"gone"'))
    assert gc(done).removed["artefacts"].count == 1, "of the unlearned model; the anchors' are shared"
    assert len(before - done.store.keys()) == 1
    path.write_text(text)
    assert done.plan().jobs == {}


def test_a_store_at_a_url_is_cleaned_alike(done, monkeypatch, tmp_path):
    monkeypatch.setenv("UNLEARNING_BENCHMARK_CACHE", str(tmp_path / "cache"))
    url = f"memory://{uuid.uuid4().hex}"
    store, results = Store(f"{url}/store"), f"{url}/results"
    for name, data in tiny.files(done.folder / "store").items():
        store.place.write(name, data)
    store.put(OLD, arrays={"x": np.zeros(9)})
    for record in done.records:
        Records(results).add(record)
    for population in done.populations:
        PopulationRecords(results).add(population)
    assert collect(f"{url}/store", [results]).removed == {}, "all of it was written just now"
    found = collect(f"{url}/store", [results], days=0.0)
    assert {what: share.count for what, share in found.removed.items()} == {"artefacts": 1}
    assert store.keys() == done.store.keys()


def test_counts_are_said(littered):
    bench, _ = littered
    found = gc(bench, dry=True)
    lines = found.in_words(dry=True)
    assert "would remove artefacts: 2 (0.0 MiB)" in lines
    assert lines[-1].startswith("would free 0.0 MiB; kept artefacts: ") and lines[-1].endswith("that records need.")
    assert found.in_words(dry=False)[-1].startswith("freed ")
    content = found.as_json()
    assert content["files"] == len(found.files) and content["freed_bytes"] == found.freed
