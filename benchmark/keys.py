"""Content keys: the sha256 of canonical JSON of all that determines a result.

Data, split, learner, recipe, method with its parameters, seed, numerics, and the source of the code that takes part.
Who runs it, where and how often is not in it.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from benchmark import ROOT, registry
from benchmark.api import HOMES
from benchmark.components import make
from benchmark.specs import Ref, TaskSpec, canonical_hash

# Files of ours that take part in a result beside the component's own; a test holds these lists against the imports.
_DATASET_CODE = ("data.py", "decoding.py")
_DATA_CODE = ("data.py",)
_TRAINING_CODE = ("training.py", "learners/base.py", "learners/encoders.py", "learners/factory.py", "learners/views.py")
_SHARDS_CODE = ("shards.py", "learners/supervised.py")
_METHOD_CODE = ("importance.py", "input_gradients.py", "mechanics.py", "relabelling.py")
_CHOSEN_CODE = ("curvature.py", "edits.py", "steps.py")  # of methods that import something of them
_OBSERVING_CODE = ("observe.py", "metrics/_checks.py", "metrics/encoders.py")
_RELEARNING_CODE = ("relearning.py",)
_SCORING_CODE = ("scoring.py", "metrics/_checks.py", "metrics/attacks.py")
_POPULATION_CODE = ("populations.py",)


def shared_keys(task: TaskSpec, seed: int, data: str, device: str, relearns: bool = False) -> dict[str, str]:
    """Keys of what all methods of a task and seed share: decoded data, original, retrained, and their outputs."""
    dataset = canonical_hash(
        {
            "dataset": task.dataset.model_dump(),
            "files": data,
            "source": [source("dataset", task.dataset.name), _code(_DATASET_CODE)],
            "image_size": task.image_size,
        }
    )
    split = canonical_hash(
        {
            "dataset": dataset,
            "scenario": task.scenario.model_dump(),
            "source": [source("scenario", task.scenario.name), _code(_DATA_CODE)],
            "files": _argument_file(task.scenario),
            "split": task.split.model_dump(),
            "label_noise": task.label_noise,
            "task": task.split_of or task.name,
            "seed": seed,
        }
    )
    keys = {"dataset": dataset}
    for role, sets in (("original", ["forget", "retain"]), ("retrained", ["retain"])):
        trained = {
            "split": split,
            "sets": sets,
            "learner": task.learner.model_dump(),
            "views": task.views,
            "recipe": task.recipe.model_dump(),
            "source": [source("learner", task.learner.name), _code(_TRAINING_CODE)],
            "device": device.partition(":")[0],
        }
        if task.in_shards and task.shards is not None:
            trained |= {"shards": task.shards.model_dump(), "sharding": _code(_SHARDS_CODE)}
            keys |= {shard_role(role, n): canonical_hash([trained, n]) for n in range(task.shards.count)}
        keys[role] = canonical_hash(trained)
        keys[f"{role}/outputs"] = outputs_key(keys[role], task)
        if relearns:
            keys[f"{role}/relearning"] = relearning_key(keys[role], task, device)
    return keys


def shard_role(role: str, shard: int) -> str:
    """What the model of one shard is called, among keys and jobs: `original.shard0`."""
    return f"{role}.shard{shard}"


def run_keys(
    shared: Mapping[str, str],
    task: TaskSpec,
    method: str,
    params: Mapping[str, Any],
    device: str,
    placebo: bool = False,
) -> dict[str, str]:
    """Keys of an unlearned model and its outputs."""
    unlearned = canonical_hash(
        {
            "original": shared["original"],
            "method": method,
            "params": dict(params),
            "placebo": placebo,
            "source": [source("method", method), _code(_METHOD_CODE)],
            "device": device.partition(":")[0],
        }
    )
    keys = {"unlearned": unlearned, "unlearned/outputs": outputs_key(unlearned, task)}
    if "original/relearning" in shared:
        keys["unlearned/relearning"] = relearning_key(unlearned, task, device)
    return keys


def outputs_key(model: str, task: TaskSpec) -> str:
    """Key of what is observed of a model."""
    return canonical_hash(
        {"model": model, "evaluation": task.evaluation.model_dump(), "source": _code(_OBSERVING_CODE)}
    )


def relearning_key(model: str, task: TaskSpec, device: str) -> str:
    """Key of what is observed of a model while it learns the retain set anew."""
    code = _code((*_OBSERVING_CODE, *_TRAINING_CODE, *_RELEARNING_CODE))
    kind = device.partition(":")[0]
    return canonical_hash(
        {"relearned": model, "evaluation": task.evaluation.model_dump(), "source": code, "device": kind}
    )


def record_key(keys: Mapping[str, str], metrics: Mapping[str, str]) -> str:
    """Key of a run: all that was observed of its three models, and the source of the metrics that score it."""
    observed = {name: key for name, key in keys.items() if "/" in name}
    return canonical_hash({"observed": observed, "metrics": dict(metrics), "source": _code(_SCORING_CODE)})


def population_key(members: Sequence[Mapping[str, str]], metrics: Mapping[str, str]) -> str:
    """Key of what all seeds of a method say together: their outputs, and the source of the metrics."""
    outputs = [{name: key for name, key in keys.items() if name.endswith("/outputs")} for keys in members]
    return canonical_hash({"outputs": outputs, "metrics": dict(metrics), "source": _code(_POPULATION_CODE)})


def together_key(members: Sequence[Mapping[str, str]], role: str) -> str:
    """Key of the outputs that all seeds' models of one role left on one pool."""
    return canonical_hash([keys[f"{role}/outputs"] for keys in members])


def numbers_key(metric: str, code: str, role: str, keys: Mapping[str, str]) -> str:
    """Key of what one metric says of one of a run's three models, held against the other two."""
    models = {"scored": role, "original": "original", "retrained": "retrained"}
    observed = {
        place: {name.partition("/")[2]: key for name, key in keys.items() if name.startswith(f"{role}/")}
        for place, role in models.items()
    }
    return canonical_hash({"metric": metric, "source": code, "observed": observed})


def forget_sources() -> None:
    """Read all source again: it may have changed since the last plan."""
    source.cache_clear()
    _code.cache_clear()


@cache
def source(kind: str, name: str) -> str:
    """Hash of what a component's file does, for metrics and methods also of what they import; once for each plan."""
    path = registry.source_path(kind, name.partition(":")[0])
    if kind == "metric":
        return registry.source_hash(*registry.source_closure(path))
    return registry.source_hash(path, *(_chosen_code(path) if kind == "method" else ()))


def _chosen_code(path: Path) -> list[Path]:
    """Those of _CHOSEN_CODE that a method's file imports something of, by way of the api or not."""
    names = registry.imported_names(path)
    if names & {"benchmark.api", "benchmark.api.*"}:  # then anything may be used
        return [ROOT / file for file in _CHOSEN_CODE]
    modules = {HOMES.get(name.removeprefix("benchmark.api."), name) for name in names}
    used = {module.split(".")[1] for module in modules if module.startswith("benchmark.")}
    return [ROOT / file for file in _CHOSEN_CODE if file.removesuffix(".py") in used]


@cache
def _code(files: tuple[str, ...]) -> str:
    return registry.source_hash(*(ROOT / file for file in files))


def _argument_file(scenario: Ref) -> str | None:
    """Content of the file that a scenario names by its field `path`, if it has one."""
    path = getattr(make("scenario", scenario, "scenario"), "path", None)
    return canonical_hash(Path(path).read_bytes().hex()) if path and Path(path).is_file() else None
