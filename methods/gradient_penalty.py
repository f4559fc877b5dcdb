"""The two-term predecessor of gradient_constraint: the training loss on members plus a penalty on input gradients.

A reconstruction of Wang, Chen, "Machine Unlearning in Contrastive Learning", arXiv 2405.07317, 2024 ("EncoderMU",
SPNCE 2023). Its equations were not seen; what its abstract leaves open is an option, our default first.
"""

from dataclasses import dataclass

from torch import Tensor

from benchmark.api import (
    Batch,
    ExampleSet,
    GradientPenaltyTerm,
    GradientReading,
    Learner,
    Method,
    Term,
    UnlearningRequest,
    bounded,
    choice,
    copy_of,
    frozen_statistics,
    optimisation_of,
    register_method,
    remember_only,
)


@register_method(
    "gradient_penalty",
    paper="reconstruction of Wang, Chen, arXiv 2405.07317, 2024",
    uses={"forget", "retain", "third_party"},
    cost="10 (R + d(R/2))",
    scenarios={"random", "class", "subclass", "indices"},
    presets={"third_party": {"interpolate": "third_party"}, "members_forget": {"members_train": "forget"}},
    contrastive={"scalar": "pos_cosine", "penalty": 10.0},
)
@dataclass(frozen=True, kw_only=True)
class GradientPenalty(Method):
    """loss on members + penalty * mean (|grad s| - c)^2 on forget images, or between them and third-party images."""

    penalty: float = bounded(1.0, 0.0, 1000.0)
    members_train: str = choice("retain", "forget", "all")
    members_gp: str = choice("forget", "all")
    interpolate: str = choice("none", "third_party")
    scalar: str = choice("margin", "log_odds", "max_prob", "logit_sum", "pos_cosine", "neg_infonce", "output_sum")
    scalar_space: str = choice("head", "encoder")
    gp_wrt: str = choice("input", "feature")
    gp_target: str = choice("zero", "one")
    pixel_space: str = choice("normalised", "raw")
    bn_gp: str = choice("frozen", "train")
    optimizer: str = choice("adam", "sgd", "adamw")
    schedule: str = choice("onecycle", "constant", "cosine")
    lr: float = bounded(3e-3, 1e-6, 0.1)
    momentum: float = bounded(0.9, 0.0, 0.999)
    weight_decay: float = bounded(0.0, 0.0, 0.1)
    epochs: int = bounded(10, 1, 100)
    batch_size: int = bounded(64, 2, 65536)
    forget_batch_size: int = bounded(32, 2, 65536)

    def reads(self) -> frozenset[str]:
        """Third-party images only as partners."""
        partner = {"third_party"} if self.interpolate == "third_party" and self.penalty else set()
        return frozenset({"forget", "retain"} | partner)

    def refuses(self, paradigm: str) -> str | None:
        return self._reading().refusal(paradigm)

    def unlearn(self, learner: Learner, request: UnlearningRequest) -> Learner:
        unlearned = copy_of(learner)
        remember_only(unlearned, request.retain, request.stream("memory"))
        forget, retain = request.forget, request.retain
        share = len(forget) / (len(forget) + len(retain))  # of forget images among all members
        on_forget = {"retain": 0.0, "forget": 1.0, "all": share}[self.members_train]
        gp_on_retain = 1 - share if self.members_gp == "all" else 0.0
        members = forget if self.members_train == "forget" else retain
        objective: dict[str, tuple[float, Term]] = {
            "utility": (1.0 if members is forget else 1 - on_forget, self._utility(unlearned, members, request)),
            "forget_utility": (on_forget if members is retain else 0.0, self._fit(unlearned, forget, request)),
        }
        if self.penalty:
            objective |= {
                "gradient": (self.penalty * (1 - gp_on_retain), self._penalty(unlearned, forget, request)),
                "retain_gradient": (self.penalty * gp_on_retain, self._penalty(unlearned, retain, request)),
            }
        request.optimise(unlearned, members, objective, optimisation_of(self))
        return unlearned

    def _utility(self, unlearned: Learner, members: ExampleSet, request: UnlearningRequest) -> Term:
        """The training loss on the step's batch; keys of forget images are not remembered."""
        views = request.stream(f"augment/{members.name}")

        def term(batch: Batch) -> Tensor:
            if members is request.retain:
                return unlearned.loss(batch.images, batch.labels, views)
            with frozen_statistics(unlearned, batch_norm=False):
                return unlearned.loss(batch.images, batch.labels, views)

        return term

    def _reading(self) -> GradientReading:
        return GradientReading(self.scalar, self.scalar_space, self.gp_wrt, self.pixel_space, self.bn_gp)

    def _penalty(self, unlearned: Learner, members: ExampleSet, request: UnlearningRequest) -> Term:
        partner = request.third_party if self.interpolate == "third_party" else None
        target = 0.0 if self.gp_target == "zero" else 1.0
        return GradientPenaltyTerm(
            self._reading(), unlearned, request, members, partner, self.forget_batch_size, target
        )

    def _fit(self, unlearned: Learner, forget: ExampleSet, request: UnlearningRequest) -> Term:
        """The training loss on forget images, for the readings that keep fitting them; no key is remembered."""
        batches = forget.stream(self.forget_batch_size, request.stream("forget"))
        views = request.stream("augment/forget")

        def term(_batch: object) -> Tensor:
            batch = next(batches)
            with frozen_statistics(unlearned, batch_norm=False):
                return unlearned.loss(batch.images, batch.labels, views)

        return term
