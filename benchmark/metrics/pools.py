"""Signals of many models on images that all of them were asked about: the axes that population metrics share.

All seeds of an ensemble part one pool. Seeds 2j and 2j + 1 are a pair: each forgot what the other never saw, so that
for every image of the pool every pair holds one model of each kind (METRICS, E2).
"""

from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmark.api import Outputs, Population
from benchmark.metrics._checks import Floats, Integers, numbers
from benchmark.metrics.membership import mean_similarity
from benchmark.metrics.signals import phi
from benchmark.stats import t_interval

BLOCKS = 16

Score = Callable[[Outputs, str], Floats]
"""(outputs of a model, set) -> [n], larger = more member-like; of the retain set its probe alone."""


def margin(outputs: Outputs, name: str) -> Floats:
    """The margins phi of one set: [n]."""
    rows = outputs["retain/probe"] if name == "retain" else slice(None)
    return phi(outputs[f"{name}/logits"][rows], outputs[f"{name}/labels"][rows])


def similarity(place: str) -> Score:
    """The atanh of an image's mean similarity of views, at "head" or "backbone": encoders have no phi."""

    def score(outputs: Outputs, name: str) -> Floats:
        key = f"{name}/{place}_similarities"
        mean = numbers(mean_similarity(outputs, name, place), key, 1)
        return np.asarray(np.arctanh(np.clip(mean, -1 + 1e-6, 1 - 1e-6)))

    return score


MARGIN: Mapping[str, Score] = {"": margin}
SIMILARITIES: Mapping[str, Score] = {"_head": similarity("head"), "_backbone": similarity("backbone")}
"""Ending of a value's name -> signal."""


class Pool(NamedTuple):
    """One signal of every model on the pool.

    Attributes:
        indices: [n], increasing: the images' places in their dataset.
        scores: [S, n].
        forgotten: [S, n], whether the model forgot the image; otherwise it never saw it.
    """

    indices: Integers
    scores: Floats
    forgotten: NDArray[np.bool_]

    def of(self, pairs: NDArray[np.bool_]) -> "Pool":
        """The same of some pairs' models alone; `pairs` is [S/2]."""
        kept = np.repeat(pairs, 2)
        return self._replace(scores=self.scores[kept], forgotten=self.forgotten[kept])

    def sides(self) -> tuple[Floats, Floats]:
        """[S/2, n] twice: per pair the score under the model that forgot the image, and under its partner."""
        even, odd, turned = self.scores[0::2], self.scores[1::2], self.forgotten[0::2]
        return np.where(turned, even, odd), np.where(turned, odd, even)


def on_pool(models: Sequence[Outputs], population: Population, score: Score) -> Pool:
    """Align the scores of an ensemble's models on their pool.

    Args:
        models: S outputs, in the order of the population's seeds.
        population: Whose seeds say who are partners.
        score: The signal.

    Raises:
        ValueError: If a seed lacks its partner, pools differ, partners forgot the same image, or a score is not finite.
    """
    check_partners(population.seeds, len(models))
    indices, scores, forgotten = zip(*(_in_order(model, score) for model in models), strict=True)
    for seed, other in zip(population.seeds, indices, strict=True):
        if not np.array_equal(other, indices[0]):
            raise ValueError(f"the pool of seed {seed} is not that of seed {population.seeds[0]}; an ensemble has one.")
    pool = Pool(indices[0], np.stack(scores), np.stack(forgotten))
    alike = (pool.forgotten[0::2] == pool.forgotten[1::2]).any(axis=1)
    if alike.any():
        seed = population.seeds[2 * int(np.argmax(alike))]
        raise ValueError(f"seeds {seed} and {seed + 1} are no complement; each must forget what the other never saw.")
    return pool


def on_set(models: Sequence[Outputs], score: Score, name: str) -> Floats:
    """Scores [S, n] on a set that is the same for all models, "test" or "retain" (its probe).

    Raises:
        ValueError: If the models were not asked about the same images in the same order.
    """
    asked = [_indices(model, name) for model in models]
    if any(not np.array_equal(other, asked[0]) for other in asked):
        raise ValueError(f"the models were asked about different {name} images; an ensemble's are drawn once for all.")
    return np.stack([score(model, name) for model in models])


def check_partners(seeds: Sequence[int], models: int) -> None:
    """Raise unless there is one model per seed, and seeds are pairs 2j, 2j + 1."""
    if len(seeds) != models:
        raise ValueError(f"there are {models} models for {len(seeds)} seeds; one each is right.")
    alone = [seed for seed in seeds if seed ^ 1 not in seeds]
    if alone:
        raise ValueError(f"seed {alone[0]} has no partner {alone[0] ^ 1}; pairs of seeds 2j, 2j + 1 are needed.")
    if list(seeds) != sorted(set(seeds)):
        raise ValueError(f"the seeds {list(seeds)} do not increase; partners must stand side by side.")


def check_same_splits(unlearned: Pool, others: Pool, who: str) -> None:
    """Raise unless the `who` models stand on the same pool, and each on its seed's split of it."""
    if not np.array_equal(unlearned.indices, others.indices):
        raise ValueError(f"the {who} models were asked about another pool; it must be that of the unlearned ones.")
    if not np.array_equal(unlearned.forgotten, others.forgotten):
        raise ValueError(f"the {who} models part the pool otherwise than the unlearned ones; seeds must correspond.")


def leaving_out(pairs: int) -> list[NDArray[np.bool_]]:
    """Masks [pairs] for `jackknife`: each leaves out another block of neighbours, one pair or as many as make 16 do."""
    blocks = np.arange(pairs) // ceil(pairs / BLOCKS)
    return [blocks != block for block in range(blocks[-1] + 1)]


def jackknife(whole: float, parts: ArrayLike) -> tuple[float, float]:
    """95 % interval of a number, from what it is ([B]) when one block of pairs is left out."""
    without = np.asarray(parts)
    interval = t_interval(len(without) * whole - (len(without) - 1) * without)
    half_width = (interval["high"] - interval["low"]) / 2
    return float(whole - half_width), float(whole + half_width)


def _in_order(model: Outputs, score: Score) -> tuple[Integers, Floats, NDArray[np.bool_]]:
    """Indices, scores and whether forgotten [n], by increasing index."""
    forget, heldout = _indices(model, "forget"), _indices(model, "heldout")
    indices = np.concatenate([forget, heldout])
    order = np.argsort(indices, kind="stable")
    if len(np.unique(indices)) != len(indices):
        raise ValueError("an image stands twice in forget and held-out set; each of a pool stands in one of them.")
    scores = np.concatenate([score(model, "forget"), score(model, "heldout")])
    return indices[order], scores[order], order < len(forget)


def _indices(model: Outputs, name: str) -> Integers:
    return np.asarray(model[f"{name}/indices"][model["retain/probe"] if name == "retain" else slice(None)])
