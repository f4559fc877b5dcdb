"""What methods of gradient steps share: the settings, the copy, steps on retain, teacher and student."""

from dataclasses import dataclass

import pytest
import torch

from benchmark.api import PARADIGMS, bounded, choice, optimisation_of
from benchmark.specs import Optimisation
from benchmark.steps import (
    GradientMethod,
    epochs_on_retain,
    half_cosine,
    optimise_apart,
    prepared,
    teacher_and_student,
    utility,
)

ALL = sorted(PARADIGMS)
SHORT = Optimisation(lr=0.01, epochs=2, batch_size=8)


@dataclass(frozen=True, kw_only=True)
class Plain(GradientMethod):
    def unlearn(self, learner, request):
        return learner


@dataclass(frozen=True, kw_only=True)
class Rich(Plain):
    optimizer: str = choice("adam", "sgd")
    schedule: str = choice("cosine", "constant")
    max_grad_norm: float | None = bounded(2.0, 0.1, 10.0)


def states(learner):
    return {name: value.clone() for name, value in learner.state_dict().items()}


def same(first, second):
    return all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize("method", [Plain(), Plain(lr=0.3, epochs=2), Rich(), Rich(optimizer="sgd")])
def test_how_is_what_the_fields_say(method):
    assert method.how() == optimisation_of(method)


def test_changes_stand_before_the_fields_and_are_checked_as_those_are():
    assert Rich(lr=0.1).how(lr=0.2, epochs=7) == Rich(lr=0.2, epochs=7).how()
    with pytest.raises(ValueError, match="epochs"):
        Plain().how(epochs=-1)


@pytest.mark.parametrize("paradigm", ALL)
def test_the_copy_has_the_original_s_weights_and_no_memory_of_forget_images(make_request, original_of, paradigm):
    original, request = original_of(paradigm), make_request(paradigm)
    unlearned = prepared(original, request)
    assert unlearned is not original
    assert not {t.data_ptr() for t in unlearned.state_dict().values()} & {t.data_ptr() for t in original.buffers()}
    kept = {name: value for name, value in states(original).items() if not name.startswith("queue")}
    assert same(kept, states(unlearned))
    if paradigm == "moco":
        assert request.samples_seen() == {"forget": 0, "retain": 24, "third_party": 0}
        assert not torch.equal(unlearned.queue, original.queue)


@pytest.mark.parametrize("paradigm", ALL)
def test_epochs_on_retain_are_steps_of_the_training_loss_at_the_rate_of_the_epoch(make_request, original_of, paradigm):
    calls, unlearned, request = [], original_of(paradigm), make_request(paradigm)
    epochs_on_retain(unlearned, request, SHORT, half_cosine, lambda epoch: calls.append((epoch, len(request.log))))
    by_hand, request = original_of(paradigm), make_request(paradigm)
    descent, order, objective = request.descent(by_hand, SHORT), request.stream("retain"), utility(by_hand, request)
    for epoch in descent.epochs():
        descent.scale_rate([1.0, 0.5][epoch])
        descent.over(request.retain, objective, order)
    assert same(states(unlearned), states(by_hand))
    assert calls == [(0, 0), (1, 1)], "before an epoch begins"


def test_half_a_cosine_falls_from_one_towards_zero():
    assert [half_cosine(epoch, 4) for epoch in range(4)] == pytest.approx([1, 0.853553, 0.5, 0.146447], abs=1e-6)


def test_what_is_trained_apart_leaves_the_record_s_log_alone_and_returns_its_last_row(make_request, original_of):
    learner, request = original_of("supervised"), make_request("supervised")
    row = optimise_apart(learner, request.retain, utility(learner, request), SHORT, request, request.stream("retain"))
    assert request.log == []
    by_hand, request = original_of("supervised"), make_request("supervised")
    request.optimise(by_hand, request.retain, utility(by_hand, request), SHORT)
    assert row == request.log[-1] and row["epoch"] == 2
    assert same(states(learner), states(by_hand))


@pytest.mark.parametrize("bn", ["train", "frozen"])
def test_teacher_and_student_answer_to_one_view_and_the_student_alone_learns(make_request, original_of, bn):
    teacher, student, view = original_of("supervised"), original_of("supervised").train(), torch.rand(6, 1, 8, 8)
    before = states(student)
    goal, answer = teacher_and_student(teacher, student, view, bn)
    assert not goal.requires_grad and answer.requires_grad
    torch.testing.assert_close(goal, teacher.predict(view).detach())
    assert torch.equal(goal, answer.detach()) == (bn == "frozen")
    assert same(before, states(student)) == (bn == "frozen")


@pytest.mark.parametrize("paradigm", sorted(PARADIGMS - {"supervised"}))
def test_encoders_answer_with_features(original_of, paradigm):
    teacher, view = original_of(paradigm), torch.rand(6, 1, 8, 8)
    goal, answer = teacher_and_student(teacher, original_of(paradigm).train(), view, "frozen")
    assert torch.equal(goal, teacher.embed(view)) and torch.equal(answer.detach(), goal)
