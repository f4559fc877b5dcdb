"""RNI trains and shakes only what it drew, each tensor at most once, and everything in the end."""

import pytest
import torch

from benchmark.api import PARADIGMS
from benchmark.data import Forbidden
from benchmark.methods import repeated_noise
from benchmark.methods.repeated_noise import RepeatedNoise, parted

ALL = sorted(PARADIGMS)
SHORT = {"tensors": 3, "partial_epochs": 4, "epochs": 2, "batch_size": 8}


def trainable(learner):
    return {name: p.detach().clone() for name, p in learner.trainable()}


def moved(before, after):
    return {name for name, value in after.items() if not torch.equal(value, before[name])}


@pytest.fixture
def epochs(monkeypatch):
    """Of each epoch: weights before and after it, what it may train, and how."""
    seen, real = [], repeated_noise.optimise_apart

    def recorded(learner, examples, objective, how, *where, only):
        before = trainable(learner)
        row = real(learner, examples, objective, how, *where, only=only)
        seen.append((before, trainable(learner), only, how))
        return row

    monkeypatch.setattr(repeated_noise, "optimise_apart", recorded)
    return seen


@pytest.mark.parametrize("paradigm", ALL)
def test_early_epochs_move_what_they_drew_and_later_ones_everything(make_request, original_of, epochs, paradigm):
    original = original_of(paradigm)
    norms, others = parted(original)
    absent = {n: Forbidden("repeated_noise", n) for n in ("forget", "third_party")}
    RepeatedNoise(**SHORT).unlearn(original, make_request(paradigm, **absent))
    assert len(epochs) == 6
    assert norms
    last, earlier, shaken_ever = None, set(), set()
    for number, (before, after, only, _) in enumerate(epochs[:4]):
        chosen = only - {*norms}
        assert {*norms} <= only
        assert len(chosen) == 3
        assert chosen <= {*others}
        assert moved(before, after) <= only
        if last is not None:
            shaken = moved(last, before)
            assert shaken <= chosen - earlier
            assert len(shaken) <= 2
            shaken_ever |= shaken
        last, earlier = after, earlier | chosen
        assert number or not shaken_ever
    assert shaken_ever
    assert all(moved(before, after) == {*before} for before, after, _, _ in epochs[4:])


def test_defaults_are_nine_epochs_with_the_last_at_its_own_rate(make_request, original_of, epochs):
    request = make_request("supervised")
    RepeatedNoise().unlearn(original_of("supervised"), request)
    assert [how.lr for *_, how in epochs] == [2e-4] * 8 + [1e-3]
    assert [only is None for *_, only, _ in epochs] == [False] * 5 + [True] * 4
    assert [row["epoch"] for row in request.log] == list(range(1, 10))
    assert int(0.7 * 9) == 6


@pytest.mark.parametrize("paradigm", ALL)
def test_heads_begin_anew_on_demand_and_all_else_is_the_original(make_request, original_of, epochs, paradigm):
    original, request = original_of(paradigm), make_request(paradigm)
    heads = {name for name, p in original.trainable() if any(p is q for h in original.heads() for q in h.parameters())}
    for reset in ("heads", "nothing"):
        RepeatedNoise(reset=reset, **SHORT).unlearn(original, request)
        changed = moved(trainable(original), epochs[0][0])
        assert changed <= heads
        assert bool(changed) == (reset == "heads")
        epochs.clear()


def test_no_noise_and_no_reset_is_partial_fine_tuning_with_the_same_draws(make_request, original_of, epochs):
    """With noise the same tensors are trained: neither draws from the other's stream."""
    method = {"reset": "nothing", **SHORT}
    RepeatedNoise(noise=0.0, **method).unlearn(original_of("supervised"), make_request("supervised"))
    quiet = [only for *_, only, _ in epochs]
    ends = [after for _, after, _, _ in epochs]
    starts = [before for before, *_ in epochs]
    assert not any(moved(end, start) for end, start in zip(ends, starts[1:], strict=False))
    epochs.clear()
    RepeatedNoise(noise=0.04, **method).unlearn(original_of("supervised"), make_request("supervised"))
    assert [only for *_, only, _ in epochs] == quiet
