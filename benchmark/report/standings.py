"""The tables across tasks and the sentences below them, in the same form as those of a task."""

from benchmark.report import words
from benchmark.report.across import LEAST_TASKS, Across, Standing
from benchmark.report.layout import FULL, Detail, Head, Layout, Line, Text


def standings(group: Across, detail: Detail = FULL) -> Layout:
    """The grid of a group that has standings."""
    remarks = any(standing.remarks for standing in group.standings)
    grid = [_line(standing, remarks, detail) for standing in group.standings]
    lines = [Line(s.row.kind, False, [text for _, text in line]) for s, line in zip(group.standings, grid, strict=True)]
    return Layout(f"{_title(group)}, {len(group.tasks)} tasks", [head for head, _ in grid[0]], lines, _legend(group))


def _title(group: Across) -> str:
    """`quick (moco, simclr)`."""
    return f"{group.suite} ({', '.join(group.paradigms)})"


def without(group: Across) -> str:
    """Why a group has no table, in a sentence."""
    count = len(group.tasks)
    tasks = f"{count or 'no'} task{'s' * (count != 1)}"
    return f"{_title(group)}: {tasks} on which methods are ranked; a score across tasks takes {LEAST_TASKS}."


def _line(standing: Standing, remarks: bool, detail: Detail) -> list[tuple[Head, Text]]:
    row, gap, rank = standing.row, standing.utility_gap, standing.average_rank
    line = [(Head("method", "left"), Text(words.row_name(row)))]
    if detail.access:
        line.append((Head("access", "left"), Text(words.access(row))))
    line += [
        (Head("S\u00a0↑"), Text(_interval(standing))),
        (Head("mean rank\u00a0↓"), Text(words.NOTHING if rank is None else f"{rank:.1f}")),
        (Head("utility gap (points)\u00a0↓"), Text(words.NOTHING if gap is None else words.number(gap, "points"))),
    ]
    if detail.cost:
        fast = words.NOTHING if standing.speedup is None else words.speedup(standing.speedup)
        line.append((Head("speed-up\u00a0↑"), Text(fast)))
    line.append((Head("Pareto"), Text("●" if standing.front else "")))
    return [*line, *([(Head("remarks", "left"), Text("; ".join(standing.remarks)))] if remarks else [])]


def _interval(standing: Standing) -> str:
    """The ends, for they need not lie evenly."""
    score = standing.score
    mean = words.share(score, intervals=False)
    low, high = (words.signed(f"{end or 0.0:.2f}") for end in (score.low, score.high))
    return mean if low == high else f"{mean} [{low}, {high}]"


def _legend(group: Across) -> list[str]:
    runs = min(standing.score.n_seeds for standing in group.standings)
    worst = f"a failure counts {words.MINUS}1, lost utility 0 at most"
    lines = [
        f"S: share of the way from the original (0) to retraining (1), by {' or '.join(group.distances)}. "
        f"Interquartile mean over tasks and seeds, in brackets its 95% bootstrap interval; {worst}. "
        f"Such intervals are too narrow with few seeds (here {runs} a task at least).",
        "Mean rank: among those shown. Utility gap: points lost beyond what retraining loses. ●: among methods that "
        "clearly forget (S's interval above 0) none is as good in S, utility gap and time and better in one.",
        f"Tasks: {', '.join(group.tasks)}.",
    ]
    if group.demonstrations:
        lines.append(f"Left out, for nobody can be ranked on them: {', '.join(group.demonstrations)}.")
    if group.incomplete:
        missing = ", ".join(f"{name} ({count} of {len(group.tasks)})" for name, count in group.incomplete.items())
        lines.append(f"Incomplete, without a score on every task: {missing}.")
    return lines
