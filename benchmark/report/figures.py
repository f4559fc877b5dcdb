"""Figures of a task: ROC curves, forgetting against utility and time, and the distributions of attack scores.

Everything is drawn from the summary, so from records alone; lines and densities are means over training seeds.
"""

from collections.abc import Callable, Iterator

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmark.report import words
from benchmark.report.looks import SET_COLOURS, STYLE, Look, display_name, encode, footnote, looks, new_figure, title
from benchmark.report.model import Cell, Column, Estimate, Row, Summary, TaskSummary

Looks = dict[str, Look]
Floats = NDArray[np.float64]


def figures(summary: Summary) -> Iterator[tuple[str, dict[str, bytes]]]:
    """(`<task>-<kind>`, {"png": …, "svg": …}) of every figure for which there are data."""
    by_name = looks(summary)
    kinds: dict[str, Callable[[TaskSummary, Looks], Figure | None]] = {
        "roc": roc,
        "tradeoff": tradeoff,
        "time": time,
        "scores": scores,
    }
    for task in summary.tasks:
        for kind, draw in kinds.items():
            with rc_context(STYLE):
                figure = draw(task, by_name)
            if figure is not None:
                yield f"{task.name}-{kind}", encode(figure)


# -- ROC -----------------------------------------------------------------------------------------------------


