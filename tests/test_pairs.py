"""Paired splits, splits that all seeds share, and placebo sets: who forgets what, and what stays as it is."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from benchmark import registry
from benchmark.data import Coins, DataCache, TaskData, split_task
from benchmark.errors import BenchmarkError
from benchmark.models import load_task
from benchmark.scenarios.random import Random
from benchmark.specs import SplitSpec, TaskSpec
from tests import tiny


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    monkeypatch.setattr(registry, "_index", tiny.own_index())


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> DataCache:
    return DataCache(tmp_path_factory.mktemp("datasets"))


def task_of(split: dict[str, Any] | None = None, **changes: Any) -> TaskSpec:
    sizes = {"train": 80, "test": 40, "validation": 20, **(split or {})}
    return tiny.suite({"tasks.0.split": sizes, **changes}).tasks[0]


def loaded(cache: DataCache, task: TaskSpec, seed: int) -> dict[str, list[int]]:
    """Set name -> indices, in order."""
    found = load_task(task, seed, Path(), cache, "digits")
    return {name: images.indices.tolist() for name, images in found.sets.items()}


SHARED = ("retain", "third_party", "validation", "test")


# -- pairs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", [0, 1, 7])
def test_partners_exchange_forget_and_heldout_images_and_share_all_else(cache, pair):
    one, other = (loaded(cache, task_of({"pairs": True}), seed) for seed in (2 * pair, 2 * pair + 1))
    assert one["forget"] == other["heldout"]
    assert one["heldout"] == other["forget"]
    assert all(one[name] == other[name] for name in SHARED)
    assert set(one["forget"]).isdisjoint(one["heldout"])
    assert len(one["forget"] + one["heldout"]) == 2 * len(one["third_party"]) == 40


def test_each_pair_draws_a_pool_of_its_own(cache):
    first, second = (loaded(cache, task_of({"pairs": True}), seed) for seed in (0, 2))
    assert set(first["forget"] + first["heldout"]) != set(second["forget"] + second["heldout"])
    assert all(first[name] != second[name] for name in ("retain", "third_party", "validation"))


def test_without_pairs_neighbours_share_nothing(cache):
    one, other = (loaded(cache, task_of(), seed) for seed in (0, 1))
    assert one["forget"] != other["heldout"]
    assert all(one[name] != other[name] for name in ("retain", "third_party", "validation"))


def test_with_one_split_seed_all_pairs_part_one_pool_in_ways_of_their_own(cache):
    task = task_of({"pairs": True, "seed": 0})
    found = [loaded(cache, task, seed) for seed in range(8)]
    assert len({tuple(sorted(sets["forget"] + sets["heldout"])) for sets in found}) == 1
    assert all(sets[name] == found[0][name] for sets in found for name in SHARED)
    for one, other in zip(found[0::2], found[1::2], strict=True):
        assert (one["forget"], one["heldout"]) == (other["heldout"], other["forget"])
    halves = {tuple(sets["forget"]) for sets in found}
    assert len(halves) == 8, "no two models forget the same"


def test_with_one_split_seed_and_no_pairs_all_seeds_forget_the_same(cache):
    found = [loaded(cache, task_of({"seed": 0}), seed) for seed in range(3)]
    assert found[0] == found[1] == found[2]
    assert found[0] != loaded(cache, task_of({"seed": 1}), 0)


def test_an_ensemble_parts_one_pool_that_is_as_large_as_forget_and_heldout_of_its_task(cache):
    task = task_of({"seed": 5, "heldout": 30, "placebo": True})
    found = [loaded(cache, task.as_ensemble(8), seed) for seed in range(8)]
    pools = {tuple(sorted(sets["forget"] + sets["heldout"])) for sets in found}
    assert len(pools) == 1 and len(pools.pop()) == 2 * 20
    assert all("placebo" not in sets for sets in found)


def test_the_coins_of_a_pool_are_fair_and_those_of_its_images_have_nothing_to_do_with_each_other():
    """Over 500 pairs of a pool of 40: shares within four standard errors of a half, no two images correlate."""
    data, split = digits(300), SplitSpec(train=100, test=40)
    pool = None
    heads = []
    for pair in range(500):
        sets = split_task(data, Random(count=20), split, 0.0, seed=0, coins=Coins(pair, exchanged=False))
        pool = pool or sorted(sets["forget"].indices.tolist() + sets["heldout"].indices.tolist())
        heads.append(np.isin(pool, sets["forget"].indices.numpy()))
    tossed = np.array(heads, dtype=np.float64)
    assert abs(tossed.mean() - 0.5) < 4 * 0.5 / np.sqrt(tossed.size)
    assert np.abs(tossed.mean(axis=0) - 0.5).max() < 4 * 0.5 / np.sqrt(500)
    correlations = np.corrcoef(tossed.T)[~np.eye(40, dtype=bool)]
    assert np.abs(correlations).max() < 5 / np.sqrt(500)
    sizes = tossed.sum(axis=1)
    assert sizes.std() == pytest.approx(np.sqrt(40) / 2, rel=0.15), "a coin each, not one half exactly"


def test_exchanging_turns_every_coin():
    data, split = digits(300), SplitSpec(train=100, test=40)
    heads, tails = (split_task(data, Random(count=20), split, 0.0, 0, Coins(3, exchanged=e)) for e in (False, True))
    assert torch.equal(heads["forget"].indices, tails["heldout"].indices)
    assert torch.equal(heads["heldout"].indices, tails["forget"].indices)


def test_coins_decide_about_the_pool_alone():
    data, split = digits(300), SplitSpec(train=100, test=40, validation=10)
    drawn = split_task(data, Random(count=20), split, 0.1, seed=0)
    tossed = split_task(data, Random(count=20), split, 0.1, seed=0, coins=Coins(0, exchanged=False))
    assert (drawn.coins, tossed.coins) == (False, True)
    for name in SHARED:
        assert torch.equal(drawn[name].indices, tossed[name].indices)
        assert torch.equal(drawn[name].labels, tossed[name].labels)
    pools = [sorted(t["forget"].indices.tolist() + t["heldout"].indices.tolist()) for t in (drawn, tossed)]
    assert pools[0] == pools[1]


def test_coins_that_leave_a_half_empty_are_refused_with_a_sentence():
    data, split = digits(300), SplitSpec(train=100, test=40)
    alike = [seed for seed in range(40) if len(set(np.random.default_rng(seed).random(2) < 0.5)) == 1]
    assert 10 < len(alike) < 30, "half of all pairs of coins fall alike"
    for seed in range(40):
        coins = Coins(seed, exchanged=False)
        if seed not in alike:
            sizes = split_task(data, Random(count=1), split, 0.0, 0, coins).sizes()
            assert sizes["forget"] == sizes["heldout"] == 1
            continue
        with pytest.raises(BenchmarkError, match="fair coins left one half of a pool of 2 images empty; forget more"):
            split_task(data, Random(count=1), split, 0.0, 0, coins)


def test_a_pool_of_two_halves_has_no_room_for_a_heldout_set_of_another_size():
    with pytest.raises(ValidationError, match="pairs part one pool in two halves; leave out `heldout`"):
        SplitSpec(train=100, heldout=20, pairs=True)
    assert SplitSpec(train=100, heldout=20).heldout == 20


def digits(count: int) -> Any:
    """As many digits, the last 60 a test part."""
    data = registry.get("dataset", "digits").target().load(Path())
    few = data.select(torch.arange(count))
    return type(few).of(few.images, few.labels, torch.arange(count) >= count - 60, few.classes)


# -- placebo -----------------------------------------------------------------------------------------------


def all_of(cache: DataCache, task: TaskSpec, seed: int = 0) -> TaskData:
    return load_task(task, seed, Path(), cache, "digits")


def test_a_placebo_set_is_there_only_if_it_is_asked_for(cache):
    assert "placebo" not in all_of(cache, task_of()).sets
    found = all_of(cache, task_of({"placebo": True}))
    assert len(found["placebo"]) == len(found["forget"]) == 20


@pytest.mark.parametrize("scenario", [{"name": "random", "fraction": 0.25}, {"name": "class", "classes": [3]}])
@pytest.mark.parametrize("pairs", [False, True])
def test_a_placebo_set_shares_no_image_with_any_other(cache, scenario, pairs):
    sizes = {"train": 200, "placebo": True, "pairs": pairs}
    found = all_of(cache, task_of(sizes, **{"tasks.0.scenario": scenario}))
    indices, pixels = set(found["placebo"].indices.tolist()), set(found["placebo"].content_hashes().tolist())
    assert len(indices) == len(pixels) == len(found["placebo"]) > 0
    for name in found.sets.keys() - {"placebo"}:
        assert indices.isdisjoint(found[name].indices.tolist())
        assert pixels.isdisjoint(found[name].content_hashes().tolist())
    if scenario["name"] == "class":
        assert (found["placebo"].labels == 3).all()


def test_partners_share_their_placebo_set(cache):
    task = task_of({"pairs": True, "placebo": True})
    assert loaded(cache, task, 0)["placebo"] == loaded(cache, task, 1)["placebo"] != loaded(cache, task, 2)["placebo"]


def test_a_pool_that_has_no_room_for_a_placebo_set_is_refused():
    with pytest.raises(BenchmarkError, match="forget, heldout, third_party, placebo sets want 240 images of a pool of"):
        split_task(digits(260), Random(count=60), SplitSpec(train=100, placebo=True), 0.0, seed=0)
