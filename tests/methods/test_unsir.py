"""UNSIR: noise against the class that retain lacks, and two epochs that see nothing but noise and retain images."""

import pytest
import torch

from benchmark.api import BenchmarkError, Mixture
from benchmark.components import build
from benchmark.data import ExampleSet, Forbidden
from benchmark.methods.unsir import Unsir, noise_loss, pixels
from benchmark.plan import applicability
from benchmark.specs import TaskSpec

SHORT = {"noise_images": 6, "noise_steps": 10, "repeats": 3, "per_class": 5, "batch_size": 8}


@pytest.fixture
def request_without_class_1(make_request, make_data):
    data = make_data(60)
    retain = ExampleSet(data.select((data.labels != 1).nonzero().squeeze(1)), "retain", torch.device("cpu"))
    absent = {name: Forbidden("unsir", name) for name in ("forget", "third_party")}
    return make_request("supervised", retain=retain, scenario="class", **absent)


def test_noise_learns_to_be_far_from_its_class_and_the_model_stays(make_linear):
    learner = make_linear(mean=0.5, std=0.25).train()
    learner.classifier.weight.data *= 20  # a classifier that is sure of itself
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    start = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    learned = learner.normalise(Unsir(noise_steps=40).learned_noise(learner, 1, start))
    labels = torch.full((6,), 1)
    objective = [noise_loss(learner, noise, 1).item() for noise in (start, learned)]
    away = [learner.view_loss([pixels(learner, noise)], labels).item() for noise in (start, learned)]
    assert objective[1] < objective[0]
    assert away[1] > away[0]
    assert learner.training
    assert all(torch.equal(value, before[name]) for name, value in learner.state_dict().items())


def test_noise_training_reads_and_keeps_running_statistics(original_of):
    learner = original_of("supervised").train()
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    Unsir(noise_steps=5).learned_noise(learner, 1, torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert all(torch.equal(value, before[name]) for name, value in learner.state_dict().items())


def test_what_the_network_sees_is_the_noise_itself(original_of):
    learner, noise = original_of("supervised"), torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(learner.normalise(pixels(learner, noise)), noise, rtol=1e-4, atol=1e-5)


def test_impairing_sees_noise_with_the_label_of_its_class_as_often_as_said(
    request_without_class_1, original_of, monkeypatch
):
    seen = []
    learner = original_of("supervised")
    view_loss = type(learner).view_loss

    def spy(self, views, labels, reduction="mean"):
        seen.append(labels)
        return view_loss(self, views, labels, reduction)

    monkeypatch.setattr(type(learner), "view_loss", spy)
    Unsir(**SHORT).unlearn(learner, request_without_class_1)
    labels = torch.cat(seen)
    assert (labels == 1).sum() == 3 * 6
    assert [(labels == c).sum().item() for c in (0, 2)] == [10, 10]  # five of each in either epoch
    assert request_without_class_1.samples_seen() == {"retain": 21}
    assert [set(row) - {"epoch", "loss"} for row in request_without_class_1.log] == [{"impair"}, {"repair"}]


def test_three_noise_images_a_batch_are_those_of_the_authors_code(request_without_class_1, original_of, monkeypatch):
    drawn = []
    start = Mixture.__init__

    def spy(self, *parts, name):
        drawn.extend(len(part) for part in parts)
        start(self, *parts, name=name)

    monkeypatch.setattr(Mixture, "__init__", spy)
    Unsir(noise_per_batch=3, **SHORT).unlearn(original_of("supervised"), request_without_class_1)
    assert drawn == [10, 3, 3, 3]


def test_a_forgotten_class_is_forgotten(request_without_class_1, make_data, original_of):
    gone = make_data(20, seed=77, label=1)
    images = gone.images.float() / 255
    before = original_of("supervised")
    method = Unsir(**SHORT | {"repeats": 20, "per_class": 1000}, noise_per_batch=None)
    after = method.unlearn(before, request_without_class_1)
    losses = [model.view_loss([images], gone.labels).item() for model in (before, after)]
    assert losses[1] > losses[0]


def test_random_forgetting_is_not_applicable():
    task = TaskSpec(name="t", dataset="digits", learner="supervised", scenario="random", split={"train": 32},
                    recipe={"lr": 0.05, "epochs": 1, "batch_size": 8})  # fmt: skip
    assert applicability("unsir", task) == "not defined for the scenario 'random'"


def test_its_ranges_are_those_of_the_literature():
    with pytest.raises(BenchmarkError):
        build(Unsir, {"impair_lr": 0.1}, "unsir")
