"""Parquet files of images: what is found, how parts and columns are told apart, what is said of broken ones."""

import functools
import http.server
import io
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

import benchmark
from benchmark.data import ImageData
from benchmark.datasets.parquet import Parquet
from benchmark.errors import BenchmarkError

RNG = np.random.default_rng(0)
REAL = Path(os.environ.get("UNLEARNING_BENCHMARK_TEST_DATA", benchmark.ROOT.parent.parent / "shared" / "data"))


def colour(size: int, height: int = 4, width: int = 5) -> list[NDArray[np.uint8]]:
    return list(RNG.integers(0, 256, (size, height, width, 3), dtype=np.uint8))


def png(image: NDArray[np.uint8], mode: str | None = None) -> bytes:
    buffer = io.BytesIO()
    picture = Image.fromarray(image)
    (picture.convert(mode) if mode else picture).save(buffer, "PNG")
    return buffer.getvalue()


def write(
    file: Path,
    images: list[Any],
    labels: list[int | None] | None = None,
    names: list[str] | None = None,
    columns: tuple[str, str] = ("img", "label"),
    **more: list[Any],
) -> Path:
    """A file as Hugging Face writes it: images as PNG bytes, class names in the schema's metadata."""
    encoded = [{"bytes": png(i) if isinstance(i, np.ndarray) else i, "path": None} for i in images]
    struct = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    counted = list(range(len(images))) if labels is None else labels
    table = pa.table({columns[0]: pa.array(encoded, struct), columns[1]: pa.array(counted, pa.int64()), **more})
    if names is not None:
        features = {columns[0]: {"_type": "Image"}, columns[1]: {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file)
    return file


def load(path: Path | str, **more: Any) -> ImageData:
    data: ImageData = Parquet(path=str(path), **more).load(Path("absent"))
    return data


def as_images(data: ImageData) -> NDArray[np.uint8]:
    """[N, H, W, C] uint8."""
    return data.images.permute(0, 2, 3, 1).numpy()


# -- content -----------------------------------------------------------------------------------------------


def test_pixels_labels_and_class_names_come_back(tmp_path: Path) -> None:
    images = colour(3)
    data = load(write(tmp_path / "a.parquet", images, [2, 0, 1], ["cat", "dog", "owl"]))
    assert np.array_equal(as_images(data), np.stack(images))
    assert data.labels.tolist() == [2, 0, 1]
    assert data.classes == ("cat", "dog", "owl")
    assert not data.test.any()


def test_order_is_kept_over_many_row_groups_and_threads(tmp_path: Path) -> None:
    images = colour(1000, 2, 2)
    table = pq.read_table(write(tmp_path / "a.parquet", images))
    pq.write_table(table, tmp_path / "b.parquet", row_group_size=77)
    assert np.array_equal(as_images(load(tmp_path / "b.parquet")), np.stack(images))


def test_classes_without_names_are_numbers(tmp_path: Path) -> None:
    assert load(write(tmp_path / "a.parquet", colour(2), [0, 3])).classes == ("0", "1", "2", "3")


def test_grey_images_have_one_channel_and_join_colours_as_three(tmp_path: Path) -> None:
    grey = RNG.integers(0, 256, (4, 5), dtype=np.uint8)
    assert np.array_equal(load(write(tmp_path / "a.parquet", [grey, grey])).images[0, 0].numpy(), grey)
    mixed = load(write(tmp_path / "b.parquet", [grey, *colour(1)]))
    assert np.array_equal(mixed.images[0].numpy(), np.stack([grey] * 3))


@pytest.mark.parametrize("mode", ["RGBA", "P", "LA"])
def test_other_encodings_become_colours(tmp_path: Path, mode: str) -> None:
    flat = np.full((4, 5, 3), 51, dtype=np.uint8)
    data = load(write(tmp_path / "a.parquet", [png(flat, mode)]))
    assert tuple(data.images.shape) == (1, 3, 4, 5)
    assert (data.images == 51).all()


def test_images_of_different_sizes_need_a_size(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", [*colour(2), *colour(1, 8, 6)])
    with pytest.raises(BenchmarkError, match=r"a\.parquet, row 2: 6 x 8 pixels, unlike the first image; say `size"):
        load(file)
    assert tuple(load(file, size=7).images.shape) == (3, 3, 7, 7)


# -- files and parts ---------------------------------------------------------------------------------------


def test_files_called_test_are_the_test_part_and_come_last(tmp_path: Path) -> None:
    test = write(tmp_path / "test-00000-of-00001.parquet", colour(2))
    first, second = (write(tmp_path / f"train-{n}-of-00002.parquet", colour(3)) for n in ("00000", "00001"))
    validation = write(tmp_path / "validation-00000-of-00001.parquet", colour(1))
    assert Parquet(path=str(tmp_path)).files(tmp_path) == [first, second, validation, test]
    assert load(tmp_path).test.tolist() == [False] * 7 + [True] * 2


def test_parts_may_be_folders(tmp_path: Path) -> None:
    for part in ("train", "test"):
        write(tmp_path / "default" / part / "0000.parquet", colour(2))
    assert load(tmp_path).test.tolist() == [False, False, True, True]


def test_test_is_a_word_and_not_a_part_of_one(tmp_path: Path) -> None:
    write(tmp_path / "latest.parquet", colour(2))
    write(tmp_path / "my_Test.parquet", colour(1))
    assert load(tmp_path).test.tolist() == [False, False, True]


def test_the_folder_above_does_not_make_a_test_part(tmp_path: Path) -> None:
    write(tmp_path / "test" / "0000.parquet", colour(2))
    write(tmp_path / "test" / "0001.parquet", colour(2))
    assert not load(tmp_path / "test").test.any()


def test_test_files_alone_are_a_dataset_without_test_part(tmp_path: Path) -> None:
    assert not load(write(tmp_path / "test.parquet", colour(2))).test.any()


def test_a_glob_chooses_files(tmp_path: Path) -> None:
    for name in ("a-1", "a-2", "b-1"):
        write(tmp_path / f"{name}.parquet", colour(1))
    names = [file.name for file in Parquet(path=str(tmp_path / "a-*.parquet")).files(tmp_path)]
    assert names == ["a-1.parquet", "a-2.parquet"]


def test_a_path_may_be_relative_to_the_data_folder(tmp_path: Path) -> None:
    file = write(tmp_path / "pets" / "a.parquet", colour(1))
    assert Parquet(path="pets").files(tmp_path) == [file]
    assert Parquet(path="pets/*.parquet").files(tmp_path) == [file]


def test_nothing_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="parquet:absent: no parquet file is there"):
        Parquet(path="absent").files(tmp_path)


# -- columns -----------------------------------------------------------------------------------------------


def test_columns_may_have_any_name_if_they_are_the_only_ones(tmp_path: Path) -> None:
    data = load(write(tmp_path / "a.parquet", colour(2), columns=("picture", "kind"), note=["x", "y"]))
    assert data.labels.tolist() == [0, 1]


def test_of_several_columns_the_usual_name_or_the_one_asked_for_is_taken(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", colour(3), [0, 1, 2], columns=("img", "fine_label"), coarse_label=[1, 1, 0])
    assert load(file).labels.tolist() == [0, 1, 2]
    assert load(file, label_column="coarse_label").labels.tolist() == [1, 1, 0]


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"label_column": "note"}, "column 'note' does not hold integer labels; say `label_column = …`"),
        ({"label_column": "absent"}, "column 'absent' does not hold integer labels"),
        ({"image_column": "note"}, r"column 'note' does not hold images \(a struct with `bytes`\)"),
    ],
)
def test_a_column_that_does_not_fit_is_an_error_that_lists_the_columns(
    tmp_path: Path, asked: dict[str, str], sentence: str
) -> None:
    file = write(tmp_path / "a.parquet", colour(2), note=["x", "y"])
    with pytest.raises(BenchmarkError, match=rf"a\.parquet: {sentence}.*img, label, note"):
        load(file, **asked)


