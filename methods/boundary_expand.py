"""Boundary expanding: forget images are taught a class that nobody is of, which is then struck out.

Chen, Gao, Liu, Peng, Wang, "Boundary Unlearning" (CVPR 2023). The classifier gets one output more, takes all forget
images for that class, and loses the output again, so every number is read from as many classes as before. Made for
classes: for a random forget set it is used in later papers alone.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn as nn

from benchmark.api import (
    GradientMethod,
    Learner,
    UnlearningRequest,
    bounded,
    choice,
    copy_of,
    loss_term,
    names_in,
    register_method,
)


@register_method(
    "boundary_expand",
    paper="Chen, Gao, Liu, Peng, Wang, CVPR 2023, arXiv 2303.11570",
    uses={"forget"},
    cost="10 F",
    paradigms={"supervised"},
    scenarios={"class", "random", "indices"},
    optimises={"loss"},
)
@dataclass(frozen=True, kw_only=True)
class BoundaryExpand(GradientMethod):
    """Epochs of cross-entropy on forget images towards an output that is new before and gone after."""

    new_row: str = choice("xavier", "linear")
    freeze_linear: bool = False
    bn_forget: str = choice("frozen", "train")
    optimizer: str = choice("sgd", "adam", "adamw")
    lr: float = bounded(1e-5, 0.0, 0.1)
    epochs: int = bounded(10, 0, 100)

    def unlearn(self, learner: Learner, request: UnlearningRequest) -> Learner:
        unlearned = copy_of(learner)
        classifier: Any = unlearned.heads()[0]
        self.widen(classifier, request.stream("init"))
        shadow = request.forget.altered(labels=torch.full_like(request.forget.labels, classifier.out_features - 1))
        trained = {name for name, _ in unlearned.trainable()}
        if self.freeze_linear:
            trained -= names_in(unlearned, [classifier])
        term = loss_term(unlearned, request.stream("augment/forget"), self.bn_forget)
        request.optimise(unlearned, shadow, {"expansion": (1.0, term)}, self.how(), only=trained)
        resize(classifier, classifier.weight[:-1], classifier.bias[:-1])
        return unlearned

    def widen(self, classifier: nn.Linear, generator: torch.Generator) -> None:
        """One row more: Xavier-normal with bias 0, or as a linear layer begins."""
        outputs, width = classifier.weight.shape
        row, bias = torch.empty(1, width), torch.zeros(1)
        if self.new_row == "xavier":
            row.normal_(0, (2 / (width + outputs + 1)) ** 0.5, generator=generator)
        else:
            row.uniform_(-(width**-0.5), width**-0.5, generator=generator)
            bias.uniform_(-(width**-0.5), width**-0.5, generator=generator)
        weight = torch.cat([classifier.weight, row.to(classifier.weight)])
        resize(classifier, weight, torch.cat([classifier.bias, bias.to(classifier.bias)]))


def resize(classifier: nn.Linear, weight: torch.Tensor, bias: torch.Tensor) -> None:
    """Other outputs for the same inputs: weight [C, D], bias [C]."""
    classifier.weight, classifier.bias = nn.Parameter(weight.detach().clone()), nn.Parameter(bias.detach().clone())
    classifier.out_features = len(bias)
