"""Folders and URLs behave alike: a file is there whole or not at all, and what goes wrong is one sentence."""

import os
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmark import places
from benchmark.errors import BenchmarkError, PlaceError
from benchmark.places import File, Folder, Place, absolute, local_folder, place_of, write_atomic
from tests import tiny


@pytest.fixture(params=["folder", "url"])
def place(request, tmp_path) -> Place:
    """A folder, and an object store within this process."""
    return place_of(tmp_path / "place" if request.param == "folder" else f"memory://{uuid.uuid4().hex}/place")


# -- both kinds --------------------------------------------------------------------------------------------


def test_what_is_written_is_what_is_read(place):
    place.write("a/b/file", b"first")
    place.write("a/b/file", b"second")
    place.write("empty", b"")
    assert place.read("a/b/file") == b"second"
    assert list(place.read_all(["empty", "a/b/file"])) == [b"", b"second"]
    assert place.exists("a/b/file") and not place.exists("a/b") and not place.exists("a/c")


def test_files_are_listed_with_size_and_time(place):
    place.write("a/b/file", b"four")
    place.write("a/c", b"")
    place.write("ab/c", b"")
    assert sorted(place.names("a")) == ["a/b/file", "a/c"]
    assert sorted(place.names("")) == ["a/b/file", "a/c", "ab/c"]
    assert list(place.names("absent")) == list(place.files("absent")) == []
    (found,) = place.files("a/b")
    assert found == File("a/b/file", 4, found.modified)
    assert found.modified > 1.7e9


def test_of_two_who_create_a_file_the_second_is_told(place):
    assert place.create("a/file", b"first")
    assert not place.create("a/file", b"second")
    assert place.read("a/file") == b"first"
    assert list(place.names("")) == ["a/file"]


def test_what_is_moved_is_there_and_not_here(place):
    place.write("here/x", b"x")
    place.write("here/y", b"y")
    place.move("here", "deep/there")
    assert sorted(place.names("")) == ["deep/there/x", "deep/there/y"]
    assert place.read("deep/there/y") == b"y"
    with pytest.raises(FileNotFoundError):
        place.move("here", "elsewhere")


def test_what_is_removed_is_gone_and_gone_twice_is_no_error(place):
    for name in ("a/b/x", "a/b/y", "a/z"):
        place.write(name, b"")
    place.remove(["a/b/x", "a/b/y"])
    place.remove(["a/b/x"])
    assert list(place.names("")) == ["a/z"]


def test_what_is_not_there_is_said_so(place):
    with pytest.raises(FileNotFoundError):
        place.read("absent")


def test_a_place_that_can_be_written_is_left_empty(place):
    place.check_writable("store", "--store")
    place.check_writable("store", "--store")
    assert list(place.names("")) == []


# -- folders -----------------------------------------------------------------------------------------------


def test_a_file_is_written_whole_and_leaves_nothing_beside_it(tmp_path):
    write_atomic(tmp_path / "deep" / "file", b"first")
    write_atomic(tmp_path / "deep" / "file", b"second")
    assert tiny.files(tmp_path) == {"deep/file": b"second"}


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch, step):
    write_atomic(tmp_path / "file", b"first")

    def full_disk(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, full_disk)
    with pytest.raises(PlaceError, match=rf"^{tmp_path}: this cannot be written \(No space left on device\); .*\.$"):
        write_atomic(tmp_path / "file", b"second")
    assert tiny.files(tmp_path) == {"file": b"first"}


