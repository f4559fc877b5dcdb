"""What many unlearning methods have in common: teachers, other positives, edits and selections of weights, attacks.

Each is one definition for all of them, so that two methods that share a step take the same one.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Generator, Tensor

from benchmark.data import Batch, ExampleSet
from benchmark.learners.base import Learner, frozen_statistics

# -- reading a learner -------------------------------------------------------------------------------------


@contextmanager
def at_rest(*parts: nn.Module) -> Iterator[None]:
    """These modules are in evaluation mode inside, whatever the rest does: statistics frozen, no key remembered."""
    awake = [module for part in parts for module in part.modules() if module.training]
    for module in awake:
        module.training = False
    try:
        yield
    finally:
        for module in awake:
            module.training = True


def plain_views(learner: Learner, images: Tensor, generator: Generator) -> list[Tensor]:
    """What importances, teachers and searches read: the image itself in classifiers, else training views."""
    return [images] if learner.paradigm == "supervised" else learner.views(images, generator)


@torch.no_grad()
def logits_over(learner: Learner, examples: ExampleSet, batch_size: int = 256) -> Tensor:
    """[N, C] float32 of a classifier on plain images, in evaluation mode; counted as taken."""
    with at_rest(learner):
        return torch.cat([learner.predict(batch.images).float() for batch in examples.batches(batch_size)])


@contextmanager
def seen_features(learner: Learner) -> Iterator[list[Tensor]]:
    """The online encoder's outputs inside, in order: what a loss saw on the way, without a second forward pass."""
    seen: list[Tensor] = []
    hook = learner.encoder.register_forward_hook(lambda _module, _input, output: seen.append(output))
    try:
        yield seen
    finally:
        hook.remove()


def answers(learner: Learner, features: Tensor) -> Tensor:
    """What imitation compares, float32: logits of a classifier [n, C], features of an encoder [n, D] (METHODS A4)."""
    if learner.paradigm != "supervised":
        return features.float()
    logits: Tensor = learner.heads()[0](features)
    return logits.float()


def loss_term(
    learner: Learner, views: Generator, bn: str = "train", remember: bool = True, resting: Iterable[nn.Module] = ()
) -> Callable[[Batch], Tensor]:
    """A batch's mean training loss, as a term of an objective.

    Args:
        learner: Whose.
        views: Draws its views.
        bn: `train`, or `frozen`: batch normalisation uses its running statistics and keeps them (METHODS C5).
        remember: Whether a learner with a memory remembers the batch's keys; never those of forget images (C4).
        resting: Modules that are in evaluation mode meanwhile.
    """
    resting = list(resting)

    def term(batch: Batch) -> Tensor:
        with at_rest(*resting), frozen_statistics(learner, bn == "frozen", keys=not remember):
            return learner.loss(batch.images, batch.labels, views)

    return term


def half_squared_distance(learner: Learner, original: Learner) -> Tensor:
    """|weights - original weights|^2 / 2; differentiable in the first."""
    pairs = zip(learner.trainable(), original.trainable(), strict=True)
    return torch.stack([(mine - theirs.detach()).square().sum() for (_, mine), (_, theirs) in pairs]).sum() / 2


def steps_of(learner: Learner, images: int, batch_size: int) -> int:
    """Steps of one pass over so many images."""
    full = learner.needs_full_batches and images >= batch_size
    return images // batch_size if full else math.ceil(images / batch_size)


# -- imitation ---------------------------------------------------------------------------------------------


