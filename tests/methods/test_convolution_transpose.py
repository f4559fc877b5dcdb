"""Transposed kernels see transposed images as before, and the method forgets by that and fine-tuning alone."""

import copy

import pytest
import torch
import torch.nn as nn

from benchmark.api import PARADIGMS
from benchmark.data import Forbidden
from benchmark.errors import BenchmarkError
from benchmark.methods.convolution_transpose import ConvolutionTranspose, transpose_kernels
from benchmark.methods.fine_tune import FineTune

ALL = sorted(PARADIGMS)


@pytest.mark.parametrize("paradigm", ALL)
def test_transposing_twice_is_the_identity(original_of, paradigm):
    learner, before = original_of(paradigm), original_of(paradigm).state_dict()
    transpose_kernels(learner)
    assert not torch.equal(learner.encoder.conv1.weight, before["encoder.conv1.weight"])
    for _, target in learner.targets()[:1]:
        assert torch.equal(target.conv1.weight, original_of(paradigm).targets()[0][1].conv1.weight.mT)
    transpose_kernels(learner)
    assert all(torch.equal(value, before[name]) for name, value in learner.state_dict().items())


@pytest.mark.parametrize("paradigm", ALL)
def test_the_transposed_network_sees_a_transposed_image_as_the_original_sees_the_image(original_of, paradigm):
    images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    learner = original_of(paradigm)
    before = learner.embed(images)
    transpose_kernels(learner)
    torch.testing.assert_close(learner.embed(images.mT), before)
    assert not torch.allclose(learner.embed(images), before)


@pytest.mark.parametrize("paradigm", ALL)
def test_after_the_swap_it_is_fine_tuning(make_request, original_of, paradigm):
    """One epoch, whose rate is the full one; third-party and forget images are out of reach."""
    settings = {"lr": 0.01, "epochs": 1, "batch_size": 8}
    absent = {n: Forbidden("convolution_transpose", n) for n in ("forget", "third_party")}
    result = ConvolutionTranspose(**settings).unlearn(original_of(paradigm), make_request(paradigm, **absent))
    swapped = original_of(paradigm)
    transpose_kernels(swapped)
    tuned = FineTune(**settings).unlearn(swapped, make_request(paradigm)).state_dict()
    assert all(torch.equal(value, tuned[name]) for name, value in result.state_dict().items())


def test_rate_follows_a_cosine_epoch_by_epoch(make_request, original_of):
    """With one batch an epoch that is the cosine per step."""
    settings = {"lr": 0.01, "epochs": 4, "batch_size": 24}
    result = ConvolutionTranspose(**settings).unlearn(original_of("supervised"), make_request("supervised"))
    swapped = original_of("supervised")
    transpose_kernels(swapped)
    tuned = FineTune(**settings, schedule="cosine").unlearn(swapped, make_request("supervised")).state_dict()
    torch.testing.assert_close(result.state_dict(), tuned)


def test_kernels_that_are_not_square_stay(original_of):
    learner = original_of("supervised")
    learner.encoder.conv1 = nn.Conv2d(1, 8, (1, 3), padding=(0, 1))
    before = copy.deepcopy(learner.encoder.conv1.weight)
    transpose_kernels(learner)
    assert torch.equal(learner.encoder.conv1.weight, before)


def test_a_network_without_convolutions_is_refused(make_linear, make_request):
    with pytest.raises(BenchmarkError, match="no square kernel"):
        ConvolutionTranspose().unlearn(make_linear(), make_request("supervised"))
