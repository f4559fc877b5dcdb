"""BYOL: an online network predicts the projection of a slowly following target.

Grill et al., NeurIPS 2020, arXiv 2006.07733.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from lightly.models.modules import BYOLPredictionHead, BYOLProjectionHead
from torch import Tensor

from benchmark.api import register_learner
from benchmark.learners.base import Learner, Reduction, Space, follow, momentum_copy, width_of
from benchmark.learners.views import ViewPolicy


@register_learner("byol", description="predicts a slow target", paper="Grill et al., NeurIPS 2020, arXiv 2006.07733")
class BYOL(Learner):
    paradigm = "byol"
    view_count = 2
    needs_full_batches = True

    def __init__(
        self,
        encoder: nn.Module,
        policy: ViewPolicy,
        mean: Tensor,
        std: Tensor,
        num_classes: int,
        hidden: int = 128,
        projection: int = 64,
        momentum: float = 0.99,
    ) -> None:
        super().__init__(encoder, policy, mean, std)
        self.num_classes = num_classes
        self.momentum = momentum
        self.projector = BYOLProjectionHead(width_of(encoder), hidden, projection)
        self.predictor = BYOLPredictionHead(projection, hidden, projection)
        self.target_encoder = momentum_copy(encoder)
        self.target_projector = momentum_copy(self.projector)

    def view_loss(self, views: list[Tensor], labels: Tensor, reduction: Reduction = "mean") -> Tensor:
        """Mean over both directions of 2 - 2 cos, so 0 to 4."""
        cosines = (self._agreement(views[0], views[1]) + self._agreement(views[1], views[0])) / 2
        losses = 2 - 2 * cosines
        return losses.mean() if reduction == "mean" else losses

    def view_confidence(self, views: list[Tensor], labels: Tensor, space: Space = "head") -> Tensor:
        """Cosine of the prediction from view 1 and the target of view 2, which takes no gradient."""
        if space == "head":
            return self._agreement(views[0], views[1])
        with torch.no_grad():
            other = self.target_encoder(self.normalise(views[1]))
        return F.cosine_similarity(self.embed(views[0]).float(), other.float())

    def project(self, images: Tensor) -> Tensor:
        projected: Tensor = self.projector(self.embed(images))
        return projected

    def heads(self) -> list[nn.Module]:
        return [self.projector, self.predictor]

    def targets(self) -> list[tuple[nn.Module, nn.Module]]:
        return [(self.encoder, self.target_encoder), (self.projector, self.target_projector)]

    def after_step(self) -> None:
        for online, target in self.targets():
            follow(online, target, self.momentum)

    def _agreement(self, predicted_from: Tensor, target_of: Tensor) -> Tensor:
        """[N] cosines of the online prediction from one view and the target projection of the other."""
        prediction = self.predictor(self.project(predicted_from)).float()
        with torch.no_grad():
            target = self.target_projector(self.target_encoder(self.normalise(target_of))).float()
        return F.cosine_similarity(prediction, target)
