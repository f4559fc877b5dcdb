"""Masks, subsets of the weights, and several passes that share one optimiser."""

import itertools

import pytest
import torch

from benchmark.api import PARADIGMS
from benchmark.mechanics import loss_term, names_in, split_blocks
from benchmark.specs import Optimisation, Recipe, derive_seed

ALL = sorted(PARADIGMS)
HOW = Optimisation(lr=0.05, momentum=0.9, weight_decay=0.1, epochs=2, batch_size=8)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def state(learner):
    return {name: value.clone() for name, value in learner.state_dict().items()}


def same(first, second):
    return all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("numerics", [{}, {"precision": "bfloat16", "channels_last": True}], ids=["fp32", "bf16"])
@pytest.mark.parametrize("paradigm", ALL)
def test_weights_outside_a_mask_stay_bit_for_bit(make_learner, make_request, paradigm, optimizer, numerics):
    request = make_request(paradigm, recipe=Recipe(lr=0.05, epochs=1, batch_size=8, **numerics))
    learner = make_learner(paradigm)
    before = state(learner)
    mask = {name: torch.rand(p.shape, generator=seeded(len(name))) < 0.5 for name, p in learner.trainable()}
    how = HOW.model_copy(update={"optimizer": optimizer, "epochs": 5})
    objective = {"utility": (1.0, loss_term(learner, request.stream("augment/retain")))}
    request.optimise(learner, request.retain, objective, how, mask=mask)
    for name, weight in learner.trainable():
        assert torch.equal(weight[~mask[name]], before[name][~mask[name]])
        assert not mask[name].any() or not torch.equal(weight[mask[name]], before[name][mask[name]])


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_optimiser_remembers_nothing_outside_a_mask(make_linear, make_request, optimizer):
    request, learner = make_request("supervised"), make_linear()
    mask = {"classifier.weight": torch.rand(3, 64, generator=seeded()) < 0.5}
    descent = request.descent(learner, HOW.model_copy(update={"optimizer": optimizer}), mask=mask)
    objective = {"utility": (1.0, loss_term(learner, seeded()))}
    for _ in descent.epochs():
        descent.over(request.retain, objective, seeded())
        buffers = [v for v in descent.optimizer.state[learner.classifier.weight].values() if v.shape == (3, 64)]
        assert len(buffers) == {"sgd": 1, "adam": 2}[optimizer]
        assert all(not buffer[~mask["classifier.weight"]].any() for buffer in buffers)
        assert all(buffer[mask["classifier.weight"]].any() for buffer in buffers)


@pytest.mark.parametrize("paradigm", ALL)
def test_a_mask_of_everything_is_no_mask(make_learner, make_request, paradigm):
    states = []
    for masked in (True, False):
        request, learner = make_request(paradigm), make_learner(paradigm)
        mask = {name: torch.ones_like(p, dtype=torch.bool) for name, p in learner.trainable()} if masked else None
        objective = {"utility": (1.0, loss_term(learner, request.stream("augment/retain")))}
        request.optimise(learner, request.retain, objective, HOW, mask=mask)
        states.append(state(learner))
    assert same(*states)


def test_clipping_sees_the_gradients_inside_the_mask_alone(make_linear, make_request):
    request, learner = make_request("supervised"), make_linear()
    before = learner.classifier.bias.detach().clone()
    mask = {"classifier.weight": torch.zeros(3, 64, dtype=torch.bool)}
    how = Optimisation(lr=1.0, momentum=0.0, epochs=1, batch_size=24, max_grad_norm=1e-3)
    request.optimise(learner, request.retain, {"u": (1.0, loss_term(learner, seeded()))}, how, mask=mask)
    assert (learner.classifier.bias - before).norm().item() == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("paradigm", ALL)
def test_weights_that_are_not_chosen_take_no_gradient_and_can_take_one_again_later(
    make_learner, make_request, paradigm
):
    request, learner = make_request(paradigm), make_learner(paradigm)
    first, last = split_blocks(learner, 1)
    before, chosen = state(learner), names_in(learner, last)
    request.optimise(learner, request.retain, {"u": (1.0, loss_term(learner, seeded()))}, HOW, only=chosen)
    for name, parameter in learner.trainable():
        assert torch.equal(parameter, before[name]) == (name not in chosen)
        assert (parameter.grad is None) == (name not in chosen)
        assert parameter.requires_grad
    assert names_in(learner, first) == {name for name, _ in learner.trainable()} - chosen


