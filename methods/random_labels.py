"""Random labels: train on, with wrong labels for the forget images and the right ones for the retain images.

Golatkar, Achille, Soatto (CVPR 2020); Graves, Nagisetty, Ganesh (AAAI 2021). By default labels are drawn anew in every
epoch, which makes the forget loss that of guessing; the preset `amnesiac` draws once and teaches one wrong label, as
the code of Graves et al. does beside their namesake method of undoing logged updates, which needs artefacts of
training. Contrastive learners have no labels: there the positive of a forget image is a view of another forget image.
"""

from dataclasses import dataclass

from benchmark.api import GradientMethod, Learner, Relabelling, UnlearningRequest, choice, prepared, register_method


@register_method(
    "random_labels",
    paper="Golatkar, Achille, Soatto, CVPR 2020; Graves, Nagisetty, Ganesh, AAAI 2021, arXiv 2010.10981",
    uses={"forget", "retain"},
    cost="10 (R + F)",
    scenarios={"random", "class", "subclass", "indices"},
    presets={
        "amnesiac": {
            "redraw": "once",
            "exclude_true": True,
            "optimizer": "adam",
            "lr": 1e-4,
            "weight_decay": 0.0,
            "epochs": 3,
            "batch_size": 128,
        },
        "once": {"redraw": "once", "exclude_true": True, "lr": 0.003, "schedule": "cosine"},
    },
    preset_scenarios={"amnesiac": {"class", "subclass"}},
    contrastive={"lr": 0.006},
    optimises={"loss", "similarity"},
)
@dataclass(frozen=True, kw_only=True)
class RandomLabels(GradientMethod):
    """Epochs of the training loss on both sets, forget images relabelled."""

    redraw: str = choice("epoch", "once")
    exclude_true: bool = True
    order: str = choice("mixed", "forget_first")
    optimizer: str = choice("sgd", "adam", "adamw")
    schedule: str = choice("constant", "onecycle", "cosine")

    def unlearn(self, learner: Learner, request: UnlearningRequest) -> Learner:
        unlearned = prepared(learner, request)
        relabelling = Relabelling(self.redraw, self.exclude_true, self.order)
        relabelling.train(unlearned, request, self.how())
        return unlearned
