"""The leaderboard in four forms: Markdown, tidy CSV, LaTeX (booktabs) and rich tables for the terminal."""

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from rich.console import RenderableType

from benchmark.report.latex import latex
from benchmark.report.layout import Detail, Layout, Text, layout
from benchmark.report.model import Cell, Column, Estimate, Row, Summary, TaskSummary
from benchmark.report.terminal import terminal


@dataclass(frozen=True)
class Tables:
    """The leaderboard, rendered."""

    markdown: str
    csv: str
    latex: str
    terminal: list[RenderableType]


def render(summary: Summary) -> Tables:
    """Draw every task, grouped by paradigm."""
    groups = [
        (paradigm, list(tasks)) for paradigm, tasks in groupby(by_paradigm(summary), key=lambda task: task.paradigm)
    ]
    return Tables(
        markdown=_markdown(summary, groups),
        csv=_csv(tidy(summary)),
        latex=latex([layout(task, Detail(gaps=False)) for _, tasks in groups for task in tasks]),
        terminal=[item for paradigm, tasks in groups for item in terminal(paradigm, tasks)],
    )


def by_paradigm(summary: Summary) -> list[TaskSummary]:
    """Tasks in the order of reading."""
    return sorted(summary.tasks, key=lambda task: (task.paradigm, task.name))


def sources(summary: Summary) -> str:
    """Where the numbers come from, in one sentence."""
    days = summary.first_date + (f" to {summary.last_date}" if summary.last_date != summary.first_date else "")
    commits = "1 commit" if len(summary.commits) == 1 else f"{len(summary.commits)} commits"
    return f"From {summary.n_records} records of {commits}, {days}."


# -- Markdown ------------------------------------------------------------------------------------------------


def _markdown(summary: Summary, groups: list[tuple[str, list[TaskSummary]]]) -> str:
    blocks = ["# Leaderboard", f"{sources(summary)} Built from `records/` by `report`; do not edit."]
    for paradigm, tasks in groups:
        blocks.append(f"## {paradigm}")
        for table in map(layout, tasks):
            blocks += [
                f"### {table.title}",
                _markdown_table(table),
                "\n".join(f"- {line}" for line in table.legend),
            ]
    return "\n\n".join(blocks) + "\n"


def _markdown_table(table: Layout) -> str:
    rows = [
        [head.text for head in table.heads],
        ["---:" if h.align == "right" else ":---" for h in table.heads],
    ]
    rows += [
        [_markdown_text(cell, line.kind != "method" and not place) for place, cell in enumerate(line.cells)]
        for line in table.lines
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _markdown_text(cell: Text, italic: bool) -> str:
    text = cell.text
    for special in "\\|*_[]<`":
        text = text.replace(special, f"\\{special}")
    mark = "**" if cell.best else "*" if italic else ""
    return f"{mark}{text}{mark}" if text else text


# -- CSV -----------------------------------------------------------------------------------------------------


def _csv(lines: Iterable[dict[str, Any]]) -> str:
    rows = [{name: f"{v:.6g}" if isinstance(v, float) else v for name, v in line.items()} for line in lines]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def tidy(summary: Summary) -> Iterator[dict[str, Any]]:
    """One line per task, row and metric, headline or not. Values are in the unit of the records; times in seconds."""
    for task in by_paradigm(summary):
        for row in task.rows:
            for column in task.columns.values() or [None]:  # a task may have nothing but failures
                yield _tidy_line(task, row, column)


_DESCRIPTION = {
    "metric": "name",
    "label": "label",
    "role": "role",
    "goal": "goal",
    "headline": "headline",
    "validity": "validity",
}


def _tidy_line(task: TaskSummary, row: Row, column: Column | None) -> dict[str, Any]:
    cell = row.cells.get(column.name) if column else None
    floor = column.floor if column else None
    return {
        "task": task.name,
        "paradigm": task.paradigm,
        "method": row.name,
        "kind": row.kind,
        "access": "+".join(row.uses),
        "status": row.status,
        "seeds": cell.value.n_seeds if cell else row.n_seeds,
        **{
            f"seeds_{status}": row.statuses.get(status, 0)
            for status in ("failed", "diverged", "collapsed", "no_change")
        },
        **{name: getattr(column, attribute, None) for name, attribute in _DESCRIPTION.items()},
        **_ends("value", cell.value if cell else None),
        **_ends("gap", cell.gap if cell else None),
        **_ends("abs_gap", cell.distance if cell else None),
        **_ends("floor_gap", floor.gap if floor else None),
        **_ends("floor_abs_gap", floor.distance if floor else None),
        "best": _is_best(cell),
        **_ends("seconds", row.seconds),
        "speedup": row.speedup,
    }


def _is_best(cell: Cell | None) -> bool:
    return cell is not None and cell.best


def _ends(name: str, found: Estimate | None) -> dict[str, float | None]:
    values = (found.mean, found.low, found.high) if found else (None, None, None)
    return {f"{name}_{end}": value for end, value in zip(("mean", "low", "high"), values, strict=True)}
