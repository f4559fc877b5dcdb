"""How figures look: one colour, line and marker per method in every figure, safe for colour-blind readers.

Colours are six of Okabe & Ito (2008) and three of Tol's muted set; where they run out, line styles and markers tell
methods apart.
"""

import io
import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from benchmark.report import words
from benchmark.report.model import Column, Row, TaskSummary
from benchmark.report.summary import Summary

_COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#332288", "#882255", "#999933"]
_LINES: list[Any] = ["-", (0, (4, 1.5)), (0, (1, 1)), (0, (4, 1, 1, 1))]
_MARKERS = ["o", "^", "D", "v", "P", "X", "<", ">", "h", "p", "d"]
_LEGEND_LINE, _LETTER = 0.18, 0.08  # inches, of a line's height and of a letter's width
SET_COLOURS = ["#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]

STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#444444",
    "axes.grid": True,
    "axes.linewidth": 0.7,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 9,
    "figure.constrained_layout.w_pad": 0.08,
    "figure.facecolor": "white",
    "figure.titlesize": 10,
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.3,
    "svg.hashsalt": "unlearning-benchmark",
    "xtick.color": "#444444",
    "ytick.color": "#444444",
}


@dataclass(frozen=True)
class Look:
    """Colour, line style, marker and line width (points)."""

    colour: str
    line: Any
    marker: str
    width: float = 1.3


ANCHORS = {"original": Look("#000000", "-", "s", 2.2), "retrained": Look("#000000", (0, (2, 1)), "*", 2.2)}


def looks(summary: Summary) -> dict[str, Look]:
    """Row name -> look, from the methods of all tasks; those of most tasks come first and share no colour."""
    rows = [row for task in summary.tasks for row in task.rows]
    oracles = sorted({row.name for row in rows if row.kind == "oracle"})
    tasks = Counter(row.name for row in rows if row.kind == "method")
    methods = sorted(tasks, key=lambda name: (-tasks[name], name))
    found = {name: Look("#8c8c8c", _LINES[i % len(_LINES)], _MARKERS[-1 - i % 3]) for i, name in enumerate(oracles)}
    for place, name in enumerate(methods):
        line = _LINES[place // len(_COLOURS) % len(_LINES)]
        found[name] = Look(_COLOURS[place % len(_COLOURS)], line, _MARKERS[place % (len(_MARKERS) - 1)])
    return found | ANCHORS


def with_curves(task: TaskSummary) -> tuple[Column | None, list[Row]]:
    """The primary column and the rows, in table order, that carry its curves."""
    column = task.columns.get(task.primary or "")
    return column, [row for row in task.rows if column is not None and column.name in row.curves]


def value(row: Row, column: Column) -> str:
    """The mean of a metric as printed in tables."""
    cell = row.cells.get(column.name)
    return words.number(cell.value.mean, column.unit) if cell else words.NOTHING


def new_figure(width: float, height: float) -> Figure:
    """A figure of so many inches that lays itself out; no global state."""
    return Figure(figsize=(width, height), layout="constrained")


def title(figure: Figure, task: TaskSummary, what: str, column: Column) -> None:
    """What is shown, of which task and how many seeds, and whether it means anything."""
    text, colour = f"{task.name} ({task.paradigm}, {words.seeds(task.n_seeds)}): {what}", "#000000"
    if not column.conclusive:
        text, colour = f"{text}\ninconclusive: the attack does not beat chance on the original models", "#B00000"
    elif task.demonstration is not None:
        text, colour = f"{text}\ndemonstration only: on this task nobody is ranked", "#B00000"
    figure.suptitle(text, x=0.01, ha="left", color=colour)


def footnote(figure: Figure, missing: list[Row]) -> None:
    """Say which methods are not drawn."""
    if missing:
        names = ", ".join(f"{row.name} ({row.status.replace('_', ' ')})" for row in missing)
        figure.supxlabel(f"not shown: {names}", fontsize=7.5, color="#666666", x=0.01, ha="left")


def legend(figure: Figure, entries: list[tuple[Artist, str]], heading: str | None = None) -> None:
    """Right of the axes, in the order of the table; a figure grows by each further column of it."""
    handles, labels = [handle for handle, _ in entries], [label for _, label in entries]
    lines = int((figure.get_figheight() - 0.6) / _LEGEND_LINE)
    columns = math.ceil(len(entries) / lines)
    further = (columns - 1) * (0.5 + _LETTER * max(map(len, labels)))
    figure.set_figwidth(figure.get_figwidth() + further)
    figure.legend(handles, labels, loc="outside right center", title=heading, alignment="left", ncols=columns)


def marker_style(look: Look) -> dict[str, Any]:
    """Anchors are large and hollow, so that a method at the same place can be seen."""
    if look.width > 2:
        size = 14 if look.marker == "*" else 10
        return {
            "color": look.colour,
            "marker": look.marker,
            "ms": size,
            "mfc": "none",
            "mec": look.colour,
            "mew": 1.4,
        }
    return {
        "color": look.colour,
        "marker": look.marker,
        "ms": 6.5,
        "mfc": look.colour,
        "mec": "white",
        "mew": 0.6,
    }


def encode(figure: Figure) -> dict[str, bytes]:
    """PNG (160 dpi) and SVG, byte for byte the same whenever the same is drawn."""
    return {
        "png": _saved(figure, format="png", dpi=160, metadata={"Software": None}),
        "svg": _saved(figure, format="svg", metadata={"Date": None, "Creator": None}),
    }


def _saved(figure: Figure, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with rc_context(STYLE):
        figure.savefig(buffer, **options)
    return buffer.getvalue()
