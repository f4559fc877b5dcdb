"""Artefacts and records: whole or not there, checked when read, readable without running anybody's code."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark import store as store_module
from benchmark.errors import BenchmarkError
from benchmark.specs import Record
from benchmark.store import PopulationRecords, Records, Store, method_folder, remove_leftovers, write_atomic
from tests import tiny
from tests.report import factory

KEY = "ab" * 32
ARRAYS = {"forget/logits": np.arange(6, dtype=np.float32).reshape(2, 3), "test/labels": np.array([1, 2])}


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def full(store) -> Store:
    """With one artefact of everything."""
    store.put(KEY, arrays=ARRAYS, weights={"w": torch.arange(4.0)}, meta={"seconds": 1.5})
    return store


def record(seed: int = 0, method: str = "theirs", **changes) -> Record:
    return factory.record(factory.World(), factory.Method(method), seed, **changes)


# -- files -------------------------------------------------------------------------------------------------


def test_a_file_is_written_whole_and_leaves_nothing_beside_it(tmp_path):
    write_atomic(tmp_path / "deep" / "file", b"first")
    write_atomic(tmp_path / "deep" / "file", b"second")
    assert tiny.files(tmp_path) == {"deep/file": b"second"}


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch, step):
    write_atomic(tmp_path / "file", b"first")

    def full_disk(*_arguments):
        raise OSError("no space left")

    monkeypatch.setattr(os, step, full_disk)
    with pytest.raises(OSError, match="no space"):
        write_atomic(tmp_path / "file", b"second")
    assert tiny.files(tmp_path) == {"file": b"first"}


def test_a_write_that_is_interrupted_leaves_nothing(store, monkeypatch):
    def interrupt(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.put(KEY, arrays=ARRAYS)
    assert tiny.files(store.folder) == {}
    assert not store.contains(KEY)


def test_leftovers_are_removed_only_if_their_process_is_dead_and_was_ours(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    ours, host = tmp_path / "a" / "b", store_module._HOST
    ours.mkdir(parents=True)
    for name in (f".tmp-{host}-{dead.pid}-x", f".tmp-{host}-{os.getpid()}-x", f".tmp-00000000-{dead.pid}-x", "kept"):
        (ours / name).touch()
    assert remove_leftovers(tmp_path) == 1
    assert sorted(path.name for path in ours.iterdir()) == sorted(
        [f".tmp-{host}-{os.getpid()}-x", f".tmp-00000000-{dead.pid}-x", "kept"]
    )
    assert remove_leftovers(tmp_path / "absent") == 0


def test_temporary_files_carry_what_tells_their_owner(tmp_path, monkeypatch):
    names = []
    monkeypatch.setattr(os, "fsync", lambda _: names.extend(os.listdir(tmp_path)))
    write_atomic(tmp_path / "file", b"")
    assert [name.split("-")[:3] for name in names] == [[".tmp", store_module._HOST, str(os.getpid())]]


# -- artefacts ---------------------------------------------------------------------------------------------


def test_what_was_put_comes_back(full):
    arrays = full.arrays(KEY)
    assert {name: array.dtype for name, array in arrays.items()} == {n: a.dtype for n, a in ARRAYS.items()}
    assert all(np.array_equal(arrays[name], ARRAYS[name]) for name in ARRAYS)
    assert torch.equal(full.weights(KEY)["w"], torch.arange(4.0))
    assert full.meta(KEY) == {"seconds": 1.5}
    assert full.contains(KEY) and full.keys() == {KEY} and full.notes == []


def test_what_was_never_put_is_none(store):
    assert (store.arrays(KEY), store.weights(KEY), store.meta(KEY)) == (None, None, None)
    assert not store.contains(KEY) and store.keys() == set() and store.notes == []
    store.put(KEY, meta={})
    assert (store.arrays(KEY), store.weights(KEY), store.meta(KEY)) == (None, None, {})


def test_putting_twice_keeps_the_first_and_replacing_does_not(full):
    before = tiny.files(full.folder)
    full.put(KEY, weights={"w": torch.zeros(4)}, meta={"seconds": 9.0})
    assert tiny.files(full.folder) == before
    full.put(KEY, weights={"w": torch.zeros(4)}, meta={"seconds": 9.0}, replace=True)
    assert full.meta(KEY) == {"seconds": 9.0}
    assert torch.equal(full.weights(KEY)["w"], torch.zeros(4))


def test_the_same_content_has_the_same_bytes(full, tmp_path):
    other = Store(tmp_path / "other")
    backwards = dict(reversed(ARRAYS.items()))
    other.put(KEY, arrays=ARRAYS, weights={"w": torch.arange(4.0)}, meta={"seconds": 1.5})
    assert tiny.files(other.folder) == tiny.files(full.folder)
    other.put(KEY, arrays=backwards, replace=True)
    assert all(np.array_equal(other.arrays(KEY)[name], ARRAYS[name]) for name in ARRAYS)


def test_an_artefact_without_its_last_file_is_not_there(full):
    (full._folder(KEY) / "meta.json").unlink()
    assert not full.contains(KEY) and full.keys() == set() and full.weights(KEY) is None
    full.put(KEY, weights={"w": torch.ones(2)})
    assert torch.equal(full.weights(KEY)["w"], torch.ones(2))


DAMAGE = {
    "truncated": lambda data: data[: len(data) // 2],
    "emptied": lambda data: b"",
    "one bit flipped": lambda data: bytes([data[0] ^ 1]) + data[1:],
    "something else": lambda data: pickle.dumps("boo"),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(("suffix", "read"), [("npz", "arrays"), ("safetensors", "weights"), ("json", "meta")])
def test_a_damaged_artefact_is_put_aside_said_and_made_again(full, suffix, read, damage):
    path = next(full._folder(KEY).glob(f"*.{suffix}"))
    damaged = DAMAGE[damage](path.read_bytes())
    path.write_bytes(damaged)
    assert getattr(full, read)(KEY) is None
    assert not full.contains(KEY)
    assert len(full.notes) == 1
    assert full.notes[0].startswith(f"artefact {KEY[:12]}: ") and "computed again" in full.notes[0]
    (aside,) = (full.folder / "quarantine").iterdir()
    assert (aside / path.name).read_bytes() == damaged
    full.put(KEY, arrays=ARRAYS)
    assert np.array_equal(full.arrays(KEY)["test/labels"], ARRAYS["test/labels"])


def test_a_file_that_is_gone_is_damage_too(full):
    next(full._folder(KEY).glob("*.npz")).unlink()
    assert full.arrays(KEY) is None
    assert "do not match their hash" in full.notes[0]


@pytest.mark.parametrize("meta", ["[]", '{"meta": {}}', "null", '"text"'])
def test_a_meta_file_that_says_something_else_is_damage(full, meta):
    (full._folder(KEY) / "meta.json").write_text(meta)
    assert full.meta(KEY) is None and not full.contains(KEY)


def test_two_workers_may_meet_the_same_damage(full):
    next(full._folder(KEY).glob("*.npz")).write_bytes(b"")
    other = Store(full.folder)
    real = other._content(KEY)
    assert full.arrays(KEY) is None
    other._content = lambda key: real  # it had read the note before the first one moved the folder
    assert other.arrays(KEY) is None
    assert len(list((full.folder / "quarantine").iterdir())) == 1


def test_a_note_cannot_lead_out_of_its_artefact(full, tmp_path):
    (tmp_path / "secret.npz").write_bytes(b"x")
    path = full._folder(KEY) / "meta.json"
    path.write_text(path.read_text().replace(next(full._folder(KEY).glob("*.npz")).name, "../../../../secret.npz"))
    assert full.arrays(KEY) is None


def test_python_objects_are_neither_written_nor_read(store):
    with pytest.raises(ValueError, match="array 'forget/names' holds Python objects"):
        store.put(KEY, arrays={"forget/names": np.array(["a", None], dtype=object)})
    assert not store.contains(KEY)
    store.put(KEY, arrays=ARRAYS)
    path = next(store._folder(KEY).glob("*.npz"))
    np.savez(path, x=np.array([{"a": 1}], dtype=object), allow_pickle=True)
    name = store._put_file(KEY, path.read_bytes(), "npz")
    write_atomic(store._folder(KEY) / "meta.json", json.dumps({"files": {"arrays": name}, "meta": {}}).encode())
    with pytest.raises(ValueError, match="allow_pickle=False"):
        store.arrays(KEY)


def test_weights_of_every_layout_and_type_come_back_equal(store):
    square = torch.arange(12.0).reshape(3, 4)
    weights = {
        "transposed": square.T,
        "strided": square[:, ::2],
        "channels_last": torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)).to(
            memory_format=torch.channels_last
        ),
        "bfloat16": square.to(torch.bfloat16),
        "whole": torch.tensor(3),
        "flags": torch.tensor([True, False]),
        "empty": torch.zeros(0, 5),
        "with_gradient": torch.ones(2, requires_grad=True),
        "tied": square,
        "tied_too": square,
        "part_of_it": square[0],
    }
    store.put(KEY, weights=weights)
    back = store.weights(KEY)
    assert back.keys() == weights.keys()
    for name, tensor in weights.items():
        assert back[name].dtype == tensor.dtype and torch.equal(back[name], tensor.detach()), name


@pytest.mark.parametrize("array", [np.arange(12).reshape(3, 4).T, np.zeros((0, 3)), np.array(7), np.array([True])])
def test_arrays_of_every_layout_come_back_equal(store, array):
    store.put(KEY, arrays={"x": array})
    back = store.arrays(KEY)["x"]
    assert back.dtype == array.dtype and np.array_equal(back, array)


# -- records -----------------------------------------------------------------------------------------------


def test_a_record_is_one_file_named_by_task_method_key_and_commit(tmp_path):
    records = Records(tmp_path)
    one = record(method="theirs[preset]")
    path = records.add(one)
    assert path == tmp_path / "records" / "toy-random" / "theirs.preset" / f"{one.key}-{'c' * 12}.json"
    assert list(records.read()) == [one]
    assert method_folder("theirs") == "theirs"


def test_what_all_seeds_say_together_has_a_folder_of_its_own(tmp_path):
    populations = PopulationRecords(tmp_path)
    one = factory.population(factory.World(), factory.Method("theirs[preset]"), {"strong": factory.pooled(0.6)})
    paths = [populations.add(one) for _ in range(2)]
    folder = tmp_path / "populations" / "toy-random" / "theirs.preset"
    assert paths == [folder / f"{one.key}-{'c' * 12}{repeat}.json" for repeat in ("", ".2")]
    assert list(populations.read()) == [one] * 2
    assert populations.keys() == {one.key}
    assert Records(tmp_path).keys() == set()
    paths[0].write_text("{}")
    with pytest.raises(BenchmarkError, match=r"^.*\.json: this is no record: "):
        list(populations.read())


def test_a_record_can_be_read_by_people(tmp_path):
    """A line for each thing that is said; lists of numbers on one, texts as they are."""
    error = "ValueError: [1,   2]\n  tensor([[1.,\n          2.]])"
    records, one = Records(tmp_path), record(error=error)
    lines = records.add(one).read_text().splitlines()
    assert list(records.read()) == [one] and one.curves
    assert ' "status": "ok",' in lines
    assert not [line for line in lines if line.strip(" ,").replace(".", "").isdigit()]


def test_adding_never_overwrites(tmp_path):
    records, one = Records(tmp_path), record()
    paths = [records.add(one) for _ in range(3)]
    assert [path.name.removeprefix(f"{one.key}-cccccccccccc") for path in paths] == [".json", ".2.json", ".3.json"]
    assert list(records.read()) == [one] * 3
    other = one.provenance.model_copy(update={"commit": "d" * 40})
    assert records.add(one.model_copy(update={"provenance": other})).name == f"{one.key}-{'d' * 12}.json"


def test_keys_are_known_from_file_names_alone(tmp_path):
    records, made = Records(tmp_path), [record(seed) for seed in range(3)]
    for one in [*made, made[0]]:
        records.add(one).write_text("not read")
    assert records.keys() == {one.key for one in made}
    assert Records(tmp_path / "absent").keys() == set()


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: text.replace('"status":"ok"', '"status":"splendid"').replace('"status": "ok"', '"status": "x"'),
        lambda text: text.replace('"paradigm"', '"hostname"'),
    ],
)
def test_a_file_that_is_no_record_is_named(tmp_path, damage):
    records = Records(tmp_path)
    path = records.add(record())
    path.write_text(damage(path.read_text()))
    with pytest.raises(BenchmarkError, match=r"^.*\.json: this is no record: ") as raised:
        list(records.read())
    assert str(path) in str(raised.value)


def test_a_folder_that_can_be_written_is_left_empty(tmp_path):
    for folder in (Records(tmp_path / "results"), PopulationRecords(tmp_path / "results"), Store(tmp_path / "store")):
        folder.check_writable()
        folder.check_writable()
    assert tiny.files(tmp_path) == {}


@pytest.mark.parametrize("kind", [Records, Store])
def test_a_folder_that_cannot_be_written_is_one_sentence_with_the_option_that_helps(tmp_path, kind):
    (tmp_path / "file").touch()
    option = {Records: "--results", Store: "--store"}[kind]
    with pytest.raises(BenchmarkError, match=rf"file.*cannot be written .*; give another one with {option}\.$"):
        kind(tmp_path / "file").check_writable()


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write everywhere")
def test_a_read_only_folder_cannot_be_written(tmp_path):
    folder = Path(tmp_path / "results")
    folder.mkdir(mode=0o500)
    with pytest.raises(BenchmarkError, match="Permission denied"):
        Records(folder).check_writable()


def test_records_of_one_run_are_read_in_the_order_in_which_they_were_left(tmp_path):
    one, records = record(), Records(tmp_path)
    errors = ["first", "second", "third"]
    for error in errors:
        records.add(one.model_copy(update={"error": error}))
    assert [found.error for found in records.read()] == errors
