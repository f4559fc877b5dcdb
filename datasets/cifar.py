"""CIFAR-10 and CIFAR-100: 50,000 + 10,000 colour images of 32 x 32, through torchvision.

A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", technical report, Toronto, 2009.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torchvision.datasets import CIFAR10, CIFAR100

from benchmark.api import BenchmarkError, Dataset, ImageData, register_dataset

_CITATION = "A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, Toronto, 2009"


class _Cifar(Dataset):
    """Training part first, then the test part."""

    source: ClassVar[type[CIFAR10]]

    def files(self, root: Path) -> list[Path]:
        names = [name for name, _ in self.source.train_list + self.source.test_list] + [self.source.meta["filename"]]
        found = sorted(root / self.source.base_folder / name for name in names)
        if not all(file.is_file() for file in found):
            self._part(root, train=False)
        return found

    def load(self, root: Path) -> ImageData:
        parts = [self._part(root, train) for train in (True, False)]
        images = torch.from_numpy(np.concatenate([part.data for part in parts])).permute(0, 3, 1, 2)
        labels = torch.tensor([label for part in parts for label in part.targets])
        test = torch.arange(len(labels)) >= len(parts[0].targets)
        return ImageData.of(images, labels, test, parts[0].classes)

    def _part(self, root: Path, train: bool) -> CIFAR10:
        """The training or the test part; downloaded if a file is absent or its md5 is not the published one."""
        source = self.source
        try:
            return source(root, train=train, download=True)
        except (OSError, RuntimeError) as error:
            raise BenchmarkError(
                f"{source.__name__.lower()}: {root / source.base_folder} does not hold the original files and "
                f"{source.url} could not be fetched ({error}); put {source.filename} into {root}, "
                "or use `parquet:PATH`."
            ) from error


@register_dataset(
    "cifar10",
    title="CIFAR-10",
    licence="none stated",
    citation=_CITATION,
    classes=10,
    shape=(3, 32, 32),
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
)
@dataclass(frozen=True, kw_only=True)
class Cifar10(_Cifar):
    source = CIFAR10


@register_dataset(
    "cifar100",
    title="CIFAR-100 (fine labels)",
    licence="none stated",
    citation=_CITATION,
    classes=100,
    shape=(3, 32, 32),
    mean=(0.5071, 0.4865, 0.4409),
    std=(0.2673, 0.2564, 0.2762),
)
@dataclass(frozen=True, kw_only=True)
class Cifar100(_Cifar):
    source = CIFAR100
