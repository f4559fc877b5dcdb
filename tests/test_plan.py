"""Suite -> jobs: what is in a key and what is not, what is planned once, what is cached, and what is refused."""

import ast
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from benchmark import ROOT, api, keys, plan, provenance, registry
from benchmark.errors import BenchmarkError, UnknownName
from benchmark.plan import Known, Options, Plan, applicability, build_method, make_plan, resolve_method
from benchmark.scoring import ROLES
from benchmark.specs import Evaluation, Recipe, SplitSpec, TaskSpec, canonical_hash
from tests import tiny
from tests.report import factory

HERE = Options(Path("/store"), Path("/results"), Path("/data"))


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    monkeypatch.setattr(registry, "_index", tiny.own_index())


def planned(changes=None, options=HERE, files="files", recorded=(), stored=(), history=()) -> Plan:
    return make_plan(tiny.suite(changes), options, lambda task: files, Known(set(recorded), set(stored)), history)


def keys_of(changes=None, method="fine_tune", **more) -> dict[str, str]:
    """The keys of one run, `record` among them."""
    job = next(job for job in planned(changes, **more).jobs.values() if job["role"] == method)
    return job["keys"] | {"record": job["key"]}


def of_kind(work: Plan, kind: str) -> list[dict[str, Any]]:
    return [job for job in work.jobs.values() if job["kind"] == kind]


def run_keys(work: Plan) -> list[str]:
    return [key for key, job in work.jobs.items() if job["kind"] == "run"]


# -- what a key holds --------------------------------------------------------------------------------------

TASK = {
    "name": "another-name",
    "dataset": {"name": "folder", "path": "/somewhere"},
    "learner": {"name": "supervised", "encoder": {"layers": [2], "channels": [16]}},
    "scenario": {"name": "random", "fraction": 0.5},
    "views": {"shift": 0.1},
    "image_size": 4,
    "label_noise": 0.1,
    "split_of": "a-third-name",
    "methods": {"fine_tune": {"epochs": 2}},
}
SPLIT = {
    "train": 50,
    "heldout": 9,
    "third_party": 9,
    "validation": 4,
    "test": 30,
    "seed": 0,
    "pairs": True,
    "placebo": True,
}
RECIPE = {
    "optimizer": "adam", "lr": 0.06, "momentum": 0.8, "nesterov": True, "weight_decay": 0.1, "schedule": "cosine",
    "epochs": 2, "batch_size": 8, "drop_last": True, "max_grad_norm": 1.0,
    "precision": "bfloat16", "channels_last": True,
}  # fmt: skip
EVALUATION = {"views": 5, "retain_probe": 100, "knn_neighbours": 20}
MATTERS = {
    **{f"tasks.0.{name}": value for name, value in TASK.items()},
    **{f"tasks.0.split.{name}": value for name, value in SPLIT.items()},
    **{f"tasks.0.recipe.{name}": value for name, value in RECIPE.items()},
    **{f"tasks.0.evaluation.{name}": value for name, value in EVALUATION.items()},
    "tasks.0.scenario": {"name": "class", "classes": [3]},
    "tasks.0.scenario.fraction": 0.3,
    "tasks.0.learner.encoder.stem_stride": 2,
    "seeds": [1],
    "metrics": ["accuracy"],
}


def test_every_field_of_a_task_is_held_to_its_place_in_the_key():
    parts = {"split", "recipe", "evaluation"}
    assert TASK.keys() | parts | {"seeds", "ensemble", "shards", "in_shards"} == TaskSpec.model_fields.keys()
    for spec, changes in ((SplitSpec, SPLIT), (Recipe, RECIPE), (Evaluation, EVALUATION)):
        assert changes.keys() == spec.model_fields.keys()


@pytest.mark.parametrize("path", MATTERS)
def test_changing_what_matters_changes_the_key(path):
    assert keys_of({path: MATTERS[path]})["record"] != keys_of()["record"]


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "another-suite"},
        {"version": 2},
        {"description": "another"},
        {"seeds": 3},
        {"tasks.0.seeds": 2},
        {"tasks.0.ensemble": 8},
        {"tasks.0.shards": {"count": 3}},
        {"methods": ["fine_tune"]},
        {"methods": ["fine_tune", "gradient_ascent"]},
        {"metrics": ["membership_inference", "accuracy"]},
        {"tasks.0.methods": {"fine_tune": {"epochs": 1}, "gradient_ascent": {"lr": 1e-4}}},
        {"tasks.0.methods": {"fine_tune": {"epochs": 1, "lr": 0.01}}},
        {"tasks.0.evaluation": {}},
        {"tasks.0.scenario": {"name": "random", "params": {"fraction": 0.25}}},
    ],
)
def test_changing_what_does_not_matter_does_not_change_the_key(changes):
    assert keys_of(changes) == keys_of()


@pytest.mark.parametrize(
    "options",
    [
        Options(Path("/elsewhere"), Path("/results"), Path("/data")),
        Options(Path("/store"), Path("/elsewhere"), Path("/data")),
        Options(Path("/store"), Path("/results"), Path("/elsewhere")),
        Options(Path("/store"), Path("/results"), Path("/data"), fresh=True),
        Options(Path("/store"), Path("/results"), Path("/data"), methods=("fine*",), tasks=("tiny*",), seeds=(0,)),
    ],
)
def test_where_things_lie_and_what_is_selected_is_not_in_a_key(options):
    assert keys_of(options=options) == keys_of()


def test_the_kind_of_device_is_in_a_key_and_its_index_is_not():
    cpu, first, second = (
        keys_of(options=Options(HERE.store, HERE.results, HERE.data, device)) for device in ("cpu", "cuda:0", "cuda:1")
    )
    assert first == second
    assert cpu["dataset"] == first["dataset"]
    assert {role for role in cpu if cpu[role] == first[role]} == {"dataset"}


def test_neither_commit_nor_workers_are_in_a_key(monkeypatch):
    expected = keys_of()
    monkeypatch.setattr(provenance, "commit_of_code", lambda: pytest.fail("a plan asked for the commit"))
    assert keys_of() == expected
    job = next(iter(planned().jobs.values()))
    assert not {"workers", "executor", "commit"} & job.keys()


def test_the_files_of_a_dataset_are_in_every_key():
    other = keys_of(files="other files")
    assert all(other[role] != key for role, key in keys_of().items())


SHARED = {"dataset", "original", "original/outputs", "retrained", "retrained/outputs"}
RELEARNT = {"original/relearning", "retrained/relearning", "unlearned/relearning"}


@pytest.mark.parametrize(
    ("path", "same"),
    [
        ("tasks.0.evaluation.views", {"dataset", "original", "retrained", "unlearned"}),
        ("tasks.0.methods", SHARED),
        ("metrics", SHARED | {"unlearned", "unlearned/outputs"}),
        ("tasks.0.recipe.lr", {"dataset"}),
        ("tasks.0.split.train", {"dataset"}),
        ("tasks.0.image_size", set()),
    ],
)
def test_a_change_leaves_the_keys_of_what_comes_before_it(path, same):
    before, after = keys_of(), keys_of({path: MATTERS[path]})
    assert {role for role in before if before[role] == after[role]} == same


