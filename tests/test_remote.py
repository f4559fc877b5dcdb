"""A store and results at URLs: the same records as in folders, resumed, repaired and reported alike."""

import uuid
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmark import jobs, session
from benchmark.places import Location, place_of
from benchmark.session import Outcome
from benchmark.store import PopulationRecords, Records, Store
from tests import tiny

CHANGES = {"methods": ["no_op", "fine_tune"], "metrics": ["accuracy", "membership_inference", "together"], "seeds": 2}


@pytest.fixture(autouse=True)
def own_process(monkeypatch, tmp_path) -> Iterator[None]:
    monkeypatch.setenv("UNLEARNING_BENCHMARK_CACHE", str(tmp_path / "cache"))
    with tiny.own_process(monkeypatch):
        yield


def run(folder: Path, store: Location, results: Location) -> Outcome:
    """The tiny suite, one job after the other in this process."""
    where = session.options(store, results, folder / "data", "cpu", fresh=False)
    plugin = tiny.metric(folder, "together", needs="seeds")
    work = session.plan(str(tiny.suite_file(folder, CHANGES)), where, None, None, None, None, [plugin])
    return session.run(work, where, session.Machine("serial"), Console(file=StringIO()), quiet=True)


def said(results: Location) -> dict[str, dict[str, Any]]:
    found = {record.key: tiny.said(record) for record in Records(results).read()}
    what = {"seconds", "provenance"}
    populations = PopulationRecords(results).read()
    return found | {one.key: one.model_dump(mode="json", exclude=what) for one in populations}


def test_a_run_at_urls_leaves_what_one_in_folders_leaves_and_a_second_run_computes_nothing(tmp_path):
    store, results = (f"memory://{uuid.uuid4().hex}/{name}" for name in ("store", "results"))
    first = run(tmp_path, store, results)
    assert not first.failed and first.summary.done == 10
    names = set(place_of(results).names(""))
    assert {"leaderboard.md", "leaderboard.csv", "leaderboard.tex", "details.md"} <= names
    assert any(name.startswith("figures/") and name.endswith(".png") for name in names)
    assert not [path for path in tmp_path.rglob("*") if "memory" in path.name or path.suffix == ".npz"]
    assert list((tmp_path / "cache" / "store" / "datasets" / "decoded").iterdir()), "what has to be local is local"
    before = {name: place_of(results).read(name) for name in names}

    second = run(tmp_path, store, results)
    assert second.summary.done == 0 and len(second.plan.cached) == 4
    assert {name: place_of(results).read(name) for name in place_of(results).names("")} == before

    run(tmp_path, tmp_path / "store", tmp_path / "results")
    assert said(results) == said(tmp_path / "results")
    assert Store(store).keys() == Store(tmp_path / "store").keys()


def test_what_is_damaged_at_a_url_is_put_aside_computed_again_and_said(tmp_path):
    store, results = (f"memory://{uuid.uuid4().hex}/{name}" for name in ("store", "results"))
    run(tmp_path, store, results)
    expected = said(results)
    record = next(record for record in Records(results).read() if record.run.method == "fine_tune")
    place = place_of(store)
    for key in (record.key, record.artefacts["unlearned/outputs"]):
        folder = f"artefacts/{key[:2]}/{key}"
        name = next(name for name in place.names(folder) if name.endswith((".npz", "meta.json")) or True)
        place.write(name, place.read(name)[:-3])
        if key == record.key:
            place.remove([name])  # the note that the run is done
    again = run(tmp_path, store, results)
    assert again.summary.done == 1 and len(again.summary.notes) == 1
    assert f"moved to {store}/quarantine/" in again.summary.notes[0] and "computed again" in again.summary.notes[0]
    assert said(results) == expected and len(list(Records(results).read())) == 4


def test_a_store_at_a_url_that_goes_away_stops_the_run_and_fails_no_method(tmp_path, monkeypatch):
    store, results = (f"memory://{uuid.uuid4().hex}/{name}" for name in ("store", "results"))
    files = place_of(store)._files
    write, calls = files.pipe_file, []

    def sometimes(path: str, *words: Any, **more: Any) -> Any:
        calls.append(path)
        if len(calls) == 12:
            raise TimeoutError("no answer")
        return write(path, *words, **more)

    monkeypatch.setattr(files, "pipe_file", sometimes)
    with pytest.raises(jobs.PlaceError, match=r"this cannot be written \(TimeoutError: no answer\); put that right or"):
        run(tmp_path, store, results)
    assert all(record.status != "failed" for record in Records(results).read())
    assert not run(tmp_path, store, results).failed
    assert len(Records(results).keys()) == 4
