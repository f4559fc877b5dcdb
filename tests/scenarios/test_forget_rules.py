"""Which images each scenario may forget, and the sentences for what cannot be."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.api import Scenario
from benchmark.components import make
from benchmark.data import ImageData, TaskData, split_task
from benchmark.errors import BenchmarkError
from benchmark.specs import Ref, SplitSpec

LABELS = np.arange(100) % 10
INDICES = np.arange(100) + 50
RNG = np.random.default_rng(0)
SPLIT = SplitSpec(train=50)


def scenario(name: str, **params: Any) -> Scenario:
    made = make("scenario", Ref(name=name, params=params), "task 'digits'")
    assert isinstance(made, Scenario)
    return made


def eligible(rule: Scenario) -> list[int]:
    return [int(index) for index in INDICES[rule.eligible(LABELS, INDICES, RNG)]]


def split(rule: Scenario) -> TaskData:
    """A split of 240 images of ten classes; indices 200 to 239 are the test part."""
    images = torch.randint(0, 256, (240, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    data = ImageData.of(images, torch.arange(240) % 10, torch.arange(240) >= 200, "abcdefghij")
    return split_task(data, rule, SPLIT, 0.0, seed=0)


def test_scenarios_take_an_argument_after_a_colon(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("60")
    assert split(scenario("random:0.2")).sizes()["forget"] == 10
    assert eligible(scenario("class:3,5")) == eligible(scenario("class", classes=[3, 5]))
    assert eligible(scenario(f"indices:{tmp_path / 'list.txt'}")) == [60]


# -- random ------------------------------------------------------------------------------------------------


def test_random_may_forget_every_image() -> None:
    assert eligible(scenario("random", fraction=0.1)) == INDICES.tolist()


@pytest.mark.parametrize(
    ("params", "forgotten"), [({"fraction": 0.1}, 5), ({"fraction": "0.2"}, 10), ({"count": 7}, 7)]
)
def test_random_forgets_a_fraction_of_the_training_images_or_a_count(params: dict[str, Any], forgotten: int) -> None:
    sizes = split(scenario("random", **params)).sizes()
    assert sizes["forget"] == forgotten
    assert sizes["retain"] == 50 - forgotten


def test_random_leaves_eligible_images_in_retain() -> None:
    assert not scenario("random", count=3).exclusive


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({}, "say either `fraction` or `count`"),
        ({"fraction": 0.1, "count": 3}, "say either `fraction` or `count`"),
        ({"fraction": 1.0}, "fraction = 1.0 is not a number between 0 and 1"),
        ({"fraction": 0}, "fraction = 0 is not a number between 0 and 1"),
        ({"fraction": "many"}, "fraction = 'many' is not"),
        ({"fraction": True}, "fraction = True is not"),
        ({"count": 0}, "count = 0 is no whole number above 0"),
        ({"count": 2.5}, "count = 2.5 is no whole number"),
        ({"count": True}, "count = True is no whole number"),
        ({"fractoin": 0.1}, "Did you mean 'fraction'"),
    ],
)
def test_random_refuses_sizes_that_mean_nothing(params: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BenchmarkError, match=sentence):
        scenario("random", **params)


# -- class -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("classes", "labels"), [(3, {3}), ("3", {3}), ([3, 5], {3, 5}), ("3,5", {3, 5}), ([5, 5], {5}), (0, {0})]
)
def test_class_may_forget_the_images_of_its_classes_and_no_others(classes: Any, labels: set[int]) -> None:
    assert {index % 10 for index in eligible(scenario("class", classes=classes))} == labels
    assert len(eligible(scenario("class", classes=classes))) == 10 * len(labels)


def test_class_leaves_none_of_its_images_in_retain() -> None:
    task = split(scenario("class", classes=[3, 5]))
    for name in ("forget", "heldout", "third_party"):
        assert set(task[name].labels.tolist()) <= {3, 5}
    assert not set(task["retain"].labels.tolist()) & {3, 5}
    assert task.sizes()["forget"] == 40 // 3


def test_class_is_not_forgotten_from_the_test_set() -> None:
    assert 3 in split(scenario("class", classes=3))["test"].labels


@pytest.mark.parametrize("classes", [10, -1, [3, 10], "10"])
def test_class_that_no_image_has_is_an_error(classes: Any) -> None:
    with pytest.raises(BenchmarkError, match=r"no training image has label (10|-1); 0\.\.9 exist"):
        eligible(scenario("class", classes=classes))


def test_sentences_about_parameters_say_where_they_stand() -> None:
    with pytest.raises(BenchmarkError, match=r"^task 'digits', scenario 'class:cat': classes = 'cat' is"):
        scenario("class:cat")


@pytest.mark.parametrize("classes", ["cat", [], "", 1.5, [1.5], True, [True], None])
def test_class_that_is_no_label_is_an_error(classes: Any) -> None:
    with pytest.raises(BenchmarkError, match="neither a label nor a list"):
        scenario("class", classes=classes)


def test_class_must_be_said() -> None:
    with pytest.raises(BenchmarkError, match="classes"):
        scenario("class")


# -- indices -----------------------------------------------------------------------------------------------


def listed(tmp_path: Path, name: str, content: Any) -> Scenario:
    """The scenario of a file with this content."""
    file = tmp_path / name
    if name.endswith(".npy"):
        np.save(file, content)
    else:
        file.write_text(content if isinstance(content, str) else json.dumps(content))
    return scenario("indices", path=str(file))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.txt", "60\n 70\n\n149\n"),
        ("list", "149\n60\n70"),
        ("list.json", [60, 149, 70]),
        ("list.npy", np.array([60, 70, 149])),
        ("list.npy", np.array([[149], [70], [60]], dtype=np.uint8)),
    ],
)
def test_indices_may_forget_what_the_file_lists(tmp_path: Path, name: str, content: Any) -> None:
    assert eligible(listed(tmp_path, name, content)) == [60, 70, 149]


def test_indices_are_found_in_any_order_of_candidates(tmp_path: Path) -> None:
    rule, order = listed(tmp_path, "list.txt", "60\n70\n149"), RNG.permutation(100)
    chosen = rule.eligible(LABELS[order], INDICES[order], RNG)
    assert sorted(INDICES[order][chosen].tolist()) == [60, 70, 149]


def test_listed_images_are_shared_out_and_none_is_retained(tmp_path: Path) -> None:
    chosen = set(range(10, 40))
    task = split(listed(tmp_path, "list.json", sorted(chosen)))
    shared = [index for name in ("forget", "heldout", "third_party") for index in task[name].indices.tolist()]
    assert set(shared) == chosen
    assert not chosen & set(task["retain"].indices.tolist())


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("list.txt", "60\n\nseven\n", r"list\.txt, line 3: 'seven' is not an index"),
        ("list.txt", "60\n7.0\n", r"list\.txt, line 2: '7\.0' is not an index"),
        ("list.json", [60, 7.0], r"list\.json, entry 1: 7\.0 is not an index"),
        ("list.json", [True], r"list\.json, entry 0: True is not an index"),
        ("list.npy", np.array([60.0]), r"list\.npy, entry 0: 60\.0 is not an index"),
        ("list.txt", "60\n61\n60\n", r"list\.txt, line 3: image 60 is in line 1 already"),
        ("list.txt", "60\n-1\n", r"list\.txt, line 2: image -1 is no training candidate"),
        ("list.json", [150], r"list\.json, entry 0: image 150 is no training candidate: it is outside"),
        ("list.json", {"a": 1}, r"list\.json: the list of images cannot be read \(it holds no list\)"),
        ("list.json", "[60,", r"list\.json: the list of images cannot be read"),
    ],
)
def test_entries_that_are_no_candidates_are_errors_that_name_file_and_line(
    tmp_path: Path, name: str, content: Any, sentence: str
) -> None:
    with pytest.raises(BenchmarkError, match=sentence):
        eligible(listed(tmp_path, name, content))


def test_listed_image_of_the_test_part_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"list\.txt, line 2: image 203 .* in its test part"):
        split(listed(tmp_path, "list.txt", "11\n203\n12\n"))


def test_missing_or_foreign_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"absent\.txt: the list of images cannot be read"):
        eligible(scenario("indices", path=str(tmp_path / "absent.txt")))
    (tmp_path / "text.npy").write_text("60")
    with pytest.raises(BenchmarkError, match=r"text\.npy: the list of images cannot be read"):
        eligible(scenario("indices", path=str(tmp_path / "text.npy")))


def test_pickled_arrays_are_not_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object))
    with pytest.raises(BenchmarkError, match="cannot be read"):
        eligible(scenario("indices", path=str(tmp_path / "objects.npy")))