def test_original_and_retrained_are_described_alike_but_for_their_sets(monkeypatch):
    described = []
    monkeypatch.setattr(keys, "canonical_hash", lambda value: described.append(value) or canonical_hash(value))
    planned({"methods": ["no_op"]})
    original, retrained = (value for value in described if "sets" in value)
    assert {name for name in original if original[name] != retrained[name]} == {"sets"}
    assert (original["sets"], retrained["sets"]) == (["forget", "retain"], ["retain"])


def test_a_changed_method_changes_its_own_key_alone(tmp_path):
    path = tiny.plugin(tmp_path)
    registry.add_plugin(path)
    changes = {"methods": ["theirs", "no_op"]}
    before = {method: keys_of(changes, method) for method in changes["methods"]}
    tiny.plugin(tmp_path, body="pass  # a comment")
    assert {method: keys_of(changes, method) for method in changes["methods"]} == before
    tiny.plugin(tmp_path, body="constant = 1")
    after = {method: keys_of(changes, method) for method in changes["methods"]}
    assert after["no_op"] == before["no_op"]
    assert {role for role in after["theirs"] if after["theirs"][role] != before["theirs"][role]} == {
        "unlearned", "unlearned/outputs", "record"
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["dataset", "scenario", "learner", "method", "metric"])
def test_the_source_of_every_component_is_in_the_key(kind, monkeypatch):
    name = {
        "dataset": "digits", "scenario": "random", "learner": "supervised", "method": "fine_tune", "metric": "accuracy"
    }[kind]  # fmt: skip
    before = keys_of()["record"]
    change_source(monkeypatch, registry.source_path(kind, name))
    assert keys_of()["record"] != before


CODE_LISTS = [name for name in vars(keys) if name.endswith("_CODE")]
LATER = {"_RELEARNING_CODE", "_POPULATION_CODE", "_SHARDS_CODE", "_CHOSEN_CODE"}  # of what only some read


@pytest.mark.parametrize("file", sorted({file for name in set(CODE_LISTS) - LATER for file in getattr(keys, name)}))
def test_the_source_of_the_harness_that_takes_part_is_in_the_key(file, monkeypatch):
    before = keys_of()["record"]
    change_source(monkeypatch, ROOT / file)
    assert keys_of()["record"] != before


@pytest.mark.parametrize("file", keys._RELEARNING_CODE)
def test_the_source_of_relearning_is_in_the_key_of_what_it_leaves_alone(tmp_path, monkeypatch, file):
    registry.add_plugin(tiny.metric(tmp_path, needs="relearning"))
    before, plain = keys_of({"metrics": ["measured"]}), keys_of()
    change_source(monkeypatch, ROOT / file)
    after = keys_of({"metrics": ["measured"]})
    assert {name for name in before if before[name] != after[name]} == {*RELEARNT, "record"}
    assert keys_of() == plain


@pytest.mark.parametrize("file", keys._POPULATION_CODE)
def test_the_source_of_populations_is_in_their_key_and_in_no_run_s(tmp_path, monkeypatch, file):
    registry.add_plugin(tiny.metric(tmp_path, "together", needs="seeds"))
    changes = {"seeds": 2, "methods": ["no_op"], "metrics": ["accuracy", "together"]}
    before = planned(changes)
    change_source(monkeypatch, ROOT / file)
    after = planned(changes)
    assert run_keys(before) == run_keys(after)
    assert [job["key"] for job in of_kind(before, "population")] != [job["key"] for job in of_kind(after, "population")]


IN_SHARDS = {"tasks.0.shards": {"count": 2, "slices": 2}, "tasks.0.in_shards": True, "methods": ["no_op"]}


@pytest.mark.parametrize("file", keys._SHARDS_CODE[:1])
def test_the_source_of_shards_is_in_the_keys_of_models_that_are_trained_so(monkeypatch, file):
    before, plain = keys_of(IN_SHARDS, "no_op"), keys_of()
    change_source(monkeypatch, ROOT / file)
    after = keys_of(IN_SHARDS, "no_op")
    assert {name for name in before if before[name] == after[name]} == {"dataset"}
    assert keys_of() == plain


@pytest.mark.parametrize("name", ["count", "slices", "vote"])
def test_how_a_model_is_cut_in_shards_is_in_its_key(name):
    other = {**IN_SHARDS["tasks.0.shards"], name: "majority" if name == "vote" else 3}
    before, after = keys_of(IN_SHARDS, "no_op"), keys_of({**IN_SHARDS, "tasks.0.shards": other}, "no_op")
    assert not {before[role] for role in ("original", "retrained", "record")} & set(after.values())
    assert before["original"] not in {before["original.shard0"], before["original.shard1"], keys_of()["original"]}


@pytest.mark.parametrize("file", keys._CHOSEN_CODE)
def test_the_source_of_chosen_mechanics_is_in_the_keys_of_the_methods_that_import_it_and_of_no_others(
    file, monkeypatch
):
    names = [name for name in registry.names("method") if "[" not in name]
    before = {name: keys.source("method", name) for name in names}
    change_source(monkeypatch, ROOT / file)
    keys.forget_sources()
    changed = {name for name in names if keys.source("method", name) != before[name]}
    assert changed == {name for name in names if ROOT / file in imported(registry.source_path("method", name))}
    assert changed and "retrain" not in changed
    keys.forget_sources()


@pytest.mark.parametrize(
    ("line", "files"),
    [
        ("from benchmark.api import Method, fisher_product", {"curvature.py"}),
        ("from benchmark.api import kernels as k, GradientMethod", {"edits.py", "steps.py"}),
        ("from benchmark.steps import prepared", {"steps.py"}),
        ("import benchmark.edits", {"edits.py"}),
        ("from benchmark import steps", {"steps.py"}),
        ("from benchmark.api import Method, loss_term", set()),
        ("from steps import prepared\nimport edits.of.somebody", set()),
        ("import benchmark.api as api", set(keys._CHOSEN_CODE)),
        ("from benchmark import api", set(keys._CHOSEN_CODE)),
        ("from benchmark.api import *", set(keys._CHOSEN_CODE)),
    ],
)
def test_what_a_method_s_file_imports_says_which_chosen_mechanics_are_in_its_key(tmp_path, line, files):
    path = tmp_path / "theirs.py"
    path.write_text(f"{line}\n")
    assert {found.name for found in keys._chosen_code(path)} == files


def change_source(monkeypatch, changed: Path) -> None:
    """As if a file said something else."""
    real = registry.source_hash
    monkeypatch.setattr(registry, "source_hash", lambda *paths: real(*paths) + ("changed" if changed in paths else ""))
    keys.forget_sources()


