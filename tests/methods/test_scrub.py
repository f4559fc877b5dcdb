"""Away from the original on forget, with it on retain, and back to the student whose error is right."""

import pytest
import torch

from benchmark.api import PARADIGMS
from benchmark.data import ExampleSet, Forbidden
from benchmark.methods.fine_tune import FineTune
from benchmark.methods.scrub import Scrub, alike, error

ALL = sorted(PARADIGMS)
LOOP = {"lr": 0.02, "momentum": 0.9, "weight_decay": 5e-4, "epochs": 2, "batch_size": 12}
SMALL = {**LOOP, "forget_batch_size": 4}


@pytest.mark.parametrize("paradigm", ALL)
def test_without_the_teacher_it_is_fine_tuning(make_request, original_of, same, paradigm):
    request = make_request(paradigm)
    method = Scrub(msteps=0, alpha=0.0, gamma=1.0, decay="never", **SMALL)
    result = method.unlearn(original_of(paradigm), request)
    assert same(result, FineTune(**LOOP).unlearn(original_of(paradigm), make_request(paradigm)))
    assert request.samples_seen()["forget"] == 0


@pytest.mark.parametrize("paradigm", ALL)
def test_first_pass_away_goes_nowhere_while_statistics_are_frozen(make_request, original_of, flat, paradigm):
    """Student and teacher agree, where the distance is smallest and its gradient zero."""
    settings = {"lr": 0.01, "weight_decay": 0.0, "epochs": 1, "batch_size": 8, "forget_batch_size": 8}
    moved = {}
    for bn in ("frozen", "train"):
        method = Scrub(passes="max_then_min", msteps=1, bn_forget=bn, **settings)
        result = method.unlearn(original_of(paradigm), make_request(paradigm))
        moved[bn] = (flat(result) - flat(original_of(paradigm))).abs().max()
    assert moved["frozen"] < 1e-6
    assert moved["train"] > 10 * moved["frozen"]


def test_teacher_and_student_share_no_storage(make_request, original_of):
    original = original_of("supervised")
    result = Scrub(**SMALL).unlearn(original, make_request("supervised"))
    mine = {tensor.data_ptr() for tensor in result.state_dict().values()}
    assert not mine & {tensor.data_ptr() for tensor in original.state_dict().values()}


def test_divergence_is_zero_for_equal_logits_positive_else_and_quadratic_at_high_temperature():
    drawn = torch.Generator().manual_seed(0)
    teacher, student = torch.randn(2, 50, 7, generator=drawn, dtype=torch.double)
    assert float(Scrub().divergence(teacher, teacher, "supervised")) == pytest.approx(0, abs=1e-12)
    assert Scrub().divergence(teacher, student, "supervised") > 0
    gap = student - teacher
    gap = gap - gap.mean(1, keepdim=True)
    limit = gap.square().sum(1).mean() / (2 * 7)
    assert float(Scrub(temperature=1e2).divergence(teacher, student, "supervised")) == pytest.approx(
        float(limit), rel=0.05
    )


def test_learning_rate_falls_tenfold_after_each_decay_epoch():
    assert [Scrub(decay="3 5 9").rate(epoch) for epoch in (0, 2, 3, 5, 9)] == pytest.approx([1, 1, 0.1, 0.01, 0.001])
    assert Scrub(decay="never").rate(50) == 1


@pytest.mark.parametrize("paradigm", ALL)
def test_passes_over_forget_come_in_the_first_epochs_only(make_request, original_of, paradigm):
    for passes, forget, retain in (("interleaved", 2, 3), ("max_then_min", 2, 1)):
        request = make_request(paradigm)
        method = Scrub(passes=passes, msteps=2, **(SMALL | {"epochs": 3, "batch_size": 8}))
        method.unlearn(original_of(paradigm), request)
        rebuilt = 24 if paradigm == "moco" else 0
        assert request.samples_seen() == {"forget": 8 * forget, "retain": 24 * retain + rebuilt, "third_party": 0}
        assert ["away" in row for row in request.log] == [True, True, False]


def test_student_moves_away_on_forget_and_stays_on_retain(make_request, original_of):
    request = make_request("supervised")
    method = Scrub(alpha=0.5, msteps=6, lr=0.005, epochs=6, batch_size=8, forget_batch_size=8, decay="never")
    method.unlearn(original_of("supervised"), request)
    assert request.log[-1]["away"] < request.log[0]["away"] <= 0


def test_rewinding_returns_the_student_whose_forget_error_is_nearest_to_that_on_unseen_images(
    make_request, original_of, monkeypatch
):
    students, errors = [], iter([0.0, 0.2, 0.5, 0.9, 0.45])  # original, three epochs; the last student on unseen images

    def error(learner, _examples):
        students.append({name: value.clone() for name, value in learner.state_dict().items()})
        return next(errors)

    monkeypatch.setattr("benchmark.methods.scrub.error", error)
    method = Scrub(rewind=True, **(SMALL | {"epochs": 3}))
    result = method.unlearn(original_of("supervised"), make_request("supervised")).state_dict()
    alike = [all(torch.equal(value, student[name]) for name, value in result.items()) for student in students]
    assert alike == [False, False, True, False, False]


def test_only_rewinding_reads_third_party_images_and_only_classifiers_rewind(make_request, original_of, make_data):
    assert Scrub().reads() == {"forget", "retain"}
    assert Scrub(rewind=True).reads() == {"forget", "retain", "third_party"}
    assert Scrub(rewind=True).refuses("simclr")
    absent = make_request("supervised", third_party=Forbidden("scrub", "third_party"))
    Scrub(**SMALL).unlearn(original_of("supervised"), absent)
    request = make_request("supervised")
    Scrub(rewind=True, **SMALL).unlearn(original_of("supervised"), request)
    assert request.samples_seen()["third_party"] > 0


def test_unseen_images_are_those_of_forgotten_labels(make_data, make_linear):
    cpu = torch.device("cpu")
    unseen = ExampleSet(make_data(50, seed=1), "third_party", cpu)
    chosen = alike(unseen, ExampleSet(make_data(4, label=2), "forget", cpu))
    assert set(chosen.labels.tolist()) == {2}
    assert len(chosen) == int((unseen.labels == 2).sum())
    batch = unseen.all()
    expected = float((make_linear().predict(batch.images).argmax(1) != batch.labels).float().mean())
    assert error(make_linear(), unseen) == pytest.approx(expected)
