"""Edits of single tensors reach what they name, and momentum copies of it."""

import pytest
import torch

from benchmark.api import PARADIGMS
from benchmark.edits import add_noise, kernels

ALL = sorted(PARADIGMS)


def trainable(learner):
    return {name: p.detach().clone() for name, p in learner.trainable()}


@pytest.mark.parametrize("paradigm", ALL)
def test_kernels_are_those_of_the_online_network_from_input_to_output(make_learner, paradigm):
    learner = make_learner(paradigm)
    expected = [name for name, p in learner.trainable() if p.dim() == 4]
    found = kernels(learner)
    assert [*found] == expected and expected[0] == "encoder.conv1.weight"
    assert all(found[name] is p for name, p in learner.trainable() if name in found)
    assert not [name for name in found if name.startswith(("key_", "target_"))]


def test_noise_has_its_deviation_and_reaches_momentum_copies(original_of):
    learner, before = original_of("byol"), trainable(original_of("byol"))
    name = "encoder.layer2.0.conv2.weight"
    add_noise(learner, {name}, 0.04, torch.Generator().manual_seed(0))
    assert {n for n, p in trainable(learner).items() if not torch.equal(p, before[n])} == {name}
    noise = dict(learner.trainable())[name].detach() - before[name]
    assert noise.std().item() == pytest.approx(0.04, rel=0.05)
    copies = [m.target_encoder.layer2[0].conv2.weight for m in (learner, original_of("byol"))]
    torch.testing.assert_close(copies[0] - copies[1], noise, atol=1e-6, rtol=1e-4)


def test_noise_on_nothing_draws_nothing(original_of):
    draws = torch.Generator().manual_seed(0)
    state = draws.get_state()
    add_noise(original_of("supervised"), (), 1.0, draws)
    assert torch.equal(draws.get_state(), state)
