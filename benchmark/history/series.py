"""Every number over commits: one series for each task definition, method, metric and kind of machine, with its steps.

A record says which commit made it, and records are never edited: those of today hold the whole history. Series are
never joined across task definitions, devices or versions of torch (METRICS 6), those of times across machines either.
"""

import csv
import io
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np

from benchmark.errors import BenchmarkError
from benchmark.history.compare import Selection
from benchmark.history.drafts import floors, name_of
from benchmark.history.reading import Side, as_side, read
from benchmark.history.repository import Commit, Repository
from benchmark.history.rules import SLOWER, direction, judged
from benchmark.history.steps import levels, segments
from benchmark.report.columns import estimate
from benchmark.report.model import Estimate
from benchmark.specs import Goal, PopulationRecord, Record, Unit, canonical_hash

TIME = "time"
_LEAST_STEP = SLOWER - 1  # as a share of the level before, METRICS 6


@dataclass(frozen=True)
class Point:
    """A number at a commit: by seed what is judged, and the mean of the value itself."""

    commit: Commit
    seeds: dict[int, float]
    value: float

    @property
    def judged(self) -> Estimate:
        """Mean over seeds with its 95 % interval."""
        return estimate(list(self.seeds.values()))


@dataclass(frozen=True)
class Step:
    """Where the level of a series changes; worse if it goes the wrong way."""

    commit: Commit
    before: float
    after: float
    worse: bool


@dataclass(frozen=True)
class Series:
    """One number over commits, oldest first.

    Attributes:
        task: Its name.
        definition: Hash of what the task is.
        method: Its name, `(placebo arm)` added.
        metric: The name of the number.
        environment: Device, version of torch; of times also processor and threads.
        label: The metric as people call it.
        goal: Of the metric; the gap to the retrained model is followed where that is the goal.
        unit: Of the numbers.
        headline: Whether it stands in the leaderboard.
        floor: How far exact retraining is from itself, if that is known.
        points: One for each commit that has records.
        starts: Where segments begin, the first at 0.
    """

    task: str
    definition: str
    method: str
    metric: str
    environment: str
    label: str
    goal: Goal
    unit: Unit
    headline: bool
    floor: float | None = None
    points: list[Point] = field(default_factory=list)
    starts: list[int] = field(default_factory=lambda: [0])

    @property
    def values(self) -> list[float]:
        """What is judged, by commit."""
        return [point.judged.mean for point in self.points]

    @property
    def levels(self) -> list[float]:
        """The level of each segment."""
        return levels(self.values, self.starts)

    @property
    def steps(self) -> list[Step]:
        """The changes of level."""
        up = direction(self.goal) == "max"
        pairs = zip(self.starts[1:], self.levels, self.levels[1:], strict=False)
        return [Step(self.points[at].commit, old, new, (new < old) == up) for at, old, new in pairs]

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {"steps": [asdict(step) for step in self.steps], "points": list(_rows(self))}


@dataclass(frozen=True)
class History:
    """Every series of a results folder, and sentences on what was left out."""

    series: list[Series]
    notes: list[str]

    def selected(self, selection: Selection) -> list[Series]:
        """Those that are asked for; of the leaderboard, unless metrics are named."""
        names = [{getattr(one, part) for one in self.series} for part in ("task", "method", "metric")]
        selection.check(*names)
        return [
            one
            for one in self.series
            if selection.covers(one.task, one.method, one.metric) and (one.headline or selection.metrics)
        ]


def load(results: Path) -> History:
    """The history of a results folder.

    Raises:
        BenchmarkError: If it holds no records or lies in no git repository.
    """
    records, populations = read(results)
    if not records:
        raise BenchmarkError(f"{results}: there are no records here; `run` makes some, or give another --results.")
    return history(records, populations, Repository(results).commits)


def history(
    records: Sequence[Record], populations: Sequence[PopulationRecord], commits: Mapping[str, Commit]
) -> History:
    """The series of some records, in the order of commits.

    Args:
        records: Of any commit.
        populations: Likewise.
        commits: Hash -> commit, oldest first; records of others are left out.
    """
    by_commit: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_commit["" if record.provenance.dirty else record.provenance.commit].append(record)
    sides = {
        sha: as_side(sha, sha, by_commit[sha], [one for one in populations if one.provenance.commit == sha])
        for sha in commits
        if sha in by_commit
    }
    unknown = {sha: len(found) for sha, found in by_commit.items() if sha and sha not in commits}
    notes = []
    if unknown:
        names = ", ".join(sha[:10] for sha in sorted(unknown))
        notes.append(f"{sum(unknown.values())} records of commits that are no ancestors of HEAD are left out: {names}.")
    if by_commit.get(""):
        notes.append(f"{len(by_commit[''])} records of code that was not committed are left out.")
    found: dict[tuple[str, ...], Series] = {}
    for sha, side in sides.items():
        for one in _points(side, commits[sha]):
            key = (one.task, one.definition, one.method, one.metric, one.environment)
            known = found.get(key, replace(one, points=[]))
            found[key] = replace(one, points=[*known.points, *one.points], floor=_larger(known.floor, one.floor))
    return History([_stepped(found[key]) for key in sorted(found)], notes)


