"""Artefacts: whole or not there, checked when read, readable without running anybody's code."""

import io
import json
import multiprocessing
import os
import pickle
import uuid
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.errors import PlaceError
from benchmark.store import Store, folder_of
from tests import tiny

KEY = "ab" * 32
ARRAYS = {"forget/logits": np.arange(6, dtype=np.float32).reshape(2, 3), "test/labels": np.array([1, 2])}


@pytest.fixture(params=["folder", "url"])
def store(request, tmp_path) -> Store:
    """In a folder, and at a URL."""
    return Store(tmp_path / "store" if request.param == "folder" else f"memory://{uuid.uuid4().hex}/store")


@pytest.fixture
def full(store) -> Store:
    """With one artefact of everything."""
    store.put(KEY, arrays=ARRAYS, weights={"w": torch.arange(4.0)}, meta={"seconds": 1.5})
    return store


def files(store: Store) -> dict[str, bytes]:
    return {name: store.place.read(name) for name in sorted(store.place.names(""))}


def file(store: Store, suffix: str) -> str:
    """The file of the artefact with this suffix."""
    (name,) = (name for name in store.place.names(folder_of(KEY)) if name.endswith(suffix))
    return name


def meta(**changes: Any) -> bytes:
    return json.dumps({"files": {}, "meta": {}} | changes).encode()


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
    before = files(full)
    full.put(KEY, weights={"w": torch.zeros(4)}, meta={"seconds": 9.0})
    assert files(full) == before
    full.put(KEY, weights={"w": torch.zeros(4)}, meta={"seconds": 9.0}, replace=True)
    assert full.meta(KEY) == {"seconds": 9.0}
    assert torch.equal(full.weights(KEY)["w"], torch.zeros(4))


def test_the_same_content_has_the_same_bytes(full, tmp_path):
    other = Store(tmp_path / "other")
    backwards = dict(reversed(ARRAYS.items()))
    other.put(KEY, arrays=ARRAYS, weights={"w": torch.arange(4.0)}, meta={"seconds": 1.5})
    assert files(other) == files(full)
    other.put(KEY, arrays=backwards, replace=True)
    assert all(np.array_equal(other.arrays(KEY)[name], ARRAYS[name]) for name in ARRAYS)


def test_an_artefact_without_its_last_file_is_not_there(full):
    full.place.remove([file(full, "meta.json")])
    assert not full.contains(KEY) and full.keys() == set() and full.weights(KEY) is None
    full.put(KEY, weights={"w": torch.ones(2)})
    assert torch.equal(full.weights(KEY)["w"], torch.ones(2))


def test_a_write_that_is_interrupted_leaves_no_artefact(tmp_path, monkeypatch):
    def interrupt(*_arguments):
        raise KeyboardInterrupt

    store = Store(tmp_path)
    monkeypatch.setattr(os, "link", interrupt)  # the last step of all
    with pytest.raises(KeyboardInterrupt):
        store.put(KEY, arrays=ARRAYS)
    assert not store.contains(KEY) and store.keys() == set()
    assert not list(tmp_path.rglob(".tmp*"))


def test_a_full_disk_is_said_and_leaves_no_artefact(tmp_path, monkeypatch):
    def full_disk(*_arguments):
        raise OSError(28, "No space left on device")

    store = Store(tmp_path)
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(PlaceError, match=r"this cannot be written \(No space left on device\)"):
        store.put(KEY, arrays=ARRAYS)
    assert tiny.files(tmp_path) == {} and store.keys() == set()


# -- damage ------------------------------------------------------------------------------------------------

