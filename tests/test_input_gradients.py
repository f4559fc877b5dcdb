"""Gradient norms against closed forms: a linear scalar s(x) = w.x has the gradient w wherever one looks."""

import copy
import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.api import CONTRASTIVE, PARADIGMS
from benchmark.errors import BenchmarkError
from benchmark.input_gradients import (
    CONTRASTIVE_SCALARS,
    SUPERVISED_SCALARS,
    GradientPenaltyTerm,
    GradientReading,
)

ALL = sorted(PARADIGMS)
CASES = [("supervised", scalar) for scalar in SUPERVISED_SCALARS]
CASES += [(paradigm, scalar) for paradigm in sorted(CONTRASTIVE) for scalar in CONTRASTIVE_SCALARS]
LINEAR = GradientReading("logit_sum")


def pictures(count: int = 5, seed: int = 1) -> Tensor:
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def views_of(learner, count: int = 5) -> list[Tensor]:
    return [pictures(count, seed) for seed in range(learner.view_count)]


def penalty(reading, learner, request, second="third_party", target=0.0, size=6):
    second = None if second is None else getattr(request, second)
    return GradientPenaltyTerm(reading, learner, request, request.forget, second, size, target)


def state_of(learner) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in learner.state_dict().items()}


# The closed form


@pytest.mark.parametrize("target", [0.0, 1.0])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0, None], ids=["0", "0.3", "1", "drawn"])
def test_penalty_of_a_linear_scalar_is_the_same_at_every_mixture(make_linear, make_request, share, target):
    learner = make_linear()
    weight = learner.classifier.weight.detach().sum(0)
    norm = weight.norm()
    term = penalty(LINEAR, learner, make_request("supervised"), target=target)
    if share is not None:
        term.shares = lambda: torch.full((6, 1, 1, 1), share)
    value = term(None)
    value.backward()
    torch.testing.assert_close(value.detach(), (norm - target).square())
    expected = (2 * (norm - target) * weight / norm).expand(3, -1)
    torch.testing.assert_close(learner.classifier.weight.grad, expected)


def test_penalty_without_a_partner_is_that_of_the_images_themselves(make_linear, make_request):
    learner = make_linear()
    value = penalty(LINEAR, learner, make_request("supervised"), second=None, target=1.0)(None)
    torch.testing.assert_close(value, (learner.classifier.weight.sum(0).norm() - 1).square())


def test_normalised_pixels_scale_the_gradient_by_the_deviation(make_linear):
    learner = make_linear(mean=0.3, std=0.25)
    norm = learner.classifier.weight.sum(0).norm()
    raw = LINEAR.norms(learner, [pictures()])
    normalised = dataclasses.replace(LINEAR, pixels="normalised").norms(learner, [pictures()])
    torch.testing.assert_close(raw, (norm / 0.25).expand(5))
    torch.testing.assert_close(normalised, norm.expand(5))


def test_gradient_with_respect_to_features_is_that_of_the_classifier_alone(make_learner):
    learner = make_learner("supervised").train()
    norms = GradientReading("logit_sum", wrt="feature").norms(learner, [pictures()])
    torch.testing.assert_close(norms, learner.classifier.weight.sum(0).norm().expand(5))
    (gradient,) = torch.autograd.grad(norms.sum(), learner.classifier.weight)
    weight = learner.classifier.weight.detach().sum(0)
    torch.testing.assert_close(gradient, (5 * weight / weight.norm()).expand(3, -1))


def test_margin_and_log_odds_are_read_off_the_logits(make_linear):
    learner = make_linear()
    logits = learner.predict(pictures()).detach()
    top = logits.topk(2, dim=1).values
    p = logits.double().softmax(1).amax(1)
    expected = {
        "margin": top[:, 0] - top[:, 1],
        "log_odds": (p / (1 - p)).log().float(),
        "max_prob": p.float(),
        "logit_sum": logits.sum(1),
    }
    for scalar, values in expected.items():
        torch.testing.assert_close(GradientReading(scalar).scalars(learner, [pictures()]), values)


def test_margin_of_a_linear_classifier_has_the_difference_of_two_rows_as_gradient(make_linear):
    learner = make_linear()
    first, second = learner.predict(pictures()).topk(2, dim=1).indices.T
    rows = learner.classifier.weight
    norms = GradientReading("margin").norms(learner, [pictures()])
    torch.testing.assert_close(norms, (rows[first] - rows[second]).norm(dim=1))


# Where the penalty is taken


