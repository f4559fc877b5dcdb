"""CFW adds the noise that it says, where it says, and is fine-tuning otherwise."""

import pytest
import torch

from benchmark.api import PARADIGMS
from benchmark.data import Forbidden
from benchmark.methods import confuse_finetune_weighted
from benchmark.methods.confuse_finetune_weighted import ConfuseFinetuneWeighted, confuse
from benchmark.methods.fine_tune import FineTune

ALL = sorted(PARADIGMS)
QUIET = {"std": 0.0, "late_std": 0.0}


def generator():
    return torch.Generator().manual_seed(0)


def changed(learner, original):
    return {name for name, p in learner.state_dict().items() if not torch.equal(p, original.state_dict()[name])}


@pytest.mark.parametrize("paradigm", ALL)
def test_without_noise_it_is_fine_tuning(make_request, original_of, paradigm):
    settings = {"lr": 0.01, "epochs": 1, "batch_size": 8}
    absent = {n: Forbidden("confuse_finetune_weighted", n) for n in ("forget", "third_party")}
    method = ConfuseFinetuneWeighted(**QUIET, **settings)
    result = method.unlearn(original_of(paradigm), make_request(paradigm, **absent)).state_dict()
    tuned = FineTune(**settings).unlearn(original_of(paradigm), make_request(paradigm)).state_dict()
    assert all(torch.equal(value, tuned[name]) for name, value in result.items())


def test_rate_follows_a_cosine_epoch_by_epoch(make_request, original_of):
    """With one batch an epoch that is the cosine per step."""
    settings = {"lr": 0.01, "epochs": 4, "batch_size": 24}
    method = ConfuseFinetuneWeighted(**QUIET, **settings)
    result = method.unlearn(original_of("supervised"), make_request("supervised")).state_dict()
    tuned = FineTune(**settings, schedule="cosine").unlearn(original_of("supervised"), make_request("supervised"))
    torch.testing.assert_close(result, tuned.state_dict())


@pytest.mark.parametrize("std", [0.6, 0.005])
def test_noise_has_the_deviation_that_is_set(make_learner, std):
    learner, before = (make_learner("supervised") for _ in range(2))
    for model in (learner, before):
        model.encoder.conv1 = torch.nn.Conv2d(40, 40, 3)
        torch.nn.init.zeros_(model.encoder.conv1.weight)
    confuse(learner, "first_conv", std, generator())
    noise = learner.encoder.conv1.weight
    assert noise.numel() > 10_000
    assert noise.std().item() == pytest.approx(std, rel=0.03)
    assert abs(noise.mean().item()) < 0.03 * std


@pytest.mark.parametrize("paradigm", ALL)
def test_noise_stays_in_scope_and_reaches_momentum_copies(original_of, paradigm):
    learner = original_of(paradigm)
    confuse(learner, "first_conv", 0.6, generator())
    copies = {name for name in learner.state_dict() if name.endswith("_encoder.conv1.weight")}
    assert changed(learner, original_of(paradigm)) == {"encoder.conv1.weight"} | copies
    assert len(copies) == len(learner.targets()) // 2
    learner = original_of(paradigm)
    confuse(learner, "all_conv", 0.6, generator())
    kernels = {name for name, p in learner.state_dict().items() if p.dim() == 4 and name not in ("mean", "std")}
    assert changed(learner, original_of(paradigm)) == kernels


def test_the_second_noise_comes_before_the_last_epoch(make_request, original_of, monkeypatch):
    calls, real = [], confuse

    def recorded(learner, scope, std, draws):
        calls.append((std, len(request.log)))
        real(learner, scope, std, draws)

    monkeypatch.setattr(confuse_finetune_weighted, "confuse", recorded)
    request = make_request("supervised")
    ConfuseFinetuneWeighted(epochs=3, batch_size=8).unlearn(original_of("supervised"), request)
    assert calls == [(0.6, 0), (0.005, 2)]
