"""The figure of an ensemble: how exposed single images stay, and what an attack on one model at a time hides.

Left, images in order of how well the attack tells models that unlearned them from models that never saw them; right,
the same attack's overall AUC beside that of the plain attack on single models.
"""

from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.report import words
from benchmark.report.looks import Look, legend, new_figure, title
from benchmark.report.model import Cell, Column, Row, TaskSummary

_CHANCE: dict[str, Any] = {"color": "#999999", "linewidth": 0.8, "zorder": 0}


def examples(task: TaskSummary, by_name: dict[str, Look]) -> Figure | None:
    """Curves of sorted AUCs by image, and the two attacks side by side; None without AUCs by image."""
    plain, strong, image = task.columns.get(task.primary or ""), _strong(task), _by_image(task)
    if plain is None or strong is None or image is None:
        return None
    rows = [row for row in task.rows if {plain.name, strong.name} & row.cells.keys()]
    figure = new_figure(10.4, max(4.2, 1.2 + 0.25 * len(rows)))
    curves, dots = figure.subplots(1, 2, width_ratios=[1.25, 1])
    entries = _curves(curves, image, task, by_name)
    _dots(dots, plain, strong, rows, by_name)
    legend(figure, entries, "median AUC by image")
    title(figure, task, "what an attack on single models hides", strong)
    return figure


def _strong(task: TaskSummary) -> Column | None:
    """The first attack on all seeds together."""
    return next((c for c in task.headlines if c.pooled and c.attack and c.role == "forgetting"), None)


def _by_image(task: TaskSummary) -> Column | None:
    """The first AUC that is known for each image."""
    known = {name for row in task.rows for name in row.examples}
    aucs = [c for c in task.columns.values() if c.name in known and c.unit == "auc" and c.goal == "match_retrained"]
    return aucs[0] if aucs else None


def _curves(axes: Axes, column: Column, task: TaskSummary, by_name: dict[str, Look]) -> list[tuple[Artist, str]]:
    entries: list[tuple[Artist, str]] = []
    for row in task.rows:
        if column.name not in row.examples:
            continue
        look, aucs = by_name[row.name], np.sort(row.examples[column.name])
        share = 100 * (np.arange(len(aucs)) + 0.5) / len(aucs)
        width = 2.2 if row.kind == "oracle" else look.width
        line = axes.plot(share, aucs, color=look.colour, linestyle=look.line, linewidth=width)[0]
        entries.append((line, f"{words.number(float(np.median(aucs)), column.unit)}  {words.row_name(row)}"))
    axes.axhline(0.5, **_CHANCE)
    axes.set(xlim=(0, 100), xlabel="images, least exposed first (%)", ylabel="AUC of one image, all seeds together")
    return entries


def _dots(axes: Axes, plain: Column, strong: Column, rows: list[Row], by_name: dict[str, Look]) -> None:
    """A line per model from the plain attack (hollow) to the strong one (filled), with intervals."""
    axes.axvline(0.5, **_CHANCE)
    for place, row in enumerate(rows):
        found = [row.cells.get(column.name) for column in (plain, strong)]
        colour = by_name[row.name].colour
        ends = [cell.value.mean for cell in found if cell is not None]
        axes.plot(ends, [place] * len(ends), color=colour, linewidth=0.8, alpha=0.6)
        for cell, fill in zip(found, ("white", colour), strict=True):
            if cell is not None:
                _dot(axes, cell, place, colour, fill)
    axes.set_yticks(range(len(rows)), [words.row_name(row) for row in rows])
    axes.set(
        ylim=(len(rows) - 0.4, -0.6), xlabel=f"○ {plain.label}, one model at a time    ● {strong.label}, all seeds"
    )


def _dot(axes: Axes, cell: Cell, place: int, colour: str, fill: str) -> None:
    found = cell.value
    if found.low is not None and found.high is not None:
        axes.plot([found.low, found.high], [place, place], color=colour, linewidth=1.6, alpha=0.5)
    axes.plot(found.mean, place, marker="o", ms=6.5, mfc=fill, mec=colour, mew=1.3, linestyle="none", zorder=3)
