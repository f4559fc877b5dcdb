"""All records in one parquet file: a row for each record and metric, for whoever counts with them.

The first row of each record holds all of it as JSON, so that nothing is lost and it can be read back.
"""

import io
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Annotated, Any, Literal, get_args, get_origin

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from benchmark.errors import BenchmarkError
from benchmark.places import Location, absolute, place_of
from benchmark.records import PopulationRecords, Records, read_as
from benchmark.specs import Cost, MetricValue, PopulationRecord, PopulationValue, Record

_AT_ONCE = 1_000  # records
_TYPES = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}


def compact(results: Location, out: Location) -> int:
    """Write all records of a results folder to one file.

    Returns:
        How many records there are.

    Raises:
        BenchmarkError: If there are none, or a file is none.
    """
    records: Iterator[Record | PopulationRecord] = chain(Records(results).read(), PopulationRecords(results).read())
    count, target = 0, io.BytesIO()
    schema = _schema()
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        while some := list(islice(records, _AT_ONCE)):
            count += len(some)
            rows = [row for record in some for row in _rows(record)]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    if not count:
        raise BenchmarkError(f"{results}: there are no records here; `run` makes some, or give another --results.")
    folder, _, name = str(absolute(out)).rpartition("/")
    place_of(folder or "/").write(name, target.getvalue())
    return count


def expand(file: Location) -> tuple[list[Record], list[PopulationRecord]]:
    """The records that a file of `compact` holds, in its order.

    Raises:
        BenchmarkError: If it is no such file.
    """
    folder, _, name = str(absolute(file)).rpartition("/")
    records: list[Record] = []
    populations: list[PopulationRecord] = []
    try:
        table = pq.read_table(io.BytesIO(place_of(folder or "/").read(name)), columns=["kind", "record"])
        for row in table.filter(table["record"].is_valid()).to_pylist():
            if row["kind"] == "run":
                records.append(read_as(Record, row["record"].encode()))
            else:
                populations.append(read_as(PopulationRecord, row["record"].encode()))
    except (pa.ArrowException, FileNotFoundError, ValueError) as error:
        raise BenchmarkError(f"{file}: this is no file of compacted records: {error}.") from error
    return records, populations


def _rows(record: Record | PopulationRecord) -> Iterator[dict[str, Any]]:
    """The columns of each metric; a run that failed has one row, without any."""
    about = _about(record)
    whole: str | None = record.model_dump_json()
    metrics: Iterable[tuple[str | None, Any]] = record.metrics.items() or [(None, None)]
    for metric, value in metrics:
        yield about | {"metric": metric, **(vars(value) if value is not None else {}), "record": whole}
        whole = None


def _about(record: Record | PopulationRecord) -> dict[str, Any]:
    origin = record.provenance
    common = {
        "key": record.key,
        "suite": record.suite,
        "oracle": record.oracle,
        "status": record.status,
        "error": record.error,
        "commit": origin.commit,
        "dirty": origin.dirty,
        "date": origin.date,
        "torch": origin.versions.get("torch"),
        "processor": origin.hardware.get("processor"),
        "gpu": origin.hardware.get("gpu"),
    }
    if isinstance(record, PopulationRecord):
        own = {"kind": "population", "task": record.task.name, "method": record.method, "seeds": len(record.seeds)}
        return common | own | {"paradigm": record.task.paradigm}
    own = {"kind": "run", "task": record.task, "method": record.run.method, "seed": record.run.seed, "seeds": 1}
    cost = {f"cost_{name}": value for name, value in vars(record.cost).items()} if record.cost else {}
    return common | own | {"paradigm": record.paradigm, "placebo": record.run.placebo} | cost


def _schema() -> pa.Schema:
    text = ("kind", "task", "paradigm", "method")
    first = {name: pa.string() for name in text} | {"seed": pa.int64(), "seeds": pa.int64(), "placebo": pa.bool_()}
    origin = ("key", "suite", "status", "error", "commit", "date", "torch", "processor", "gpu")
    last = {name: pa.string() for name in origin} | {"oracle": pa.bool_(), "dirty": pa.bool_()}
    numbers = {"metric": pa.string(), **_columns(MetricValue), **_columns(PopulationValue)}
    return pa.schema(list((first | numbers | _columns(Cost, "cost_") | last | {"record": pa.string()}).items()))


def _columns(spec: type[BaseModel], prefix: str = "") -> dict[str, pa.DataType]:
    """The fields of a model that fit into a column."""
    found = {f"{prefix}{name}": _type(field.annotation) for name, field in spec.model_fields.items()}
    return {name: kind for name, kind in found.items() if kind is not None}


def _type(annotation: Any) -> pa.DataType | None:
    """`float | None` -> float64; None for lists and dictionaries."""
    if get_origin(annotation) in (list, dict):
        return None
    options = [option.__origin__ if get_origin(option) is Annotated else option for option in get_args(annotation)]
    options.append(annotation)
    if any(get_origin(option) is Literal for option in options):
        return pa.string()
    return next((kind for python, kind in _TYPES.items() if python in options), None)
