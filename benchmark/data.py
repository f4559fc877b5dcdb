"""Images in memory, and the split of a task's data into retain, forget, held-out, third-party, validation, test.

Forget, held-out and third-party sets are one random draw from one pool, so that a model which saw none of them
cannot tell them apart (METRICS V1). Nothing here is per-image Python.
"""

import copy
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.errors import BenchmarkError, UndeclaredAccess
from benchmark.specs import SplitSpec
from benchmark.store import write_atomic

TRAINING_SETS = ("retain", "forget")
POOL_SETS = ("forget", "heldout", "third_party", "placebo")


@dataclass(frozen=True)
class ImageData:
    """A labelled set of images, whole in memory.

    Attributes:
        images: [N, C, H, W] uint8.
        labels: [N] int64 in 0..len(classes)-1.
        indices: [N] int64, positions in the dataset as loaded; they survive every selection.
        test: [N] bool, True for the dataset's own test part.
        classes: The class names.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor
    test: Tensor
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise ValueError(f"images are {self.images.dtype} {tuple(self.images.shape)}; [N, C, H, W] uint8 is right")
        if not len(self.images) == len(self.labels) == len(self.indices) == len(self.test):
            raise ValueError("images, labels, indices and test differ in length; one entry per image is right")
        if len(self.labels) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(self.classes):
            raise ValueError(f"labels leave 0..{len(self.classes) - 1}, though there are {len(self.classes)} classes")

    @classmethod
    def of(cls, images: Tensor, labels: Tensor, test: Tensor, classes: Sequence[str]) -> "ImageData":
        """A freshly loaded dataset: indices count its images."""
        labels, test = labels.long().contiguous(), test.bool().contiguous()
        return cls(images.contiguous(), labels, torch.arange(len(images)), test, tuple(classes))

    def __len__(self) -> int:
        return len(self.images)

    def select(self, positions: Tensor) -> "ImageData":
        """The images at `positions` ([n] int64)."""
        return replace(
            self,
            images=self.images[positions],
            labels=self.labels[positions],
            indices=self.indices[positions],
            test=self.test[positions],
        )

    def content_hashes(self) -> np.ndarray[Any, np.dtype[np.bytes_]]:
        """[N] 16-byte digests of the pixels."""
        flat = self.images.flatten(1).numpy()
        return np.array([hashlib.blake2b(row.data, digest_size=16).digest() for row in flat], dtype="S16")

    def downscaled(self, side: int) -> "ImageData":
        """Images averaged over blocks down to `side` x `side` pixels (area interpolation)."""
        if side > min(self.images.shape[-2:]):
            raise BenchmarkError(f"image_size = {side} is larger than the images, {tuple(self.images.shape[-2:])}.")
        if side == self.images.shape[-1] == self.images.shape[-2]:
            return self
        small = [F.adaptive_avg_pool2d(part.float(), side).round().to(torch.uint8) for part in self.images.split(4096)]
        return replace(self, images=torch.cat(small))


@dataclass(frozen=True)
class TaskData:
    """The sets of one task and seed.

    Attributes:
        sets: Set name -> images.
        duplicates_dropped: Exact duplicates that were left out to keep the sets apart.
        dataset_size: Images of the whole dataset; every index is below.
        retain_comparable: Whether retain and held-out images are alike but for membership; not if a class is forgotten.
        coins: Whether a fair coin decided for each image of their pool whether it is forgotten or held out.
    """

    sets: dict[str, ImageData]
    duplicates_dropped: int
    dataset_size: int
    retain_comparable: bool
    coins: bool

    def __getitem__(self, name: str) -> ImageData:
        return self.sets[name]

    def sizes(self) -> dict[str, int]:
        """Set name -> number of images."""
        return {name: len(images) for name, images in self.sets.items()}


@dataclass(frozen=True)
class Coins:
    """Fair coins part a pool in two; `exchanged` forgets the half that its partner holds out."""

    seed: int
    exchanged: bool


def split_task(
    data: ImageData, scenario: Any, split: SplitSpec, label_noise: float, seed: int, coins: Coins | None = None
) -> TaskData:
    """Split a dataset for one task and seed.

    Args:
        data: The dataset, test part marked.
        scenario: Says which training candidates may be forgotten, and how many.
        split: Sizes.
        label_noise: Fraction of labels outside the test set that are redrawn uniformly from all classes.
        seed: Of the draw.
        coins: Part the pool of forget and held-out images anew; everything else stays as `seed` drew it.

    Raises:
        BenchmarkError: If the forget set would be empty or everything, or images do not suffice.
    """
    rng = np.random.default_rng(seed)
    data, dropped = _without_duplicates(data)
    test, candidates = _test_and_candidates(data, split, rng)
    noise = np.random.default_rng([seed, 1])  # of its own, so that noise levels share their splits
    labels = _with_noise(data.labels.numpy(), candidates, len(data.classes), label_noise, noise)
    data = replace(data, labels=torch.from_numpy(labels))

    eligible = candidates[scenario.eligible(labels[candidates], data.indices.numpy()[candidates], rng)]
    eligible = rng.permutation(eligible)
    forget = scenario.forget_count(split.train, len(eligible), split)
    if not 0 < forget < split.train:
        raise BenchmarkError(
            f"the forget set has {forget} of {split.train} training images; it must be neither empty nor everything."
        )
    wanted = [forget, split.heldout or forget, split.third_party or forget, *([forget] if split.placebo else [])]
    names = POOL_SETS[: len(wanted)]
    if sum(wanted) > len(eligible):
        raise BenchmarkError(
            f"{', '.join(names)} sets want {sum(wanted)} images of a pool of {len(eligible)}; "
            "ask for fewer in `scenario` or `split`."
        )
    positions = dict(zip(names, np.split(eligible[: sum(wanted)], np.cumsum(wanted)[:-1]), strict=True))
    if coins is not None:
        positions |= _parted(np.concatenate([positions["forget"], positions["heldout"]]), coins)
    rest = rng.permutation(np.setdiff1d(candidates, eligible if scenario.exclusive else eligible[: sum(wanted)]))
    retain = split.train - forget
    if retain + split.validation > len(rest):
        raise BenchmarkError(
            f"retain and validation sets want {retain + split.validation} images, {len(rest)} are left; "
            "lower `split.train` or `split.validation`."
        )
    positions |= {"retain": rest[:retain], "validation": rest[retain : retain + split.validation], "test": test}
    sets = {name: data.select(torch.from_numpy(np.sort(where))) for name, where in positions.items()}
    _check_disjoint(sets)
    return TaskData(
        sets, dropped, len(data) + dropped, retain_comparable=not scenario.exclusive, coins=coins is not None
    )


def _parted(pool: np.ndarray, coins: Coins) -> dict[str, np.ndarray]:
    """Forget and held-out half of a pool; neither may be empty, and of five or more images a side none ever is."""
    heads = np.random.default_rng(coins.seed).random(len(pool)) < 0.5
    if heads.all() or not heads.any():
        raise BenchmarkError(f"fair coins left one half of a pool of {len(pool)} images empty; forget more of them.")
    return {"forget": pool[heads ^ coins.exchanged], "heldout": pool[~heads ^ coins.exchanged]}


def join(parts: list[ImageData]) -> ImageData:
    """Several sets as one, ordered by index so that the order of the parts does not matter."""
    first = parts[0]
    names = ("images", "labels", "indices", "test")
    joined = ImageData(**{n: torch.cat([getattr(part, n) for part in parts]) for n in names}, classes=first.classes)
    return joined.select(joined.indices.argsort())


def _without_duplicates(data: ImageData) -> tuple[ImageData, int]:
    """Keep one of each set of pixel-identical images, the test part's first."""
    order = np.argsort(~data.test.numpy(), kind="stable")
    _, first = np.unique(data.content_hashes()[order], return_index=True)
    keep = np.sort(order[first])
    return data.select(torch.from_numpy(keep)), len(data) - len(keep)


