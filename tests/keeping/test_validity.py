"""Which records are believed: all committed ones, and none that was tampered with in a way that can be seen."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmark import registry
from benchmark.errors import BenchmarkError
from benchmark.keeping import validity
from benchmark.keeping.validity import validate
from benchmark.records import Records
from benchmark.store import Store, folder_of
from tests import tiny
from tests.tiny import Bench

RESULTS = Path(__file__).parents[2] / "results"
CASES = {
    "single": "records/digits-supervised-random/fine_tune",
    "ensemble": "records/digits-supervised-random.ensemble64/fine_tune",
    "population": "populations/digits-supervised-random.ensemble64/fine_tune",
}


@pytest.fixture
def own_process(monkeypatch) -> Iterator[None]:
    with tiny.own_process(monkeypatch):
        yield


def test_every_committed_record_is_valid():
    verdict = validate(RESULTS)
    assert verdict.problems == []
    assert verdict.records == len(list(RESULTS.glob("*/*/*/*.json"))) >= 1_504


@pytest.fixture
def planted(tmp_path) -> Callable[[str], Path]:
    """A copy of a committed record in a results folder of its own."""

    def plant(case: str) -> Path:
        source = min((RESULTS / CASES[case]).glob("*-3e9cfac03602.json"))
        target = tmp_path / "results" / source.relative_to(RESULTS)
        target.parent.mkdir(parents=True)
        shutil.copy(source, target)
        return target

    return plant


def change(path: Path, place: str, value: Any) -> None:
    """Set one entry; a number counts in a list, `*` is the first of a dictionary."""
    content = json.loads(path.read_text())
    target = content
    *parents, last = [int(part) if part.isdigit() else part for part in place.split(".")]
    for parent in parents:
        target = target[next(iter(target)) if parent == "*" else parent]
    target[next(iter(target)) if last == "*" else last] = value
    path.write_text(json.dumps(content))


WRONG = [
    ("single", "metrics.mia_auc_phi.value", 1.5, "metrics.mia_auc_phi: value leaves [0, 1], which no auc does."),
    ("single", "metrics.mia_auc_phi.original", -0.1, "metrics.mia_auc_phi: original leaves [0, 1], which no auc does."),
    (
        "single",
        "metrics.acc_test.retrained",
        97.0,
        "metrics.acc_test: retrained leaves [0, 1], which no fraction does.",
    ),
    ("single", "metrics.drop_test.value", -101, "metrics.drop_test: value leaves [-100, 100], which no points does."),
    ("single", "metrics.mia_auc_phi.low", 0.99, "metrics.mia_auc_phi: the interval from 0.99 to"),
    ("single", "metrics.acc_test.n", 10**6, "metrics.acc_test: it rests on 1000000 examples, and all sets together"),
    ("single", "metrics.acc_test.n", 0, "this is no record: metrics.acc_test.n: Input should be greater than or equal"),
    (
        "single",
        "metrics.acc_test.value",
        None,
        "this is no record: metrics.acc_test.value: Input should be a valid num",
    ),
    ("single", "metrics.acc_test.unit", "percent", "this is no record: metrics.acc_test.unit: Input should be 'auc'"),
    ("single", "sizes.retain", 7, "sizes.third_party is "),
    ("single", "sizes.heldout", 7, "forget and held-out sets have "),
    ("single", "sizes.test", 1, "sizes.test is 1, and "),
    ("single", "sizes.validation", 9, "sizes.validation is 9, and 0 is right with"),
    ("single", "sizes.placebo", 1, "sizes.placebo is 1, and "),
    ("single", "sizes", {"forget": 3}, "sizes lack heldout, third_party, retain, validation, test."),
    ("single", "status", "failed", "the status is failed, and yet there are metrics."),
    ("single", "status", "diverged", "the status is diverged, and nothing says why."),
    ("single", "error", "no memory", "the status is ok, and yet there is an error."),
    ("single", "metrics", {}, "the status is ok, and yet there are no metrics."),
    ("single", "cost", None, "the status is ok, and nothing says what it cost."),
    ("single", "cost.unlearn_seconds", -1.0, "cost.unlearn_seconds is -1, below 0."),
    ("single", "curves.*.original.tpr.3", 1.5, "curves.mia_auc_phi: a rate of original leaves [0, 1]."),
    (
        "single",
        "curves.*.unlearned.tpr",
        [0.5],
        "curves.mia_auc_phi: unlearned has another number of points than its axis.",
    ),
    ("single", "provenance.commit", "unversioned", "provenance.commit is missing; records are made from a commit"),
    ("single", "provenance.commit", "a" * 40, "the file is not named by key and commit, "),
    ("single", "key", "a" * 64, "the file is not named by key and commit, "),
    ("single", "run.task.name", "other", "it lies in a folder 'digits-supervised-random', and 'other' is right."),
    ("single", "run.method", "a[b]", "it lies in a folder 'fine_tune', and 'a.b' is right."),
    ("single", "run.task.dataset", "folder:/home/ada/cats", "run.task.dataset.name holds an absolute path;"),
    ("single", "error", 'File "C:\\Users\\ada\\x.py"', "error holds an absolute path;"),
    ("single", "error", "sent by ada@lovelace.example", "error holds the name of a machine or of its user."),
    ("single", "provenance.hardware.processor", "\x1b[31m", "this is no record: provenance.hardware.processor"),
    ("single", "run.task.scenario", "\x1b[31m", "run.task.scenario.name holds control characters."),
    ("single", "schema_version", 2, "this is no record: it is of schema version 2, and this benchmark reads versions"),
    ("ensemble", "run.seed", 64, "run.seed is 64, and the ensemble has seeds 0 to 63."),
    ("ensemble", "run.task.split.seed", None, "run.task.split is not that of an ensemble"),
    ("population", "seeds.3", 2, "seeds are [0, 1, 2, 2, "),
    ("population", "seeds.3", 99, "the ensemble has seeds 0 to 63, and these are others."),
    ("population", "runs", ["a" * 64], "there are 1 runs for 64 seeds."),
    ("population", "metrics.u_lira_auc.value", 2, "metrics.u_lira_auc: value leaves [0, 1], which no auc does."),
    ("population", "metrics.attack_panel_worst.per_seed", [0.1], "metrics.attack_panel_worst: per_seed has 1 numbers"),
    ("population", "metrics.klom0.per_example", [0.1], "metrics.klom0: per_example has 1 numbers for"),
    ("population", "seconds", -1, "seconds is -1, below 0."),
]


@pytest.mark.parametrize(
    ("case", "place", "value", "sentence"), WRONG, ids=[f"{c}-{p}-{v!s:.20}" for c, p, v, _ in WRONG]
)
def test_what_cannot_be_is_said_with_the_file(planted, tmp_path, case, place, value, sentence):
    path = planted(case)
    assert validate(tmp_path / "results").problems == []
    change(path, place, value)
    verdict = validate(tmp_path / "results")
    assert {file for file, _ in verdict.problems} == {str(path)}
    assert any(problem.startswith(sentence) for _, problem in verdict.problems), verdict.problems


def test_the_name_of_this_machine_or_user_is_found(planted, monkeypatch, tmp_path):
    monkeypatch.setattr(validity.socket, "gethostname", lambda: "analytical-engine")
    validity._names_of_this_machine.cache_clear()
    change(planted("single"), "error", "out of memory on analytical-engine.")
    problems = [problem for _, problem in validate(tmp_path / "results").problems]
    validity._names_of_this_machine.cache_clear()
    assert "error holds the name of a machine or of its user." in problems


def test_a_file_a_shelf_and_a_results_folder_can_be_looked_at(planted, tmp_path):
    path = planted("single")
    planted("population")
    results = tmp_path / "results"
    found = {place: validate(place) for place in (path, path.parent, path.parents[1], path.parents[2], results)}
    assert [verdict.records for verdict in found.values()] == [1, 1, 1, 1, 2]
    assert not any(verdict.problems for verdict in found.values())
    (results / "history.json").write_text("{}")
    assert validate(results).records == 2, "in a results folder only records are"
    shutil.copy(path, path.with_name(path.name.replace(".json", ".2.json")))
    assert validate(results).problems == []
    shutil.move(path, path.parents[2] / path.name)
    assert "it lies in a folder 'records'" in validate(results).problems[0][1]


def test_nothing_to_look_at_is_a_sentence(tmp_path):
    for place in (tmp_path, tmp_path / "absent"):
        with pytest.raises(
            BenchmarkError, match=r"there are no records here; a results folder or a record's file is ri"
        ):
            validate(place)


def test_links_large_files_and_others_mischief_are_named_and_the_rest_is_looked_at(planted, tmp_path):
    path = planted("single")
    large, link, deep = (path.with_name(f"{name}.json") for name in ("large", "link", "deep"))
    large.touch()
    os.truncate(large, 2**30)
    link.symlink_to("/etc/passwd")
    deep.write_text("[" * 10**5)
    verdict = validate(tmp_path / "results")
    assert verdict.records == 4
    assert {Path(file).stem: problem.partition(";")[0][:60] for file, problem in verdict.problems} == {
        "large": "this is no record: it has 1,024 MiB, and no record has more ",
        "link": "this is no record: it is a link or no plain file",
        "deep": verdict.problems[0][1][:60],
    }


@pytest.mark.usefixtures("own_process")
def test_artefacts_are_held_against_their_hashes_and_left_where_they_are(tmp_path):
    bench = Bench(tmp_path, {"methods": ["no_op"], "metrics": ["accuracy"]})
    bench.work()
    (record,) = bench.records
    results, store = tmp_path / "results", tmp_path / "store"
    fine = validate(results, store)
    assert [problem for _, problem in fine.problems] == []
    assert (fine.artefacts, fine.absent) == (6, 0)
    key = record.artefacts["retrained"]
    (weights,) = tiny.artefact(bench.store, key).glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1])
    shutil.rmtree(tiny.artefact(bench.store, record.artefacts["original"]))
    before = tiny.files(store)
    verdict = validate(results, store)
    assert [problem for _, problem in verdict.problems] == [
        f"artefacts.retrained: {key[:12]} is damaged: weights do not match their hash."
    ]
    assert (verdict.artefacts, verdict.absent) == (5, 1)
    assert tiny.files(store) == before
    assert Store(store).damage(key) and folder_of(key) in {name.rpartition("/")[0] for name in before}


@pytest.mark.usefixtures("own_process")
def test_a_record_of_a_run_just_made_is_valid_whatever_became_of_it(tmp_path):
    registry.add_plugin(tiny.plugin(tmp_path, "clumsy", "raise OSError(2, 'nothing there', '/home/ada/secret.pt')"))
    bench = Bench(tmp_path, {"methods": ["clumsy", "gradient_ascent", "fine_tune"], "metrics": ["accuracy"]})
    bench.work()
    failed = next(record for record in bench.records if record.run.method == "clumsy")
    assert failed.status == "failed" and "secret.pt" in failed.error and "ada" not in failed.error
    assert str(tmp_path) not in failed.error and "clumsy.py" in failed.error
    assert [problem for _, problem in validate(tmp_path / "results").problems] == []
    assert len(Records(tmp_path / "results").keys()) == 3
