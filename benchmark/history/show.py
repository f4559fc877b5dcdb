"""A comparison for people: tables on the terminal, Markdown for a pull request."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from benchmark.history.model import ORDER, Comparison, Row
from benchmark.history.rules import ALPHA, FAMILY, MANY, SLOWER
from benchmark.report import words
from benchmark.report.markdown import bare, escaped

_STYLES = {"worse": "bold red", "changed": "bold red", "better": "green", "cannot tell": "yellow", "same": "dim"}
_HEADS = ("decision", "number", "before", "after", "change", "noise")
_FIGURES = {*_HEADS[2:], "paired", "run again", *ORDER, "commits", "first", "last"}
_GRID = ("task", "method", *_HEADS, "why")
_MOST = 40


def terminal(comparison: Comparison, everything: bool = False, width: int = 100) -> RenderableType:
    """What was held against what, the verdict, what moved of each method and why, and what became of every task."""
    rows, left = _shown(comparison, everything)
    parts: list[RenderableType] = [Text(line) for line in _sides(comparison)]
    regressed = bool(comparison.regressions())
    parts += [Text(""), Text(verdict(comparison), style="bold red" if regressed else "bold green"), Text("")]
    if rows:
        widths = columns(_HEADS, list(map(_reasoned, rows)), 1, width)
        for (task, method), found in _by_arm(rows).items():
            parts += [Text(f"{task}: {method}", style="bold"), *(Text(line) for line in _causes(found))]
            parts += [_figures(found, widths), Text("")]
        parts += [Padding(Text("\n".join([*left, *legend()]), style="dim"), (0, 1, 1, 0))]
    heads, counted = _overview(comparison)
    if counted:
        parts += [table(heads, counted), Text("")]
    return Group(*parts, *(Padding(Text(line), (0, 0, 0, level)) for level, line in _remarks(comparison)))


def markdown(comparison: Comparison, everything: bool = False) -> str:
    """The same for a pull request's comment."""
    rows, left = _shown(comparison, everything)
    blocks = [f"### {verdict(comparison)}", "\n".join(f"- {escaped(line)}" for line in _sides(comparison))]
    if rows:
        reasons = [f"{row.why}; what differs: {row.cause}" if row.regressed and row.cause else row.why for row in rows]
        cells = [[row.task, row.method, *_cells(row), why] for row, why in zip(rows, reasons, strict=True)]
        blocks += [_grid(_GRID, cells), "\n".join(f"- {escaped(line)}" for line in (*left, *legend()))]
    heads, counted = _overview(comparison)
    tasks = [_grid(heads, counted)] if counted else []
    tasks += ["\n".join(f"{'  ' * (level > 0)}- {escaped(line)}" for level, line in _remarks(comparison))]
    blocks += ["<details><summary>Every task</summary>", *tasks, "</details>"]
    return "\n\n".join(blocks) + "\n"


def verdict(comparison: Comparison) -> str:
    """One sentence."""
    pairs, again = (sum(getattr(task, name) for task in comparison.tasks) for name in ("pairs", "not_again"))
    if not pairs:
        return "Nothing to compare: no run of the same task, method and seed is on both sides."
    if pairs == again and not comparison.regressions():
        return f"No change: all {pairs} paired runs are the same records on both sides; nothing was run again."
    quality, time = comparison.regressions("quality"), comparison.regressions("time")
    counts = [(sum(row.decision == word for row in quality), "number", word) for word in ("worse", "changed")]
    bad = [f"{_count(n, what)} {word}" for n, what, word in [*counts, (len(time), "time", "slower")] if n]
    better = sum(row.decision == "better" for row in comparison.rows)
    head = f"Regressed: {', '.join(bad)}" if bad else "No regression"
    tail = f"; {better} better" if better else ""
    return f"{head}{tail} ({pairs} runs paired, {again} of them not run again)."


