"""Fashion-MNIST from idx files: where they are looked for, and what is said of damaged ones."""

import gzip
import struct
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmark.datasets import fashion_mnist
from benchmark.datasets.fashion_mnist import DEBIAN, NAMES, FashionMnist, read_idx
from benchmark.errors import BenchmarkError

RNG = np.random.default_rng(0)
TRAIN, TEST = (RNG.integers(0, 256, (size, 28, 28), dtype=np.uint8) for size in (6, 3))


def idx(array: NDArray[np.uint8]) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write(folder: Path, gzipped: bool = False) -> None:
    """Six training images, three test images; labels count."""
    folder.mkdir(parents=True)
    arrays = (TRAIN, np.arange(6, dtype=np.uint8), TEST, np.arange(3, dtype=np.uint8))
    for name, array in zip(NAMES, arrays, strict=True):
        if gzipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (folder / name).write_bytes(idx(array))


@pytest.fixture(autouse=True)
def _neither_network_nor_debian(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def download(_: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(fashion_mnist.Source, "download", download)
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "debian")


@pytest.mark.parametrize("gzipped", [False, True])
@pytest.mark.parametrize("folder", ["root/fashion_mnist", "root/FashionMNIST/raw", "debian"])
def test_files_are_found_where_they_lie(tmp_path: Path, folder: str, gzipped: bool) -> None:
    write(tmp_path / folder, gzipped)
    files = FashionMnist().files(tmp_path / "root")
    assert [file.name.removesuffix(".gz") for file in files] == list(NAMES)
    assert {file.parent for file in files} == {tmp_path / folder}
    data = FashionMnist().load(tmp_path / "root")
    assert np.array_equal(data.images[:, 0].numpy(), np.concatenate([TRAIN, TEST]))
    assert data.labels.tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2]
    assert data.test.tolist() == [False] * 6 + [True] * 3
    assert data.classes[-1] == "Ankle boot"


def test_a_folder_that_lacks_a_file_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "root" / "fashion_mnist")
    (tmp_path / "root" / "fashion_mnist" / NAMES[3]).unlink()
    write(tmp_path / "debian", gzipped=True)
    assert FashionMnist().files(tmp_path / "root")[0].parent == tmp_path / "debian"


def test_plain_files_come_before_gzipped_ones(tmp_path: Path) -> None:
    write(tmp_path / "fashion_mnist")
    (tmp_path / "fashion_mnist" / f"{NAMES[0]}.gz").write_bytes(b"")
    assert [file.name for file in FashionMnist().files(tmp_path)] == list(NAMES)


def test_absent_files_are_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = tmp_path / "FashionMNIST" / "raw"
    monkeypatch.setattr(fashion_mnist.Source, "download", lambda _: write(raw))
    assert FashionMnist().files(tmp_path) == [raw / name for name in NAMES]


def test_without_network_the_error_says_where_to_put_the_files(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError) as error:
        FashionMnist().files(tmp_path)
    for part in (
        "no route to host",
        str(tmp_path / "fashion_mnist"),
        "dataset-fashion-mnist",
        "parquet:PATH",
    ):
        assert part in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("plain", idx(TRAIN)[:-1], r"has 4719 bytes, shape \[6, 28, 28\] needs 4720"),
        ("plain", idx(TRAIN) + b"!", "has 4721 bytes"),
        (
            "plain",
            b"\x89PNG" + bytes(100),
            "starts with 89 50 4e 47, an idx file of uint8 with 3 axes with 00 00 08 03",
        ),
        ("plain", idx(TRAIN[0]), "starts with 00 00 08 02"),
        ("plain", b"", "starts with nothing"),
        ("cut.gz", gzip.compress(idx(TRAIN))[:-20], "the gzip file is damaged"),
        ("text.gz", b"<html>not found</html>", "the gzip file is damaged"),
        ("bits.gz", gzip.compress(idx(TRAIN))[:20] + bytes(500), "the gzip file is damaged"),
    ],
)
def test_damaged_files_are_errors_that_name_the_file(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BenchmarkError, match=f"{name}: .*{sentence}"):
        read_idx(tmp_path / name, 3)


def test_images_without_labels_are_an_error(tmp_path: Path) -> None:
    write(tmp_path / "fashion_mnist")
    (tmp_path / "fashion_mnist" / NAMES[3]).write_bytes(idx(np.zeros(2, dtype=np.uint8)))
    with pytest.raises(BenchmarkError, match=f"{NAMES[2]}: it holds 3 images, its label file 2 labels"):
        FashionMnist().load(tmp_path)


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_debians_copy_is_the_whole_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fashion_mnist, "DEBIAN", DEBIAN)
    data = FashionMnist().load(tmp_path)
    assert tuple(data.images.shape) == (70000, 1, 28, 28)
    assert data.labels[data.test].bincount().tolist() == [1000] * 10
    assert data.labels[~data.test].bincount().tolist() == [6000] * 10
    assert abs(data.images[:60000].float().mean() / 255 - 0.2860) < 1e-4
