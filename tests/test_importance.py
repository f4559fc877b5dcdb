"""Gradients per batch and per example, and the masks and importances that are made of them."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.api import PARADIGMS
from benchmark.errors import BenchmarkError
from benchmark.importance import (
    as_function,
    batch_gradients,
    energy_of,
    example_gradients,
    fisher_diagonal,
    loss_of,
    mean_absolute,
    mean_gradient,
    mean_square,
    saliency,
    top_mask,
)
from benchmark.mechanics import plain_views

ALL = sorted(PARADIGMS)
COUPLED = {"simclr"}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.floats(0, 1))
def test_mask_has_exactly_the_floor_of_its_share_and_ties_go_by_position(values, density):
    scores = torch.tensor(values, dtype=torch.float32)
    cut = len(values) // 3
    mask = top_mask({"a": scores[:cut], "b": scores[cut:]}, density)
    chosen = torch.cat([mask["a"], mask["b"]])
    count = math.floor(density * len(values))
    by_hand = sorted(range(len(values)), key=lambda place: (-values[place], place))[:count]
    assert sorted(chosen.nonzero().flatten().tolist()) == sorted(by_hand)


def test_mask_ranks_all_tensors_together_and_keeps_their_shapes():
    scores = {"small": torch.zeros(2, 3), "large": torch.ones(4)}
    mask = top_mask(scores, 0.4)
    assert mask["large"].all() and not mask["small"].any()
    assert mask["small"].shape == (2, 3)


@pytest.mark.parametrize("paradigm", ALL)
def test_gradients_leave_no_trace_and_are_the_same_at_every_call(make_learner, make_request, paradigm):
    learner, request = make_learner(paradigm).train(), make_request(paradigm)
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    first, second = (list(batch_gradients(learner, request.retain, request, 8)) for _ in range(2))
    assert len(first) == 3
    for one, other in zip(first, second, strict=True):
        assert one.keys() == dict(learner.trainable()).keys()
        assert all(torch.equal(value, other[name]) and not value.requires_grad for name, value in one.items())
    assert all(torch.equal(value, before[name]) for name, value in learner.state_dict().items())
    assert all(parameter.grad is None for parameter in learner.parameters())
    assert learner.training


def test_incomplete_batches_are_dropped_unless_they_are_wanted_and_allowed(make_learner, make_request):
    for paradigm, count in (("supervised", 4), ("simclr", 3)):
        request = make_request(paradigm)
        learner = make_learner(paradigm).eval()
        assert len(list(batch_gradients(learner, request.retain, request, 7))) == 3
        assert len(list(batch_gradients(learner, request.retain, request, 7, drop_last=False))) == count
        assert len(list(batch_gradients(learner, request.retain, request, 100))) == 1


def test_classifiers_are_read_on_plain_images(make_learner, make_request):
    learner, request = make_learner("supervised", views={"noise": 1.0}).eval(), make_request("supervised")
    (gradient,) = batch_gradients(learner, request.forget, request, 8)
    batch = request.forget.all()
    expected = torch.autograd.grad(learner.view_loss([batch.images], batch.labels), learner.classifier.weight)[0]
    torch.testing.assert_close(gradient["classifier.weight"], expected, rtol=1e-4, atol=1e-6)


def test_saliency_sums_before_it_forgets_the_sign_and_importances_after():
    gradients = [{"w": torch.tensor([1.0, -2.0])}, {"w": torch.tensor([-3.0, -1.0])}]
    assert saliency(gradients)["w"].tolist() == [2.0, 3.0]
    assert mean_square(gradients)["w"].tolist() == [5.0, 2.5]
    assert mean_absolute(gradients)["w"].tolist() == [2.0, 1.5]
    assert mean_gradient(gradients)["w"].tolist() == [-1.0, -1.5]


@pytest.mark.parametrize("scale", [-1.0, 7.0])
def test_mask_of_saliency_does_not_change_with_sign_or_scale_of_the_loss(make_learner, make_request, scale):
    learner, request = make_learner("supervised").eval(), make_request("supervised")
    masks = [
        top_mask(saliency(batch_gradients(learner, request.forget, request, 4, of)), 0.3)
        for of in (loss_of, lambda *given: scale * loss_of(*given))
    ]
    assert all(torch.equal(mask, masks[1][name]) for name, mask in masks[0].items())
    total = sum(mask.numel() for mask in masks[0].values())
    assert sum(int(mask.sum()) for mask in masks[0].values()) == math.floor(0.3 * total)


@pytest.mark.parametrize("of", [loss_of, energy_of])
@pytest.mark.parametrize("paradigm", sorted(PARADIGMS - COUPLED))
def test_gradients_of_examples_have_the_batch_gradient_as_their_mean(make_learner, make_request, paradigm, of):
    learner, request = make_learner(paradigm).train(), make_request(paradigm)
    batch = request.forget.all()
    views = plain_views(learner, batch.images, request.stream("views"))
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    found = example_gradients(learner, views, batch.labels, of, chunk=3)
    assert all(torch.equal(value, before[name]) for name, value in learner.state_dict().items())
    assert learner.training
    learner.eval()
    names, parameters = zip(*learner.trainable(), strict=True)
    whole = torch.autograd.grad(of(learner, views, batch.labels), parameters, allow_unused=True, materialize_grads=True)
    for name, expected in zip(names, whole, strict=True):
        assert found[name].shape == (8, *expected.shape)
        torch.testing.assert_close(found[name].mean(0), expected, rtol=1e-3, atol=1e-6)
    one = torch.autograd.grad(
        of(learner, [view[2:3] for view in views], batch.labels[2:3]),
        parameters,
        allow_unused=True,
        materialize_grads=True,
    )
    for name, expected in zip(names, one, strict=True):
        torch.testing.assert_close(found[name][2], expected, rtol=1e-3, atol=1e-6)


def test_learner_whose_batches_couple_their_examples_is_refused(make_learner, make_request):
    learner, batch = make_learner("simclr"), make_request("simclr").forget.all()
    with pytest.raises(BenchmarkError, match="no gradient per example"):
        example_gradients(learner, [batch.images, batch.images], batch.labels)


def test_fisher_diagonal_of_a_logistic_model_is_known(make_linear, make_request, make_data):
    """(p - y)^2 x^2 averaged, for the weight of one class."""
    learner, request = make_linear(classes=3), make_request("supervised")
    found = fisher_diagonal(learner, request.retain, request, 7)
    batch = request.retain.all()
    p = learner.predict(batch.images).softmax(1).detach()
    residual = p - torch.nn.functional.one_hot(batch.labels, 3)
    by_hand = (residual[:, :, None] * batch.images.flatten(1)[:, None]).square().mean(0)
    torch.testing.assert_close(found["classifier.weight"], by_hand, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("paradigm", ALL)
def test_loss_as_a_function_of_weights_can_be_differentiated_forwards(make_learner, make_request, paradigm):
    learner, request = make_learner(paradigm).eval(), make_request(paradigm)
    batch = request.forget.all()
    views = plain_views(learner, batch.images, request.stream("views"))
    function = as_function(learner)
    weights = {name: parameter.detach() for name, parameter in learner.trainable()}
    direction = {name: torch.randn_like(weight) for name, weight in weights.items()}
    value, slope = torch.func.jvp(lambda w: function(w, views, batch.labels), (weights,), (direction,))
    assert value.item() == pytest.approx(learner.view_loss(views, batch.labels).item(), rel=1e-5)
    gradient = torch.func.grad(function)(weights, views, batch.labels)
    backward = sum(float((gradient[name] * direction[name]).sum()) for name in weights)
    assert slope.item() == pytest.approx(backward, rel=1e-2, abs=1e-3)
