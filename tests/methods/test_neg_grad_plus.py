"""Descent on retain and ascent on forget in one step, weighed against each other."""

import pytest
import torch

from benchmark.api import PARADIGMS
from benchmark.data import ExampleSet
from benchmark.methods.fine_tune import FineTune
from benchmark.methods.neg_grad_plus import NegGradPlus

ALL = sorted(PARADIGMS)
LOOP = {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.01, "epochs": 2, "batch_size": 12}
SMALL = {**LOOP, "forget_batch_size": 4}


@pytest.mark.parametrize("bn", ["train", "frozen"])
@pytest.mark.parametrize("paradigm", ALL)
def test_alpha_one_is_fine_tuning_and_touches_no_forget_image(make_request, original_of, same, paradigm, bn):
    request = make_request(paradigm)
    result = NegGradPlus(alpha=1.0, bn=bn, **SMALL).unlearn(original_of(paradigm), request)
    assert same(result, FineTune(bn=bn, **LOOP).unlearn(original_of(paradigm), make_request(paradigm)))
    assert request.samples_seen()["forget"] == 0


@pytest.mark.parametrize("alpha", [0.5, 0.7, 0.95])
def test_equal_batches_leave_two_alpha_minus_one_of_the_gradient(make_linear, make_data, make_request, flat, alpha):
    twins = {name: ExampleSet(make_data(16, seed=4), name, torch.device("cpu")) for name in ("forget", "retain")}
    once = {"lr": 0.5, "momentum": 0.0, "weight_decay": 0.0, "epochs": 1, "batch_size": 16}
    start = flat(make_linear())
    method = NegGradPlus(alpha=alpha, forget_batch_size=16, **once)
    moved = flat(method.unlearn(make_linear(), make_request("supervised", **twins))) - start
    plain = flat(FineTune(**once).unlearn(make_linear(), make_request("supervised", **twins))) - start
    torch.testing.assert_close(moved, (2 * alpha - 1) * plain, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("paradigm", ALL)
def test_signed_batches_without_forget_images_are_fine_tuning(make_request, original_of, same, nobody, paradigm):
    request = make_request(paradigm, forget=nobody)
    result = NegGradPlus(balance="dataset", **SMALL).unlearn(original_of(paradigm), request)
    tuned = FineTune(**LOOP).unlearn(original_of(paradigm), make_request(paradigm))
    if paradigm == "moco":  # one epoch's rounding: the mean of the losses is taken outside the cross-entropy
        for name, value in result.state_dict().items():
            torch.testing.assert_close(value, tuned.state_dict()[name], rtol=1e-3, atol=1e-4)
    else:
        assert same(result, tuned)


@pytest.mark.parametrize("paradigm", ALL)
def test_signed_loss_falls_by_what_forget_images_lose(make_request, original_of, paradigm):
    request = make_request(paradigm)
    method = NegGradPlus(balance="dataset", lr=0.0, epochs=1, batch_size=32)
    method.unlearn(original_of(paradigm), request)
    plain = make_request(paradigm)
    FineTune(lr=0.0, epochs=1, batch_size=32).unlearn(original_of(paradigm), plain)
    assert request.log[0]["signed"] < plain.log[0]["utility"]
    assert request.samples_seen()["forget"] == 8


def test_a_class_is_forgotten_while_the_others_are_held(make_request, make_data, original_of):
    data = make_data(40, seed=1)
    parts = {"forget": data.labels == 0, "retain": data.labels != 0}
    sets = {n: ExampleSet(data.select(of.nonzero().squeeze(1)), n, torch.device("cpu")) for n, of in parts.items()}
    request = make_request("supervised", **sets)
    settings = {"lr": 0.02, "epochs": 10, "batch_size": 12, "forget_batch_size": 8}
    NegGradPlus(alpha=0.7, **settings).unlearn(original_of("supervised"), request)
    first, last = request.log[0], request.log[-1]
    assert last["ascent"] < 3 * first["ascent"] < 0
    assert last["utility"] < first["utility"]
    assert request.samples_seen()["forget"] == 8 * len(request.log) * -(-len(sets["retain"]) // 12)


def test_pull_to_the_original_is_weighed_by_alpha(make_request, original_of):
    request = make_request("supervised")
    NegGradPlus(l2_to_original=2.0, **SMALL).unlearn(original_of("supervised"), request)
    assert request.log[-1]["distance"] > 0