@pytest.mark.parametrize("step", ["replace", "link"])
def test_a_write_that_is_interrupted_leaves_nothing(tmp_path, monkeypatch, step):
    def interrupt(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, step, interrupt)
    place = Folder(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        place.write("a/file", b"x") if step == "replace" else place.create("a/file", b"x")
    assert tiny.files(tmp_path) == {}


def test_of_many_who_create_one_file_at_once_one_succeeds(tmp_path):
    place = Folder(tmp_path)
    for turn in range(20):
        with ThreadPoolExecutor(8) as pool:
            told = list(pool.map(lambda number, turn=turn: place.create(f"{turn}", bytes([number])), range(8)))
        assert told.count(True) == 1
        assert place.read(f"{turn}") == bytes([told.index(True)])
    assert len(tiny.files(tmp_path)) == 20


def test_a_file_is_created_also_where_there_are_no_hard_links(tmp_path, monkeypatch):
    def refuse(*_arguments):
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    place = Folder(tmp_path)
    assert place.create("file", b"first") and not place.create("file", b"second")
    assert tiny.files(tmp_path) == {"file": b"first"}


def test_leftovers_are_removed_only_if_their_process_is_dead_and_was_ours(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    ours, host = tmp_path / "a" / "b", places._HOST
    ours.mkdir(parents=True)
    left, others = f".tmp-{host}-{dead.pid}-x", [f".tmp-{host}-{os.getpid()}-x", f".tmp-00000000-{dead.pid}-x", "kept"]
    for name in (left, *others, f".tmp-{host}-none-x"):
        (ours / name).touch()
    assert Folder(tmp_path).remove_leftovers() == 1
    assert sorted(path.name for path in ours.iterdir()) == sorted([*others, f".tmp-{host}-none-x"])
    assert Folder(tmp_path / "absent").remove_leftovers() == 0


def test_temporary_files_carry_what_tells_their_owner(tmp_path, monkeypatch):
    names = []
    monkeypatch.setattr(os, "fsync", lambda _: names.extend(os.listdir(tmp_path)))
    write_atomic(tmp_path / "file", b"")
    assert [name.split("-")[:3] for name in names] == [[".tmp", places._HOST, str(os.getpid())]]


@pytest.mark.parametrize("write", ["write", "create", "remove", "move"])
def test_nothing_is_written_through_a_link_that_leads_outside(tmp_path, write):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_bytes(b"theirs")
    place = Folder(tmp_path / "inside")
    place.write("x/file", b"")
    (tmp_path / "inside" / "link").symlink_to(tmp_path / "outside")
    words = {"remove": [["link/file"]], "move": ["x", "link/moved"]}.get(write, ["link/file", b"mine"])
    with pytest.raises(BenchmarkError, match=r"inside/link/\w+: this leads out of .*inside; remove the link, nothing"):
        getattr(place, write)(*words)
    with pytest.raises(BenchmarkError, match="leads out"):
        place.write("../outside/file", b"mine")
    assert tiny.files(tmp_path / "outside") == {"file": b"theirs"}


def test_links_and_pipes_are_listed_as_what_they_are_and_not_followed(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").touch()
    place = Folder(tmp_path / "inside")
    place.write("plain", b"")
    (tmp_path / "inside" / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "inside" / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "inside" / "pipe")
    assert {file.name: file.plain for file in place.files("")} == {
        "plain": True, "link": False, "dangling": False, "pipe": False
    }  # fmt: skip
    with pytest.raises(BenchmarkError, match=r"link: this is a symbolic link; put the folder itself there\.$"):
        list(place.files("link"))


@pytest.mark.parametrize("kind", ["store", "results"])
def test_a_folder_that_cannot_be_written_is_one_sentence_with_the_option_that_helps(tmp_path, kind):
    (tmp_path / "file").touch()
    sentence = rf"^{tmp_path}/file: the {kind} cannot be written \(File exists\); give another one with --{kind}\.$"
    with pytest.raises(PlaceError, match=sentence):
        Folder(tmp_path / "file").check_writable(kind, f"--{kind}")


def test_what_cannot_be_read_is_a_sentence_too(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(BenchmarkError, match=r"folder: this is a link or no plain file; put the file itself there\.$"):
        Folder(tmp_path).read("folder")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BenchmarkError, match="no plain file"):
        Folder(tmp_path).read("pipe")
    with pytest.raises(PlaceError, match=r"this cannot be read \(File name too long\); put that right"):
        Folder(tmp_path).read("x" * 1000)


# -- URLs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("nonsense://bucket/x", r"^nonsense://bucket/x: Protocol not known: nonsense; the extra `remote` brings s3://"),
        ("memory://", r"^memory://: this URL names no folder; memory://bucket/folder is right\.$"),
        ("s3:///", r"^s3:///: this URL names no folder"),
    ],
)
def test_a_wrong_url_is_a_sentence(url, sentence):
    with pytest.raises(BenchmarkError, match=sentence):
        place_of(url)


def test_a_missing_library_is_named(monkeypatch):
    import fsspec

    def missing(*_arguments, **_options):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "url_to_fs", missing)
    with pytest.raises(BenchmarkError, match=r"^s3://b/x: Install s3fs to access S3; the extra `remote` brings s3://"):
        place_of("s3://b/x")


