"""What is asked for and what is left behind: checked, hashed and seeded the same way for ever."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from benchmark import registry
from benchmark.errors import BenchmarkError, UnknownName
from benchmark.plan import SUITES, Known, Options, make_plan
from benchmark.specs import (
    Evaluation,
    Optimisation,
    Recipe,
    Record,
    Ref,
    SplitSpec,
    TaskSpec,
    canonical_hash,
    derive_seed,
    load_suite,
    suite_names,
)
from benchmark.store import Records
from tests import tiny
from tests.report import factory

RESULTS = Path(__file__).parents[1] / "results"


def complaint(path: Path) -> str:
    """What loading a suite file says, after the file's name."""
    with pytest.raises(BenchmarkError) as raised:
        load_suite(str(path), SUITES)
    sentence = str(raised.value)
    assert sentence.startswith(f"{path}:") and "\n" not in sentence
    return sentence.removeprefix(f"{path}:").strip()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"tasks.0.label_nois": 0.1}, "task 1 ('tiny-random'), label_nois: this key is not known; did you mean 'l"),
        ({"tasks.0.recipe.momentun": 0.1}, "task 1 ('tiny-random'), recipe.momentun: this key is not known; did you"),
        ({"tasks.0.split.zzz": 1}, "task 1 ('tiny-random'), split.zzz: this key is not known; remove it."),
        ({"tasks.0.evaluation.viewz": 3}, "task 1 ('tiny-random'), evaluation.viewz: this key is not known; did y"),
        ({"sedes": 3}, "sedes: this key is not known; did you mean 'seeds'?"),
        ({"tasks.0.recipe.lr": "fast"}, "task 1 ('tiny-random'), recipe.lr: Input should be a valid number"),
        ({"tasks.0.recipe.lr": -1}, "task 1 ('tiny-random'), recipe.lr: Input should be greater than or equal to 0 "),
        ({"tasks.0.recipe.optimizer": "sdg"}, "task 1 ('tiny-random'), recipe.optimizer: Input should be 'sgd', "),
        ({"tasks.0.split": None}, "task 1 ('tiny-random'), split: this key is missing."),
        ({"tasks.0.name": None}, "task 1 ('without a name'), name: this key is missing."),
        ({"tasks.0.name": "Tiny Random"}, "task 1 ('Tiny Random'), name: String should match pattern"),
        ({"tasks.0.dataset": {"nam": "digits"}}, "task 1 ('tiny-random'), dataset.name: this key is missing."),
        ({"tasks": []}, "tasks: List should have at least 1 item"),
        ({"tasks": ["digits"]}, "task 1 ('without a name'): Input should be a valid dictionary"),
        ({"version": None}, "version: this key is missing."),
        ({"methods": []}, "methods: List should have at least 1 item"),
        ({"tasks.0.split": {"train": 48, "pairs": True, "heldout": 9}}, "task 1 ('tiny-random'), split: pairs part"),
        ({"tasks.0.ensemble": 9}, "task 1 ('tiny-random'), ensemble: Input should be a multiple of 2"),
        ({"tasks.0.ensemble": 6}, "task 1 ('tiny-random'), ensemble: Input should be greater than or equal to 8"),
        ({"tasks.0.name": "t" * 65, "tasks.0.ensemble": 8}, f"task 1 ('{'t' * 65}'): a task that asks for an ense"),
        ({"seeds": 0}, "seeds: say how many, at least 1, or list different ones, not 0."),
        ({"seeds": []}, "seeds: say how many, at least 1, or list different ones, not []."),
        ({"seeds": [1, 1]}, "seeds: say how many, at least 1, or list different ones, not [1, 1]."),
    ],
)  # fmt: skip
def test_a_wrong_suite_is_one_sentence_with_the_task_the_key_and_what_is_right(tmp_path, changes, sentence):
    assert complaint(tiny.suite_file(tmp_path, changes)).startswith(sentence)


def test_the_second_task_is_called_the_second(tmp_path):
    second = tiny.SUITE["tasks"][0] | {"name": "other", "oops": 1}
    changes = {"tasks": [tiny.SUITE["tasks"][0], second]}
    assert complaint(tiny.suite_file(tmp_path, changes)).startswith("task 2 ('other'), oops:")


def test_two_tasks_cannot_share_a_name(tmp_path):
    changes = {"tasks": tiny.SUITE["tasks"] * 2}
    assert complaint(tiny.suite_file(tmp_path, changes)) == (
        "tasks: two tasks are called 'tiny-random'; give each its own name."
    )


def test_broken_toml_names_file_and_line(tmp_path):
    path = tmp_path / "broken.toml"
    path.write_text('name = "x"\nversion = 1\nseeds = = 3\n')
    assert complaint(path).startswith("3: this is no valid TOML:")


def test_toml_in_another_encoding_is_a_sentence_too(tmp_path):
    path = tmp_path / "latin.toml"
    path.write_bytes('name = "größer"\n'.encode("latin-1"))
    assert "save it as UTF-8" in complaint(path)


def test_an_unknown_suite_gets_the_nearest_and_an_absent_file_a_sentence(tmp_path):
    with pytest.raises(UnknownName, match=r"unknown suite 'quik'\. Did you mean 'quick'\? Known: .*quick"):
        load_suite("quik", SUITES)
    with pytest.raises(BenchmarkError, match=r"absent\.toml: there is no such suite file"):
        load_suite(str(tmp_path / "absent.toml"), SUITES)


def test_a_component_is_a_word_or_a_table():
    long = Ref.model_validate({"name": "random", "params": {"fraction": 0.1}})
    assert Ref.model_validate({"name": "random", "fraction": 0.1}) == long
    assert Ref.model_validate("digits") == Ref(name="digits")
    assert Ref.model_validate(long.model_dump()) == long
    with pytest.raises(ValidationError):
        Ref.model_validate({"name": "random", "params": {}, "fraction": 0.1})


