"""SVHN, cropped digits: 73,257 + 26,032 colour images of 32 x 32, through torchvision.

Y. Netzer et al., "Reading Digits in Natural Images with Unsupervised Feature Learning", NIPS workshop, 2011.
The 531,131 easier images of `extra` are left out.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torchvision.datasets import SVHN

from benchmark.api import BenchmarkError, Dataset, ImageData, register_dataset

PARTS = ("train", "test")


@register_dataset(
    "svhn",
    title="SVHN",
    licence="for non-commercial use only",
    citation="Y. Netzer et al., Reading Digits in Natural Images with Unsupervised Feature Learning, 2011",
    classes=10,
    shape=(3, 32, 32),
    mean=(0.4377, 0.4438, 0.4728),
    std=(0.1980, 0.2010, 0.1970),
)
@dataclass(frozen=True, kw_only=True)
class Svhn(Dataset):
    """Training part first, then the test part; the digit 0 has label 0."""

    def files(self, root: Path) -> list[Path]:
        found = {part: root / SVHN.split_list[part][1] for part in PARTS}
        for part, file in found.items():
            if not file.is_file():
                _part(root, part)
        return sorted(found.values())

    def load(self, root: Path) -> ImageData:
        parts = [_part(root, part) for part in PARTS]
        images = torch.from_numpy(np.concatenate([part.data for part in parts]))
        labels = torch.from_numpy(np.concatenate([part.labels for part in parts]))
        test = torch.arange(len(labels)) >= len(parts[0].labels)
        return ImageData.of(images, labels, test, [str(digit) for digit in range(10)])


def _part(root: Path, part: str) -> SVHN:
    """The training or the test part; downloaded if the file is absent or its md5 is not the published one."""
    url, name, _ = SVHN.split_list[part]
    try:
        return SVHN(root, split=part, download=True)
    except (OSError, RuntimeError) as error:
        raise BenchmarkError(
            f"svhn: {root / name} is not the original file and {url} could not be fetched ({error}); "
            f"put {name} into {root}, or use `parquet:PATH`."
        ) from error
