"""Alignment by the Wasserstein distance of two batches of confidences."""

import pytest
import scipy.stats
import torch

from benchmark.api import PARADIGMS
from benchmark.data import ExampleSet
from benchmark.methods.fine_tune import FineTune
from benchmark.methods.third_party_alignment import ThirdPartyAlignment, wasserstein

ALL = sorted(PARADIGMS)
LOOP = {"optimizer": "adam", "schedule": "onecycle", "lr": 1e-3, "weight_decay": 0.01, "epochs": 2, "batch_size": 12}
SMALL = {**LOOP, "forget_batch_size": 4}


def confidences(count=50, seed=0):
    return torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def test_distance_of_a_batch_to_itself_in_any_order_is_exactly_zero():
    s = confidences()
    assert wasserstein(s, s[torch.randperm(50, generator=torch.Generator().manual_seed(1))]).item() == 0.0


@pytest.mark.parametrize("shift", [-3.0, 0.25, 10.0])
def test_distance_to_a_shifted_batch_is_the_shift(shift):
    assert wasserstein(confidences() + shift, confidences()).item() == pytest.approx(abs(shift), rel=1e-12)


def test_distance_is_that_of_scipy():
    s, t = confidences(seed=1), 2 * confidences(seed=2)
    assert wasserstein(s, t).item() == pytest.approx(scipy.stats.wasserstein_distance(s, t), rel=1e-12)


def test_each_forget_image_is_pulled_towards_the_third_party_image_of_its_rank():
    s = torch.tensor([3.0, 1.0, 2.0], requires_grad=True)
    wasserstein(s, torch.tensor([10.0, 0.0, 2.5])).backward()
    assert s.grad.tolist() == pytest.approx([-1 / 3, 1 / 3, -1 / 3])


@pytest.mark.parametrize("paradigm", ALL)
def test_weight_zero_is_fine_tuning_with_the_same_optimiser(make_request, original_of, paradigm):
    request = make_request(paradigm)
    aligned = ThirdPartyAlignment(weight=0.0, **SMALL).unlearn(original_of(paradigm), request).state_dict()
    tuned = FineTune(**LOOP).unlearn(original_of(paradigm), make_request(paradigm)).state_dict()
    assert all(torch.equal(value, tuned[name]) for name, value in aligned.items())
    assert request.samples_seen()["forget"] == request.samples_seen()["third_party"] == 0


def test_term_of_equal_sets_is_zero(make_linear, make_data, make_request):
    """One image in both sets, no views: the two batches are identical whatever their order."""
    twins = {name: ExampleSet(make_data(8, seed=4), name, torch.device("cpu")) for name in ("forget", "third_party")}
    request = make_request("supervised", **twins)
    ThirdPartyAlignment(weight=1.0, **SMALL | {"epochs": 1, "forget_batch_size": 8}).unlearn(make_linear(), request)
    assert request.log[0]["alignment"] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("paradigm", ALL)
def test_alignment_moves_forget_confidences_and_takes_no_gradient_from_third_party_images(
    make_request, original_of, monkeypatch, paradigm
):
    learner, request = original_of(paradigm), make_request(paradigm)
    seen = []
    confidence = type(learner).confidence
    monkeypatch.setattr(type(learner), "confidence", lambda *given: seen.append(confidence(*given)) or seen[-1])
    ThirdPartyAlignment(weight=1.0, **SMALL).unlearn(learner, request)
    assert len(seen) == 8
    assert all(s.requires_grad for s in seen[0::2])
    assert not any(s.requires_grad for s in seen[1::2])
    assert request.samples_seen()["forget"] == request.samples_seen()["third_party"] == 16


def test_alignment_brings_the_confidences_nearer(make_linear, make_request):
    request, plain = make_request("supervised"), {"optimizer": "sgd", "schedule": "constant", "momentum": 0.0}
    settings = plain | {"lr": 1e-4, "epochs": 20, "batch_size": 24, "forget_batch_size": 8}
    ThirdPartyAlignment(weight=10.0, **settings).unlearn(make_linear(seed=1), request)
    distances = [row["alignment"] for row in request.log]
    assert distances[-1] < 0.7 * distances[0]
