"""What there is to decide on one task: sets, models, statuses, numbers and times of paired runs, each row a draft."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

from benchmark.history import timing
from benchmark.history.causes import cause, numerics, same_outputs, same_record
from benchmark.history.model import Row
from benchmark.history.reading import Arm, Side
from benchmark.history.rules import SLOWER, Decision, Test, direction, examined, judged, same_number
from benchmark.report.columns import percentile
from benchmark.report.model import Estimate
from benchmark.specs import MetricValue, Record, Status

Pairs = dict[int, tuple[Record, Record]]  # seed -> before, after
Numbers = dict[int, tuple[MetricValue, MetricValue]]
_BAD: tuple[Status, ...] = ("failed", "diverged", "collapsed")
_LOST: tuple[Status, ...] = ("failed", "diverged")


@dataclass(frozen=True)
class Draft:
    """A row that is decided once the p-values of all are known (`test`), or one that is settled without a test."""

    row: Row
    test: Test | None = None
    times: timing.Times | None = None
    directed: bool = True


@dataclass(frozen=True)
class Paired:
    """A task's paired runs.

    Attributes:
        task: Its name.
        pairs: Arm -> seed -> before, after.
        floors: Metric -> how far exact retraining may be from the retrained model.
        before: Where the runs are from.
        after: The same.
        notes: Filled on the way: what rules a comparison out.
    """

    task: str
    pairs: dict[Arm, Pairs]
    floors: dict[str, float]
    before: Side
    after: Side
    notes: list[str] = field(default_factory=list)

    def drafts(self) -> Iterator[Draft]:
        """Everything."""
        yield from self._sets()
        yield from self._anchors()
        for arm, pairs in self.pairs.items():
            yield from self._statuses(name_of(arm), pairs)
            yield from self._qualities(name_of(arm), pairs)
        yield from self._times()

    def _sets(self) -> Iterator[Draft]:
        """Sets that have another size although the task says the same: the first seed says it for all."""
        for seed, (old, new) in (pair for pairs in self.pairs.values() for pair in pairs.items()):
            differing = [name for name in old.sizes if name in new.sizes and old.sizes[name] != new.sizes[name]]
            if differing:
                words = [", ".join(f"{name} {side.sizes[name]}" for name in differing) for side in (old, new)]
                why = f"at seed {seed} sets have other sizes, though the task is defined as before"
                yield Draft(self._exact("all", "sets", "changed", why, words, cause(old, new)))
                return

    def _anchors(self) -> Iterator[Draft]:
        """The originals and the retrained models themselves, each seed once; no way is better."""
        for part in ("original", "retrained"):
            numbers: dict[str, Numbers] = {}
            for seed, (old, new) in (pair for pairs in self.pairs.values() for pair in pairs.items()):
                for metric in (name for name in old.metrics if name in new.metrics):
                    if seed not in numbers.setdefault(metric, {}):
                        numbers[metric][seed] = _anchor(old.metrics[metric], part), _anchor(new.metrics[metric], part)
            reason = cause(*next(pair for pairs in self.pairs.values() for pair in pairs.values()))
            for metric, found in numbers.items():
                if any(old.value != new.value for old, new in found.values()):
                    yield self._tested(self._row(part, metric, found, reason), found, directed=False)

    def _statuses(self, method: str, pairs: Pairs) -> Iterator[Draft]:
        """Runs that fail, diverge or collapse, and did not."""
        old, new = ([pair[side].status for pair in pairs.values()] for side in (0, 1))
        if _counted(old) == _counted(new):
            return
        worst = [sum(status in _BAD for status in statuses) for statuses in (old, new)]
        decision: Decision = "cannot tell"
        if new.count("failed") > old.count("failed") or worst == [0, len(new)]:
            decision = "worse"
        elif new.count("failed") < old.count("failed") or worst == [len(old), 0]:
            decision = "better"
        why = f"{worst[0]} of {len(old)} runs failed, diverged or collapsed before, {worst[1]} after"
        reason = cause(*next(iter(pairs.values())))
        row = self._exact(method, "status", decision, why, [_counted(old), _counted(new)], reason)
        yield Draft(replace(row, seeds=len(old), effect=float(worst[1] - worst[0]), floor=0.0))

    def _qualities(self, method: str, pairs: Pairs) -> Iterator[Draft]:
        """Every metric."""
        lost = sum(record.status in _LOST for pair in pairs.values() for record in pair)
        alike = {seed for seed, pair in pairs.items() if same_outputs(*pair)}
        again = {seed for seed, pair in pairs.items() if not same_record(*pair)}
        for metric in dict.fromkeys(name for old, new in pairs.values() for name in old.metrics if name in new.metrics):
            numbers = {
                seed: (old.metrics[metric], new.metrics[metric])
                for seed, (old, new) in pairs.items()
                if metric in old.metrics and metric in new.metrics
            }
            row = self._row(method, metric, numbers, cause(*pairs[next(iter(numbers))]))
            differing = [seed for seed, number in numbers.items() if not same_number(*number)]
            if differing and alike >= numbers.keys():
                yield Draft(_rescored(row, numbers, differing))
            elif not again & numbers.keys() and not differing:
                yield Draft(replace(row, decision="same", why="the same records, not run again", cause=""))
            elif lost:
                why = f"{lost} of these runs have no numbers, since they failed or diverged"
                yield Draft(replace(row, decision="cannot tell", why=why))
            elif row.goal != "info":
                yield self._tested(row, numbers)

    def _times(self) -> Iterator[Draft]:
        """Unlearning in units of retraining, of runs that were measured anew."""
        anew = {
            arm: found for arm, found in self.pairs.items() if not all(same_record(*pair) for pair in found.values())
        }
        sides = [[pair[side] for found in anew.values() for pair in found.values()] for side in (0, 1)]
        if other := numerics(*sides):
            self.notes.append(f"numerics differ: {', '.join(other)}")
        reasons = []
        for arm, found in anew.items():
            old, new = (
                {seed: side.repeats[self.task, arm, seed] for seed in found} for side in (self.before, self.after)
            )
            times = timing.times(old, new)
            if times is None:
                continue
            reason = timing.incomparable(old, new)
            if reason is None:
                yield self._timed(name_of(arm), times, cause(*next(iter(found.values()))))
            else:
                reasons.append(reason)
        if reasons:
            more = f" (and others of {len(reasons)} methods)" if len(set(reasons)) > 1 else ""
            self.notes.append(f"{reasons[0]}{more}")

    def _timed(self, method: str, times: timing.Times, reason: str) -> Draft:
        test = times.test
        ends = (math.exp(end) for end in (test.change.low, test.change.high) if end is not None)
        low, high = tuple(ends) or (None, None)
        row = Row(
            kind="time",
            task=self.task,
            method=method,
            metric="time",
            label="time / retraining",
            goal="min",
            seeds=test.seeds,
            before=math.exp(fmean(map(math.log, times.before.values()))),
            after=math.exp(fmean(map(math.log, times.first.values()))),
            change=Estimate(math.exp(test.change.mean), low, high, test.seeds),
            effect=test.effect,
            floor=math.log(SLOWER),
            p_value=test.p_value,
            decision="cannot tell",
            why="",
            cause=reason,
        )
        return Draft(row, test, times)

    def _tested(self, row: Row, numbers: Numbers, directed: bool = True) -> Draft:
        old, new = ([judged(pair[side]) for pair in numbers.values()] for side in (0, 1))
        if old == new:
            return Draft(replace(row, decision="same", why="equal in every seed"))
        test = examined(old, new, direction(row.goal or "info"))
        return Draft(
            replace(row, change=test.change, effect=test.effect, p_value=test.p_value), test, directed=directed
        )

    def _row(self, method: str, metric: str, numbers: Numbers, reason: str) -> Row:
        newest = next(iter(numbers.values()))[1]
        return Row(
            kind="quality",
            task=self.task,
            method=method,
            metric=metric,
            label=newest.label,
            goal=newest.goal,
            unit=newest.unit,
            headline=newest.headline,
            seeds=len(numbers),
            before=fmean(judged(old) for old, _ in numbers.values()),
            after=fmean(judged(new) for _, new in numbers.values()),
            floor=_with_one_example(self.floors.get(metric), newest),
            decision="cannot tell",
            why="",
            cause=reason,
        )

    def _exact(self, method: str, metric: str, decision: Decision, why: str, sides: list[str], reason: str) -> Row:
        return Row(
            kind="quality",
            task=self.task,
            method=method,
            metric=metric,
            label=metric,
            headline=True,
            before=sides[0],
            after=sides[1],
            decision=decision,
            why=why,
            cause=reason,
        )


def floors(*sides: Mapping[Arm, Mapping[int, Record]]) -> dict[str, float]:
    """Metric -> how far exact retraining may be from the retrained model, by the larger of both sides."""
    found: dict[str, float] = {}
    for arms in sides:
        gaps: dict[str, list[float]] = {}
        for record in (record for seeds in arms.values() for record in seeds.values() if record.oracle):
            for name, value in record.metrics.items():
                gaps.setdefault(name, []).append(value.gap)
        found |= {name: max(found.get(name, 0.0), percentile(values)) for name, values in gaps.items()}
    return found


def name_of(arm: Arm) -> str:
    """An arm as people call it."""
    return f"{arm[0]} (placebo arm)" if arm[1] else arm[0]


def _anchor(value: MetricValue, part: str) -> MetricValue:
    """One of the two anchors as a number of its own."""
    return value.model_copy(update={"value": getattr(value, part), "goal": "info"})


def _rescored(row: Row, numbers: Numbers, differing: Sequence[int]) -> Row:
    """The same outputs, another number: exact, so one seed is enough."""
    old, new = numbers[differing[0]]
    part = next(part for part in ("value", "original", "retrained") if getattr(old, part) != getattr(new, part))
    shown = f"{part} {getattr(old, part):.4g} → {getattr(new, part):.4g} at seed {differing[0]}"
    why = f"the same outputs are scored differently in {len(differing)} of {len(numbers)} seeds ({shown})"
    return replace(row, decision="changed", why=why, cause="the metrics' code")


def _with_one_example(floor: float | None, value: MetricValue) -> float | None:
    """No share of n examples is known to less than one of them."""
    if floor is None or value.unit == "number":
        return floor
    return max(floor, (100.0 if value.unit == "points" else 1.0) / value.n)


def _counted(statuses: Sequence[Status]) -> str:
    """`ok in 3, diverged in 2`."""
    found = {status: statuses.count(status) for status in sorted(set(statuses))}
    return ", ".join(status.replace("_", " ") + (f" in {n}" if len(found) > 1 else "") for status, n in found.items())
