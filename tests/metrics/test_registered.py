"""What holds for every registered metric of one run: its numbers, what they are said to be, and what it refuses."""

import numpy as np
import pytest

from benchmark import registry
from benchmark.api import Metric, References
from tests.metrics.observed import OF_PARADIGM, SIZES, Watched

METRICS = [registry.get("metric", name) for name in registry.names("metric")]


def cases(*tiers):
    """Every metric of one run with every kind of model that it is defined for."""
    return [
        pytest.param(component, paradigm, id=f"{component.name}-{paradigm}")
        for component in METRICS
        for paradigm in OF_PARADIGM
        if issubclass(component.target, Metric) and paradigm in component.info.paradigms
        if component.info.tier in tiers
    ]


each_metric = pytest.mark.parametrize(("component", "paradigm"), cases("every_run", "probing", "legacy"))


def class_forgotten(outputs):
    """As if class 2 had been forgotten whole: no retain image shows it, and none is attacked."""
    kept = np.flatnonzero(outputs["retain/labels"] != 2)
    retain = {f"retain/{what}" for what in ("labels", "features", "logits")} & outputs.keys()
    attacked = {"retain/probe", "retain/head_similarities", "retain/backbone_similarities"}
    return {n: array[kept] if n in retain else array for n, array in outputs.items() if n not in attacked}


each_scenario = pytest.mark.parametrize("scenario", [dict, class_forgotten], ids=["random", "class"])


def models(paradigm, scenario=dict):
    """Unlearned, original and retrained model."""
    return [scenario(OF_PARADIGM[paradigm](seed)) for seed in range(3)]


@pytest.fixture(autouse=True)
def one_attacker(monkeypatch):
    """Learned attackers are slow; one is as good as three here."""
    monkeypatch.setattr("benchmark.metrics.probing.ATTACKERS", (0,))


@each_scenario
@each_metric
def test_numbers_are_finite_and_all_that_is_said_of_them_is_declared(component, paradigm, scenario):
    unlearned, original, retrained = models(paradigm, scenario)
    metric, references = component.target(), References(original, retrained)
    given = []
    for outputs in (unlearned, original, retrained):
        found = metric.compute(outputs, references)
        assert found.keys() <= component.info.values.keys()
        assert all(isinstance(value, float) and np.isfinite(value) for value in found.values())
        assert all(metric.sizes(outputs)[name] > 0 for name in found)
        assert all(low <= found[name] <= high for name, (low, high) in metric.intervals(outputs).items())
        assert metric.notes(outputs).keys() <= found.keys()
        given.append(found.keys())
    assert given[0] == given[1] == given[2]


@each_scenario
@each_metric
def test_one_nan_in_anything_that_is_read_is_an_error(component, paradigm, scenario):
    watched = [Watched(outputs) for outputs in models(paradigm, scenario)]
    compute = component.target().compute
    compute(watched[0], References(*watched[1:]))
    for model, outputs in enumerate(watched):
        for name in (name for name in outputs.read if outputs[name].dtype.kind == "f"):
            spoilt = [{name: array.copy() for name, array in m.items()} for m in models(paradigm, scenario)]
            spoilt[model][name][-1, -1] = np.nan
            with pytest.raises(ValueError, match="nan"):
                compute(spoilt[0], References(*spoilt[1:]))


@each_metric
def test_an_empty_forget_set_is_an_error(component, paradigm):
    for scenario in (dict, class_forgotten):
        metric, outputs = component.target(), models(paradigm, scenario)
        if metric.compute(outputs[0], References(*outputs[1:])):
            break
    empty = [{name: without_images(name, array) for name, array in model.items()} for model in outputs]
    with pytest.raises(ValueError):
        metric.compute(empty[0], References(*empty[1:]))


def without_images(name, array):
    """An array of outputs, empty if it is about the forget set; after relearning images are columns."""
    return array[:0] if name.startswith("forget/") else array[:, :0] if name.startswith("relearning/forget") else array


@each_metric
def test_there_is_a_scenario_in_which_something_is_said(component, paradigm):
    given = [
        component.target().compute(unlearned, References(original, retrained))
        for unlearned, original, retrained in (models(paradigm), models(paradigm, class_forgotten))
    ]
    assert any(given)


@pytest.mark.parametrize(("component", "paradigm"), cases("every_run"))
def test_the_order_of_the_images_does_not_matter(component, paradigm):
    rng = np.random.default_rng(3)
    orders = {name: rng.permutation(size) for name, size in SIZES.items() if name != "retain"}
    plain = models(paradigm)
    moved = [
        {
            name: array[orders[name.partition("/")[0]]] if name.partition("/")[0] in orders else array
            for name, array in outputs.items()
        }
        for outputs in plain
    ]
    metric = component.target()
    expected = metric.compute(plain[0], References(*plain[1:]))
    assert metric.compute(moved[0], References(*moved[1:])) == pytest.approx(expected, abs=1e-9)


def test_legacy_numbers_say_so_and_are_never_ranked():
    infos = [component.info for component in METRICS if component.info.tier == "legacy"]
    values = [value for info in infos for value in info.values.values()]
    assert values
    for value in values:
        assert value.label.startswith("legacy: ")
        assert (value.goal, value.headline, value.attack) == ("info", False, False)
