"""The smallest task there is, made from nothing: pictures of a few patterns, networks of two blocks, one epoch."""

from collections.abc import Collection, Sequence
from dataclasses import fields, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from benchmark.api import ARTEFACTS, SETS, DatasetInfo, Method, MethodInfo
from benchmark.data import ExampleSet, Forbidden, ImageData, join
from benchmark.learners.base import Learner
from benchmark.learners.factory import build_learner
from benchmark.shards import (
    Artefacts,
    Cut,
    ShardedClassifier,
    ShardedRequest,
    ShardTraining,
    Weights,
    assembled,
    packed,
    unpacked,
)
from benchmark.specs import Recipe, Ref, Shards, SplitSpec, TaskSpec
from benchmark.training import UnlearningRequest, train

CPU = torch.device("cpu")
CLASSES = 3
INFO = DatasetInfo("patterns", "Patterns", "none", "none", CLASSES, (1, 8, 8), (0.5,), (0.25,))
SIZES = {"forget": 8, "retain": 24, "third_party": 8}
VIEWS = {"shift": 0.1, "noise": 0.1}
SMALL: dict[str, dict[str, Any]] = {
    "supervised": {},
    "simclr": {"hidden": 16, "projection": 8},
    "moco": {"hidden": 16, "projection": 8, "queue_size": 20, "momentum": 0.9},
    "byol": {"hidden": 16, "projection": 8, "momentum": 0.9},
}
NUMERICS: dict[str, dict[str, Any]] = {
    "float32": {},
    "bfloat16": {"precision": "bfloat16", "channels_last": True},
}
SHORT = {"epochs": 1, "batch_size": 12, "forget_batch_size": 4}
SEED = 5


def smoke_task(name: str, paradigm: str, info: MethodInfo, target: type) -> TaskSpec:
    """One epoch for a method or preset, in a scenario that it is meant for."""
    scenarios = info.scenarios_of(name)
    scenario = "random" if scenarios is None or "random" in scenarios else sorted(scenarios)[0]
    known = {field.name: field.metadata for field in fields(target)}
    short = {key: max(value, known[key].get("low", value)) for key, value in SHORT.items() if key in known}
    return TaskSpec(
        name="smoke",
        dataset=Ref(name=INFO.name),
        learner=Ref(name=paradigm),
        scenario=Ref(name=scenario),
        split=SplitSpec(train=SIZES["forget"] + SIZES["retain"]),
        recipe=Recipe(lr=0.05, epochs=1, batch_size=8),
        shards=Shards(count=2, slices=2) if ARTEFACTS in info.uses else None,
        in_shards=ARTEFACTS in info.uses,
        methods={name.partition("[")[0]: short, name: short},
    )


def pictures(
    count: int = 24, seed: int = 0, classes: int = CLASSES, side: int = 8, labels: Sequence[int] | None = None
) -> ImageData:
    """Noisy copies of one random pattern per class, of the given labels alone if there are any."""
    patterns = torch.rand(classes, 1, side, side, generator=torch.Generator().manual_seed(classes))
    drawn = torch.Generator().manual_seed(seed)
    among = torch.tensor(range(classes) if labels is None else labels)
    chosen = among[torch.randint(len(among), (count,), generator=drawn)]
    noisy = patterns[chosen] + 0.2 * torch.randn(count, 1, side, side, generator=drawn)
    images = (noisy.clamp(0, 1) * 255).to(torch.uint8)
    return ImageData.of(images, chosen, torch.zeros(count, dtype=torch.bool), [str(c) for c in range(classes)])


def small_learner(paradigm: str, seed: int = 0, views: dict[str, Any] | None = None, **params: Any) -> Learner:
    """An untrained learner for the pictures."""
    encoder = {"layers": [1, 1], "channels": [8, 16]}
    ref = Ref(name=paradigm, params={"encoder": encoder, **SMALL.get(paradigm, {}), **params})
    return build_learner(ref, VIEWS if views is None else views, INFO, channels=1, num_classes=CLASSES, seed=seed)


