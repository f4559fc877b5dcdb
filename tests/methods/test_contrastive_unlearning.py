"""Contrastive unlearning: values of its loss that are known, and what it leaves to cross-entropy."""

import math

import pytest
import torch
import torch.nn.functional as F

from benchmark.api import Batch
from benchmark.data import ExampleSet, Forbidden
from benchmark.methods.contrastive_unlearning import ContrastiveUnlearning, contrast

OWN, OTHERS = 3, 5
LABELS = torch.tensor([0] * OWN + [1] * OTHERS)
U = F.normalize(torch.randn(1, 7, generator=torch.Generator().manual_seed(0), dtype=torch.double))
SHORT = {"lr": 0.01, "epochs": 2, "batch_size": 8}


def of(forget, retain, whole_class=False, temperature=0.1, labels=LABELS):
    return contrast(forget, retain, torch.zeros(len(forget), dtype=torch.long), labels, temperature, whole_class).item()


def test_equal_features_leave_the_logarithm_of_the_positives():
    assert of(U, U.expand(8, -1)) == pytest.approx(math.log(OWN))


def test_opposite_positives_and_equal_negatives_reach_the_bound():
    retain = torch.cat([-U.expand(OWN, -1), U.expand(OTHERS, -1)])
    assert of(U, retain) == pytest.approx(-2 / 0.1 + math.log(OWN))


def test_a_forgotten_class_has_the_number_of_others_for_its_positives():
    assert of(U, U.expand(8, -1), True, labels=torch.ones(8, dtype=torch.long)) == pytest.approx(math.log(8) - 1 / 0.1)


def test_an_image_without_a_retain_image_of_its_class_is_left_out():
    drawn = torch.Generator().manual_seed(1)
    forget, retain = (F.normalize(torch.randn(n, 7, generator=drawn, dtype=torch.double)) for n in (2, 8))
    alone = contrast(forget[:1], retain, torch.tensor([0]), LABELS, 0.1, False)
    both = contrast(forget, retain, torch.tensor([0, 2]), LABELS, 0.1, False)
    assert both.item() == pytest.approx(alone.item())
    assert contrast(forget[1:], retain, torch.tensor([2]), LABELS, 0.1, False).item() == 0.0
    assert of(forget, retain, labels=torch.zeros(8, dtype=torch.long)) == 0.0


def test_loss_is_that_of_a_plain_loop():
    drawn = torch.Generator().manual_seed(1)
    forget, retain = (F.normalize(torch.randn(n, 7, generator=drawn, dtype=torch.double)) for n in (4, 8))
    losses = []
    for u in forget:
        pull = sum(float(u @ a) / 0.1 for a in retain[OWN:]) / OTHERS
        losses.append(-pull + math.log(sum(math.exp(float(u @ p) / 0.1) for p in retain[:OWN])))
    assert of(forget, retain) == pytest.approx(sum(losses) / 4)


def test_weight_zero_leaves_the_gradient_of_cross_entropy_on_retain(original_of, make_request):
    learner, request = original_of("supervised"), make_request("supervised")  # in evaluation mode: rows do not mix
    learner.policy = type(learner.policy)()
    forget, retain = request.forget.all(), request.retain.all()
    term = ContrastiveUnlearning(unlearn_weight=0.0).loss_beside(retain, learner, torch.Generator(), False)
    weights = [weight for _, weight in learner.trainable()]
    found = torch.autograd.grad(term(forget), weights)
    expected = torch.autograd.grad(learner.view_loss([retain.images], retain.labels), weights)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("detach", [False, True])
def test_gradient_flows_through_both_unless_told_otherwise(original_of, make_request, detach, monkeypatch):
    learner, request = original_of("supervised"), make_request("supervised")
    batch = request.forget.all()
    retain, forget = batch, Batch(batch.images, (batch.labels + 1) % 3, batch.positions)
    kept = []
    plain = F.normalize
    monkeypatch.setattr(
        F, "normalize", lambda features: kept.append(features) or features.retain_grad() or plain(features)
    )
    method = ContrastiveUnlearning(utility_weight=0.0, detach_retain=detach)
    method.loss_beside(retain, learner, torch.Generator().manual_seed(0), False)(forget).backward()
    assert kept[0].grad[:8].abs().max() > 0
    assert (kept[0].grad[8:].abs().max() == 0) == detach


def test_every_forget_batch_meets_as_many_retain_batches_as_said(make_request, original_of):
    request = make_request("supervised", third_party=Forbidden("contrastive_unlearning", "third_party"))
    ContrastiveUnlearning(repeats=3, **SHORT).unlearn(original_of("supervised"), request)
    assert request.samples_seen() == {"forget": 16, "retain": 2 * 3 * 8}


def test_a_class_that_is_at_chance_stops_it(make_request, original_of, make_data):
    labelled = ExampleSet(make_data(8, label=0), "forget", torch.device("cpu"))
    learner = original_of("supervised")
    learner.classifier.bias.data[0] -= 100  # class 0 is never predicted
    epochs = {}
    for scenario in ("class", "random"):
        request = make_request("supervised", forget=labelled, scenario=scenario)
        ContrastiveUnlearning(**SHORT | {"epochs": 4, "lr": 0.0}).unlearn(learner, request)
        epochs[scenario] = len(request.log)
    assert epochs == {"class": 1, "random": 4}
