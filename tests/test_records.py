"""Records: each once, in order, readable for ever, and refused with a sentence if they are a stranger's mischief."""

import json
import multiprocessing
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmark import records as records_module
from benchmark import specs
from benchmark.errors import BenchmarkError
from benchmark.records import LARGEST, PopulationRecords, Records, method_folder
from benchmark.specs import PopulationRecord, Record
from tests import tiny
from tests.report import factory

EXAMPLES = Path(__file__).parent / "records"


def record(seed: int = 0, method: str = "theirs", **changes: Any) -> Record:
    return factory.record(factory.World(), factory.Method(method), seed, **changes)


def at(one: Record, commit: str) -> Record:
    """The same from another commit."""
    return one.model_copy(update={"provenance": one.provenance.model_copy(update={"commit": commit})})


# -- one file for each -------------------------------------------------------------------------------------


def test_a_record_is_one_file_named_by_task_method_key_and_commit(tmp_path):
    records = Records(tmp_path)
    one = record(method="theirs[preset]")
    path = records.add(one)
    assert path == tmp_path / "records" / "toy-random" / "theirs.preset" / f"{one.key}-{'c' * 12}.json"
    assert list(records.read()) == [one]
    assert method_folder("theirs") == "theirs"


def test_records_lie_at_a_url_as_in_a_folder():
    records, made = Records(f"memory://{uuid.uuid4().hex}/results"), [record(seed) for seed in range(300)]
    for one in made:
        where = records.add(one)
    assert where == f"{records._place.url}/records/toy-random/theirs/{made[-1].key}-{'c' * 12}.json"
    assert sorted(records.read(), key=lambda one: one.run.seed) == made
    assert records.keys() == {one.key for one in made}


def test_what_all_seeds_say_together_has_a_folder_of_its_own(tmp_path):
    populations = PopulationRecords(tmp_path)
    one = factory.population(factory.World(), factory.Method("theirs[preset]"), {"strong": factory.pooled(0.6)})
    paths = [populations.add(one, fresh=True) for _ in range(2)]
    folder = tmp_path / "populations" / "toy-random" / "theirs.preset"
    assert paths == [folder / f"{one.key}-{'c' * 12}{repeat}.json" for repeat in ("", ".2")]
    assert list(populations.read()) == [one] * 2
    assert populations.keys() == {one.key}
    assert Records(tmp_path).keys() == set()
    paths[0].write_text("{}")
    with pytest.raises(BenchmarkError, match=r"^.*\.json: this is no record: "):
        list(populations.read())


def test_a_record_can_be_read_by_people(tmp_path):
    """A line for each thing that is said; lists of numbers on one, texts as they are."""
    error = "ValueError: [1,   2]\n  tensor([[1.,\n          2.]])"
    records, one = Records(tmp_path), record(error=error)
    lines = records.add(one).read_text().splitlines()
    assert list(records.read()) == [one] and one.curves
    assert ' "status": "ok",' in lines
    assert not [line for line in lines if line.strip(" ,").replace(".", "").isdigit()]


def test_keys_are_known_from_file_names_alone(tmp_path):
    records, made = Records(tmp_path), [record(seed) for seed in range(3)]
    for one in made:
        records.add(one).write_text("not read")
    assert records.keys() == {one.key for one in made}
    assert Records(tmp_path / "absent").keys() == set()


def test_what_lies_beside_records_is_none(tmp_path):
    records = Records(tmp_path)
    records.add(record())
    for name in ("notes.json", "toy-random/notes.json", "toy-random/theirs/deep/x.json", "toy-random/theirs/x.txt"):
        (tmp_path / "records" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "records" / name).write_text("{}")
    assert len(records.keys()) == len(list(records.read())) == 1


# -- each once ---------------------------------------------------------------------------------------------


def names(results: Path) -> list[str]:
    return sorted(path.name.partition("-")[2] for path in results.rglob("*.json"))


