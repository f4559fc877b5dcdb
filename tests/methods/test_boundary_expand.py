"""Boundary expanding: one output comes and goes."""

import pytest
import torch
from torch import nn

from benchmark.data import Forbidden
from benchmark.methods.boundary_expand import BoundaryExpand

ABSENT = {name: Forbidden("boundary_expand", name) for name in ("retain", "third_party")}
FAST = {"lr": 0.05, "epochs": 5, "batch_size": 8}


def test_no_epoch_changes_nothing(make_request, original_of):
    before = original_of("supervised").state_dict()
    after = BoundaryExpand(epochs=0).unlearn(original_of("supervised"), make_request("supervised")).state_dict()
    assert all(torch.equal(value, before[name]) for name, value in after.items())


@pytest.mark.parametrize("new_row", ["xavier", "linear"])
def test_result_has_the_outputs_of_the_original_and_has_forgotten(make_request, original_of, new_row):
    request, before = make_request("supervised", **ABSENT), original_of("supervised")
    after = BoundaryExpand(new_row=new_row, **FAST).unlearn(before, request)
    batch = request.forget.all()
    assert after.predict(batch.images).shape == (8, 3)
    assert after.classifier.out_features == 3
    assert after.view_loss([batch.images], batch.labels) > before.view_loss([batch.images], batch.labels)
    assert request.log[-1]["expansion"] < request.log[0]["expansion"]


def test_frozen_classifier_keeps_its_rows_and_the_encoder_moves(make_request, original_of):
    before, request = original_of("supervised"), make_request("supervised")
    after = BoundaryExpand(freeze_linear=True, **FAST).unlearn(before, request)
    assert torch.equal(after.classifier.weight, before.classifier.weight)
    assert torch.equal(after.classifier.bias, before.classifier.bias)
    assert not torch.equal(after.encoder.conv1.weight, before.encoder.conv1.weight)


def test_new_row_is_drawn_at_the_scale_of_its_rule_and_the_others_stay():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        classifier = nn.Linear(4000, 9)
    weight = classifier.weight.detach().clone()
    BoundaryExpand().widen(classifier, torch.Generator().manual_seed(0))
    assert classifier.weight.shape == (10, 4000)
    assert torch.equal(classifier.weight[:9], weight)
    assert classifier.weight[9].std().item() == pytest.approx((2 / 4010) ** 0.5, rel=0.05)
    assert classifier.bias[9] == 0