def legend() -> list[str]:
    """How the table is to be read."""
    return [
        "before, after: means over the paired seeds; a gap is the distance to the retrained model, ↓ and ↑ say what is "
        "better. change: mean of after − before with its 95 % interval, for times after / before.",
        "noise: how far exact retraining is from itself (95th percentile); no smaller change counts.",
        f"worse, better: the seeds say so (paired t-test, from {MANY} seeds on also Mann-Whitney; p < {ALPHA:g}, "
        f"after Holm at most {FAMILY:g}) and the change is larger than the noise.",
        "changed: the same of originals or retrained models, where no way is better; or the same outputs are scored "
        "differently; or sets have other sizes.",
        f"time: unlearning in units of retraining on the same machine; slower by more than {100 * (SLOWER - 1):.0f} % "
        "counts once a second measurement (`run --fresh`) agrees.",
    ]


# -- rows ----------------------------------------------------------------------------------------------------


def _shown(comparison: Comparison, everything: bool) -> tuple[list[Row], list[str]]:
    """What moved or may have, and a sentence on the rest."""
    if everything:
        return comparison.rows, []
    rows = [row for row in comparison.rows if row.regressed or row.decision == "better" or row.suspicious]
    left = len(comparison.rows) - len(rows[:_MOST])
    return rows[:_MOST], [f"Not shown: {_count(left, 'more number')}; --all shows all."] if left else []


def _cells(row: Row) -> list[str]:
    sides = (side_of(row, value) for value in (row.before, row.after))
    return [row.decision, what_of(row), *sides, change(row), _noise(row)]


