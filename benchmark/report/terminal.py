"""Rich tables that fit the terminal: where room is short they leave out the less important, and say so."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from benchmark.report.across import Across
from benchmark.report.layout import Detail, Layout, layout
from benchmark.report.model import TaskSummary
from benchmark.report.standings import standings

_STYLES = {"original": "dim", "retrained": "cyan", "oracle": "cyan", "method": ""}
_DETAILS = [
    Detail(),
    Detail(intervals=False),
    Detail(intervals=False, gaps=False),
    Detail(intervals=False, gaps=False, access=False),
    Detail(gaps=False, metrics=False),
    Detail(gaps=False, metrics=False, access=False),
    Detail(gaps=False, metrics=False, access=False, cost=False),
]
_NARROWER = [Detail(), Detail(access=False), Detail(access=False, cost=False)]
_GAP = 2
_LEAST_REMARKS, _LEAST_NAME = 12, 12


def overview(groups: list[Across]) -> Iterator[RenderableType]:
    """A rule, then the tables across tasks."""
    if groups:
        yield Rule(Text("across tasks", style="bold"))
    for group in groups:
        yield FittingTable(partial(standings, group), _NARROWER)


def terminal(paradigm: str, tasks: list[TaskSummary]) -> Iterator[RenderableType]:
    """A rule with the paradigm's name, then its tasks."""
    yield Rule(Text(paradigm, style="bold"))
    for task in tasks:
        yield FittingTable(partial(layout, task))


@dataclass(frozen=True)
class FittingTable:
    """A table and its legend, with as much detail as the console is wide."""

    draw: Callable[[Detail], Layout]
    details: Sequence[Detail] = tuple(_DETAILS)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Choose the detail, then draw."""
        detail = self._detail(options.max_width)
        table = self.draw(detail)
        missing = detail.left_out()
        legend = [*table.legend, *([f"For want of room without {missing}; leaderboard.md has all."] if missing else [])]
        yield _table(table, options.max_width)
        yield Padding(Text("\n".join(legend), style="dim"), (0, 1, 1, 0))

    def _detail(self, width: int) -> Detail:
        return next((d for d in self.details if _total(_least_widths(self.draw(d))) <= width), self.details[-1])


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
        cells = [Text(cell.text, style="bold green" if cell.best else "dim" * cell.grey) for cell in line.cells]
        style = "red" if line.failed else _STYLES[line.kind]
        drawn.add_row(*cells, style=style, end_section=line.kind != "method" and following == "method")
    return drawn