def test_the_listed_sources_are_all_that_components_import():
    listed = {name: {ROOT / file for file in getattr(keys, name)} for name in CODE_LISTS}
    trained = listed["_TRAINING_CODE"] | listed["_DATA_CODE"]
    for kind, covered in {
        "learner": listed["_TRAINING_CODE"],
        "method": trained | listed["_METHOD_CODE"] | listed["_CHOSEN_CODE"] | listed["_SHARDS_CODE"],
        "dataset": listed["_DATASET_CODE"],
        "scenario": listed["_DATA_CODE"],
    }.items():
        for name in registry.names(kind):
            assert not imported(registry.source_path(kind, name)) - covered, name
    observed = trained | listed["_OBSERVING_CODE"]
    assert not imported(ROOT / "scoring.py") - listed["_SCORING_CODE"]
    assert not imported(ROOT / "populations.py") - listed["_POPULATION_CODE"]
    assert not imported(ROOT / "observe.py") - observed
    assert not imported(ROOT / "relearning.py") - observed - listed["_RELEARNING_CODE"]
    assert not imported(ROOT / "training.py") - trained
    for file in listed["_METHOD_CODE"] | listed["_CHOSEN_CODE"]:
        assert not imported(file) - trained - listed["_METHOD_CODE"], "chosen mechanics do not import each other"


@pytest.mark.parametrize("name", registry.names("metric"))
def test_the_closure_of_a_metric_s_source_is_all_that_it_imports(name):
    path = registry.source_path("metric", name)
    assert imported(path) | {path} == set(registry.source_closure(path))


@pytest.mark.parametrize("file", sorted((ROOT / "metrics").glob("*.py")), ids=lambda file: file.stem)
def test_a_changed_file_is_in_the_keys_of_the_metrics_that_import_it_and_of_no_others(file, monkeypatch):
    names = registry.names("metric")
    own = {**SHARED_KEYS, "unlearned/outputs": "u"}

    def numbers() -> dict[tuple[str, str], str]:
        keys.forget_sources()
        sources = {name: keys.source("metric", name) for name in names}
        return {(n, r): keys.numbers_key(n, sources[n], r, own) for n in names for r in ("unlearned", "original")}

    before = numbers()
    change_source(monkeypatch, file)
    after = numbers()
    changed = {name for name, role in before if before[name, role] != after[name, role]}
    assert changed == {n for n in names if file in {p := registry.source_path("metric", n), *imported(p)}}


SHARED_KEYS = {"original/outputs": "o", "retrained/outputs": "r"}


def test_numbers_of_original_and_retrained_are_kept_once_for_all_methods_of_a_seed():
    one, other = ({**SHARED_KEYS, "unlearned/outputs": method} for method in ("a", "b"))
    key = {role: [keys.numbers_key("m", "code", role, own) for own in (one, other)] for role in ROLES}
    assert key["original"][0] == key["original"][1] and key["retrained"][0] == key["retrained"][1]
    assert len({*key["unlearned"], key["original"][0], key["retrained"][0]}) == 4
    assert keys.numbers_key("m", "code", "original", one) != keys.numbers_key("m", "other code", "original", one)
    assert keys.numbers_key("m", "code", "original", one) != keys.numbers_key("n", "code", "original", one)
    elsewhere = one | {"retrained/outputs": "another model"}  # a number of the original may be a distance to it
    assert keys.numbers_key("m", "code", "original", one) != keys.numbers_key("m", "code", "original", elsewhere)


CONTRACTS = {"api", "errors", "specs", "registry", "store", "keys"}
"""Modules that say what things are, not what numbers come out."""


@cache
def imported(path: Path) -> frozenset[Path]:
    """The files of ours that a file imports, and theirs; contracts left out."""
    files = set(_imports(path))
    return frozenset(files.union(*map(imported, files)))


def _imports(path: Path) -> Iterator[Path]:
    for node in ast.walk(ast.parse(path.read_text())):
        if not (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("benchmark")):
            continue
        names = {api.HOMES.get(alias.name, node.module) for alias in node.names}
        inside = {f"{node.module}.{alias.name}" for alias in node.names}
        for name in names if node.module == "benchmark.api" else {node.module, *inside}:
            module = name.removeprefix("benchmark").lstrip(".").replace(".", "/")
            if module not in CONTRACTS and (ROOT / f"{module}.py").is_file():
                yield ROOT / f"{module}.py"


def test_a_listed_file_of_a_scenario_is_in_the_key_by_its_content(tmp_path):
    listed = tmp_path / "forget.txt"
    listed.write_text("1\n2\n")
    changes = {"tasks.0.scenario": f"indices:{listed}"}
    before = keys_of(changes)
    assert keys_of(changes) == before
    listed.write_text("1\n3\n")
    assert keys_of(changes)["original"] != before["original"]


def test_a_file_that_happens_to_be_called_like_an_argument_is_not_in_a_key(tmp_path, monkeypatch):
    changes = {"tasks.0.scenario": "class:3"}
    before = keys_of(changes)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "3").write_text("anything")
    assert keys_of(changes) == before


# -- the graph ---------------------------------------------------------------------------------------------


def test_shared_models_are_planned_once_for_each_task_and_seed():
    other = tiny.SUITE["tasks"][0] | {"name": "tiny-other"}
    work = planned({"seeds": 3, "tasks": [tiny.SUITE["tasks"][0], other]})
    trained = [(job["run"]["task"]["name"], job["run"]["seed"], job["role"]) for job in work.jobs.values()
               if job["kind"] == "train"]  # fmt: skip
    assert len(trained) == len(set(trained)) == 2 * 3 * 2
    assert work.runs == 2 * 3 * 3
    assert len(work.jobs) == 12 + 18


def test_jobs_need_only_what_comes_before_them():
    done = set()
    for key, job in planned({"seeds": 2}).jobs.items():
        assert job["key"] == key
        assert set(job["needs"]) <= done
        assert len(job["needs"]) == (2 if job["kind"] == "run" else 0)
        done.add(key)


def test_every_job_is_one_that_a_worker_takes():
    from benchmark.jobs import Job

    for job in planned({"tasks.0.views": {"zoom": [0.9, 1.1]}}).jobs.values():
        assert Job.model_validate(job).run.params == job["run"]["params"]


def test_models_in_the_store_are_not_planned_again():
    shared = keys_of()
    work = planned(stored=[shared["original/outputs"]])
    assert [job["role"] for job in work.jobs.values() if job["kind"] == "train"] == ["retrained"]
    assert all(job["needs"] == [shared["retrained"]] for job in work.jobs.values() if job["kind"] == "run")


def test_runs_with_a_record_and_in_the_store_are_cached():
    everything = run_keys(planned())
    work = planned(recorded=everything[:2], stored=everything[:2])
    assert (work.cached, run_keys(work)) == (set(everything[:2]), everything[2:])
    nothing = planned(recorded=everything, stored=everything)
    assert nothing.cached == set(everything) and not nothing.jobs