def test_columns_that_cannot_be_told_apart_are_an_error(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", colour(2), columns=("img", "left"), right=[0, 1])
    with pytest.raises(BenchmarkError, match="no column is known to hold integer labels; say `label_column"):
        load(file)


def test_text_without_images_is_an_error(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"], "label": [0]}), tmp_path / "a.parquet")
    with pytest.raises(BenchmarkError, match=r"no column is known to hold images .*text, label"):
        load(tmp_path / "a.parquet")


# -- damage ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", [b"no image", b"", None, png(colour(1, 64, 64)[0])[:3000]])
def test_an_image_that_cannot_be_decoded_is_an_error_that_names_file_and_row(tmp_path: Path, broken: Any) -> None:
    file = write(tmp_path / "a.parquet", [*colour(2), broken])
    with pytest.raises(BenchmarkError, match=r"a\.parquet, row 2: the image cannot be decoded"):
        load(file)


def test_sixteen_bits_per_pixel_are_refused_rather_than_clipped(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 5), 40000, dtype=np.uint16)).save(buffer, "PNG")
    with pytest.raises(BenchmarkError, match="eight bits per channel are right"):
        load(write(tmp_path / "a.parquet", [buffer.getvalue()]))


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ([0, 1, 2], "row 2: label 2 is outside 0..1"),
        ([0, -1, 1], "row 1: label -1 is outside 0..1"),
        ([0, None, 1], "row 1: column 'label' is empty"),
    ],
)
def test_a_label_without_class_is_an_error_that_names_file_and_row(
    tmp_path: Path, labels: list[int | None], sentence: str
) -> None:
    file = write(tmp_path / "a.parquet", colour(3), labels, ["cat", "dog"])
    with pytest.raises(BenchmarkError, match=rf"a\.parquet, {sentence}"):
        load(file)


