"""NegMerge: a pool of models is fine-tuned on forget, and what all of them agree on is subtracted from the weights.

Kim, Han, Choe (ICML 2025, arXiv 2410.05583), after the negated task vectors of Ilharco et al. (ICLR 2023, arXiv
2212.04089). A task vector is a fine-tuned model minus the original; entries whose sign differs between models of the
pool are noise of fine-tuning and become 0, the others are averaged over the whole pool. The pool for ResNets is
second-hand (their appendix, quoted by others): three lengths, weight decays and label smoothings, here in an order in
which the first 3 differ in everything and the first 9 meet in every pair.

Ours: the coefficient is the one at which accuracies on forget and third party are closest (theirs keeps 95 % of a
control accuracy); running statistics stay unless `buffers` says otherwise, and move at all only with `bn_forget`
"train"; every model of the pool draws its own order and views. Encoders are fine-tuned by their own loss, without
smoothing, and compare confidences in the place of accuracies. A model that diverges has no task vector: it is logged
and left out, as runs of a sweep are, and where it is most of them the method has diverged.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.api import (
    Batch,
    Diverged,
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
    optimise_apart,
    register_method,
    weights_of,
)

LENGTHS, DECAYS, SMOOTHINGS = (0.8, 1.0, 1.2), (1e-4, 5e-5, 1e-5), (0.0, 0.05, 0.1)
COEFFICIENTS = [step / 20 for step in range(1, 21)]


@register_method(
    "negmerge",
    paper="Kim, Han, Choe, ICML 2025, arXiv 2410.05583",
    uses={"forget", "third_party"},
    cost="27 x 50 F + 20 f(F + T)",
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
        direction = consensus(self._task_vectors(learner, request))
        coefficient = self.coefficient
        if coefficient is None:
            coefficient = min(COEFFICIENTS, key=lambda c: _gap(_negated(learner, direction, c), request))
        request.log.append({"coefficient": coefficient})
        return _negated(learner, direction, coefficient)

    def _task_vectors(self, learner: Learner, request: UnlearningRequest) -> Iterator[dict[str, Tensor]]:
        """What fine-tuning changes, of each model of the pool that is finite in the end."""
        before, left = self._state(learner), 0
        for number in range(self.pool_size):
            model, row = copy_of(learner), {}
            try:
                row = self._fine_tune(model, request, number)
                vector = {name: value - before[name] for name, value in self._state(model).items()}
                finite = all(bool(value.isfinite().all()) for value in vector.values())
            except Diverged:
                finite = False
            request.log.append({**row, "model": number} | ({} if finite else {"diverged": 1.0}))
            if request.progress is not None:
                request.progress(number + 1, self.pool_size)
            if finite:
                left += 1
                yield vector
        if 2 * left < self.pool_size:
            raise Diverged(f"{self.pool_size - left} of the pool's {self.pool_size} models diverged; lower lr.")

    def _fine_tune(self, model: Learner, request: UnlearningRequest, number: int) -> dict[str, float]:
        """Train a copy on forget with the pool's settings of this number; the last row of its log."""
        length, decay, smoothing = settings(number)
        views, order = request.stream(f"augment/forget/{number}"), request.stream(f"forget/{number}")

        def loss(batch: Batch) -> Tensor:
            with frozen_statistics(model, self.bn_forget == "frozen"):
                drawn = model.views(batch.images, views)
                if model.paradigm != "supervised":
                    return model.view_loss(drawn, batch.labels)
                return F.cross_entropy(model.predict(drawn[0]).float(), batch.labels, label_smoothing=smoothing)

        epochs = max(1, round(length * self.epochs))
        how = Optimisation(
            lr=self.lr, momentum=self.momentum, weight_decay=decay, epochs=epochs, batch_size=self.batch_size
        )
        return optimise_apart(model, request.forget, {"loss": (1.0, loss)}, how, request, order)

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
