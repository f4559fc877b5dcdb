"""NegMerge subtracts what every model of its pool agrees on, and nothing else."""

import pytest
import torch

from benchmark.api import PARADIGMS
from benchmark.data import Forbidden
from benchmark.errors import Diverged
from benchmark.methods.negmerge import NegMerge, consensus, settings

ALL = sorted(PARADIGMS)
SHORT = {"epochs": 2, "batch_size": 8, "lr": 0.05}


def states(learner):
    return {name: value for name, value in learner.state_dict().items() if "queue" not in name}


def test_entries_whose_signs_disagree_or_that_are_zero_vanish_and_the_others_are_averaged():
    first, second = torch.tensor([1.0, -1.0, 0.5, 0.0]), torch.tensor([3.0, 2.0, 0.5, 1.0])
    assert consensus([{"w": first}, {"w": second}])["w"].tolist() == [2.0, 0.0, 0.5, 0.0]


def test_the_pool_is_the_whole_grid_and_its_beginnings_are_balanced():
    pool = [settings(number) for number in range(27)]
    assert len(set(pool)) == 27
    assert all(len({s[axis] for s in pool[:3]}) == 3 for axis in range(3))
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert len({(s[first], s[second]) for s in pool[:9]}) == 9


@pytest.mark.parametrize("paradigm", ALL)
def test_coefficient_zero_changes_no_bit_and_needs_forget_alone(make_request, original_of, paradigm):
    request = make_request(paradigm, **{n: Forbidden("negmerge", n) for n in ("retain", "third_party")})
    method = NegMerge(coefficient=0.0, pool_size=2, buffers="include", bn_forget="train", **SHORT)
    assert method.reads() == {"forget"}
    result = states(method.unlearn(original_of(paradigm), request))
    before = states(original_of(paradigm))
    assert all(torch.equal(value, before[name]) for name, value in result.items())
    assert request.samples_seen() == {"forget": 2 * 2 * 8}


@pytest.mark.parametrize("paradigm", ALL)
def test_pool_of_one_is_negation_of_one_task_vector(make_request, original_of, monkeypatch, paradigm):
    seen = []
    vectors = NegMerge._task_vectors
    monkeypatch.setattr(NegMerge, "_task_vectors", lambda *given: seen.extend(vectors(*given)) or seen)
    method = NegMerge(coefficient=0.7, pool_size=1, **SHORT)
    result = method.unlearn(original_of(paradigm), make_request(paradigm))
    before = dict(original_of(paradigm).trainable())
    for name, after in result.trainable():
        assert torch.equal(after, before[name] - 0.7 * seen[0][name])
    assert any(value.any() for value in seen[0].values())
    for (_, target), (_, was) in zip(result.targets(), original_of(paradigm).targets(), strict=True):
        assert not all(torch.equal(a, b) for a, b in zip(target.parameters(), was.parameters(), strict=True))


@pytest.mark.parametrize(("buffers", "moves"), [("keep", False), ("include", True)])
def test_running_statistics_are_subtracted_only_on_demand(make_request, original_of, buffers, moves):
    method = NegMerge(coefficient=10.0, pool_size=1, bn_forget="train", buffers=buffers, **SHORT)
    result = method.unlearn(original_of("supervised"), make_request("supervised")).encoder.bn1
    before = original_of("supervised").encoder.bn1
    assert torch.equal(result.running_mean, before.running_mean) != moves
    assert result.running_var.min() >= 1e-5


@pytest.mark.parametrize("paradigm", ALL)
def test_the_coefficient_that_is_searched_is_the_one_with_the_smallest_gap(make_request, original_of, paradigm):
    request = make_request(paradigm)
    method = NegMerge(pool_size=3, **SHORT)
    result = states(method.unlearn(original_of(paradigm), request))
    chosen = request.log[-1]["coefficient"]
    assert 0.05 <= chosen <= 1.0
    assert request.samples_seen()["third_party"] == 20 * 8
    fixed = NegMerge(coefficient=chosen, pool_size=3, **SHORT)
    again = states(fixed.unlearn(original_of(paradigm), make_request(paradigm)))
    assert all(torch.equal(value, again[name]) for name, value in result.items())


@pytest.fixture
def diverging(monkeypatch):
    """Of the pool's models some have a loss that is not finite, some end with such weights."""
    real = NegMerge._fine_tune

    def make(losses=(), weights=()):
        def fine_tune(self, model, request, number):
            if number in losses:
                raise Diverged("the loss is nan")
            row = real(self, model, request, number)
            if number in weights:
                model.trainable()[0][1].data.view(-1)[0] = float("nan")
            return row

        monkeypatch.setattr(NegMerge, "_fine_tune", fine_tune)

    return make


@pytest.mark.parametrize("lost", [{"losses": [1]}, {"weights": [1]}])
def test_a_model_that_diverges_is_left_out_of_the_merge_and_logged(make_request, original_of, diverging, lost):
    request = make_request("supervised")
    vectors = [*NegMerge(pool_size=3, **SHORT)._task_vectors(original_of("supervised"), request)]
    diverging(**lost)
    result = NegMerge(coefficient=1.0, pool_size=3, **SHORT).unlearn(original_of("supervised"), request)
    assert [row["model"] for row in request.log[3:] if "diverged" in row] == [1]
    agreed, before = consensus([vectors[0], vectors[2]]), dict(original_of("supervised").trainable())
    assert all(torch.equal(after, before[name] - agreed[name]) for name, after in result.trainable())


@pytest.mark.parametrize(("lost", "pool"), [([0], 1), ([0, 2], 3), ([0, 1, 2], 4)])
def test_a_pool_that_has_lost_most_of_its_models_has_diverged(make_request, original_of, diverging, lost, pool):
    diverging(losses=lost)
    method = NegMerge(coefficient=1.0, pool_size=pool, **SHORT)
    with pytest.raises(Diverged, match=f"^{len(lost)} of the pool's {pool} models diverged; lower lr"):
        method.unlearn(original_of("supervised"), make_request("supervised"))


def test_negation_raises_the_loss_on_forget_images(make_request, original_of):
    def loss(learner, request):
        batch = request.forget.all()
        return learner.view_loss([batch.images], batch.labels).item()

    request = make_request("supervised")
    result = NegMerge(coefficient=1.0, pool_size=3, **SHORT).unlearn(original_of("supervised"), request)
    assert loss(result, request) > 1.5 * loss(original_of("supervised"), request)
