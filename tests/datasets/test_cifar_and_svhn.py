"""The datasets that torchvision reads: found, fetched, checked, or a sentence that says what to do."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import scipy.io
from torchvision.datasets import CIFAR10, CIFAR100, SVHN

from benchmark.api import Dataset
from benchmark.datasets.cifar import Cifar10, Cifar100
from benchmark.datasets.svhn import Svhn
from benchmark.errors import BenchmarkError

RNG = np.random.default_rng(0)


def pixels(size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """[size, 3, 32, 32] uint8."""
    return RNG.integers(0, 256, (size, 3, 32, 32), dtype=np.uint8)


def write_cifar(source: type[CIFAR10], root: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Two images per batch, as the makers pickle them; labels 0 and 1."""
    folder, written = root / source.base_folder, []
    folder.mkdir(parents=True)
    kind = "labels" if source is CIFAR10 else "fine_labels"
    for name, _ in source.train_list + source.test_list:
        written.append(pixels(2))
        (folder / name).write_bytes(pickle.dumps({"data": written[-1].reshape(2, -1), kind: [0, 1]}))
    classes = {source.meta["key"]: ["apple", "bear"]}
    (folder / source.meta["filename"]).write_bytes(pickle.dumps(classes))
    return np.concatenate(written)


def write_svhn(root: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Three training images and two of the test part; the digit 0 is written as 10."""
    root.mkdir(parents=True, exist_ok=True)
    written = [pixels(3), pixels(2)]
    for part, images, digits in zip(("train", "test"), written, ([10, 1, 9], [2, 10]), strict=True):
        content = {"X": images.transpose(2, 3, 1, 0), "y": np.array(digits)[:, None]}
        scipy.io.savemat(root / f"{part}_32x32.mat", content)
    return np.concatenate(written)


@pytest.fixture(autouse=True)
def _small_files_are_the_published_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checksums are torchvision's business; what is written here has none. There is no network."""
    for source in (CIFAR10, CIFAR100):
        monkeypatch.setattr(source, "train_list", [[name, None] for name, _ in source.train_list])
        monkeypatch.setattr(source, "test_list", [[name, None] for name, _ in source.test_list])
        monkeypatch.setattr(source, "meta", source.meta | {"md5": None})
    monkeypatch.setattr(
        SVHN, "split_list", {part: [url, name, None] for part, (url, name, _) in SVHN.split_list.items()}
    )

    def no_network(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", no_network)


@pytest.mark.parametrize(
    ("dataset", "source", "train"), [(Cifar10(), CIFAR10, 10), (Cifar100(), CIFAR100, 2)], ids=["10", "100"]
)
def test_cifar_is_decoded_whole(tmp_path: Path, dataset: Dataset, source: type[CIFAR10], train: int) -> None:
    written = write_cifar(source, tmp_path)
    data = dataset.load(tmp_path)
    assert np.array_equal(data.images.numpy(), written)
    assert data.labels.tolist() == [0, 1] * (train // 2 + 1)
    assert data.test.tolist() == [False] * train + [True] * 2
    assert data.classes == ("apple", "bear")


def test_svhn_is_decoded_whole_and_its_tens_are_zeros(tmp_path: Path) -> None:
    written = write_svhn(tmp_path)
    data = Svhn().load(tmp_path)
    assert np.array_equal(data.images.numpy(), written)
    assert data.labels.tolist() == [0, 1, 9, 2, 0]
    assert data.test.tolist() == [False, False, False, True, True]


@pytest.mark.parametrize(
    ("dataset", "write", "count"),
    [
        (Cifar10(), lambda root: write_cifar(CIFAR10, root), 7),
        (Cifar100(), lambda root: write_cifar(CIFAR100, root), 3),
        (Svhn(), write_svhn, 2),
    ],
    ids=["cifar10", "cifar100", "svhn"],
)
class TestFiles:
    def test_files_are_all_that_determine_the_content_in_a_fixed_order(
        self, tmp_path: Path, dataset: Dataset, write: Callable[[Path], object], count: int
    ) -> None:
        write(tmp_path)
        files = dataset.files(tmp_path)
        assert files == sorted(file for file in tmp_path.rglob("*") if file.is_file())
        assert len(files) == count

    def test_files_that_are_there_need_no_network(
        self, tmp_path: Path, dataset: Dataset, write: Callable[[Path], object], count: int
    ) -> None:
        write(tmp_path)
        dataset.files(tmp_path)
        dataset.load(tmp_path)

    def test_without_network_the_error_says_what_was_tried_and_what_to_do(
        self, tmp_path: Path, dataset: Dataset, write: Callable[[Path], object], count: int
    ) -> None:
        for attempt in (dataset.files, dataset.load):
            with pytest.raises(BenchmarkError) as error:
                attempt(tmp_path)
            for part in ("no route to host", "http", str(tmp_path), "put ", "parquet:PATH"):
                assert part in str(error.value)
            assert "\n" not in str(error.value)


def test_a_file_whose_checksum_is_wrong_is_not_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar(CIFAR10, tmp_path)
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", "0" * 32]])
    with pytest.raises(BenchmarkError, match="cifar-10-batches-py does not hold the original files"):
        Cifar10().load(tmp_path)


def test_absent_files_are_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CIFAR100, "download", lambda _: write_cifar(CIFAR100, tmp_path))
    assert all(file.is_file() for file in Cifar100().files(tmp_path))
