"""MSG resets the same share of every convolution and spares what it keeps."""

import pytest
import torch

from benchmark.api import PARADIGMS, loss_term, optimisation_of
from benchmark.methods.fine_tune import FineTune
from benchmark.methods.masked_small_gradients import MaskedSmallGradients, kaiming, kernels, smallest, triangle

ALL = sorted(PARADIGMS)
SHORT = {"epochs": 2, "batch_size": 8}


@pytest.mark.parametrize("paradigm", ALL)
def test_nothing_reset_and_nothing_spared_is_fine_tuning(make_request, original_of, paradigm):
    settings = {"lr": 0.01, "epochs": 1, "batch_size": 8}
    method = MaskedSmallGradients(rho=0.0, keep_scale=1.0, **settings)
    result = method.unlearn(original_of(paradigm), make_request(paradigm)).state_dict()
    tuned = FineTune(**settings).unlearn(original_of(paradigm), make_request(paradigm)).state_dict()
    assert all(torch.equal(value, tuned[name]) for name, value in result.items())


def test_rates_of_the_epochs_are_those_of_the_schedule(make_request, original_of):
    settings = {"lr": 0.01, "epochs": 3, "batch_size": 8}
    method = MaskedSmallGradients(rho=0.0, keep_scale=1.0, **settings)
    result = method.unlearn(original_of("supervised"), make_request("supervised")).state_dict()
    by_hand, request = original_of("supervised"), make_request("supervised")
    order, utility = request.stream("retain"), loss_term(by_hand, request.stream("augment/retain"))
    descent = request.descent(by_hand, optimisation_of(method))
    for epoch in descent.epochs():
        descent.scale_rate([0.5, 1.0, 0.5][epoch])
        descent.over(request.retain, {"utility": (1.0, utility)}, order)
    assert all(torch.equal(value, by_hand.state_dict()[name]) for name, value in result.items())


@pytest.mark.parametrize("rho", [0.1, 0.3, 1.0])
@pytest.mark.parametrize("paradigm", ALL)
def test_without_fine_tuning_exactly_the_share_of_every_kernel_is_new(make_request, original_of, paradigm, rho):
    result = MaskedSmallGradients(rho=rho, lr=0.0, **SHORT).unlearn(original_of(paradigm), make_request(paradigm))
    before, seen = kernels(original_of(paradigm)), kernels(result)
    assert len(seen) >= 3
    for name, weight in result.trainable():
        changed = int((weight != dict(original_of(paradigm).trainable())[name]).sum())
        assert changed == (round(rho * weight.numel()) if name in before else 0)


def test_momentum_copies_get_the_same_new_weights(make_request, original_of):
    result = MaskedSmallGradients(rho=1.0, lr=0.0, **SHORT).unlearn(original_of("byol"), make_request("byol"))
    online, target = result.targets()[0]
    torch.testing.assert_close(target.conv1.weight, online.conv1.weight)


def test_what_forget_and_retain_disagree_about_is_kept():
    values = torch.tensor([[-5.0, 0.1], [0.0, 3.0]])
    assert smallest(values, 0.5).tolist() == [[False, True], [True, False]]
    assert smallest(torch.zeros(7), 0.5).tolist() == [True] * 4 + [False] * 3


def test_kept_weights_take_a_share_of_their_gradient_and_all_of_their_decay(make_request, original_of):
    """One step: of the difference that a full gradient makes, `keep_scale` is left; decay is as ever."""
    plain = {"rho": 0.0, "epochs": 1, "batch_size": 24, "lr": 0.1, "momentum": 0.0, "weight_decay": 0.05}
    start, moved = kernels(original_of("supervised")), {}
    for scale in (1.0, 0.25, 0.0):
        method = MaskedSmallGradients(keep_scale=scale, **plain)
        moved[scale] = kernels(method.unlearn(original_of("supervised"), make_request("supervised")))
    for name, weight in start.items():
        decayed = (1 - 0.1 * 0.05) * weight.detach()
        torch.testing.assert_close(moved[0.0][name].detach(), decayed)
        expected = decayed + 0.25 * (moved[1.0][name].detach() - decayed)
        torch.testing.assert_close(moved[0.25][name].detach(), expected, atol=1e-6, rtol=1e-4)


def test_rate_rises_over_one_half_and_falls_over_the_other():
    assert [triangle(e, 5) for e in range(5)] == pytest.approx([1 / 3, 2 / 3, 1, 2 / 3, 1 / 3])
    assert [triangle(e, 4) for e in range(4)] == pytest.approx([1 / 2, 1, 2 / 3, 1 / 3])
    assert triangle(0, 1) == 1.0


def test_new_kernels_have_the_spread_of_kaiming_by_fan_out():
    drawn = kaiming(torch.empty(64, 32, 3, 3), torch.Generator().manual_seed(0))
    assert drawn.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.03)


def test_gradients_are_read_on_as_many_retain_images_as_are_forgotten(make_request, original_of):
    request = make_request("supervised")
    MaskedSmallGradients(**SHORT).unlearn(original_of("supervised"), request)
    assert request.samples_seen() == {"forget": 8, "retain": 8 + 2 * 24, "third_party": 0}
