"""SFR-on: its mean, its mask, and what is left without ascent."""

import pytest
import torch

from benchmark.api import PARADIGMS
from benchmark.data import ExampleSet, Forbidden
from benchmark.methods.fine_tune import FineTune
from benchmark.methods.sfron import Sfron, adaptive_mean

ALL = sorted(PARADIGMS)
LOOP = {"lr": 0.01, "epochs": 2, "batch_size": 7}
LOSSES = torch.tensor([0.5, 2.0, 4.0], dtype=torch.double)


def equal(first, second):
    second = second.state_dict()
    return all(torch.equal(value, second[name]) for name, value in first.state_dict().items())


@pytest.mark.parametrize(("exponent", "expected"), [(0.0, 6.5 / 3), (1.0, 3 / (2 + 0.5 + 0.25))])
def test_adaptive_mean_is_the_mean_and_the_harmonic_mean(exponent, expected):
    assert adaptive_mean(LOSSES, exponent).item() == pytest.approx(expected)


@pytest.mark.parametrize("exponent", [0.3, 0.5, 2.0])
def test_adaptive_mean_is_a_ratio_of_power_sums_and_its_weights_take_no_gradient(exponent):
    losses = LOSSES.clone().requires_grad_()
    mean = adaptive_mean(losses, exponent)
    mean.backward()
    assert mean.item() == pytest.approx((LOSSES ** (1 - exponent)).sum().item() / (LOSSES**-exponent).sum().item())
    torch.testing.assert_close(losses.grad, LOSSES**-exponent / (LOSSES**-exponent).sum())


@pytest.mark.parametrize("paradigm", ALL)
def test_rate_zero_is_fine_tuning_with_a_cosine(make_request, original_of, paradigm):
    request = make_request(paradigm, third_party=Forbidden("sfron", "third_party"))
    result = Sfron(rate=0.0, **LOOP).unlearn(original_of(paradigm), request)
    tuned = FineTune(schedule="cosine", **LOOP).unlearn(original_of(paradigm), make_request(paradigm))
    assert equal(result, tuned)
    assert request.samples_seen()["forget"] == 0


@pytest.mark.parametrize("paradigm", ALL)
def test_threshold_zero_frees_every_weight_and_one_some(make_request, original_of, paradigm):
    learner, request = original_of(paradigm), make_request(paradigm)
    assert all(free.all() for free in Sfron(threshold=0.0).mask(learner, request).values())
    free = torch.cat([free.flatten() for free in Sfron().mask(learner, request).values()])
    assert 0 < free.float().mean() < 1


def test_equal_sets_and_threshold_one_free_every_weight(make_request, make_data, original_of):
    twins = {name: ExampleSet(make_data(8), name, torch.device("cpu")) for name in ("forget", "retain")}
    mask = Sfron(threshold=1.0).mask(original_of("supervised"), make_request("supervised", **twins))
    assert all(free.all() for free in mask.values())


@pytest.mark.parametrize("paradigm", ALL)
def test_ascent_takes_no_gradient_outside_the_mask_and_is_clipped(make_request, original_of, monkeypatch, paradigm):
    learner, request = original_of(paradigm), make_request(paradigm)
    method = Sfron(rate=1.0, lr=1e-3, momentum=0.0, weight_decay=0.0, epochs=1, batch_size=24)
    seen = []
    step = torch.optim.SGD.step

    def spy(self, *given):
        seen.append([p.grad.clone() for p in self.param_groups[0]["params"] if p.grad is not None])
        return step(self, *given)

    monkeypatch.setattr(torch.optim.SGD, "step", spy)
    method.unlearn(learner, request)
    ascent, repair = seen
    if paradigm != "moco":  # whose queue is rebuilt before
        mask = method.mask(learner, make_request(paradigm))
        assert all((gradient[~free] == 0).all() for gradient, free in zip(ascent, mask.values(), strict=True))
        assert any((gradient[~free] != 0).any() for gradient, free in zip(repair, mask.values(), strict=True))
    assert torch.stack([gradient.norm() for gradient in ascent]).norm() <= 7.0001


def test_ascent_comes_before_every_kth_step_of_an_epoch(make_request, original_of):
    request = make_request("supervised", third_party=Forbidden("sfron", "third_party"))
    Sfron(every=2, **LOOP | {"batch_size": 8}).unlearn(original_of("supervised"), request)
    passes = {"forget": 8, "retain": 24}  # of the mask
    assert request.samples_seen() == {"forget": passes["forget"] + 2 * 2 * 8, "retain": passes["retain"] + 48}


def test_forgetting_raises_the_loss_on_forget_images(make_request, original_of):
    before, request = original_of("supervised"), make_request("supervised")
    after = Sfron(every=1, threshold=0.0, **LOOP).unlearn(before, request)
    batch = request.forget.all()
    losses = [model.view_loss([batch.images], batch.labels).item() for model in (before, after)]
    assert losses[1] > losses[0]
