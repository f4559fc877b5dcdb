"""A comparison for people: tables on the terminal, Markdown for a pull request."""

from collections.abc import Iterable, Iterator, Sequence

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
_HEADS = ("task", "method", "number", "before", "after", "change", "noise", "decision", "why")
_FIGURES = {"before", "after", "change", "noise", "runs paired", "not run again", *ORDER}
_MOST = 40


def terminal(comparison: Comparison, everything: bool = False) -> RenderableType:
    """What was held against what, the verdict, what moved, and how many numbers of each task did not."""
    rows, left = _shown(comparison, everything)
    parts: list[RenderableType] = [Text(line) for line in _sides(comparison)]
    regressed = bool(comparison.regressions())
    parts += [Text(""), Text(verdict(comparison), style="bold red" if regressed else "bold green"), Text("")]
    if rows:
        parts += [table(_HEADS, _once(map(_cells, rows)), [_STYLES[row.decision] for row in rows])]
        parts += [Padding(Text("\n".join([*left, *legend()]), style="dim"), (0, 1, 1, 0))]
    counted = [_counted(comparison, task) for task in range(len(comparison.tasks))]
    parts.append(table(_OVERVIEW, counted, [""] * len(counted)))
    return Group(*parts)


def markdown(comparison: Comparison, everything: bool = False) -> str:
    """The same for a pull request's comment."""
    rows, left = _shown(comparison, everything)
    blocks = [f"### {verdict(comparison)}", "\n".join(f"- {escaped(line)}" for line in _sides(comparison))]
    if rows:
        blocks += [_grid(_HEADS, [_cells(row) for row in rows])]
        blocks += ["\n".join(f"- {escaped(line)}" for line in (*left, *legend()))]
    overview = _grid(_OVERVIEW, [_counted(comparison, task) for task in range(len(comparison.tasks))])
    blocks += [f"<details><summary>Every task</summary>\n\n{overview}\n\n</details>"]
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
    return rows[:_MOST], [f"{left} more numbers are not shown; --all shows them."] if left else []


def _cells(row: Row) -> list[str]:
    why = f"{row.why}; what differs: {row.cause}" if row.regressed and row.cause else row.why
    return [
        row.task, row.method, what_of(row), side_of(row, row.before), side_of(row, row.after), change(row), _noise(row),
        row.decision, why,
    ]  # fmt: skip


def _once(rows: Iterable[list[str]]) -> list[list[str]]:
    """Rows in which a task is named where it begins."""
    before, found = "", []
    for task, *rest in rows:
        found.append([task * (task != before), *rest])
        before = task
    return found


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

_OVERVIEW = ("task", "runs paired", "not run again", *ORDER, "remarks")


def _counted(comparison: Comparison, place: int) -> list[str]:
    task = comparison.tasks[place]
    counts = [sum(row.task == task.name and row.decision == word for row in comparison.rows) for word in ORDER]
    alone = [f"{n} runs only {side}" for n, side in ((task.only_before, "before"), (task.only_after, "after")) if n]
    causes = [f"what differs: {', '.join(task.causes)}"] if task.causes else []
    remarks = "; ".join([*filter(None, [task.reason]), *causes, *alone, *task.notes])
    return [task.name, str(task.pairs), str(task.not_again), *map(str, counts), remarks]


def _sides(comparison: Comparison) -> Iterator[str]:
    yield f"before: {comparison.before}"
    yield f"after:  {comparison.after}"


def _count(count: int, what: str) -> str:
    return f"1 {what}" if count == 1 else f"{count} {what}s"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], styles: Sequence[str]) -> Table:
    """Cells with a style for the decision of each row; columns of numbers stand right."""
    grid = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for head in heads:
        grid.add_column(head, justify="right" if head in _FIGURES else "left", overflow="fold")
    for row, style in zip(rows, styles, strict=True):
        cells = zip(heads, row, strict=True)
        grid.add_row(*(Text(cell, style=style if head == "decision" else "") for head, cell in cells))
    return grid


def _grid(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return bare([heads, [":---"] * len(heads), *([escaped(cell) for cell in row] for row in rows)])
