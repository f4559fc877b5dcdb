"""UNSIR: noise that maximises the loss of the forgotten class impairs the model, retain images repair it.

Tarun, Chundawat, Mandal, Kankanhalli, "Fast Yet Effective Machine Unlearning" (IEEE TNNLS 2023). No forget image is
read: which classes must go is seen from their absence in retain, so it is defined for forgotten classes alone. Noise
is what the network sees after normalisation, as in the authors' notebooks; it is not augmented.

Their code uses three noise images of each batch, an accident of a loop over channels: `noise_per_batch = 3` does so.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.api import (
    Batch,
    ExampleSet,
    Learner,
    Method,
    Mixture,
    Optimisation,
    UnlearningRequest,
    at_rest,
    bounded,
    copy_of,
    register_method,
)


@register_method(
    "unsir",
    paper="Tarun, Chundawat, Mandal, Kankanhalli, IEEE TNNLS 2023, arXiv 2111.08947",
    uses={"retain"},
    cost="40 steps on 256 noise images a class, then 2 R (at most 1000 images a class) with 20 x the noise",
    paradigms={"supervised"},
    scenarios={"class"},
    presets={
        "small_steps": {
            "noise_images": 32,
            "noise_steps": 25,
            "repeats": 80,
            "per_class": 500,
            "impair_lr": 1e-4,
            "repair_lr": 1e-4,
            "batch_size": 128,
        }
    },
)
@dataclass(frozen=True, kw_only=True)
class Unsir(Method):
    """Learn noise, one epoch on noise and some retain images, one epoch on these retain images alone."""

    noise_images: int = bounded(256, 1, 4096)
    noise_per_batch: int | None = bounded(None, 1, 4096)
    noise_lr: float = bounded(0.1, 0.0, 10.0)
    noise_steps: int = bounded(40, 0, 400)
    repeats: int = bounded(20, 1, 80)
    per_class: int = bounded(1000, 1, 10**6)
    impair_lr: float = bounded(0.02, 0.0, 0.05)
    repair_lr: float = bounded(0.01, 0.0, 0.05)
    batch_size: int = bounded(256, 2, 65536)

    def unlearn(self, learner: Learner, request: UnlearningRequest) -> Learner:
        unlearned = copy_of(learner)
        subset, gone = self.some_of_each_class(request)
        noise, shape = request.stream("noise"), request.retain.take(torch.tensor([0])).images.shape[1:]
        parts = []
        for label in gone:
            images = self.learned_noise(learner, label, torch.randn(self.noise_images, *shape, generator=noise))
            images = images[: self.noise_per_batch]
            labels = torch.full((len(images),), label)
            parts.append(request.retain.altered(images=images, labels=labels, name="noise"))
        mixed = Mixture(subset, *(parts * self.repeats), name="impair")
        self._epoch(unlearned, mixed, "impair", self.impair_lr, request)
        self._epoch(unlearned, subset, "repair", self.repair_lr, request)
        return unlearned

    def some_of_each_class(self, request: UnlearningRequest) -> tuple[ExampleSet, list[int]]:
        """At most `per_class` images of each class that is left, and the classes that are not."""
        labels, drawn = request.retain.labels.cpu(), request.stream("subset")
        classes = sorted(set(labels.tolist()))
        places = [(labels == label).nonzero().squeeze(1) for label in classes]
        chosen = [own[torch.randperm(len(own), generator=drawn)[: self.per_class]] for own in places]
        gone = sorted(set(range(request.num_classes)) - set(classes))
        return request.retain.altered(positions=torch.cat(chosen)), gone

    def learned_noise(self, learner: Learner, label: int, start: Tensor) -> Tensor:
        """Images [n, C, H, W] that a frozen `learner` sees as noise, far from `label`: Adam on `noise_loss`."""
        noise = start.to(learner.mean.device).clone().requires_grad_()
        adam = torch.optim.Adam([noise], self.noise_lr)
        for _ in range(self.noise_steps):
            (noise.grad,) = torch.autograd.grad(noise_loss(learner, noise, label), noise)
            adam.step()
        return pixels(learner, noise.detach())

    def _epoch(
        self, unlearned: Learner, examples: ExampleSet, name: str, lr: float, request: UnlearningRequest
    ) -> None:
        how = Optimisation(optimizer="adam", lr=lr, epochs=1, batch_size=self.batch_size)
        drawn = request.stream(f"augment/{name}")

        def loss(batch: Batch) -> Tensor:
            (view,) = unlearned.views(batch.images, drawn)
            if batch.origin is not None:
                view = torch.where((batch.origin > 0)[:, None, None, None], batch.images, view)
            return unlearned.view_loss([view], batch.labels)

        request.optimise(unlearned, examples, {name: (1.0, loss)}, how)


def noise_loss(learner: Learner, noise: Tensor, label: int) -> Tensor:
    """-cross-entropy towards `label` + 0.1 * mean squared norm of the noise."""
    with at_rest(learner):
        logits = learner.predict(pixels(learner, noise)).float()
    labels = torch.full((len(noise),), label, device=noise.device)
    return -F.cross_entropy(logits, labels) + 0.1 * noise.square().flatten(1).sum(1).mean()


def pixels(learner: Learner, noise: Tensor) -> Tensor:
    """What normalisation turns into `noise`."""
    return noise * learner.std + learner.mean