def kl(teacher_logits: Tensor, student_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Mean over examples of KL(teacher || student) of softmaxes at a temperature, without its square (METHODS C16)."""
    teacher = (teacher_logits / temperature).log_softmax(1)
    student = (student_logits / temperature).log_softmax(1)
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True)


def pointwise_distance(teacher: Tensor, student: Tensor) -> Tensor:
    """Mean of 1 - cosine of each image's features [n, D] under two networks: 0 to 2 (METHODS A4)."""
    return (1 - F.cosine_similarity(student, teacher)).mean()


def relational_distance(teacher: Tensor, student: Tensor, temperature: float = 0.1) -> Tensor:
    """KL between softmaxes of each image's cosines with the others of its batch [n, D], n > 2 (METHODS A4)."""
    return kl(_cosines(teacher), _cosines(student), temperature)


def _cosines(features: Tensor) -> Tensor:
    """[n, n - 1] cosines with all others."""
    unit = F.normalize(features)
    others = ~torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    return (unit @ unit.T)[others].view(len(unit), -1)


def views_with_other_positives(
    learner: Learner, batch: Batch, forget: ExampleSet, rows: Tensor, views: Generator, partners: Generator
) -> list[Tensor]:
    """Two views of each image, but view 2 of the forget images is of another one of them (METHODS A3).

    Their loss is `learner.view_loss` as ever; then `learner.keep_keys(~rows)` lets no forget key into a queue.

    Args:
        learner: Contrastive.
        batch: Of forget, or of a mixture that it is a part of.
        forget: The other image is drawn uniformly from it.
        rows: [n] bool, which images of the batch are forget images.
        views: Draws views as `learner.views` does.
        partners: Draws the other images; untouched if there are no forget images.
    """
    second = batch.images
    if rows.any():
        own = batch.positions[rows]
        shift = torch.randint(1, max(2, len(forget)), (len(own),), generator=partners).to(own.device)
        second = batch.images.clone()
        second[rows] = forget.take((own + shift) % len(forget)).images
    return [learner.policy(batch.images, views), learner.policy(second, views)]


# -- weights -----------------------------------------------------------------------------------------------


def weights_of(learner: Learner) -> dict[str, Tensor]:
    """A copy of the trainable weights."""
    return {name: parameter.detach().clone() for name, parameter in learner.trainable()}


@torch.no_grad()
def edit_weights(learner: Learner, change: Callable[[str, Tensor], Tensor]) -> None:
    """Weight <- change(name, weight), for momentum copies under the name of what they copy (METHODS C3)."""
    names = {id(parameter): name for name, parameter in learner.trainable()}
    for name, parameter in learner.trainable():
        parameter.copy_(change(name, parameter))
    for online, target in learner.targets():
        for source, copy in zip(online.parameters(), target.parameters(), strict=True):
            copy.copy_(change(names[id(source)], copy))


def split_blocks(learner: Learner, last: int) -> tuple[list[nn.Module], list[nn.Module]]:
    """The encoder's first blocks, and its last ones with the heads (METHODS A6)."""
    blocks = learner.blocks()
    start = max(0, len(blocks) - last)
    return blocks[:start], [*blocks[start:], *learner.heads()]


def names_in(learner: Learner, parts: Iterable[nn.Module]) -> set[str]:
    """Names of the trainable parameters that these modules hold."""
    inside = {id(parameter) for part in parts for parameter in part.parameters()}
    return {name for name, parameter in learner.trainable() if id(parameter) in inside}


def with_copies(learner: Learner, parts: Iterable[nn.Module]) -> list[nn.Module]:
    """Modules of the online network, and their momentum copies."""
    chosen = list(parts)
    copies = []
    for online, target in learner.targets():
        places = {id(module): name for name, module in online.named_modules()}
        copies += [target.get_submodule(places[id(part)]) for part in chosen if id(part) in places]
    return chosen + copies


def replace_parts(learner: Learner, parts: Iterable[nn.Module], source: Learner) -> None:
    """Weights and buffers of these modules and of their momentum copies become those of another learner."""
    places = {id(module): name for name, module in learner.named_modules()}
    for part in with_copies(learner, parts):
        part.load_state_dict(source.get_submodule(places[id(part)]).state_dict())


# -- attacks -----------------------------------------------------------------------------------------------


def sign_step(learner: Learner, images: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    """[n, C, H, W] images moved by `epsilon` along the sign of their loss's gradient, rounded to 8-bit pixels.

    The fast gradient sign method in the space of [0, 1] pixels (Goodfellow et al., ICLR 2015, arXiv 1412.6572).
    """
    at = images.detach().requires_grad_()
    with at_rest(learner):
        (slope,) = torch.autograd.grad(learner.view_loss([at], labels, reduction="none").sum(), at)
    return ((images + epsilon * slope.sign()).clamp(0, 1) * 255).round() / 255
