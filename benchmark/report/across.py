"""Scores across tasks: interquartile mean of S, average rank, and who is beaten in nothing (METRICS 5).

Tasks belong together if they stand in one suite and have the same primary attack. Only admitted ones count, each the
same, and only methods that ran on all of them with every seed are compared. Ensembles are left out: they repeat a
task that is there already. S is clipped to [-1, 1]; a failure counts -1; where utility was lost, forgetting earns
nothing: S counts 0 at most.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, geometric_mean

import numpy as np

from benchmark.report import words
from benchmark.report.model import Estimate, Row, TaskSummary
from benchmark.report.validity import in_points, loss
from benchmark.stats import average_rank, balanced_iqm, pareto_set

LEAST_TASKS = 2


@dataclass(frozen=True)
class Standing:
    """A method over all admitted tasks of a group.

    Attributes:
        row: Its row on the first of the tasks, for name, kind and access.
        score: Interquartile mean of clipped S over tasks and seeds.
        average_rank: Mean rank over tasks; None for an exact method.
        utility_gap: Points lost beyond what retraining loses, mean over tasks.
        speedup: Against retraining, geometric mean over tasks; 0 after a failure.
        front: Whether no other method is as good in score, utility gap and time and better in one.
        remarks: Flags and failures with how many tasks they hold for.
    """

    row: Row
    score: Estimate
    average_rank: float | None
    utility_gap: float | None
    speedup: float | None
    front: bool
    remarks: list[str]


@dataclass(frozen=True)
class Across:
    """Tasks of one suite that are attacked in the same way, taken together."""

    suite: str
    paradigms: list[str]
    tasks: list[str]
    demonstrations: list[str]
    distances: list[str]
    standings: list[Standing]
    incomplete: dict[str, int]


def across(tasks: Sequence[TaskSummary]) -> list[Across]:
    """A group for each suite and primary attack that has tasks, in the order of suites."""
    groups: dict[tuple[str, str], list[TaskSummary]] = defaultdict(list)
    for task in tasks:
        if not task.ensemble and not task.in_shards:
            groups[(task.suite, task.primary or task.paradigm)].append(task)
    return [_group(suite, groups[suite, attack]) for suite, attack in sorted(groups)]


def _group(suite: str, tasks: list[TaskSummary]) -> Across:
    admitted = [task for task in tasks if task.demonstration is None]
    by_name: dict[str, list[Row]] = defaultdict(list)
    for task in admitted:
        for row in task.rows:
            if not row.is_anchor and row.verdict.scores:
                by_name[row.name].append(row)
    everybody = {row.name for task in admitted for row in task.rows if not row.is_anchor}
    complete = {name: rows for name, rows in by_name.items() if len(rows) == len(admitted)}
    return Across(
        suite=suite,
        paradigms=sorted({task.paradigm for task in tasks}),
        tasks=[task.name for task in admitted],
        demonstrations=[task.name for task in tasks if task.demonstration is not None],
        distances=sorted({words.distance(column) for task in admitted if (column := task.sorted_by)}),
        standings=_standings(complete, admitted) if len(admitted) >= LEAST_TASKS else [],
        incomplete={name: len(by_name.get(name, [])) for name in sorted(everybody - complete.keys())},
    )


def _standings(by_name: dict[str, list[Row]], tasks: list[TaskSummary]) -> list[Standing]:
    methods = [name for name, rows in by_name.items() if rows[0].kind == "method"]
    ranks = _average_ranks({name: by_name[name] for name in methods})
    found = [_standing(rows, tasks, ranks.get(name)) for name, rows in by_name.items()]
    found.sort(key=lambda s: (s.row.kind != "oracle", -s.score.mean, s.row.name))
    front = _front([standing for standing in found if standing.row.kind == "method"])
    return [replace(standing, front=standing.row.name in front) for standing in found]


def _standing(rows: list[Row], tasks: list[TaskSummary], rank: float | None) -> Standing:
    iqm = balanced_iqm([_counted(row) for row in rows])
    losses = [lost for row, task in zip(rows, tasks, strict=True) if (lost := _points_lost(row, task)) is not None]
    speedups = [row.speedup for row in rows if row.speedup is not None]
    return Standing(
        row=rows[0],
        score=Estimate(iqm["mean"], iqm["low"], iqm["high"], min(len(row.verdict.scores) for row in rows)),
        average_rank=rank,
        utility_gap=fmean(losses) if len(losses) == len(rows) else None,
        speedup=_speedup(speedups) if len(speedups) == len(rows) else None,
        front=False,
        remarks=_remarks(rows),
    )


def _counted(row: Row) -> list[float]:
    """S of each seed as it counts."""
    most = 0.0 if row.collapsed or "utility lost" in row.verdict.flags else 1.0
    scores: list[float] = np.clip(list(row.verdict.scores.values()), -1.0, most).tolist()
    return scores


def _average_ranks(by_name: dict[str, list[Row]]) -> dict[str, float]:
    if not by_name:
        return {}
    values = [[fmean(_counted(row)) for row in rows] for rows in by_name.values()]
    failed = [[row.failed for row in rows] for rows in by_name.values()]
    ranks = average_rank(np.transpose(values), np.transpose(failed), "max")
    return dict(zip(by_name, ranks.tolist(), strict=True))


def _points_lost(row: Row, task: TaskSummary) -> float | None:
    """Percentage points of utility beyond what retraining loses."""
    column = task.columns.get(task.utility or "")
    if column is None:
        return None
    cell = row.cells.get(column.name)
    if row.failed:
        return 100.0
    return in_points(loss(cell, column), column.unit) if cell else None


def _speedup(speedups: list[float]) -> float:
    return geometric_mean(speedups) if min(speedups) > 0 else 0.0


def _front(standings: list[Standing]) -> set[str]:
    """Undominated in score, utility gap and time, among methods that clearly forget and never failed."""
    entrants = [
        (s.row.name, [s.score.mean, s.utility_gap, -float(np.log(s.speedup))])
        for s in standings
        if s.speedup and s.utility_gap is not None and (s.score.low or 0.0) > 0
    ]
    if not entrants:
        return set()
    kept = pareto_set([values for _, values in entrants], ["max", "min", "min"])
    return {entrants[index][0] for index in kept}


def _remarks(rows: list[Row]) -> list[str]:
    """Flags and bad ends, with how many tasks they hold for."""
    counts: Counter[str] = Counter(flag for row in rows for flag in row.verdict.flags)
    counts.update(row.status.replace("_", " ") for row in rows if row.status != "ok")
    return [what if n == len(rows) else f"{what} in {n} of {len(rows)} tasks" for what, n in counts.items()]
