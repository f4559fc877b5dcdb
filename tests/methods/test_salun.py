"""Random labels within a mask; what lies outside does not move by a bit."""

import pytest
import torch

from benchmark.api import CONTRASTIVE, PARADIGMS, batch_gradients, saliency, top_mask
from benchmark.methods.random_labels import RandomLabels
from benchmark.methods.salun import SalUn

ALL = sorted(PARADIGMS)
LOOP = {"lr": 0.02, "epochs": 2, "batch_size": 8}


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_outside_the_mask_nothing_moves_in_fifty_steps(make_request, original_of, optimizer):
    original, request = original_of("supervised"), make_request("supervised")
    method = SalUn(optimizer=optimizer, weight_decay=0.1, lr=0.02, epochs=13, batch_size=8)
    result = method.unlearn(original, request)
    gradients = batch_gradients(original, request.forget, request, 8, drop_last=False)
    mask, before = top_mask(saliency(gradients), 0.5), dict(original.trainable())
    for name, weight in result.trainable():
        assert torch.equal(weight[~mask[name]], before[name][~mask[name]])
        assert not torch.equal(weight[mask[name]], before[name][mask[name]]) or not mask[name].any()


@pytest.mark.parametrize("paradigm", ALL)
def test_density_one_is_random_labels(make_request, original_of, same, paradigm):
    request = make_request(paradigm)
    result = SalUn(density=1.0, **LOOP).unlearn(original_of(paradigm), request)
    assert same(result, RandomLabels(**LOOP).unlearn(original_of(paradigm), make_request(paradigm)))


@pytest.mark.parametrize(
    ("paradigm", "objective"),
    [(paradigm, "relabel") for paradigm in ALL] + [(paradigm, "ascent") for paradigm in sorted(CONTRASTIVE)],
)
def test_density_zero_leaves_all_weights(make_request, original_of, flat, paradigm, objective):
    method = SalUn(density=0.0, objective=objective, **LOOP)
    result = method.unlearn(original_of(paradigm), make_request(paradigm))
    assert torch.equal(flat(result), flat(original_of(paradigm)))


@pytest.mark.parametrize("paradigm", sorted(CONTRASTIVE))
def test_ascent_alternates_with_descent_and_sees_each_set_once_an_epoch(make_request, original_of, paradigm):
    request = make_request(paradigm)
    method = SalUn(objective="ascent", lr=0.01, epochs=6, batch_size=8)
    method.unlearn(original_of(paradigm), request)
    assert all(row["ascent"] < 0 < row["utility"] for row in request.log)
    rebuilt = 24 if paradigm == "moco" else 0
    assert request.samples_seen() == {"forget": 8 + 6 * 8, "retain": rebuilt + 6 * 24, "third_party": 0}


def test_soft_mask_returns_a_falling_share_of_weights_to_the_original(make_request, original_of, flat):
    settings = {"lr": 0.05, "epochs": 1, "batch_size": 32, "weight_decay": 0.0}
    start = flat(original_of("supervised"))
    shares = {}
    for epochs in (1, 4):  # one step each; after the last step no weight is held any longer
        method = SalUn(mask="soft", rho=0.4, **(settings | {"epochs": epochs}))
        result = method.unlearn(original_of("supervised"), make_request("supervised"))
        shares[epochs] = float((flat(result) == start).float().mean())
    hard = RandomLabels(**settings).unlearn(original_of("supervised"), make_request("supervised"))
    assert shares[1] == pytest.approx(float((flat(hard) == start).float().mean()), abs=1e-3)


def test_soft_threshold_is_the_rank_of_the_change(make_linear, flat):
    from benchmark.methods.salun import shrinking

    learner = make_linear(side=2, classes=2)
    project = shrinking(learner, rho=0.5, total=10)
    start = flat(learner)
    changes = torch.tensor([0.1, -0.2, 0.3, -0.4, 0.5, -0.6, 0.7, -0.8, 0.9, -1.0])
    with torch.no_grad():
        learner.classifier.weight += changes[:8].view(2, 4)
        learner.classifier.bias += changes[8:]
    project(2)  # floor(0.5 * 10 * 0.8) = 4th smallest change: 0.4
    expected = torch.sign(changes) * (changes.abs() - 0.4).clamp(min=0)
    torch.testing.assert_close(flat(learner) - start, expected, rtol=0, atol=1e-6)
