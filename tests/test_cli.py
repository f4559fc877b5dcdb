"""The command line: what people type, what they read, and the exit code: 0 all ran, 1 some run failed, 2 wrong."""

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmark import catalogue, cli, jobs, models, registry, session
from benchmark.display import Display, Plain, Rich, choose, in_time
from benchmark.plan import SUITES, Plan
from benchmark.specs import suite_names
from benchmark.store import PopulationRecords, Records
from tests import tiny

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Answer:
    """What a command left on the terminal."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Answer]


@pytest.fixture(autouse=True)
def own_process(monkeypatch) -> Iterator[None]:
    with tiny.own_process(monkeypatch):
        yield


@pytest.fixture
def command(monkeypatch, capsys) -> Command:
    """Type a command, in this process."""

    def typed(*words: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["benchmark", *map(str, words)])
        monkeypatch.setenv("COLUMNS", "200")
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.main()
        said = capsys.readouterr()
        return Answer(left.value.code or 0, said.out, said.err)

    return typed


@pytest.fixture
def here(tmp_path) -> list[str]:
    """The tiny suite, and folders of its own."""
    return [f"--suite={tiny.suite_file(tmp_path)}", *tiny.places(tmp_path)]


# -- at once -----------------------------------------------------------------------------------------------

WITHOUT_TORCH = [
    (["--help"], 0),
    (["--version"], 0),
    ([], 2),
    (["run", "--help"], 0),
    (["plan", "--help"], 0),
    (["run"], 2),
    (["run", "--frobnicate"], 2),
    (["run", "--seeds", "0"], 2),
    (["run", "--seeds", "many"], 2),
    (["run", "--all", "--suite", "quik"], 2),
    (["run", "--all", "--metrics", "every_rum"], 2),
    (["score", "--help"], 0),
    (["score", "--suite", "quik"], 2),
    (["score", "--fresh"], 2),
    (["frobnicate"], 2),
    (["list"], 2),
    (["list", "suites", "--json"], 0),
    (["list", "tasks"], 0),
    (["list", "method"], 2),
    (["show", "quick"], 0),
    (["show", "digits-supervised-random"], 0),
    (["show", "fine_tun"], 2),
    (["report", "--results", "no/such/folder"], 2),
    (["compare", "no/such/folder", "HEAD"], 2),
    (["history", "--results", "no/such/folder"], 2),
]


def test_help_wrong_usage_and_completion_answer_without_torch():
    """In one new process: only there can be seen what was imported."""
    code = f"""
import os, sys
from benchmark import cli
def typed(words):
    sys.argv = ["unlearning-benchmark", *words]
    try:
        cli.main()
    except SystemExit as left:
        return left.code or 0
for words, expected in {WITHOUT_TORCH!r}:
    assert typed(words) == expected, words
    assert "torch" not in sys.modules, words
os.environ["_UNLEARNING_BENCHMARK_COMPLETE"] = "complete_bash"
for line in ("run --method fine_t", "run --suite qu", "run --resu"):
    os.environ.update(COMP_WORDS="unlearning-benchmark " + line, COMP_CWORD=str(len(line.split())))
    typed([])
    assert "torch" not in sys.modules, line
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-3:] == ["fine_tune", "quick", "--results"]
    assert "Traceback" not in done.stderr


def test_the_module_can_be_run():
    done = subprocess.run([sys.executable, "-m", "benchmark", "--help"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0
    assert "python -m benchmark [OPTIONS] COMMAND" in done.stdout
    assert {"run", "plan", "score", "list", "show", "report"} <= set(re.findall(r"\w+", done.stdout))


# -- bad input ---------------------------------------------------------------------------------------------


def refused(answer: Answer) -> str:
    """The one sentence of a wrong command."""
    assert answer.code == 2
    assert answer.out == ""
    assert answer.err.startswith("error: ") and answer.err.count("\n") == 1
    return answer.err.removeprefix("error: ").strip()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run"], "say what to run: --all, --task NAME or --method NAME (`list tasks` shows them)."),
        (["run", "--all", "--suite", "quik"], "unknown suite 'quik'. Did you mean 'quick'? Known: "),
        (["run", "--all", "--suite", "no.toml"], "no.toml: there is no such suite file."),
        (["run", "--task", "digits-supervised"], "suite 'quick': unknown task 'digits-supervised'. Did you mean"),
        (["plan", "--method", "fine_tun"], "--method: unknown method 'fine_tun'. Did you mean 'fine_tune'? Known: "),
        (["plan", "--metrics", "every_rum"], "--metrics: unknown metric or tier 'every_rum'. Did you mean 'every_run'"),
        (["score", "--metrics", "acuracy"], "--metrics: unknown metric or tier 'acuracy'. Did you mean 'accuracy'?"),
        (["plan", "--plugin", "mine.py"], "--plugin {here}/mine.py: there is no such file; give the path of a Python"),
        (["plan", "--device", "gpu"], "--device gpu: "),
        (["list", "method"], "unknown kind 'method'. Did you mean 'methods'? Known: datasets, executors, learners, "),
        (["show", "fine_tun"], "unknown name 'fine_tun'. Did you mean 'fine_tune'? Known: "),
        (["report"], "results: there are no records here; `run` makes some"),
    ],
)  # fmt: skip
def test_a_wrong_word_is_one_sentence_with_the_nearest_right_one(command, tmp_path, monkeypatch, words, sentence):
    monkeypatch.chdir(tmp_path)
    places = tiny.places(tmp_path) if words[0] in ("run", "plan", "score") else []
    said = refused(command(*words, *places))
    assert said.startswith(sentence.replace("{here}", str(tmp_path)))
    assert not (tmp_path / "results").exists()


