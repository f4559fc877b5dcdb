"""An untrained teacher for forget images, the original for a share of the others."""

import pytest
import torch

from benchmark.api import CONTRASTIVE, PARADIGMS
from benchmark.methods.bad_teacher import BadTeacher

ALL = sorted(PARADIGMS)
ONCE = {"epochs": 1, "batch_size": 32, "share": 1.0}


@pytest.mark.parametrize("paradigm", ALL)
def test_without_forget_images_and_with_frozen_statistics_there_is_nothing_to_learn(
    make_request, original_of, nobody, flat, paradigm
):
    request = make_request(paradigm, forget=nobody)
    method = BadTeacher(bn="frozen", optimizer="sgd", lr=1.0, momentum=0.0, **ONCE)
    result = method.unlearn(original_of(paradigm), request)
    assert request.log[0]["loss"] < 1e-6
    assert (flat(result) - flat(original_of(paradigm))).norm() < 1e-5


@pytest.mark.parametrize("paradigm", ALL)
def test_bad_teacher_is_a_fresh_learner_whatever_the_original(make_request, original_of, same, paradigm):
    teachers = []
    for broken in (False, True):
        original, request = original_of(paradigm), make_request(paradigm)
        if broken:
            for parameter in original.parameters():
                parameter.data.mul_(0.5)
        untrained = type(request).untrained
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                type(request), "untrained", lambda self, real=untrained: teachers.append(real(self)) or teachers[-1]
            )
            BadTeacher(**ONCE).unlearn(original, request)
    assert len(teachers) == 2
    assert same(*teachers)
    assert not any(module.training for module in teachers[0].modules())
    assert not teachers[0].encoder.bn1.running_mean.any()


def test_loss_is_zero_exactly_where_the_student_answers_like_the_teacher_of_each_image(make_request, make_learner):
    """With every image forgotten the untrained network itself is the goal."""
    request = make_request("supervised")
    bad = request.untrained()
    method = BadTeacher(bn="frozen", optimizer="sgd", lr=0.0, epochs=1, batch_size=8, share=0.0)
    method.unlearn(bad.eval(), request)
    assert request.log[0]["loss"] == pytest.approx(0, abs=1e-6)
    other = make_request("supervised")
    method.unlearn(make_learner("supervised", 99).eval(), other)
    assert other.log[0]["loss"] > 1e-4


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("paradigm", ALL)
def test_share_of_retain_images_is_drawn_once(make_request, original_of, paradigm, share):
    request = make_request(paradigm)
    seen, take = set(), type(request.retain).take

    def spy(self, positions):
        batch = take(self, positions)
        if self.name == "retain" and hasattr(self, "_images"):
            seen.update(tuple(image.flatten().tolist()) for image in batch.images)
        return batch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(request.retain), "take", spy)
        patch.setattr("benchmark.steps.remember_only", lambda *_: None)
        BadTeacher(epochs=3, batch_size=32, share=share).unlearn(original_of(paradigm), request)
    assert len(seen) == int(share * 24)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("paradigm", ALL)
def test_student_comes_nearer_to_both_teachers(make_request, original_of, paradigm, optimizer):
    request = make_request(paradigm)
    settings = {"lr": 1e-3 if optimizer == "adam" else 0.02, "epochs": 20, "batch_size": 32}
    BadTeacher(optimizer=optimizer, **settings).unlearn(original_of(paradigm), request)
    assert request.log[-1]["loss"] < request.log[0]["loss"]


@pytest.mark.parametrize("paradigm", sorted(CONTRASTIVE))
def test_heads_of_encoders_are_left_alone(make_request, original_of, paradigm):
    original = original_of(paradigm)
    method = BadTeacher(weight_decay=0.0, epochs=1, batch_size=16)
    result = method.unlearn(original, make_request(paradigm))
    for mine, before in zip(result.heads(), original.heads(), strict=True):
        assert all(torch.equal(*pair) for pair in zip(mine.parameters(), before.parameters(), strict=True))
