"""Handwritten digits of 8 x 8 pixels, 1,797 of them: inside scikit-learn, so there is nothing to fetch.

The data are the test set of E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sklearn.datasets
import torch

from benchmark.api import Dataset, ImageData, register_dataset


@register_dataset(
    "digits",
    title="Digits (scikit-learn)",
    licence="CC BY 4.0",
    citation="E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998",
    classes=10,
    shape=(1, 8, 8),
    mean=(0.3053,),
    std=(0.3759,),
)
@dataclass(frozen=True, kw_only=True)
class Digits(Dataset):
    """Grey values 0..16 scaled to 0..255; no test part of its own."""

    def files(self, root: Path) -> list[Path]:
        return [Path(sklearn.datasets.__file__).parent / "data" / "digits.csv.gz"]

    def load(self, root: Path) -> ImageData:
        digits = sklearn.datasets.load_digits()
        images = torch.from_numpy(np.rint(digits.images * (255 / 16)).astype(np.uint8))
        labels = torch.from_numpy(digits.target.astype(np.int64))
        no_test = torch.zeros(len(labels), dtype=torch.bool)
        return ImageData.of(images.unsqueeze(1), labels, no_test, [str(digit) for digit in range(10)])
