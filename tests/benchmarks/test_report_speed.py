"""Reports and comparisons built from the size of a real results folder: ten tasks, ten methods, ten seeds."""

from pathlib import Path
from typing import Any

import pytest

from benchmark.history.compare import compare
from benchmark.history.reading import as_side, read
from benchmark.report import build_report
from tests.report import factory

TASKS, METHODS, SEEDS = 10, 10, 10


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    methods = [factory.Method("exact", oracle=True, shift=0.0)]
    methods += [factory.Method(f"m{n}", shift=n / 20) for n in range(METHODS - 1)]
    worlds = [factory.World(f"toy-{n}") for n in range(TASKS)]
    records = [one for world in worlds for one in factory.suite(world, methods, range(SEEDS))]
    return factory.write(tmp_path_factory.mktemp("results"), records)


def test_a_report_without_figures(benchmark: Any, results: Path) -> None:
    built = benchmark.pedantic(build_report, args=(results, False), rounds=3, warmup_rounds=1)
    assert built.summary.n_records == TASKS * METHODS * SEEDS


def test_the_figures_of_ten_tasks(benchmark: Any, results: Path) -> None:
    built = benchmark.pedantic(build_report, args=(results,), rounds=1, warmup_rounds=1)
    assert len([path for path in built.files if path.suffix == ".png"]) >= TASKS


def test_a_comparison_of_a_thousand_runs(benchmark: Any, results: Path) -> None:
    records, _ = read(results)
    other = [one.model_copy(update={"key": one.key[::-1]}) for one in records]
    before, after = as_side("before", "before", records), as_side("after", "after", other)
    found = benchmark.pedantic(compare, args=(before, after), rounds=3, warmup_rounds=1)
    assert sum(task.pairs for task in found.tasks) == TASKS * METHODS * SEEDS and not found.regressions()
