"""Fisher forgetting adds noise of a known variance, and knows the forgotten class from who is left."""

import pytest
import torch

from benchmark.api import PARADIGMS, weights_of
from benchmark.curvature import class_fisher_diagonal
from benchmark.data import ExampleSet, Forbidden
from benchmark.methods.fisher_forgetting import FisherForgetting

ALL = sorted(PARADIGMS)
ABSENT = {name: Forbidden("fisher_forgetting", name) for name in ("forget", "third_party")}


def without_class(make_data, gone):
    data = make_data(40)
    return ExampleSet(data.select((data.labels != gone).nonzero().squeeze(1)), "retain", torch.device("cpu"))


@pytest.mark.parametrize("paradigm", ALL)
def test_alpha_zero_changes_no_weight_and_no_forget_image_is_touched(make_request, original_of, paradigm):
    before = weights_of(original_of(paradigm))
    after = weights_of(FisherForgetting(alpha=0.0).unlearn(original_of(paradigm), make_request(paradigm, **ABSENT)))
    assert all(torch.equal(value, before[name]) for name, value in after.items())


def test_noise_has_the_variance_that_is_asked_for(make_linear, make_request):
    """2,560 draws: the 64 weights of an output share their variance, and 40 models differ in their noise alone."""
    method, start = FisherForgetting(alpha=1e-4), make_linear(side=8).classifier.weight.detach()
    moves = [
        method.unlearn(make_linear(side=8), make_request("supervised", seed=seed)).classifier.weight.detach() - start
        for seed in range(40)
    ]
    found = class_fisher_diagonal(make_linear(side=8), make_request("supervised").retain)["classifier.weight"]
    expected = method.variance(found, torch.zeros(3, dtype=torch.bool))[1, 0].item()
    drawn = torch.cat([move[1] for move in moves])
    assert drawn.var().item() == pytest.approx(expected, rel=0.1)
    assert drawn.mean().item() == pytest.approx(0, abs=4 * (expected / len(drawn)) ** 0.5)


def test_variance_is_the_authors():
    method = FisherForgetting(alpha=1e-6)
    none, first = torch.zeros(2, dtype=torch.bool), torch.tensor([True, False])
    assert method.variance(torch.tensor([0.5, 0.0]), None).tolist() == pytest.approx([2e-5, 1e-2])
    matrix = torch.tensor([[0.5, 0.0], [1.0, 1.0]])
    assert method.variance(matrix, None).flatten().tolist() == pytest.approx([5.01e-4] * 2 + [1e-6] * 2)
    assert method.variance(matrix, none).flatten().tolist() == pytest.approx([5.1e-4] * 2 + [1e-5] * 2)
    assert method.variance(matrix, first).flatten().tolist() == pytest.approx([1e-3] * 2 + [1e-5] * 2)
    quarter = FisherForgetting(alpha=1.0, exponent=0.25).variance(torch.tensor([[0.25]]), None)
    assert quarter.item() == pytest.approx(2.0)


@pytest.mark.parametrize("scenario", ["class", "random"])
def test_the_output_of_a_class_that_is_gone_is_redrawn_near_zero_in_the_class_scenario_alone(
    make_request, make_data, original_of, scenario
):
    request = make_request("supervised", retain=without_class(make_data, 1), scenario=scenario, **ABSENT)
    before = original_of("supervised").classifier
    after = FisherForgetting(alpha=0.0).unlearn(original_of("supervised"), request).classifier
    assert torch.equal(after.weight[[0, 2]], before.weight[[0, 2]])
    if scenario == "random":
        assert torch.equal(after.weight, before.weight)
    else:
        assert 0 < after.weight[1].abs().max() < 5 * 1e-3**0.5
        assert after.weight[1].unique().numel() == after.weight[1].numel()


@pytest.mark.parametrize(("paradigm", "copy"), [("moco", "key_encoder"), ("byol", "target_encoder")])
def test_momentum_copies_get_the_same_noise(make_request, original_of, paradigm, copy):
    before, request = original_of(paradigm), make_request(paradigm)
    after = FisherForgetting(alpha=1e-4).unlearn(before, request)
    online = after.encoder.conv1.weight - before.encoder.conv1.weight
    target = getattr(after, copy).conv1.weight - getattr(before, copy).conv1.weight
    assert online.abs().max() > 0
    torch.testing.assert_close(online, target, rtol=0, atol=1e-6)


def test_a_cap_bounds_the_images_that_are_read_and_is_logged(make_request, original_of):
    request = make_request("supervised", **ABSENT)
    FisherForgetting(samples=10).unlearn(original_of("supervised"), request)
    assert request.samples_seen() == {"retain": 10}
    assert request.log == [{"epoch": 1, "images": 10.0}]