def as_csv(series: Sequence[Series]) -> str:
    """One line for each number and commit; six significant digits."""
    rows = [row for one in series for row in _rows(one)]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: f"{v:.6g}" if isinstance(v, float) else v for name, v in row.items()} for row in rows)
    return text.getvalue()


def _rows(one: Series) -> Iterator[dict[str, Any]]:
    steps = {step.commit.sha: step for step in one.steps}
    segment = -1
    for place, point in enumerate(one.points):
        segment += place in one.starts
        step = steps.get(point.commit.sha)
        yield {
            "task": one.task,
            "definition": one.definition,
            "method": one.method,
            "metric": one.metric,
            "goal": one.goal,
            "unit": one.unit,
            "environment": one.environment,
            "commit": point.commit.sha,
            "date": point.commit.date,
            "seeds": len(point.seeds),
            "value": point.value,
            "judged": point.judged.mean,
            "judged_low": point.judged.low,
            "judged_high": point.judged.high,
            "level": one.levels[segment],
            "floor": one.floor,
            "step": step.after - step.before if step else None,
            "worse": step.worse if step else None,
        }


def _points(side: Side, commit: Commit) -> Iterator[Series]:
    """Series of one point each: what one commit says of every number."""
    for task, arms in side.runs.items():
        known = floors(arms)
        for arm, by_seed in arms.items():
            groups: dict[str, dict[int, Record]] = defaultdict(dict)
            for seed, record in by_seed.items():
                groups[_environment(record)][seed] = record
            for environment, found in groups.items():
                empty = partial(Series, task, canonical_hash(side.task(task).identity())[:8], name_of(arm))
                yield from _numbers(empty, environment, found, known, commit)
                yield from _times(empty, environment, found, commit)


def _numbers(
    empty: Callable[..., Series], environment: str, found: Mapping[int, Record], known: Mapping[str, float],
    commit: Commit,
) -> Iterator[Series]:  # fmt: skip
    for metric in dict.fromkeys(name for record in found.values() for name in record.metrics):
        values = {seed: record.metrics[metric] for seed, record in found.items() if metric in record.metrics}
        first = next(iter(values.values()))
        if first.goal != "info":
            by_seed = {seed: judged(value) for seed, value in values.items()}
            point = Point(commit, by_seed, fmean(value.value for value in values.values()))
            meaning = (first.label, first.goal, first.unit, first.headline)
            yield empty(metric, environment, *meaning, known.get(metric), [point])


def _times(
    empty: Callable[..., Series], environment: str, found: Mapping[int, Record], commit: Commit
) -> Iterator[Series]:
    costs = {seed: record.cost for seed, record in found.items() if record.cost}
    ratios = {s: c.unlearn_seconds / c.retrain_seconds for s, c in costs.items() if c.retrain_seconds > 0}
    if ratios:
        processor = next(iter(found.values())).provenance.hardware.get("processor", "")
        machine = f"{environment}, {processor}, {next(iter(costs.values())).threads} threads"
        point = Point(commit, ratios, fmean(ratios.values()))
        yield empty(TIME, machine, "time / retraining", "min", "number", True, None, [point])


def _environment(record: Record) -> str:
    device = record.cost.device.partition(":")[0] if record.cost else "unknown"
    return f"{device}, torch {record.provenance.versions.get('torch', 'unknown')}"


def _larger(one: float | None, other: float | None) -> float | None:
    return max((floor for floor in (one, other) if floor is not None), default=None)


def _stepped(one: Series) -> Series:
    """The series with the steps that count: larger than 5 % of the level before, and than the noise of retraining."""
    starts = segments(one.values, _noise(one.points))
    while True:
        found = levels(one.values, starts)
        small = [
            at
            for at, old, new in zip(starts[1:], found, found[1:], strict=False)
            if abs(new - old) <= max(_LEAST_STEP * abs(old), one.floor or 0.0)
        ]
        if not small:
            return replace(one, starts=starts)
        starts = [at for at in starts if at not in small[:1]]


def _noise(points: Sequence[Point]) -> float:
    """Mean absolute deviation of a mean over seeds, from how seeds disagree on the change from commit to commit."""
    errors = []
    for old, new in pairwise(points):
        differences = [new.seeds[seed] - old.seeds[seed] for seed in old.seeds if seed in new.seeds]
        if len(differences) > 1 and (error := float(np.std(differences, ddof=1)) / math.sqrt(len(differences))) > 0:
            errors.append(error / math.sqrt(2))
    return math.sqrt(2 / math.pi) * median(errors) if errors else 0.0
