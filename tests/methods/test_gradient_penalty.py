"""The two-term predecessor of gradient_constraint and its readings of "member"."""

import pytest
import torch

from benchmark.api import PARADIGMS
from benchmark.data import Forbidden
from benchmark.methods.fine_tune import FineTune
from benchmark.methods.gradient_penalty import GradientPenalty

ALL = sorted(PARADIGMS)
LOOP = {"optimizer": "adam", "schedule": "onecycle", "lr": 1e-3, "weight_decay": 0.01, "epochs": 2, "batch_size": 12}
SMALL = {**LOOP, "forget_batch_size": 4}


def scalar_of(paradigm):
    return "margin" if paradigm == "supervised" else "pos_cosine"


def equal(first, second):
    second = second.state_dict()
    return all(torch.equal(value, second[name]) for name, value in first.state_dict().items())


@pytest.mark.parametrize("paradigm", ALL)
@pytest.mark.parametrize("interpolate", ["none", "third_party"])
def test_penalty_zero_is_fine_tuning_and_asks_for_no_partner(make_request, original_of, paradigm, interpolate):
    method = GradientPenalty(penalty=0.0, interpolate=interpolate, scalar=scalar_of(paradigm), **SMALL)
    request = make_request(paradigm, third_party=Forbidden("gradient_penalty", "third_party"))
    result = method.unlearn(original_of(paradigm), request)
    assert equal(result, FineTune(**LOOP).unlearn(original_of(paradigm), make_request(paradigm)))
    assert request.samples_seen()["forget"] == 0


@pytest.mark.parametrize(("gp_target", "target"), [("zero", 0.0), ("one", 1.0)])
@pytest.mark.parametrize("interpolate", ["none", "third_party"])
@pytest.mark.parametrize("members_gp", ["forget", "all"])
def test_penalty_of_a_linear_scalar_has_its_closed_form(
    make_linear, make_request, gp_target, target, interpolate, members_gp
):
    learner, request = make_linear(), make_request("supervised")
    settings = SMALL | {"epochs": 1, "batch_size": 24, "weight_decay": 0.0}
    names = {"gp_target": gp_target, "interpolate": interpolate, "members_gp": members_gp}
    GradientPenalty(penalty=2.0, scalar="logit_sum", **names, **settings).unlearn(learner, request)
    (row,) = request.log
    expected = 2 * float(learner.classifier.weight.detach().sum(0).norm() - target) ** 2
    assert row["gradient"] + row.get("retain_gradient", 0.0) == pytest.approx(expected, rel=1e-5)
    if members_gp == "all":
        assert row["gradient"] == pytest.approx(expected / 4, rel=1e-5), "8 of 32 members are forgotten"


@pytest.mark.parametrize("paradigm", ALL)
@pytest.mark.parametrize("members_train", ["retain", "forget", "all"])
def test_training_loss_is_that_of_the_members_who_are_named(make_request, original_of, paradigm, members_train):
    method = GradientPenalty(penalty=0.0, members_train=members_train, scalar=scalar_of(paradigm), **SMALL)
    request = make_request(paradigm)
    result = method.unlearn(original_of(paradigm), request)
    seen, rebuilt = request.samples_seen(), 24 if paradigm == "moco" else 0
    assert (seen["retain"] > rebuilt, seen["forget"] > 0) == (members_train != "forget", members_train != "retain")
    assert not equal(result, original_of(paradigm))
    expected = {"utility", "forget_utility"} if members_train == "all" else {"utility"}
    assert request.log[0].keys() - {"epoch", "loss"} == expected
