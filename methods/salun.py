"""SalUn: random labels, but only the weights that matter most to the forget set may move.

Fan et al. (ICLR 2024). The saliency of a weight is the absolute value of its summed gradient over the forget set at the
original model. Weights outside the mask are put back after every step, so that neither momentum nor weight decay moves
them, as the authors' code does since 2026. The preset `soft` has no mask: after every step all weights are shrunk
towards the original by what makes a falling share of them return to it. On contrastive learners forget images get wrong
positives, or with `objective = "ascent"` steps up their loss alternate with steps down the retain loss.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.api import (
    Descent,
    GradientMethod,
    Learner,
    Relabelling,
    UnlearningRequest,
    batch_gradients,
    bounded,
    choice,
    loss_term,
    prepared,
    register_method,
    saliency,
    top_mask,
    utility,
    weights_of,
)


@register_method(
    "salun",
    paper="Fan, Liu, Zhang, Wong, Wei, Liu, ICLR 2024, arXiv 2310.12508",
    uses={"forget", "retain"},
    cost="F + 10 (R + F)",
    presets={"soft": {"mask": "soft", "lr": 5e-4}},
    contrastive={"lr": 0.006},
    optimises={"loss", "similarity"},
)
@dataclass(frozen=True, kw_only=True)
class SalUn(GradientMethod):
    """Wrong answers on forget beside right ones on retain, within a mask."""

    mask: str = choice("hard", "soft")
    density: float = bounded(0.5, 0.0, 1.0)
    rho: float = bounded(0.1, 0.0, 1.0)
    objective: str = choice("relabel", "ascent")
    redraw: str = choice("epoch", "once")
    exclude_true: bool = True
    order: str = choice("mixed", "forget_first")
    bn_forget: str = choice("frozen", "train")
    optimizer: str = choice("sgd", "adam", "adamw")
    schedule: str = choice("constant", "onecycle", "cosine")
    lr: float = bounded(0.013, 0.0, 1.0)

    def refuses(self, paradigm: str) -> str | None:
        if self.objective == "ascent" and paradigm == "supervised":
            return "objective = 'ascent' is for encoders; classifiers are relabelled"
        return None

    def unlearn(self, learner: Learner, request: UnlearningRequest) -> Learner:
        unlearned = prepared(learner, request)
        how, ascends = self.how(), self.objective == "ascent"
        relabelling = Relabelling(self.redraw, self.exclude_true, "forget_first" if ascends else self.order)
        steps = relabelling.steps(unlearned, request, how)
        options: dict[str, Any] = {}
        if self.mask == "soft":
            options["project"] = shrinking(unlearned, self.rho, how.epochs * steps)
        else:
            gradients = batch_gradients(unlearned, request.forget, request, self.batch_size, drop_last=False)
            options["mask"] = top_mask(saliency(gradients), self.density)
        if ascends:
            self._alternate(unlearned, request, request.descent(unlearned, how, steps, **options))
        else:
            relabelling.train(unlearned, request, how, **options)
        return unlearned

    def _alternate(self, unlearned: Learner, request: UnlearningRequest, descent: Descent) -> None:
        """A step up on a forget batch and a step down on a retain batch in turn, each set once an epoch."""
        forget_order, order = request.stream("forget"), request.stream("retain")
        up = loss_term(unlearned, request.stream("augment/forget"), self.bn_forget, remember=False)
        down = utility(unlearned, request)
        for _ in descent.epochs():
            forget = request.forget.batches(self.batch_size, forget_order, drop_last=True)
            for batch in request.retain.batches(self.batch_size, order, drop_last=True):
                if (forgotten := next(forget, None)) is not None:
                    descent.step(forgotten, {"ascent": (-1.0, up)})
                descent.step(batch, down)


def shrinking(unlearned: Learner, rho: float, total: int) -> Callable[[int], None]:
    """Soft-threshold all n changes since now by the floor(rho n (1 - t / total))-th smallest; t counts steps."""
    start = weights_of(unlearned)

    @torch.no_grad()
    def project(done: int) -> None:
        changes: dict[str, Tensor] = {name: p - start[name] for name, p in unlearned.trainable()}
        sizes = torch.cat([change.abs().flatten() for change in changes.values()])
        rank = int(rho * len(sizes) * (1 - done / total))
        if rank > 0:
            tau = sizes.kthvalue(rank).values
            for name, parameter in unlearned.trainable():
                parameter.copy_(start[name] + F.softshrink(changes[name], float(tau)))

    return project
