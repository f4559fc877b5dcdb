"""Shards of a plan: together all of it, each thing once, dealt alike whenever a shard is started."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from io import StringIO
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from benchmark import cli, session
from benchmark.errors import BenchmarkError
from benchmark.parts import deal, parse_shard, split
from benchmark.plan import Known, Options, Plan, make_plan
from benchmark.store import PopulationRecords, Records
from tests import tiny

HERE = Options(Path("/store"), Path("/results"), Path("/data"))
ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def own_process(monkeypatch) -> Iterator[None]:
    with tiny.own_process(monkeypatch):
        yield


@pytest.fixture
def suite(tmp_path) -> dict[str, Any]:
    """Two tasks of three seeds, with a metric of all seeds."""
    from benchmark import registry

    registry.add_plugin(tiny.metric(tmp_path, "together", needs="seeds"))
    task = tiny.SUITE["tasks"][0]
    return {
        "seeds": 3,
        "metrics": ["accuracy", "together"],
        "methods": ["retrain", "no_op"],
        "tasks": [task, task | {"name": "tiny-other"}],
    }


def planned(suite: dict[str, Any], done: set[str] | None = None) -> Plan:
    known = done or set()
    return make_plan(tiny.suite(suite), HERE, lambda task: "files", Known(known, known))


def groups_of(work: Plan) -> set[tuple[str, int]]:
    return {(job["run"]["task"]["name"], job["run"]["seed"]) for job in work.jobs.values() if job["kind"] == "run"}


def keys_of(work: Plan, *kinds: str) -> set[str]:
    return {key for key, job in work.jobs.items() if job["kind"] in kinds}


# -- dealing -----------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.integers(1, 12))
def test_no_shard_has_more_than_one_group_more_than_another_of_a_task_or_in_all(seeds, count):
    groups = [(f"task-{task}", seed) for task, number in enumerate(seeds) for seed in range(number)]
    shard_of = deal(groups, count)
    assert (
        list(shard_of) == groups
        and deal(iter(groups), count) == shard_of
        and set(shard_of.values()) <= set(range(count))
    )
    for _, of_task in groupby(groups, key=lambda group: group[0]):
        assert _spread(Counter(shard_of[group] for group in of_task), count) <= 1
    assert _spread(Counter(shard_of.values()), count) <= 1


def _spread(held: Counter[int], count: int) -> int:
    numbers = [held[shard] for shard in range(count)]
    return max(numbers) - min(numbers)


def test_the_first_seeds_at_which_flops_are_counted_go_round_too():
    shard_of = deal([(task, seed) for task in "abcd" for seed in range(4)], 2)
    assert Counter(shard_of[task, 0] for task in "abcd") == {0: 2, 1: 2}


def test_shards_share_no_job_and_leave_none_but_what_needs_several(suite):
    whole = planned(suite)
    parts = [split(whole, index, 3) for index in range(3)]
    assert all(parts) and sum(len(part.jobs) for part in parts) == len(keys_of(whole, "train", "run"))
    assert set().union(*(part.jobs.keys() for part in parts)) == keys_of(whole, "train", "run")
    for part in parts:
        assert all(need in part.jobs for job in part.jobs.values() for need in job["needs"])
        assert part.notes[1] == "4 jobs over all seeds need runs of other shards; that command does them too."
    assert [part.shard for part in parts] == ["0/3", "1/3", "2/3"]


def test_a_shard_has_the_same_runs_whatever_others_have_finished_by_then(suite):
    whole = planned(suite)
    first, second = split(whole, 0, 2), split(whole, 1, 2)
    later = split(planned(suite, keys_of(first, "run")), 1, 2)
    assert keys_of(later, "train", "run") == keys_of(second, "train", "run")
    assert later.cached == set()
    assert split(planned(suite, keys_of(first, "run")), 0, 2).cached == keys_of(first, "run")


def test_what_all_seeds_say_is_said_by_the_shard_that_has_all_that_is_missing(suite):
    whole = planned(suite)
    first = split(whole, 0, 2)
    late = planned(suite, keys_of(first, "run"))
    assert keys_of(split(late, 1, 2), "population") == keys_of(whole, "population")
    assert keys_of(split(late, 0, 2), "run", "population") == set()
    assert split(late, 1, 2).notes == split(late, 0, 2).notes == whole.notes + first.notes[:1]


def test_what_all_seeds_say_is_said_once_if_nothing_is_missing(suite):
    left = planned(suite, keys_of(planned(suite), "run"))
    parts = [split(left, index, 3) for index in range(3)]
    assert sum(len(part.jobs) for part in parts) == len(left.jobs) == 4
    everything = planned(suite, keys_of(planned(suite), "run", "population"))
    cached = [split(everything, index, 3).cached_populations for index in range(3)]
    assert sum(map(len, cached)) == 4 and set().union(*cached) == everything.cached_populations


def test_more_shards_than_groups_are_told_so(suite):
    notes = split(planned(suite), 0, 8).notes
    assert notes[-1] == "6 pairs of task and seed are dealt, so 2 of the shards have nothing to do."


# -- typed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["2/2", "a/b", "-1/3", "0/0", "1", "1/2/3", "0.5/2", " 0/2", "0/2\n", "², /3", ""])
def test_a_wrong_shard_is_refused_with_a_sentence(text):
    with pytest.raises(BenchmarkError, match=r"(?s)^--shard .*: say which part of how many"):
        parse_shard(text)


def test_a_shard_is_counted_from_zero():
    assert [parse_shard(text) for text in ("0/1", "0/2", "1/2", "07/10")] == [(0, 1), (0, 2), (1, 2), (7, 10)]


def test_the_command_line_says_the_shard_and_refuses_a_wrong_one(tmp_path, monkeypatch, capsys):
    here = [f"--suite={tiny.suite_file(tmp_path, {'seeds': 2})}", *tiny.places(tmp_path)]

    def typed(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["benchmark", *words, *here])
        with pytest.raises(SystemExit) as left:
            cli.main()
        return int(left.value.code or 0)

    assert typed("run", "--all", "--shard=2/2") == 2
    assert capsys.readouterr().err.startswith("error: --shard 2/2: say which part of how many")
    assert not (tmp_path / "results").exists()
    assert typed("plan", "--shard=0/2", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["shard"], said["runs_to_do"], said["models_to_train"]) == ("0/2", 3, 2)
    assert typed("plan", "--shard=1/2") == 0
    assert capsys.readouterr().out.startswith("suite tiny, shard 1/2: 3 runs to do, 0 cached;")


# -- run ---------------------------------------------------------------------------------------------------


CHANGES: dict[str, Any] = {"seeds": 3, "metrics": [*tiny.SUITE["metrics"], "together"]}


def run(folder: Path, shard: str | None = None) -> session.Outcome:
    where = session.options(folder / "store", folder / "results", folder / "data", "cpu", fresh=False)
    plugin = tiny.metric(folder.parent, "together", needs="seeds")
    suite = str(tiny.suite_file(folder, CHANGES))
    work = session.plan(suite, where, None, None, None, None, [plugin], shard)
    return session.run(work, where, session.Machine("serial"), Console(file=StringIO()), quiet=True)


def said(folder: Path) -> list[tuple[str, Any]]:
    """(key, what it says) of every record, repeated ones too; keys hold the content."""
    runs = [(record.key, tiny.said(record)) for record in Records(folder / "results").read()]
    populations = PopulationRecords(folder / "results").read()
    what = {"seconds", "provenance"}
    return sorted(runs, key=str) + sorted(
        ((p.key, p.model_dump(mode="json", exclude=what)) for p in populations), key=str
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> list[tuple[str, Any]]:
    folder = tmp_path_factory.mktemp("shards") / "undisturbed"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch, tiny.own_process(patch):
        assert not run(folder).failed
    return said(folder)


def test_two_shards_one_after_the_other_leave_the_records_of_one_run(tmp_path, undisturbed):
    folder = tmp_path / "sharded"
    folder.mkdir()
    first = run(folder, "0/2")
    assert first.report is None and not (folder / "results" / "leaderboard.md").exists()
    assert (first.summary.done, len(first.plan.cached)) == (5, 0)
    second = run(folder, "1/2")
    assert (second.summary.done, len(second.plan.cached)) == (13, 0)
    assert said(folder) == undisturbed
    last = run(folder)
    assert last.summary.done == 0 and last.report is not None


def test_two_shards_at_once_leave_the_records_of_one_run(tmp_path, undisturbed):
    folder = tmp_path / "sharded"
    folder.mkdir()
    plugin, suite = tiny.metric(tmp_path, "together", needs="seeds"), tiny.suite_file(folder, CHANGES)
    words = [
        "run",
        "--all",
        f"--suite={suite}",
        f"--plugin={plugin}",
        "--executor=serial",
        "--json",
        *tiny.places(folder),
    ]
    command = [sys.executable, "-m", "benchmark", *words]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    shards = [subprocess.Popen([*command, f"--shard={i}/2"], cwd=ROOT, **pipes) for i in range(2)]
    answers = [json.loads(shard.communicate(timeout=120)[0]) for shard in shards]
    assert [answer["failed"] for answer in answers] == [[], []]
    assert not run(folder).failed
    assert said(folder) == undisturbed
