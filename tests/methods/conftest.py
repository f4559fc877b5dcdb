"""What the tests of methods compare learners by."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from benchmark.data import ExampleSet
from benchmark.learners.base import Learner


def _same(first: Learner, second: Learner) -> bool:
    ours, theirs = first.state_dict(), second.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(value, theirs[name]) for name, value in ours.items())


def _flat(learner: Learner) -> Tensor:
    return torch.cat([p.detach().flatten() for _, p in learner.trainable()])


@pytest.fixture(scope="session")
def same() -> Callable[[Learner, Learner], bool]:
    """Whether two learners are bitwise equal, buffers and all."""
    return _same


@pytest.fixture(scope="session")
def flat() -> Callable[[Learner], Tensor]:
    """All trainable weights of a learner as one vector."""
    return _flat


@pytest.fixture(scope="session")
def nobody(make_data) -> ExampleSet:
    """A forget set without images."""
    data = make_data(8)
    return ExampleSet(data.select(torch.arange(0)), "forget", torch.device("cpu"))