def test_what_is_recorded_at_a_commit_is_not_recorded_again_unless_it_was_run_again_on_purpose(tmp_path):
    records, one = Records(tmp_path), record()
    first = records.add(one)
    assert records.add(one.model_copy(update={"suite": "other"})) == first
    assert list(records.read()) == [one]
    assert [records.add(one, fresh=True).name for _ in range(2)] == [
        f"{one.key}-cccccccccccc.{repeat}.json" for repeat in (2, 3)
    ]
    assert list(records.read()) == [one] * 3


def test_another_commit_has_a_record_of_its_own_unless_somebody_was_faster(tmp_path):
    records, one = Records(tmp_path), record()
    records.add(one)
    before = records.names_of("toy-random", "theirs", one.key)
    assert len(before) == 1
    assert records.add(at(one, "d" * 40), known=before).name == f"{one.key}-{'d' * 12}.json"
    assert records.add(at(one, "e" * 40), known=before).name == f"{one.key}-{'d' * 12}.json", "left meanwhile"
    assert names(tmp_path) == [f"{letter * 12}.json" for letter in "cd"]


def test_a_success_is_recorded_beside_failures_and_a_failure_never_beside_a_success(tmp_path):
    records = Records(tmp_path)
    good, bad = record(), record().model_copy(update={"status": "failed", "error": "no memory", "metrics": {}})
    for one in (bad, bad, good, bad, good):
        records.add(one)
    assert [one.status for one in records.read()] == ["failed", "ok"]


def test_a_gap_in_the_repeats_is_no_trap(tmp_path):
    records, one = Records(tmp_path), record()
    paths = [records.add(one, fresh=True) for _ in range(3)]
    paths[1].unlink()
    assert records.add(one, fresh=True).name.endswith("cccccccccccc.4.json")


def test_records_of_one_run_are_read_in_the_order_in_which_they_were_left(tmp_path):
    one, records = record(), Records(tmp_path)
    errors = [f"{number}" for number in range(12)]
    for error in errors:
        records.add(one.model_copy(update={"error": error}), fresh=True)
    assert [found.error for found in records.read()] == errors


def _add(results: str, fresh: bool, barrier: Any) -> None:
    for seed in range(30):
        barrier.wait()
        Records(results).add(record(seed), fresh=fresh)


