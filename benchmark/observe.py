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
        `<set>/indices` and `<set>/labels` [n] int64, `<set>/features` [n, D] float32; for classifiers
        `<set>/logits` [n, C] float32; for encoders `<set>/backbone_similarities` and `<set>/head_similarities`
        [n, A(A-1)/2] float32 of attacked sets.
        `retain/probe` [p] int64 are the positions of the retain images that attacks use; similarities of the retain
        set are of those alone. Where retain and held-out images differ by more than membership, neither is there.
        `retain/neighbours` is the k of kNN, `split/coins` 1 if fair coins parted forget from held-out images.
    """
    learner = learner.to(device).eval()
    outputs: dict[str, NDArray[Any]] = {
        "retain/neighbours": np.array(evaluation.knn_neighbours),
        "split/coins": np.array(int(task.coins)),
    }
    attacked = dict(task.sets)
    if task.retain_comparable:
        outputs["retain/probe"] = probe = _probe(len(task["retain"]), evaluation.retain_probe, view_seed)
        attacked["retain"] = task["retain"].select(torch.from_numpy(probe))
    else:
        del attacked["retain"]
    for name in OBSERVED_SETS:
        data = task[name]
        outputs[f"{name}/indices"], outputs[f"{name}/labels"] = data.indices.numpy(), data.labels.numpy()
        outputs[f"{name}/features"] = features_of(learner, data, device)
        if learner.paradigm == "supervised":
            outputs[f"{name}/logits"] = logits_of(learner, data, device)
    if learner.paradigm != "supervised":
        outputs |= similarities(learner, attacked, task.dataset_size, evaluation.views, view_seed, device)
    return outputs


def features_of(learner: Learner, data: ImageData, device: torch.device) -> NDArray[np.float32]:
    """[n, D] encoder features."""
    return _numpy([learner.embed(images) for images in _batches(data, device)])


def logits_of(learner: Learner, data: ImageData, device: torch.device) -> NDArray[np.float32]:
    """[n, C], of classifiers."""
    return _numpy([learner.predict(images) for images in _batches(data, device)])


def similarities(
    learner: Learner, sets: dict[str, ImageData], dataset_size: int, views: int, seed: int, device: torch.device
) -> dict[str, NDArray[np.float32]]:
    """Cosines of all pairs of fixed views of attacked sets, at the backbone and at the head."""
    seen: dict[tuple[str, str], list[Tensor]] = {}
    for index in range(views):
        generator = torch.Generator().manual_seed(derive_seed(seed, "view", index))
        draws = learner.policy.draw(dataset_size, tuple(sets["forget"].images.shape[1:]), generator)
        for name in ATTACKED_SETS:
            if name in sets:
                backbone, head = _of_view(learner, sets[name], draws, device)
                seen.setdefault((name, "backbone"), []).append(backbone)
                seen.setdefault((name, "head"), []).append(head)
    return {
        f"{name}/{place}_similarities": _pairwise(torch.stack(found, dim=1)) for (name, place), found in seen.items()
    }


def _of_view(learner: Learner, data: ImageData, draws: Draws, device: torch.device) -> tuple[Tensor, Tensor]:
    """[n, D] features and [n, P] projections of one view of each image; its draws are those of its index."""
    backbone, head = [], []
    for positions in torch.arange(len(data)).split(_BATCH):
        images = data.images[positions].to(device).float() / 255
        view = learner.policy.apply(images, draws[data.indices[positions]])
        backbone.append(learner.embed(view).float().cpu())
        head.append(learner.project(view).float().cpu())
    return torch.cat(backbone), torch.cat(head)


def _pairwise(features: Tensor) -> NDArray[np.float32]:
    """[n, A, D] -> [n, A(A-1)/2] cosines."""
    return np.concatenate([pairwise_cosines(part.numpy()) for part in features.split(_BATCH)]).astype(np.float32)


def _probe(retain: int, wanted: int, seed: int) -> NDArray[np.int64]:
    if retain <= wanted:
        return np.arange(retain)
    return np.sort(np.random.default_rng(derive_seed(seed, "probe")).choice(retain, wanted, replace=False))


def _batches(data: ImageData, device: torch.device) -> Iterator[Tensor]:
    return (part.to(device).float() / 255 for part in data.images.split(_BATCH))


def _numpy(parts: list[Tensor]) -> NDArray[np.float32]:
    joined: NDArray[np.float32] = torch.cat(parts).float().cpu().numpy()
    return joined
