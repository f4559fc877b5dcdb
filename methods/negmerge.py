"""NegMerge: a pool of models is fine-tuned on forget, and what all of them agree on is subtracted from the weights.

Kim, Han, Choe (ICML 2025, arXiv 2410.05583), after the negated task vectors of Ilharco et al. (ICLR 2023, arXiv
2212.04089). A task vector is a fine-tuned model minus the original; entries whose sign differs between models of the
pool are noise of fine-tuning and become 0, the others are averaged over the whole pool. The pool for ResNets is
second-hand (their appendix, quoted by others): three lengths, weight decays and label smoothings, here in an order in
which the first 3 differ in everything and the first 9 meet in every pair.

Ours: the coefficient is the one at which accuracies on forget and third party are closest (theirs keeps 95 % of a
control accuracy); running statistics stay unless `buffers` says otherwise, and move at all only with `bn_forget`
"train"; every model of the pool draws its own order and views. Encoders are fine-tuned by their own loss, without
smoothing, and compare confidences in the place of accuracies.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.api import (
    Batch,
    ExampleSet,
    Learner,
    Method,
    Optimisation,
    UnlearningRequest,
    bounded,
    choice,
    copy_of,
    edit_weights,
    frozen_statistics,
    logits_over,
    optimise,
    register_method,
    weights_of,
)

LENGTHS, DECAYS, SMOOTHINGS = (0.8, 1.0, 1.2), (1e-4, 5e-5, 1e-5), (0.0, 0.05, 0.1)
COEFFICIENTS = [step / 20 for step in range(1, 21)]


@register_method(
    "negmerge",
    paper="Kim, Han, Choe, ICML 2025, arXiv 2410.05583",
    uses={"forget", "third_party"},
    scenarios={"random", "class", "indices"},
    contrastive={"pool_size": 9, "lr": 0.006},
    optimises={"loss", "similarity"},
)
@dataclass(frozen=True, kw_only=True)
class NegMerge(Method):
    """Original weights - coefficient * consensus of the pool; a coefficient that is given needs no third party."""

    coefficient: float | None = bounded(None, 0.0, 10.0)
    pool_size: int = bounded(27, 1, 27)
    buffers: str = choice("keep", "include")
    bn_forget: str = choice("frozen", "train")
    lr: float = bounded(0.05, 0.0, 1.0)
    momentum: float = bounded(0.9, 0.0, 0.999)
    epochs: int = bounded(50, 1, 1000)
    batch_size: int = bounded(256, 2, 65536)

    def reads(self) -> frozenset[str]:
        return frozenset({"forget"} | ({"third_party"} if self.coefficient is None else set()))

    def unlearn(self, learner: Learner, request: UnlearningRequest) -> Learner:
        direction = consensus(self._task_vector(learner, request, number) for number in range(self.pool_size))
        coefficient = self.coefficient
        if coefficient is None:
            coefficient = min(COEFFICIENTS, key=lambda c: _gap(_negated(learner, direction, c), request))
        request.log.append({"coefficient": coefficient})
        return _negated(learner, direction, coefficient)

    def _task_vector(self, learner: Learner, request: UnlearningRequest, number: int) -> dict[str, Tensor]:
        """What fine-tuning changes with the pool's settings of this number."""
        model, views = copy_of(learner), request.stream(f"augment/forget/{number}")
        length, decay, smoothing = settings(number)

        def loss(batch: Batch) -> Tensor:
            with frozen_statistics(model, self.bn_forget == "frozen"):
                drawn = model.views(batch.images, views)
                if model.paradigm != "supervised":
                    return model.view_loss(drawn, batch.labels)
                return F.cross_entropy(model.predict(drawn[0]).float(), batch.labels, label_smoothing=smoothing)

        how = Optimisation(
            lr=self.lr,
            momentum=self.momentum,
            weight_decay=decay,
            epochs=max(1, round(length * self.epochs)),
            batch_size=self.batch_size,
        )
        rows: list[dict[str, float]] = []
        order = request.stream(f"forget/{number}")
        optimise(model, request.forget, {"loss": (1.0, loss)}, how, order=order, recipe=request.recipe, log=rows)
        request.log.append({**rows[-1], "model": number})
        if request.progress is not None:
            request.progress(number + 1, self.pool_size)
        before = self._state(learner)
        return {name: value - before[name] for name, value in self._state(model).items()}

    def _state(self, learner: Learner) -> dict[str, Tensor]:
        running = {name: value for name, value in learner.named_buffers() if "running_" in name}
        return weights_of(learner) | ({n: v.clone() for n, v in running.items()} if self.buffers == "include" else {})


def settings(number: int) -> tuple[float, float, float]:
    """Length, weight decay and label smoothing of one of the pool's 27 models."""
    ones, threes, nines = number % 3, number // 3, number // 9
    return LENGTHS[ones], DECAYS[(ones + threes) % 3], SMOOTHINGS[(ones + 2 * threes + nines) % 3]


def consensus(vectors: Iterable[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of task vectors where all their signs agree, else 0; a zero agrees with nothing."""
    total: dict[str, Tensor] = {}
    signs: dict[str, Tensor] = {}
    count = 0
    for count, vector in enumerate(vectors, start=1):  # noqa: B007
        for name, value in vector.items():
            total[name] = total[name] + value if name in total else value
            signs[name] = signs[name] + value.sign() if name in signs else value.sign()
    return {name: torch.where(signs[name].abs() == count, value / count, 0.0) for name, value in total.items()}


@torch.no_grad()
def _negated(learner: Learner, direction: dict[str, Tensor], coefficient: float) -> Learner:
    unlearned = copy_of(learner)
    edit_weights(unlearned, lambda name, weight: weight - coefficient * direction[name])
    for name, value in unlearned.named_buffers():
        if name in direction:
            value.sub_(coefficient * direction[name])
            if name.endswith("running_var"):
                value.clamp_(min=1e-5)
    unlearned.clear_memory()  # it holds keys of forget images, and there are no retain images to refill it from
    return unlearned


@torch.no_grad()
def _gap(candidate: Learner, request: UnlearningRequest) -> float:
    """How far apart accuracies (encoders: mean confidences) on forget and third party are."""

    def reading(examples: ExampleSet) -> float:
        if candidate.paradigm == "supervised":
            return float((logits_over(candidate, examples).argmax(1) == examples.labels).float().mean())
        views = request.stream("augment/search")
        found = [candidate.confidence(b.images, b.labels, views) for b in examples.batches(256)]
        return float(torch.cat(found).mean())

    return abs(reading(request.forget) - reading(request.third_party))
