"""Folders of images per class."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from benchmark.data import ImageData
from benchmark.datasets.folder import Folder
from benchmark.errors import BenchmarkError

RNG = np.random.default_rng(0)


def write(file: Path, height: int = 4, width: int = 5, channels: int = 3) -> NDArray[np.uint8]:
    image = RNG.integers(0, 256, (height, width, channels), dtype=np.uint8)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image.squeeze()).save(file)
    return image


def load(path: Path | str, root: Path = Path("absent"), size: int | None = None) -> ImageData:
    data: ImageData = Folder(path=str(path), size=size).load(root)
    return data


def test_class_folders_are_the_classes_in_alphabetical_order(tmp_path: Path) -> None:
    written = [write(tmp_path / name) for name in ("cat/2.png", "cat/10.png", "ant/deep/1.png")]
    data = load(tmp_path)
    assert data.classes == ("ant", "cat")
    assert data.labels.tolist() == [0, 1, 1]
    assert np.array_equal(data.images.permute(0, 2, 3, 1).numpy(), np.stack([written[2], written[1], written[0]]))
    assert not data.test.any()


def test_train_and_test_are_the_two_parts(tmp_path: Path) -> None:
    for name in ("train/ant/1.png", "train/cat/1.png", "train/cat/2.png", "test/ant/1.png", "test/cat/1.png"):
        write(tmp_path / name)
    data = load(tmp_path)
    assert data.labels.tolist() == [0, 1, 1, 0, 1]
    assert data.test.tolist() == [False] * 3 + [True] * 2


def test_train_without_test_is_a_class_like_any_other(tmp_path: Path) -> None:
    for name in ("train/1.png", "station/1.png"):
        write(tmp_path / name)
    assert load(tmp_path).classes == ("station", "train")


def test_files_are_all_images_in_the_order_of_their_indices(tmp_path: Path) -> None:
    for name in ("train/b/1.png", "train/a/1.png", "test/a/1.png", "test/b/1.png"):
        write(tmp_path / name)
    (tmp_path / "train" / "a" / "notes.txt").write_text("no image")
    names = [file.relative_to(tmp_path).as_posix() for file in Folder(path=str(tmp_path)).files(tmp_path)]
    assert names == ["train/a/1.png", "train/b/1.png", "test/a/1.png", "test/b/1.png"]


def test_a_path_may_be_relative_to_the_data_folder(tmp_path: Path) -> None:
    write(tmp_path / "pets" / "cat" / "1.png")
    assert len(load("pets", root=tmp_path)) == 1


def test_grey_images_have_one_channel(tmp_path: Path) -> None:
    written = write(tmp_path / "cat" / "1.png", channels=1)
    assert np.array_equal(load(tmp_path).images[0, 0].numpy(), written[..., 0])


def test_images_of_different_sizes_need_a_size(tmp_path: Path) -> None:
    write(tmp_path / "cat" / "1.png")
    write(tmp_path / "cat" / "2.png", height=9, width=3)
    with pytest.raises(BenchmarkError, match=r"cat/2\.png: 3 x 9 pixels, unlike the first image; say `size"):
        load(tmp_path)
    assert tuple(load(tmp_path, size=6).images.shape) == (2, 3, 6, 6)


def test_a_size_that_is_none_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "cat" / "1.png")
    with pytest.raises(BenchmarkError, match="height and width must be > 0"):
        load(tmp_path, size=0)


def test_a_broken_image_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    write(tmp_path / "cat" / "1.png")
    (tmp_path / "cat" / "2.png").write_bytes(b"no image")
    with pytest.raises(BenchmarkError, match=r"cat/2\.png: the image cannot be decoded"):
        load(tmp_path)


def test_folders_that_hold_no_dataset_are_errors(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="folder:absent: no such folder"):
        load("absent", root=tmp_path)
    with pytest.raises(BenchmarkError, match="One folder of images per class is right"):
        load(tmp_path)
    (tmp_path / "cat").mkdir()
    with pytest.raises(BenchmarkError, match="One folder of images per class is right"):
        load(tmp_path)


def test_parts_with_different_classes_are_an_error(tmp_path: Path) -> None:
    for name in ("train/ant/1.png", "test/cat/1.png"):
        write(tmp_path / name)
    with pytest.raises(BenchmarkError, match="train and test hold different class folders"):
        load(tmp_path)