@pytest.mark.parametrize("paradigm", ALL)
@pytest.mark.parametrize(("share", "role"), [(1.0, "first"), (0.0, "second")])
def test_share_one_is_the_forget_image_and_share_zero_the_third_party_image(
    make_request, original_of, paradigm, share, role
):
    learner, request = original_of(paradigm), make_request(paradigm)
    reading = GradientReading("margin" if paradigm == "supervised" else "pos_cosine")
    term = penalty(reading, learner, request)
    term.shares = lambda: torch.full((6, 1, 1, 1), share)
    examples = request.forget if role == "first" else request.third_party
    images = next(examples.stream(6, request.stream(role))).images
    views = learner.views(images, request.stream(f"augment/{role}"))
    expected = reading.norms(learner, views).square().mean()
    torch.testing.assert_close(term(None), expected, rtol=1e-4, atol=1e-7)


def test_shares_are_uniform_and_one_per_pair(make_linear, make_request):
    term = penalty(LINEAR, make_linear(), make_request("supervised"))
    drawn = torch.cat([term.shares() for _ in range(200)])
    assert drawn.shape == (1200, 1, 1, 1)
    assert 0 <= drawn.min() < 0.01 < 0.99 < drawn.max() <= 1
    assert drawn.mean().item() == pytest.approx(0.5, abs=0.03)


def test_views_are_mixed_after_augmentation_with_one_share_for_both(make_request, original_of, monkeypatch):
    learner, request = original_of("simclr"), make_request("simclr")
    seen: list[list[Tensor]] = []
    monkeypatch.setattr(
        GradientReading, "norms", lambda self, learner, views: seen.append(views) or torch.zeros(len(views[0]))
    )
    term = penalty(GradientReading("pos_cosine"), learner, request)
    shares = torch.linspace(0, 1, 6).view(6, 1, 1, 1)
    term.shares = lambda: shares
    term(None)
    drawn = {}
    for role, examples in (("first", request.forget), ("second", request.third_party)):
        images = next(examples.stream(6, request.stream(role))).images
        drawn[role] = learner.views(images, request.stream(f"augment/{role}"))
    for view, ours, theirs in zip(seen[0], drawn["first"], drawn["second"], strict=True):
        torch.testing.assert_close(view, shares * ours + (1 - shares) * theirs)


@pytest.mark.parametrize(("size", "expected"), [(6, 6), (64, 8)])
def test_pairs_are_as_many_as_the_smaller_set_allows(make_linear, make_request, size, expected):
    request = make_request("supervised")
    term = penalty(LINEAR, make_linear(), request, size=size)
    term(None)
    assert request.samples_seen() == {"forget": expected, "retain": 0, "third_party": expected}


# Every scalar of every paradigm


@pytest.mark.parametrize(("paradigm", "scalar"), CASES)
def test_every_scalar_has_gradients_in_its_paradigm_that_training_can_use(original_of, paradigm, scalar):
    for wrt in ("input", "feature"):
        for space in ("head", "encoder") if paradigm != "supervised" else ("head",):
            if (scalar, space, wrt) == ("output_sum", "encoder", "feature"):
                continue
            learner = original_of(paradigm).train()
            norms = GradientReading(scalar, space, wrt).norms(learner, views_of(learner))
            assert norms.shape == (5,)
            assert norms.isfinite().all()
            assert (norms > 0).all()
            (norms - 1).square().mean().backward()
            moved = [p.grad for _, p in learner.trainable() if p.grad is not None]
            assert all(gradient.isfinite().all() for gradient in moved)
            if wrt == "input":
                assert any(gradient.any() for gradient in moved)
            assert all(p.grad is None for _, target in learner.targets() for p in target.parameters())


