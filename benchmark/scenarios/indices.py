"""Forget images that a file lists by their index in the dataset: memorised, mislabelled, withdrawn ones."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmark.api import BenchmarkError, Scenario, register_scenario


@register_scenario("indices", description="images listed in a file")
@dataclass(frozen=True, kw_only=True)
class Indices(Scenario):
    """The listed images are shared out between forget, held-out and third-party sets; none is retained.

    Attributes:
        path: A text file with one index per line, a .npy array or a .json list.
    """

    exclusive: ClassVar[bool] = True

    path: str

    def eligible(
        self, labels: NDArray[np.int64], indices: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.int64]:
        position_of = {index: position for position, index in enumerate(indices.tolist())}
        listed: dict[int, str] = {}
        for place, index in _entries(Path(self.path)):
            if index in listed:
                raise BenchmarkError(f"{self.path}, {place}: image {index} is in {listed[index]} already.")
            if index not in position_of:
                raise BenchmarkError(
                    f"{self.path}, {place}: image {index} is no training candidate: it is outside the "
                    "dataset, in its test part, or pixel-identical to another image."
                )
            listed[index] = place
        return np.array(sorted(position_of[index] for index in listed), dtype=np.int64)


def _entries(file: Path) -> list[tuple[str, int]]:
    """(where in the file, index) in order; the lines of a text file count from 1, other entries from 0."""
    try:
        entries = _read(file)
    except (OSError, ValueError) as error:
        raise BenchmarkError(f"{file}: the list of images cannot be read ({error}).") from error
    for place, value in entries:
        if isinstance(value, bool) or not isinstance(value, int):
            raise BenchmarkError(f"{file}, {place}: {value!r} is not an index; one whole number is right.")
    return entries


def _read(file: Path) -> list[tuple[str, Any]]:
    if file.suffix == ".npy":
        values = np.load(file, allow_pickle=False).ravel().tolist()
    elif file.suffix == ".json":
        values = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(values, list):
            raise ValueError("it holds no list")
    else:
        lines = enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
        return [(f"line {number}", _whole(line.strip())) for number, line in lines if line.strip()]
    return [(f"entry {number}", value) for number, value in enumerate(values)]


def _whole(text: str) -> int | str:
    """The number that a line says, or the line."""
    try:
        return int(text)
    except ValueError:
        return text