@pytest.mark.parametrize("paradigm", ALL)
@pytest.mark.parametrize("schedule", ["constant", "onecycle", "cosine"])
def test_optimise_is_one_pass_in_each_epoch_of_a_descent(make_learner, make_request, paradigm, schedule):
    how, states, logs = HOW.model_copy(update={"schedule": schedule}), [], []
    for by_hand in (False, True):
        request, learner = make_request(paradigm), make_learner(paradigm)
        objective = {"utility": (1.0, loss_term(learner, request.stream("augment/retain")))}
        if by_hand:
            descent, order = request.descent(learner, how, steps=3), request.stream("retain")
            for _ in descent.epochs():
                descent.over(request.retain, objective, order)
        else:
            request.optimise(learner, request.retain, objective, how)
        states.append(state(learner))
        logs.append(request.log)
        assert not learner.training
    assert same(*states)
    assert logs[0] == logs[1]


def test_passes_of_an_epoch_share_momentum_and_one_row_of_the_log(make_linear, make_request):
    """Two passes over halves are one pass over the whole: momentum is carried from one to the other."""
    whole, halves = make_linear(), make_linear()
    how = Optimisation(lr=0.1, momentum=0.9, epochs=3, batch_size=24)
    request = make_request("supervised")
    one = {"u": (1.0, loss_term(whole, seeded()))}
    descent = request.descent(whole, how.model_copy(update={"epochs": 6}))
    for _ in descent.epochs():
        descent.over(request.retain, one, seeded())
    again = make_request("supervised")
    descent = again.descent(halves, how)
    for _ in descent.epochs():
        descent.over(again.retain, {"first": (1.0, loss_term(halves, seeded()))}, seeded())
        descent.over(again.retain, {"second": (1.0, loss_term(halves, seeded()))}, seeded())
    assert same(state(whole), state(halves))
    assert [row.keys() for row in again.log] == 3 * [{"epoch", "loss", "first", "second"}]
    assert again.log[0]["loss"] == pytest.approx((again.log[0]["first"] + again.log[0]["second"]) / 2)
    assert descent.done == 6


def test_rate_is_scaled_batches_are_chosen_steps_are_counted_and_an_epoch_can_be_the_last(make_linear, make_request):
    request, learner, biases = make_request("supervised"), make_linear(), []

    def slope(batch):
        sizes.append(len(batch))
        biases.append(learner.classifier.bias[0].double().item())
        return learner.classifier.bias[0]

    sizes, epochs = [], []
    descent = request.descent(learner, Optimisation(lr=0.5, momentum=0.0, epochs=10, batch_size=8))
    for epoch in descent.epochs():
        epochs.append(epoch)
        descent.scale_rate(0.1**epoch)
        descent.over(request.retain, {"slope": (1.0, slope)}, seeded(), batch_size=6, steps=2)
        descent.step(request.forget.all(), {"slope": (1.0, slope)})
        if epoch == 1:
            descent.stop()
    biases.append(learner.classifier.bias[0].double().item())
    steps = [before - after for before, after in itertools.pairwise(biases)]
    assert steps == pytest.approx([0.5] * 3 + [0.05] * 3, rel=1e-4)
    assert sizes == [6, 6, 8] * 2
    assert epochs == [0, 1]
    assert len(request.log) == 2
    assert not learner.training


def test_weights_are_projected_before_momentum_copies_follow_and_gradients_changed_before_they_are_used(
    make_learner, make_request
):
    request, learner, calls = make_request("byol"), make_learner("byol"), []
    follow = learner.after_step
    learner.after_step = lambda: (calls.append("follow"), follow())
    start = state(learner)

    def project(done):
        calls.append(f"project {done}")
        for name, parameter in learner.trainable():
            parameter.data.copy_(start[name])

    def erase():
        calls.append("gradients")
        for _, parameter in learner.trainable():
            parameter.grad.zero_()

    how = HOW.model_copy(update={"epochs": 1, "batch_size": 24, "weight_decay": 0.0})
    descent = request.descent(learner, how, project=project, on_gradients=erase)
    for _ in descent.epochs():
        descent.over(request.retain, {"u": (1.0, loss_term(learner, seeded()))}, seeded())
    assert calls == ["gradients", "project 1", "follow"]
    buffers = [descent.optimizer.state[parameter]["momentum_buffer"] for parameter in descent.parameters]
    assert not any(buffer.any() for buffer in buffers)
    assert torch.equal(learner.target_encoder.conv1.weight, start["target_encoder.conv1.weight"])


@pytest.mark.parametrize("paradigm", ALL)
def test_untrained_learner_is_the_one_that_retraining_begins_with(make_learner, make_request, paradigm):
    request = make_request(paradigm)
    assert same(state(request.untrained()), state(make_learner(paradigm, derive_seed(request.seed, "init"))))
    assert not same(state(request.untrained("other")), state(request.untrained()))
