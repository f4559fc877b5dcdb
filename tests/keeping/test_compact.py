"""One file of all records: nothing is lost, and a row is what a person would ask for."""

import uuid
from pathlib import Path

import pandas as pd
import pytest

from benchmark.errors import BenchmarkError
from benchmark.keeping.compact import compact, expand
from benchmark.places import Location, place_of
from benchmark.records import PopulationRecords, Records
from benchmark.specs import Cost, Meaning, MetricValue, PopulationRecord, Record
from tests.report import factory

RESULTS = Path(__file__).parents[2] / "results"


def some(results: Path) -> Path:
    """A committed record and population of every task and method, as files."""
    for shelf in ("records", "populations"):
        for folder in sorted((RESULTS / shelf).glob("*/*")):
            path = min(folder.glob("*.json"))
            target = results / path.relative_to(RESULTS)
            target.parent.mkdir(parents=True)
            target.write_bytes(path.read_bytes())
    return results


def read(results: Location) -> tuple[list[Record], list[PopulationRecord]]:
    return list(Records(results).read()), list(PopulationRecords(results).read())


def test_what_is_read_back_are_the_same_records(tmp_path):
    results = some(tmp_path)
    records, populations = read(results)
    assert len(records) > 90 and len(populations) > 50
    assert compact(results, tmp_path / "all.parquet") == len(records) + len(populations)
    assert expand(tmp_path / "all.parquet") == (records, populations)
    files = sum(path.stat().st_size for path in results.rglob("*.json"))
    assert (tmp_path / "all.parquet").stat().st_size < files / 4


def test_a_row_is_a_metric_of_a_record_with_its_anchors_its_cost_and_its_origin(tmp_path):
    world = factory.World()
    one = factory.record(world, factory.Method("theirs[preset]"), 3)
    lost = factory.record(world, factory.Method("lost", status="failed"), 0)
    pooled = factory.population(world, factory.Method("theirs"), {"strong": factory.pooled(0.6)})
    factory.write(tmp_path, [one, lost], [pooled])
    compact(tmp_path, tmp_path / "all.parquet")
    table = pd.read_parquet(tmp_path / "all.parquet")
    rows = table[table.key == one.key]
    assert list(rows.metric) == list(one.metrics)
    assert set(rows.method) == {"theirs[preset]"} and set(rows.seed) == {3} and set(rows.task) == {"toy-random"}
    for row in rows.itertuples():
        metric = one.metrics[row.metric]
        assert (row.value, row.original, row.retrained, row.n) == (
            metric.value, metric.original, metric.retrained, metric.n
        )  # fmt: skip
        assert (row.goal, row.unit, row.tier) == (metric.goal, metric.unit, metric.tier)
        assert row.cost_unlearn_seconds == one.cost.unlearn_seconds and row.commit == "c" * 40
    assert rows.record.notna().tolist() == [True] + [False] * (len(rows) - 1)
    (failed,) = table[table.key == lost.key].itertuples()
    assert failed.status == "failed" and pd.isna(failed.metric) and failed.error == lost.error
    (population,) = table[table.kind == "population"].itertuples()
    assert (population.metric, population.value, population.seeds) == ("strong", 0.6, 5)


def test_every_plain_field_of_a_number_and_of_the_cost_has_a_column(tmp_path):
    compact(factory.write(tmp_path, [factory.record(factory.World(), factory.Method("m"), 0)]), tmp_path / "x.parquet")
    columns = set(pd.read_parquet(tmp_path / "x.parquet").columns)
    assert columns >= Meaning.model_fields.keys() | MetricValue.model_fields.keys()
    plain = [name for name, field in Cost.model_fields.items() if "dict" not in str(field.annotation)]
    assert len(plain) > 12 and columns >= {f"cost_{name}" for name in plain}


def test_it_works_at_urls_and_for_more_records_than_are_held_at_once(monkeypatch):
    monkeypatch.setattr("benchmark.keeping.compact._AT_ONCE", 2)
    results = f"memory://{uuid.uuid4().hex}/results"
    made = [factory.record(factory.World(), factory.Method("m"), seed) for seed in range(5)]
    for one in made:
        Records(results).add(one)
    assert compact(results, f"{results}/records.parquet") == 5
    records, populations = expand(f"{results}/records.parquet")
    assert sorted(records, key=lambda one: one.run.seed) == made and populations == []


def test_no_records_are_a_sentence_and_leave_no_file(tmp_path):
    with pytest.raises(BenchmarkError, match=r"there are no records here; `run` makes some"):
        compact(tmp_path, tmp_path / "all.parquet")
    assert list(place_of(tmp_path).names("")) == []


@pytest.mark.parametrize("content", [None, b"", b"PAR1 and nothing else PAR1"])
def test_what_is_no_such_file_is_a_sentence(tmp_path, content):
    if content is not None:
        (tmp_path / "all.parquet").write_bytes(content)
    with pytest.raises(BenchmarkError, match=r"all\.parquet: this is no file of compacted records: "):
        expand(tmp_path / "all.parquet")


def test_records_in_it_are_checked_like_any_other(tmp_path):
    compact(factory.write(tmp_path, [factory.record(factory.World(), factory.Method("m"), 0)]), tmp_path / "x.parquet")
    table = pd.read_parquet(tmp_path / "x.parquet")
    table.record = table.record.str.replace('"method":"m"', '"method":"../m"')
    table.to_parquet(tmp_path / "x.parquet")
    with pytest.raises(BenchmarkError, match=r"x\.parquet: this is no file of compacted records: run\.method"):
        expand(tmp_path / "x.parquet")
