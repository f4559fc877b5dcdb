"""SimCLR: two views of an image attract, all other views of the batch repel (Chen et al., ICML 2020, 2002.05709)."""

import torch.nn as nn
import torch.nn.functional as F
from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from torch import Tensor

from benchmark.api import register_learner
from benchmark.learners.base import Learner, Reduction, Space, width_of
from benchmark.learners.views import ViewPolicy


@register_learner("simclr", description="NT-Xent over two views", paper="Chen et al., ICML 2020, arXiv 2002.05709")
class SimCLR(Learner):
    paradigm = "simclr"
    view_count = 2
    needs_full_batches = True

    def __init__(
        self,
        encoder: nn.Module,
        policy: ViewPolicy,
        mean: Tensor,
        std: Tensor,
        num_classes: int,
        temperature: float = 0.1,
        hidden: int = 128,
        projection: int = 64,
    ) -> None:
        super().__init__(encoder, policy, mean, std)
        self.num_classes = num_classes
        self.head = SimCLRProjectionHead(width_of(encoder), hidden, projection)
        self.criterion = NTXentLoss(temperature)
        self.criterion.cross_entropy = nn.CrossEntropyLoss(reduction="none")

    def view_loss(self, views: list[Tensor], labels: Tensor, reduction: Reduction = "mean") -> Tensor:
        """Per image the mean over its two anchors."""
        first, second = (self.project(view).float() for view in views)
        losses: Tensor = self.criterion(first, second).view(2, -1).mean(0)
        return losses.mean() if reduction == "mean" else losses

    def view_confidence(self, views: list[Tensor], labels: Tensor, space: Space = "head") -> Tensor:
        """Cosine of the two views."""
        read = self.project if space == "head" else self.embed
        return F.cosine_similarity(read(views[0]).float(), read(views[1]).float())

    def project(self, images: Tensor) -> Tensor:
        projected: Tensor = self.head(self.embed(images))
        return projected

    def heads(self) -> list[nn.Module]:
        return [self.head]