def test_errors_of_an_object_store_are_sentences_whatever_their_kind(monkeypatch):
    class Unreachable(Exception):
        pass

    def fail(*_arguments, **_options):
        raise Unreachable("no route to host")

    place = place_of(f"memory://{uuid.uuid4().hex}")
    for name in ("pipe_file", "cat_file", "cat", "find", "isfile", "rm"):
        monkeypatch.setattr(place._files, name, fail)
    for what in (
        lambda: place.write("x", b""),
        lambda: place.create("x", b""),
        lambda: place.read("x"),
        lambda: list(place.read_all(["x"])),
        lambda: list(place.names("x")),
        lambda: place.exists("x"),
        lambda: place.remove(["x"]),
    ):
        with pytest.raises(PlaceError, match=r"this cannot be \w+ \(Unreachable: no route to host\); put that right"):
            what()
    with pytest.raises(PlaceError, match=r"\(Unreachable: no route to host\); give another store with --store\.$"):
        place.check_writable("store", "--store")


def test_a_request_that_was_sent_twice_meets_its_own_object_and_is_told_that_it_was_written(monkeypatch):
    """As a client does that got no answer; stores also say in words of their own that something is there."""
    place = place_of(f"memory://{uuid.uuid4().hex}")
    write = place._files.pipe_file

    def lossy(path, data, **options):
        if not place._files.isfile(path):
            write(path, data)
        raise OSError(22, "PreconditionFailed")

    monkeypatch.setattr(place._files, "pipe_file", lossy)
    assert place.create("x", b"mine")
    assert not place.create("x", b"theirs")
    assert place.read("x") == b"mine"


def test_listings_are_never_remembered_for_others_write_there_too():
    assert place_of(f"memory://{uuid.uuid4().hex}")._files.storage_options == {"use_listings_cache": False}


@pytest.mark.parametrize(
    ("entry", "seconds"),
    [
        ({"LastModified": places.datetime.fromisoformat("1970-01-01T00:01:00+00:00")}, 60.0),
        ({"updated": "1970-01-01T00:01:00+00:00"}, 60.0),
        ({"mtime": 60}, 60.0),
        ({"size": 1}, None),
    ],
)
def test_each_store_tells_times_in_its_own_way(entry, seconds):
    assert places._modified(entry) == seconds


def test_a_location_is_a_path_or_a_url(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert absolute("x/../y") == absolute(Path("y")) == absolute(f"file://{tmp_path}/y") == tmp_path / "y"
    assert absolute("s3://bucket/x/") == "s3://bucket/x"
    monkeypatch.setenv("UNLEARNING_BENCHMARK_CACHE", str(tmp_path / "cache"))
    assert local_folder("y") == tmp_path / "y"
    assert local_folder("s3://bucket/x") == tmp_path / "cache" / "store"
    monkeypatch.delenv("UNLEARNING_BENCHMARK_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    assert places.cache_folder() == tmp_path / "own" / "unlearning-benchmark"
