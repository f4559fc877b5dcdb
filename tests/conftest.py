"""Small pictures that can be learned, and a tiny learner of every paradigm: what the tests of the harness share.

The fixtures are factories; whatever they make is a function of the seed that is asked for.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmark.data import ExampleSet, ImageData
from benchmark.learners.base import Learner
from benchmark.learners.supervised import Supervised
from benchmark.learners.views import ViewPolicy
from benchmark.smoke import CPU, SIZES, pictures, small_learner
from benchmark.specs import Recipe
from benchmark.training import UnlearningRequest, train

torch.set_num_threads(1)

RECIPE = Recipe(lr=0.05, epochs=2, batch_size=8)


def _data(count: int = 24, seed: int = 0, classes: int = 3, side: int = 8, label: int | None = None) -> ImageData:
    """Noisy copies of one random pattern per class; all of one class if `label` is given."""
    return pictures(count, seed, classes, side, None if label is None else [label])


def _request(paradigm: str, *, seed: int = 5, recipe: Recipe = RECIPE, **changes: Any) -> UnlearningRequest:
    sets: dict[str, Any] = {
        name: ExampleSet(_data(size, seed=number), name, CPU, recipe.channels_last)
        for number, (name, size) in enumerate(SIZES.items())
    }
    fixed = {
        "recipe": recipe,
        "fresh_learner": lambda seed: small_learner(paradigm, seed),
        "seed": seed,
        "device": CPU,
        "scenario": "random",
        "num_classes": 3,
    }
    return UnlearningRequest(**(sets | fixed | changes))


class _Flat(nn.Flatten):
    """An encoder that does nothing: pixels are features."""

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.num_features = pixels


@pytest.fixture(scope="session")
def make_data() -> Callable[..., ImageData]:
    return _data


@pytest.fixture(scope="session")
def make_set() -> Callable[..., ExampleSet]:
    def make(name: str = "retain", **data: Any) -> ExampleSet:
        return ExampleSet(_data(**data), name, CPU)

    return make


@pytest.fixture(scope="session")
def make_learner() -> Callable[..., Learner]:
    return small_learner


@pytest.fixture(scope="session")
def make_request() -> Callable[..., UnlearningRequest]:
    return _request


@pytest.fixture(scope="session")
def original_of() -> Callable[[str], Learner]:
    """Paradigm -> a fresh load of a learner that was trained on the forget and retain sets of `make_request`."""
    trained: dict[str, dict[str, Tensor]] = {}

    def load(paradigm: str) -> Learner:
        if paradigm not in trained:
            both = [_data(SIZES[name], seed=number) for number, name in enumerate(("forget", "retain"))]
            parts = (torch.cat([getattr(data, part) for data in both]) for part in ("images", "labels", "test"))
            examples = ExampleSet(ImageData.of(*parts, both[0].classes), "original", CPU)
            model = train(lambda seed: small_learner(paradigm, seed), examples, RECIPE, 1, CPU)
            trained[paradigm] = {name: value.clone() for name, value in model.state_dict().items()}
        learner = small_learner(paradigm)
        learner.load_state_dict(trained[paradigm])
        return learner.eval()

    return load


@pytest.fixture(scope="session")
def make_linear() -> Callable[..., Supervised]:
    """A classifier that is linear in pixels: its loss is convex and its gradients are known."""

    def make(side: int = 8, classes: int = 3, mean: float = 0.0, std: float = 1.0, seed: int = 0) -> Supervised:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Supervised(_Flat(side * side), ViewPolicy(), torch.tensor([mean]), torch.tensor([std]), classes)

    return make
