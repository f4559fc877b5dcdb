"""What every registered method promises, presets included, in every paradigm where it applies.

A method that is added is tested here without an edit: names come from the registry, parameters from its dataclass.
"""

import dataclasses
import functools
import json
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmark import registry
from benchmark.api import PARADIGMS, SETS
from benchmark.components import build
from benchmark.data import ExampleSet, Forbidden
from benchmark.errors import BenchmarkError, UndeclaredAccess
from benchmark.learners.moco import MoCo
from benchmark.plan import applicability, resolve_method
from benchmark.specs import Recipe, TaskSpec

NAMES = registry.names("method")
BASES = [name for name in NAMES if "[" not in name]
SHORT = {"epochs": 1, "batch_size": 12, "forget_batch_size": 4}
NUMERICS = {"float32": {}, "bfloat16": {"precision": "bfloat16", "channels_last": True}}


@functools.cache
def task_of(name: str, paradigm: str) -> TaskSpec:
    """A task on which the method takes a few steps; its scenario is one for which the method is meant."""
    target, info = class_of(name), registry.get("method", name.partition("[")[0]).info
    scenario = "random" if info.scenarios is None or "random" in info.scenarios else sorted(info.scenarios)[0]
    fields = {field.name for field in dataclasses.fields(target)}
    return TaskSpec(
        name="conformance",
        dataset="patterns",
        learner=paradigm,
        scenario=scenario,
        split={"train": 32},
        recipe={"lr": 0.05, "epochs": 1, "batch_size": 8},
        methods={name.partition("[")[0]: {key: value for key, value in SHORT.items() if key in fields}},
    )


def class_of(name: str) -> type:
    return registry.get("method", name.partition("[")[0]).target


def method_of(name: str, paradigm: str):
    params = resolve_method(name, task_of(name, paradigm), "conformance")
    return build(class_of(name), params, name)


CASES = [
    pytest.param(name, paradigm, id=f"{name}-{paradigm}")
    for name in NAMES
    for paradigm in sorted(PARADIGMS)
    if applicability(name, task_of(name, paradigm)) is None
]
REMEMBERING = [case for case in CASES if case.values[1] == "moco" and case.values[0] != "no_op"]


def same(first, second) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def snapshot(learner):
    state = {name: value.clone() for name, value in learner.state_dict().items()}
    modes = [module.training for module in learner.modules()]
    flags = [(name, p.requires_grad, p.grad is None) for name, p in learner.named_parameters()]
    return state, modes, flags


@pytest.fixture(scope="session")
def unlearn(make_request, make_data, original_of):
    """(name, paradigm) -> (original, request, result) of a run that is given what the method declares and no more."""

    def run(name, paradigm, original=None, **changes):
        method, task = method_of(name, paradigm), task_of(name, paradigm)
        sets = {absent: Forbidden(name, absent) for absent in SETS - method.reads()}
        if task.scenario.name == "class" and "forget" in method.reads():
            sets["forget"] = ExampleSet(make_data(8, label=0), "forget", torch.device("cpu"))
        request = make_request(paradigm, scenario=task.scenario.name, **(sets | changes))
        original = original or original_of(paradigm)
        return original, request, method.unlearn(original, request)

    return run


@pytest.mark.parametrize(("name", "paradigm"), CASES)
def test_the_given_learner_is_left_as_it_was_and_the_result_is_another(unlearn, original_of, name, paradigm):
    before = snapshot(original_of(paradigm))
    original, request, result = unlearn(name, paradigm)
    after = snapshot(original)
    assert same(after[0], before[0])
    assert after[1:] == before[1:]
    owned = {tensor.data_ptr() for tensor in original.state_dict().values()}
    assert not owned & {tensor.data_ptr() for tensor in result.state_dict().values()}
    assert set(request.samples_seen()) <= class_of(name)._benchmark_info.uses


@pytest.mark.parametrize(("name", "paradigm"), CASES)
def test_the_result_is_a_function_of_the_seed_and_leaves_global_random_state_alone(unlearn, name, paradigm):
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed), np.random.seed(seed), random.seed(seed)
        before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
        results.append(unlearn(name, paradigm)[2].state_dict())
        assert torch.equal(torch.get_rng_state(), before[0])
        assert np.random.get_state()[1].tolist() == before[1]
        assert random.getstate() == before[2]
    assert same(*results)


