"""Runs planned and records read per second: what a command costs before anything runs and after everything has."""

from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmark import registry
from benchmark.plan import Known, Options, Plan, make_plan
from benchmark.specs import Suite, canonical_hash
from benchmark.store import Records
from tests import tiny
from tests.report import factory

RUNS = 10_000
TASKS, SEEDS = 50, 20
OPTIONS = Options(Path("store"), Path("results"), Path("data"))


@pytest.fixture(scope="module")
def suite() -> Suite:
    """50 tasks x 20 seeds x 10 methods, presets among them."""
    tasks = [tiny.SUITE["tasks"][0] | {"name": f"task-{number}"} for number in range(TASKS)]
    return tiny.suite({"seeds": SEEDS, "methods": registry.names("method")[: RUNS // TASKS // SEEDS], "tasks": tasks})


def test_planning_ten_thousand_runs(benchmark: Any, suite: Suite) -> None:
    work: Plan = benchmark.pedantic(
        make_plan, args=(suite, OPTIONS, lambda task: "files", Known()), rounds=5, warmup_rounds=1
    )
    assert work.runs + TASKS * SEEDS * len({method for _, method, _ in work.not_applicable}) == RUNS
    report(benchmark, "runs planned", "runs_per_second", work.runs)


def test_planning_ten_thousand_runs_that_are_all_cached(benchmark: Any, suite: Suite) -> None:
    known = set(make_plan(suite, OPTIONS, lambda task: "files", Known()).jobs)
    work: Plan = benchmark.pedantic(
        make_plan, args=(suite, OPTIONS, lambda task: "files", Known(known, known)), rounds=5, warmup_rounds=1
    )
    assert not work.jobs
    report(benchmark, "cached runs planned", "runs_per_second", len(work.cached))


def test_planning_a_hundred_thousand_runs(benchmark: Any, suite: Suite) -> None:
    """What a full leaderboard asks for; the size of the process afterwards stands beside the time."""
    large = suite.model_copy(update={"seeds": 12 * SEEDS})  # some methods do not apply
    work: Plan = benchmark.pedantic(make_plan, args=(large, OPTIONS, lambda task: "files", Known()), rounds=1)
    assert work.runs >= 100_000
    benchmark.extra_info["resident_gigabytes"] = psutil.Process().memory_info().rss / 1e9
    report(benchmark, "runs planned", "runs_per_second", work.runs)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """10,000 copies of one record, as full as real ones, each with a key of its own."""
    folder: Path = tmp_path_factory.mktemp("results")
    one = factory.record(factory.World(), factory.Method("theirs"), 0)
    path = Records(folder).add(one)
    text = path.read_text()
    for number in range(1, RUNS):
        key = canonical_hash(number)
        (path.parent / path.name.replace(one.key, key)).write_text(text.replace(one.key, key))
    return folder


def test_reading_ten_thousand_records(benchmark: Any, results: Path) -> None:
    read = benchmark.pedantic(lambda: sum(1 for _ in Records(results).read()), rounds=3, warmup_rounds=1)
    assert read == RUNS
    report(benchmark, "records read", "records_per_second", read)


def test_knowing_ten_thousand_records_by_name(benchmark: Any, results: Path) -> None:
    known = benchmark.pedantic(lambda: Records(results).keys(), rounds=3, warmup_rounds=1)
    assert len(known) == RUNS
    report(benchmark, "records known", "records_per_second", len(known))


def report(benchmark: Any, what: str, key: str, count: int) -> None:
    """How many a second, from the median of the rounds."""
    if benchmark.disabled:
        pytest.skip("speeds need --benchmark-enable")
    speed = count / benchmark.stats.stats.median
    benchmark.extra_info[key] = round(speed)
    print(f"\n{what}: {speed:,.0f} per second")