def _by_arm(rows: Iterable[Row]) -> dict[tuple[str, str], list[Row]]:
    """Rows of each task and method, in the order in which these first occur."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row.task, row.method), []).append(row)
    return found


def _causes(rows: Iterable[Row]) -> list[str]:
    return [f"what differs: {cause}" for cause in dict.fromkeys(row.cause for row in rows) if cause]


def _wide(row: Row) -> list[str]:
    """Cells for the terminal, where what is no number stands with the name and leaves the columns narrow."""
    if isinstance(row.before, str) or isinstance(row.after, str):
        return [row.decision, f"{what_of(row)}: {row.before} → {row.after}", "", "", "", ""]
    return _cells(row)


def _figures(rows: Sequence[Row], widths: Sequence[int]) -> Table:
    """The numbers of a method; under each name stands the reason for the decision."""
    return table(_HEADS, [_reasoned(row) for row in rows], widths, [_STYLES[row.decision] for row in rows])


def _reasoned(row: Row) -> list[str]:
    """Cells whose second line says more: why under the name, the interval under the change."""
    decision, name, before, after, change, noise = _wide(row)
    return [decision, f"{name}\n{row.why}", before, after, change.replace(" [", "\n["), noise]


def what_of(row: Row) -> str:
    """The number by name: `gap of attack AUC ↓ (mia_auc)`."""
    if row.goal is None:
        return row.label
    label = f"gap of {row.label}" if row.goal == "match_retrained" else row.label
    arrow = {"max": " ↑", "info": ""}.get(row.goal, " ↓")
    return label + arrow + (f" ({row.metric})" if row.kind == "quality" else "")


def side_of(row: Row, value: float | str) -> str:
    """A mean, or words, as printed."""
    if isinstance(value, str):
        return value
    return f"{value:.3g}×" if row.kind == "time" else words.number(value, row.unit)


def change(row: Row) -> str:
    """`+.049 [.030, .068]`, of times `1.8× [1.6, 2.1]`."""
    if row.change is None:
        if isinstance(row.before, str) or isinstance(row.after, str):
            return ""
        return _signed(row.after - row.before, row) if row.decision == "changed" else ""
    found = row.change
    ends = [end for end in (found.low, found.high) if end is not None]
    if row.kind == "time":
        return f"{found.mean:.3g}×" + (f" [{', '.join(f'{end:.3g}' for end in ends)}]" if ends else "")
    interval = f" [{', '.join(words.number(end, row.unit) for end in ends)}]" if ends else ""
    return _signed(found.mean, row) + interval


def _signed(value: float, row: Row) -> str:
    number = words.number(value, row.unit)
    return number if value <= 0 else f"+{number}"


def _noise(row: Row) -> str:
    if row.kind == "time":
        return f"{100 * (SLOWER - 1):.0f} %"
    return words.NOTHING if row.floor is None or row.goal is None else words.number(row.floor, row.unit)


# -- tasks ---------------------------------------------------------------------------------------------------


def _overview(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """How many runs of each task were paired and run again, and the decisions on them; heads, and a row a task."""
    again = [task for task in comparison.tasks if task.pairs > task.not_again]
    counts = {
        task.name: [sum(row.task == task.name and row.decision == word for row in comparison.rows) for word in ORDER]
        for task in again
    }
    met = [at for at, _ in enumerate(ORDER) if any(found[at] for found in counts.values())]
    heads = ["task", "paired", "run again", *(ORDER[at] for at in met)]
    rows = [[task.pairs, task.pairs - task.not_again, *(counts[task.name][at] for at in met)] for task in again]
    return heads, [[task.name, *map(str, row)] for task, row in zip(again, rows, strict=True)]


def _remarks(comparison: Comparison) -> Iterator[tuple[int, str]]:
    """Lines on the tasks, and how far each is set in: what was run again and why, what was not, what is on one side."""
    for task in comparison.tasks:
        alone = ((task.only_before, "before"), (task.only_after, "after"))
        lines = [f"{', '.join(methods)}: {what}" for what, methods in task.causes.items()]
        lines += [*filter(None, [task.reason]), *(f"{_count(n, 'run')} only {side}" for n, side in alone if n)]
        lines += task.notes
        if lines:
            yield 0, task.name
            yield from ((2, line) for line in lines)
    still = [task for task in comparison.tasks if task.pairs and task.pairs == task.not_again]
    if still:
        runs = _count(sum(task.pairs for task in still), "run")
        yield 0, f"Nothing was run again of {_count(len(still), 'task')} ({runs}): {', '.join(t.name for t in still)}"


def _sides(comparison: Comparison) -> Iterator[str]:
    yield f"before: {comparison.before}"
    yield f"after:  {comparison.after}"


def _count(count: int, what: str) -> str:
    return f"1 {what}" if count == 1 else f"{count} {what}s"


def columns(heads: Sequence[str], rows: Sequence[Sequence[str]], widest: int, width: int) -> list[int]:
    """How wide columns are, so that tables below one another look like one; the widest gets what the others leave."""
    lines = [[max(map(len, cell.split("\n"))) for cell in row] for row in rows]
    found = [max(len(head), *(row[at] for row in lines), 0) for at, head in enumerate(heads)]
    others = sum(found) - found[widest] + 2 * len(heads) - 2  # padding, and between
    found[widest] = max(18, min(found[widest], width - others))
    return found


def table(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    widths: Sequence[int] | None = None,
    styles: Sequence[str] | None = None,
) -> Table:
    """Cells, the first one of each row in its style, and what is below a cell's first line dim; numbers stand right."""
    grid = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for at, head in enumerate(heads):
        side: Literal["left", "right"] = "right" if head in _FIGURES else "left"
        grid.add_column(head, justify=side, width=widths[at] if widths else None, overflow="fold")
    for row, style in zip(rows, styles or [""] * len(rows), strict=True):
        cells = (cell.partition("\n") for cell in row)
        texts = [Text.assemble(first, end, (rest, "dim")) for first, end, rest in cells]
        texts[0].stylize(style)
        grid.add_row(*texts)
    return grid


def _grid(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return bare([heads, [":---"] * len(heads), *([escaped(cell) for cell in row] for row in rows)])