def test_fresh_plans_everything_again():
    known = keys_of()
    everything = [*run_keys(planned()), *known.values()]
    fresh = Options(HERE.store, HERE.results, HERE.data, fresh=True)
    work = planned(options=fresh, recorded=everything, stored=everything)
    assert len(work.jobs) == 5 and not work.cached
    assert all(job["fresh"] for job in work.jobs.values())


@pytest.mark.parametrize(
    ("pattern", "presets"),
    [("*", ["gradient_constraint[placebo]"]), ("grad*", ["gradient_constraint[placebo]"]), ("gradient_constraint", [])],
)
def test_a_wildcard_covers_the_presets_that_the_suite_names_and_no_others(pattern, presets):
    work = planned({"methods": ["no_op", "gradient_constraint[placebo]"]}, replace(HERE, methods=(pattern,)))
    roles = dict.fromkeys(job["role"] for job in work.jobs.values())
    assert [role for role in roles if "[" in role] == presets


def test_selection_by_wildcard_takes_tasks_methods_and_seeds():
    options = Options(HERE.store, HERE.results, HERE.data, tasks=("*rand*",), methods=("gradient_a*",), seeds=(0, 1))
    work = planned(options=options)
    assert [job["role"] for job in work.jobs.values() if job["kind"] == "run"] == ["gradient_ascent"] * 2


def test_a_method_that_two_patterns_cover_runs_once():
    options = Options(HERE.store, HERE.results, HERE.data, methods=("fine*", "fine_tune", "*ine_tune"))
    assert planned(options=options).runs == 1


def test_what_is_not_applicable_is_said_and_not_planned(tmp_path):
    path = tiny.plugin(tmp_path)
    path.write_text(path.read_text().replace('paper="none"', 'paper="none", paradigms={"simclr"}, scenarios={"class"}'))
    registry.add_plugin(path)
    work = planned({"methods": ["theirs", "no_op"]})
    assert work.not_applicable == [("tiny-random", "theirs", "not defined for supervised learners")]
    assert work.runs == 1
    path.write_text(path.read_text().replace('paradigms={"simclr"}, ', ""))
    registry._index.components.pop(("method", "theirs"))
    assert planned({"methods": ["theirs"]}).not_applicable[0][2] == "not defined for the scenario 'random'"
    assert applicability("theirs", tiny.suite({"tasks.0.scenario": "class:3"}).tasks[0]) is None


def test_a_preset_may_have_scenarios_of_its_own(tmp_path):
    path = tiny.plugin(tmp_path)
    more = 'paper="none", presets={"a": {"strength": 2.0}, "b": {}}, preset_scenarios={"a": {"class"}}'
    path.write_text(path.read_text().replace('paper="none"', more))
    registry.add_plugin(path)
    work = planned({"methods": ["theirs", "theirs[a]", "theirs[b]"]})
    assert work.not_applicable == [("tiny-random", "theirs[a]", "not defined for the scenario 'random'")]
    assert work.runs == 2
    forgets_a_class = tiny.suite({"tasks.0.scenario": "class:3"}).tasks[0]
    assert [applicability(f"theirs{preset}", forgets_a_class) for preset in ("", "[a]", "[b]")] == [None] * 3


def test_scenarios_of_a_preset_that_is_not_there_are_refused(tmp_path):
    path = tiny.plugin(tmp_path)
    path.write_text(path.read_text().replace('paper="none"', 'paper="none", preset_scenarios={"a": {"class"}}'))
    registry.add_plugin(path)
    with pytest.raises(BenchmarkError, match=r"method 'theirs': preset_scenarios=\['a'\] is not among \[\]"):
        registry.get("method", "theirs")


def test_teaching_one_wrong_label_once_is_for_classes_alone():
    """METHODS 7: amnesiac: C, S."""
    task = tiny.suite().tasks[0]
    assert applicability("random_labels[amnesiac]", task) == "not defined for the scenario 'random'"
    assert applicability("random_labels", task) is None
    assert applicability("random_labels[amnesiac]", tiny.suite({"tasks.0.scenario": "class:3"}).tasks[0]) is None


def test_a_plugin_that_cannot_be_imported_stops_only_those_who_ask_for_it(tmp_path):
    path = tiny.plugin(tmp_path)
    path.write_text("raise RuntimeError('no such luck')\n" + path.read_text())
    registry.add_plugin(path)
    assert planned().runs == 3
    work = planned(options=Options(HERE.store, HERE.results, HERE.data, methods=("*h*",)))
    assert [(method, "no such luck" in why) for _, method, why in work.not_applicable if method == "theirs"] == [
        ("theirs", True)
    ]
    with pytest.raises(BenchmarkError, match="no such luck"):
        planned({"methods": ["theirs"]})


# -- metrics and tiers -------------------------------------------------------------------------------------


def registered(*needs: str, tier: str | None = None, paradigm: str = "supervised") -> set[str]:
    """The metrics that are there, by what they read, their tier and where they are defined."""
    infos = [registry.get("metric", name).info for name in registry.names("metric")]
    return {i.name for i in infos if i.needs in needs and tier in (None, i.tier) and paradigm in i.paradigms}


@pytest.mark.parametrize("paradigm", ["supervised", "simclr"])
def test_a_tier_stands_for_all_its_metrics_that_the_task_allows(tmp_path, paradigm):
    for needs in ("run", "relearning", "seeds", "pairs", "ensemble"):
        registry.add_plugin(tiny.metric(tmp_path, f"probes_{needs}", needs=needs, tier="probing"))
    work = planned({"metrics": ["probing"], "seeds": 2, "methods": ["no_op"], "tasks.0.learner.name": paradigm})
    (run, _), (population,) = of_kind(work, "run"), of_kind(work, "population")
    assert set(run["sources"]) == registered("run", "relearning", tier="probing", paradigm=paradigm)
    assert {"probes_run", "probes_relearning"} <= set(run["sources"])
    assert set(population["sources"]) == registered("seeds", tier="probing", paradigm=paradigm)
    assert {"probes_seeds"} <= set(population["sources"])
    assert run["run"]["metrics"] == list(run["sources"])


def test_tiers_and_names_add_up_and_nothing_is_computed_twice():
    every = registered("run", tier="every_run")
    assert {"accuracy"} < every
    (job, *_) = of_kind(planned({"metrics": ["every_run", "accuracy"]}), "run")
    assert set(job["sources"]) == every
    assert keys_of({"metrics": ["every_run", "accuracy"]}) == keys_of({"metrics": ["every_run"]})


@pytest.mark.parametrize(
    ("name", "near"), [("every_rum", "every_run"), ("populations", "population"), ("membership_infrence", "membership")]
)
def test_what_is_neither_metric_nor_tier_is_named_with_the_nearest_that_is(name, near):
    with pytest.raises(UnknownName, match=rf"^suite 'tiny': unknown metric or tier '{name}'\. Did you mean '{near}"):
        planned({"metrics": ["accuracy", name]})
    with pytest.raises(UnknownName, match=rf"^--metrics: unknown metric or tier '{name}'\. Did you mean '{near}"):
        planned(options=replace(HERE, metrics=(name,)))