@pytest.mark.parametrize(("fresh", "each"), [(False, 1), (True, 3)])
def test_three_processes_at_once_lose_no_record_and_double_none(tmp_path, fresh, each):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(3)
    workers = [context.Process(target=_add, args=(str(tmp_path), fresh, barrier)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    found = list(Records(tmp_path).read())
    assert sorted(one.run.seed for one in found) == sorted(list(range(30)) * each)
    assert len(tiny.files(tmp_path)) == len(found), "no temporary file is left"


# -- schema ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(EXAMPLES.iterdir()), ids=lambda path: path.stem)
def test_a_record_of_each_schema_version_still_loads(tmp_path, path):
    kept = PopulationRecord if "population" in path.stem else Record
    content = json.loads(path.read_text())
    assert content["schema_version"] == int(path.stem[1]) <= specs.RECORD_VERSION
    one = records_module.read_as(kept, path.read_bytes())
    assert one.schema_version == specs.RECORD_VERSION
    assert one.key == content["key"] and one.metrics.keys() == content["metrics"].keys()
    assert records_module.read_any(path.read_bytes()) == one


def test_there_is_an_example_of_every_version_with_all_that_was_added_to_it():
    versions = {int(path.stem[1]) for path in EXAMPLES.iterdir()}
    assert versions == set(range(1, specs.RECORD_VERSION + 1))
    first, later = (json.loads((EXAMPLES / f"{name}.json").read_text()) for name in ("v1", "v1-later"))
    assert later.keys() - first.keys() == {"optimises"}
    assert later["run"].keys() - first["run"].keys() == {"placebo"}


def test_there_is_a_step_from_every_earlier_version():
    assert records_module.UPGRADES.keys() == set(range(1, specs.RECORD_VERSION))


def test_a_record_of_an_earlier_version_goes_up_step_by_step(monkeypatch):
    """Two versions that are not there yet: one renames a field, the next puts it back."""
    steps = []

    def rename(old: str, new: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
        def step(content: dict[str, Any]) -> dict[str, Any]:
            steps.append(content["schema_version"])
            return {new if name == old else name: value for name, value in content.items()}

        return step

    now = specs.RECORD_VERSION
    monkeypatch.setattr(specs, "RECORD_VERSION", now + 2)
    monkeypatch.setitem(records_module.UPGRADES, now, rename("suite", "collection"))
    monkeypatch.setitem(records_module.UPGRADES, now + 1, rename("collection", "suite"))
    content = json.loads((EXAMPLES / "v1.json").read_text())
    one = records_module.read_as(Record, json.dumps(content).encode())
    assert steps == [now, now + 1]
    assert (one.schema_version, one.suite) == (now + 2, content["suite"])
    steps.clear()
    records_module.read_as(Record, json.dumps(content | {"schema_version": now + 2}).encode())
    assert steps == []


@pytest.mark.parametrize(
    ("version", "sentence"),
    [
        (7, "it is of schema version 7, and this benchmark reads versions up to 1; a newer one reads it."),
        (0, "schema_version is 0; a whole number from 1 on is right."),
        ("1", "schema_version is '1'; a whole number from 1 on is right."),
        (True, "schema_version is True; a whole number from 1 on is right."),
        (None, "schema_version is None; a whole number from 1 on is right."),
    ],
)
def test_a_record_of_an_unknown_version_is_refused_with_the_version(tmp_path, version, sentence):
    path = Records(tmp_path).add(record())
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": version}))
    assert refusal(tmp_path) == f"{path}: this is no record: {sentence}"


# -- hostile files -----------------------------------------------------------------------------------------


def refusal(results: Path) -> str:
    """What reading a results folder says; nothing in it changes."""
    before = sorted(results.rglob("*"))
    with pytest.raises(BenchmarkError) as raised:
        list(Records(results).read())
    assert sorted(results.rglob("*")) == before
    sentence = str(raised.value)
    assert "\n" not in sentence and sentence.isprintable() and len(sentence) < 1000
    return sentence


@pytest.fixture
def planted(tmp_path) -> Path:
    """A record between two others."""
    results = tmp_path / "results"
    paths = sorted(Records(results).add(record(seed)) for seed in range(3))
    return paths[1]


NOWHERE = [
    ("run.task.name", "../../../../tmp/evil"),
    ("run.task.name", ".."),
    ("run.task.name", "a/b"),
    ("run.method", "../../evil"),
    ("run.method", "a; rm -rf ~"),
    ("run.method", "$(touch evil)"),
    ("run.method", "a[b]/../c"),
    ("run.method", "-rf"),
    ("run.method", ""),
    ("run.method", "a\x1b[2J"),
    ("run.method", "a\n"),
    ("run.method", "a" * 200),
    ("run.metrics", ["`id`"]),
    ("key", "../" * 21 + "x"),
    ("key", "g" * 64),
    ("key", "ab" * 32 + "\n"),
    ("suite", "../quick"),
    ("paradigm", "a/b"),
    ("uses", ["../forget"]),
    ("provenance.commit", "../../evil"),
    ("provenance.commit", ""),
    ("provenance.date", "yesterday"),
    ("artefacts", {"original": "../../secret"}),
    ("metrics", {"../../m": {}}),
    ("metrics", {"<script>": {}}),
    ("curves", {"a b": {}}),
    ("error", "red \x1b[31m"),
    ("metrics.right.label", "\x1b]0;title\x07"),
    ("provenance.versions", {"python": "\x1b[2J"}),
]


@pytest.mark.parametrize(("place", "value"), NOWHERE, ids=str)
def test_a_record_that_names_what_is_no_name_is_refused_with_its_place(planted, place, value):
    content = json.loads(planted.read_text())
    target = content
    *parents, last = place.split(".")
    for parent in parents:
        target = target[parent]
    target[last] = value
    planted.write_text(json.dumps(content))
    assert refusal(planted.parents[3]).startswith(f"{planted}: this is no record: {place}")


def without(text: str, old: str, new: str) -> str:
    assert text.count(old) >= 1
    return text.replace(old, new, 1)


MISCHIEF: dict[str, tuple[Callable[[str], str | bytes], str]] = {
    "cut in half": (lambda text: text[: len(text) // 2], "Unterminated|Expecting|Invalid"),
    "empty": (lambda text: "", "Expecting value: line 1 column 1"),
    "no object": (lambda text: f"[{text}]", "a JSON object is right"),
    "bytes": (lambda text: b"\x80\x04\x95" + text.encode(), "codec can't decode|Expecting value"),
    "NaN": (
        lambda text: without(text, '"duplicates_dropped": 0', '"duplicates_dropped": NaN'),
        "holds NaN, which is no",
    ),
    "infinity": (lambda text: without(text, '"error": null', '"error": -Infinity'), "holds -Infinity, which is no"),
    "a number beyond all": (lambda text: without(text, '"observe_seconds": 1.0', '"observe_seconds": 1e999'), "finite"),
    "the same in settings": (lambda text: without(text, '"params": {}', '"params": {"a": 1e999}'), "not finite"),
    "endless digits": (lambda text: without(text, '"duplicates_dropped": 0', f'"x": {"1" * 5000}'), "limit .4300"),
    "a key twice": (lambda text: without(text, '"oracle"', '"oracle": true, "oracle"'), "'oracle' stands there twice"),
    "nested for ever": (lambda text: without(text, '"params": {}', f'"params": {"[" * 10**5}'), "recursion|Expecting"),
    "nested too deep": (
        lambda text: without(text, '"params": {}', f'"params": {{"a": {"[" * 50}{"]" * 50}}}'),
        "nested more than 20 levels deep",
    ),
    "another status": (
        lambda text: without(text, '"status": "ok"', '"status": "splendid"'),
        "^status: Input should be",
    ),
    "a host": (lambda text: without(text, '"paradigm"', '"hostname": "x", "paradigm"'), "^hostname: Extra inputs"),
    "a terminal's commands": (
        lambda text: without(text, '"paradigm"', '"\\u001b[2J\\n": 1, "paradigm"'),
        r"^\?\[2J\?:",
    ),
}


@pytest.mark.parametrize("kind", MISCHIEF)
def test_a_file_that_is_no_record_is_refused_with_the_reason(planted, kind):
    change, reason = MISCHIEF[kind]
    changed = change(planted.read_text())
    planted.write_bytes(changed if isinstance(changed, bytes) else changed.encode())
    sentence = refusal(planted.parents[3])
    start = f"{planted}: this is no record: "
    assert sentence.startswith(start)
    assert records_module.re.search(reason, sentence.removeprefix(start)), sentence


def test_a_file_of_a_gigabyte_is_refused_before_it_is_read(planted, monkeypatch):
    os.truncate(planted, 2**30)  # a hole, which takes no room
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"{path} was read"))
    assert refusal(planted.parents[3]) == (
        f"{planted}: this is no record: it has 1,024 MiB, and no record has more than {LARGEST // 2**20} MiB."
    )


@pytest.mark.parametrize("kind", ["file", "pipe", "folder"])
def test_what_leads_out_of_the_folder_is_refused_and_not_opened(planted, tmp_path, kind):
    outside = tmp_path / "outside"
    odd = planted.parent if kind == "folder" else planted
    odd.rename(outside)
    if kind == "pipe":
        os.mkfifo(odd)  # who opens it waits for ever
    else:
        odd.symlink_to(outside)
    assert refusal(tmp_path / "results") == (
        f"{odd}: this is no record: it is a link or no plain file; put the file itself there."
    )


def test_nothing_is_recorded_through_a_link(planted, tmp_path):
    planted.parent.rename(tmp_path / "outside")
    planted.parent.symlink_to(tmp_path / "outside")
    before = tiny.files(tmp_path / "outside")
    with pytest.raises(BenchmarkError, match=r"theirs: this is a symbolic link; put the folder itself there\.$"):
        Records(tmp_path / "results").add(record(9))
    assert tiny.files(tmp_path / "outside") == before


def test_a_results_folder_whose_records_are_elsewhere_is_refused(planted, tmp_path):
    shelf = tmp_path / "results" / "records"
    shelf.rename(tmp_path / "elsewhere")
    shelf.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BenchmarkError, match=r"records: this is a symbolic link; put the folder itself there\.$"):
        list(Records(tmp_path / "results").read())