@pytest.mark.parametrize(("letters", "models"), [(64, 8), (64, 1000), (80, None)])
def test_the_names_of_tasks_and_their_ensembles_can_be_read_again(letters, models):
    task = tiny.suite({"tasks.0.name": "t" * letters, "tasks.0.ensemble": models or 8} if models else {}).tasks[0]
    task = task.as_ensemble(models) if models else task.model_copy(update={"name": "t" * letters})
    assert TaskSpec.model_validate_json(task.model_dump_json()) == task


def test_how_often_and_with_which_settings_a_task_runs_does_not_make_it_another():
    task = tiny.suite().tasks[0]
    for changes in ({"seeds": 7}, {"ensemble": 8}, {"methods": {}}):
        assert task.model_copy(update=changes).identity() == task.identity()
    assert tiny.suite({"tasks.0.split.pairs": True}).tasks[0].identity() != task.identity()
    assert task.as_ensemble(8).identity() != task.identity()


def test_specs_cannot_be_changed():
    with pytest.raises(ValidationError):
        tiny.suite().tasks[0].recipe.lr = 1.0


def test_seeds_are_a_number_or_a_list_and_a_task_may_have_its_own():
    suite = tiny.suite({"seeds": [5, 7]})
    assert suite.seed_list(suite.tasks[0]) == [5, 7]
    suite = tiny.suite({"seeds": 3, "tasks.0.seeds": 2})
    assert suite.seed_list(suite.tasks[0]) == [0, 1]


@pytest.mark.parametrize("name", suite_names(SUITES))
def test_every_suite_of_the_repository_loads_and_plans(name):
    suite = load_suite(name, SUITES)
    assert suite.name == name
    where = Options(Path("store"), Path("results"), Path("data"))
    plan = make_plan(suite, where, lambda task: task.dataset.name, Known())
    methods = {name for pattern in suite.methods for name in registry.match("method", pattern, "suite")}
    applicable = len(suite.tasks) * len(methods) - len(plan.not_applicable)
    assert applicable > 0
    assert plan.runs >= applicable


# -- hashes and seeds --------------------------------------------------------------------------------------


def test_a_derived_seed_never_changes():
    assert derive_seed("tiny", "train", "forget+retain", 0) == 5469161297060779363  # first 8 bytes of a sha256, halved


def test_derived_seeds_are_different_for_every_name_and_number():
    names = ["tiny", "tiny-random", "train", "method", "views", "split"]
    seeds = {derive_seed(*names, n) for names in itertools.permutations(names, 3) for n in range(20)}
    assert len(seeds) == 120 * 20
    assert min(seeds) >= 0 and max(seeds) < 2**63


def test_streams_of_neighbouring_seeds_are_uncorrelated():
    draws = np.array([np.random.default_rng(derive_seed("tiny", "views", n)).normal(size=400) for n in range(40)])
    correlations = np.corrcoef(draws)[~np.eye(40, dtype=bool)]
    assert np.abs(correlations).max() < 0.25  # five standard deviations of 1 / sqrt(400)


def test_a_canonical_hash_never_changes():
    value = {"b": [1, 2.5, None], "a": "ü"}  # sha256 of {"a":"\u00fc","b":[1,2.5,null]}
    assert canonical_hash(value) == "703dceec79c30480a5c3da98f5873d45349c66854150b1f903de556fe4042245"


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.booleans(), max_size=6))
def test_a_canonical_hash_does_not_depend_on_the_order_of_keys(value):
    backwards = dict(reversed(value.items()))
    assert canonical_hash(backwards) == canonical_hash(value)
    assert canonical_hash({"nested": [backwards]}) == canonical_hash({"nested": [value]})


@pytest.mark.parametrize(("one", "other"), [([1, 2], [2, 1]), (1, 1.5), ("1", 1), (None, {}), (True, "true")])
def test_different_values_have_different_hashes(one, other):
    assert canonical_hash(one) != canonical_hash(other)


def test_what_is_not_a_number_has_no_hash():
    with pytest.raises(ValueError):
        canonical_hash(float("nan"))


# -- records -----------------------------------------------------------------------------------------------


def test_a_record_survives_json():
    record = factory.record(factory.World(), factory.Method("theirs[preset]"), seed=3)
    assert Record.model_validate_json(record.model_dump_json()) == record
    assert record.task == record.run.task.name


def test_a_record_refuses_what_it_does_not_know():
    content = factory.record(factory.World(), factory.Method("theirs"), seed=0).model_dump(mode="json")
    with pytest.raises(ValidationError, match="extra"):
        Record.model_validate(content | {"host": "my-laptop"})


def test_the_schema_of_records_can_be_exported():
    schema = json.loads(json.dumps(Record.model_json_schema()))
    assert {"schema_version", "key", "run", "status", "metrics", "cost", "provenance"} <= schema["properties"].keys()
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["TaskSpec"]["properties"]["label_noise"]["description"]


def test_every_committed_record_is_one():
    for record in Records(RESULTS).read():
        assert record.run.task.paradigm == record.paradigm


@pytest.mark.parametrize("spec", [Optimisation, Recipe, SplitSpec, Evaluation])
def test_sizes_and_rates_are_bounded_below(spec):
    numbers = [n for n, f in spec.model_fields.items() if f.annotation in (int, float, int | None, float | None)]
    least = {"lr": 0.1, "epochs": 1, "batch_size": 1} if issubclass(spec, Optimisation) else {}
    least |= {"train": 2} if spec is SplitSpec else {}
    for name in set(numbers) - {"seed"}:
        with pytest.raises(ValidationError):
            spec(**(least | {name: -1}))
