"""Series over commits for people: one line each, those with steps first; files for all of them."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from benchmark.history.series import TIME, History, Series, Step, as_csv
from benchmark.history.show import columns, table
from benchmark.report import words
from benchmark.store import write_atomic

_HEADS = ("number", "commits", "first", "last")
_MOST = 40


def terminal(series: Sequence[Series], history: History, width: int = 100) -> RenderableType:
    """Series of two commits or more, those of a method together: first and last level, below each name every step."""
    long = sorted((one for one in series if len(one.points) > 1), key=lambda one: -len(one.steps))
    lines = [
        f"{len(series)} series, {len(long)} of two commits or more, {sum(len(one.steps) for one in series)} steps.",
        *([f"{len(long) - _MOST} more are in history.csv."] if len(long) > _MOST else []),
        "A gap is the distance to the retrained model. Series end where the task is defined anew, or the device, torch "
        "or, for times, the machine is another.",
        "Steps: L1 Potts fit (dynamic programming; penalty 4 log n a segment, as asv's), two commits or more each, "
        "larger than 5 % of the level before and than the noise of retraining.",
        *history.notes,
    ]
    arms: dict[tuple[str, str], list[list[str]]] = {}
    for one in long[:_MOST]:
        arms.setdefault((one.task, one.method), []).append(_cells(one))
    parts: list[RenderableType] = []
    widths = columns(_HEADS, [cells for rows in arms.values() for cells in rows], 0, width)
    for (task, method), rows in arms.items():
        parts += [Text(f"{task}: {method}", style="bold"), table(_HEADS, rows, widths), Text("")]
    return Group(*parts, Padding(Text("\n".join(lines), style="dim"), (0, 1, 0, 0)))


def write(results: Path, series: Sequence[Series], history: History) -> list[Path]:
    """history.csv with every series, and a figure of each of these that is long enough."""
    from benchmark.history.figure import LEAST_COMMITS, drawn, file_name

    contents = {results / "history.csv": as_csv(history.series).encode()} if history.series else {}
    for one in series:
        if len(one.points) >= LEAST_COMMITS:
            for suffix, data in drawn(one).items():
                contents[results / "figures" / "history" / f"{file_name(one)}.{suffix}"] = data
    for path, data in contents.items():
        write_atomic(path, data)
    return list(contents)


def _cells(one: Series) -> list[str]:
    label = f"gap of {one.label}" if one.goal == "match_retrained" else one.label
    name = label if one.metric == TIME else f"{label} ({one.metric})"
    ends = [_number(one, value) for value in (one.values[0], one.values[-1])]
    return ["\n".join([name, *(_step(one, step) for step in one.steps)]), str(len(one.points)), *ends]


def _step(one: Series, step: Step) -> str:
    word = "worse" if step.worse else "better"
    change = f"{_number(one, step.before)} → {_number(one, step.after)}"
    return f"{word} {change} at {step.commit.short} ({step.commit.subject})"


def _number(one: Series, value: float) -> str:
    return f"{value:.3g}×" if one.metric == TIME else words.number(value, one.unit)
