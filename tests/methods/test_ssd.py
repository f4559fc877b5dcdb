"""Dampening of single weights by importance, and the same without a loss."""

import pytest
import torch

from benchmark.api import PARADIGMS, dampen
from benchmark.data import ExampleSet
from benchmark.methods.lfssd import LossFreeSSD
from benchmark.methods.ssd import SSD

CASES = [(method, paradigm) for method in (SSD, LossFreeSSD) for paradigm in sorted(PARADIGMS)]


def test_rule_on_three_weights(make_linear):
    learner = make_linear(side=1, classes=3)
    with torch.no_grad():
        learner.classifier.weight.fill_(2.0)
    on_forget = {"classifier.weight": torch.tensor([[5.0], [20.0], [3.0]]), "classifier.bias": torch.zeros(3)}
    on_all = {"classifier.weight": torch.tensor([[1.0], [1.0], [0.0]]), "classifier.bias": torch.zeros(3)}
    bias = learner.classifier.bias.detach().clone()
    share = dampen(learner, on_forget, on_all, 10.0, 1.0)
    assert learner.classifier.weight.flatten().tolist() == pytest.approx([2.0, 0.1, 0.0])
    assert torch.equal(learner.classifier.bias, bias)
    assert share == pytest.approx(2 / 6)


@pytest.mark.parametrize(("method", "paradigm"), [case for case in CASES if case[1] != "moco"])
def test_where_all_is_forgotten_nothing_stands_out(
    make_request, make_data, original_of, nobody, flat, method, paradigm
):
    """Left out is MoCo: its queue is filled with keys of retain images."""
    request = make_request(paradigm, forget=ExampleSet(make_data(32), "forget", torch.device("cpu")), retain=nobody)
    result = method(alpha=1.5, batch_size=8).unlearn(original_of(paradigm), request)
    assert torch.equal(flat(result), flat(original_of(paradigm)))
    assert request.log == [{"dampened": 0.0}]


@pytest.mark.parametrize(("method", "paradigm"), CASES)
def test_weights_shrink_and_never_change_sign_and_momentum_copies_shrink_alike(
    make_request, original_of, flat, method, paradigm
):
    original, request = original_of(paradigm), make_request(paradigm)
    result = method(alpha=1.0, batch_size=8).unlearn(original, request)
    before, after = flat(original), flat(result)
    assert (after.abs() <= before.abs()).all()
    assert (after * before >= 0).all()
    assert 0 < request.log[0]["dampened"] < 1
    assert (after != before).float().mean() <= request.log[0]["dampened"]
    for (online, target), (was, copy) in zip(result.targets(), original.targets(), strict=True):
        parts = zip(*(part.parameters() for part in (online, target, was, copy)), strict=True)
        for now, following, then, followed in parts:
            scale = torch.where(then != 0, now / then, 1.0)
            torch.testing.assert_close(following, followed * scale, rtol=1e-4, atol=1e-6)


def test_importance_of_examples_is_the_mean_of_their_squared_gradients(make_linear, make_request):
    learner, request = make_linear(), make_request("supervised")
    found = SSD(importance="per_example")._importance(learner, request.forget, request)
    batch = request.forget.all()
    by_hand = torch.stack(
        [
            torch.autograd.grad(learner.view_loss([image[None]], label[None]), learner.classifier.weight)[0].square()
            for image, label in zip(batch.images, batch.labels, strict=True)
        ]
    ).mean(0)
    torch.testing.assert_close(found["classifier.weight"], by_hand, rtol=1e-4, atol=1e-7)
    assert SSD(importance="per_example").refuses("simclr")
    assert not SSD(importance="per_example").refuses("moco")


@pytest.mark.parametrize("paradigm", ["supervised", "moco", "byol"])
def test_dampening_by_single_examples_runs(make_request, original_of, flat, paradigm):
    request = make_request(paradigm)
    result = SSD(importance="per_example", alpha=1.0).unlearn(original_of(paradigm), request)
    assert flat(result).isfinite().all()
    assert request.log[0]["dampened"] > 0


@pytest.mark.parametrize("paradigm", sorted(PARADIGMS))
def test_labels_do_not_matter_without_a_loss(make_request, original_of, same, paradigm):
    request, shuffled = make_request(paradigm), make_request(paradigm)
    for name in ("forget", "retain"):
        examples = getattr(shuffled, name)
        examples._labels = examples._labels.flip(0)
    results = [LossFreeSSD(alpha=1.0).unlearn(original_of(paradigm), given) for given in (request, shuffled)]
    assert same(*results)
