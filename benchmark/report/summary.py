"""Records -> summary: which records count, what they say per task, metric and row, and how sure that is.

The replicate is the training seed. Columns follow from the metadata in the records; no metric, method, dataset
or task is known by name here. The rules are those of METRICS.md: V2 (gate), V4 (floor), V11 (failures).
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmark.errors import BenchmarkError
from benchmark.report.model import Column, Floor, Summary, TaskSummary, Validity
from benchmark.report.rows import BySeed, anchor_row, estimate, method_row, ordered, with_best
from benchmark.specs import MetricValue, Record
from benchmark.stats import attack_validity
from benchmark.store import Records


def load(results: Path) -> Summary:
    """The summary of a results folder.

    Raises:
        BenchmarkError: If it holds no records, or a file that is none.
    """
    records = list(Records(results).read())
    if not records:
        raise BenchmarkError(f"{results}: there are no records here; `run` makes some, or give another --results.")
    return summarise(records)


def summarise(records: Sequence[Record]) -> Summary:
    """The summary of some records: the newest of each (task, method, seed), of the newest definition of each task."""
    current = _current_tasks(records)
    kept = _newest(current)
    by_task: dict[str, list[Record]] = defaultdict(list)
    for record in kept:
        by_task[record.task].append(record)
    dates = sorted(_date(record) for record in kept)
    return Summary(
        tasks=[_task(name, by_task[name]) for name in sorted(by_task)],
        n_records=len(kept),
        n_stale=len(records) - len(current),
        n_superseded=len(current) - len(kept),
        commits=sorted({record.provenance.commit for record in kept}),
        first_date=dates[0].date().isoformat(),
        last_date=dates[-1].date().isoformat(),
    )


# -- which records count -------------------------------------------------------------------------------------


def _date(record: Record) -> datetime:
    date = datetime.fromisoformat(record.provenance.date)
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _current_tasks(records: Iterable[Record]) -> list[Record]:
    """The records whose task is defined as in the task's newest record."""
    by_task: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_task[record.task].append(record)
    current = []
    for group in by_task.values():
        identity = max(group, key=_date).run.task.identity()
        current += [record for record in group if record.run.task.identity() == identity]
    return current


def _newest(records: Iterable[Record]) -> list[Record]:
    """The newest record of each (task, method, seed), sorted by these."""
    found: dict[tuple[str, str, int], Record] = {}
    for record in records:
        key = (record.task, record.run.method, record.run.seed)
        if key not in found or _date(record) >= _date(found[key]):
            found[key] = record
    return [found[key] for key in sorted(found)]


# -- a task --------------------------------------------------------------------------------------------------


def _task(name: str, records: list[Record]) -> TaskSummary:
    records = sorted(records, key=_date, reverse=True)
    by_method: dict[str, BySeed] = defaultdict(dict)
    for record in records:
        by_method[record.run.method][record.run.seed] = record
    n_seeds = len({record.run.seed for record in records})
    anchors = _anchors(records)
    rows = [method_row(method, by_seed, n_seeds) for method, by_seed in by_method.items()]
    floors = _floors([by_method[row.name] for row in rows if row.kind == "oracle" and not row.failed])
    columns = {metric: _column(metric, by_seed, floors.get(metric)) for metric, by_seed in anchors.items()}
    primary = _first(columns, lambda c: c.role == "forgetting" and c.attack) or _first(
        columns, lambda c: c.role == "forgetting"
    )
    summary = TaskSummary(
        name=name,
        paradigm=records[0].paradigm,
        n_seeds=n_seeds,
        columns=columns,
        rows=[anchor_row("original", records, anchors), anchor_row("retrained", records, anchors)],
        primary=primary,
        utility=_first(columns, lambda c: c.role == "utility"),
        notes=_notes(records, anchors),
    )
    summary.rows.extend(ordered(with_best(rows, list(columns.values()), n_seeds), summary.sorted_by))
    return summary


def _first(columns: dict[str, Column], wanted: Callable[[Column], bool]) -> str | None:
    return next((name for name, column in columns.items() if column.headline and wanted(column)), None)


def _anchors(records: list[Record]) -> dict[str, dict[int, MetricValue]]:
    """Metric -> seed -> its newest value, which carries both anchors; metrics in the order of the newest record."""
    found: dict[str, dict[int, MetricValue]] = defaultdict(dict)
    for record in records:
        for name, value in record.metrics.items():
            found[name].setdefault(record.run.seed, value)
    return found


def _column(name: str, by_seed: dict[int, MetricValue], floor: Floor | None) -> Column:
    newest = next(iter(by_seed.values()))
    return Column(
        name=name,
        label=newest.label,
        goal=newest.goal,
        role=newest.role,
        attack=newest.attack,
        headline=newest.headline,
        unit=newest.unit,
        validity=_validity(list(by_seed.values())),
        floor=floor,
    )


def _validity(values: list[MetricValue]) -> Validity:
    """METRICS V2: an attack counts if its AUC beats chance on the originals; one seed cannot tell."""
    originals = [value.original for value in values]
    if not values[0].attack or min(originals) < 0 or max(originals) > 1:
        return "not_gated"
    if len(values) == 1:
        return "one_seed"
    return "valid" if attack_validity(originals)["valid"] else "inconclusive"


def _floors(oracles: list[BySeed]) -> dict[str, Floor]:
    """Metric -> how far exact retraining is from the reference; several exact methods are averaged within a seed."""
    gaps: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for by_seed in oracles:
        for seed, record in by_seed.items():
            for name, value in record.metrics.items():
                gaps[name][seed].append(value.gap)
    return {
        name: Floor(
            distance=estimate([float(np.mean(np.abs(found))) for found in by_seed.values()]),
            gap=estimate([float(np.mean(found)) for found in by_seed.values()]),
        )
        for name, by_seed in gaps.items()
    }


def _notes(records: list[Record], anchors: dict[str, dict[int, MetricValue]]) -> list[str]:
    notes = []
    costs = [(record.cost, record.provenance.hardware) for record in records if record.cost]
    machines = {(c.device, c.threads, h.get("processor"), h.get("gpu")) for c, h in costs}
    if len(machines) > 1:
        notes.append(
            f"Times were measured on {len(machines)} kinds of machine or numbers of threads; do not compare them."
        )
    seeds = sorted({r.run.seed for r in records for n, v in r.metrics.items() if _differs(v, anchors[n][r.run.seed])})
    if seeds:
        notes.append(
            f"Originals or retrained models differ between methods at seed {', '.join(map(str, seeds))}; "
            "gaps are to each run's own retrained model."
        )
    return notes


def _differs(value: MetricValue, anchor: MetricValue) -> bool:
    return (value.original, value.retrained) != (anchor.original, anchor.retrained)
