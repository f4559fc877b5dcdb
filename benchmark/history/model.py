"""What a comparison knows, typed."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from benchmark.history.rules import Decision
from benchmark.report.model import Estimate
from benchmark.specs import Goal, Unit

Kind = Literal["quality", "time"]
_RARE = 0.05  # what is worth a look, though it decides nothing
ORDER: tuple[Decision, ...] = ("worse", "changed", "better", "cannot tell", "same")


@dataclass(frozen=True)
class Row:
    """One thing that was held against each other, over paired seeds.

    Attributes:
        kind: Quality, or time.
        task: Its name.
        method: Its name, `(placebo arm)` added; `original` or `retrained` for these models themselves.
        metric: The name of the number; `status`, `sets` or `time` for what is no metric's.
        label: The metric as people call it.
        goal: Of the metric; None where there is none.
        unit: Of the numbers.
        headline: Whether it stands in the leaderboard.
        seeds: How many pairs.
        before: Mean of what is judged (the gap to retraining, if that is the goal), or words.
        after: The same.
        change: Mean of after - before with its 95 % interval; for times after / before.
        effect: Median change, positive = worse; for times the logarithm of the ratio.
        floor: What a change must exceed to count.
        p_value: Of the test, before Holm.
        adjusted: After Holm.
        decision: Worse, better, changed (no way is better), same, cannot tell.
        why: The reason.
        cause: Which part of code or settings differs.
    """

    kind: Kind
    task: str
    method: str
    metric: str
    decision: Decision
    why: str
    before: float | str
    after: float | str
    label: str = ""
    goal: Goal | None = None
    unit: Unit = "number"
    headline: bool = False
    seeds: int = 0
    change: Estimate | None = None
    effect: float | None = None
    floor: float | None = None
    p_value: float | None = None
    adjusted: float | None = None
    cause: str = ""

    @property
    def regressed(self) -> bool:
        """Whether it fails a comparison."""
        return self.decision in ("worse", "changed")

    @property
    def suspicious(self) -> bool:
        """Undecided, of the leaderboard, larger than the noise and rare by chance: what more seeds should look at."""
        large = self.effect is not None and self.floor is not None and abs(self.effect) > self.floor
        rare = self.p_value is None or self.p_value < _RARE
        return self.decision == "cannot tell" and (self.kind == "time" or self.headline) and large and rare


@dataclass(frozen=True)
class TaskPairs:
    """What of a task was paired.

    Attributes:
        name: Of the task.
        pairs: Runs on both sides.
        not_again: Of these, how many are the same record on both.
        only_before: Runs of one side alone.
        only_after: Of the other.
        reason: Why the task is not compared; None if it is.
        causes: Which parts of code or settings differ -> the methods whose runs differ in them.
        notes: On machines, numerics and what they rule out.
    """

    name: str
    pairs: int = 0
    not_again: int = 0
    only_before: int = 0
    only_after: int = 0
    reason: str | None = None
    causes: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Comparison:
    """Everything that was held against each other, the worst first.

    Attributes:
        before: The one side, in words.
        after: The other.
        tasks: Of either.
        rows: What was compared.
    """

    before: str
    after: str
    tasks: list[TaskPairs]
    rows: list[Row]

    def regressions(self, kind: str = "any") -> list[Row]:
        """What regressed: in quality, in time, or in any way."""
        return [row for row in self.rows if row.regressed and kind in ("any", row.kind)]

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "before": self.before,
            "after": self.after,
            "regressed": {kind: bool(self.regressions(kind)) for kind in ("quality", "time")},
            "tasks": [asdict(task) for task in self.tasks],
            "rows": [asdict(row) for row in self.rows],
        }
