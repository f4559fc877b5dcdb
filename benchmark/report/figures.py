"""Figures of a task: ROC curves, forgetting against utility and time, distributions of attack scores and of examples.

Everything is drawn from the summary, so from records alone; lines and densities are means over training seeds.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray

from benchmark.report import words
from benchmark.report.densities import scores
from benchmark.report.examples import examples
from benchmark.report.looks import (
    STYLE,
    Look,
    encode,
    footnote,
    legend,
    looks,
    marker_style,
    new_figure,
    title,
    value,
    with_curves,
)
from benchmark.report.model import Cell, Column, Curves, Estimate, TaskSummary
from benchmark.report.summary import Summary
from benchmark.report.validity import band

Looks = dict[str, Look]


def figures(summary: Summary) -> Iterator[tuple[str, dict[str, bytes]]]:
    """(`<task>-<kind>`, {"png": …, "svg": …}) of every figure for which there are data."""
    by_name = looks(summary)
    kinds: dict[str, Callable[[TaskSummary, Looks], Figure | None]] = {
        "roc": roc,
        "tradeoff": tradeoff,
        "time": time,
        "scores": scores,
        "examples": examples,
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
    column, rows = with_curves(task)
    if column is None or not rows:
        return None
    figure = new_figure(9.6, 3.7)
    plain, excess = figure.subplots(1, 2)
    entries: dict[str, Artist] = {}
    for row in rows:
        look, curves = by_name[row.name], row.curves[column.name]
        style: dict[str, Any] = {"color": look.colour, "linestyle": look.line, "linewidth": look.width}
        plain.plot(curves.fpr, curves.tpr, **style)
        entries[row.name] = excess.plot(curves.fpr, _excess(curves), **style)[0]
    plain.plot([0, 1], [0, 1], color="#999999", linewidth=0.8)
    excess.axhline(0, color="#999999", linewidth=0.8)
    plain.set(ylabel="true-positive rate", ylim=(0, 1))
    zoom = _zoom({row.name: row.curves[column.name] for row in rows})
    excess.set(ylabel="true − false-positive rate (0 = chance)", ylim=(-zoom, zoom))
    for axes in (plain, excess):
        axes.set(xlabel="false-positive rate", xlim=(0, 1), box_aspect=1)
    labels = {row.name: f"{value(row, column)}  {words.row_name(row)}" for row in rows}
    legend(figure, [(entries[row.name], labels[row.name]) for row in rows], "mean AUC")
    title(figure, task, f"{column.label}, before and after unlearning", column)
    footnote(figure, [row for row in task.rows if row.failed])
    return figure


def _zoom(by_name: dict[str, Curves]) -> float:
    """A range that shows the retrained model and most methods, if need be without the original, which stands left."""
    sizes = {name: float(np.abs(_excess(curves)).max()) for name, curves in by_name.items()}
    original, retrained = sizes.pop("original"), sizes.pop("retrained")
    typical = sorted(sizes.values())[len(sizes) * 3 // 4] if sizes else original
    return 1.2 * max(0.02, retrained, min(original, 2 * typical))


def _excess(curves: Curves) -> NDArray[np.float64]:
    """What the true-positive rate has over chance, on the grid of false-positive rates."""
    excess: NDArray[np.float64] = np.array(curves.tpr) - np.array(curves.fpr)
    return excess


# -- forgetting against utility, and against time --------------------------------------------------------------


def tradeoff(task: TaskSummary, by_name: Looks) -> Figure | None:
    """Distance to the retrained model (x) against the first utility metric (y), with intervals."""
    column, utility = task.columns.get(task.primary or ""), task.columns.get(task.utility or "")
    if column is None or utility is None:
        return None
    points = {
        row.name: Point(_forgetting(x, column), _scaled(y.value, utility))
        for row in task.rows
        if (x := row.cells.get(column.name)) and (y := row.cells.get(utility.name))
    }
    if len(points) < 3:
        return None
    figure = new_figure(7.6, 4.2)
    axes = figure.subplots()
    x_limits = _limits([point.x for point in points.values()], start=0)
    y_limits = _limits([point.y for point in points.values()])
    entries = _floor_band(axes.axvspan, column)
    for row in task.rows:
        if row.name in points:
            handle, off_scale = _draw(axes, points[row.name], by_name[row.name], x_limits, y_limits)
            entries.append((handle, words.row_name(row) + off_scale))
    good = {"min": "; small is good", "max": "; large is good"}.get(utility.goal, "")
    axes.set(xlabel=_forgetting_label(column), ylabel=words.with_unit(utility) + good, xlim=x_limits, ylim=y_limits)
    legend(figure, entries)
    title(figure, task, "forgetting against utility", column)
    footnote(figure, [row for row in task.rows if row.failed])
    return figure


def time(task: TaskSummary, by_name: Looks) -> Figure | None:
    """Seconds of unlearning (x, log) against the distance to the retrained model (y), with intervals.

    The original is a line: it and all that leaves it as it is take no time.
    """
    column = task.columns.get(task.primary or "")
    rows = [r for r in task.rows if column is not None and r.seconds and column.name in r.cells and not r.unchanged]
    if column is None or len(rows) < 3:
        return None
    figure = new_figure(7.6, 4.2)
    axes = figure.subplots()
    points = {row.name: Point(row.seconds, _forgetting(row.cells[column.name], column)) for row in rows if row.seconds}
    limits = _limits([point.y for point in points.values()], start=0)
    entries = _floor_band(axes.axhspan, column)
    for row in rows:
        point, look = points[row.name], by_name[row.name]
        line: dict[str, Any] = {"color": look.colour, "linewidth": 1, "linestyle": look.line}
        if row.kind == "original" and point.y.mean < limits[1]:
            entries.append((axes.axhline(point.y.mean, **line), "original (do nothing)"))
        elif row.kind == "retrained":
            entries.append((axes.axvline(point.x.mean, **line), "time to retrain"))
        elif not row.is_anchor:
            handle, off_scale = _draw(axes, point, look, (0, np.inf), limits)
            entries.append((handle, words.row_name(row) + off_scale))
    axes.set(xscale="log", ylim=limits, xlabel="time to unlearn (seconds)", ylabel=_forgetting_label(column))
    _plain_log_ticks(axes)
    legend(figure, entries)
    title(figure, task, "forgetting against time", column)
    footnote(figure, [row for row in task.rows if row.failed or row.unchanged])
    return figure


def _plain_log_ticks(axes: Axes) -> None:
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1,) if high > 100 * low else (1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


@dataclass(frozen=True)
class Point:
    """A row in the plane, in the units of the axes."""

    x: Estimate
    y: Estimate


def _forgetting(cell: Cell, column: Column) -> Estimate:
    """How far from good: the distance to the retrained model or, without such a target, the value."""
    if column.goal != "match_retrained":
        return _scaled(cell.value, column)
    distance = _scaled(cell.distance, column)
    return distance if distance.low is None else replace(distance, low=max(distance.low, 0.0))


def _forgetting_label(column: Column) -> str:
    if column.goal == "match_retrained":
        return f"|gap| to retrained ({words.with_unit(column)}); small is good"
    return words.with_unit(column)


def _scaled(found: Estimate, column: Column) -> Estimate:
    """Fractions as percent."""
    if column.unit != "fraction":
        return found
    low, high = (None if end is None else 100 * end for end in (found.low, found.high))
    return Estimate(100 * found.mean, low, high, found.n_seeds)


def _floor_band(span: Callable[..., Artist], column: Column) -> list[tuple[Artist, str]]:
    if column.floor is None or column.goal != "match_retrained":
        return []
    high = (100 if column.unit == "fraction" else 1) * band(column)
    return [(span(0, high, color="#dcdcdc", linewidth=0, zorder=0), "oracle floor (95 %)")]


def _limits(found: list[Estimate], start: float | None = None) -> tuple[float, float]:
    """Limits that show all, but for up to a quarter that lies so far above that the rest could not be told apart.

    Args:
        found: What is to be shown.
        start: The natural lower end, if there is one.
    """
    core = sorted(found, key=lambda estimate: estimate.mean)
    low = core[0].mean if start is None else start
    for outliers in range(len(core) // 4, 0, -1):
        if core[-outliers].mean - low > 4 * (core[-outliers - 1].mean - low):
            core = core[:-outliers]
            break
    low = min([low, *(e.mean if e.low is None else e.low for e in core)]) if start is None else low
    high = max(e.mean if e.high is None else e.high for e in core)
    margin = 0.06 * (high - low) or 1e-3
    return low - (0.02 * (high - low) if start is not None else margin), high + margin


def _draw(
    axes: Axes, point: Point, look: Look, x_limits: tuple[float, float], y_limits: tuple[float, float]
) -> tuple[Artist, str]:
    """A marker with its intervals, held at the edge if it lies beyond; return the handle and where it really is."""
    x, y = point.x, point.y
    beyond = [
        f"{name} = {e.mean:.3g}" for name, e, limits in (("x", x, x_limits), ("y", y, y_limits)) if e.mean > limits[1]
    ]
    place = min(x.mean, x_limits[1]), min(y.mean, y_limits[1])
    style = marker_style(look)
    order = 3.0 if look.width < 2 else 2.5
    if not beyond:
        axes.errorbar(*place, xerr=_error(x), yerr=_error(y), fmt="none", ecolor=look.colour, elinewidth=0.9, capsize=2)
    handle = axes.plot(*([end] for end in place), linestyle="none", clip_on=False, zorder=order, **style)[0]
    return handle, f" (off scale: {', '.join(beyond)})" if beyond else ""


def _error(found: Estimate) -> list[list[float]] | None:
    if found.low is None or found.high is None:
        return None
    return [[found.mean - found.low], [found.high - found.mean]]
