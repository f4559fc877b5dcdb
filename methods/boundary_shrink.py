"""Boundary shrinking: every forget image is taught the class across the nearest decision boundary.

Chen, Gao, Liu, Peng, Wang, "Boundary Unlearning" (CVPR 2023). One signed-gradient step away from its label says which
class lies there; fine-tuning on forget images with these labels moves the boundary over them. Made for classes: for a
random forget set it is used in later papers alone, where neighbours in retain hold the boundary in place.

The attack reads plain images and the frozen original, so one pass finds the labels of all epochs. An attack that fails
teaches the true label again; the share that succeeds is logged.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.api import (
    ExampleSet,
    GradientMethod,
    Learner,
    UnlearningRequest,
    at_rest,
    bounded,
    choice,
    copy_of,
    loss_term,
    register_method,
    sign_step,
)


@register_method(
    "boundary_shrink",
    paper="Chen, Gao, Liu, Peng, Wang, CVPR 2023, arXiv 2303.11570",
    uses={"forget"},
    cost="F + f(F) + 10 F",
    paradigms={"supervised"},
    scenarios={"class", "random", "indices"},
    optimises={"loss"},
)
@dataclass(frozen=True, kw_only=True)
class BoundaryShrink(GradientMethod):
    """Epochs of cross-entropy on forget images, each with the label of an adversarial image near it."""

    epsilon: float = bounded(0.1, 0.0, 1.0)
    force_wrong: bool = False
    bn_forget: str = choice("frozen", "train")
    optimizer: str = choice("sgd", "adam", "adamw")
    lr: float = bounded(1e-5, 0.0, 0.1)

    def unlearn(self, learner: Learner, request: UnlearningRequest) -> Learner:
        unlearned = copy_of(learner)
        labels = self.labels_across(learner, request.forget)
        request.log.append({"epoch": 0, "attack_success": float((labels != request.forget.labels).float().mean())})
        term = loss_term(unlearned, request.stream("augment/forget"), self.bn_forget)
        relabelled = request.forget.altered(labels=labels)
        request.optimise(unlearned, relabelled, {"relabelled": (1.0, term)}, self.how())
        return unlearned

    def labels_across(self, learner: Learner, forget: ExampleSet) -> Tensor:
        """[N] the class that `learner` sees in each image after one signed-gradient step of `epsilon`."""
        found = []
        for batch in forget.batches(self.batch_size):
            attacked = sign_step(learner, batch.images, batch.labels, self.epsilon)
            with torch.no_grad(), at_rest(learner):
                first, second = learner.predict(attacked).topk(2).indices.T
            found.append(torch.where((first == batch.labels) & self.force_wrong, second, first))
        return torch.cat(found)
