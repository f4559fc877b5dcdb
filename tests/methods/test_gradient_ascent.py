"""Gradient ascent climbs the forget loss, and on contrastive learners that loss has a ceiling."""

import copy
import math

import pytest
import torch

from benchmark.api import CONTRASTIVE, PARADIGMS
from benchmark.data import Forbidden
from benchmark.learners.base import frozen_statistics
from benchmark.methods.gradient_ascent import GradientAscent

ONCE = {"epochs": 1, "batch_size": 8, "momentum": 0.0, "weight_decay": 0.0}


def request_of(make_request, paradigm):
    return make_request(paradigm, **{name: Forbidden("gradient_ascent", name) for name in ("retain", "third_party")})


def forget_loss(learner, request):
    """The full-batch loss that the method sees first: same order of images, same views, statistics frozen."""
    batch = next(request.forget.batches(8, request.stream("forget")))
    with frozen_statistics(learner):
        return learner.loss(batch.images, batch.labels, request.stream("augment/forget"))


@pytest.mark.parametrize("paradigm", sorted(PARADIGMS))
def test_one_step_adds_the_learning_rate_times_the_gradient_of_the_forget_loss(make_request, original_of, paradigm):
    request, twin = request_of(make_request, paradigm), original_of(paradigm).train()
    start = forget_loss(twin, request)
    gradients = torch.autograd.grad(start, [p for _, p in twin.trainable()])
    result = GradientAscent(lr=1e-3, **ONCE).unlearn(original_of(paradigm), request)
    for (_, before), gradient, (_, after) in zip(twin.trainable(), gradients, result.trainable(), strict=True):
        torch.testing.assert_close(after.detach(), before.detach() + 1e-3 * gradient, rtol=1e-5, atol=1e-7)
    for name, value in result.state_dict().items():  # the same loss again: as it was, what is not descended on
        if name not in dict(result.trainable()):
            value.copy_(twin.state_dict()[name])
    assert forget_loss(result, request) > start
    assert request.log[0]["loss"] == pytest.approx(-start.item(), rel=1e-5)


@pytest.mark.parametrize("paradigm", sorted(CONTRASTIVE))
def test_ascent_on_contrastive_learners_stays_below_the_bound_of_their_loss(make_request, original_of, paradigm):
    request = request_of(make_request, paradigm)
    negatives = {"simclr": 14, "moco": 20}
    bound = 4.0 if paradigm == "byol" else math.log(1 + negatives[paradigm] * math.exp(2 / 0.1))
    method = GradientAscent(lr=0.1, epochs=40, batch_size=8, max_grad_norm=1.0, weight_decay=0.0)
    result = method.unlearn(original_of(paradigm), request)
    losses = [-row["loss"] for row in request.log]
    assert len(losses) == 40
    assert losses[0] < losses[-1]
    assert all(0 <= loss <= bound for loss in losses)
    assert all(value.isfinite().all() for value in result.state_dict().values())


@pytest.mark.parametrize(("bn_forget", "moves"), [("frozen", False), ("train", True)])
@pytest.mark.parametrize("paradigm", sorted(PARADIGMS))
def test_running_statistics_follow_the_forget_set_only_on_demand(make_request, original_of, paradigm, bn_forget, moves):
    method = GradientAscent(bn_forget=bn_forget, **ONCE)
    result = method.unlearn(original_of(paradigm), request_of(make_request, paradigm))
    before = original_of(paradigm).encoder.bn1
    assert torch.equal(result.encoder.bn1.running_mean, before.running_mean) != moves
    assert not any("queue" in name and value.any() for name, value in result.state_dict().items())


def test_clipped_step_is_as_long_as_the_learning_rate_times_the_clip(make_request, original_of):
    original = original_of("supervised")
    start = copy.deepcopy(original)
    result = GradientAscent(lr=0.1, max_grad_norm=0.01, **ONCE).unlearn(
        original, request_of(make_request, "supervised")
    )
    moved = [(a - b).flatten() for (_, a), (_, b) in zip(result.trainable(), start.trainable(), strict=True)]
    assert torch.cat(moved).norm().item() == pytest.approx(1e-3, rel=1e-2)
