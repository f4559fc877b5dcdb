"""CIFAR-100: 50,000 + 10,000 colour images of 32 x 32 in a hundred classes, through torchvision.

A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", technical report, Toronto, 2009.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torchvision.datasets import CIFAR100

from benchmark.api import BenchmarkError, Dataset, ImageData, register_dataset


@register_dataset(
    "cifar100",
    title="CIFAR-100",
    licence="none stated",
    citation="A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, Toronto, 2009",
    classes=100,
    shape=(3, 32, 32),
    mean=(0.5071, 0.4865, 0.4409),
    std=(0.2673, 0.2564, 0.2762),
)
@dataclass(frozen=True, kw_only=True)
class Cifar100(Dataset):
    """Fine labels; training part first, then the test part."""

    def files(self, root: Path) -> list[Path]:
        names = [name for name, _ in CIFAR100.train_list + CIFAR100.test_list] + [CIFAR100.meta["filename"]]
        found = sorted(root / CIFAR100.base_folder / name for name in names)
        if not all(file.is_file() for file in found):
            _part(root, train=False)
        return found

    def load(self, root: Path) -> ImageData:
        parts = [_part(root, train) for train in (True, False)]
        images = torch.from_numpy(np.concatenate([part.data for part in parts])).permute(0, 3, 1, 2)
        labels = torch.tensor([label for part in parts for label in part.targets])
        test = torch.arange(len(labels)) >= len(parts[0].targets)
        return ImageData.of(images, labels, test, parts[0].classes)


def _part(root: Path, train: bool) -> CIFAR100:
    """The training or the test part; downloaded if a file is absent or its md5 is not the published one."""
    try:
        return CIFAR100(root, train=train, download=True)
    except (OSError, RuntimeError) as error:
        raise BenchmarkError(
            f"cifar100: {root / CIFAR100.base_folder} does not hold the original files and {CIFAR100.url} "
            f"could not be fetched ({error}); put {CIFAR100.filename} into {root}, or use `parquet:PATH`."
        ) from error
