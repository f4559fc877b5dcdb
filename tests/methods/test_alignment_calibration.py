"""Alignment calibration: what forget images weigh, what they attract, and what is left without them."""

import math

import pytest
import torch

from benchmark.api import Mixture
from benchmark.data import ExampleSet, Forbidden
from benchmark.methods.alignment_calibration import AlignmentCalibration
from benchmark.methods.fine_tune import FineTune

WHERE = ("moco", "simclr")
SHORT = {"lr": 0.01, "epochs": 2, "batch_size": 8}
EVERYTHING = {"lr": 0.0, "epochs": 1, "batch_size": 32}


def equal(first, second):
    second = second.state_dict()
    return all(torch.equal(value, second[name]) for name, value in first.state_dict().items())


@pytest.mark.parametrize("paradigm", WHERE)
def test_nothing_to_forget_is_fine_tuning(make_request, original_of, make_data, paradigm):
    nothing = ExampleSet(make_data(8).select(torch.arange(0)), "forget", torch.device("cpu"))
    request = make_request(paradigm, forget=nothing, third_party=Forbidden("alignment_calibration", "third_party"))
    result = AlignmentCalibration(beta=1.0, **SHORT).unlearn(original_of(paradigm), request)
    assert equal(result, FineTune(**SHORT).unlearn(original_of(paradigm), make_request(paradigm)))


@pytest.mark.parametrize("paradigm", WHERE)
def test_alpha_and_beta_zero_give_forget_anchors_no_weight(make_request, original_of, monkeypatch, paradigm):
    """The losses of forget images are made huge: they must not be seen."""
    learner, request = original_of(paradigm), make_request(paradigm)
    view_loss, seen = type(learner).view_loss, []

    def spoiled(self, views, labels, reduction="mean"):
        losses = view_loss(self, views, labels, reduction)
        assert reduction == "none"
        seen.append(losses.detach().clone())
        return torch.where(rows[-1], losses * 0 + 1e6, losses)

    rows = []
    part = Mixture.take

    def take(self, positions):
        batch = part(self, positions)
        rows.append(batch.part(1))
        return batch

    monkeypatch.setattr(Mixture, "take", take)
    monkeypatch.setattr(type(learner), "view_loss", spoiled)
    AlignmentCalibration(alpha=0.0, **EVERYTHING).unlearn(learner, request)
    assert request.log[0]["loss"] == pytest.approx(seen[0][~rows[0]].mean().item(), rel=1e-5)


def test_loss_of_a_collapsed_simclr_is_the_logarithm_of_its_candidates(make_request, original_of, monkeypatch):
    learner, request = original_of("simclr"), make_request("simclr")
    same = torch.ones(1, 8)
    monkeypatch.setattr(
        type(learner), "project", lambda self, images: same.expand(len(images), -1) + 0 * self.embed(images).sum()
    )
    AlignmentCalibration(beta=3.0, **EVERYTHING).unlearn(learner, request)
    assert request.log[0]["loss"] == pytest.approx(math.log(2 * 32 - 1) + 3.0 * 8 / 32, rel=1e-5)


@pytest.mark.parametrize("paradigm", WHERE)
def test_forget_images_attract_forget_images_and_retain_images_themselves(
    make_request, make_learner, monkeypatch, paradigm
):
    learner = make_learner(paradigm, views={})  # no augmentation: a view is its image
    request, seen = make_request(paradigm), []
    view_loss = type(learner).view_loss

    def spy(self, views, labels, reduction="mean"):
        seen.append(views)
        return view_loss(self, views, labels, reduction)

    monkeypatch.setattr(type(learner), "view_loss", spy)
    AlignmentCalibration(negative_key="shift", **EVERYTHING).unlearn(learner, request)
    ((anchors, keys),) = seen
    forget = request.forget.all().images
    for anchor, key in zip(anchors, keys, strict=True):
        (where,) = torch.nonzero((forget == anchor).flatten(1).all(1), as_tuple=True)
        wanted = forget[(where[0] + 1) % 8] if len(where) else anchor
        assert torch.equal(key, wanted)


@pytest.mark.parametrize("paradigm", WHERE)
def test_beta_drives_the_views_of_forget_images_apart(make_request, original_of, paradigm):
    learner, likeness = original_of(paradigm), []
    for beta in (0.0, 100.0):
        result = AlignmentCalibration(beta=beta, **SHORT).unlearn(learner, make_request(paradigm))
        batch = make_request(paradigm).forget.all()
        drawn = torch.Generator().manual_seed(0)
        likeness.append(result.confidence(batch.images, batch.labels, drawn).mean().item())
    assert likeness[1] < likeness[0]


@pytest.mark.parametrize(("enqueue", "keys"), [("retain", 24), ("all", 32)])
def test_keys_of_forget_images_enter_the_queue_on_demand_alone(make_request, original_of, monkeypatch, enqueue, keys):
    learner, entered = original_of("moco"), []
    write = type(learner)._enqueue
    monkeypatch.setattr(type(learner), "_enqueue", lambda self, new: entered.append(len(new)) or write(self, new))
    AlignmentCalibration(enqueue=enqueue, **EVERYTHING).unlearn(learner, make_request("moco"))
    assert entered == [24, keys]
