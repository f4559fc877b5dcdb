"""What every registered method promises, presets included, in every paradigm where it applies.

The checks are those of `python -m benchmark check`. A method that is added is tested here without an edit: names come
from the registry, parameters from its dataclass.
"""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from benchmark import conformance, registry, smoke, trials
from benchmark.api import SETS
from benchmark.components import build
from benchmark.data import ExampleSet, Forbidden
from benchmark.errors import BenchmarkError, UndeclaredAccess
from benchmark.learners.moco import MoCo

NAMES = registry.names("method")
BASES = [name for name in NAMES if "[" not in name]
TIMED = list(conformance.CHECKS)[-1]


def class_of(name: str) -> type:
    return registry.get("method", name).target


def applicable(name: str, paradigm: str) -> bool:
    info = registry.get("method", name.partition("[")[0]).info
    return paradigm in info.paradigms and trials.made(name, paradigm)[1].refuses(paradigm) is None


@pytest.mark.parametrize("name", NAMES)
def test_every_check_passes_on_every_learner_and_every_declared_set_is_used(name):
    """But for the time, which says as much of the machine."""
    for verdict in conformance.examine(name):
        assert not verdict.notes, verdict.learner
        assert {*verdict.passed, TIMED} == {*conformance.CHECKS}, (verdict.learner, verdict.failed)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "no_op" and applicable(name, "moco")])
def test_no_key_of_a_forget_image_is_in_the_returned_queue(make_learner, monkeypatch, name):
    """Forget images are white, keys say of an image whether it is, and the queue is too long to be overwritten.

    `no_op` is left out: it is the original, queue and all.
    """
    white, grey = F.one_hot(torch.tensor([0, 1]), 8).float()
    monkeypatch.setattr(MoCo, "_key", lambda self, view: torch.where(view.mean((1, 2, 3))[:, None] > 0.7, white, grey))
    original = make_learner("moco", queue_size=64).eval()
    original.queue.copy_(white.expand_as(original.queue))
    task, method = trials.made(name, "moco")
    request = smoke.request_of(method, name, task)
    if "forget" in method.reads():
        data = dataclasses.replace(smoke.pictures(8), images=torch.full((8, 1, 8, 8), 255, dtype=torch.uint8))
        request = dataclasses.replace(request, forget=ExampleSet(data, "forget", smoke.CPU))
    result = method.unlearn(original, request)
    assert not (result.queue == white).all(1).any()


# Parameters


FIELDS = [
    pytest.param(name, field, id=f"{name}-{field.name}")
    for name in BASES
    for field in dataclasses.fields(class_of(name))
]


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_a_value_of_another_type_is_refused_by_name_and_the_ends_of_a_range_are_not(name, field):
    with pytest.raises(BenchmarkError, match=rf"{name}: {field.name} = "):
        build(class_of(name), {field.name: "nonsense"}, name)
    if "low" in field.metadata:
        for end in ("low", "high"):
            build(class_of(name), {field.name: field.metadata[end]}, name)


@pytest.mark.parametrize("name", BASES)
def test_an_unknown_parameter_is_refused_by_name(name):
    with pytest.raises(BenchmarkError, match=rf"{name}: unknown parameter 'learning_rat'"):
        build(class_of(name), {"learning_rat": 0.1}, name)


# The guard


@pytest.mark.parametrize("touch", [len, bool, lambda s: s.all(), lambda s: s.num_classes, lambda s: next(s.batches(2))])
def test_a_set_that_is_not_declared_raises_when_it_is_touched(touch):
    with pytest.raises(UndeclaredAccess, match=r"method 'thief' reads request.forget, but its `uses` does not declare"):
        touch(Forbidden("thief", "forget"))


@pytest.mark.parametrize("name", [name for name in BASES if class_of(name)._benchmark_info.uses])
def test_methods_do_touch_a_set_that_they_declare(name):
    """The guard is what a method meets: replace all that it reads, and it cannot run."""
    paradigm = sorted(class_of(name)._benchmark_info.paradigms)[-1]
    task, method = trials.made(name, paradigm)
    assert isinstance(trials.run(method, name, task, withheld=SETS).error, UndeclaredAccess)
