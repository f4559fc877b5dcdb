"""The leaderboard as tidy CSV: one line per task, row and metric, headline or not, with all that a table leaves out."""

import csv
import io
from collections.abc import Iterator
from typing import Any

from benchmark.report.model import Column, Estimate, Row, TaskSummary
from benchmark.report.validity import worst_distance
from benchmark.specs import Status

_DESCRIPTION = ("label", "role", "goal", "unit", "tier", "signal", "headline", "validity", "n")
_STATUSES: tuple[Status, ...] = ("failed", "diverged", "collapsed", "no_change")


def tidy_csv(tasks: list[TaskSummary]) -> str:
    """Numbers with six significant digits."""
    rows = [{name: _short(value) for name, value in line.items()} for line in tidy(tasks)]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def tidy(tasks: list[TaskSummary]) -> Iterator[dict[str, Any]]:
    """Values are in the unit of the records; times in seconds, memory in bytes, work in floating-point operations."""
    for task in tasks:
        for row in task.rows:
            for column in task.columns.values() or [None]:  # a task may have nothing but failures
                yield _about(task, row) | _number(task, row, column) | _verdict(row) | _cost(row)


def _about(task: TaskSummary, row: Row) -> dict[str, Any]:
    return {
        "task": task.name,
        "suite": task.suite,
        "paradigm": task.paradigm,
        "admitted": task.demonstration is None,
        "distance": task.distance,
        "method": row.name,
        "kind": row.kind,
        "access": "+".join(row.uses),
        "optimises": "+".join(row.optimises),
        "status": row.status,
        "remarks": "; ".join(row.remarks),
    }


def _number(task: TaskSummary, row: Row, column: Column | None) -> dict[str, Any]:
    cell = row.cells.get(column.name) if column else None
    floor = column.floor if column else None
    worst = worst_distance(column, task) if column and row.failed else None
    return {
        "seeds": cell.value.n_seeds if cell else row.n_seeds,
        **{f"seeds_{status}": row.statuses.get(status, 0) for status in _STATUSES},
        "metric": column.name if column else None,
        **{name: getattr(column, name, None) for name in _DESCRIPTION},
        **_ends("value", cell.value if cell else None),
        **_ends("gap", cell.gap if cell else None),
        **_ends("abs_gap", cell.distance if cell else None if worst is None else Estimate(worst, None, None, 0)),
        **{f"{kind}_mean": _anchor(task, kind, column) for kind in ("original", "retrained")},
        **_ends("floor_gap", floor.gap if floor else None),
        **_ends("floor_abs_gap", floor.distance if floor else None),
        "floor_abs_gap_p95": floor.p95 if floor else None,
        "in_band": cell.in_band if cell else None,
        "optimised": cell.optimised if cell else None,
        "note": cell.note if cell else None,
        "best": cell.best if cell else False,
    }


def _anchor(task: TaskSummary, kind: str, column: Column | None) -> float | None:
    cell = task.row(kind).cells.get(column.name) if column else None
    return cell.value.mean if cell else None


def _verdict(row: Row) -> dict[str, Any]:
    verdict, lead = row.verdict, row.verdict.lead
    best, worst = verdict.rank or (None, None)
    return {
        "ranked": verdict.ranked,
        "rank_best": best,
        "rank_worst": worst,
        **_ends("score", verdict.score),
        **_ends("specificity", verdict.specificity),
        "best_other": lead.other if lead else None,
        **_ends("distance_beyond_best_other", lead.difference if lead else None),
        "p_holm_best_other": lead.p_value if lead else None,
    }


def _cost(row: Row) -> dict[str, Any]:
    return {
        **_ends("seconds", row.seconds),
        "speedup": row.speedup,
        "peak_memory_bytes": row.peak_memory,
        "flops": row.flops,
    }


def _ends(name: str, found: Estimate | None) -> dict[str, float | None]:
    values = (found.mean, found.low, found.high) if found else (None, None, None)
    return {f"{name}_{end}": value for end, value in zip(("mean", "low", "high"), values, strict=True)}


def _short(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
