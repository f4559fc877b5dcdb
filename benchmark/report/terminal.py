"""Rich tables that fit the terminal: where room is short they leave out the less important, and say so."""

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
_DETAILS = [
    Detail(),
    Detail(intervals=False),
    Detail(intervals=False, gaps=False),
    Detail(intervals=False, gaps=False, access=False),
    Detail(gaps=False, metrics=False),
    Detail(gaps=False, metrics=False, access=False),
]
_GAP = 2
_LEAST_REMARKS, _LEAST_NAME = 12, 12


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
        missing = detail.left_out()
        legend = [*table.legend, *([f"For want of room without {missing}; leaderboard.md has all."] if missing else [])]
        yield _table(table, options.max_width)
        yield Padding(Text("\n".join(legend), style="dim"), (0, 1, 1, 0))

    def _detail(self, width: int) -> Detail:
        return next((d for d in _DETAILS if _total(_least_widths(layout(self.task, d))) <= width), _DETAILS[-1])


def _least_widths(table: Layout) -> list[int]:
    """The least width of each column: no number, name or word of a heading is broken; remarks may wrap."""
    columns = zip(*(line.cells for line in table.lines), strict=True)
    widths = []
    for head, cells in zip(table.heads, columns, strict=True):
        longest = max(cell_len(cell.text) for cell in cells)
        longest = min(longest, _LEAST_REMARKS) if head.text == "remarks" else longest
        widths.append(max(longest, *(cell_len(word) for word in head.text.split(" "))))
    return widths


def _total(widths: list[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _widths(table: Layout, room: int) -> list[int]:
    """Least widths; what is left goes to the remarks, what is missing is taken from the names."""
    widths = _least_widths(table)
    spare = room - _total(widths)
    if spare < 0:
        widths[0] = max(_LEAST_NAME, widths[0] + spare)
    elif table.heads[-1].text == "remarks":
        widths[-1] = min(widths[-1] + spare, max(widths[-1], *(cell_len(line.cells[-1].text) for line in table.lines)))
    return widths


def _table(table: Layout, room: int) -> Table:
    drawn = Table(
        title=Text(table.title, style="bold"),
        title_justify="left",
        header_style="bold",
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, _GAP - 1, 0, 0),
    )
    for head, width in zip(table.heads, _widths(table, room), strict=True):
        drawn.add_column(Text(head.text), justify=head.align, width=width, overflow="fold")
    kinds = [line.kind for line in table.lines]
    for line, following in zip(table.lines, [*kinds[1:], None], strict=True):
        cells = [Text(cell.text, style="bold green" if cell.best else "") for cell in line.cells]
        style = "red" if line.failed else _STYLES[line.kind]
        drawn.add_row(*cells, style=style, end_section=line.kind != "method" and following == "method")
    return drawn
