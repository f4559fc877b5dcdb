"""Is it slower? Unlearning in units of retraining, the reference job of the same machine and session.

A slow-down counts once a second measurement (`run --fresh`) confirms it; machines, numerics and loads that differ are
not compared. What slows training itself slows the reference as well: tests/benchmarks watches that.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from benchmark.history.causes import machines, numerics
from benchmark.history.rules import ALPHA, FAMILY, LEAST, SLOWER, Decision, Test, examined, inside
from benchmark.specs import Cost, Record

_LEAST_SECONDS = 0.01  # a difference that nobody waits for
_BUSIER = 1.0  # difference in load per core from which two sessions are not comparable

Measured = Mapping[int, Sequence[Record]]  # seed -> records of one key, oldest first


@dataclass(frozen=True)
class Times:
    """Unlearning in units of retraining, by seed: before, and in the first and the last measurement after."""

    before: dict[int, float]
    first: dict[int, float]
    last: dict[int, float]
    seconds: tuple[float, float]
    own_reference: bool

    @property
    def test(self) -> Test:
        """Of the first measurement."""
        return _tested(self.before, self.first)


def times(before: Measured, after: Measured) -> Times | None:
    """Times of paired seeds; None if there are none with a sound clock."""
    seeds = [seed for seed in before if seed in after and _sound(before[seed]) and _sound(after[seed])]
    if not seeds:
        return None
    again = [seed for seed in seeds if len(after[seed]) > 1]
    old, new = (fmean(_cost(side[seed][-1]).unlearn_seconds for seed in seeds) for side in (before, after))
    return Times(
        before={seed: median(map(_ratio, before[seed])) for seed in seeds},
        first={seed: _ratio(after[seed][0]) for seed in seeds},
        last={seed: _ratio(after[seed][-1]) for seed in again},
        seconds=(old, new),
        own_reference=any(_reference(before[seed][-1]) != _reference(after[seed][0]) for seed in seeds),
    )


def incomparable(before: Measured, after: Measured) -> str | None:
    """Why two groups of times are not comparable; None if they are."""
    old, new = ([found[-1] for found in side.values()] for side in (before, after))
    differences = machines(old, new) + numerics(old, new)
    if differences:
        return f"times are not compared: {', '.join(dict.fromkeys(differences))}"
    loads = [median(_load(record) for record in side if record.cost) for side in (old, new)]
    if abs(loads[1] - loads[0]) > _BUSIER:
        return f"times are not compared: load per core {loads[0]:.1f} → {loads[1]:.1f}"
    return None


def decide(found: Times, adjusted: float | None) -> tuple[Decision, str]:
    """The decision on times, and why."""
    ratio = f"{math.exp(found.test.effect):.2g}×"
    if adjusted is None:
        return "cannot tell", f"{found.test.seeds} seeds, and {LEAST} are the least that decide"
    if abs(found.seconds[1] - found.seconds[0]) < _LEAST_SECONDS:
        return "same", f"less than {_LEAST_SECONDS:g} s apart"
    if inside(found.test.change, math.log(SLOWER)):
        return "same", f"within {100 * (SLOWER - 1):.0f} %"
    if not _counts(found.test) or adjusted > FAMILY:
        return "cannot tell", f"{found.test.seeds} seeds leave it open, p = {found.test.p_value:.2g}"
    if found.test.effect < 0:
        return "better", f"faster, {ratio}"
    if len(found.last) < LEAST:
        stale = "" if found.own_reference else ", by a reference job that was not measured again"
        return "cannot tell", f"slower once ({ratio}{stale}); measure again with `run --fresh`"
    second = _tested({seed: found.before[seed] for seed in found.last}, found.last)
    if _counts(second) and second.effect > 0:
        return "worse", f"slower in both measurements, {ratio} and {math.exp(second.effect):.2g}×"
    return "same", f"slower once ({ratio}), not confirmed by the second measurement"


def _tested(before: Mapping[int, float], after: Mapping[int, float]) -> Test:
    old, new = ([math.log(side[seed]) for seed in after] for side in (before, after))
    return examined(old, new, "min")


def _counts(test: Test) -> bool:
    return test.p_value is not None and test.p_value < ALPHA and abs(test.effect) > math.log(SLOWER)


def _sound(records: Sequence[Record]) -> bool:
    return all(r.cost is not None and r.cost.unlearn_seconds > 0 and r.cost.retrain_seconds > 0 for r in records)


def _ratio(record: Record) -> float:
    return _cost(record).unlearn_seconds / _cost(record).retrain_seconds


def _reference(record: Record) -> float:
    return _cost(record).retrain_seconds


def _load(record: Record) -> float:
    return _cost(record).load_average / max(1, int(record.provenance.hardware.get("cores", 1)))


def _cost(record: Record) -> Cost:
    assert record.cost is not None
    return record.cost