AT = "suite 'tiny', task 'tiny-random'"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"tasks.0.dataset": "digit"}, f"{AT}: unknown dataset 'digit'. Did you mean 'digits'?"),
        ({"tasks.0.methods": {"fine_tune": {"epocs": 3}}}, f"{AT}, method 'fine_tune': unknown pa"),
        ({"tasks.0.methods": {"fine_tune": {"lr": "x"}}}, f"{AT}, method 'fine_tune': lr = 'x' is"),
        ({"tasks.0.recipe.epocs": 3}, "{toml}: task 1 ('tiny-random'), recipe.epocs: this key is not known; did you"),
        ({"tasks.0.scenario.fraction": 0.001}, f"{AT}: the forget set has 0 of 48 training images"),
        ({"tasks.0.scenario": {"name": "random", "count": 48}}, f"{AT}: the forget set has 48 of 48"),
        ({"tasks.0.scenario": "class:10"}, f"{AT}: scenario 'class': no training image has label 10"),
        ({"tasks.0.split.train": 5000}, f"{AT}: forget, heldout, third_party sets want 3"),
        ({"tasks.0.split.test": None}, f"{AT}: this dataset has no test part of its own; say"),
        ({"tasks.0.learner.encodr": {}}, f"{AT}: learner 'supervised': unknown parameter 'encodr'"),
        ({"tasks.0.learner.encoder.name": "resnet19"}, f"{AT}: timm: unknown encoder 'resnet19'."),
        ({"tasks.0.views": {"shiift": 0.1}}, f"{AT}: views: unknown view 'shiift'. Did you mean 'sh"),
        ({"tasks.0.image_size": 16}, f"{AT}: image_size = 16 is larger than the images"),
    ],
)  # fmt: skip
def test_a_wrong_suite_is_one_sentence_before_anything_runs(command, tmp_path, changes, sentence):
    path = tiny.suite_file(tmp_path, changes)
    for words in (["plan"], ["run", "--all", "--executor", "serial"]):
        said = refused(command(*words, "--suite", path, *tiny.places(tmp_path)))
        assert said.startswith(sentence.replace("{toml}", str(path)))
    assert not list((tmp_path / "results").rglob("*.json"))
    assert not (tmp_path / "store" / "artefacts").exists()


def test_broken_toml_names_the_line(command, tmp_path):
    path = tmp_path / "broken.toml"
    path.write_text("name = 'x'\nversion = \n")
    assert refused(command("plan", "--suite", path, *tiny.places(tmp_path))).startswith(
        f"{path}:2: this is no valid TOML"
    )


def test_a_dataset_that_is_not_there_and_cannot_be_fetched_says_what_to_do(command, tmp_path, monkeypatch):
    def no_network(*_arguments, **_more):
        raise urllib.error.URLError("no network here")

    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    path = tiny.suite_file(tmp_path, {"tasks.0.dataset": "cifar10", "tasks.0.split": {"train": 48, "test": 40}})
    said = refused(command("run", "--all", "--suite", path, *tiny.places(tmp_path)))
    assert "cifar10" in said and "no network here" in said and f"into {tmp_path}/data" in said


@pytest.mark.parametrize("name", ["results", "store"])
def test_a_folder_that_cannot_be_written_is_said_before_anything_runs(command, tmp_path, here, name):
    (tmp_path / name).write_text("a file in its place")
    said = refused(command("run", "--all", "--executor", "serial", *here))
    assert re.search(
        rf"/{name}.*: the (results folder|store) cannot be written .*; give another one with --{name}\.", said
    )
    assert not (tmp_path / "store" / "artefacts").exists()


