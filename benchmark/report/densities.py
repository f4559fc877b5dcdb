"""The figure of attack scores: how they are distributed over forget, held-out and third-party images, per model.

Records keep quantiles, not scores; densities are Gaussian kernel estimates (Silverman's bandwidth) of what these say.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmark.report import words
from benchmark.report.looks import SET_COLOURS, Look, new_figure, title, value, with_curves
from benchmark.report.model import Column, Curves, Row, TaskSummary
from benchmark.specs import SetName

Floats = NDArray[np.float64]
_SAMPLE = 400
_SETS: tuple[SetName, ...] = ("forget", "heldout", "third_party")


def scores(task: TaskSummary, by_name: dict[str, Look]) -> Figure | None:
    """Densities of the primary attack's scores by set: a panel per model, one x axis for all."""
    column, rows = with_curves(task)
    if column is None or not rows:
        return None
    columns = min(4, len(rows))
    lines = -(-len(rows) // columns)
    figure = new_figure(9.6, 1.65 * lines + 0.9)
    panels = figure.subplots(lines, columns, sharex=True, squeeze=False).ravel()
    low, high = _range(rows, column)
    for panel, row in zip(panels, rows, strict=False):
        _panel(panel, row, column, np.linspace(low, high, 160))
    for panel in panels[len(rows) :]:
        panel.set_visible(False)
    for panel in panels[len(rows) - columns : len(rows)]:
        panel.tick_params(labelbottom=True)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=len(labels))
    figure.supxlabel(
        f"{rows[0].curves[column.name].label.replace(' AUC', '')} score (larger = more member-like)", fontsize=8.5
    )
    figure.supylabel("density (each panel to its own height)", fontsize=8.5)
    title(figure, task, "attack scores by set", column)
    return figure


def _range(rows: list[Row], column: Column) -> tuple[float, float]:
    """What 98 % of every model's scores cover, but at most twice what those of the anchors do."""
    low, high = _cover([row.curves[column.name] for row in rows])
    first, last = _cover([row.curves[column.name] for row in rows if row.is_anchor])
    span = max(last - first, 1e-6 * max(abs(first), 1.0))
    return max(low, first - span / 2), min(high, last + span / 2) if high > low else high + span


def _cover(found: list[Curves]) -> tuple[float, float]:
    ends = [
        np.interp([0.01, 0.99], curves.levels, q)
        for curves in found
        for name, q in curves.quantiles.items()
        if name in _SETS
    ]
    return float(min(low for low, _ in ends)), float(max(high for _, high in ends))


def _panel(panel: Axes, row: Row, column: Column, grid: Floats) -> None:
    curves, highest, notes = row.curves[column.name], 0.2 / (grid[-1] - grid[0]), []
    for place, name in enumerate(_SETS):
        if name not in curves.quantiles:
            continue
        levels, quantiles = np.array(curves.levels), np.array(curves.quantiles[name])
        density, colour, main = (
            _density(levels, quantiles, grid),
            SET_COLOURS[place % len(SET_COLOURS)],
            place < 2,
        )
        panel.plot(grid, density, color=colour, linestyle="-" if main else "--", label=words.set_name(name))
        if main:
            panel.fill_between(grid, density, color=colour, alpha=0.18, linewidth=0)
        highest = max(highest, float(density.max()))
        notes += _beyond(levels, quantiles, grid, words.set_name(name))
    if notes:
        box = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1}
        panel.text(0.02, 0.98, "\n".join(notes), transform=panel.transAxes, va="top", fontsize=6.5, bbox=box)
    weight = "bold" if row.is_anchor else "normal"
    panel.set_title(f"{words.row_name(row)}\nAUC {value(row, column)}", fontsize=8, fontweight=weight)
    panel.set(yticks=[], xlim=(grid[0], grid[-1]), ylim=(0, 1.08 * highest))
    panel.spines["left"].set_visible(False)


def _beyond(levels: Floats, quantiles: Floats, grid: Floats, name: str) -> list[str]:
    """Which share of a set's scores the axis does not show, where it is worth saying."""
    below, upto = np.interp([grid[0], grid[-1]], quantiles, levels)
    shares = (("left", below), ("right", 1 - upto))
    return [f"{100 * share:.0f} % of {name} further {side}" for side, share in shares if share > 0.1]


def _density(levels: Floats, quantiles: Floats, grid: Floats) -> Floats:
    """Gaussian kernel density [grid] of a quantile function."""
    sample = np.interp((np.arange(_SAMPLE) + 0.5) / _SAMPLE, levels, quantiles)
    lower, upper = np.interp([0.25, 0.75], levels, quantiles)
    spread = min(sample.std(), (upper - lower) / 1.349) or sample.std()
    bandwidth = max(0.9 * spread * _SAMPLE**-0.2, (grid[-1] - grid[0]) / 200)
    distances = (grid[:, None] - sample) / bandwidth
    density: Floats = np.exp(-0.5 * distances**2).mean(axis=1) / (bandwidth * np.sqrt(2 * np.pi))
    return density
