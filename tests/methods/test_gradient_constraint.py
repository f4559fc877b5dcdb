"""The seed method: its reductions to simpler methods are bitwise, its options do what they are called."""

import dataclasses
import itertools

import pytest
import torch

from benchmark.api import CONTRASTIVE, PARADIGMS, BenchmarkError
from benchmark.data import ExampleSet, Forbidden
from benchmark.input_gradients import GradientPenaltyTerm, GradientReading
from benchmark.methods.fine_tune import FineTune
from benchmark.methods.gradient_constraint import GradientConstraint
from benchmark.methods.gradient_penalty import GradientPenalty

ALL = sorted(PARADIGMS)
LOOP = {"optimizer": "adam", "schedule": "onecycle", "lr": 1e-3, "weight_decay": 0.01, "epochs": 2, "batch_size": 12}
SMALL = {**LOOP, "forget_batch_size": 4}
ONE_STEP = {"epochs": 1, "batch_size": 24}


def scalar_of(paradigm):
    return "margin" if paradigm == "supervised" else "pos_cosine"


def state(method, learner, request):
    return method.unlearn(learner, request).state_dict()


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def absent(*names):
    return {name: Forbidden("gradient_constraint", name) for name in names}


# Reductions


@pytest.mark.parametrize("paradigm", ALL)
def test_utility_alone_is_fine_tuning_with_the_same_optimiser(make_request, original_of, paradigm):
    constrained = GradientConstraint(terms="utility", scalar=scalar_of(paradigm), **SMALL)
    request = make_request(paradigm, **absent("forget", "third_party"))
    tuned = state(FineTune(**LOOP), original_of(paradigm), make_request(paradigm))
    assert equal(state(constrained, original_of(paradigm), request), tuned)
    assert not equal(tuned, original_of(paradigm).state_dict())


@pytest.mark.parametrize("paradigm", ALL)
def test_terms_of_weight_zero_are_terms_that_are_off(make_request, original_of, paradigm):
    off = GradientConstraint(lambda1=0.0, lambda2=0.0, scalar=scalar_of(paradigm), **SMALL)
    request = make_request(paradigm, **absent("forget", "third_party"))
    assert off.reads() == {"retain"}
    tuned = state(FineTune(**LOOP), original_of(paradigm), make_request(paradigm))
    assert equal(state(off, original_of(paradigm), request), tuned)


@pytest.mark.parametrize("paradigm", ALL)
def test_without_confidence_and_partner_it_is_gradient_penalty(make_request, original_of, paradigm):
    same = {"scalar": scalar_of(paradigm), **SMALL}
    constrained = GradientConstraint(terms="utility+gradient", interpolate="none_forget", lambda1=3.0, **same)
    penalised = GradientPenalty(penalty=3.0, **same)
    assert constrained.reads() == penalised.reads() == {"forget", "retain"}
    first = state(constrained, original_of(paradigm), make_request(paradigm, **absent("third_party")))
    assert equal(first, state(penalised, original_of(paradigm), make_request(paradigm, **absent("third_party"))))
    assert not equal(first, state(FineTune(**LOOP), original_of(paradigm), make_request(paradigm)))


# Terms


@pytest.mark.parametrize("paradigm", ALL)
@pytest.mark.parametrize(
    "terms",
    ["+".join(arm) for n in (1, 2, 3) for arm in itertools.combinations(["utility", "gradient", "confidence"], n)],
)
def test_each_of_the_seven_arms_minimises_its_own_terms(make_request, original_of, paradigm, terms):
    method = GradientConstraint(terms=terms, scalar=scalar_of(paradigm), **SMALL)
    forbidden = absent(*({"forget", "third_party"} - method.reads()))
    request = make_request(paradigm, **forbidden)
    result = state(method, original_of(paradigm), request)
    assert request.log[0].keys() == {"epoch", "loss", *terms.split("+")}
    assert all(value.isfinite().all() for value in result.values())
    assert not equal(result, original_of(paradigm).state_dict())


