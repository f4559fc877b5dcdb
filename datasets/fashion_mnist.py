"""Fashion-MNIST: 60,000 + 10,000 grey images of 28 x 28, found where it lies or downloaded by torchvision.

H. Xiao, K. Rasul, R. Vollgraf, arXiv:1708.07747, 2017. The idx files are read here, because Debian's copy is
gzipped again and torchvision does not know it.
"""

import gzip
import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.datasets import FashionMNIST as Source

from benchmark.api import BenchmarkError, Dataset, ImageData, register_dataset

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


@register_dataset(
    "fashion_mnist",
    title="Fashion-MNIST",
    licence="MIT",
    citation="H. Xiao, K. Rasul, R. Vollgraf, Fashion-MNIST, arXiv:1708.07747, 2017",
    classes=10,
    shape=(1, 28, 28),
    mean=(0.2860,),
    std=(0.3530,),
)
@dataclass(frozen=True, kw_only=True)
class FashionMnist(Dataset):
    """Training part first, then the test part."""

    def files(self, root: Path) -> list[Path]:
        folders = [root / "fashion_mnist", root / "FashionMNIST" / "raw", DEBIAN]
        for folder in folders:
            if found := _all_four(folder):
                return found
        try:
            Source(root, download=True)
        except (OSError, RuntimeError) as error:
            raise BenchmarkError(
                f"fashion_mnist: none of {', '.join(map(str, folders))} holds the four idx files and they "
                f"could not be downloaded ({' '.join(str(error).split())}); put {NAMES[0]}.gz and its three "
                f"siblings into {folders[0]}, install Debian's dataset-fashion-mnist, or use `parquet:PATH`."
            ) from error
        return _all_four(folders[1])

    def load(self, root: Path) -> ImageData:
        files = self.files(root)
        images = [read_idx(file, 3) for file in files[::2]]
        labels = [read_idx(file, 1) for file in files[1::2]]
        for file, some, their in zip(files[::2], images, labels, strict=True):
            if len(some) != len(their):
                raise BenchmarkError(f"{file}: it holds {len(some)} images, its label file {len(their)} labels.")
        test = torch.arange(sum(map(len, labels))) >= len(labels[0])
        return ImageData.of(
            torch.from_numpy(np.concatenate(images)).unsqueeze(1),
            torch.from_numpy(np.concatenate(labels)),
            test,
            Source.classes,
        )


def read_idx(file: Path, axes: int) -> NDArray[np.uint8]:
    """The array of an idx file: two zero bytes, type 8 (uint8), number of axes, big-endian sizes, values."""
    try:
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BenchmarkError(f"{file}: the gzip file is damaged ({error}); fetch it again.") from error
    start = 4 + 4 * axes
    if len(content) < start or content[:4] != bytes((0, 0, 8, axes)):
        raise BenchmarkError(
            f"{file}: it starts with {content[:4].hex(' ') or 'nothing'}, an idx file of uint8 with {axes} "
            f"axes with {bytes((0, 0, 8, axes)).hex(' ')}; fetch it again."
        )
    shape = np.frombuffer(content, ">u4", axes, offset=4).tolist()
    if len(content) != start + prod(shape):
        raise BenchmarkError(
            f"{file}: it has {len(content)} bytes, shape {shape} needs {start + prod(shape)}; fetch it again."
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _all_four(folder: Path) -> list[Path]:
    """The four files below `folder`, plain before gzipped; none unless all are there."""
    found = [file for name in NAMES for file in (folder / name, folder / f"{name}.gz") if file.is_file()]
    first = {file.name.removesuffix(".gz"): file for file in reversed(found)}
    return [first[name] for name in NAMES] if len(first) == len(NAMES) else []
