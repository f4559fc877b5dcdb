"""MoCo: a query attracts its key from a momentum encoder and repels a queue of older keys.

He et al., CVPR 2020 (1911.05722), with the two-layer head of its second version. On one device there is no batch
to shuffle, so ShuffleBN is left out. Keys enter the queue after the optimiser step, never before.
"""

from collections.abc import Iterator

import torch
import torch.nn as nn
import torch.nn.functional as F
from lightly.models.modules import MoCoProjectionHead
from torch import Generator, Tensor

from benchmark.api import register_learner
from benchmark.learners.base import Learner, Reduction, Space, follow, frozen_statistics, momentum_copy, width_of
from benchmark.learners.views import ViewPolicy


@register_learner("moco", description="momentum keys and a queue", paper="He et al., CVPR 2020, arXiv 1911.05722")
class MoCo(Learner):
    paradigm = "moco"
    view_count = 2
    needs_full_batches = True
    queue: Tensor
    queue_state: Tensor
    temperature: float

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
        queue_size: int = 4096,
        momentum: float = 0.99,
    ) -> None:
        super().__init__(encoder, policy, mean, std)
        self.num_classes = num_classes
        self.temperature = temperature
        self.momentum = momentum
        self.head = MoCoProjectionHead(width_of(encoder), hidden, projection)
        self.key_encoder = momentum_copy(encoder)
        self.key_head = momentum_copy(self.head)
        self.register_buffer("queue", F.normalize(torch.randn(queue_size, projection)))
        self.register_buffer("queue_state", torch.tensor([0, queue_size]))  # where to write next, how many are valid
        self._step_keys: Tensor | None = None

    def view_loss(self, views: list[Tensor], labels: Tensor, reduction: Reduction = "mean") -> Tensor:
        query = F.normalize(self.project(views[0]).float())
        key = self._key(views[1])
        positive = (query * key).sum(1, keepdim=True)
        negatives = self.queue[: int(self.queue_state[1])].clone()
        logits = torch.cat([positive, query @ negatives.T], dim=1) / self.temperature
        if self.training and self.remembers_keys and torch.is_grad_enabled():
            self._step_keys = key
        return F.cross_entropy(logits, torch.zeros_like(labels), reduction=reduction)

    def view_confidence(self, views: list[Tensor], labels: Tensor, space: Space = "head") -> Tensor:
        """Cosine of the query of view 1 and the key of view 2, which takes no gradient."""
        if space == "head":
            return (F.normalize(self.project(views[0]).float()) * self._key(views[1])).sum(1)
        with torch.no_grad():
            other = self.key_encoder(self.normalise(views[1]))
        return F.cosine_similarity(self.embed(views[0]).float(), other.float())

    def project(self, images: Tensor) -> Tensor:
        projected: Tensor = self.head(self.embed(images))
        return projected

    def heads(self) -> list[nn.Module]:
        return [self.head]

    def targets(self) -> list[tuple[nn.Module, nn.Module]]:
        return [(self.encoder, self.key_encoder), (self.head, self.key_head)]

    def after_step(self) -> None:
        for online, target in self.targets():
            follow(online, target, self.momentum)
        if self._step_keys is not None:
            self._enqueue(self._step_keys)
            self._step_keys = None

    def keep_keys(self, rows: Tensor) -> None:
        if self._step_keys is not None:
            self._step_keys = self._step_keys[rows]

    @torch.no_grad()
    def rebuild_memory(self, images: Iterator[Tensor], generator: Generator) -> None:
        self.clear_memory()
        was_training = self.training
        self.eval()
        with frozen_statistics(self):
            for batch in images:
                self._enqueue(self._key(self.policy(batch, generator)))
                if int(self.queue_state[1]) == len(self.queue):
                    break
        self.train(was_training)

    def clear_memory(self) -> None:
        self._step_keys = None
        self.queue.zero_()
        self.queue_state.zero_()

    @torch.no_grad()
    def _key(self, view: Tensor) -> Tensor:
        """[N, P] unit keys of the momentum network."""
        return F.normalize(self.key_head(self.key_encoder(self.normalise(view))).float())

    def _enqueue(self, keys: Tensor) -> None:
        """Write keys round the ring, oldest first overwritten."""
        size, start = len(self.queue), int(self.queue_state[0])
        keys = keys[-size:]
        where = (start + torch.arange(len(keys), device=keys.device)) % size
        self.queue[where] = keys.to(self.queue.dtype)
        self.queue_state[0] = (start + len(keys)) % size
        self.queue_state[1] = min(size, int(self.queue_state[1]) + len(keys))