def roc(task: TaskSummary, by_name: Looks) -> Figure | None:
    """ROC of the primary attack on every model, and the same as distance from chance, where small leaks show."""
    column, rows = _with_curves(task)
    if column is None or not rows:
        return None
    figure = new_figure(9.2, 4.1)
    plain, excess = figure.subplots(1, 2, width_ratios=[1, 1.25])
    for row in sorted(rows, key=lambda r: r.is_anchor):
        look, curves = by_name[row.name], row.curves[column.name]
        fpr, tpr = np.array(curves.fpr), np.array(curves.tpr)
        style = {"color": look.colour, "linestyle": look.line, "linewidth": look.width}
        plain.plot(fpr, tpr, **style)
        excess.plot(fpr, tpr - fpr, **style, label=_with_auc(row, column))
    plain.plot([0, 1], [0, 1], color="#999999", linewidth=0.8)
    excess.axhline(0, color="#999999", linewidth=0.8)
    plain.set(xlabel="false-positive rate", ylabel="true-positive rate", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    excess.set(xlabel="false-positive rate", ylabel="true − false-positive rate (0 = chance)", xlim=(0, 1))
    handles = dict(zip(*reversed(excess.get_legend_handles_labels()), strict=True))
    order = [_with_auc(row, column) for row in rows]
    figure.legend([handles[label] for label in order], order, loc="outside right upper", title="AUC", alignment="left")
    title(figure, task, f"{column.label}, before and after unlearning", column)
    footnote(figure, task)
    return figure


def _with_curves(task: TaskSummary) -> tuple[Column | None, list[Row]]:
    """The primary column and the rows, in table order, that carry its curves."""
    column = task.columns.get(task.primary or "")
    return column, [row for row in task.rows if column is not None and column.name in row.curves]


def _with_auc(row: Row, column: Column) -> str:
    cell = row.cells.get(column.name)
    return f"{words.number(cell.value.mean, column.unit)}  {display_name(row)}" if cell else display_name(row)


# -- forgetting against utility, and against time --------------------------------------------------------------


def tradeoff(task: TaskSummary, by_name: Looks) -> Figure | None:
    """Distance to the retrained model (x) against the first utility metric (y), with intervals."""
    column, utility = task.columns.get(task.primary or ""), task.columns.get(task.utility or "")
    if column is None or utility is None:
        return None
    cells = {row.name: (row.cells.get(column.name), row.cells.get(utility.name)) for row in task.rows}
    points = {name: (_forgetting(x, column), y.value) for name, (x, y) in cells.items() if x and y}
    if len(points) < 3:
        return None
    figure = new_figure(7.4, 4.3)
    axes = figure.subplots()
    _floor_band(axes.axvspan, column)
    low, high = _visible([_scaled(y.mean, utility) for _, y in points.values()])
    for row in task.rows:
        if row.name in points:
            x, y = points[row.name]
            _point(axes, x, _scale(y, utility), by_name[row.name], display_name(row), (low, high))
    good = {"min": " (small is good)", "max": " (large is good)"}.get(utility.goal, "")
    axes.set(xlabel=_forgetting_label(column), ylabel=words.with_unit(utility) + good)
    axes.set_xlim(left=0)
    axes.set_ylim(low, high)
    _legend(figure, axes)
    title(figure, task, "forgetting against utility", column)
    footnote(figure, task)
    return figure


def time(task: TaskSummary, by_name: Looks) -> Figure | None:
    """Seconds of unlearning (x, log) against the distance to the retrained model (y), with intervals."""
    column = task.columns.get(task.primary or "")
    rows = [r for r in task.rows if column is not None and r.seconds and column.name in r.cells]
    if column is None or len(rows) < 3:
        return None
    figure = new_figure(7.4, 4.3)
    axes = figure.subplots()
    _floor_band(axes.axhspan, column)
    for row in rows:
        look, forgetting = by_name[row.name], _forgetting(row.cells[column.name], column)
        if row.kind == "original":
            axes.axhline(forgetting.mean, color=look.colour, linewidth=1, linestyle=look.line, label="original")
        elif row.kind == "retrained" and row.seconds:
            axes.axvline(row.seconds.mean, color=look.colour, linewidth=1, linestyle=look.line, label="time to retrain")
        elif row.seconds:
            _point(axes, row.seconds, forgetting, look, display_name(row))
    axes.set_xscale("log")
    axes.set(xlabel="time to unlearn (seconds, geometric mean, log scale)", ylabel=_forgetting_label(column))
    axes.set_ylim(bottom=0)
    _legend(figure, axes)
    title(figure, task, "forgetting against time", column)
    footnote(figure, task)
    return figure


def _forgetting(cell: Cell, column: Column) -> Estimate:
    """What "how far from good" is for this metric: the distance to the retrained model, or the value."""
    return cell.distance if column.goal == "match_retrained" else cell.value


def _forgetting_label(column: Column) -> str:
    if column.goal == "match_retrained":
        return f"|gap to retrained|, {column.label} (small is good)"
    return words.with_unit(column)


def _scaled(value: float, column: Column) -> float:
    return 100 * value if column.unit == "fraction" else value


def _scale(found: Estimate, column: Column) -> Estimate:
    ends = (None if end is None else _scaled(end, column) for end in (found.low, found.high))
    return Estimate(_scaled(found.mean, column), *ends, found.n_seeds)


def _floor_band(span: Callable[..., object], column: Column) -> None:
    if column.floor is not None and column.goal == "match_retrained":
        span(0, column.floor.distance.mean, color="#dcdcdc", linewidth=0, label="oracle floor", zorder=0)


def _visible(values: list[float]) -> tuple[float, float]:
    """Limits that show all values, but for a few that lie so far out that the others could not be told apart."""
    core = sorted(values)
    for _ in range(len(values) // 4):
        span = core[-2] - core[0]
        if core[-1] - core[0] > 4 * max(span, 1e-9):
            core.pop()
        elif core[-1] - core[0] > 4 * max(core[-1] - core[1], 1e-9):
            core.pop(0)
    margin = 0.15 * max(core[-1] - core[0], 1e-6)
    return core[0] - margin, core[-1] + margin


def _point(
    axes: Axes, x: Estimate, y: Estimate, look: Look, label: str, limits: tuple[float, float] | None = None
) -> None:
    """A marker with its intervals; one beyond the limits becomes an arrow at the edge with its value."""
    bold = look.width > 2
    style = {"color": look.colour, "markersize": 10 if look.marker == "*" else 6.5, "zorder": 4 if bold else 3}
    if limits is None or limits[0] <= y.mean <= limits[1]:
        axes.errorbar(
            x.mean,
            y.mean,
            xerr=_error(x),
            yerr=_error(y),
            marker=look.marker,
            linestyle="none",
            elinewidth=0.9,
            capsize=2,
            markeredgecolor="white",
            markeredgewidth=0.6,
            label=label,
            **style,
        )
        return
    above = y.mean > limits[1]
    edge = limits[1] if above else limits[0]
    axes.plot([x.mean], [edge], marker=look.marker, linestyle="none", clip_on=False, label=label, **style)
    arrow = "↑" if above else "↓"
    axes.annotate(
        f"{arrow} {words.number(y.mean, 'points')}",
        (x.mean, edge),
        xytext=(6, -8 if above else 8),
        textcoords="offset points",
        va="center",
        fontsize=7.5,
        color=look.colour,
    )


def _error(found: Estimate) -> list[list[float]] | None:
    if found.low is None or found.high is None:
        return None
    return [[found.mean - found.low], [found.high - found.mean]]


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", alignment="left")


# -- score distributions ---------------------------------------------------------------------------------------


def scores(task: TaskSummary, by_name: Looks) -> Figure | None:
    """Densities of the primary attack's scores by set: a panel per model, one x axis for all."""
    column, rows = _with_curves(task)
    if column is None or not rows:
        return None
    columns = min(4, len(rows))
    lines = -(-len(rows) // columns)
    figure = new_figure(2.3 * columns + 0.4, 1.55 * lines + 1.1)
    panels = figure.subplots(lines, columns, sharex=True, squeeze=False).ravel()
    low, high = _score_range(rows, column)
    grid = np.linspace(low, high, 300)
    names = list(dict.fromkeys(name for row in rows for name in row.curves[column.name].quantiles))
    for panel, row in zip(panels, rows, strict=False):
        _densities(panel, row, column, names, grid)
    for panel in panels[len(rows) :]:
        panel.set_visible(False)
    for place in range(len(rows) - columns, len(rows)):
        panels[place].tick_params(labelbottom=True)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=len(labels))
    figure.supxlabel(f"{rows[0].curves[column.name].label} (score; larger = more member-like)", fontsize=8.5)
    figure.supylabel("density (each panel to its own height)", fontsize=8.5)
    title(figure, task, "attack scores by set", column)
    return figure


def _score_range(rows: list[Row], column: Column) -> tuple[float, float]:
    """What all but the outermost hundredth of the scores of every model cover."""
    ends = [
        np.interp([0.01, 0.99], curves.levels, quantiles)
        for row in rows
        for curves in [row.curves[column.name]]
        for quantiles in curves.quantiles.values()
    ]
    return float(min(low for low, _ in ends)), float(max(high for _, high in ends))


def _densities(panel: Axes, row: Row, column: Column, names: list[str], grid: Floats) -> None:
    curves = row.curves[column.name]
    for place, name in enumerate(names):
        if name in curves.quantiles:
            density = _density(np.array(curves.levels), np.array(curves.quantiles[name]), grid)
            colour = SET_COLOURS[place % len(SET_COLOURS)]
            panel.plot(grid, density, color=colour, linewidth=1.3, linestyle="-" if place < 2 else "--", label=name.replace("_", "-"))
            if place < 2:
                panel.fill_between(grid, density, color=colour, alpha=0.18, linewidth=0)
    panel.set_title(_with_auc(row, column), fontsize=8, fontweight="bold" if row.is_anchor else "normal")
    panel.set(yticks=[], xlim=(grid[0], grid[-1]))
    panel.set_ylim(bottom=0)
    panel.spines["left"].set_visible(False)


def _density(levels: Floats, quantiles: Floats, grid: Floats, points: int = 400) -> Floats:
    """Gaussian kernel density [grid] of a quantile function, with Silverman's bandwidth."""
    sample = np.interp((np.arange(points) + 0.5) / points, levels, quantiles)
    lower, upper = np.interp([0.25, 0.75], levels, quantiles)
    spread = min(sample.std(), (upper - lower) / 1.349) or sample.std()
    bandwidth = max(0.9 * spread * points**-0.2, (grid[-1] - grid[0]) / 200)
    distances = (grid[:, None] - sample) / bandwidth
    density: Floats = np.exp(-0.5 * distances**2).mean(axis=1) / (bandwidth * np.sqrt(2 * np.pi))
    return density
