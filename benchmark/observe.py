"""What is kept of a model: logits, features and similarities of fixed views, in float32 and evaluation mode.

Metrics see these arrays alone. Views are drawn once per dataset image and view index, so they are the same for every
model, and independent of which other images stand in a set (METRICS V7).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.data import ImageData, TaskData
from benchmark.learners.base import Learner
from benchmark.learners.views import Draws
from benchmark.metrics.encoders import pairwise_cosines
from benchmark.specs import Evaluation, derive_seed

ATTACKED_SETS = ("forget", "heldout", "third_party", "retain")
OBSERVED_SETS = (*ATTACKED_SETS, "test")
_BATCH = 512


@torch.no_grad()
def observe(
    learner: Learner, task: TaskData, evaluation: Evaluation, view_seed: int, device: torch.device
) -> dict[str, NDArray[Any]]:
    """Outputs of one model on the sets of its task.

    Args:
        learner: Any; it is put into evaluation mode.
        task: The sets.
        evaluation: How many views, and how many retain images are attacked.
        view_seed: Of the fixed views.
        device: Where the forward passes run.

    Returns:
        `<set>/labels` [n] int64, `<set>/features` [n, D] float32; for classifiers `<set>/logits` [n, C] float32; for
        encoders `<set>/backbone_similarities` and `<set>/head_similarities` [n, A(A-1)/2] float32 of attacked sets.
        `retain/probe` [p] int64 are the positions of the retain images that attacks use; similarities of the retain
        set are of those alone.
    """
    learner = learner.to(device).eval()
    probe = _probe(len(task["retain"]), evaluation.retain_probe, view_seed)
    outputs: dict[str, NDArray[Any]] = {"retain/probe": probe}
    for name in OBSERVED_SETS:
        data = task[name]
        outputs[f"{name}/labels"] = data.labels.numpy()
        batches = list(_batches(data, device))
        outputs[f"{name}/features"] = _numpy([learner.embed(images) for images in batches])
        if learner.paradigm == "supervised":
            outputs[f"{name}/logits"] = _numpy([learner.predict(images) for images in batches])
    if learner.paradigm != "supervised":
        views = _fixed_views(learner, task, evaluation.views, view_seed)
        for name in ATTACKED_SETS:
            data = task["retain"].select(torch.from_numpy(probe)) if name == "retain" else task[name]
            outputs |= _similarities(learner, name, data, views, device)
    return outputs


def _similarities(
    learner: Learner, name: str, data: ImageData, views: list[Draws], device: torch.device
) -> dict[str, NDArray[np.float32]]:
    """Cosines of all pairs of views, at the backbone and at the head."""
    found: dict[str, list[NDArray[np.float64]]] = {"backbone": [], "head": []}
    for positions in torch.arange(len(data)).split(_BATCH):
        images = data.images[positions].to(device).float() / 255
        seen = [learner.policy.apply(images, draws[data.indices[positions]]) for draws in views]
        found["backbone"].append(pairwise_cosines(_stacked([learner.embed(view) for view in seen])))
        found["head"].append(pairwise_cosines(_stacked([learner.project(view) for view in seen])))
    return {f"{name}/{place}_similarities": np.concatenate(parts).astype(np.float32) for place, parts in found.items()}


def _fixed_views(learner: Learner, task: TaskData, count: int, seed: int) -> list[Draws]:
    shape = tuple(task["forget"].images.shape[1:])
    return [
        learner.policy.draw(task.dataset_size, shape, torch.Generator().manual_seed(derive_seed(seed, "view", index)))
        for index in range(count)
    ]


def _probe(retain: int, wanted: int, seed: int) -> NDArray[np.int64]:
    if retain <= wanted:
        return np.arange(retain)
    return np.sort(np.random.default_rng(derive_seed(seed, "probe")).choice(retain, wanted, replace=False))


def _batches(data: ImageData, device: torch.device) -> Iterator[Tensor]:
    return (part.to(device).float() / 255 for part in data.images.split(_BATCH))


def _stacked(features: list[Tensor]) -> NDArray[np.float32]:
    """A tensors [n, D] -> [n, A, D]."""
    stacked: NDArray[np.float32] = torch.stack(features, dim=1).float().cpu().numpy()
    return stacked


def _numpy(parts: list[Tensor]) -> NDArray[np.float32]:
    joined: NDArray[np.float32] = torch.cat(parts).float().cpu().numpy()
    return joined
