"""A task as a grid of short texts, the same for terminal, Markdown and LaTeX; those only differ in how they mark them."""

from dataclasses import dataclass
from typing import Literal

from benchmark.report import words
from benchmark.report.legend import legend
from benchmark.report.model import Column, Kind, Row, TaskSummary

Align = Literal["left", "right"]
Detail = Literal["full", "means", "bare"]


@dataclass(frozen=True)
class Head:
    """A column's heading."""

    text: str
    align: Align = "right"


@dataclass(frozen=True)
class Text:
    """What stands in a cell; best is set in bold."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class Line:
    """A row of the grid."""

    kind: Kind
    failed: bool
    cells: list[Text]


@dataclass(frozen=True)
class Layout:
    """A table to be drawn."""

    title: str
    heads: list[Head]
    lines: list[Line]
    legend: list[str]


def layout(task: TaskSummary, detail: Detail = "full") -> Layout:
    """The grid of a task; remarks are a column only if there are any.

    Args:
        task: What to draw.
        detail: Where room is short, `means` leaves out intervals and `bare` also gaps and access, both but for the
            primary metric.
    """
    remarks = any(row.remarks for row in task.rows)
    heads = [Head("method", "left"), *([Head("access", "left")] if detail != "bare" else [])]
    for column in task.headlines:
        heads += [Head(words.heading(column)), *([Head("gap")] if _has_gap(column, task, detail) else [])]
    heads += [Head("time (s)"), Head("speed-up"), *([Head("remarks", "left")] if remarks else [])]
    lines = [Line(row.kind, row.failed, _cells(row, task, remarks, detail)) for row in task.rows]
    return Layout(f"{task.name} ({task.paradigm}, {words.seeds(task.n_seeds)})", heads, lines, legend(task))


def _has_gap(column: Column, task: TaskSummary, detail: Detail) -> bool:
    return column.goal == "match_retrained" and (detail != "bare" or column.name == task.primary)


def _cells(row: Row, task: TaskSummary, remarks: bool, detail: Detail) -> list[Text]:
    cells = [Text(words.row_name(row))]
    if detail != "bare":
        cells.append(Text("" if row.is_anchor else words.access(row)))
    for column in task.headlines:
        value, gap = _value(row, column, task, detail), Text("")
        if _has_gap(column, task, detail):
            value, gap = Text(value.text), Text(_gap(row, column), value.best)
        cells += [value, gap] if _has_gap(column, task, detail) else [value]
    cells.append(Text(words.seconds(row.seconds.mean) if row.seconds else words.NOTHING))
    cells.append(Text(words.speedup(row.speedup) if row.speedup else "" if row.is_anchor else words.NOTHING))
    return [*cells, *([Text("; ".join(row.remarks))] if remarks else [])]


def _value(row: Row, column: Column, task: TaskSummary, detail: Detail) -> Text:
    """Anchors keep their numbers where an attack is inconclusive: they are the evidence."""
    cell = row.cells.get(column.name)
    if cell is None:
        return Text(words.NOTHING)
    if not column.conclusive and not row.is_anchor:
        return Text("inconclusive")
    if detail != "full" and column.name != task.primary:
        return Text(words.number(cell.value.mean, column.unit), cell.best)
    return Text(words.estimate(cell.value, column.unit, lone=task.n_seeds > 1), cell.best)


def _gap(row: Row, column: Column) -> str:
    cell = row.cells.get(column.name)
    if row.kind == "retrained" or (cell and not column.conclusive and not row.is_anchor):
        return ""
    return words.number(cell.distance.mean, column.unit) if cell else words.NOTHING