@pytest.mark.parametrize("paradigm", ALL)
def test_norms_do_not_depend_on_the_other_images_of_the_batch(original_of, paradigm):
    scalar = "margin" if paradigm == "supervised" else "pos_cosine"
    learner = original_of(paradigm).train()
    views = views_of(learner)
    together = GradientReading(scalar).norms(learner, views)
    alone = torch.cat([GradientReading(scalar).norms(learner, [view[i : i + 1] for view in views]) for i in range(5)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("paradigm", sorted(CONTRASTIVE))
def test_gradient_is_taken_with_respect_to_view_one_alone(original_of, paradigm):
    learner = original_of(paradigm).eval()
    first, second = views_of(learner)
    at = first.clone().requires_grad_()
    online = learner.predictor(learner.project(at)) if paradigm == "byol" else learner.project(at)
    with torch.no_grad():
        normalised = (second - learner.mean) / learner.std
        if paradigm == "simclr":
            other = learner.project(second)
        elif paradigm == "moco":
            other = learner.key_head(learner.key_encoder(normalised))
        else:
            other = learner.target_projector(learner.target_encoder(normalised))
    (gradient,) = torch.autograd.grad(F.cosine_similarity(online, other).sum(), at)
    norms = GradientReading("pos_cosine").norms(learner, [first, second])
    torch.testing.assert_close(norms, gradient.flatten(1).norm(dim=1), rtol=1e-4, atol=1e-5)


def test_neg_infonce_is_the_negated_loss_of_each_image(original_of):
    learner = original_of("moco").eval()
    views = views_of(learner)
    scalars = GradientReading("neg_infonce").scalars(learner, views)
    assert torch.equal(scalars, -learner.view_loss(views, torch.zeros(5, dtype=torch.long), "none"))


# No trace


@pytest.mark.parametrize(("paradigm", "scalar"), CASES)
def test_penalty_leaves_running_statistics_and_queue_as_they_were(make_request, original_of, paradigm, scalar):
    learner = original_of(paradigm).train()
    before = state_of(learner)
    penalty(GradientReading(scalar), learner, make_request(paradigm))(None).backward()
    assert all(torch.equal(value, before[name]) for name, value in learner.state_dict().items())
    assert all(module.training for module in learner.modules())
    assert not learner.encoder._forward_hooks
    if paradigm == "moco":
        assert learner._step_keys is None


def test_statistics_of_the_batch_are_used_on_demand(original_of):
    learner = original_of("supervised").train()
    before = state_of(learner)
    frozen = GradientReading("margin").norms(learner, [pictures()])
    batch = GradientReading("margin", bn="train").norms(learner, [pictures()])
    assert not torch.allclose(frozen, batch)
    assert not torch.equal(learner.encoder.bn1.running_mean, before["encoder.bn1.running_mean"])


def test_norms_are_float32_within_bfloat16_autocast(original_of):
    learner = original_of("supervised")
    plain = GradientReading("margin").norms(learner, [pictures()])
    with torch.autocast("cpu", torch.bfloat16):
        mixed = GradientReading("margin").norms(learner, [pictures()])
    assert mixed.dtype == torch.float32
    assert torch.equal(plain, mixed)


def test_norm_of_a_constant_scalar_is_nearly_zero_and_trains_without_nan(make_linear):
    learner = make_linear()
    torch.nn.init.zeros_(learner.classifier.weight)
    norms = LINEAR.norms(learner, [pictures()])
    norms.square().mean().backward()
    assert norms.max() < 1e-5
    assert learner.classifier.weight.grad.isfinite().all()


def test_given_images_take_no_gradient(original_of):
    learner, images = original_of("supervised"), pictures()
    GradientReading("margin").norms(learner, [images])
    assert not images.requires_grad


# Refusals


@pytest.mark.parametrize("scalar", SUPERVISED_SCALARS)
@pytest.mark.parametrize("paradigm", sorted(CONTRASTIVE))
def test_encoders_refuse_the_scalars_of_classifiers(make_learner, make_request, paradigm, scalar):
    with pytest.raises(BenchmarkError, match=rf"'{scalar}' is not defined for {paradigm} learners; known: pos_cos"):
        penalty(GradientReading(scalar), make_learner(paradigm), make_request(paradigm))


def test_sum_of_features_is_refused_with_respect_to_features_where_its_gradient_is_constant():
    assert "same gradient everywhere" in GradientReading("output_sum", "encoder", "feature").refusal("simclr")


@pytest.mark.parametrize("scalar", [*CONTRASTIVE_SCALARS, "prob_sum", "softmax_sum", "sum"])
def test_classifiers_refuse_the_scalars_of_encoders_and_the_constant_sum_of_probabilities(scalar):
    refusal = GradientReading(scalar).refusal("supervised")
    assert refusal.startswith(f"scalar = '{scalar}' is not defined for supervised learners; known: margin")


@pytest.mark.parametrize(("paradigm", "scalar"), CASES)
def test_scalars_of_the_paradigm_are_not_refused(paradigm, scalar):
    assert GradientReading(scalar).refusal(paradigm) is None


def test_penalty_is_repeatable(make_request, original_of):
    learner = original_of("moco")
    values = []
    for _ in range(2):
        twin = copy.deepcopy(learner)
        term = penalty(GradientReading("pos_cosine"), twin, make_request("moco"))
        values.append([term(None).item() for _ in range(3)])
    assert values[0] == values[1]
    assert len(set(values[0])) == 3