def _test_and_candidates(data: ImageData, split: SplitSpec, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the test set and of all that may be trained on.

    A dataset without a test part is cut at random, once for all seeds.
    """
    own_test = np.flatnonzero(data.test.numpy())
    if len(own_test) == 0:
        if split.test is None:
            raise BenchmarkError("this dataset has no test part of its own; say `split.test = …` images.")
        order = np.random.default_rng(0).permutation(len(data))  # as fixed as a test part that comes with the files
        return order[: split.test], np.sort(order[split.test :])
    if split.test is not None and split.test > len(own_test):
        raise BenchmarkError(f"split.test asks for {split.test} images; the dataset's test part has {len(own_test)}.")
    return rng.permutation(own_test)[: split.test], np.flatnonzero(~data.test.numpy())


def _with_noise(
    labels: np.ndarray, candidates: np.ndarray, classes: int, fraction: float, rng: np.random.Generator
) -> np.ndarray:
    noisy = labels.copy()
    hit = candidates[rng.random(len(candidates)) < fraction]
    noisy[hit] = rng.integers(0, classes, len(hit))
    return noisy


def _check_disjoint(sets: dict[str, ImageData]) -> None:
    """By index and by content; a failure is a bug of the split, never of its user."""
    for values in ([s.indices.numpy() for s in sets.values()], [s.content_hashes() for s in sets.values()]):
        joined = np.concatenate(values)
        if len(np.unique(joined)) != len(joined):
            raise AssertionError(f"the sets {sorted(sets)} share images")


@dataclass
class _Tally:
    images: int = 0


class ExampleSet:
    """The images of one set on a device, counted as they are used (the cost column is checked against the count)."""

    def __init__(self, data: ImageData, name: str, device: torch.device, channels_last: bool = False) -> None:
        self.name = name
        self.device = device
        self._taken = _Tally()
        self._channels_last = channels_last
        self._images = data.images.to(device)
        self._labels = data.labels.to(device)
        self.num_classes = len(data.classes)

    def __len__(self) -> int:
        return len(self._labels)

    @property
    def labels(self) -> Tensor:
        """[N] int64; looking at them counts no image."""
        return self._labels.clone()

    @property
    def samples_seen(self) -> int:
        """How many images were taken so far."""
        return self._taken.images

    def altered(
        self,
        *,
        positions: Tensor | None = None,
        images: Tensor | None = None,
        labels: Tensor | None = None,
        name: str | None = None,
    ) -> "ExampleSet":
        """A set made from this one, which stays as it is.

        Args:
            positions: [n] int64, keep these images alone.
            images: [n, C, H, W] float in [0, 1], other pixels in their place.
            labels: [n] int64, other labels.
            name: Of a set that counts for itself; unless said, what is taken of it is counted as taken of this one.
        """
        other = copy.copy(self)
        if positions is not None:
            positions = positions.to(self.device)
            other._images, other._labels = self._images[positions], self._labels[positions]
        if images is not None:
            other._images = images.detach().to(self.device)
        if labels is not None:
            other._labels = labels.to(self.device)
        if len(other._images) != len(other._labels):
            raise ValueError(f"{len(other._images)} images and {len(other._labels)} labels; one label each is right")
        if name is not None:
            other.name, other._taken = name, _Tally()
        return other

    def take(self, positions: Tensor) -> "Batch":
        """The images at `positions` ([n] int64) as floats in [0, 1]."""
        self._taken.images += len(positions)
        positions = positions.to(self.device)
        images = self._images[positions]
        if not images.is_floating_point():
            images = images.float().div_(255.0)
        if self._channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return Batch(images, self._labels[positions], positions)

    def all(self) -> "Batch":
        """Every image once, in order."""
        return self.take(torch.arange(len(self)))

    def batches(
        self, size: int, generator: torch.Generator | None = None, drop_last: bool = False
    ) -> Iterator["Batch"]:
        """One epoch: shuffled if a generator is given. A set smaller than `size` is one batch, never none."""
        order = torch.arange(len(self)) if generator is None else torch.randperm(len(self), generator=generator)
        for part in order.split(size):
            if drop_last and len(part) < size and len(self) >= size:
                continue
            yield self.take(part)

    def stream(self, size: int, generator: torch.Generator) -> Iterator["Batch"]:
        """Full batches without end; a new permutation at each pass (METHODS C8)."""
        size = min(size, len(self))
        while True:
            yield from self.batches(size, generator, drop_last=True)


class Mixture(ExampleSet):
    """Several sets drawn from as one; each batch says which part every image is from, each part counts its own."""

    def __init__(self, *parts: ExampleSet, name: str) -> None:
        self.name = name
        self.device = parts[0].device
        self.num_classes = parts[0].num_classes
        self._channels_last = parts[0]._channels_last
        self._parts = parts
        self._ends = torch.tensor([len(part) for part in parts]).cumsum(0)

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def labels(self) -> Tensor:
        return torch.cat([part.labels for part in self._parts])

    @property
    def samples_seen(self) -> int:
        return sum(part.samples_seen for part in self._parts)

    def altered(self, **_changes: Any) -> ExampleSet:
        raise TypeError("alter the parts of a mixture, then mix them")

    def take(self, positions: Tensor) -> "Batch":
        """The images at `positions` ([n] int64, counted through the parts), `origin` set."""
        positions = positions.cpu()
        origin = torch.bucketize(positions, self._ends, right=True)
        starts = self._ends - torch.tensor([len(part) for part in self._parts])
        rows = [(origin == number).nonzero().squeeze(1) for number in range(len(self._parts))]
        positions = positions - starts[origin]
        drawn = [part.take(positions[at]) for part, at in zip(self._parts, rows, strict=True) if len(at)]
        back = torch.cat(rows).argsort().to(self.device)
        images, labels = (torch.cat([getattr(batch, what) for batch in drawn])[back] for what in ("images", "labels"))
        if self._channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return Batch(images, labels, positions.to(self.device), origin.to(self.device))


@dataclass(frozen=True)
class Batch:
    """What is drawn at once.

    Attributes:
        images: [n, C, H, W] float in [0, 1].
        labels: [n] int64.
        positions: [n] int64 within the set, of a mixture within the part.
        origin: [n] int64, the part of a mixture that each image is from; None elsewhere.
    """

    images: Tensor
    labels: Tensor
    positions: Tensor
    origin: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, number: int) -> Tensor:
        """[n] bool: which images are from this part of a mixture."""
        if self.origin is None:
            raise TypeError("this batch is of one set; only those of a Mixture have parts")
        return self.origin == number


class Forbidden:
    """Stands in the place of a set that a method did not declare; any use raises."""

    def __init__(self, method: str, name: str) -> None:
        self.__dict__.update(_method=method, _name=name)

    def __getattr__(self, attribute: str) -> Any:
        method, name = self.__dict__["_method"], self.__dict__["_name"]
        raise UndeclaredAccess(f"method {method!r} reads request.{name}, but its `uses` does not declare {name!r}.")

    def __len__(self) -> int:
        return int(self.__getattr__("__len__"))


class DataCache:
    """Decoded datasets as arrays on disk, so that no job decodes a JPEG twice; addressed by the files' content."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fingerprint(self, files: Sequence[Path]) -> str:
        """sha256 over the files' relative names and bytes; remembered by path, size and time of change."""
        stamp = json.dumps([[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files])
        known = self.folder / "fingerprints" / hashlib.sha256(stamp.encode()).hexdigest()
        if not known.is_file():
            digest = hashlib.sha256()
            base = os.path.commonpath([file.parent for file in files])
            for file in files:
                digest.update(os.path.relpath(file, base).encode() + b"\0")  # folders may name classes
                digest.update(hashlib.sha256(file.read_bytes()).digest())
            write_atomic(known, digest.hexdigest().encode())
        return known.read_text()

    def load(self, key: str, decode: Callable[[], ImageData]) -> ImageData:
        """The dataset stored under `key`, decoded by `decode()` if it is not there or cannot be read."""
        file = self.folder / "decoded" / f"{key}.safetensors"
        try:
            return self._read(file)
        except (FileNotFoundError, safetensors.SafetensorError):
            data = decode()
            tensors = {"images": data.images, "labels": data.labels, "test": data.test}
            write_atomic(file, safetensors.torch.save(tensors, {"classes": json.dumps(data.classes)}))
        return self._read(file)

    @staticmethod
    def _read(file: Path) -> ImageData:
        with safetensors.safe_open(file, framework="pt") as stored:
            images, labels, test = (stored.get_tensor(name) for name in ("images", "labels", "test"))
            return ImageData.of(images, labels, test, json.loads(stored.metadata()["classes"]))