def sets_of(scenario: str) -> dict[str, ImageData]:
    """Forget, retain and third-party images; a class that is forgotten whole is not retained."""
    everything, gone = list(range(CLASSES)), [0]
    of_one = scenario in ("class", "subclass")
    labels = {
        "forget": gone if of_one else everything,
        "retain": everything[1:] if scenario == "class" else everything,
        "third_party": gone if of_one else everything,
    }
    sets = {name: pictures(size, seed=n, labels=labels[name]) for n, (name, size) in enumerate(SIZES.items())}
    return {name: replace(data, indices=data.indices + 100 * n) for n, (name, data) in enumerate(sets.items())}


def original(task: TaskSpec) -> Learner:
    """A fresh load of the learner that was trained on the task's forget and retain sets."""
    learner = small_learner(task.paradigm)
    if task.in_shards and task.shards is not None:
        members = [small_learner(task.paradigm) for _ in range(task.shards.count)]
        learner = ShardedClassifier(members, task.shards.vote)
        learner.load_state_dict(assembled(list(_shards(task.scenario.name, task.shards, task.recipe))))
    else:
        learner.load_state_dict(_trained(task.paradigm, task.scenario.name, task.recipe))
    return learner.eval()


@cache
def _trained(paradigm: str, scenario: str, recipe: Recipe) -> dict[str, Tensor]:
    sets = sets_of(scenario)
    examples = ExampleSet(join([sets["forget"], sets["retain"]]), "original", CPU)
    return train(lambda seed: small_learner(paradigm, seed), examples, recipe, 1, CPU).state_dict()


@cache
def _shards(scenario: str, how: Shards, recipe: Recipe) -> tuple[Weights, ...]:
    """What training in shards leaves of each."""
    data = sets_of(scenario)
    examples = ExampleSet(join([data["forget"], data["retain"]]), "original", CPU)
    cut, training = Cut.at_random(data, how, seed=1), _shard_training(how, recipe)
    return tuple(packed(dict(training.states(examples, cut, shard))) for shard in range(how.count))


def _shard_training(how: Shards, recipe: Recipe) -> ShardTraining:
    return ShardTraining(lambda seed: small_learner("supervised", seed), how, recipe, 1, CPU)


def _artefacts(task: TaskSpec, recipe: Recipe, log: list[dict[str, float]]) -> Artefacts:
    """What training the original in shards left, to be gone on with in the numerics of `recipe`."""
    assert task.shards is not None
    data, stored = sets_of(task.scenario.name), _shards(task.scenario.name, task.shards, task.recipe)
    cut, training = Cut.at_random(data, task.shards, seed=1), _shard_training(task.shards, recipe)
    parts = cut.of(data["forget"]), cut.of(data["retain"])
    return Artefacts(*parts, training, lambda shard, state: unpacked(stored[shard], state), log)


def request_of(
    method: Method, name: str, task: TaskSpec, numerics: str = "float32", withheld: Collection[str] = ()
) -> UnlearningRequest:
    """What a method is handed on the task: the sets that it reads, stand-ins that raise for the others."""
    recipe = task.recipe.model_copy(update=NUMERICS[numerics])
    data, read = sets_of(task.scenario.name), method.reads() - set(withheld)
    sets: dict[str, Any] = {
        part: ExampleSet(data[part], part, CPU, recipe.channels_last) if part in read else Forbidden(name, part)
        for part in sorted(SETS)
    }
    common: dict[str, Any] = {"device": CPU, "scenario": task.scenario.name, "num_classes": CLASSES}
    given = {**sets, **common, "recipe": recipe, "seed": SEED}
    request = UnlearningRequest(**given, fresh_learner=lambda seed: small_learner(task.paradigm, seed))
    if not task.in_shards:
        return request
    return ShardedRequest(**vars(request), artefacts=_artefacts(task, recipe, request.log))
