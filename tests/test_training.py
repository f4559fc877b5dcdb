"""The training loop: a function of its seeds and of nothing else, with the steps that its recipe names."""

import itertools
import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.api import PARADIGMS
from benchmark.data import Batch, ExampleSet
from benchmark.errors import Diverged
from benchmark.learners.base import Learner
from benchmark.specs import Optimisation, Recipe
from benchmark.training import copy_of, optimise, train

ALL = sorted(PARADIGMS)
CPU = torch.device("cpu")
FLOAT32 = Recipe(lr=0.0, epochs=1, batch_size=1)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def same(first: Learner, second: Learner) -> bool:
    ours, theirs = first.state_dict(), second.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(value, theirs[name]) for name, value in ours.items())


def weights(learner: Learner) -> Tensor:
    return torch.cat([p.detach().flatten() for _, p in learner.trainable()])


def cross_entropy(learner: Learner) -> Callable[[Batch], Tensor]:
    return lambda batch: learner.view_loss([batch.images], batch.labels)


def run(learner: Learner, examples: ExampleSet, order: int = 0, recipe: Recipe = FLOAT32, **how: object) -> list[dict]:
    """Plain cross-entropy on a classifier; returns the log."""
    log: list[dict[str, float]] = []
    settings = Optimisation(**{"lr": 0.1, "epochs": 1, "batch_size": 8, **how})
    objective = {"utility": (1.0, cross_entropy(learner))}
    optimise(learner, examples, objective, settings, order=seeded(order), recipe=recipe, log=log)
    return log


# Reproducibility


@pytest.mark.parametrize("numerics", [{}, {"precision": "bfloat16", "channels_last": True}], ids=["fp32", "bf16"])
@pytest.mark.parametrize("paradigm", ALL)
def test_training_is_a_function_of_its_seed(make_learner, make_data, paradigm, numerics):
    recipe = Recipe(lr=0.05, epochs=2, batch_size=8, schedule="onecycle", **numerics)

    def trained(seed: int) -> Learner:
        examples = ExampleSet(make_data(20), "retain", CPU, recipe.channels_last)
        return train(lambda init: make_learner(paradigm, init), examples, recipe, seed, CPU)

    first = trained(1)
    assert not first.training
    assert all(value.isfinite().all() for value in first.state_dict().values())
    assert same(first, trained(1))
    assert not same(first, trained(2))


@pytest.mark.parametrize("paradigm", ALL)
def test_training_neither_reads_nor_moves_global_random_state(make_learner, make_set, paradigm):
    recipe = Recipe(lr=0.05, epochs=1, batch_size=8)
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed), np.random.seed(seed), random.seed(seed)
        before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
        results.append(train(lambda init: make_learner(paradigm, init), make_set(), recipe, 3, CPU))
        assert torch.equal(torch.get_rng_state(), before[0])
        assert np.random.get_state()[1].tolist() == before[1]
        assert random.getstate() == before[2]
    assert same(*results)


def test_order_and_views_are_independent_streams(make_learner, make_set, monkeypatch):
    """More draws for views leave the order of the images as it was."""
    seen: list[list[int]] = []
    take = ExampleSet.take

    def spy(self: ExampleSet, positions: Tensor) -> Batch:
        seen[-1] += positions.tolist()
        return take(self, positions)

    monkeypatch.setattr(ExampleSet, "take", spy)
    for views in ({}, {"noise": 0.1}, {"flip": 0.5, "shift": 0.1}):
        seen.append([])
        recipe = Recipe(lr=0.05, epochs=2, batch_size=8)
        train(lambda init, views=views: make_learner("simclr", init, views=views), make_set(), recipe, 3, CPU)
    assert seen[0] == seen[1] == seen[2]
    assert sorted(seen[0][:24]) == sorted(seen[0][24:]) == list(range(24))
    assert seen[0][:24] != seen[0][24:]


