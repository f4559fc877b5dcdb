"""Any image classification set in parquet files, as Hugging Face lays them out: `parquet:PATH_OR_URL`.

An image column holds encoded images (a struct with `bytes`), a label column integers. Files may lie on disk
or behind any URL that fsspec opens (hf://, s3://, https://); these are fetched once.
"""

import glob
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from benchmark.api import BenchmarkError, Dataset, ImageData, decode_images, register_dataset

IMAGE_NAMES = ("image", "img")
LABEL_NAMES = ("label", "labels", "fine_label")


@register_dataset(
    "parquet",
    title="Images in parquet files",
    licence="that of the files",
    citation="that of the files",
)
@dataclass(frozen=True, kw_only=True)
class Parquet(Dataset):
    """A file, a folder or a glob; what is called `test` beside others is the test part and comes last.

    Attributes:
        path: Where the files are: as given or below the data folder, or a URL.
        image_column: The column of images, if there are several.
        label_column: The column of labels, if there are several.
        size: Side in pixels to which all images are resized; needed if they differ in size.
    """

    path: str
    image_column: str | None = None
    label_column: str | None = None
    size: int | None = None

    def files(self, root: Path) -> list[Path]:
        found = self._fetched(root) if "://" in self.path else self._local(root)
        if not found:
            raise BenchmarkError(
                f"parquet:{self.path}: no parquet file is there, neither as given nor below {root}; "
                "give a file, a folder, a glob or a URL."
            )
        test = _test_files(found)
        return sorted(found, key=lambda file: (file in test, file))

    def load(self, root: Path) -> ImageData:
        files = self.files(root)
        parts = [self._read(file) for file in files]
        images = [image for some, _, _ in parts for image in some]
        labels = np.concatenate([some for _, some, _ in parts])
        sizes = [len(some) for _, some, _ in parts]
        places = [f"{file}, row {row}" for file, size in zip(files, sizes, strict=True) for row in range(size)]
        if not images:
            raise BenchmarkError(f"parquet:{self.path}: its files hold no rows; at least one image is right.")
        names = {some for _, _, some in parts}
        if len(names) > 1:
            raise BenchmarkError(f"parquet:{self.path}: its files name different classes; give one dataset.")
        classes = names.pop() or tuple(str(label) for label in range(int(labels.max()) + 1))
        for row in np.flatnonzero((labels < 0) | (labels >= len(classes)))[:1]:
            raise BenchmarkError(f"{places[row]}: label {labels[row]} is outside 0..{len(classes) - 1}.")
        test = _test_files(files)
        in_test = np.repeat([file in test for file in files], sizes)
        return ImageData.of(
            decode_images(images, places, self.size), torch.from_numpy(labels), torch.from_numpy(in_test), classes
        )

    def _local(self, root: Path) -> list[Path]:
        """The files at `path`, as given or below `root`."""
        for place in (Path(self.path).expanduser(), root / self.path):
            if place.is_dir():
                return list(place.rglob("*.parquet"))
            if place.is_file():
                return [place]
            if found := [Path(name) for name in glob.glob(str(place), recursive=True)]:
                return found
        return []

    def _fetched(self, root: Path) -> list[Path]:
        """The files behind a URL, fetched into a folder below `root` that appears when all are complete."""
        folder = root / "parquet" / hashlib.sha256(self.path.encode()).hexdigest()[:16]
        if not folder.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            try:
                with tempfile.TemporaryDirectory(dir=folder.parent) as unfinished:
                    files = Path(unfinished) / "files"
                    _fetch(self.path, files)
                    if not folder.is_dir():
                        files.rename(folder)
            except Exception as error:  # every file system has its own
                raise BenchmarkError(
                    f"parquet:{self.path}: it could not be fetched ({type(error).__name__}: {error}); "
                    "fetch the files yourself and give their path."
                ) from error
        return list(folder.rglob("*.parquet"))

    def _read(self, file: Path) -> tuple[list[bytes | None], NDArray[np.int64], tuple[str, ...]]:
        """Encoded images, labels [n] and class names (none if the file does not say them)."""
        try:
            source = pq.ParquetFile(file)
            schema = source.schema_arrow
            image, label = self._columns(file, schema)
            table = source.read(columns=[image, label])
        except (pa.ArrowException, OSError) as error:
            raise BenchmarkError(f"{file}: this is no parquet file that can be read ({error}).") from error
        labels = table[label]
        if labels.null_count:
            row = labels.is_null().to_pylist().index(True)
            raise BenchmarkError(f"{file}, row {row}: column {label!r} is empty; every image needs a label.")
        images = chain.from_iterable(chunk.field("bytes").to_pylist() for chunk in table[image].chunks)
        return list(images), labels.to_numpy().astype(np.int64), _class_names(schema, label)

    def _columns(self, file: Path, schema: pa.Schema) -> tuple[str, str]:
        """The names of the image and the label column."""
        structs = [f for f in schema if pa.types.is_struct(f.type)]
        images = [f.name for f in structs if f.type.get_field_index("bytes") >= 0]
        labels = [f.name for f in schema if pa.types.is_integer(f.type)]
        return (
            _column(file, "image_column", self.image_column, images, IMAGE_NAMES, schema.names),
            _column(file, "label_column", self.label_column, labels, LABEL_NAMES, schema.names),
        )


def _column(
    file: Path, field: str, asked: str | None, fit: Sequence[str], usual: Sequence[str], names: Sequence[str]
) -> str:
    """The column that was asked for, or else the only one that fits, or else the one with a usual name."""
    if asked is not None:
        found = [name for name in fit if name == asked]
    else:
        found = list(fit) if len(fit) == 1 else [name for name in usual if name in fit]
    if not found:
        kind = "images (a struct with `bytes`)" if field == "image_column" else "integer labels"
        wanted = f"column {asked!r} does not hold {kind}" if asked else f"no column is known to hold {kind}"
        raise BenchmarkError(f"{file}: {wanted}; say `{field} = …`, its columns are {', '.join(names)}.")
    return found[0]


def _class_names(schema: pa.Schema, label: str) -> tuple[str, ...]:
    """The names that Hugging Face writes into the schema's metadata."""
    described = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    feature = described.get("info", {}).get("features", {}).get(label, {})
    return tuple(feature.get("names") or ())


def _test_files(files: Sequence[Path]) -> set[Path]:
    """Those with the word `test` in their name or their folder's, if there are others beside them."""
    common = os.path.commonpath([file.parent for file in files])
    test = {file for file in files if "test" in re.split("[^a-z]+", str(file.relative_to(common)).lower())}
    return test if len(test) < len(files) else set()


def _fetch(url: str, folder: Path) -> None:
    """Copy the parquet files at a URL, with the folders that tell them apart."""
    system, path = fsspec.core.url_to_fs(url)
    if glob.has_magic(path.partition("?")[0]):
        remote = sorted(system.glob(path))
    elif path.endswith(".parquet") or "http" in system.protocol:
        remote = [path]
    else:
        remote = sorted(name for name in system.find(path) if name.endswith(".parquet"))
    if not remote:
        raise FileNotFoundError("no parquet file is there")
    names = [PurePosixPath(name.partition("?")[0]) for name in remote]
    common = os.path.commonpath([name.parent for name in names])
    for source, name in zip(remote, names, strict=True):
        target = folder / name.relative_to(common).with_suffix(".parquet")
        target.parent.mkdir(parents=True, exist_ok=True)
        system.get_file(source, str(target))