def test_an_unknown_executor_is_refused_before_anything_runs(command, tmp_path, here):
    said = refused(command("run", "--all", "--executor", "locale", *here))
    assert said.startswith("unknown executor 'locale'. Did you mean 'local'?")
    assert not (tmp_path / "store" / "artefacts").exists()


def test_a_damaged_record_is_named(command, tmp_path, here):
    folder = tmp_path / "results" / "records" / "tiny-random" / "no_op"
    folder.mkdir(parents=True)
    (folder / "x-y.json").write_text("{")
    assert refused(command("report", tiny.places(tmp_path)[1])).startswith(f"{folder}/x-y.json: this is no record: ")


# -- what there is -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", catalogue.KINDS)
def test_every_kind_can_be_listed(command, kind):
    rows = command("list", kind, "--json").json
    assert rows and all(row["name"] and "error" not in row for row in rows)
    shown = command("list", kind)
    assert shown.code == 0 and all(row["name"].partition("[")[0] in shown.out for row in rows)


def test_lists_hold_what_is_registered_and_what_is_broken(command, tmp_path):
    names = [row["name"] for row in command("list", "methods", "--json").json]
    assert names == registry.names("method")
    broken = tmp_path / "broken.py"
    broken.write_text("def (:\n")
    late = tiny.plugin(tmp_path, "late")
    late.write_text("raise ValueError('too late')\n" + late.read_text())
    rows = command("list", "methods", "--json", "--plugin", broken, "--plugin", late).json
    errors = {row["name"]: row["error"] for row in rows if "error" in row}
    assert errors.keys() == {str(broken), "late"}
    assert "SyntaxError" in errors[str(broken)] and "too late" in errors["late"]


def test_tasks_of_a_suite_can_be_listed(command, here):
    (row,) = command("list", "tasks", here[0], "--json").json
    assert row == {
        "name": "tiny-random", "dataset": "digits", "learner": "supervised", "scenario": "random", "training_images": 48
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "kind", "fact"),
    [
        ("fine_tune", "method", {"name": "lr", "default": 0.01, "admissible": "0.0 … 1.0"}),
        ("gradient_constraint[placebo]", "method", {"interpolate": "third_third"}),
        ("digits", "dataset", "CC BY 4.0"),
        ("random", "scenario", {"name": "fraction", "default": None, "admissible": ""}),
        ("simclr", "learner", None),
        ("accuracy", "metric", "acc_test"),
        ("local", "executor", None),
        ("quick", "suite", None),
        ("digits-supervised-random", "task", None),
    ],
)
def test_everything_can_be_shown(command, name, kind, fact):
    content = command("show", name, "--json").json
    assert content["kind"] == kind
    assert fact is None or json.dumps(fact)[1:-1] in json.dumps(content)
    page = command("show", name)
    assert page.code == 0 and name.partition("[")[0] in page.out


def test_presets_are_listed_by_their_whole_name_with_what_they_read_and_apply_to(command):
    listed = command("list", "methods").out
    assert "[placebo]" in re.sub(r"[^\w\[\]]", "", listed)
    rows = {row["name"]: row for row in command("list", "methods", "--json").json}
    assert rows["gradient_constraint[placebo]"]["access"] == ["retain", "third_party"]
    assert rows["gradient_constraint[max_prob]"]["learners"] == ["supervised"]
    assert rows["gradient_penalty"]["access"] == ["forget", "retain"]


def test_every_method_is_listed_with_its_paper_applicability_access_and_cost(command):
    rows = {row["name"]: row for row in command("list", "methods", "--json").json if "[" not in row["name"]}
    assert len(rows) >= 34
    assert sum(bool({*row["learners"]} - {"supervised"}) for row in rows.values()) >= 16
    for name, row in rows.items():
        assert row["paper"] and row["learners"] and row["scenarios"] and row["cost"], name
        assert set(row["access"]) <= {"forget", "retain", "third_party", "artefacts"}
    assert rows["salun"]["cost"] == "F + 10 (R + F)"
    assert [name for name, row in rows.items() if not row["access"]] == ["no_op"]


