"""A task as a grid of short texts, the same for terminal, Markdown and LaTeX; these differ only in how they mark it."""

from dataclasses import dataclass
from typing import Literal

from benchmark.report import words
from benchmark.report.legend import legend
from benchmark.report.model import Column, Kind, Row, TaskSummary

Align = Literal["left", "right"]


@dataclass(frozen=True)
class Detail:
    """What a table has room for. The primary metric always keeps its interval and gap, the utility its interval."""

    intervals: bool = True
    gaps: bool = True
    access: bool = True
    metrics: bool = True

    def left_out(self) -> str:
        """What it does without, in words."""
        words_of = {
            "other metrics": self.metrics,
            "most gaps": self.gaps or not self.metrics,
            "most intervals": self.intervals or not self.metrics,
            "access": self.access,
        }
        return ", ".join(text for text, shown in words_of.items() if not shown)


FULL = Detail()


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


def layout(task: TaskSummary, detail: Detail = FULL) -> Layout:
    """The grid of a task; remarks are a column only if there are any.

    Args:
        task: What to draw.
        detail: What there is room for.
    """
    remarks = any(row.remarks for row in task.rows)
    heads = [Head("method", "left"), *([Head("access", "left")] if detail.access else [])]
    for column in _columns(task, detail):
        heads += [Head(words.heading(column)), *([Head("gap")] if _has_gap(column, task, detail) else [])]
    heads += [Head("time (s)"), Head("speed-up"), *([Head("remarks", "left")] if remarks else [])]
    lines = [Line(row.kind, row.failed, _cells(row, task, remarks, detail)) for row in task.rows]
    return Layout(f"{task.name} ({task.paradigm}, {words.seeds(task.n_seeds)})", heads, lines, legend(task))


def _columns(task: TaskSummary, detail: Detail) -> list[Column]:
    core = [column for column in task.headlines if _is_core(column, task)]
    return task.headlines if detail.metrics else core or task.headlines[:1]


def _is_core(column: Column, task: TaskSummary) -> bool:
    return column.name in (task.primary, task.utility)


def _has_gap(column: Column, task: TaskSummary, detail: Detail) -> bool:
    return column.goal == "match_retrained" and (detail.gaps or column.name == task.primary)


def _cells(row: Row, task: TaskSummary, remarks: bool, detail: Detail) -> list[Text]:
    cells = [Text(words.row_name(row))]
    if detail.access:
        cells.append(Text("" if row.is_anchor else words.access(row)))
    for column in _columns(task, detail):
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
    if not detail.intervals and not _is_core(column, task):
        return Text(words.number(cell.value.mean, column.unit), cell.best)
    return Text(words.estimate(cell.value, column.unit, lone=task.n_seeds > 1), cell.best)


def _gap(row: Row, column: Column) -> str:
    cell = row.cells.get(column.name)
    if row.kind == "retrained" or (cell and not column.conclusive and not row.is_anchor):
        return ""
    return words.number(cell.distance.mean, column.unit) if cell else words.NOTHING