def test_log_holds_the_weighted_terms(make_request, original_of):
    rows = {}
    for lambda1 in (1.0, 4.0):
        request = make_request("supervised")
        GradientConstraint(lambda1=lambda1, **SMALL | ONE_STEP).unlearn(original_of("supervised"), request)
        (rows[lambda1],) = request.log
    assert rows[4.0]["gradient"] == pytest.approx(4 * rows[1.0]["gradient"], rel=1e-5)
    for row in rows.values():
        assert row["loss"] == pytest.approx(row["utility"] + row["gradient"] + row["confidence"], rel=1e-5)


def test_an_objective_of_nothing_is_refused(make_request, original_of):
    nothing = GradientConstraint(terms="gradient", lambda1=0.0, **SMALL)
    with pytest.raises(BenchmarkError, match="weight of every term is 0"):
        nothing.unlearn(original_of("supervised"), make_request("supervised"))


def test_confidence_term_lowers_the_mean_scalar_on_third_party_images(make_request, original_of):
    method = GradientConstraint(terms="confidence", lambda2=1.0, **SMALL | {"epochs": 10, "lr": 3e-3})
    request = make_request("supervised")
    images, reading = request.third_party.all().images, GradientReading("margin")
    result = method.unlearn(original_of("supervised"), request).eval()
    assert reading.scalars(result, [images]).mean() < reading.scalars(original_of("supervised"), [images]).mean()


def test_kl_to_uniform_is_zero_where_predictions_are_uniform_and_by_hand_elsewhere(make_linear, make_request):
    method = GradientConstraint(conf_loss="kl_uniform", **SMALL | {"forget_batch_size": 8})
    learner, request = make_linear(), make_request("supervised")
    term = method._confidence_term(GradientReading("margin"), learner, request)
    p = learner.predict(request.third_party.all().images).double().softmax(1)
    by_hand = (1 / 3 * (1 / 3 / p).log()).sum(1).mean()
    torch.testing.assert_close(term(None).double(), by_hand, rtol=1e-5, atol=1e-6)
    torch.nn.init.zeros_(learner.classifier.weight)
    torch.nn.init.zeros_(learner.classifier.bias)
    assert term(None).item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("paradigm", sorted(CONTRASTIVE))
def test_kl_to_uniform_is_refused_for_encoders(make_request, original_of, paradigm):
    method = GradientConstraint(conf_loss="kl_uniform", scalar="pos_cosine", **SMALL)
    with pytest.raises(BenchmarkError, match="kl_uniform' needs class probabilities"):
        method.unlearn(original_of(paradigm), make_request(paradigm))


@pytest.mark.parametrize("paradigm", ALL)
def test_scalar_of_the_other_paradigm_is_refused(make_request, original_of, paradigm):
    wrong = "pos_cosine" if paradigm == "supervised" else "margin"
    with pytest.raises(BenchmarkError, match=f"'{wrong}' is not defined for {paradigm}"):
        GradientConstraint(scalar=wrong, **SMALL).unlearn(original_of(paradigm), make_request(paradigm))
    assert f"'{wrong}' is not defined for {paradigm}" in GradientConstraint(scalar=wrong).refuses(paradigm)


# Options


@pytest.mark.parametrize("paradigm", ALL)
def test_matched_target_is_the_mean_norm_of_the_original_on_third_party_images(
    make_request, original_of, monkeypatch, paradigm
):
    targets = []
    monkeypatch.setattr(GradientPenaltyTerm, "__call__", lambda self, batch: targets.append(self.target) or zero(self))
    request, original = make_request(paradigm), original_of(paradigm)

    def zero(term):
        return 0 * term.learner.encoder.conv1.weight.sum()

    method = GradientConstraint(gp_target="match", scalar=scalar_of(paradigm), terms="gradient", **SMALL)
    reading = GradientReading(method.scalar, pixels=method.pixel_space)
    assert method.reads() == {"forget", "retain", "third_party"}
    method.unlearn(original, request)
    drawn = request.stream("augment/match")
    views = [original.views(batch.images, drawn) for batch in request.third_party.batches(4)]
    expected = torch.cat([reading.norms(original, view) for view in views]).mean().item()
    assert targets[0] == pytest.approx(expected, rel=1e-5)
    assert len(set(targets)) == 1
    assert expected > 1e-4


