"""Rich tables that fit the terminal: where room is short they leave out intervals, then gaps, and say so."""

from collections.abc import Iterator
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from benchmark.report.layout import Detail, Layout, layout
from benchmark.report.model import TaskSummary

_STYLES = {"original": "dim", "retrained": "cyan", "oracle": "cyan", "method": ""}
_LEFT_OUT: dict[Detail, str] = {
    "full": "",
    "means": "For want of room most intervals are left out; leaderboard.md has them.",
    "bare": "For want of room most intervals and gaps are left out; leaderboard.md has them.",
}
_REMARKS_WIDTH = 12
_GAP = 2


def terminal(paradigm: str, tasks: list[TaskSummary]) -> Iterator[RenderableType]:
    """A rule with the paradigm's name, then its tasks."""
    yield Rule(Text(paradigm, style="bold"))
    for task in tasks:
        yield FittingTable(task)


@dataclass(frozen=True)
class FittingTable:
    """A task's table and legend, with as much detail as the console is wide."""

    task: TaskSummary

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Choose the detail, then draw."""
        detail = self._detail(options.max_width)
        table = layout(self.task, detail)
        legend = [*table.legend, *([_LEFT_OUT[detail]] if _LEFT_OUT[detail] else [])]
        yield _table(table)
        yield Padding(Text("\n".join(legend), style="dim"), (0, 1, 1, 1))

    def _detail(self, width: int) -> Detail:
        details: list[Detail] = ["full", "means"]
        return next((d for d in details if sum(_widths(layout(self.task, d))) <= width), "bare")


def _widths(table: Layout) -> list[int]:
    """The least width of each column: no number, name or word of a heading is broken; remarks may wrap."""
    columns = zip(*(line.cells for line in table.lines), strict=True)
    widths = []
    for head, cells in zip(table.heads, columns, strict=True):
        longest = max(cell_len(cell.text) for cell in cells)
        longest = min(longest, _REMARKS_WIDTH) if head.text == "remarks" else longest
        widths.append(max(longest, *(cell_len(word) for word in head.text.split(" "))) + _GAP)
    return widths


def _table(table: Layout) -> Table:
    title = Text(table.title, style="bold")
    drawn = Table(title=title, title_justify="left", header_style="bold", box=SIMPLE_HEAD, padding=(0, _GAP - 1, 0, 0))
    for head, width in zip(table.heads, _widths(table), strict=True):
        drawn.add_column(
            Text(head.text), justify=head.align, vertical="top", min_width=width - _GAP, overflow="fold"
        )
    for place, line in enumerate(table.lines):
        last_above = line.kind != "method" and [follow.kind for follow in table.lines[place + 1 : place + 2]] == ["method"]
        cells = [Text(cell.text, style="bold green" if cell.best else "") for cell in line.cells]
        drawn.add_row(*cells, style="red" if line.failed else _STYLES[line.kind], end_section=last_above)
    return drawn
