"""Ascent that fades as it succeeds."""

import math

import pytest
import torch

from benchmark.api import PARADIGMS
from benchmark.data import Forbidden
from benchmark.methods.gradient_ascent import GradientAscent
from benchmark.methods.npo import NPO, preference

ALL = sorted(PARADIGMS)
ONCE = {"epochs": 1, "batch_size": 8, "momentum": 0.0, "weight_decay": 0.0}


@pytest.mark.parametrize("beta", [0.01, 0.1, 10.0])
@pytest.mark.parametrize("paradigm", ALL)
def test_first_step_is_that_of_plain_ascent_for_every_beta(make_request, original_of, flat, paradigm, beta):
    request, start = make_request(paradigm), flat(original_of(paradigm))
    result = NPO(beta=beta, lr=0.01, **ONCE).unlearn(original_of(paradigm), request)
    ascent = GradientAscent(lr=0.01, **ONCE).unlearn(original_of(paradigm), make_request(paradigm))
    torch.testing.assert_close(flat(result) - start, flat(ascent) - start, rtol=1e-3, atol=1e-6)
    assert request.log[0]["loss"] == pytest.approx(2 / beta * math.log(2), rel=1e-4)


def test_loss_is_positive_and_falls_with_the_rise_of_the_forget_loss():
    rises = torch.linspace(-30, 30, 200, dtype=torch.double)
    values = torch.stack([preference(rise[None], 0.5) for rise in rises])
    assert (values > 0).all()
    assert (values.diff() < 0).all()


def test_weight_of_an_image_fades_as_it_is_forgotten():
    rise = torch.tensor([20.0], dtype=torch.double, requires_grad=True)
    preference(rise, 0.1).backward()
    assert -rise.grad.item() == pytest.approx(0.2384, abs=1e-4)


def test_every_image_has_its_own_sigmoid():
    rise = torch.tensor([20.0, 0.0], dtype=torch.double, requires_grad=True)
    preference(rise, 0.1).backward()
    assert (-2 * rise.grad).tolist() == pytest.approx([0.2384, 1.0], abs=1e-4)


@pytest.mark.parametrize("paradigm", ALL)
def test_retain_images_are_read_on_demand_and_without_them_no_key_remains(make_request, original_of, same, paradigm):
    absent = {name: Forbidden("npo", name) for name in ("retain", "third_party")}
    alone = NPO(lr=0.01, **(ONCE | {"epochs": 10})).unlearn(original_of(paradigm), make_request(paradigm, **absent))
    request = make_request(paradigm)
    method = NPO(lr=0.01, retain_weight=1.0, **(ONCE | {"epochs": 10}))
    beside = method.unlearn(original_of(paradigm), request)
    assert method.reads() == {"forget", "retain"}
    rebuilt = 24 if paradigm == "moco" else 0
    assert request.samples_seen() == {"forget": 80, "retain": 80 + rebuilt, "third_party": 0}
    assert not same(alone, beside)
    assert not any("queue" in name and value.any() for name, value in alone.state_dict().items())


def test_forget_loss_rises_and_a_larger_beta_stops_sooner(make_request, original_of):
    rises = {}
    for beta in (0.1, 10.0):
        request = make_request("supervised")
        NPO(beta=beta, lr=0.01, **(ONCE | {"epochs": 30})).unlearn(original_of("supervised"), request)
        values = [row["preference"] for row in request.log]
        assert 0 < values[-1] < values[0]
        rises[beta] = -math.log(math.expm1(beta / 2 * values[-1])) / beta
    assert 0 < rises[10.0] < rises[0.1]
