"""DELETE: each forget image keeps what the original thinks of all classes but its own.

Zhou, Zheng, Mo, Lu, Lin, Zheng, "Decoupled Distillation to Erase" (CVPR 2025). The student imitates, on forget images
alone, the softmax that the frozen original would have if the label were struck out. Made for forgetting by label:
without retain images nothing but the other outputs holds the model, so random forgetting is not defined.

Batch normalisation is in training mode as in the authors' code, though batches of one class drag its statistics;
`delete[frozen]` keeps them, as they do where the forget set is one class of Tiny-ImageNet.
"""

from dataclasses import dataclass

from torch import Tensor

from benchmark.api import (
    Batch,
    GradientMethod,
    Learner,
    UnlearningRequest,
    bounded,
    choice,
    copy_of,
    kl,
    register_method,
    teacher_and_student,
)


@register_method(
    "delete",
    paper="Zhou, Zheng, Mo, Lu, Lin, Zheng, CVPR 2025, arXiv 2503.23751",
    uses={"forget"},
    cost="20 (F + f(F))",
    paradigms={"supervised"},
    scenarios={"class", "subclass"},
    presets={"frozen": {"bn_forget": "frozen"}},
    optimises={"loss", "entropy"},
)
@dataclass(frozen=True, kw_only=True)
class Delete(GradientMethod):
    """Epochs of KL(softmax of the original without the label || softmax) on forget images."""

    bn_forget: str = choice("train", "frozen")
    optimizer: str = choice("sgd", "adam", "adamw")
    lr: float = bounded(1e-4, 0.0, 0.1)
    weight_decay: float = bounded(0.0, 0.0, 0.1)
    epochs: int = bounded(20, 1, 100)
    batch_size: int = bounded(128, 2, 65536)

    def unlearn(self, learner: Learner, request: UnlearningRequest) -> Learner:
        unlearned, teacher, views = copy_of(learner), copy_of(learner), request.stream("augment/forget")

        def imitation(batch: Batch) -> Tensor:
            (view,) = unlearned.views(batch.images, views)
            goal, student = teacher_and_student(teacher, unlearned, view, self.bn_forget)
            return kl(without_label(goal, batch.labels), student)

        request.optimise(unlearned, request.forget, {"imitation": (1.0, imitation)}, self.how())
        return unlearned


def without_label(logits: Tensor, labels: Tensor) -> Tensor:
    """[n, C] the same, with each label's at -1e10: its softmax is exactly 0."""
    return logits.scatter(1, labels[:, None], -1e10)