def test_metrics_that_are_asked_for_stand_in_the_place_of_the_suite_s():
    work = planned(options=replace(HERE, metrics=("accuracy",)))
    assert all(list(job["sources"]) == ["accuracy"] for job in work.jobs.values())
    assert run_keys(work) == run_keys(planned({"metrics": ["accuracy"]})) != run_keys(planned())


def test_metrics_that_are_not_defined_for_a_task_are_not_in_its_runs_keys(tmp_path):
    registry.add_plugin(tiny.metric(tmp_path, "of_encoders", paradigms={"simclr"}))
    assert keys_of({"metrics": ["accuracy", "of_encoders"]}) == keys_of({"metrics": ["accuracy"]})
    encoder = {"tasks.0.learner.name": "simclr"}
    both = keys_of({"metrics": ["accuracy", "of_encoders"], **encoder})
    assert both == keys_of({"metrics": ["of_encoders"], **encoder})


def test_a_task_for_which_nothing_is_defined_is_not_run_for_records_without_numbers():
    encoder = tiny.SUITE["tasks"][0] | {"name": "encoder", "learner": {"name": "simclr"}}
    work = planned({"metrics": ["accuracy"], "tasks": [tiny.SUITE["tasks"][0], encoder]})
    assert {job["run"]["task"]["name"] for job in work.jobs.values()} == {"tiny-random"}


def test_a_changed_metric_changes_the_runs_but_no_model_and_no_outputs(tmp_path):
    path = tiny.metric(tmp_path)
    registry.add_plugin(path)
    changes = {"metrics": ["accuracy", "measured"]}
    before = keys_of(changes)
    path.write_text("# a comment\n" + path.read_text())
    assert keys_of(changes) == before
    tiny.metric(tmp_path, value="0.5")
    after = keys_of(changes)
    assert {name for name in before if before[name] != after[name]} == {"record"}


# -- relearning --------------------------------------------------------------------------------------------


def test_relearning_is_planned_only_if_a_chosen_metric_reads_it(tmp_path):
    registry.add_plugin(tiny.metric(tmp_path, needs="relearning"))
    plain, relearnt = keys_of(), keys_of({"metrics": ["accuracy", "measured"]})
    assert relearnt.keys() - plain.keys() == RELEARNT
    assert {name for name in plain if plain[name] != relearnt[name]} == {"record"}
    trains = of_kind(planned({"metrics": ["measured"]}), "train")
    assert all(f"{job['role']}/relearning" in job["keys"] for job in trains)


def test_models_whose_relearning_is_missing_are_planned_though_their_outputs_are_there(tmp_path):
    registry.add_plugin(tiny.metric(tmp_path, needs="relearning"))
    changes = {"metrics": ["measured"], "methods": ["no_op"]}
    own = keys_of(changes, "no_op")
    stored = {key for name, key in own.items() if name not in RELEARNT}
    assert [job["role"] for job in planned(changes, stored=stored).jobs.values()] == ["original", "retrained", "no_op"]
    assert [job["kind"] for job in planned(changes, stored=own.values()).jobs.values()] == ["score"]
    assert [job["kind"] for job in planned({"methods": ["no_op"]}, stored=stored).jobs.values()] == ["score"]


# -- placebo arms ------------------------------------------------------------------------------------------

PLACEBO = {"tasks.0.split.placebo": True, "methods": ["*"]}


def test_methods_that_read_forget_images_have_a_placebo_arm_and_the_others_have_none():
    work = planned(PLACEBO)
    task = tiny.suite(PLACEBO).tasks[0]
    runs = {job["role"]: job["run"] for job in of_kind(work, "run")}
    methods = {run["method"] for run in runs.values()}
    reading = {name for name in methods if "forget" in build_method(name, task, "here").reads()}
    assert {"gradient_ascent"} <= reading < methods
    assert runs.keys() == methods | {f"{name} (placebo arm)" for name in reading}
    assert {role for role, run in runs.items() if run["placebo"]} == {f"{name} (placebo arm)" for name in reading}


def test_without_a_placebo_set_no_method_has_a_placebo_arm():
    assert not any(job["run"]["placebo"] for job in of_kind(planned({"methods": ["*"]}), "run"))


def test_both_arms_share_their_models_and_differ_in_what_was_unlearned():
    changes = PLACEBO | {"methods": ["gradient_ascent"]}
    real, placebo = keys_of(changes, "gradient_ascent"), keys_of(changes, "gradient_ascent (placebo arm)")
    assert {name for name in real if real[name] == placebo[name]} == SHARED


def test_placebo_arms_are_no_members_of_a_population(tmp_path):
    registry.add_plugin(tiny.metric(tmp_path, needs="seeds"))
    changes = PLACEBO | {"methods": ["gradient_ascent"], "metrics": ["accuracy", "measured"], "seeds": 2}
    work = planned(changes)
    (population,) = of_kind(work, "population")
    real = [job["key"] for job in of_kind(work, "run") if not job["run"]["placebo"]]
    assert population["needs"] == real and len(real) == 2 and work.runs == 4


# -- populations -------------------------------------------------------------------------------------------


@pytest.fixture
def together(tmp_path) -> dict[str, Any]:
    """Two methods on two seeds with a metric that reads both seeds."""
    registry.add_plugin(tiny.metric(tmp_path, "together", needs="seeds"))
    return {"metrics": ["accuracy", "together"], "seeds": 2, "methods": ["no_op", "fine_tune"]}


def test_a_population_is_planned_once_for_each_method_after_all_its_runs(together):
    work = planned(together)
    assert work.runs == 4 and work.trainings == 4
    for job in of_kind(work, "population"):
        runs = [j for j in of_kind(work, "run") if j["role"] == job["role"]]
        assert job["needs"] == [run["key"] for run in runs]
        assert job["seeds"] == [run["run"]["seed"] for run in runs] == [0, 1]
        assert [member["run"] for member in job["members"]] == job["needs"]
        assert all(member.items() >= run["keys"].items() for member, run in zip(job["members"], runs, strict=True))
        assert list(job["sources"]) == job["run"]["metrics"] == ["together"]
    assert [job["role"] for job in of_kind(work, "population")] == ["no_op", "fine_tune"]
    assert list(work.jobs)[-2:] == [job["key"] for job in of_kind(work, "population")]


def test_one_seed_is_no_population(together):
    assert not of_kind(planned(together | {"seeds": 1}), "population")
    assert not of_kind(planned(together, options=replace(HERE, seeds=(0,))), "population")


def test_metrics_of_all_seeds_are_in_no_run_s_key(together):
    assert run_keys(planned(together)) == run_keys(planned(together | {"metrics": ["accuracy"]}))