DAMAGE = {
    "truncated": lambda data: data[: len(data) // 2],
    "emptied": lambda data: b"",
    "first bit flipped": lambda data: bytes([data[0] ^ 1]) + data[1:],
    "a bit in the middle flipped": lambda data: (
        data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]
    ),
    "something else": lambda data: pickle.dumps("boo"),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(("suffix", "read"), [("npz", "arrays"), ("safetensors", "weights"), ("json", "meta")])
def test_a_damaged_artefact_is_put_aside_said_and_made_again(full, suffix, read, damage):
    name = file(full, suffix)
    damaged = DAMAGE[damage](full.place.read(name))
    full.place.write(name, damaged)
    reason = full.damage(KEY)
    assert full.contains(KEY), "looking moves nothing"
    assert getattr(full, read)(KEY) is None
    assert not full.contains(KEY)
    assert len(full.notes) == 1
    assert full.notes[0].startswith(f"artefact {KEY[:12]}: {reason}; moved to ") and "computed again" in full.notes[0]
    (aside,) = (name for name in full.place.names("quarantine") if name.endswith(suffix))
    assert full.place.read(aside) == damaged
    assert str(full.place.at(aside.rpartition("/")[0])) in full.notes[0]
    full.put(KEY, arrays=ARRAYS)
    assert np.array_equal(full.arrays(KEY)["test/labels"], ARRAYS["test/labels"])


def test_every_flipped_bit_of_what_was_noted_is_noticed(tmp_path):
    store = Store(tmp_path)
    store.put(KEY, meta={"measured": {"value": 0.25, "n": 7}})
    path = tmp_path / file(store, "json")
    data = path.read_bytes()
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        assert store.damage(KEY) == "meta.json is damaged" or store.meta(KEY) == {"measured": {"value": 0.25, "n": 7}}


def test_what_was_noted_before_notes_had_hashes_is_read(store):
    store.place.write(f"{folder_of(KEY)}/meta.json", meta(meta={"seconds": 1.5}))
    assert store.meta(KEY) == {"seconds": 1.5} and store.notes == []


def test_notes_hold_what_json_holds(store):
    store.put(KEY, meta={"numbers": {1: float("nan"), 10: (1, 2)}, "text": "ü"})
    found = store.meta(KEY)
    assert found["numbers"]["10"] == [1, 2] and np.isnan(found["numbers"]["1"]) and found["text"] == "ü"
    assert store.notes == []


def test_a_file_that_is_gone_is_damage_too(full):
    full.place.remove([file(full, "npz")])
    assert full.arrays(KEY) is None
    assert "do not match their hash" in full.notes[0]


@pytest.mark.parametrize(
    "content",
    [b"[]", b'{"meta": {}}', b"null", b'"text"', meta(files=[]), meta(more=1), meta(sha256="0" * 64), b"[" * 10**5],
)
def test_a_meta_file_that_says_something_else_is_damage(full, content):
    full.place.write(file(full, "meta.json"), content)
    assert full.meta(KEY) is None and not full.contains(KEY)


def test_two_workers_may_meet_the_same_damage(full):
    full.place.write(file(full, "npz"), b"")
    other = Store(full.folder) if isinstance(full.place.at(""), Path) else Store(full.place.url)
    real = other._content(KEY)
    assert full.arrays(KEY) is None
    other._content = lambda key: real  # it had read the note before the first one moved the folder
    assert other.arrays(KEY) is None
    assert len({name.split("/")[2] for name in full.place.names("quarantine")}) == 1


# -- hostile artefacts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../../../../secret.npz", "/etc/passwd", "secret.npz", f"{'0' * 64}.pkl", f"{'0' * 64}.npz\n", 7]
)
def test_a_note_cannot_lead_out_of_its_artefact(store, tmp_path, name):
    (tmp_path / "secret.npz").write_bytes(b"x")
    store.place.write(f"{folder_of(KEY)}/meta.json", meta(files={"arrays": name}))
    assert store.arrays(KEY) is None
    assert "meta.json" in store.notes[0]
    assert (tmp_path / "secret.npz").read_bytes() == b"x"


class Bomb:
    """Writes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def planted(store: Store, kind: str, data: bytes) -> None:
    """An artefact whose hashes are right and whose content is not."""
    name = store._put_file(KEY, data, {"arrays": "npz", "weights": "safetensors"}[kind])
    store.place.write(f"{folder_of(KEY)}/meta.json", meta(files={kind: name}))


def saved(*, compressed: bool = False, **arrays: Any) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)
    return buffer.getvalue()


def zipped(name: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, data)
    return buffer.getvalue()


HUGE = (
    b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999,), }".ljust(127) + b"\n"
)


def test_a_pickle_dressed_as_an_artefact_is_put_aside_and_runs_nothing(store, tmp_path):
    bomb = Bomb(tmp_path / "exploded")
    objects = np.array([bomb], dtype=object)
    dressed = {
        "arrays": [pickle.dumps(bomb), saved(x=objects), zipped("x.npy", pickle.dumps(bomb)), zipped("x.npy", HUGE)],
        "weights": [pickle.dumps(bomb), zipped("archive/data.pkl", pickle.dumps(bomb))],
    }
    for kind, contents in dressed.items():
        for data in contents:
            planted(store, kind, data)
            assert store.damage(KEY) is None, "its hashes are right"
            assert getattr(store, kind)(KEY) is None
            assert {"arrays": "no plain npz", "weights": "no safetensors"}[kind] in store.notes.pop()
    torch.save({"w": bomb}, buffer := io.BytesIO())
    planted(store, "weights", buffer.getvalue())
    assert store.weights(KEY) is None
    assert not (tmp_path / "exploded").exists()
    pickle.loads(pickle.dumps(bomb))
    assert (tmp_path / "exploded").exists(), "the bomb is one"


def test_arrays_that_would_unpack_without_end_are_not_unpacked(store):
    planted(store, "arrays", saved(compressed=True, x=np.zeros(10**6)))
    assert store.arrays(KEY) is None
    assert "no plain npz" in store.notes[0]


def test_python_objects_are_not_written(store):
    with pytest.raises(ValueError, match="array 'forget/names' holds Python objects"):
        store.put(KEY, arrays={"forget/names": np.array(["a", None], dtype=object)})
    assert not store.contains(KEY)


# -- two at once -------------------------------------------------------------------------------------------


def _put(folder: Path, number: int, barrier: Any) -> None:
    store = Store(folder)
    for turn in range(20):
        barrier.wait()
        store.put(f"{turn:064x}", arrays={"x": np.full(1000, number)}, meta={"number": number})


def test_of_three_who_put_one_artefact_at_once_one_is_kept_whole(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(3)
    workers = [context.Process(target=_put, args=(tmp_path, number, barrier)) for number in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    store = Store(tmp_path)
    for turn in range(20):
        key = f"{turn:064x}"
        assert set(store.arrays(key)["x"]) == {store.meta(key)["number"]}
    assert store.notes == [] and not list(tmp_path.rglob(".tmp*"))


# -- layouts -----------------------------------------------------------------------------------------------


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
