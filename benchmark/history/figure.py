"""A series as a figure: the number at each commit with its interval, the fitted levels, the steps."""

from matplotlib import rc_context
from matplotlib.figure import Figure

from benchmark.history.series import Series
from benchmark.report.looks import STYLE, encode, new_figure

LEAST_COMMITS = 3
_BLUE, _RED, _GREEN = "#0072B2", "#D55E00", "#009E73"
_MOST_NAMES = 30


def drawn(series: Series) -> dict[str, bytes]:
    """PNG and SVG of a series of three commits or more."""
    with rc_context(STYLE):
        return encode(_figure(series))


def file_name(series: Series) -> str:
    """`<task>-<definition>-<method>-<metric>`, as a file may be called."""
    name = f"{series.task}-{series.definition}-{series.method}-{series.metric}"
    return "".join(letter if letter.isalnum() or letter in "-_." else "." for letter in name)


def _figure(series: Series) -> Figure:
    count = len(series.points)
    figure = new_figure(max(5.0, min(12.0, 1.6 + 0.32 * count)), 3.4)
    axes = figure.subplots()
    means = series.values
    for place, point in enumerate(series.points):
        if point.judged.low is not None and point.judged.high is not None:
            axes.plot([place, place], [point.judged.low, point.judged.high], color=_BLUE, linewidth=0.8, alpha=0.6)
    axes.plot(range(count), means, "o", color=_BLUE, markersize=3.5)
    ends = [*series.starts[1:], count]
    for start, end, level in zip(series.starts, ends, series.levels, strict=True):
        axes.plot([start - 0.4, end - 0.6], [level, level], color="#000000", linewidth=1.4)
    for at, step in zip(series.starts[1:], series.steps, strict=True):
        colour = _RED if step.worse else _GREEN
        axes.axvline(at - 0.5, color=colour, linewidth=1.0, linestyle=(0, (4, 2)))
        words = f" {'worse' if step.worse else 'better'}: {step.before:.3g} → {step.after:.3g}\n {step.commit.short}"
        axes.annotate(words, (at - 0.5, 1.0), xycoords=("data", "axes fraction"), va="top", color=colour, fontsize=7)
    every = -(-count // _MOST_NAMES)
    places = range(0, count, every)
    axes.set_xticks(places, [series.points[place].commit.sha[:7] for place in places], rotation=90, fontsize=6.5)
    what = f"gap of {series.label}" if series.goal == "match_retrained" else series.label
    better = "higher is better" if series.goal == "max" else "lower is better"
    axes.set(ylabel=f"{what}\n({better})", xlim=(-0.8, count - 0.2))
    title = f"{series.task}, {series.method}: {what}\n{series.environment}; means over seeds, 95 % intervals"
    figure.suptitle(title, x=0.01, ha="left", fontsize=8.5)
    return figure
