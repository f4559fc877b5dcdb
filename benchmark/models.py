"""What all methods of a task and seed share: its sets, and its original and retrained models, stored or trained."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmark import registry
from benchmark.components import make
from benchmark.cost import Stages
from benchmark.data import Coins, DataCache, ExampleSet, ImageData, TaskData, join, split_task
from benchmark.learners.base import Learner
from benchmark.learners.factory import build_learner
from benchmark.shards import Artefacts, Cut, ShardedClassifier, ShardTraining, Weights, assembled, packed, unpacked
from benchmark.specs import TaskSpec, derive_seed
from benchmark.store import Store
from benchmark.training import Progress, train

TRAINED_ON = {"original": ("forget", "retain"), "retrained": ("retain",)}


class Models:
    """The shared models of one task and seed. Each is looked for in the store before it is trained.

    Args:
        task: Which.
        seed: Of training, and of the split unless that is fixed.
        keys: Where in the store they are.
        store: Where they are kept.
        root: Folder of datasets.
        device: Where they are trained, and where learners are put.
        stages: Told how long training took.
        progress: Called with (epoch, epochs).
    """

    def __init__(
        self, task: TaskSpec, seed: int, keys: Mapping[str, str], store: Store, root: Path, device: torch.device,
        stages: Stages, progress: Progress | None,
    ) -> None:  # fmt: skip
        self.task, self.seed, self.keys, self.store, self.root = task, seed, keys, store, root
        self.device, self.stages, self.progress = device, stages, progress
        self._data: TaskData | None = None

    @property
    def data(self) -> TaskData:
        """The task's sets for this seed."""
        if self._data is None:
            cache = DataCache(self.store.folder / "datasets")
            self._data = load_task(self.task, self.seed, self.root, cache, self.keys["dataset"])
        return self._data

    def share_data(self, other: "Models") -> None:
        """Take over the sets that are loaded already; of the same task and seed."""
        self._data = other._data

    def examples(self, data: ImageData, name: str) -> ExampleSet:
        """A set on the device, laid out as the recipe says."""
        return ExampleSet(data, name, self.device, self.task.recipe.channels_last)

    def build(self, seed: int) -> Learner:
        """An untrained learner of the task."""
        if not self.task.in_shards or self.task.shards is None:
            return self._build_one(seed)
        members = [self._build_one(derive_seed(seed, "shard", n)) for n in range(self.task.shards.count)]
        return ShardedClassifier(members, self.task.shards.vote)

    def _build_one(self, seed: int) -> Learner:
        info = registry.get("dataset", self.task.dataset.name.partition(":")[0]).info
        images = self.data["retain"]
        channels, classes = images.images.shape[1], len(images.classes)
        return build_learner(self.task.learner, self.task.views, info, channels, classes, seed)

    def loaded(self, weights: Weights) -> Learner:
        """A learner with these weights, laid out alike whether they come from training or from the store."""
        learner = self.build(0)
        learner.load_state_dict(weights)
        return learner.to(self.device).eval()

    def reference(self, role: str, fresh: bool = False) -> Learner:
        """The original or retrained model: one function, two sets of indices.

        Args:
            role: Which of TRAINED_ON.
            fresh: Never an earlier run's.
        """
        key = self.keys[role]
        weights = None if fresh else self.store.weights(key)
        if weights is None:
            weights, meta = self._from_shards(role) if self.task.in_shards else self._trained(role)
            self.store.put(key, weights=weights, meta=meta, replace=fresh)
        return self.loaded(weights)

    def cost(self, role: str) -> dict[str, Any]:
        """What was noted when it was trained: seconds, images seen, bytes that its shards keep."""
        return self.store.meta(self.keys[role]) or {}

    def _trained(self, role: str) -> tuple[Weights, dict[str, Any]]:
        examples, seed = self._training_set(role), self._training_seed(role)
        start = time.perf_counter()
        with self.stages.timed("train", self.device):
            learner = train(self.build, examples, self.task.recipe, seed, self.device, self.progress)
        seconds = time.perf_counter() - start
        return learner.state_dict(), {"seconds": seconds, "samples_seen": examples.samples_seen}

    def _training_set(self, role: str) -> ExampleSet:
        return self.examples(self._joined(role), role)

    def _joined(self, role: str) -> ImageData:
        return join([self.data[name] for name in TRAINED_ON[role]])

    def _training_seed(self, role: str) -> int:
        return derive_seed(self.task.name, "train", "+".join(TRAINED_ON[role]), self.seed)

    # Models that are trained in shards

    def shard(self, name: str, fresh: bool = False) -> Weights:
        """The states of one shard's model, packed.

        Args:
            name: Role and number, `original.shard0` say.
            fresh: Never an earlier run's.
        """
        weights = None if fresh else self.store.weights(self.keys[name])
        if weights is None:
            role, _, number = name.partition(".shard")
            examples, cut = self._training_set(role), self._cut().of(self._joined(role))
            start = time.perf_counter()
            with self.stages.timed("train", self.device):
                weights = packed(dict(self._shard_training(role).states(examples, cut, int(number))))
            kept = sum(tensor.nbytes for tensor in weights.values())
            meta = {"seconds": time.perf_counter() - start, "samples_seen": examples.samples_seen, "bytes": kept}
            self.store.put(self.keys[name], weights=weights, meta=meta, replace=fresh)
        return weights

    def artefacts(self, log: list[dict[str, float]]) -> Artefacts:
        """What training the original in shards left for unlearning."""
        cut = self._cut()

        def kept(shard: int, state: str) -> dict[str, Tensor]:
            return unpacked(self.shard(f"original.shard{shard}"), state)

        return Artefacts(
            cut.of(self.data["forget"]), cut.of(self.data["retain"]), self._shard_training("original"), kept, log
        )

    def _from_shards(self, role: str) -> tuple[Weights, dict[str, Any]]:
        """The ensemble; what it took is what its shards took, one after the other."""
        names = [name for name in self.keys if name.startswith(f"{role}.shard")]
        weights = assembled([self.shard(name) for name in names])
        metas = [self.cost(name) for name in names]
        return weights, {what: sum(meta[what] for meta in metas) for what in ("seconds", "samples_seen", "bytes")}

    def _shard_training(self, role: str) -> ShardTraining:
        assert self.task.shards is not None
        how, seed = self.task.shards, self._training_seed(role)
        return ShardTraining(self._build_one, how, self.task.recipe, seed, self.device, self.progress)

    def _cut(self) -> Cut:
        assert self.task.shards is not None
        return Cut.at_random(self.data.sets, self.task.shards, derive_seed(self.task.name, "shards", self.seed))


def load_task(task: TaskSpec, seed: int, root: Path, cache: DataCache, dataset_key: str) -> TaskData:
    """Dataset -> sets of one task and seed; decoded once and kept in the cache under its key."""
    dataset = make("dataset", task.dataset, task.name)

    def decode() -> ImageData:
        data: ImageData = dataset.load(root)
        return data if task.image_size is None else data.downscaled(task.image_size)

    data = cache.load(dataset_key, decode)
    name = task.split_of or task.name
    pair, second = divmod(seed, 2) if task.split.pairs else (seed, 0)
    split_seed = derive_seed(name, "split", pair if task.split.seed is None else task.split.seed)
    coins = Coins(derive_seed(name, "coins", pair), bool(second)) if task.split.pairs else None
    scenario = make("scenario", task.scenario, name)
    return split_task(data, scenario, task.split, task.label_noise, split_seed, coins)