def test_views_do_not_depend_on_the_order_of_the_images(make_learner, make_set):
    drawn = []
    for order in (1, 2):
        learner, views = make_learner("supervised"), seeded(7)

        def term(batch: Batch, learner=learner, views=views) -> Tensor:
            return learner.loss(batch.images, batch.labels, views)

        how = Optimisation(lr=0.1, epochs=1, batch_size=8)
        optimise(learner, make_set(), {"utility": (1.0, term)}, how, order=seeded(order), recipe=FLOAT32)
        drawn.append(views.get_state())
    assert torch.equal(*drawn)


# The objective


def test_term_of_weight_zero_is_never_evaluated(make_linear, make_set):
    def never(batch: Batch) -> Tensor:
        raise AssertionError("evaluated")

    alone, beside = make_linear(), make_linear()
    how = Optimisation(lr=0.1, epochs=2, batch_size=8)
    for learner, more in ((alone, {}), (beside, {"off": (0.0, never)})):
        objective = {"utility": (1.0, cross_entropy(learner)), **more}
        optimise(learner, make_set(), objective, how, order=seeded(), recipe=FLOAT32)
    assert same(alone, beside)


def test_loss_is_the_weighted_sum_of_the_terms_and_the_log_has_a_row_per_epoch_with_each(make_linear, make_set):
    learner, log = make_linear(), []

    def size(_batch: Batch) -> Tensor:
        return learner.classifier.weight.square().sum()

    objective = {"utility": (1.0, cross_entropy(learner)), "size": (0.5, size), "off": (0.0, size)}
    start = float(0.5 * learner.classifier.weight.detach().square().sum())
    utility = float(learner.view_loss([make_set().all().images], make_set().all().labels).detach())
    how, calls = Optimisation(lr=0.0, epochs=3, batch_size=8), []
    done = lambda epoch, epochs: calls.append((epoch, epochs))  # noqa: E731
    optimise(learner, make_set(), objective, how, order=seeded(), recipe=FLOAT32, log=log, progress=done)
    assert [row["epoch"] for row in log] == [1, 2, 3]
    assert calls == [(1, 3), (2, 3), (3, 3)]
    for row in log:
        assert row.keys() == {"epoch", "loss", "utility", "size"}
        assert row["size"] == pytest.approx(start, rel=1e-5)
        assert row["utility"] == pytest.approx(utility, rel=1e-5)
        assert row["loss"] == pytest.approx(start + utility, rel=1e-5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_loss_that_is_not_finite_stops_at_its_epoch(make_linear, make_set, bad):
    learner, seen = make_linear(), []

    def term(batch: Batch) -> Tensor:
        seen.append(len(batch))
        return learner.view_loss([batch.images], batch.labels) * (bad if sum(seen) == 48 else 1.0)

    how = Optimisation(lr=0.1, epochs=5, batch_size=8)
    with pytest.raises(Diverged, match=r"epoch 2: the loss is (nan|inf)"):
        optimise(learner, make_set(), {"utility": (1.0, term)}, how, order=seeded(), recipe=FLOAT32)
    assert sum(seen) == 48


@pytest.mark.parametrize(("drop_last", "steps"), [(False, 9), (True, 6)])
def test_whoever_asks_is_called_after_every_step_with_their_number(make_linear, make_set, drop_last, steps):
    learner, seen = make_linear(), []

    def look(step: int) -> None:
        seen.append((step, learner.classifier.bias.detach().clone()))

    how = Optimisation(lr=0.1, epochs=3, batch_size=8, drop_last=drop_last)
    objective = {"utility": (1.0, cross_entropy(learner))}
    optimise(learner, make_set(count=20), objective, how, order=seeded(), recipe=FLOAT32, on_step=look)
    assert [step for step, _ in seen] == list(range(1, steps + 1))
    assert all(not torch.equal(one, other) for (_, one), (_, other) in itertools.pairwise(seen))
    assert torch.equal(seen[-1][1], learner.classifier.bias)


# The steps


def path_of(make_linear, make_set, count: int = 24, **how: object) -> list[float]:
    """Lengths of the steps of plain descent on a term whose gradient is 1 everywhere: the learning rates."""
    learner, bias = make_linear(), []

    def term(_batch: Batch) -> Tensor:
        bias.append(learner.classifier.bias[0].double().item())
        return learner.classifier.bias[0]

    settings = Optimisation(**{"lr": 0.5, "momentum": 0.0, "epochs": 1, "batch_size": 8, **how})
    examples = make_set(count=count)
    optimise(learner, examples, {"slope": (1.0, term)}, settings, order=seeded(), recipe=FLOAT32)
    bias.append(learner.classifier.bias[0].double().item())
    return [before - after for before, after in itertools.pairwise(bias)]


def test_constant_schedule_keeps_the_learning_rate(make_linear, make_set):
    assert path_of(make_linear, make_set, epochs=4) == pytest.approx([0.5] * 12, rel=1e-5)


def test_cosine_schedule_falls_from_the_learning_rate_to_nearly_zero(make_linear, make_set):
    rates = path_of(make_linear, make_set, epochs=10, schedule="cosine")
    by_hand = [0.25 * (1 + np.cos(np.pi * step / 30)) for step in range(30)]
    assert rates == pytest.approx(by_hand, rel=1e-3, abs=1e-5)
    assert rates[-1] < 0.01 * 0.5


def test_one_cycle_peaks_at_the_learning_rate_and_ends_near_zero(make_linear, make_set):
    rates = path_of(make_linear, make_set, count=19, batch_size=1, schedule="onecycle")
    peak = int(np.argmax(rates))
    assert rates[peak] == pytest.approx(0.5, rel=1e-5)
    assert 0 < peak < 10
    assert rates[0] == pytest.approx(0.5 / 25, rel=1e-3)
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[-1] < 0.05 * 0.5


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_one_cycle_of_a_few_steps_is_still_a_step(make_linear, make_set, epochs):
    rates = path_of(make_linear, make_set, count=8, epochs=epochs, schedule="onecycle")
    assert len(rates) == epochs
    assert all(0 < rate <= 0.5 * (1 + 1e-5) for rate in rates)


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_steps_of_adam_on_a_constant_slope_have_the_rate_as_length(make_linear, make_set, optimizer):
    rates = path_of(make_linear, make_set, optimizer=optimizer, epochs=2)
    assert rates == pytest.approx([0.5] * 6, rel=1e-3)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "onecycle"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_learning_rate_zero_leaves_parameters_equal(make_learner, make_set, optimizer, schedule):
    learner = make_learner("supervised")
    before = weights(learner)
    run(learner, make_set(), optimizer=optimizer, schedule=schedule, lr=0.0, weight_decay=0.01)
    assert torch.equal(weights(learner), before)


def test_gradients_are_clipped_to_their_norm(make_linear, make_set):
    learner, before = make_linear(), make_linear()

    def steep(batch: Batch) -> Tensor:
        return 1e3 * learner.view_loss([batch.images], batch.labels)

    how = Optimisation(lr=1.0, momentum=0.0, epochs=1, batch_size=24, max_grad_norm=0.01)
    optimise(learner, make_set(), {"utility": (1.0, steep)}, how, order=seeded(), recipe=FLOAT32)
    assert (weights(learner) - weights(before)).norm().item() == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize(("count", "drop_last", "sizes"), [(20, False, [8, 8, 4]), (20, True, [8, 8]), (5, True, [5])])
def test_incomplete_batch_is_dropped_on_demand_but_never_the_only_one(make_linear, make_set, count, drop_last, sizes):
    learner, seen = make_linear(), []

    def term(batch: Batch) -> Tensor:
        seen.append(len(batch))
        return learner.view_loss([batch.images], batch.labels)

    how, log = Optimisation(lr=0.0, epochs=1, batch_size=8, drop_last=drop_last), []
    optimise(learner, make_set(count=count), {"u": (1.0, term)}, how, order=seeded(), recipe=FLOAT32, log=log)
    assert seen == sizes
    assert np.isfinite(log[0]["loss"])


def test_momentum_networks_follow_after_every_step(make_learner, make_set):
    learner = make_learner("byol").train()
    calls, follow = [], learner.after_step
    learner.after_step = lambda: (calls.append(1), follow())
    how, views = Optimisation(lr=0.1, epochs=2, batch_size=8), seeded()
    objective = {"utility": (1.0, lambda batch: learner.loss(batch.images, batch.labels, views))}
    optimise(learner, make_set(), objective, how, order=seeded(), recipe=FLOAT32)
    assert len(calls) == 6


def test_training_learns(make_learner, make_set):
    learner = make_learner("supervised", views={})
    log = run(learner, make_set(), epochs=20)
    assert log[-1]["loss"] < 0.1 < log[0]["loss"]
    batch = make_set().all()
    assert (learner.eval().predict(batch.images).argmax(1) == batch.labels).all()


def test_full_batch_descent_on_a_convex_loss_ends_at_its_minimiser(make_linear, make_set):
    examples, decay = make_set(count=40, side=3), 0.05
    learner = make_linear(side=3)
    run(learner, examples, batch_size=40, epochs=300, lr=0.5, momentum=0.9, weight_decay=decay)
    x, y = examples.all().images.flatten(1).double(), examples.all().labels
    theta = torch.zeros(3, 10, dtype=torch.double, requires_grad=True)
    newton = torch.optim.LBFGS([theta], max_iter=200, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        newton.zero_grad()
        value = F.cross_entropy(x @ theta[:, :9].T + theta[:, 9], y) + decay / 2 * theta.square().sum()
        value.backward()
        return value

    newton.step(loss)
    reached = torch.cat([learner.classifier.weight, learner.classifier.bias[:, None]], 1).double()
    torch.testing.assert_close(reached, theta, rtol=0, atol=1e-3)


# Numerics


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_numerics_are_close_to_plain_float32_and_weights_stay_float32(make_learner, make_data, precision):
    plain, other = make_learner("supervised"), make_learner("supervised")
    recipe = Recipe(lr=0.0, epochs=1, batch_size=1, precision=precision, channels_last=True)
    before = weights(plain)
    run(plain, ExampleSet(make_data(), "retain", CPU))
    run(other, ExampleSet(make_data(), "retain", CPU, channels_last=True), recipe=recipe)
    assert all(p.dtype == torch.float32 for p in other.parameters())
    moved, alike = (weights(plain) - before).norm(), (weights(plain) - weights(other)).norm()
    assert alike < (1e-4 if precision == "float32" else 0.3) * moved
    assert (precision == "bfloat16") == bool(alike > 1e-4 * moved)


def test_a_copy_is_in_evaluation_mode_and_the_given_learner_keeps_its_own(make_learner):
    learner = make_learner("moco").train()
    twin = copy_of(learner)
    assert not twin.training
    assert learner.training
    assert same(learner, twin)


# The request


def test_streams_of_a_request_are_named_and_repeatable(make_request):
    first, again = make_request("supervised").stream("noise"), make_request("supervised").stream("noise")
    other, reseeded = make_request("supervised").stream("labels"), make_request("supervised", seed=6).stream("noise")
    drawn = [torch.rand(4, generator=stream).tolist() for stream in (first, again, other, reseeded)]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2] != drawn[3] != drawn[0]


def test_request_counts_the_images_that_each_set_gave(make_request, original_of):
    request = make_request("supervised")
    learner = copy_of(original_of("supervised"))
    how = Optimisation(lr=0.1, epochs=2, batch_size=10)
    request.optimise(learner, request.retain, {"u": (1.0, cross_entropy(learner))}, how)
    next(request.forget.stream(5, request.stream("forget")))
    assert request.samples_seen() == {"forget": 5, "retain": 48, "third_party": 0}
    assert len(request.log) == 2