@pytest.mark.parametrize(("gp_target", "target"), [("zero", 0.0), ("one", 1.0)])
def test_fixed_targets_are_the_numbers_that_they_are_called(make_linear, make_request, gp_target, target):
    method = GradientConstraint(gp_target=gp_target, terms="gradient", scalar="logit_sum", **SMALL | ONE_STEP)
    request = make_request("supervised")
    learner = make_linear()
    norm = learner.classifier.weight.detach().sum(0).norm()
    method.unlearn(learner, request)
    assert request.log[0]["gradient"] == pytest.approx(float((norm - target) ** 2), rel=1e-4)


@pytest.mark.parametrize("paradigm", ALL)
def test_placebo_reads_no_forget_data(make_request, original_of, make_data, paradigm):
    method = GradientConstraint(interpolate="third_third", scalar=scalar_of(paradigm), **SMALL)
    assert method.reads() == {"retain", "third_party"}
    request = make_request(paradigm, **absent("forget"))
    result = state(method, original_of(paradigm), request)
    noise = ExampleSet(make_data(8, seed=99), "forget", torch.device("cpu"))
    assert equal(result, state(method, original_of(paradigm), make_request(paradigm, forget=noise)))
    assert request.samples_seen()["third_party"] > 0


@pytest.mark.parametrize("interpolate", ["forget_third", "none_forget", "third_third"])
def test_proportional_pairing_takes_pairs_in_proportion_to_the_set_and_reads_no_other(
    make_request, original_of, interpolate
):
    method = GradientConstraint(
        batch_pairing="proportional", interpolate=interpolate, terms="utility+gradient", **SMALL | {"batch_size": 12}
    )
    request = make_request("supervised", **absent(*({"forget", "third_party"} - method.reads())))
    method.unlearn(original_of("supervised"), request)
    pairs = 4 * round(12 * 8 / 24)  # steps x pairs a step
    pulls = {
        "forget_third": {"forget": 1, "third_party": 1},
        "none_forget": {"forget": 1},
        "third_third": {"third_party": 2},
    }
    seen = request.samples_seen()
    assert seen.pop("retain") == 48
    assert {name: count for name, count in seen.items() if count} == {
        n: k * pairs for n, k in pulls[interpolate].items()
    }


@pytest.mark.parametrize("option", ["gp_wrt", "pixel_space", "bn_gp", "bn_conf"])
@pytest.mark.parametrize("paradigm", ALL)
def test_every_option_changes_the_result(make_request, original_of, paradigm, option):
    settings = {"scalar": scalar_of(paradigm), "lambda1": 10.0, "lambda2": 1.0, **SMALL | {"epochs": 1}}
    plain = state(GradientConstraint(**settings), original_of(paradigm), make_request(paradigm))
    (choices,) = (field.metadata["choices"] for field in dataclasses.fields(GradientConstraint) if field.name == option)
    changed = GradientConstraint(**settings, **{option: choices[1]})
    other = state(changed, original_of(paradigm), make_request(paradigm))
    assert all(value.isfinite().all() for value in other.values())
    assert not equal(plain, other)


def test_linear_scalar_shrinks_towards_the_target_at_the_rate_of_its_closed_form(make_linear, make_request):
    """L = (|w| - c)^2 with w the sum of three rows, each of which moves by -lr 2 (|w| - c): w by three times that."""
    method = GradientConstraint(
        terms="gradient", scalar="logit_sum", gp_target="one", optimizer="sgd", schedule="constant", lr=0.01,
        momentum=0.0, epochs=1, batch_size=24, forget_batch_size=8,
    )  # fmt: skip
    learner = make_linear()
    start = learner.classifier.weight.detach().sum(0)
    result = method.unlearn(learner, make_request("supervised")).classifier.weight.detach().sum(0)
    expected = start - 3 * 0.01 * 2 * (start.norm() - 1) * start / start.norm()
    torch.testing.assert_close(result, expected)
