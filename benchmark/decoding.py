"""Encoded image files -> one uint8 tensor, once: what datasets of files share. Not for training loops."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from benchmark.errors import BenchmarkError


def decode_images(sources: Sequence[bytes | Path | None], places: Sequence[str], size: int | None) -> Tensor:
    """Decode encoded images into [N, C, H, W] uint8: one channel if all are grey, three otherwise.

    Args:
        sources: Files or their content.
        places: What to call each of them in an error.
        size: Side in pixels of the square that each is resized to, if any.

    Raises:
        BenchmarkError: Naming the first one that cannot be decoded or differs in size.
    """

    def decode(number: int) -> NDArray[np.uint8]:
        source = sources[number]
        try:
            with Image.open(source if isinstance(source, Path) else BytesIO(source or b"")) as image:
                if image.mode.startswith(("I", "F")):
                    raise ValueError(f"its mode is {image.mode}, eight bits per channel are right")
                picture = image.convert("L" if image.mode in ("1", "L") else "RGB")
                if size is not None:
                    picture = picture.resize((size, size), Image.Resampling.BILINEAR)
                return np.asarray(picture)
        except Exception as error:  # a broken file makes PIL raise almost anything
            raise BenchmarkError(f"{places[number]}: the image cannot be decoded ({error}).") from error

    def decode_from(start: int) -> list[NDArray[np.uint8]]:
        return [decode(number) for number in range(start, min(start + 256, len(sources)))]

    with ThreadPoolExecutor() as pool:
        pictures = list(chain.from_iterable(pool.map(decode_from, range(0, len(sources), 256))))
    for place, picture in zip(places, pictures, strict=True):
        if picture.shape[:2] != pictures[0].shape[:2]:
            height, width = picture.shape[:2]
            raise BenchmarkError(f"{place}: {width} x {height} pixels, unlike the first image; say `size = …`.")
    if len({picture.ndim for picture in pictures}) > 1:
        pictures = [p if p.ndim == 3 else np.stack([p, p, p], axis=-1) for p in pictures]
    stacked = torch.from_numpy(np.stack(pictures))
    return stacked.unsqueeze(1) if stacked.ndim == 3 else stacked.permute(0, 3, 1, 2)
