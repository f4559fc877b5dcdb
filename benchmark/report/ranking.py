"""Who is ranked, in which order, how sure that is: Holm-adjusted paired t-tests on d, rank intervals (METRICS 5)."""

from dataclasses import replace
from itertools import combinations
from statistics import fmean

from benchmark.report.forgetting import distances, score, scores
from benchmark.report.model import Cell, Column, Estimate, Lead, Row, TaskSummary
from benchmark.report.validity import counts
from benchmark.stats import holm, paired_difference, rank_interval

_KINDS = ["original", "retrained", "oracle", "method"]


def ranked(task: TaskSummary) -> TaskSummary:
    """The task with its rows in order; on an admitted one with ranks, scores, leads and the best of each column."""
    if task.sorted_by is None:
        return replace(task, rows=sorted(task.rows, key=lambda row: (_KINDS.index(row.kind), row.failed, row.name)))
    contest = Contest({row.name: d for row in task.rows if (d := _enters(row, task))})
    failures = sum(row.failed and row.kind == "method" for row in task.rows)
    rows = [_judged(row, task, contest, failures) for row in task.rows]
    return replace(task, rows=with_best(sorted(rows, key=lambda row: _place(row, task)), task))


def _enters(row: Row, task: TaskSummary) -> dict[int, float] | None:
    """The d of a method that may be ranked: measured on every seed, and its utility kept (METRICS V3, V13, 2.1)."""
    kept = not row.collapsed and "utility lost" not in row.verdict.flags
    return distances(row, task) if row.kind == "method" and kept else None


def _judged(row: Row, task: TaskSummary, contest: "Contest", failures: int) -> Row:
    rank = contest.ranks.get(row.name)
    if row.failed and row.kind == "method":
        rank = len(contest.ranks) + 1, len(contest.ranks) + failures
    verdict = replace(
        row.verdict,
        ranked=row.name in contest.distances,
        rank=rank,
        score=score(row, task),
        scores=scores(row, task),
        lead=contest.lead(row.name),
    )
    return replace(row, verdict=verdict)


def _place(row: Row, task: TaskSummary) -> tuple[int, bool, bool, bool, float, str]:
    """Anchors, oracles, ranked, unranked, collapsed, failed; within these by d."""
    d = fmean((distances(row, task) or {0: float("inf")}).values())
    return (_KINDS.index(row.kind), row.failed, row.collapsed, not row.verdict.ranked, d, row.name)


class Contest:
    """All paired comparisons of one table, as one family.

    Args:
        distances: Method -> seed -> d, the same seeds for all.
    """

    def __init__(self, distances: dict[str, dict[int, float]]) -> None:
        means = {name: fmean(by_seed.values()) for name, by_seed in distances.items()}
        self.distances = {name: distances[name] for name in sorted(means, key=lambda name: (means[name], name))}
        self._pairs = list(combinations(self.distances, 2))
        p_values = [paired_difference(*self._values(*pair))["p_value"] for pair in self._pairs]
        self._adjusted = holm(p_values) if p_values else {"adjusted": [], "reject": []}
        self.ranks = self._ranks()

    def lead(self, name: str) -> Lead | None:
        """Against the best of the others."""
        others = [other for other in self.distances if other != name]
        if name not in self.distances or not others:
            return None
        pair = (name, others[0]) if (name, others[0]) in self._pairs else (others[0], name)
        adjusted = self._adjusted["adjusted"][self._pairs.index(pair)]
        found = paired_difference(*self._values(name, others[0]))
        difference = Estimate(found["mean"], found["low"], found["high"], len(self.distances[name]))
        return Lead(others[0], difference, adjusted)

    def _ranks(self) -> dict[str, tuple[int, int]]:
        """Best and worst rank that each method may hold."""
        place = {name: index for index, name in enumerate(self.distances)}
        better = [[False] * len(place) for _ in place]
        for (winner, loser), told in zip(self._pairs, self._adjusted["reject"], strict=True):
            better[place[winner]][place[loser]] = told
        intervals = rank_interval(better) if place else []
        return {name: (best, worst) for name, (best, worst) in zip(place, intervals, strict=True)}

    def _values(self, name: str, other: str) -> tuple[list[float], list[float]]:
        one, two = self.distances[name], self.distances[other]
        return [one[seed] for seed in one], [two[seed] for seed in one]


def with_best(rows: list[Row], task: TaskSummary) -> list[Row]:
    """Mark the best of each column among ranked methods that did something; a lone candidate is not best."""
    candidates = [row for row in rows if row.verdict.ranked and row.status == "ok"]
    best: set[tuple[str, str]] = set()
    for column in task.columns.values():
        scores_of = {
            row.name: badness(cell, column)
            for row in candidates
            if (cell := row.cells.get(column.name)) and counts(cell, column)
        }
        if column.goal != "info" and column.tier != "legacy" and len(scores_of) > 1:
            least = min(scores_of.values())
            best |= {(name, column.name) for name, value in scores_of.items() if value == least}
    return [
        replace(row, cells={n: replace(cell, best=(row.name, n) in best) for n, cell in row.cells.items()})
        for row in rows
    ]


def badness(cell: Cell, column: Column) -> float:
    """How far a cell is from what is good: mean |gap|, the mean, or minus the mean."""
    return {"match_retrained": cell.distance.mean, "max": -cell.value.mean}.get(column.goal, cell.value.mean)