@pytest.mark.parametrize("numerics", NUMERICS)
@pytest.mark.parametrize(("name", "paradigm"), CASES)
def test_the_result_is_finite_and_usable(unlearn, make_request, name, paradigm, numerics):
    recipe = Recipe(lr=0.05, epochs=1, batch_size=8, **NUMERICS[numerics])
    original, _, result = unlearn(name, paradigm, recipe=recipe)
    assert type(result) is type(original)
    assert result.state_dict().keys() == original.state_dict().keys()
    assert all(value.isfinite().all() for value in result.state_dict().values())
    assert all(p.dtype == torch.float32 and p.requires_grad for _, p in result.trainable())
    if paradigm == "moco":
        assert result.remembers_keys
    batch = make_request(paradigm).retain.all()
    assert not any(module.training for module in result.modules())
    assert result.embed(batch.images).isfinite().all()
    result.train().loss(batch.images, batch.labels, torch.Generator().manual_seed(0)).backward()
    result.after_step()


@pytest.mark.parametrize(("name", "paradigm"), CASES)
def test_parameters_round_trip_through_json_and_reads_are_declared(name, paradigm):
    method = method_of(name, paradigm)
    again = build(class_of(name), json.loads(json.dumps(dataclasses.asdict(method))), name)
    assert again == method
    assert again.reads() == method.reads()
    assert method.reads() <= class_of(name)._benchmark_info.uses <= SETS


@pytest.mark.parametrize(("name", "paradigm"), REMEMBERING)
def test_no_key_of_a_forget_image_is_in_the_returned_queue(
    unlearn, make_data, make_learner, monkeypatch, name, paradigm
):
    """Forget images are white, keys say of an image whether it is, and the queue is too long to be overwritten.

    `no_op` is left out: it is the original, queue and all.
    """
    white, grey = F.one_hot(torch.tensor([0, 1]), 8).float()
    monkeypatch.setattr(MoCo, "_key", lambda self, view: torch.where(view.mean((1, 2, 3))[:, None] > 0.7, white, grey))
    original = make_learner("moco", queue_size=64).eval()
    original.queue.copy_(white.expand_as(original.queue))
    sets = {}
    if "forget" in method_of(name, "moco").reads():
        data = dataclasses.replace(make_data(8), images=torch.full((8, 1, 8, 8), 255, dtype=torch.uint8))
        sets["forget"] = ExampleSet(data, "forget", torch.device("cpu"))
    _, _, result = unlearn(name, "moco", original=original, **sets)
    assert not (result.queue == white).all(1).any()


# Parameters


FIELDS = [
    pytest.param(name, field, id=f"{name}-{field.name}")
    for name in BASES
    for field in dataclasses.fields(class_of(name))
]


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_a_value_out_of_range_or_of_another_type_is_refused_by_name(name, field):
    wrong = ["nonsense"]
    if "low" in field.metadata:
        wrong += [field.metadata["low"] - 1, field.metadata["high"] + 1, float("nan"), float("inf"), True]
    if isinstance(field.default, int):
        wrong += [0.5]
    for value in wrong:
        with pytest.raises(BenchmarkError, match=rf"{name}: {field.name} = "):
            build(class_of(name), {field.name: value}, name)
    if "low" in field.metadata:
        for end in ("low", "high"):
            build(class_of(name), {field.name: field.metadata[end]}, name)


@pytest.mark.parametrize("name", BASES)
def test_an_unknown_parameter_is_refused_by_name(name):
    with pytest.raises(BenchmarkError, match=rf"{name}: unknown parameter 'learning_rat'"):
        build(class_of(name), {"learning_rat": 0.1}, name)


@pytest.mark.parametrize("name", BASES)
def test_a_method_is_a_frozen_keyword_only_dataclass(name):
    assert class_of(name).__dataclass_params__.frozen
    assert all(field.kw_only for field in dataclasses.fields(class_of(name)))


# The guard


@pytest.mark.parametrize("touch", [len, bool, lambda s: s.all(), lambda s: s.num_classes, lambda s: next(s.batches(2))])
def test_a_set_that_is_not_declared_raises_when_it_is_touched(touch):
    with pytest.raises(UndeclaredAccess, match=r"method 'thief' reads request.forget, but its `uses` does not declare"):
        touch(Forbidden("thief", "forget"))


@pytest.mark.parametrize("name", [name for name in BASES if class_of(name)._benchmark_info.uses])
def test_methods_do_touch_a_set_that_they_declare(unlearn, name):
    """The guard is what a method meets: replace all that it reads, and it cannot run."""
    paradigm = sorted(class_of(name)._benchmark_info.paradigms)[-1]
    with pytest.raises(UndeclaredAccess):
        unlearn(name, paradigm, **{absent: Forbidden(name, absent) for absent in SETS})
