"""A table as a grid of short texts, the same for terminal, Markdown and LaTeX: these differ in how they mark it."""

from dataclasses import dataclass
from typing import Literal

from benchmark.report import words
from benchmark.report.legend import legend
from benchmark.report.model import Cell, Column, Kind, Row, TaskSummary

Align = Literal["left", "right"]


@dataclass(frozen=True)
class Detail:
    """What a table has room for. The columns that rank keep interval and gap, the utility its interval."""

    intervals: bool = True
    gaps: bool = True
    access: bool = True
    metrics: bool = True
    cost: bool = True

    def left_out(self) -> str:
        """What it does without, in words."""
        words_of = {
            "other metrics": self.metrics,
            "most gaps": self.gaps or not self.metrics,
            "most intervals": self.intervals or not self.metrics,
            "access": self.access,
            "times": self.cost,
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
    """What stands in a cell; best is set in bold, grey does not count."""

    text: str
    best: bool = False
    grey: bool = False


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
    """The grid of a task; ranks stand there only if it is admitted, remarks only if there are any.

    Args:
        task: What to draw.
        detail: What there is room for.
    """
    grid = [(row, _line(row, task, detail)) for row in task.rows]
    heads = [head for head, _ in grid[0][1]]
    lines = [Line(row.kind, row.failed, [text for _, text in line]) for row, line in grid]
    return Layout(f"{task.name} ({task.paradigm}, {words.seeds(task.n_seeds)})", heads, lines, legend(task))


def _line(row: Row, task: TaskSummary, detail: Detail) -> list[tuple[Head, Text]]:
    """A row's cells, each with the heading of its column."""
    line = [(Head("method", "left"), Text(words.row_name(row)))]
    if detail.access:
        line.append((Head("access", "left"), Text("" if row.is_anchor else words.access(row))))
    if task.sorted_by is not None:
        line.append((Head("rank"), Text("" if row.kind != "method" else words.rank(row.verdict.rank))))
        line.append((Head("S\u00a0↑"), _score(row, detail)))
    for column in _columns(task, detail):
        line.append((Head(words.heading(column)), _value(row, column, task, detail)))
        if _has_gap(column, task, detail):
            line.append((Head("gap"), _gap(row, column)))
    if task.specificity and detail.metrics:
        line.append((Head("specificity\u00a0↑"), _specificity(row, detail)))
    if detail.cost:
        line.append((Head("time (s)"), Text(words.seconds(row.seconds.mean) if row.seconds else words.NOTHING)))
        line.append((Head("speed-up"), Text(_speedup(row))))
    if any(row.remarks for row in task.rows):
        line.append((Head("remarks", "left"), Text("; ".join(row.remarks))))
    return line


def _columns(task: TaskSummary, detail: Detail) -> list[Column]:
    if detail.metrics:
        return task.headlines
    least = [column for column in task.headlines if column.name in (task.distance or task.primary, task.utility)]
    return least or task.headlines[:1]


def _is_core(column: Column, task: TaskSummary) -> bool:
    return column.name in (task.distance, task.primary, task.utility)


def _has_gap(column: Column, task: TaskSummary, detail: Detail) -> bool:
    return column.goal == "match_retrained" and (detail.gaps or column.name == task.primary)


def _value(row: Row, column: Column, task: TaskSummary, detail: Detail) -> Text:
    """Anchors keep their numbers where an attack is inconclusive: they are the evidence."""
    cell = row.cells.get(column.name)
    if row.kind == "oracle" and column.is_distance and cell is not None:
        return Text(words.band(column))
    if cell is None:
        return Text(words.NOTHING if row.failed else "" if row.is_anchor else words.MISSING)
    if not column.conclusive and not row.is_anchor:
        return Text("inconclusive", grey=True)
    marks = words.WITHIN if cell.in_band and column.is_distance else ""
    marks += words.OPTIMISED * cell.optimised + words.NOTED * (cell.note is not None)
    grey = _is_grey(cell)
    best = cell.best and column.goal != "match_retrained"
    if not detail.intervals and not _is_core(column, task):
        return Text(words.number(cell.value.mean, column.unit) + marks, best, grey)
    return Text(words.estimate(cell.value, column.unit, lone=task.n_seeds > 1) + marks, best, grey)


def _gap(row: Row, column: Column) -> Text:
    """Its size; in the rows of exact methods the oracle floor."""
    cell = row.cells.get(column.name)
    if row.failed:
        return Text("worst")
    if row.kind == "retrained" or cell is None or (not column.conclusive and not row.is_anchor):
        return Text("")
    if row.kind == "oracle":
        return Text(words.band(column))
    text = words.number(cell.distance.mean, column.unit) + words.WITHIN * cell.in_band
    return Text(text, cell.best, _is_grey(cell))


def _is_grey(cell: Cell) -> bool:
    return cell.optimised or cell.note is not None


def _score(row: Row, detail: Detail) -> Text:
    """In brackets where it ranks nobody."""
    text = words.share(row.verdict.score, detail.cost)
    aside = row.kind == "method" and not row.verdict.ranked and not row.failed and row.verdict.score is not None
    return Text(f"({text})", grey=True) if aside else Text(text)


def _specificity(row: Row, detail: Detail) -> Text:
    if row.kind != "method":
        return Text("")
    return Text(words.share(row.verdict.specificity, detail.intervals))


def _speedup(row: Row) -> str:
    if row.speedup is None:
        return "" if row.is_anchor else words.NOTHING
    return words.speedup(row.speedup)