def test_files_of_different_datasets_are_an_error(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", colour(2), names=["cat", "dog"])
    write(tmp_path / "b.parquet", colour(2), names=["tree", "owl"])
    with pytest.raises(BenchmarkError, match="its files name different classes"):
        load(tmp_path)


def test_a_file_that_is_no_parquet_or_empty_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"<html>")
    with pytest.raises(BenchmarkError, match=r"a\.parquet: this is no parquet file that can be read"):
        load(tmp_path)
    with pytest.raises(BenchmarkError, match="its files hold no rows"):
        load(write(tmp_path / "a.parquet", []))


# -- URLs --------------------------------------------------------------------------------------------------


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[Any]:
    """A file system that is not the local one, with a dataset of two parts."""
    system = fsspec.filesystem("memory")
    for part in ("train", "test"):
        file = write(tmp_path / f"{part}.parquet", colour(2))
        system.pipe(f"/pets/{part}/0000.parquet", file.read_bytes())
    system.pipe("/pets/README.md", b"about pets")
    yield system
    system.rm("/pets", recursive=True)


@pytest.mark.parametrize("url", ["memory://pets", "memory://pets/**/*.parquet"])
def test_remote_files_are_fetched_once_with_their_parts(tmp_path: Path, bucket: Any, url: str) -> None:
    dataset, root = Parquet(path=url), tmp_path / "root"
    files = dataset.files(root)
    assert [str(file.relative_to(file.parent.parent)) for file in files] == [
        "train/0000.parquet",
        "test/0000.parquet",
    ]
    assert all(root / "parquet" in file.parents for file in files)
    assert dataset.load(root).test.tolist() == [False, False, True, True]
    bucket.rm("/pets/train", recursive=True)
    assert dataset.files(root) == files


def test_different_urls_do_not_share_a_folder(tmp_path: Path, bucket: Any) -> None:
    urls = ("memory://pets/train/0000.parquet", "memory://pets/test/0000.parquet")
    first, second = (Parquet(path=url).files(tmp_path / "root")[0].parent for url in urls)
    assert first != second


@pytest.mark.parametrize("url", ["memory://absent", "memory://pets/absent.parquet", "nonsense://pets"])
def test_what_cannot_be_fetched_is_an_error_and_leaves_nothing(tmp_path: Path, bucket: Any, url: str) -> None:
    with pytest.raises(BenchmarkError, match=f"parquet:{url}: it could not be fetched"):
        Parquet(path=url).files(tmp_path / "root")
    assert list((tmp_path / "root" / "parquet").iterdir()) == []


def test_a_file_behind_a_web_address_is_fetched(tmp_path: Path) -> None:
    images = colour(2)
    write(tmp_path / "served" / "pets.parquet", images)
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    handler = functools.partial(quiet, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        found = Parquet(path=f"{address}/pets.parquet?download=true").load(tmp_path)
        with pytest.raises(BenchmarkError, match="it could not be fetched"):
            Parquet(path=f"{address}/absent.parquet").load(tmp_path)
        server.shutdown()
    assert np.array_equal(as_images(found), np.stack(images))


# -- the real thing ----------------------------------------------------------------------------------------


@pytest.mark.skipif(
    not (REAL / "cifar10-jpeg75").is_dir(),
    reason=f"no cifar10-jpeg75 in {REAL} (UNLEARNING_BENCHMARK_TEST_DATA says where development data lie)",
)
def test_cifar10_in_the_layout_of_hugging_face() -> None:
    folder = REAL / "cifar10-jpeg75"
    names = [file.name.partition("-")[0] for file in Parquet(path=str(folder)).files(folder)]
    assert names == ["train", "test"]
    data = load(folder / "test-00000-of-00001.parquet")
    assert tuple(data.images.shape) == (10000, 3, 32, 32)
    assert data.labels.bincount().tolist() == [1000] * 10
    assert data.classes[:3] == ("airplane", "automobile", "bird")
