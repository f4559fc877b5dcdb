"""AMUN: fine-tuning on the nearest adversarial images of forget images, with the wrong labels that they were given.

Ebrahimpour-Boroojeny, Sundaram, Chandrasekaran, "Not All Wrong is Bad: Using Adversarial Examples for Unlearning"
(ICML 2025). Since these images lie as near as can be and have the label that the model itself sees there, it learns to
be less sure of forget images without a change elsewhere. Adversarial images are found once, on the original, within
the time of the method, and are not augmented. Forget images whose attack fails add none; the share is logged.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.api import (
    Batch,
    ExampleSet,
    GradientMethod,
    Learner,
    Mixture,
    UnlearningRequest,
    at_rest,
    batch_gradients,
    bounded,
    choice,
    copy_of,
    register_method,
    saliency,
    top_mask,
)

PARTS = {"all": ("retain", "forget"), "forget": ("forget",), "retain": ("retain",)}


@register_method(
    "amun",
    paper="Ebrahimpour-Boroojeny, Sundaram, Chandrasekaran, ICML 2025, arXiv 2503.00917",
    uses={"forget", "retain"},
    cost="1 to 550 (F + f(F)) + 10 (R + 2 F)",
    paradigms={"supervised"},
    scenarios={"random", "indices"},
    presets={"no_retain": {"beside": "forget"}, "salun": {"salun_density": 0.5}},
    optimises={"loss"},
)
@dataclass(frozen=True, kw_only=True)
class Amun(GradientMethod):
    """Epochs of cross-entropy on adversarial images with wrong labels, and beside them on true images as they are."""

    beside: str = choice("all", "forget", "retain")
    epsilon: float = bounded(0.04, 1e-4, 10.0)
    pgd_steps: int = bounded(50, 1, 1000)
    max_doublings: int = bounded(10, 0, 20)
    salun_density: float | None = bounded(None, 0.0, 1.0)
    decay_every: int = bounded(1, 1, 100)
    batch_size: int = bounded(128, 2, 65536)

    def reads(self) -> frozenset[str]:
        """Without retain where only forget images stand beside their adversarial ones."""
        return frozenset({"forget", *PARTS[self.beside]})

    def unlearn(self, learner: Learner, request: UnlearningRequest) -> Learner:
        unlearned, views = copy_of(learner), request.stream("augment/retain")
        true = [getattr(request, name) for name in PARTS[self.beside]]
        adversarial = self.adversarial(learner, request.forget)
        request.log.append({"epoch": 0, "attack_success": len(adversarial) / max(1, len(request.forget))})
        mask = None
        if self.salun_density is not None:
            gradients = batch_gradients(learner, request.forget, request, self.batch_size)
            mask = top_mask(saliency(gradients), self.salun_density)

        def loss(batch: Batch) -> Tensor:
            (view,) = unlearned.views(batch.images, views)
            plain = batch.part(len(true))[:, None, None, None]
            return unlearned.view_loss([torch.where(plain, batch.images, view)], batch.labels)

        mixed, order = Mixture(*true, adversarial, name="retain"), request.stream("retain")
        descent = request.descent(unlearned, self.how(), mask=mask)
        for epoch in descent.epochs():
            descent.scale_rate(0.1 ** (epoch // self.decay_every))
            descent.over(mixed, {"loss": (1.0, loss)}, order)
        return unlearned

    def adversarial(self, learner: Learner, forget: ExampleSet) -> ExampleSet:
        """The attacked images with the labels that `learner` gives them, of those whose attack succeeds."""
        found = [self.attacked(learner, batch) for batch in forget.batches(self.batch_size)]
        images, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
        wrong = labels != forget.labels
        return forget.altered(images=images[wrong], labels=labels[wrong])

    def attacked(self, learner: Learner, batch: Batch) -> tuple[Tensor, Tensor]:
        """Images [n, C, H, W] moved uphill until they are misclassified, and the labels [n] that they are given.

        Steps of a tenth of a radius, within the radius and [0, 1]; after `pgd_steps` without success it is doubled.
        """
        images = batch.images.clone()
        with at_rest(learner):
            predicted = learner.predict(images).detach().argmax(1)
            for step in range((self.max_doublings + 1) * self.pgd_steps):
                right = predicted == batch.labels
                if not right.any():
                    break
                radius = self.epsilon * 2 ** (step // self.pgd_steps)
                images[right] = uphill(learner, images[right], batch.images[right], batch.labels[right], radius)
                predicted[right] = learner.predict(images[right]).detach().argmax(1)
        return images, predicted


def uphill(learner: Learner, images: Tensor, centres: Tensor, labels: Tensor, radius: float) -> Tensor:
    """A tenth of `radius` along the gradient of the loss, then back into the ball round `centres` and into [0, 1]."""
    at = images.detach().requires_grad_()
    (slope,) = torch.autograd.grad(learner.view_loss([at], labels, "none").sum(), at)
    away = images + radius / 10 * slope / norms(slope).clamp(min=1e-30) - centres
    return (centres + away * (radius / norms(away).clamp(min=1e-30)).clamp(max=1)).clamp(0, 1)


def norms(images: Tensor) -> Tensor:
    """[n, 1, 1, 1] Euclidean norms."""
    lengths: Tensor = torch.linalg.vector_norm(images, dim=(1, 2, 3), keepdim=True)
    return lengths
