"""What a method says that it costs is what it takes: costs in the grammar of the table are held against counted images.

A forward pass alone, f(·), may be over images that are taken anyway, and then counts none.
"""

import re

import pytest

from benchmark import registry
from benchmark.components import build
from benchmark.data import ExampleSet
from benchmark.learners.base import Learner
from benchmark.smoke import CPU, small_learner
from benchmark.specs import Recipe

RECIPE = Recipe(lr=0.05, epochs=10, batch_size=64)
SIZES = {"F": ("forget", 256), "R": ("retain", 640), "T": ("third_party", 256)}
"""Full batches and whole numbers of steps for every method's defaults."""
INFOS = {name: registry.get("method", name).info for name in registry.names("method") if "[" not in name}
COUNTED = {
    name: info.cost
    for name, info in INFOS.items()
    if "supervised" in info.paradigms and re.fullmatch(r"[\d.\s+x*/()RFTEf]+", info.cost)
}
TINY = {"layers": [1, 1], "channels": [2, 4]}


def images(cost: str, forward: int) -> float:
    """The images of a cost, those of f(·) counted or not."""
    formula = re.sub(r"(?<=[\w)]) (?=[\w(])", " * ", cost.replace(" x ", " * "))
    known = {letter: size for letter, (_, size) in SIZES.items()}
    return eval(formula, {"f": lambda passes: forward * passes, "E": RECIPE.epochs, **known})


def test_most_costs_are_counted():
    assert len(COUNTED) > 25
    assert images("F + 10 (R + F) + f(2 R)", 1) == 256 + 10 * (640 + 256) + 2 * 640
    assert images("27 x 50 F + 20 f(F + T)", 0) == 27 * 50 * 256
    assert images("0.1 E R/2", 0) == 640 / 2


@pytest.mark.parametrize("name", sorted(COUNTED))
def test_a_method_takes_as_many_images_as_its_cost_says(make_data, make_request, name):
    cost, less = COUNTED[name], {}
    if cost.startswith("27 x 50 F"):
        cost, less = cost.replace("50 F", "2 F"), {"epochs": 2}
    scenarios = INFOS[name].scenarios
    sets = {
        part: ExampleSet(make_data(size, seed=number), part, CPU) for number, (part, size) in enumerate(SIZES.values())
    }
    scenario = "random" if scenarios is None or "random" in scenarios else "class"
    request = make_request("supervised", recipe=RECIPE, scenario=scenario, fresh_learner=tiny_learner, **sets)
    build(registry.get("method", name).target, less, name).unlearn(tiny_learner().eval(), request)
    taken = sum(request.samples_seen().values())
    assert 0.97 * images(cost, 0) <= taken <= 1.03 * images(cost, 1)


def tiny_learner(seed: int = 0) -> Learner:
    return small_learner("supervised", seed, encoder=TINY)