def test_runs_of_a_population_have_numbers_of_their_own_also_if_only_the_population_is_asked_for(together):
    asked = planned(together, options=replace(HERE, metrics=("together",)))
    assert run_keys(asked) == run_keys(planned(together | {"metrics": ["every_run"]}))
    assert len(of_kind(asked, "population")) == 2


def test_populations_with_a_record_and_in_the_store_are_cached_and_runs_too(together):
    everything = planned(together)
    known = {key for key, job in everything.jobs.items() if job["kind"] in ("run", "population")}
    work = planned(together, recorded=known, stored=known)
    assert not work.jobs
    assert len(work.cached) == 4 and len(work.cached_populations) == 2
    assert len(planned(together, options=replace(HERE, fresh=True), recorded=known, stored=known).jobs) == 10


def test_a_population_is_made_again_with_a_run_that_is_done_again_but_not_with_one_that_is_scored_again(together):
    everything = planned(together)
    lost = of_kind(everything, "run")[0]
    known = {key for key, job in everything.jobs.items() if job["kind"] in ("run", "population")} - {lost["key"]}
    again = planned(together, recorded=known, stored=known)
    (population,) = of_kind(again, "population")
    assert population["role"] == lost["role"] and population["needs"] == [lost["key"]]
    scored = planned(together, recorded=known, stored=known | set(lost["keys"].values()))
    assert [job["kind"] for job in scored.jobs.values()] == ["score"]


def test_a_changed_metric_of_all_seeds_changes_the_population_and_no_run(tmp_path, together):
    before = planned(together)
    tiny.metric(tmp_path, "together", "Finding(0.5, 3)", needs="seeds")
    after = planned(together)
    assert run_keys(before) == run_keys(after)
    pairs = zip(of_kind(before, "population"), of_kind(after, "population"), strict=True)
    assert all(one["key"] != other["key"] for one, other in pairs)


@pytest.mark.parametrize(
    ("split", "seeds", "asked"),
    [
        ({}, 4, {"of_seeds"}),
        ({"pairs": True}, 4, {"of_seeds", "of_pairs"}),
        ({"pairs": True}, 3, {"of_seeds"}),
        ({"pairs": True}, [2, 3, 8, 9], {"of_seeds", "of_pairs"}),
        ({"pairs": True}, [1, 2], {"of_seeds"}),
        ({"pairs": True, "seed": 0}, 4, {"of_seeds", "of_pairs", "of_ensembles"}),
        ({"seed": 0}, 4, {"of_seeds"}),
    ],
)
def test_metrics_of_pairs_are_computed_only_where_every_seed_has_its_partner(tmp_path, split, seeds, asked):
    for needs in ("seeds", "pairs", "ensemble"):
        registry.add_plugin(tiny.metric(tmp_path, {"ensemble": "of_ensembles"}.get(needs, f"of_{needs}"), needs=needs))
    sizes = tiny.SUITE["tasks"][0]["split"] | split
    changes = {"tasks.0.split": sizes, "seeds": seeds, "methods": ["no_op"]}
    names = ["of_seeds", "of_pairs", "of_ensembles"]
    task = tiny.suite(changes).tasks[0]
    assert set(plan._defined_for(task, names, tiny.suite(changes).seed_list(task))) == asked
    (population,) = of_kind(planned(changes | {"metrics": ["accuracy", *names]}), "population")
    assert set(population["sources"]) == asked - {"of_ensembles"}, "ensembles are asked for by `ensemble`"


def test_seeds_of_a_population_increase_whatever_the_suite_s_order(together):
    (population, _) = of_kind(planned(together | {"seeds": [5, 2, 9]}), "population")
    assert population["seeds"] == [2, 5, 9]


# -- ensembles ---------------------------------------------------------------------------------------------


@pytest.fixture
def ensembles(tmp_path) -> dict[str, Any]:
    """A task that asks for an ensemble of eight, and a metric for it."""
    registry.add_plugin(tiny.metric(tmp_path, "strong", needs="ensemble", tier="population"))
    return {"metrics": ["every_run", "population"], "methods": ["no_op", "fine_tune"], "tasks.0.ensemble": 8}


def of_task(work: Plan, name: str) -> list[dict[str, Any]]:
    return [job for job in work.jobs.values() if job["run"]["task"]["name"] == name]


def test_an_ensemble_is_a_task_of_its_own_beside_the_one_that_asks_for_it(ensembles):
    work = planned(ensembles)
    kinds = [job["kind"] for job in of_task(work, "tiny-random.ensemble8")]
    assert {kind: kinds.count(kind) for kind in kinds} == {"train": 16, "run": 16, "population": 2}
    assert [job["kind"] for job in of_task(work, "tiny-random")] == ["train", "train", "run", "run"]
    (population, _) = of_kind(work, "population")
    assert population["seeds"] == list(range(8)) and "strong" in population["sources"]
    beside = registered("seeds", "pairs", tier="every_run")
    assert set(population["sources"]) == beside | registered("seeds", "pairs", "ensemble", tier="population")


def test_a_suite_that_asks_for_no_population_metric_plans_no_ensemble(ensembles):
    work = planned(ensembles | {"metrics": ["every_run"]})
    assert not of_task(work, "tiny-random.ensemble8")
    assert work.runs == 2


def test_the_split_of_an_ensemble_is_one_pool_in_pairs():
    split = {"train": 48, "test": 40, "heldout": 9, "third_party": 5, "placebo": True}
    task = tiny.suite({"tasks.0.split": split, "tasks.0.ensemble": 8}).tasks[0]
    ensemble = task.as_ensemble(12)
    assert ensemble.split == SplitSpec(train=48, test=40, third_party=5, pairs=True, seed=0)
    assert (ensemble.name, ensemble.seeds, ensemble.ensemble) == ("tiny-random.ensemble12", 12, 12)
    assert TaskSpec.model_validate(ensemble.model_dump()) == ensemble
    assert ensemble.recipe == task.recipe and ensemble.methods == task.methods


def test_the_number_of_seeds_that_is_asked_for_is_the_size_of_the_ensemble(ensembles):
    work = planned(ensembles, options=replace(HERE, seeds=tuple(range(10)), metrics=("population",)))
    assert {job["run"]["task"]["name"] for job in of_kind(work, "population")} == {"tiny-random.ensemble10"}
    assert len(of_kind(work, "run")) == 2 * 10


@pytest.mark.parametrize("models", [1, 6, 7, 9, 11])
def test_an_ensemble_of_too_few_or_an_odd_number_is_refused_with_a_sentence(ensembles, models):
    sentence = f"^task 'tiny-random': an ensemble has an even number of models from 8 on, not {models}\\.$"
    with pytest.raises(BenchmarkError, match=sentence):
        planned(ensembles, options=replace(HERE, seeds=tuple(range(models)), metrics=("population",)))


