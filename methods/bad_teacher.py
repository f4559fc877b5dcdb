"""Bad teaching: imitate an untrained network on the forget set and the original on retain images.

Chundawat et al. (AAAI 2023). The incompetent teacher is a fresh learner of the same architecture whose batch
normalisation has seen nothing; a share of the retain set, drawn once, keeps the student competent. No labels are read.
On contrastive learners the student takes over the random network's similarities between forget images and the
original's features of retain images, our adaptation: features of a random network are nearly parallel, so imitating
them one by one would make forget images more alike.
"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from benchmark.api import (
    Batch,
    GradientMethod,
    Learner,
    Mixture,
    Term,
    UnlearningRequest,
    answers,
    bounded,
    choice,
    frozen_statistics,
    kl,
    pointwise_distance,
    prepared,
    register_method,
    relational_distance,
)


@register_method(
    "bad_teacher",
    paper="Chundawat, Tarun, Mandal, Kankanhalli, AAAI 2023, arXiv 2205.08096",
    uses={"forget", "retain"},
    cost="F + 0.3 R + f(F + 0.3 R)",
    scenarios={"random", "class", "subclass", "indices"},
    presets={
        "all_retain": {
            "share": 1.0,
            "optimizer": "sgd",
            "lr": 0.02,
            "momentum": 0.9,
            "weight_decay": 5e-4,
            "schedule": "cosine",
            "epochs": 10,
        },
    },
    optimises={"loss", "entropy", "features"},
)
@dataclass(frozen=True, kw_only=True)
class BadTeacher(GradientMethod):
    """KL(teacher || student) over batches of both sets, each with its own teacher."""

    share: float = bounded(0.3, 0.0, 1.0)
    temperature: float = bounded(1.0, 0.1, 100.0)
    bn: str = choice("train", "frozen")
    optimizer: str = choice("adam", "sgd", "adamw")
    schedule: str = choice("constant", "onecycle", "cosine")
    lr: float = bounded(1e-4, 0.0, 0.1)
    weight_decay: float = bounded(0.0, 0.0, 0.1)
    epochs: int = bounded(1, 1, 100)

    def unlearn(self, learner: Learner, request: UnlearningRequest) -> Learner:
        unlearned = prepared(learner, request)
        some = torch.randperm(len(request.retain), generator=request.stream("subset"))
        kept = request.retain.altered(positions=some[: int(self.share * len(some))])
        imitation = self._imitation(request.untrained().eval(), learner, unlearned, request.stream("augment/retain"))
        examples = Mixture(request.forget, kept, name="retain")
        request.optimise(unlearned, examples, {"imitation": (1.0, imitation)}, self.how())
        return unlearned

    def _imitation(self, bad: Learner, good: Learner, unlearned: Learner, views: Generator) -> Term:
        """The distances of both parts of a batch, each in proportion to its images."""
        supervised = unlearned.paradigm == "supervised"
        on_forget, on_retain = (self._kl, self._kl) if supervised else (relational_distance, pointwise_distance)

        def term(batch: Batch) -> Tensor:
            view, forgotten = unlearned.policy(batch.images, views), batch.part(0)
            with frozen_statistics(unlearned, self.bn == "frozen"):
                student = answers(unlearned, unlearned.embed(view))
            distances = []
            for teacher, rows, distance in ((bad, forgotten, on_forget), (good, ~forgotten, on_retain)):
                if rows.any():
                    with torch.no_grad():
                        goal = answers(teacher, teacher.embed(view[rows]))
                    distances.append(rows.float().mean() * distance(goal, student[rows]))
            return torch.stack(distances).sum()

        return term

    def _kl(self, teacher: Tensor, student: Tensor) -> Tensor:
        return kl(teacher, student, self.temperature)