def test_the_table_of_methods_says_what_its_letters_are(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    table = command("list", "methods").out
    assert re.search(r"│ salun +│ Fan, Liu.*│ all +│ all +│ F R +│ F \+ 10 \(R \+ F\) +│", table)
    assert re.search(r"│ salun\[soft\] +│ +│ all +│ all +│ F R +│ +│", table)
    assert re.search(r"│ no_op +│ control.*│ none +│ 0 +│", table)
    assert "access: F forget, R retain, T third party" in table and "f(·): forward alone" in table


def test_a_preset_is_listed_with_its_own_scenarios_and_without_a_cost_that_is_not_its(command):
    rows = {row["name"]: row for row in command("list", "methods", "--json").json}
    assert rows["random_labels[amnesiac]"]["scenarios"] == ["class", "subclass"]
    assert rows["random_labels[once]"]["scenarios"] == rows["random_labels"]["scenarios"]
    assert not [name for name, row in rows.items() if "[" in name and row["cost"]]


def test_the_page_of_a_method_has_all_that_one_needs_to_run_it(command):
    content = command("show", "salun", "--json").json
    assert content["access"] == ["forget", "retain"] and content["cost"] == "F + 10 (R + F)"
    assert content["presets"] == [{"name": "soft", "sets": {"mask": "soft", "lr": 5e-4}}]
    names = [parameter["name"] for parameter in content["parameters"]]
    assert names[:2] == ["mask", "density"] and names[-1] == "batch_size", "its own first, then what it shares"
    page = command("show", "salun").out
    assert "2310.12508" in page and "access: forget, retain" in page and "cost: F + 10 (R + F)" in page
    assert re.search(r"density\s.*0\.5\s.*0\.0 … 1\.0", page)
    assert re.search(r"batch_size\s.*256\s.*2 … 65536", page)
    assert re.search(r"soft\s.*mask = soft, lr = 0\.0005", page)


def test_a_page_says_where_a_method_comes_from_and_what_may_be_set(command):
    page = command("show", "fine_tune").out
    assert "2108.11577" in page and "fine_tune.py" in page
    assert re.search(r"epochs\s.*10\s.*1 … 100", page)
    assert re.search(r"optimizer\s.*sgd\s.*sgd \| adam \| adamw", page)


def test_a_suite_file_and_its_tasks_can_be_shown(command, here):
    path = here[0].removeprefix("--suite=")
    assert command("show", path, "--json").json["name"] == "tiny"
    assert command("show", "tiny-random", here[0], "--json").json["split"]["train"] == 48


# -- plan --------------------------------------------------------------------------------------------------


def test_a_plan_says_what_would_run_and_runs_nothing(command, tmp_path, here):
    content = command("plan", *here, "--json", "--jobs", 2).json
    assert (content["models_to_train"], content["runs_to_do"], content["runs_cached"]) == (2, 3, 0)
    assert [job["role"] for job in content["jobs"]] == ["original", "retrained", "retrain", "no_op", "fine_tune"]
    assert content["estimated_seconds"] is None and content["workers"] == 2
    words = command("plan", *here).out
    assert "3 runs to do, 0 cached; 2 original and retrained models to train first" in words
    assert command("run", "--all", "--dry-run", *here).out == words
    assert command("run", "--all", "--dry-run", "--json", "--jobs", 2, *here).json == content
    assert not (tmp_path / "store" / "artefacts").exists() and not (tmp_path / "results").exists()


def test_a_plan_says_what_is_not_applicable(command, tmp_path, here):
    path = tiny.plugin(tmp_path)
    path.write_text(path.read_text().replace('paper="none"', 'paper="none", paradigms={"byol"}'))
    answer = command("plan", *here, "--plugin", path, "--method", "theirs")
    assert "nothing to do." in answer.out
    assert "tiny-random: theirs is not applicable: not defined for supervised learners" in answer.out


def test_a_plugin_that_cannot_be_read_is_said_and_stops_nobody(command, tmp_path, here):
    path = tmp_path / "broken.py"
    path.write_text("def (:\n")
    for words in (["plan"], ["run", "--method", "no_op", "--executor", "serial", "--quiet"]):
        answer = command(*words, *here, "--plugin", path)
        assert answer.code == 0
        assert f"note: {path} is left out (SyntaxError" in answer.out


@pytest.mark.parametrize("name", suite_names(SUITES))
def test_selection_narrows_a_plan(command, tmp_path, monkeypatch, name):
    monkeypatch.setattr(session, "_fingerprint", lambda task, where: "files")
    monkeypatch.setattr(session, "rehearse", lambda work, where: None)
    words = ["plan", "--suite", name, "--json", *tiny.places(tmp_path)]
    everything = command(*words).json
    narrow = command(*words, "--method", "no_op", "--method", "fine*", "--seeds", 1).json
    tasks = {job["task"] for job in everything["jobs"]}
    assert narrow["runs_to_do"] == 2 * len(tasks) < everything["runs_to_do"]
    one = command(*words, "--task", sorted(tasks)[0]).json
    assert {job["task"] for job in one["jobs"]} == {sorted(tasks)[0]}


def test_a_plan_of_populations_alone_needs_no_images_and_is_said(command, tmp_path, here):
    plugin = tiny.metric(tmp_path, "together", needs="seeds")
    two = [f"--suite={tiny.suite_file(tmp_path, {'seeds': 2, 'metrics': ['accuracy', 'together']})}", *here[1:]]
    run(command, two, "--metrics", "accuracy")
    for words in (["plan"], ["run", "--all", "--dry-run"]):
        answer = command(*words, *two, "--plugin", plugin)
        assert (answer.code, answer.err) == (0, "")
        assert "0 runs to do, 6 cached; 0 original and retrained models to train first." in answer.out
        assert "  tiny-random: all seeds of fine_tune x 1" in answer.out
    answer = run(command, two, "--plugin", plugin)
    assert answer.code == 0 and "3 jobs done" in answer.out and "6 runs cached" in answer.out


def test_what_it_will_cost_is_said_before_anything_runs_unless_nobody_wants_to_hear(command, here, monkeypatch):
    monkeypatch.setattr(session, "build_report", lambda *_, **__: None)
    words = ["run", "--method", "no_op", "--executor", "serial", "--jobs", 1, *here]
    lines = command(*words).out.splitlines()
    assert lines[0] == "suite tiny: 1 runs to do, 0 cached; 2 original and retrained models to train first."
    assert lines[1] == "time with 1 workers: unknown, nothing like it was run yet."
    assert lines[2].startswith("[1/3]")
    again = command(*words, "--fresh").out.splitlines()
    assert re.fullmatch(r"time with 1 workers: about \d+ s\.", again[1])
    assert "runs to do" not in command(*words, "--fresh", "--quiet").out
    cached = command(*words)
    assert "runs to do" not in cached.out and "1 runs cached" in cached.out


# -- run ---------------------------------------------------------------------------------------------------


def test_a_suite_runs_end_to_end_and_a_second_time_trains_nothing(command, tmp_path, here, monkeypatch):
    words = ["run", "--all", "--executor", "serial", "--jobs", 1, *here]
    first = command(*words)
    assert first.code == 0, first.err
    cost, time, *lines = first.out.splitlines()
    assert cost == "suite tiny: 3 runs to do, 0 cached; 2 original and retrained models to train first."
    assert time == "time with 1 workers: unknown, nothing like it was run yet."
    assert re.match(
        r"\[1/5\] tiny-random  seed 0  train the original: ok  train \d+\.\d s observe \d+\.\d s \(", lines[0]
    )
    assert re.match(r"\[5/5\] tiny-random  seed 0  unlearn by \w+: \w+  .* \(about 0 s left\)", lines[4])
    assert "\x1b" not in first.out
    assert "5 jobs done in " in lines[-1] and "0 runs cached" in lines[-1]
    for file in ("leaderboard.md", "leaderboard.csv", "leaderboard.tex"):
        assert (tmp_path / "results" / file).is_file()
    before = tiny.files(tmp_path / "results")
    artefacts = tiny.files(tmp_path / "store")
    records = {record.run.method: record for record in Records(tmp_path / "results").read()}
    assert records.keys() == {"retrain", "no_op", "fine_tune"}
    assert records["no_op"].status == "no_change"

    monkeypatch.setattr(jobs, "run_job", lambda *_: pytest.fail("a second run ran a job"))
    second = command(*words)
    assert second.code == 0
    assert "0 jobs done" in second.out and "3 runs cached" in second.out
    assert tiny.files(tmp_path / "results") == before
    assert tiny.files(tmp_path / "store") == artefacts

    content = command(*words, "--json").json
    assert (content["jobs_done"], content["runs_cached"], content["failed"]) == (0, 3, [])
    report = command("report", tiny.places(tmp_path)[1], "--json")
    assert report.code == 0 and report.json["records"] == 3


def test_what_the_store_lost_is_computed_again_and_said(command, tmp_path, here):
    words = ["run", "--task", "tiny*", "--executor", "serial", "--method", "no_op", *here]
    assert command(*words, "--quiet").code == 0
    (before,) = Records(tmp_path / "results").read()
    for file in (tmp_path / "store" / "artefacts" / before.key[:2] / before.key).iterdir():
        file.unlink()
    outputs = tmp_path / "store" / "artefacts" / before.artefacts["original/outputs"][:2]
    damaged = next((outputs / before.artefacts["original/outputs"]).glob("*.npz"))
    damaged.write_bytes(damaged.read_bytes()[:100])
    answer = command(*words)
    assert answer.code == 0
    assert "note: tiny-random, no_op, seed 0: artefact " in answer.out and "computed again" in answer.out
    assert list(Records(tmp_path / "results").read()) == [before]
    assert command(*words, "--quiet").out.splitlines()[-1].startswith("0 jobs done")


def test_a_damaged_decoded_dataset_is_decoded_again(command, tmp_path, here):
    words = ["run", "--method", "no_op", "--executor", "serial", "--quiet", *here]
    assert command(*words, "--dry-run").code == 0
    (decoded,) = (tmp_path / "store" / "datasets" / "decoded").iterdir()
    decoded.write_bytes(decoded.read_bytes()[:1000])
    assert command(*words).code == 0


def test_a_method_that_raises_fails_alone_and_is_named(command, tmp_path, here):
    path = tiny.plugin(tmp_path, "clumsy", "raise ZeroDivisionError('too clumsy')")
    words = ["run", "--executor", "serial", "--plugin", path, "--method", "clumsy", "--method", "no_op", *here]
    answer = command(*words, "--quiet")
    assert answer.code == 1
    assert not re.search(r"^\[\d+/\d+\]", answer.out, re.MULTILINE)
    assert "failed: tiny-random, clumsy, seed 0: ZeroDivisionError: too clumsy" in answer.out
    records = {record.run.method: record for record in Records(tmp_path / "results").read()}
    assert records["clumsy"].status == "failed" and records["no_op"].status == "no_change"
    assert "Traceback" in records["clumsy"].error and "clumsy.py" in records["clumsy"].error
    assert records["no_op"].metrics and not records["clumsy"].metrics

    again = command(*words, "--quiet")
    assert again.code == 1
    assert "failed: tiny-random, clumsy, seed 0: failed in an earlier run" in again.out

    answer = command(*words, "--fresh", "--json")
    assert answer.code == 1
    assert answer.json["failed"][0]["job"] == "tiny-random, clumsy, seed 0"
    assert "[4/4] tiny-random" in answer.err


def test_a_run_whose_model_dies_leaves_a_record_that_says_so(command, tmp_path, here, monkeypatch):
    died = {"status": "died", "error": "the worker died with exit code -9.", "seconds": {}, "notes": []}
    monkeypatch.setattr(jobs, "run_job", lambda job: died)
    answer = command("run", "--method", "no_op", "--executor", "serial", *here)
    assert answer.code == 1
    why = "tiny-random, original, seed 0, which it needs, failed: the worker died with exit code -9, tried 3 times."
    assert f"failed: tiny-random, no_op, seed 0: {why}" in answer.out
    (record,) = Records(tmp_path / "results").read()
    assert (record.status, record.error) == ("failed", why)


@pytest.mark.parametrize("name", ["run", "score"])
def test_limits_and_the_machine_reach_the_jobs(command, here, monkeypatch, name):
    given: list[dict[str, Any]] = []
    done = {"status": "ok", "error": None, "seconds": {}, "notes": []}
    words = ["--executor", "serial", "--timeout", 90, "--memory", 1.5, "--method", "no_op", *here]
    if name == "score":
        assert command("run", *words).code == 0
        words += ["--metrics", "accuracy"]
    monkeypatch.setattr(jobs, "run_job", lambda job: given.append(job) or done)
    assert command(name, *words).code == 0
    assert {(job["time_limit"], job["memory_limit"], job["exclusive"]) for job in given} == {(90.0, 1.5e9, True)}


@pytest.mark.parametrize("option", [["--timeout", 0], ["--memory", 0], ["--gpus-per-job", 0], ["--gpus-per-job", 0.5]])
def test_limits_that_leave_nothing_are_refused(command, here, tmp_path, option):
    answer = command("run", "--method", "no_op", "--executor", "serial", *option, *here)
    assert answer.code == 2 and str(option[0]) in answer.err
    assert not list((tmp_path / "results").rglob("*.json"))


@pytest.mark.parametrize("words", [["run", "--all"], ["score"]])
def test_an_interruption_says_how_to_go_on(command, here, monkeypatch, words):
    def interrupted(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(session, "run", interrupted)
    answer = command(*words, *here)
    assert answer.code == 130
    assert answer.err == "interrupted; type the same command again to go on from here.\n"


# -- score -------------------------------------------------------------------------------------------------


def run(command: Command, here: list[str], *words: object) -> Answer:
    return command("run", "--all", "--executor", "serial", "--quiet", *here, *words)


@pytest.fixture
def no_models(monkeypatch) -> None:
    for name in ("train", "build_learner", "load_task"):
        monkeypatch.setattr(models, name, lambda *_, name=name: pytest.fail(f"{name} was called"))


@pytest.mark.usefixtures("no_models")
def test_scoring_where_nothing_is_stored_says_so_and_is_no_failure(command, tmp_path, here):
    answer = command("score", *here)
    assert answer.code == 0
    assert answer.out.splitlines() == [
        "note: 3 runs have no stored outputs; `run` makes them.",
        "0 jobs done in 0 s, 0 runs cached.",
    ]
    assert not (tmp_path / "store" / "artefacts").exists()
    assert not list((tmp_path / "results").rglob("*.json"))
    content = command("score", *here, "--json").json
    assert (content["jobs_done"], content["failed"]) == (0, [])
    assert content["notes"] == ["3 runs have no stored outputs; `run` makes them."]


def test_scoring_computes_what_changed_and_the_second_time_nothing(command, tmp_path, here, request):
    plugin = tiny.metric(tmp_path)
    here = [f"--suite={tiny.suite_file(tmp_path, {'metrics': ['accuracy', 'measured']})}", *here[1:]]
    words = [*here, "--plugin", plugin, "--executor", "serial"]
    assert run(command, words[:-2]).code == 0
    request.getfixturevalue("no_models")
    tiny.calls(tmp_path)
    before = tiny.files(tmp_path / "store"), tiny.files(tmp_path / "results")
    unchanged = command("score", *words)
    assert unchanged.code == 0 and "0 jobs done" in unchanged.out and "3 runs cached" in unchanged.out
    assert (tiny.files(tmp_path / "store"), tiny.files(tmp_path / "results")) == before
    assert tiny.calls(tmp_path) == []

    tiny.metric(tmp_path, value="0.25")
    changed = command("score", *words)
    assert changed.code == 0
    assert "suite tiny: 3 runs to do, 0 cached; 0 original and retrained models to train first." in changed.out
    assert re.search(r"time with \d+ workers: unknown, but no model is needed\.", changed.out)
    assert re.search(r"\[1/1\] tiny-random  seed 0  score 3 methods: ok  score \d", changed.out)
    assert tiny.calls(tmp_path) == ["measured"] * 5, "three methods, original and retrained model"
    records = list(Records(tmp_path / "results").read())
    assert sorted(record.metrics["measured_value"].value == 0.25 for record in records) == [False] * 3 + [True] * 3

    again = command("score", *words)
    assert again.code == 0 and "0 jobs done" in again.out and "3 runs cached" in again.out
    assert tiny.calls(tmp_path) == [] and len(list(Records(tmp_path / "results").read())) == 6


def test_scoring_does_what_it_can_and_counts_the_rest(command, here, request):
    assert command("run", "--method", "no_op", "--executor", "serial", "--quiet", *here).code == 0
    request.getfixturevalue("no_models")
    answer = command("score", *here, "--executor", "serial", "--metrics", "accuracy")
    assert answer.code == 0
    assert "[1/1] tiny-random  seed 0  score no_op: ok" in answer.out
    assert "note: 2 runs have no stored outputs; `run` makes them." in answer.out


MOODY = """from benchmark.specs import derive_seed
        if request.seed == derive_seed("tiny-random", "method", "moody", 1):
            raise RuntimeError("not today")"""


def test_all_seeds_of_a_method_that_failed_on_one_are_named_and_the_runs_are_there(command, tmp_path, here):
    changes = {"seeds": 2, "methods": ["moody", "no_op"], "metrics": ["accuracy", "together"]}
    words = [f"--suite={tiny.suite_file(tmp_path, changes)}", *here[1:]]
    for plugin in (tiny.plugin(tmp_path, "moody", MOODY), tiny.metric(tmp_path, "together", needs="seeds")):
        words += ["--plugin", str(plugin)]
    answer = run(command, words)
    assert answer.code == 1
    failed = [line for line in answer.out.splitlines() if line.startswith("failed: ")]
    assert failed == [
        "failed: tiny-random, moody, seed 1: RuntimeError: not today",
        "failed: tiny-random, moody, all seeds: 1 of 2 seeds have no model to measure: 1 (failed).",
    ]
    statuses = {(r.run.method, r.run.seed): r.status for r in Records(tmp_path / "results").read()}
    assert list(statuses.values()).count("no_change") == 3 and statuses["moody", 1] == "failed"
    assert {r.method: r.status for r in PopulationRecords(tmp_path / "results").read()} == {
        "moody": "failed", "no_op": "no_change"
    }  # fmt: skip
    again = run(command, words)
    assert again.code == 1 and "0 jobs done" in again.out
    for what in ("seed 1", "all seeds"):
        assert f"failed: tiny-random, moody, {what}: failed in an earlier run; its record says why" in again.out


def test_a_metric_of_somebody_s_is_listed_shown_and_scored(command, tmp_path, here):
    plugin = tiny.metric(tmp_path, tier="probing")
    rows = {row["name"]: row for row in command("list", "metrics", "--json", "--plugin", plugin).json}
    assert rows["measured"]["numbers"] == ["measured_value"]
    assert "measured" in command("list", "metrics", "--plugin", plugin).out
    page = command("show", "measured", "--plugin", plugin, "--json").json
    assert (page["kind"], page["source"]) == ("metric", str(plugin))
    assert [value["label"] for value in page["values"]] == ["theirs"]
    answer = run(command, here, "--plugin", plugin, "--metrics", "measured", "--metrics", "accuracy")
    assert answer.code == 0
    for record in Records(tmp_path / "results").read():
        assert record.run.metrics == ["accuracy", "measured"]
        assert record.metrics["measured_value"].tier == "probing"


# -- progress ----------------------------------------------------------------------------------------------

RUN = {"task": {"name": "t"}, "seed": 0}
JOB = {"key": "a", "kind": "train", "role": "original", "run": RUN}
DONE = {"status": "ok", "error": None, "seconds": {"train": 61.25}, "notes": []}


class Running:
    """An executor, as far as a display looks at it."""

    def running(self) -> list[dict[str, Any]]:
        return [JOB | {"key": "b", "kind": "run", "role": "no_op"}]


def test_the_display_suits_the_place():
    assert type(choose(Console(file=StringIO(), force_terminal=True), quiet=False)) is Rich
    assert type(choose(Console(file=StringIO()), quiet=False)) is Plain
    assert type(choose(Console(file=StringIO(), force_terminal=True), quiet=True)) is Display


def test_on_a_terminal_one_sees_what_is_done_what_runs_and_how_long_it_takes():
    console = Console(file=StringIO(), force_terminal=True, width=120)
    plan = Plan("t", jobs={"a": JOB, "b": JOB, "c": JOB}, estimates={"a": 1.0, "b": 1.0})
    display = Rich(console)
    with display.showing(plan, Running()):
        display.finished(JOB, DONE)
        display.finished(JOB | {"key": "c"}, DONE | {"status": "failed", "error": "Traceback\nValueError: no"})
        with console.capture() as captured:
            console.print(display)
    seen = re.sub(r"\x1b\[[0-9;]*m", "", captured.get())
    assert "2 of 3 jobs" in seen and "left" in seen
    assert re.search(r"▸\s+t  seed 0  unlearn by no_op\s+0 s", seen)
    assert "t  seed 0  train the original: failed: ValueError: no" in console.file.getvalue()


@pytest.mark.parametrize(
    ("kind", "role", "words"),
    [
        ("train", "original", "t  seed 0  train the original"),
        ("run", "no_op (placebo arm)", "t  seed 0  unlearn by no_op (placebo arm)"),
        ("score", "8 methods", "t  seed 0  score 8 methods"),
        ("population", "no_op", "t  all seeds of no_op"),
    ],
)
def test_each_kind_of_job_has_words_of_its_own(kind, role, words):
    console = Console(file=StringIO())
    display, job = Plain(console), JOB | {"kind": kind, "role": role}
    with display.showing(Plan("t", jobs={"a": job}), Running()):
        display.finished(job, DONE)
    assert console.file.getvalue().startswith(f"[1/1] {words}: ok  train 61.2 s")


def test_elsewhere_one_reads_a_line_for_each_job():
    console = Console(file=StringIO(), width=40)
    display = Plain(console)
    with display.showing(Plan("t", jobs={"a": JOB, "b": JOB}), Running()):
        display.finished(JOB, DONE)
    assert console.file.getvalue() == "[1/2] t  seed 0  train the original: ok  train 61.2 s (about 0 s left)\n"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "0 s"), (42, "42 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (7800, "2 h 10 min"), (-1, "0 s")],
)
def test_time_in_words(seconds, words):
    assert in_time(seconds) == words
