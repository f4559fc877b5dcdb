"""Boundary shrinking: labels come from one bounded step across the boundary of the original."""

import pytest
import torch

from benchmark.api import sign_step
from benchmark.data import ExampleSet, Forbidden
from benchmark.methods.boundary_shrink import BoundaryShrink

ABSENT = {name: Forbidden("boundary_shrink", name) for name in ("retain", "third_party")}


@pytest.mark.parametrize("epsilon", [0.05, 0.1])
def test_attacked_images_are_pixels_near_the_given_ones(make_set, original_of, epsilon):
    batch = make_set(count=40).all()
    moved = sign_step(original_of("supervised"), batch.images, batch.labels, epsilon)
    assert (moved - batch.images).abs().max() <= epsilon + 1 / 510 + 1e-6
    assert moved.min() >= 0 and moved.max() <= 1
    assert not torch.equal(moved, batch.images)


def test_without_a_step_labels_are_the_predictions_of_the_original(make_set, original_of):
    learner, examples = original_of("supervised"), make_set(count=40)
    labels = BoundaryShrink(epsilon=0.0, batch_size=7).labels_across(learner, examples)
    assert torch.equal(labels, learner.predict(examples.all().images).argmax(1))


def test_linear_classifier_changes_sides_if_its_margin_is_below_epsilon_times_the_l1_norm(make_linear, make_data):
    data = make_data(300, classes=2)
    images = (data.images // 2 + 64).clamp(64, 191)  # the step clips nothing
    examples = ExampleSet(data, "forget", torch.device("cpu")).altered(images=images.float() / 255)
    learner, epsilon = make_linear(classes=2), 26 / 255
    weight = learner.classifier.weight.detach()
    reach = epsilon * (weight[0] - weight[1]).abs().sum()
    z = learner.predict(examples.all().images).detach()
    learner.classifier.bias.data[0] += reach - (z[:, 0] - z[:, 1]).median()  # about half are out of reach
    z = learner.predict(examples.all().images).detach()
    examples = examples.altered(labels=z.argmax(1))
    margin = (z[:, 0] - z[:, 1]).abs()
    crossed = BoundaryShrink(epsilon=epsilon).labels_across(learner, examples) != examples.labels
    assert crossed[margin < 0.99 * reach].all()
    assert not crossed[margin > 1.01 * reach].any()
    assert (margin > 1.01 * reach).any() and (margin < 0.99 * reach).any()


def test_forced_labels_are_never_the_true_ones(make_set, original_of):
    learner, examples = original_of("supervised"), make_set(count=40)
    assert (BoundaryShrink(epsilon=0.0).labels_across(learner, examples) == examples.labels).any()
    forced = BoundaryShrink(epsilon=0.0, force_wrong=True).labels_across(learner, examples)
    predicted = learner.predict(examples.all().images).argsort(1, descending=True)
    wanted = torch.where(predicted[:, 0] == examples.labels, predicted[:, 1], predicted[:, 0])
    assert torch.equal(forced, wanted)
    assert (forced != examples.labels).all()


def test_boundary_moves_over_the_forget_images_and_nothing_else_is_read(make_request, original_of):
    request = make_request("supervised", **ABSENT)
    before = original_of("supervised")
    method = BoundaryShrink(epsilon=0.5, force_wrong=True, lr=0.01, epochs=10, batch_size=8)
    after = method.unlearn(before, request)
    batch = request.forget.all()
    losses = [model.view_loss([batch.images], batch.labels).item() for model in (before, after)]
    assert losses[1] > losses[0]
    assert request.log[0]["attack_success"] == 1.0
    running = [key for key in before.state_dict() if "running" in key]
    assert all(torch.equal(before.state_dict()[key], after.state_dict()[key]) for key in running)
