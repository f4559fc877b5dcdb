"""A classifier trained with cross-entropy."""

import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from benchmark.api import register_learner
from benchmark.learners.base import Learner, Reduction, Space, width_of
from benchmark.learners.views import ViewPolicy


@register_learner("supervised", description="encoder and linear classifier, cross-entropy", paper="-")
class Supervised(Learner):
    paradigm = "supervised"

    def __init__(self, encoder: nn.Module, policy: ViewPolicy, mean: Tensor, std: Tensor, num_classes: int) -> None:
        super().__init__(encoder, policy, mean, std)
        self.num_classes = num_classes
        self.classifier = nn.Linear(width_of(encoder), num_classes)

    def view_loss(self, views: list[Tensor], labels: Tensor, reduction: Reduction = "mean") -> Tensor:
        return F.cross_entropy(self.predict(views[0]).float(), labels, reduction=reduction)

    def view_confidence(self, views: list[Tensor], labels: Tensor, space: Space = "head") -> Tensor:
        """Log-odds of the true class, phi = z_y - logsumexp of the others (Carlini et al., S&P 2022)."""
        logits = self.predict(views[0]).float()
        own = F.one_hot(labels, logits.shape[1]).bool()
        return logits[own] - logits.masked_fill(own, -float("inf")).logsumexp(1)

    def predict(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.embed(images))
        return logits

    def heads(self) -> list[nn.Module]:
        return [self.classifier]
