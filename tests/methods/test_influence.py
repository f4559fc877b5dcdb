"""The influence step: its right-hand side, its solver, and the defect of the reference's recursion."""

import pytest
import torch

from benchmark.api import weights_of
from benchmark.curvature import conjugate_gradients, fisher_product
from benchmark.data import ExampleSet, Mixture
from benchmark.methods.influence import Influence, rank_one

WHERE = ("supervised", "moco", "byol")


def flat(values):
    return torch.cat([value.detach().flatten() for value in values])


def test_right_hand_side_is_the_gradient_on_all_less_that_on_retain(make_request, original_of, make_data):
    retain = ExampleSet(make_data(21, seed=9), "retain", torch.device("cpu"))  # no multiple of the batch size
    learner, request = original_of("supervised"), make_request("supervised", retain=retain)
    gradients = []
    for examples in (Mixture(request.forget, request.retain, name="all"), request.retain):
        batch = examples.all()
        loss = learner.view_loss([batch.images], batch.labels)
        gradients.append(flat(torch.autograd.grad(loss, [weight for _, weight in learner.trainable()])))
    found = Influence(batch_size=8).difference(learner, request)
    torch.testing.assert_close(found, gradients[0] - gradients[1], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("paradigm", WHERE)
def test_step_solves_the_system_to_the_tolerance(make_request, original_of, paradigm):
    learner, method, request = original_of(paradigm), Influence(batch_size=8), make_request(paradigm)
    right = method.difference(learner, request)
    seen = method._single_images(learner, request)

    def product(u):
        return u + fisher_product(learner, seen, u)

    step, residual, count = conjugate_gradients(product, right, 1e-3, 50)
    assert (product(step) - right).norm() <= 1.5e-3 * right.norm()
    assert residual <= 1e-3
    assert count < 50
    request = make_request(paradigm)
    moved = Influence(alpha=2.0, batch_size=8).unlearn(learner, request)
    assert request.log[0]["residual"] <= 1e-3
    if paradigm != "moco":  # whose queue is rebuilt first
        before = flat(weight for _, weight in learner.trainable())
        torch.testing.assert_close(flat(w for _, w in moved.trainable()) - before, 2 * step, rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize("solver", ["cg", "reference"])
@pytest.mark.parametrize("paradigm", WHERE)
def test_alpha_zero_changes_no_weight(make_request, original_of, paradigm, solver):
    before = weights_of(original_of(paradigm))
    method = Influence(alpha=0.0, solver=solver, batch_size=8)
    after = weights_of(method.unlearn(original_of(paradigm), make_request(paradigm)))
    assert all(torch.equal(value, before[name]) for name, value in after.items())


def test_a_small_step_raises_the_loss_on_forget_images_and_follows_the_difference(make_request, original_of):
    request = make_request("supervised")
    before = original_of("supervised")
    after = Influence(alpha=1.0, damping=100.0).unlearn(before, request)
    batch = request.forget.all()
    losses = [model.view_loss([batch.images], batch.labels).item() for model in (before, after)]
    assert losses[1] > losses[0]


def test_the_reference_moves_the_gradient_along_the_first_retain_gradient_alone():
    drawn = torch.Generator().manual_seed(0)
    gradients = torch.randn(30, 10, generator=drawn, dtype=torch.double)
    right = torch.randn(10, generator=drawn, dtype=torch.double)
    moved = rank_one(iter(gradients), right, 30) - right
    cosine = torch.nn.functional.cosine_similarity(moved, gradients[0], dim=0)
    assert moved.norm() > 1e-3
    assert abs(float(cosine)) == pytest.approx(1)


@pytest.mark.parametrize(("paradigm", "copy"), [("moco", "key_encoder"), ("byol", "target_encoder")])
def test_momentum_copies_move_alike(make_request, original_of, paradigm, copy):
    before = original_of(paradigm)
    after = Influence(alpha=1.0, batch_size=8).unlearn(before, make_request(paradigm))
    online = after.encoder.conv1.weight - before.encoder.conv1.weight
    target = getattr(after, copy).conv1.weight - getattr(before, copy).conv1.weight
    assert online.abs().max() > 0
    torch.testing.assert_close(online, target, rtol=0, atol=1e-6)
