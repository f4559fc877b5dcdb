"""KDE: the first convolution and the classifier are reset, then taught by the original, on images it never saw first.

A solution of the NeurIPS 2023 unlearning challenge, after its port in Cadet et al., "Deep Unlearn" (arXiv 2410.01276,
2024). What the ends of the network knew of single images is gone; they learn again to answer as the original does at a
temperature, on third-party images (there the competition's validation set), whose labels are not read, and then on
retain beside the labels. Soft cross-entropy and KL differ by the teacher's entropy, a constant, so the second stage
pulls twice. Teacher and student see the same view, the teacher in evaluation mode.
"""

from dataclasses import dataclass

import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from benchmark.api import (
    Batch,
    GradientMethod,
    Learner,
    UnlearningRequest,
    bounded,
    copy_of,
    kl,
    register_method,
    replace_parts,
    teacher_and_student,
)


@register_method(
    "distil_reset",
    paper="NeurIPS 2023 unlearning challenge; Cadet et al., arXiv 2410.01276, 2024",
    uses={"retain", "third_party"},
    cost="3 (T + f(T)) + 3 (R + f(R))",
    paradigms={"supervised"},
    scenarios={"random", "indices"},
)
@dataclass(frozen=True, kw_only=True)
class DistilReset(GradientMethod):
    """Fresh ends; KL to the original on third party, then cross-entropy + soft cross-entropy + KL on retain."""

    temperature: float = bounded(5.0, 0.5, 5.0)
    warmup_lr: float = bounded(9e-4, 1e-5, 0.1)
    warmup_epochs: int = bounded(3, 1, 37)
    lr: float = bounded(1e-3, 1e-5, 0.1)
    epochs: int = bounded(3, 1, 37)
    batch_size: int = bounded(64, 2, 65536)

    def unlearn(self, learner: Learner, request: UnlearningRequest) -> Learner:
        unlearned, teacher = copy_of(learner), copy_of(learner)
        replace_parts(unlearned, ends(unlearned), request.untrained())
        views = {name: request.stream(f"augment/{name}") for name in ("third_party", "retain")}

        def logits(batch: Batch, name: str) -> tuple[Tensor, Tensor]:
            (drawn,) = unlearned.views(batch.images, views[name])
            return teacher_and_student(teacher, unlearned, drawn)

        def imitation(batch: Batch) -> Tensor:
            return kl(*logits(batch, "third_party"), self.temperature)

        def lesson(batch: Batch) -> Tensor:
            goal, student = logits(batch, "retain")
            soft = soft_cross_entropy(goal, student, self.temperature)
            return F.cross_entropy(student, batch.labels) + soft + kl(goal, student, self.temperature)

        warmup = self.how(lr=self.warmup_lr, epochs=self.warmup_epochs)
        request.optimise(unlearned, request.third_party, {"imitation": (1.0, imitation)}, warmup)
        request.optimise(unlearned, request.retain, {"lesson": (1.0, lesson)}, self.how(schedule="cosine"))
        return unlearned


def ends(learner: Learner) -> list[nn.Module]:
    """The encoder's first convolution and the classifier."""
    return [next(m for m in learner.encoder.modules() if isinstance(m, nn.Conv2d)), *learner.heads()]


def soft_cross_entropy(teacher_logits: Tensor, student_logits: Tensor, temperature: float) -> Tensor:
    """Mean cross-entropy of the student's softmax with the teacher's, both at a temperature."""
    return F.cross_entropy(student_logits / temperature, (teacher_logits / temperature).softmax(1))
