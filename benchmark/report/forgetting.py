"""The forgetting score S: which share of the way from the original to retraining a method went (METRICS 3).

S = 1 - (d_unlearned - d0) / (d_original - d0), d the task's distance to the retrained model and d0 what exact
retraining leaves of it. d0 and the mean of the originals are constants of the task, so that S of single seeds average
to the S that is printed. Its interval is Fieller's for the ratio of paired means: with five seeds a bootstrap of them
covers 83 % where it says 95.
"""

from benchmark.report.model import Estimate, Row, TaskSummary
from benchmark.report.validity import band, counts
from benchmark.stats import normalised_forgetting, ratio_interval

WORST = -1.0


def distances(row: Row, task: TaskSummary) -> dict[int, float] | None:
    """Seed -> d of a row; None if it has none for every seed, or none that may rank it."""
    column = task.sorted_by
    cell = row.cells.get(column.name) if column else None
    if column is None or cell is None or not counts(cell, column) or set(cell.gaps) != set(task.seeds):
        return None
    return {seed: abs(gap) for seed, gap in cell.gaps.items()}


def score(row: Row, task: TaskSummary) -> Estimate | None:
    """S of a row with its interval; None where it has no distance."""
    if row.failed:
        return Estimate(WORST, None, None, row.n_seeds)
    if row.kind == "retrained":
        return Estimate(1.0, None, None, task.n_seeds)
    found, original = distances(row, task), distances(task.row("original"), task)
    if found is None or original is None:
        return None
    floor = _floor_mean(task)
    ratio = ratio_interval([found[seed] - floor for seed in original], [d - floor for d in original.values()])
    mean = _share(sum(found.values()) / len(found), task)
    return Estimate(mean, 1 - ratio["high"], 1 - ratio["low"], len(found))


def scores(row: Row, task: TaskSummary) -> dict[int, float]:
    """Seed -> S, not clipped; of a failed row the worst for every seed."""
    if row.failed:
        return dict.fromkeys(distances(task.row("original"), task) or {}, WORST)
    return {seed: _share(d, task) for seed, d in (distances(row, task) or {}).items()}


def _share(distance: float, task: TaskSummary) -> float:
    original = list((distances(task.row("original"), task) or {}).values())
    column = task.sorted_by
    assert column is not None  # whoever has a distance stands on an admitted task
    return normalised_forgetting(distance, sum(original) / len(original), _floor_mean(task), band(column))


def _floor_mean(task: TaskSummary) -> float:
    column = task.sorted_by
    return column.floor.distance.mean if column and column.floor else 0.0
