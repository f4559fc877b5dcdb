"""The commands of upkeep: what people type and read, and the exit code: 0 all right, 1 something wrong, 2 no sense."""

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from benchmark import cli
from benchmark.records import Records
from benchmark.store import Store
from tests.report import factory

Command = Callable[..., tuple[int, str, str]]
OLD = "0" * 64


@pytest.fixture
def command(monkeypatch, capsys) -> Command:
    """Type a command, in this process; code, what it printed, what it complained about."""

    def typed(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["benchmark", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        said = capsys.readouterr()
        return left.value.code or 0, said.out, said.err

    return typed


@pytest.fixture
def results(tmp_path) -> Any:
    """Two records, one of which rests on more examples than there are."""
    made = [factory.record(factory.World(), factory.Method("m"), seed) for seed in range(2)]
    return factory.write(tmp_path / "results", made)


def test_gc_says_what_it_would_remove_then_removes_it(command, tmp_path, results):
    store = Store(tmp_path / "store")
    store.put(OLD, meta={})
    words = ["gc", "--store", tmp_path / "store", "--results", results, "--older-than", 0]
    code, out, _ = command(*words, "--dry-run")
    assert code == 0 and "would remove artefacts: 1 (0.0 MiB)\nwould free 0.0 MiB; " in out
    assert store.keys() == {OLD}
    assert json.loads(command(*words, "--dry-run", "--json")[1])["removed"]["artefacts"]["count"] == 1
    code, out, _ = command(*words)
    assert code == 0 and out.startswith("removed artefacts: 1 (0.0 MiB)\nfreed 0.0 MiB; kept artefacts: 0 ")
    assert store.keys() == set()


def test_gc_keeps_what_is_younger_than_a_day_and_asks_for_records(command, tmp_path, results):
    Store(tmp_path / "store").put(OLD, meta={})
    code, out, _ = command("gc", "--store", tmp_path / "store", "--results", results)
    assert code == 0 and out.startswith("freed 0.0 MiB; ") and "and 1 (0.0 MiB) that none needs yet, being young" in out
    code, out, err = command("gc", "--store", tmp_path / "store", "--results", tmp_path / "nowhere")
    assert (code, out) == (2, "") and err.startswith(f"error: {tmp_path}/nowhere: there are no records here")


def test_validate_names_each_wrong_file_and_exits_with_1(command, results):
    code, out, _ = command("validate", results)
    paths = sorted(results.rglob("*.json"))
    lines = out.splitlines()
    assert code == 1
    assert lines[-1] == "2 records, 2 of them wrong."
    assert f"{paths[0]}: sizes lack third_party, retain, validation, test." in lines
    content = json.loads(command("validate", results, "--json")[1])
    assert content["records"] == 2 and {row["file"] for row in content["problems"]} == set(map(str, paths))


def test_validate_counts_what_is_right_and_exits_with_0(command, tmp_path, results):
    whole = {"forget": 500, "heldout": 500, "third_party": 500, "retain": 1500, "validation": 0, "test": 9}
    for record in Records(results).read():
        Records(tmp_path / "right").add(record.model_copy(update={"sizes": whole}))
    assert command("validate", tmp_path / "right")[:2] == (0, "2 records, all right.\n")
    code, out, _ = command("validate", tmp_path / "right", "--store", tmp_path / "store", "--json")
    assert code == 0 and json.loads(out)["problems"] == []
    code, out, err = command("validate", tmp_path / "nowhere")
    assert (code, out) == (2, "") and err.startswith(f"error: {tmp_path}/nowhere: there are no records here")


def test_compact_says_where_the_records_are(command, tmp_path, results):
    assert command("compact", "--results", results)[:2] == (0, f"{results}/records.parquet: 2 records.\n")
    assert (results / "records.parquet").is_file()
    assert command("compact", "--results", results, "--out", tmp_path / "x.parquet")[0] == 0
    code, _, err = command("compact", "--results", tmp_path / "nowhere")
    assert code == 2 and err.startswith(f"error: {tmp_path}/nowhere: there are no records here")
