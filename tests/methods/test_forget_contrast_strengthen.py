"""FCS: three objectives, three optimisers, and the least value of each is where it should be."""

import math

import pytest
import torch

from benchmark.api import PARADIGMS, kl
from benchmark.methods.fine_tune import FineTune
from benchmark.methods.forget_contrast_strengthen import ForgetContrastStrengthen, unevenness

ALL = sorted(PARADIGMS)
SHORT = {"epochs": 2, "batch_size": 8}


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_gradient_of_the_first_pass_on_logits_is_what_the_prediction_lacks_of_uniform():
    logits = random(5, 3).requires_grad_()
    kl(torch.zeros_like(logits), logits).backward()
    torch.testing.assert_close(logits.grad, (logits.detach().softmax(1) - 1 / 3) / 5)


def test_contrast_is_least_when_no_retain_image_is_more_alike_than_another():
    forget, retain = random(5, 4), random(6, 4, seed=1)
    assert unevenness(forget, retain, 1.15) > math.log(6)
    even = unevenness(forget, retain[:1].expand(6, 4), 1.15)
    assert even.item() == pytest.approx(math.log(6), rel=1e-6)
    assert unevenness(forget, retain, 5.0) < unevenness(forget, retain, 0.1)


@pytest.mark.parametrize("paradigm", ALL)
def test_no_epoch_and_no_rate_leave_parameters_equal(make_request, original_of, paradigm):
    method = ForgetContrastStrengthen(uniform_lr=0.0, epochs=0)
    result = method.unlearn(original_of(paradigm), make_request(paradigm))
    before = dict(original_of(paradigm).trainable())
    assert all(torch.equal(p, before[name]) for name, p in result.trainable())
    assert not result.training


@pytest.mark.parametrize("paradigm", ALL)
def test_every_stage_takes_the_images_that_it_should(make_request, original_of, paradigm):
    request = make_request(paradigm)
    ForgetContrastStrengthen(**SHORT).unlearn(original_of(paradigm), request)
    first = 8 if paradigm == "supervised" else 0
    rebuilt = 24 if paradigm == "moco" else 0
    assert request.samples_seen() == {"forget": first + 2 * 8, "retain": rebuilt + 2 * (8 + 24), "third_party": 0}
    terms = [next(iter(row.keys() - {"epoch", "loss"})) for row in request.log]
    assert terms == ["uniformity"] * (first > 0) + ["contrast", "utility"] * 2


def test_the_three_optimisers_do_not_share_their_momenta(make_request, original_of):
    """With the first two at rest, the third's steps are those of fine-tuning: parameters equal, bit for bit."""
    settings = {"lr": 0.01, "weight_decay": 1e-2, **SHORT}
    result = ForgetContrastStrengthen(uniform_lr=0.0, contrast_lr=0.0, **settings).unlearn(
        original_of("supervised"), make_request("supervised")
    )
    tuned = FineTune(**settings).unlearn(original_of("supervised"), make_request("supervised"))
    for (_, mine), (_, theirs) in zip(result.trainable(), tuned.trainable(), strict=True):
        assert torch.equal(mine, theirs)
    assert not torch.equal(result.encoder.bn1.running_mean, tuned.encoder.bn1.running_mean)


def test_the_first_pass_flattens_predictions_on_forget(make_request, original_of):
    def entropy(learner):
        p = learner.predict(make_request("supervised").forget.all().images).softmax(1)
        return -(p * p.log()).sum(1).mean().item()

    method = ForgetContrastStrengthen(uniform_lr=0.02, epochs=0, batch_size=2)
    result = method.unlearn(original_of("supervised"), make_request("supervised"))
    assert entropy(original_of("supervised")) < entropy(result)
