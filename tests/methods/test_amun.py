"""AMUN: adversarial images as near as the attack promises, and what training does with them."""

import pytest
import torch

from benchmark.data import ExampleSet, Forbidden
from benchmark.methods.amun import Amun
from benchmark.methods.fine_tune import FineTune

SHORT = {"lr": 0.01, "epochs": 2, "batch_size": 8}


def moved(found, given):
    return (found - given).flatten(1).norm(dim=1)


def test_adversarial_images_have_wrong_labels_and_are_pixels(make_set, original_of):
    learner, examples = original_of("supervised"), make_set("forget", count=40)
    found = Amun(batch_size=7).adversarial(learner, examples)
    batch, given = found.all(), examples.all()
    assert len(found) == 40
    assert (batch.labels != given.labels).all()
    assert torch.equal(learner.predict(batch.images).argmax(1), batch.labels)
    assert batch.images.min() >= 0 and batch.images.max() <= 1
    already = learner.predict(given.images).argmax(1) != given.labels
    assert already.any() and not already.all()
    assert torch.equal(batch.images[already], given.images[already])
    assert (moved(batch.images, given.images)[~already] > 0).all()


@pytest.mark.parametrize("doublings", [0, 2])
def test_no_image_moves_farther_than_the_last_radius_and_failures_are_left_out(make_set, original_of, doublings):
    learner, examples = original_of("supervised"), make_set("forget", count=40)
    method = Amun(epsilon=0.002, max_doublings=doublings, pgd_steps=10)
    images, labels = method.attacked(learner, examples.all())
    assert moved(images, examples.all().images).max() <= 0.002 * 2**doublings + 1e-6
    failed = labels == examples.labels
    assert failed.any()
    assert len(method.adversarial(learner, examples)) == 40 - failed.sum()


def test_linear_classifier_is_crossed_within_twice_its_margin(make_linear, make_data):
    data = make_data(100, classes=2)
    grey = (data.images // 2 + 64).float() / 255  # far from black and white: nothing is clipped
    learner = make_linear(classes=2)
    examples = ExampleSet(data, "forget", torch.device("cpu")).altered(images=grey)
    z = learner.predict(examples.all().images).detach()
    examples = examples.altered(labels=z.argmax(1))
    weight = learner.classifier.weight.detach()
    distance = (z[:, 0] - z[:, 1]).abs() / (weight[0] - weight[1]).norm()
    images, labels = Amun().attacked(learner, examples.all())
    away = moved(images, examples.all().images)
    assert (labels != examples.labels).all()
    assert (away >= distance - 1e-5).all()
    assert (away < 2 * distance.clamp(min=0.04) + 1e-5).all()


def test_without_forget_images_it_is_fine_tuning(make_request, make_data, original_of):
    nothing = ExampleSet(make_data(8).select(torch.arange(0)), "forget", torch.device("cpu"))
    for beside in ("retain", "all"):
        request = make_request("supervised", forget=nothing)
        result = Amun(beside=beside, decay_every=2, **SHORT).unlearn(original_of("supervised"), request).state_dict()
        tuned = FineTune(**SHORT).unlearn(original_of("supervised"), make_request("supervised")).state_dict()
        assert all(torch.equal(value, tuned[name]) for name, value in result.items())


@pytest.mark.parametrize("beside", ["all", "forget", "retain"])
def test_epochs_see_what_stands_beside_the_adversarial_images(make_request, original_of, beside):
    method = Amun(beside=beside, **SHORT)
    absent = {name: Forbidden("amun", name) for name in {"retain", "third_party"} - method.reads()}
    request = make_request("supervised", **absent)
    method.unlearn(original_of("supervised"), request)
    once = {"all": {"retain": 24, "forget": 16}, "forget": {"forget": 16}, "retain": {"retain": 24, "forget": 8}}
    attack = {"forget": 8}
    assert request.samples_seen() == {name: 2 * n + attack.get(name, 0) for name, n in once[beside].items()}
    assert request.log[0] == {"epoch": 0, "attack_success": 1.0}


def test_adversarial_images_are_not_augmented(make_request, original_of, monkeypatch):
    learner, seen = original_of("supervised"), []
    adversarial = Amun().adversarial(learner, make_request("supervised").forget).all().images
    view_loss = type(learner).view_loss

    def spy(self, views, labels, reduction="mean"):
        if reduction == "mean":
            seen.append(views[0])
        return view_loss(self, views, labels, reduction)

    monkeypatch.setattr(type(learner), "view_loss", spy)
    Amun(**SHORT | {"epochs": 1, "batch_size": 64}).unlearn(learner, make_request("supervised"))
    (views,) = seen
    there = [(views == image).flatten(1).all(1).any().item() for image in adversarial]
    assert all(there)
    given = make_request("supervised").retain.all().images
    assert not any((views == image).flatten(1).all(1).any().item() for image in given)


def test_outside_the_saliency_mask_weights_stay(make_request, original_of):
    before = original_of("supervised")
    after = Amun(salun_density=0.1, **SHORT).unlearn(before, make_request("supervised"))
    same = torch.cat(
        [(new == old).flatten() for (_, new), (_, old) in zip(after.trainable(), before.trainable(), strict=True)]
    )
    assert 0.85 < same.float().mean() < 0.95


def test_the_wrong_labels_of_adversarial_images_are_learned(make_request, original_of):
    request, before = make_request("supervised"), original_of("supervised")
    after = Amun(beside="forget", decay_every=10, **SHORT | {"epochs": 8}).unlearn(before, request)
    batch = Amun().adversarial(before, request.forget).all()
    losses = [model.view_loss([batch.images], batch.labels).item() for model in (before, after)]
    assert losses[1] < losses[0]