def test_asking_for_population_metrics_where_no_task_has_an_ensemble_is_refused_with_a_sentence(ensembles):
    other = tiny.SUITE["tasks"][0] | {"name": "other"}
    two = {**ensembles, "tasks": [tiny.SUITE["tasks"][0] | {"ensemble": 8}, other]}
    del two["tasks.0.ensemble"]
    sentence = r"^suite 'tiny': none of the chosen tasks asks for an ensemble; give one `ensemble = 64`\.$"
    for name in ("population", "strong"):
        with pytest.raises(BenchmarkError, match=sentence):
            planned(two, options=replace(HERE, tasks=("other",), metrics=(name,)))
        assert planned(two, options=replace(HERE, metrics=(name,))).runs == 16
    assert planned(two, options=replace(HERE, tasks=("other",))).runs == 2, "the suite may ask for what others have"


def test_an_ensemble_is_not_trained_for_metrics_that_are_not_defined_for_it(tmp_path, ensembles):
    registry.add_plugin(tiny.metric(tmp_path, "of_encoders", needs="ensemble", paradigms={"simclr"}))
    assert not planned(ensembles, options=replace(HERE, metrics=("of_encoders",))).jobs


def test_the_runs_of_an_ensemble_have_the_numbers_of_every_run(ensembles):
    asked = planned(ensembles, options=replace(HERE, metrics=("population",)))
    run = next(job for job in of_task(asked, "tiny-random.ensemble8") if job["kind"] == "run")
    assert set(run["sources"]) == registered("run", tier="every_run")


# -- runs whose outputs are there --------------------------------------------------------------------------


def observed(work: Plan, *roles: str) -> set[str]:
    """Keys of all models and outputs of some methods."""
    return {key for job in work.jobs.values() if job["role"] in roles for key in job["keys"].values()}


def test_runs_whose_outputs_are_stored_are_one_job_per_seed_that_trains_nothing():
    everything = planned({"seeds": 2})
    work = planned({"seeds": 2}, stored=observed(everything, "retrain", "no_op", "fine_tune"))
    assert [(job["kind"], job["role"], job["run"]["seed"]) for job in work.jobs.values()] == [
        ("score", "3 methods", 0), ("score", "3 methods", 1)
    ]  # fmt: skip
    assert (work.runs, work.trainings) == (6, 0)
    for job in work.jobs.values():
        expected = [other for other in of_kind(everything, "run") if other["run"]["seed"] == job["run"]["seed"]]
        names = ("key", "role", "run", "keys")
        assert job["batch"] == [{name: other[name] for name in names} for other in expected]
        assert job["needs"] == []


def test_what_is_stored_is_scored_and_the_rest_is_run():
    everything = planned()
    work = planned(stored=observed(everything, "no_op", "original", "retrained"))
    assert [(job["kind"], job["role"]) for job in work.jobs.values()] == [
        ("score", "no_op"), ("run", "retrain"), ("run", "fine_tune")
    ]  # fmt: skip
    assert work.runs == 3


def test_without_the_outputs_of_original_and_retrained_model_nothing_is_only_scored():
    own = {name: key for name, key in keys_of(method="no_op").items() if name.startswith("unlearned")}
    work = planned(stored=own.values())
    assert [job["kind"] for job in work.jobs.values()] == ["train", "train", "run", "run", "run"]


def test_scoring_alone_leaves_out_whatever_needs_a_model(together):
    everything = planned(together)
    work = planned(together, stored=observed(everything, "no_op", "original", "retrained"))
    scoring = work.only_scoring()
    assert [(job["kind"], job["role"]) for job in scoring.jobs.values()] == [
        ("score", "no_op"), ("score", "no_op"), ("population", "no_op")
    ]  # fmt: skip
    assert (work.runs, scoring.runs) == (4, 2)
    assert not everything.only_scoring().jobs
    for job in scoring.jobs.values():
        assert set(job["needs"]) <= scoring.jobs.keys()


def test_a_population_waits_for_the_jobs_that_score_its_runs(together):
    everything = planned(together)
    work = planned(together, stored=observed(everything, "no_op", "fine_tune"))
    scores = [job["key"] for job in of_kind(work, "score")]
    assert [job["needs"] for job in of_kind(work, "population")] == [scores, scores]


def test_flops_are_counted_at_the_first_seed_of_a_task_alone():
    assert not any(job["counts_flops"] for job in planned().jobs.values())
    work = planned({"seeds": [4, 1, 7]}, replace(HERE, flops=True))
    assert {job["run"]["seed"] for job in of_kind(work, "run") if job["counts_flops"]} == {1}
    assert sum(job["counts_flops"] for job in of_kind(work, "run")) == 3


# -- estimates ---------------------------------------------------------------------------------------------


def test_earlier_records_tell_what_a_job_will_take():
    world = factory.World("tiny-random")
    cost = factory.record(world, factory.Method("fine_tune"), 0).cost
    seconds = {"train_seconds": 5.0, "retrain_seconds": 4.0, "observe_seconds": 1.0, "score_seconds": 1.0}
    history = [
        factory.record(world, factory.Method("fine_tune"), seed, cost=cost.model_copy(update={**seconds, **unlearn}))
        for seed, unlearn in enumerate({"unlearn_seconds": value} for value in (1.0, 9.0, 3.0))
    ]
    history.append(factory.record(world, factory.Method("fine_tune", status="failed"), 3))
    work = planned(history=history)
    by_role = {job["role"]: work.estimates.get(key) for key, job in work.jobs.items()}
    assert by_role == {"original": 7.0, "retrained": 6.0, "fine_tune": 5.0, "retrain": None, "no_op": None}
    assert work.seconds() == pytest.approx((7 + 6 + 5) / 3 * 5)


def test_an_ensemble_takes_as_long_as_the_models_of_its_task(ensembles):
    history = [factory.record(factory.World("tiny-random"), factory.Method("fine_tune"), seed) for seed in range(3)]
    work = planned(ensembles, history=history)
    known = {key: work.estimates.get(key) for key in work.jobs}
    for role in ("original", "retrained", "fine_tune", "no_op"):
        (plain,) = {known[job["key"]] for job in of_task(work, "tiny-random") if job["role"] == role}
        (strong,) = {
            known[job["key"]]
            for job in of_task(work, "tiny-random.ensemble8")
            if job["role"] == role and job["kind"] != "population"
        }
        assert strong == plain and (plain is None) == (role == "no_op")
    assert not any(job["key"] in work.estimates for job in of_kind(work, "population"))
    own = [factory.record(factory.World("tiny-random.ensemble8"), factory.Method("fine_tune", seconds=999.0), 0)]
    (job, *_) = [j for j in of_task(work, "tiny-random.ensemble8") if j["role"] == "fine_tune" and j["kind"] == "run"]
    assert planned(ensembles, history=history + own).estimates[job["key"]] > 500, "what it took itself counts first"


