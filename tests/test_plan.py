"""Suite -> jobs: what is in a key and what is not, what is planned once, what is cached, and what is refused."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from benchmark import ROOT, api, plan, provenance, registry
from benchmark.errors import BenchmarkError, UnknownName
from benchmark.plan import Options, Plan, applicability, make_plan, resolve_method
from benchmark.specs import Evaluation, Recipe, SplitSpec, TaskSpec, canonical_hash
from tests import tiny
from tests.report import factory

HERE = Options(Path("/store"), Path("/results"), Path("/data"))


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    monkeypatch.setattr(registry, "_index", tiny.own_index())


def planned(changes=None, options=HERE, files="files", recorded=(), stored=(), history=()) -> Plan:
    return make_plan(tiny.suite(changes), options, lambda task: files, set(recorded), set(stored), history)


def keys(changes=None, method="fine_tune", **more) -> dict[str, str]:
    """The keys of one run, `record` among them."""
    job = next(job for job in planned(changes, **more).jobs.values() if job["role"] == method)
    return job["keys"] | {"record": job["key"]}


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
    "methods": {"fine_tune": {"epochs": 2}},
}
SPLIT = {"train": 50, "heldout": 9, "third_party": 9, "validation": 4, "test": 30, "seed": 0}
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
    assert TASK.keys() | parts | {"seeds"} == TaskSpec.model_fields.keys()
    for spec, changes in ((SplitSpec, SPLIT), (Recipe, RECIPE), (Evaluation, EVALUATION)):
        assert changes.keys() == spec.model_fields.keys()


@pytest.mark.parametrize("path", MATTERS)
def test_changing_what_matters_changes_the_key(path):
    assert keys({path: MATTERS[path]})["record"] != keys()["record"]


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "another-suite"},
        {"version": 2},
        {"description": "another"},
        {"seeds": 3},
        {"tasks.0.seeds": 2},
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
    assert keys(changes) == keys()


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
    assert keys(options=options) == keys()


def test_the_kind_of_device_is_in_a_key_and_its_index_is_not():
    cpu, first, second = (
        keys(options=Options(HERE.store, HERE.results, HERE.data, device)) for device in ("cpu", "cuda:0", "cuda:1")
    )
    assert first == second
    assert cpu["dataset"] == first["dataset"]
    assert {role for role in cpu if cpu[role] == first[role]} == {"dataset"}


def test_neither_commit_nor_workers_are_in_a_key(monkeypatch):
    expected = keys()
    monkeypatch.setattr(provenance, "commit_of_code", lambda: pytest.fail("a plan asked for the commit"))
    assert keys() == expected
    job = next(iter(planned().jobs.values()))
    assert not {"workers", "executor", "commit"} & job.keys()


def test_the_files_of_a_dataset_are_in_every_key():
    other = keys(files="other files")
    assert all(other[role] != key for role, key in keys().items())


SHARED = {"dataset", "original", "original/outputs", "retrained", "retrained/outputs"}


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
    before, after = keys(), keys({path: MATTERS[path]})
    assert {role for role in before if before[role] == after[role]} == same


def test_original_and_retrained_are_described_alike_but_for_their_sets(monkeypatch):
    described = []
    monkeypatch.setattr(plan, "canonical_hash", lambda value: described.append(value) or canonical_hash(value))
    planned({"methods": ["no_op"]})
    original, retrained = (value for value in described if "sets" in value)
    assert {name for name in original if original[name] != retrained[name]} == {"sets"}
    assert (original["sets"], retrained["sets"]) == (["forget", "retain"], ["retain"])


def test_a_changed_method_changes_its_own_key_alone(tmp_path):
    path = tiny.plugin(tmp_path)
    registry.add_plugin(path)
    changes = {"methods": ["theirs", "no_op"]}
    before = {method: keys(changes, method) for method in changes["methods"]}
    tiny.plugin(tmp_path, body="pass  # a comment")
    assert {method: keys(changes, method) for method in changes["methods"]} == before
    tiny.plugin(tmp_path, body="constant = 1")
    after = {method: keys(changes, method) for method in changes["methods"]}
    assert after["no_op"] == before["no_op"]
    assert {role for role in after["theirs"] if after["theirs"][role] != before["theirs"][role]} == {
        "unlearned", "unlearned/outputs", "record"
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["dataset", "scenario", "learner", "method", "metric"])
def test_the_source_of_every_component_is_in_the_key(kind, monkeypatch):
    name = {
        "dataset": "digits", "scenario": "random", "learner": "supervised", "method": "fine_tune", "metric": "accuracy"
    }[kind]  # fmt: skip
    before = keys()["record"]
    change_source(monkeypatch, registry.source_path(kind, name))
    assert keys()["record"] != before


CODE_LISTS = [name for name in vars(plan) if name.endswith("_CODE")]


@pytest.mark.parametrize("file", sorted({file for name in CODE_LISTS for file in getattr(plan, name)}))
def test_the_source_of_the_harness_that_takes_part_is_in_the_key(file, monkeypatch):
    before = keys()["record"]
    change_source(monkeypatch, ROOT / file)
    assert keys()["record"] != before


def change_source(monkeypatch, changed: Path) -> None:
    """As if a file said something else."""
    real = registry.source_hash
    monkeypatch.setattr(registry, "source_hash", lambda *paths: real(*paths) + ("changed" if changed in paths else ""))
    monkeypatch.setattr(plan, "_code", plan._code.__wrapped__)


def test_the_listed_sources_are_all_that_components_import():
    listed = {name: {ROOT / file for file in getattr(plan, name)} for name in CODE_LISTS}
    trained = listed["_TRAINING_CODE"] | listed["_DATA_CODE"]
    for kind, covered in {
        "metric": listed["_SCORING_CODE"],
        "learner": listed["_TRAINING_CODE"],
        "method": trained | listed["_METHOD_CODE"],
        "dataset": listed["_DATASET_CODE"],
        "scenario": listed["_DATA_CODE"],
    }.items():
        for name in registry.names(kind):
            assert not imported(registry.source_path(kind, name)) - covered, name
    assert not imported(ROOT / "scoring.py") - listed["_SCORING_CODE"]
    assert not imported(ROOT / "observe.py") - trained - listed["_OBSERVING_CODE"]
    assert not imported(ROOT / "training.py") - trained
    assert not imported(ROOT / "input_gradients.py") - trained - listed["_METHOD_CODE"]


CONTRACTS = {"api", "errors", "specs", "registry", "store"}
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
        names = {api._TORCH_NAMES.get(alias.name, node.module) for alias in node.names}
        for name in names if node.module == "benchmark.api" else {node.module}:
            module = name.removeprefix("benchmark").lstrip(".").replace(".", "/")
            if module and module not in CONTRACTS:
                yield ROOT / f"{module}.py"


def test_a_listed_file_of_a_scenario_is_in_the_key_by_its_content(tmp_path):
    listed = tmp_path / "forget.txt"
    listed.write_text("1\n2\n")
    changes = {"tasks.0.scenario": f"indices:{listed}"}
    before = keys(changes)
    assert keys(changes) == before
    listed.write_text("1\n3\n")
    assert keys(changes)["original"] != before["original"]


def test_a_file_that_happens_to_be_called_like_an_argument_is_not_in_a_key(tmp_path, monkeypatch):
    changes = {"tasks.0.scenario": "class:3"}
    before = keys(changes)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "3").write_text("anything")
    assert keys(changes) == before


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
    shared = keys()
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
    known = keys()
    everything = [*run_keys(planned()), *known.values()]
    fresh = Options(HERE.store, HERE.results, HERE.data, fresh=True)
    work = planned(options=fresh, recorded=everything, stored=everything)
    assert len(work.jobs) == 5 and not work.cached
    assert all(job["fresh"] for job in work.jobs.values())


def test_selection_by_wildcard_takes_tasks_methods_and_seeds():
    options = Options(HERE.store, HERE.results, HERE.data, tasks=("*rand*",), methods=("gradient_a*",), seeds=(0, 1))
    work = planned(options=options)
    assert [job["role"] for job in work.jobs.values() if job["kind"] == "run"] == ["gradient_ascent"] * 2


def test_a_method_that_two_patterns_cover_runs_once():
    options = Options(HERE.store, HERE.results, HERE.data, methods=("fine*", "fine_tune", "f*"))
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
        ({"metrics": ["acuracy"]}, "suite 'tiny': unknown metric 'acuracy'. Did you mean 'accuracy'?"),
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
