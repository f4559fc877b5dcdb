"""A task's words -> a learner with fresh weights."""

import inspect
from typing import Any

import torch

from benchmark import registry
from benchmark.api import DatasetInfo
from benchmark.errors import BenchmarkError, UnknownName
from benchmark.learners.base import Learner
from benchmark.learners.encoders import build_encoder
from benchmark.learners.views import ViewPolicy
from benchmark.specs import Ref

_GIVEN = {"encoder", "policy", "mean", "std", "num_classes"}


def build_learner(
    spec: Ref, views: dict[str, Any], info: DatasetInfo, channels: int, num_classes: int, seed: int
) -> Learner:
    """A learner whose every weight and buffer is drawn from `seed`.

    Args:
        spec: Its name and parameters, `encoder` among them.
        views: Fields of ViewPolicy.
        info: Of the dataset, for normalisation.
        channels: Of the images.
        num_classes: Of the dataset.
        seed: Of the initialisation; global random state stays as it was.

    Raises:
        BenchmarkError: For unknown learners, parameters or encoders, or a bad view policy.
    """
    target = registry.get("learner", spec.name).target
    allowed = set(inspect.signature(target).parameters) - _GIVEN
    params = {name: value for name, value in spec.params.items() if name != "encoder"}
    for name in params:
        if name not in allowed:
            raise UnknownName("parameter", name, [*allowed, "encoder"], f"learner {spec.name!r}")
    mean, std = (torch.tensor(values).expand(channels) for values in (info.mean, info.std))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = build_encoder(spec.params.get("encoder", {}), channels)
        learner: Learner = target(encoder, view_policy(views), mean, std, num_classes, **params)
    return learner


def view_policy(views: dict[str, Any]) -> ViewPolicy:
    """The augmentation that a task names, lists of TOML made tuples."""
    known = set(inspect.signature(ViewPolicy).parameters)
    for name in views:
        if name not in known:
            raise UnknownName("view", name, known, "views")
    try:
        fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in views.items()}
        return ViewPolicy(**fields)
    except (TypeError, ValueError) as error:
        raise BenchmarkError(f"views: {error}") from error