def test_placebo_arms_are_estimated_by_their_own_records():
    changes = PLACEBO | {"methods": ["gradient_ascent"]}
    world, method = factory.World("tiny-random"), factory.Method("gradient_ascent")
    real = factory.record(world, method, 0)
    run = real.run.model_copy(update={"placebo": True})
    placebo = real.model_copy(update={"run": run, "cost": real.cost.model_copy(update={"unlearn_seconds": 999.0})})
    work = planned(changes, history=[real, placebo])
    seconds = {job["role"]: work.estimates[job["key"]] for job in of_kind(work, "run")}
    assert seconds["gradient_ascent (placebo arm)"] > 900 > seconds["gradient_ascent"]


def test_what_a_gpu_took_says_nothing_of_a_processor():
    here = factory.record(factory.World("tiny-random"), factory.Method("fine_tune"), 0)
    there = [here.model_copy(update={"cost": here.cost.model_copy(update={"device": f"cuda{n}"})}) for n in ("", ":1")]
    assert planned(history=there).estimates == {}
    assert planned(history=[here]).estimates.keys() == planned(history=[here, *there]).estimates.keys() != set()
    assert planned(options=replace(HERE, device="cuda"), history=there).estimates.keys() != set()


def test_the_suite_says_how_long_jobs_may_take_and_whether_runs_are_alone():
    plain, strict = planned(), planned({"time_limit": 90, "exclusive": True})
    assert (plain.time_limit, plain.exclusive, strict.time_limit, strict.exclusive) == (None, False, 90.0, True)
    assert plain.jobs == strict.jobs
    with pytest.raises(ValidationError, match="greater than 0"):
        tiny.suite({"time_limit": 0})


def test_without_earlier_records_nothing_is_promised():
    assert planned().seconds() is None
    other = [factory.record(factory.World("another-task"), factory.Method("fine_tune"), 0)]
    assert planned(history=other).estimates == {}


def test_records_are_not_read_when_there_is_nothing_to_do():
    everything = run_keys(planned())

    def unread():
        pytest.fail("a plan without jobs read the records")
        yield

    assert not planned(recorded=everything, stored=everything, history=unread()).jobs


# -- hyper-parameters --------------------------------------------------------------------------------------

WITH_DEFAULTS = """
from dataclasses import dataclass
from benchmark.api import Method, bounded, register_method


@register_method(
    "layered", paper="none", uses=(), contrastive={"b": 1.0, "c": 1.0, "d": 1.0, "e": 1.0},
    presets={"tuned": {"d": 3.0, "e": 3.0}},
)
@dataclass(frozen=True, kw_only=True)
class Layered(Method):
    a: float = bounded(0.0, 0.0, 9.0)
    b: float = bounded(0.0, 0.0, 9.0)
    c: float = bounded(0.0, 0.0, 9.0)
    d: float = bounded(0.0, 0.0, 9.0)
    e: float = bounded(0.0, 0.0, 9.0)

    def unlearn(self, learner, request):
        return learner
"""


def test_hyper_parameters_are_overridden_in_order(tmp_path):
    """Defaults < contrastive defaults < the task's < the preset's < the task's for the preset."""
    (tmp_path / "layered.py").write_text(WITH_DEFAULTS)
    registry.add_plugin(tmp_path / "layered.py")
    methods = {"layered": {"c": 2.0, "d": 2.0, "e": 2.0}, "layered[tuned]": {"e": 4.0}}
    encoder = tiny.suite({"tasks.0.methods": methods, "tasks.0.learner.name": "simclr"}).tasks[0]
    classifier = tiny.suite({"tasks.0.methods": methods}).tasks[0]
    zeros = dict.fromkeys("abcde", 0.0)
    bare = tiny.suite({"tasks.0.methods": {}}).tasks[0]
    assert resolve_method("layered", bare, "tiny") == zeros
    assert resolve_method("layered", classifier, "tiny") == zeros | {"c": 2.0, "d": 2.0, "e": 2.0}
    assert resolve_method("layered[tuned]", classifier, "tiny") == zeros | {"c": 2.0, "d": 3.0, "e": 4.0}
    assert resolve_method("layered", encoder, "tiny") == {"a": 0.0, "b": 1.0, "c": 2.0, "d": 2.0, "e": 2.0}
    assert resolve_method("layered[tuned]", encoder, "tiny") == {"a": 0.0, "b": 1.0, "c": 2.0, "d": 3.0, "e": 4.0}


# -- what is refused ---------------------------------------------------------------------------------------

AT = "suite 'tiny', task 'tiny-random'"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"methods": ["fine_tun"]}, "suite 'tiny': unknown method 'fine_tun'. Did you mean 'fine_tune'?"),
        ({"methods": ["gradient_constraint[plcebo]"]}, "suite 'tiny': unknown method 'gradient_constraint[plcebo]'."),
        ({"metrics": ["acuracy"]}, "suite 'tiny': unknown metric or tier 'acuracy'. Did you mean 'accuracy'?"),
        ({"tasks.0.dataset": "digit"}, f"{AT}: unknown dataset 'digit'. Did you mean 'digits"),
        ({"tasks.0.scenario": "clas:3"}, f"{AT}: unknown scenario 'clas'. Did you mean 'cla"),
        ({"tasks.0.scenario": {"name": "random", "fractoin": 1}}, f"{AT}, scenario 'random': "),
        ({"tasks.0.learner.name": "simcrl"}, f"{AT}: unknown learner 'simcrl'. Did you mean"),
        ({"tasks.0.methods": {"fine_tun": {}}}, f"{AT}: unknown method 'fine_tun'. Did you"),
        ({"tasks.0.methods": {"fine*": {}}}, f"{AT}: unknown method 'fine*'."),
        ({"tasks.0.methods": {"fine_tune": {"lrr": 0.1}}}, f"{AT}, method 'fine_tune': unknow"),
        ({"tasks.0.methods": {"fine_tune": {"lr": 7.0}}}, f"{AT}, method 'fine_tune': lr = 7."),
    ],
)  # fmt: skip
def test_wrong_names_are_refused_with_the_place_and_the_nearest(changes, sentence):
    with pytest.raises(BenchmarkError) as raised:
        planned(changes)
    assert str(raised.value).startswith(sentence)


def test_a_mistyped_hyper_parameter_is_refused_also_for_a_method_that_a_wildcard_covers():
    with pytest.raises(BenchmarkError, match="unknown parameter 'lrr'"):
        planned({"methods": ["fine*"], "tasks.0.methods": {"fine_tune": {"lrr": 0.1}}})


def test_unknown_selections_are_refused_with_the_nearest():
    with pytest.raises(UnknownName, match=r"suite 'tiny': unknown task 'tiny-randon'\. Did you mean 'tiny-random'\?"):
        planned(options=Options(HERE.store, HERE.results, HERE.data, tasks=("tiny-randon",)))
    with pytest.raises(UnknownName, match=r"--method: unknown method 'fine_tun'\. Did you mean 'fine_tune'\?"):
        planned(options=Options(HERE.store, HERE.results, HERE.data, methods=("fine_tun",)))
