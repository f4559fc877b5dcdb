"""The split of a task's data, the sets that methods read, and the cache of decoded datasets."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from benchmark.api import Scenario
from benchmark.data import POOL_SETS, DataCache, ExampleSet, Forbidden, ImageData, TaskData, split_task
from benchmark.errors import BenchmarkError, UndeclaredAccess
from benchmark.specs import SplitSpec

CLASSES = 5


@dataclass(frozen=True, kw_only=True)
class Anything(Scenario):
    """Every image may be forgotten, `count` are."""

    count: int = 20

    def eligible(
        self, labels: NDArray[np.int64], indices: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.int64]:
        return np.arange(len(labels))

    def forget_count(self, train: int, eligible: int, split: SplitSpec) -> int:
        return self.count


@dataclass(frozen=True, kw_only=True)
class OneClass(Scenario):
    """A class is forgotten whole."""

    exclusive: ClassVar[bool] = True
    label: int = 2

    def eligible(
        self, labels: NDArray[np.int64], indices: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.int64]:
        return np.flatnonzero(labels == self.label)


def dataset(train: int = 300, test: int = 60, side: int = 2) -> ImageData:
    """Random images, all different; the classes in turn; the test part last."""
    size = train + test
    images = torch.randint(0, 256, (size, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return ImageData.of(images, torch.arange(size) % CLASSES, torch.arange(size) >= train, list("abcde"))


def indices(task: TaskData) -> dict[str, list[int]]:
    return {name: images.indices.tolist() for name, images in task.sets.items()}


SPLIT = SplitSpec(train=100, validation=30)
DRAWN = tuple(name for name in POOL_SETS if name != "placebo")


def test_sets_have_the_sizes_that_were_asked_for() -> None:
    split = SplitSpec(train=100, heldout=15, third_party=25, validation=30, test=40)
    task = split_task(dataset(), Anything(), split, 0.0, seed=0)
    assert task.sizes() == {
        "forget": 20, "heldout": 15, "third_party": 25, "retain": 80, "validation": 30, "test": 40,
    }  # fmt: skip
    assert task.dataset_size == 360
    assert task.duplicates_dropped == 0


def test_heldout_and_third_party_are_as_large_as_forget_unless_said() -> None:
    sizes = split_task(dataset(), Anything(count=17), SPLIT, 0.0, seed=0).sizes()
    assert [sizes[name] for name in DRAWN] == [17, 17, 17]
    assert sizes["test"] == 60


def test_sets_share_no_image_by_index_or_content() -> None:
    data = dataset()
    repeated = data.images.clone()
    repeated[100:150] = repeated[0:50]  # within the training part
    repeated[300:310] = repeated[50:60]  # of the test part in the training part
    task = split_task(ImageData.of(repeated, data.labels, data.test, data.classes), Anything(), SPLIT, 0.0, seed=0)
    everywhere = [index for some in indices(task).values() for index in some]
    assert len(set(everywhere)) == len(everywhere)
    pixels = [bytes(image.numpy().tobytes()) for images in task.sets.values() for image in images.images]
    assert len(set(pixels)) == len(pixels)
    assert task.duplicates_dropped == 60


def test_of_an_image_in_both_parts_the_test_part_keeps_it() -> None:
    data = dataset()
    data.images[350] = data.images[7]
    task = split_task(data, Anything(), SPLIT, 0.0, seed=0)
    assert 350 in task["test"].indices
    assert all(7 not in some for some in indices(task).values())


def test_test_set_comes_from_the_test_part_and_nothing_else_does() -> None:
    task = split_task(dataset(), Anything(), SPLIT, 0.0, seed=3)
    assert task["test"].test.all()
    assert not any(task[name].test.any() for name in task.sets if name != "test")


def test_dataset_without_test_part_is_cut_at_random_and_must_be_told_how_much() -> None:
    data = dataset(train=300, test=0)
    with pytest.raises(BenchmarkError, match=r"split\.test"):
        split_task(data, Anything(), SPLIT, 0.0, seed=0)
    task = split_task(data, Anything(), SplitSpec(train=100, test=50), 0.0, seed=0)
    assert len(task["test"]) == 50
    assert len({index for some in indices(task).values() for index in some}) == sum(task.sizes().values())


def test_same_seed_same_split_and_different_seeds_differ() -> None:
    first, again, other = (indices(split_task(dataset(), Anything(), SPLIT, 0.1, seed)) for seed in (5, 5, 6))
    assert first == again
    assert all(first[name] != other[name] for name in (*DRAWN, "retain", "validation"))


@pytest.mark.parametrize(
    ("scenario", "names"),
    [(Anything(count=20), DRAWN), (Anything(count=20), POOL_SETS), (OneClass(), DRAWN)],
    ids=["random", "random with a placebo set", "class"],
)
def test_the_sets_that_are_drawn_from_one_pool_are_exchangeable(scenario: Scenario, names: tuple[str, ...]) -> None:
    """Over 200 seeds an image is in each of them equally often, and no class is favoured."""
    data, split = dataset(), SplitSpec(train=60, placebo="placebo" in names)
    tasks = [split_task(data, scenario, split, 0.0, seed) for seed in range(200)]
    sizes = {name: len(tasks[0][name]) for name in names}
    assert len(set(sizes.values())) == 1
    classes, halves = {}, {}
    for name in names:
        labels = torch.cat([task[name].labels for task in tasks])
        where = torch.cat([task[name].indices for task in tasks])
        classes[name] = labels.bincount(minlength=CLASSES) / len(labels)
        halves[name] = (where < 150).float().mean()
    shares = torch.stack(list(classes.values()))
    assert (shares - shares.mean(0)).abs().max() < 0.025  # 4 standard errors of a share of 4,000 draws
    if isinstance(scenario, Anything):
        assert (shares - 1 / CLASSES).abs().max() < 0.025
    assert all(abs(half - 0.5) < 0.032 for half in halves.values())


def test_exclusive_scenario_leaves_nothing_eligible_in_retain_or_validation() -> None:
    task = split_task(dataset(), OneClass(label=2), SPLIT, 0.0, seed=0)
    assert not (task["retain"].labels == 2).any()
    assert not (task["validation"].labels == 2).any()
    assert all((task[name].labels == 2).all() for name in DRAWN)
    assert (task["test"].labels == 2).any()


def test_scenario_that_is_not_exclusive_leaves_the_rest_of_the_pool_in_retain() -> None:
    task = split_task(dataset(), Anything(), SPLIT, 0.0, seed=0)
    assert set(task["retain"].labels.tolist()) == set(range(CLASSES))


def test_label_noise_hits_training_candidates_at_its_rate_and_never_the_test_set() -> None:
    data = dataset(train=6000, test=500)
    task = split_task(data, Anything(count=1000), SplitSpec(train=3000, validation=1000), 0.4, seed=0)
    for name, images in task.sets.items():
        wrong = (images.labels != data.labels[images.indices]).float().mean().item()
        redrawn_wrong = 0.4 * (CLASSES - 1) / CLASSES
        assert wrong == (0 if name == "test" else pytest.approx(redrawn_wrong, abs=0.05))


def test_without_label_noise_labels_stay() -> None:
    data = dataset()
    task = split_task(data, Anything(), SPLIT, 0.0, seed=0)
    assert all(torch.equal(images.labels, data.labels[images.indices]) for images in task.sets.values())


def test_images_follow_their_indices() -> None:
    data = dataset()
    task = split_task(data, Anything(), SPLIT, 0.0, seed=0)
    assert all(torch.equal(images.images, data.images[images.indices]) for images in task.sets.values())


@pytest.mark.parametrize(
    ("scenario", "split", "sentence"),
    [
        (Anything(count=0), SPLIT, "forget set has 0 of 100"),
        (Anything(count=100), SPLIT, "forget set has 100 of 100"),
        (OneClass(label=4711), SPLIT, "forget set has 0 of 100"),
        (Anything(count=99), SplitSpec(train=100, heldout=200), "want 398 images of a pool of 300"),
        (Anything(), SplitSpec(train=290), "retain and validation sets want 270 images, 240 are left"),
        (Anything(), SplitSpec(train=200, validation=100), "lower `split.train` or `split.validation`"),
        (Anything(), SplitSpec(train=100, test=61), "asks for 61 images; the dataset's test part has 60"),
    ],
)
def test_impossible_splits_are_refused_with_a_sentence(scenario: Scenario, split: SplitSpec, sentence: str) -> None:
    with pytest.raises(BenchmarkError, match=sentence):
        split_task(dataset(), scenario, split, 0.0, seed=0)


# -- sets as methods read them -----------------------------------------------------------------------------


def examples(size: int = 10) -> ExampleSet:
    return ExampleSet(dataset(train=size, test=0), "retain", torch.device("cpu"))


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_an_epoch_shows_every_image_once() -> None:
    batches = list(examples().batches(4, seeded()))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    shown = torch.cat([batch.positions for batch in batches])
    assert sorted(shown.tolist()) == list(range(10))
    assert shown.tolist() != list(range(10))


def test_without_a_generator_an_epoch_is_in_order() -> None:
    assert torch.cat([batch.positions for batch in examples().batches(4)]).tolist() == list(range(10))


def test_drop_last_leaves_out_the_short_batch_but_not_a_short_set() -> None:
    assert [len(batch) for batch in examples().batches(4, drop_last=True)] == [4, 4]
    assert [len(batch) for batch in examples(3).batches(4, drop_last=True)] == [3]


def test_a_stream_has_full_batches_and_a_new_permutation_at_each_pass() -> None:
    stream = examples().stream(5, seeded())
    passes = [torch.cat([next(stream).positions, next(stream).positions]).tolist() for _ in range(4)]
    assert all(sorted(shown) == list(range(10)) for shown in passes)
    assert len({tuple(shown) for shown in passes}) == 4


def test_a_stream_of_a_set_smaller_than_a_batch_gives_the_whole_set() -> None:
    stream = examples(3).stream(5, seeded())
    assert [sorted(next(stream).positions.tolist()) for _ in range(3)] == [[0, 1, 2]] * 3


def test_batches_hold_the_images_as_floats_with_their_labels() -> None:
    data = dataset(train=10, test=0)
    batch = ExampleSet(data, "retain", torch.device("cpu"), channels_last=True).take(torch.tensor([7, 2]))
    assert batch.images.dtype == torch.float32
    assert torch.equal((batch.images * 255).round().to(torch.uint8), data.images[[7, 2]])
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(batch.labels, data.labels[[7, 2]])


def test_every_image_that_is_taken_is_counted() -> None:
    retain = examples()
    list(retain.batches(4, seeded()))
    retain.all()
    stream = retain.stream(4, seeded())
    next(stream), next(stream), next(stream)
    retain.take(torch.tensor([1, 1]))
    assert retain.samples_seen == 10 + 10 + 12 + 2


@pytest.mark.parametrize(
    "use",
    [lambda s: s.all(), len, bool, lambda s: next(s.stream(2, seeded())), lambda s: s.samples_seen],
    ids=["all", "len", "bool", "stream", "attribute"],
)
def test_a_set_that_was_not_declared_cannot_be_used(use: object) -> None:
    assert callable(use)
    with pytest.raises(UndeclaredAccess, match=r"'salun' reads request\.retain, but its `uses`"):
        use(Forbidden("salun", "retain"))


# -- images and their cache --------------------------------------------------------------------------------


def test_image_data_refuses_what_does_not_fit_together() -> None:
    images, labels, test = (
        torch.zeros(3, 1, 2, 2, dtype=torch.uint8),
        torch.tensor([0, 1, 1]),
        torch.zeros(3).bool(),
    )
    with pytest.raises(ValueError, match=r"\[N, C, H, W\] uint8 is right"):
        ImageData.of(images.float(), labels, test, "ab")
    with pytest.raises(ValueError, match=r"\[N, C, H, W\] uint8 is right"):
        ImageData.of(images[:, 0], labels, test, "ab")
    with pytest.raises(ValueError, match="differ in length"):
        ImageData.of(images, labels[:2], test, "ab")
    with pytest.raises(ValueError, match=r"labels leave 0\.\.0"):
        ImageData.of(images, labels, test, "a")
    with pytest.raises(ValueError, match=r"labels leave 0\.\.1"):
        ImageData.of(images, labels - 1, test, "ab")


def test_indices_survive_selection() -> None:
    chosen = dataset().select(torch.tensor([5, 9, 11])).select(torch.tensor([2, 0]))
    assert chosen.indices.tolist() == [11, 5]
    assert torch.equal(chosen.images, dataset().images[[11, 5]])


def test_downscaling_averages_blocks() -> None:
    image = torch.tensor([[0, 10, 20, 20], [30, 40, 20, 20], [0, 0, 255, 255], [0, 0, 255, 255]], dtype=torch.uint8)
    data = ImageData.of(image.expand(1, 1, 4, 4), torch.tensor([0]), torch.tensor([False]), "a")
    assert data.downscaled(2).images.tolist() == [[[[20, 20], [0, 255]]]]
    assert data.downscaled(4) is data


def test_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    file, copy = tmp_path / "a" / "data.bin", tmp_path / "b" / "data.bin"
    for path in (file, copy):
        path.parent.mkdir()
        path.write_bytes(b"one")
    cache = DataCache(tmp_path / "cache")
    before = cache.fingerprint([file])
    assert cache.fingerprint([file]) == before == cache.fingerprint([copy])
    file.write_bytes(b"other")
    assert cache.fingerprint([file]) != before


def test_fingerprint_knows_which_file_is_which(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(b"1")
    second.write_bytes(b"2")
    cache = DataCache(tmp_path / "cache")
    assert cache.fingerprint([first, second]) != cache.fingerprint([second, first])
    assert cache.fingerprint([first, second]) != cache.fingerprint([first])


def test_decoded_data_come_back_as_they_were_without_decoding_again(tmp_path: Path) -> None:
    data, calls = dataset(), []

    def decode() -> ImageData:
        calls.append(1)
        return data

    cache = DataCache(tmp_path)
    for _ in range(2):
        stored = cache.load("some-key", decode)
        assert torch.equal(stored.images, data.images)
        assert torch.equal(stored.labels, data.labels)
        assert torch.equal(stored.test, data.test)
        assert stored.classes == data.classes
    assert calls == [1]
