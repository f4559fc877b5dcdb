"""Learning the retain set anew: the same way for every model, looked at on the way, seeing nothing else."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmark import jobs, models, registry, relearning
from benchmark.data import Batch, ExampleSet, ImageData, TaskData
from benchmark.errors import Diverged
from benchmark.learners.base import Learner
from benchmark.relearning import relearn
from benchmark.specs import Evaluation, Optimisation, Recipe
from tests import tiny

CPU = torch.device("cpu")
RECIPE = Recipe(lr=0.05, epochs=20, batch_size=8)  # 24 + 8 images: 80 steps, looked at after 1, 2, 4, 8 of them
EVALUATION = Evaluation(views=3, knn_neighbours=5)
PARADIGMS = ["supervised", "simclr", "moco", "byol"]


@pytest.fixture
def task(make_data) -> TaskData:
    data = make_data(60)
    names = {"retain": (0, 24), "forget": (24, 32), "heldout": (32, 42), "third_party": (42, 50), "test": (50, 60)}
    sets = {name: data.select(torch.arange(*where)) for name, where in names.items()}
    return TaskData(sets, 0, 60, retain_comparable=True, coins=False)


def answers(learner: Learner, task: TaskData, recipe: Recipe = RECIPE, order: int = 1) -> dict[str, Any]:
    return relearn(learner, task, recipe, EVALUATION, order, view_seed=2, device=CPU)


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return first.keys() == second.keys() and all(np.array_equal(value, second[name]) for name, value in first.items())


@pytest.fixture
def path(monkeypatch) -> list[dict[str, Tensor]]:
    """The weights whenever a model is looked at."""
    seen: list[dict[str, Tensor]] = []
    look = relearning._answers

    def spy(learner: Learner, *rest: Any) -> dict[str, Any]:
        seen.append({name: value.clone() for name, value in learner.state_dict().items()})
        return look(learner, *rest)

    monkeypatch.setattr(relearning, "_answers", spy)
    return seen


# -- what comes out ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("paradigm", PARADIGMS)
def test_what_a_model_answers_has_a_row_for_each_time_it_is_looked_at(make_learner, task, paradigm):
    found = answers(make_learner(paradigm), task)
    names = {"relearning/forget_correct": (4, 8), "relearning/heldout_correct": (4, 10)}
    if paradigm != "supervised":
        names |= {"relearning/forget_similarity": (4, 8), "relearning/heldout_similarity": (4, 10)}
    assert {name: array.shape for name, array in found.items()} == names
    for name, array in found.items():
        assert array.dtype == (np.bool_ if name.endswith("correct") else np.float32)
    if paradigm != "supervised":
        similarity = found["relearning/forget_similarity"]
        assert np.isfinite(similarity).all() and (np.abs(similarity) <= 1 + 1e-6).all()
        assert not np.array_equal(similarity[0], similarity[3]), "the model moved meanwhile"


def test_a_classifier_is_right_where_its_largest_logit_is_the_label_s(make_learner, task, path):
    found = answers(make_learner("supervised"), task)
    for row, weights in enumerate(path):
        learner = make_learner("supervised")
        learner.load_state_dict(weights)
        for name in ("forget", "heldout"):
            with torch.no_grad():
                right = learner.eval().predict(task[name].images.float() / 255).argmax(1) == task[name].labels
            assert np.array_equal(found[f"relearning/{name}_correct"][row], right.numpy())


def test_who_learns_again_what_it_knew_ends_with_it(make_learner, task, original_of):
    known = answers(original_of("supervised"), task, Recipe(lr=0.1, epochs=200, batch_size=8))
    assert known["relearning/heldout_correct"][3].mean() > 0.8, "patterns of three classes are easily learned"


# -- how it goes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("paradigm", PARADIGMS)
def test_the_learner_that_is_given_stays_as_it_is(make_learner, task, paradigm):
    learner = make_learner(paradigm).eval()
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    answers(learner, task)
    assert same(before, learner.state_dict())
    assert not learner.training
    assert all(p.grad is None for p in learner.parameters())


@pytest.mark.parametrize("paradigm", ["supervised", "moco"])
def test_all_models_of_a_seed_see_the_same_batches_in_the_same_views(make_learner, task, monkeypatch, paradigm):
    batches: list[list[Any]] = []
    views: list[list[Any]] = []
    take, draw = ExampleSet.take, type(make_learner(paradigm).policy).draw

    def spy_take(self: ExampleSet, positions: Tensor) -> Batch:
        batches[-1].append(positions.tolist())
        return take(self, positions)

    def spy_draw(self: Any, *words: Any) -> Any:
        views[-1].append(words[-1].get_state().tolist())
        return draw(self, *words)

    monkeypatch.setattr(ExampleSet, "take", spy_take)
    monkeypatch.setattr(type(make_learner(paradigm).policy), "draw", spy_draw)
    for model, order in ((1, 5), (2, 5), (1, 6)):
        batches.append([]), views.append([])
        answers(make_learner(paradigm, seed=model), task, order=order)
    for seen in (batches, views):
        assert seen[0] == seen[1] != seen[2]
        assert len(seen[0]) >= 8


@pytest.mark.parametrize("paradigm", ["supervised", "moco"])
def test_relearning_is_a_function_of_its_seeds(make_learner, task, path, paradigm):
    first, again = (answers(make_learner(paradigm), task) for _ in range(2))
    assert same(first, again)
    assert all(same(one, other) for one, other in zip(path[:4], path[4:], strict=True))


def noisy(data: ImageData) -> ImageData:
    drawn = torch.Generator().manual_seed(0)
    images = torch.randint(256, data.images.shape, dtype=torch.uint8, generator=drawn)
    return replace(data, images=images, labels=2 - data.labels)


@pytest.mark.parametrize("paradigm", ["supervised", "moco"])
def test_nothing_but_retain_images_is_learned_from(make_learner, task, path, paradigm):
    others = {name: noisy(data) for name, data in task.sets.items() if name != "retain"}
    answers(make_learner(paradigm), task)
    answers(make_learner(paradigm), replace(task, sets=task.sets | others))
    answers(make_learner(paradigm), replace(task, sets=task.sets | {"retain": noisy(task["retain"])}))
    first, without, control = path[:4], path[4:8], path[8:]
    assert all(same(one, other) for one, other in zip(first, without, strict=True))
    assert not any(same(one, other) for one, other in zip(first, control, strict=True))


@pytest.mark.parametrize("paradigm", ["supervised", "moco"])
def test_looking_at_a_model_leaves_no_trace_in_it(make_learner, task, monkeypatch, path, paradigm):
    answers(make_learner(paradigm), task)
    untouched: list[dict[str, Tensor]] = []

    def only_remember(learner: Learner, *_: Any) -> dict[str, Any]:
        assert learner.training
        untouched.append({name: value.clone() for name, value in learner.state_dict().items()})
        return {"nothing": np.zeros(1)}

    monkeypatch.setattr(relearning, "_answers", only_remember)
    answers(make_learner(paradigm), task)
    assert all(same(one, other) for one, other in zip(path, untouched, strict=True))


@pytest.fixture
def course(monkeypatch) -> Callable[..., tuple[list[int], Optimisation]]:
    """recipe -> the steps after which a model was looked at, and how it was optimised."""

    def run(make_learner: Any, task: TaskData, **recipe: Any) -> tuple[list[int], Optimisation]:
        steps, looked, how = [0], [], []
        optimise = relearning.optimise

        def spy(learner: Learner, *words: Any, on_step: Callable[[int], None], **more: Any) -> None:
            def counted(step: int) -> None:
                steps[0] = step
                on_step(step)

            how.append(words[2])
            optimise(learner, *words, on_step=counted, **more)

        with monkeypatch.context() as patched:
            patched.setattr(relearning, "optimise", spy)
            patched.setattr(relearning, "_answers", lambda *_: {"step": np.array(looked.append(steps[0]) or steps[0])})
            found = answers(
                make_learner("supervised"), task, Recipe(**{"lr": 0.05, "epochs": 1, "batch_size": 8, **recipe})
            )
        assert found["relearning/step"].tolist() == looked
        return looked, how[0]

    return run


@pytest.mark.parametrize(
    ("recipe", "steps"),
    [
        ({"epochs": 100}, [4, 8, 20, 40]),  # 4 steps an epoch: of all that the original learned from
        ({"epochs": 25}, [1, 2, 5, 10]),
        ({"epochs": 20}, [1, 2, 4, 8]),
        ({"epochs": 5}, [1, 1, 1, 2]),
        ({"epochs": 1}, [1, 1, 1, 1]),
        ({"epochs": 1, "batch_size": 999}, [1, 1, 1, 1]),
        ({"epochs": 100, "batch_size": 20, "drop_last": True}, [2, 4, 10, 20]),
        ({"epochs": 0}, [1, 1, 1, 1]),
    ],
)
def test_a_model_is_looked_at_after_1_2_5_and_10_percent_of_its_training(make_learner, task, course, recipe, steps):
    looked, _ = course(make_learner, task, **recipe)
    assert looked == steps


@pytest.mark.parametrize(("schedule", "rate"), [("constant", 0.05), ("cosine", 0.005), ("onecycle", 0.005)])
def test_the_rate_is_constant_and_that_of_the_end_of_training(make_learner, task, course, schedule, rate):
    _, how = course(make_learner, task, schedule=schedule, optimizer="adamw", weight_decay=0.1)
    assert how.lr == pytest.approx(rate)
    assert (how.schedule, how.optimizer, how.weight_decay, how.batch_size) == ("constant", "adamw", 0.1, 8)


def test_a_loss_that_is_not_finite_stops_it(make_learner, task):
    with pytest.raises(Diverged):
        answers(make_learner("supervised"), task, Recipe(lr=1e30, epochs=100, batch_size=8))


# -- in a run ----------------------------------------------------------------------------------------------

MOCO = {
    "tasks.0.learner": {"name": "moco", "encoder": {"layers": [2], "channels": [8]}, "hidden": 8, "queue_size": 16},
    "tasks.0.views": {"shift": 0.1},
    "tasks.0.evaluation": {"views": 3, "knn_neighbours": 5},
}


@pytest.fixture
def own_process(monkeypatch) -> Iterator[None]:
    with tiny.own_process(monkeypatch):
        yield


@pytest.mark.usefixtures("own_process")
@pytest.mark.parametrize("paradigm", [{}, MOCO], ids=["supervised", "moco"])
def test_a_run_whose_metric_reads_it_learns_all_three_models_anew_in_one_order(tmp_path, monkeypatch, paradigm):
    calls: list[tuple[int, int]] = []
    real = jobs.relearn
    monkeypatch.setattr(jobs, "relearn", lambda *words: calls.append(words[4:6]) or real(*words))
    value = "float(one['relearning/forget_correct'].mean() - one['relearning/heldout_correct'].mean())"
    registry.add_plugin(tiny.metric(tmp_path, value=value, needs="relearning", tier="probing"))
    here = tiny.Bench(tmp_path, {"methods": ["fine_tune"], "metrics": ["measured"], **paradigm})
    results = dict(here.work())
    assert not {"failed", "diverged"} & {result["status"] for result in results.values()}
    assert len(calls) == 3 and len(set(calls)) == 1
    (record,) = here.records
    number = record.metrics["measured_value"]
    for role, found in (("unlearned", number.value), ("original", number.original), ("retrained", number.retrained)):
        arrays = here.store.arrays(record.artefacts[f"{role}/relearning"])
        right = arrays["relearning/forget_correct"].mean() - arrays["relearning/heldout_correct"].mean()
        assert found == pytest.approx(right)
        assert not any(
            name.startswith("relearning/") for name in here.store.arrays(record.artefacts[f"{role}/outputs"])
        )
    assert not here.plan().jobs


@pytest.mark.usefixtures("own_process")
def test_relearning_that_is_asked_for_later_trains_no_model_again(tmp_path, monkeypatch):
    here = tiny.Bench(tmp_path, {"methods": ["fine_tune"], "metrics": ["accuracy"]})
    here.work()
    registry.add_plugin(
        tiny.metric(tmp_path, value="float(one['relearning/forget_correct'].mean())", needs="relearning")
    )
    monkeypatch.setattr(models, "train", lambda *_: pytest.fail("a model was trained"))
    later = tiny.Bench(tmp_path, {"methods": ["fine_tune"], "metrics": ["accuracy", "measured"]})
    results = later.work()
    assert [set(result["seconds"]) for _, result in results] == [{"observe"}, {"observe"}, {"observe", "score"}]
    before, after = sorted(later.records, key=lambda record: len(record.metrics))
    assert after.metrics.keys() - before.metrics.keys() == {"measured_value"}
    assert all(after.metrics[name] == value for name, value in before.metrics.items())


@pytest.mark.usefixtures("own_process")
def test_without_such_a_metric_nothing_is_learned_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "relearn", lambda *_: pytest.fail("a model learned anew"))
    here = tiny.Bench(tmp_path, {"methods": ["no_op"], "metrics": ["accuracy"]})
    here.work()
    assert len(here.records) == 1
