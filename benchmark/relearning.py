"""Does a model remember on the way back? Fine-tuning on retain images alone, and what it knows of forget images then.

Suppressed knowledge returns where knowledge that is gone does not: retain_relearn_gap after Siddiqui et al. 2025
(arXiv 2505.22310). The retrained model goes the same way, over the same batches.
"""

import copy
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.data import ExampleSet, TaskData
from benchmark.learners.base import Learner
from benchmark.metrics.encoders import weighted_knn
from benchmark.observe import features_of, logits_of, similarities
from benchmark.specs import Evaluation, Recipe, derive_seed
from benchmark.training import optimise

CHECKPOINTS = (0.01, 0.02, 0.05, 0.10)
_LAST_RATE = 0.1  # of the peak: what a decaying schedule ends with is too small to learn anything


def relearn(
    learner: Learner,
    task: TaskData,
    recipe: Recipe,
    evaluation: Evaluation,
    order_seed: int,
    view_seed: int,
    device: torch.device,
) -> dict[str, NDArray[Any]]:
    """What a model answers after 1, 2, 5 and 10 % of its training's steps on the retain set alone.

    Args:
        learner: Left as it is; a copy learns.
        task: The sets.
        recipe: Of the original's training: optimiser, batch size, numerics; the rate is constant, its peak or a tenth
            of it if the schedule decays.
        evaluation: k of kNN and number of fixed views, for encoders.
        order_seed: Of batches and training views, the same for every model of a seed.
        view_seed: Of the fixed views.
        device: Where it runs.

    Returns:
        `relearning/<set>_correct` [4, n] bool for forget and held-out images: by the classifier, or by kNN with the
        retain set as its bank; for encoders also `relearning/<set>_similarity` [4, n] float32, EncoderMI-T at the head.

    Raises:
        Diverged: If the loss is not finite.
    """
    learner = copy.deepcopy(learner).to(device)
    retain = ExampleSet(task["retain"], "retain", device, recipe.channels_last)
    per_epoch = max(1, len(retain) // recipe.batch_size)  # at least so many steps has an epoch
    total = recipe.epochs * math.ceil((len(retain) + len(task["forget"])) / recipe.batch_size)
    stops = [max(1, round(share * total)) for share in CHECKPOINTS]
    constant = recipe.schedule == "constant"
    how = recipe.model_copy(
        update={
            "lr": recipe.lr if constant else _LAST_RATE * recipe.lr,
            "schedule": "constant",
            "epochs": math.ceil(stops[-1] / per_epoch),
        }
    )
    views = torch.Generator().manual_seed(derive_seed(order_seed, "augment"))
    seen: list[dict[str, NDArray[Any]]] = []

    def look(step: int) -> None:
        for _ in range(stops.count(step)):
            seen.append(_answers(learner, task, evaluation, view_seed, device))

    optimise(
        learner,
        retain,
        {"utility": (1.0, lambda batch: learner.loss(batch.images, batch.labels, views))},
        how,
        order=torch.Generator().manual_seed(derive_seed(order_seed, "order")),
        recipe=recipe,
        on_step=look,
    )
    return {f"relearning/{name}": np.stack([answers[name] for answers in seen]) for name in seen[0]}


@torch.no_grad()
def _answers(
    learner: Learner, task: TaskData, evaluation: Evaluation, view_seed: int, device: torch.device
) -> dict[str, NDArray[Any]]:
    """Of a model in the middle of its training, which goes on as it was."""
    learner.eval()
    sets = {name: task[name] for name in ("forget", "heldout")}
    labels = {name: data.labels.numpy() for name, data in sets.items()}
    if learner.paradigm == "supervised":
        found = {f"{n}_correct": logits_of(learner, d, device).argmax(1) == labels[n] for n, d in sets.items()}
    else:
        bank, bank_labels = features_of(learner, task["retain"], device), task["retain"].labels.numpy()
        found = {
            f"{name}_correct": labels[name]
            == weighted_knn(
                bank,
                bank_labels,
                features_of(learner, data, device),
                num_classes=learner.num_classes,
                k=evaluation.knn_neighbours,
            )
            for name, data in sets.items()
        }
        cosines = similarities(learner, sets, task.dataset_size, evaluation.views, view_seed, device)
        found |= {f"{name}_similarity": cosines[f"{name}/head_similarities"].mean(axis=1) for name in sets}
    learner.train()
    return found
