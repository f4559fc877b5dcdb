"""What a report knows, typed: tasks, their columns (metrics) and rows (the two anchors and the methods).

Every number is an `Estimate` over training seeds; every distance to the retrained model is paired by seed.
"""

from dataclasses import dataclass, field
from typing import Literal

from benchmark.specs import Goal, Role, Signal, Status, Tier, Unit

Kind = Literal["original", "retrained", "oracle", "method"]
Validity = Literal["valid", "inconclusive", "one_seed", "not_gated"]
_ORDER: list[Role] = ["forgetting", "retain_privacy", "utility", "info"]
Flag = Literal["utility lost", "over-forgets", "not specific", "equal to retraining (TOST)"]


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with the ends of its 95 % interval; no ends for one seed. In the unit of the values."""

    mean: float
    low: float | None
    high: float | None
    n_seeds: int

    @property
    def half_width(self) -> float | None:
        """Half of the interval."""
        return None if self.high is None or self.low is None else (self.high - self.low) / 2


@dataclass(frozen=True)
class Cell:
    """One metric of one row: the value, the signed gap to the retrained model and its size, paired by seed.

    Attributes:
        value: What was measured.
        gap: Value minus that of the retrained model; the value itself where it is a distance to that model.
        distance: The size of the gap.
        gaps: Seed -> signed gap; empty where all seeds have one number together.
        note: Why it cannot be ranked.
        in_band: Whether exact retraining is often as far from the retrained model as this (METRICS V4).
        optimised: Whether all that it is made from is the method's own objective (METRICS V13).
        best: Whether no ranked row's is better.
    """

    value: Estimate
    gap: Estimate
    distance: Estimate
    gaps: dict[int, float] = field(default_factory=dict)
    note: str | None = None
    in_band: bool = False
    optimised: bool = False
    best: bool = False


@dataclass(frozen=True)
class Floor:
    """How far exact retraining is from the retrained reference: mean |gap|, mean signed gap, 95th percentile."""

    distance: Estimate
    gap: Estimate
    p95: float


@dataclass(frozen=True)
class Column:
    """A metric, as its records describe it, with what holds for the whole task.

    `n` counts the examples that its numbers rest on; `pooled` says that all seeds' models together make one number.
    """

    name: str
    label: str
    goal: Goal
    role: Role
    attack: bool
    headline: bool
    unit: Unit
    tier: Tier
    signal: Signal | None
    n: int
    validity: Validity
    floor: Floor | None
    pooled: bool = False

    @property
    def conclusive(self) -> bool:
        """Whether its numbers say anything about unlearning (METRICS V2)."""
        return self.validity != "inconclusive"

    @property
    def is_distance(self) -> bool:
        """Whether it is a distance to the retrained model itself: a number about forgetting that is to be small."""
        return self.goal == "min" and self.role == "forgetting"

    @property
    def is_panel(self) -> bool:
        """Whether it is the distance of a panel of attacks, which are chosen and reported seed by seed."""
        return self.pooled and self.is_distance and self.tier == "every_run"

    @property
    def has_band(self) -> bool:
        """Whether nearness to the retrained model is what counts."""
        return self.goal == "match_retrained" or self.is_distance


@dataclass(frozen=True)
class Curves:
    """One attack on one row, averaged over seeds: ROC on a grid and quantiles of the scores of each set."""

    label: str
    fpr: list[float]
    tpr: list[float]
    levels: list[float]
    quantiles: dict[str, list[float]]


@dataclass(frozen=True)
class Lead:
    """How much nearer to retraining a row is than the best of the others: mean difference of d, Holm-adjusted p."""

    other: str
    difference: Estimate
    p_value: float


@dataclass(frozen=True)
class Verdict:
    """What the rules of METRICS make of a row.

    Attributes:
        ranked: Whether it holds a rank of its own; a failed row has the last one without being ranked.
        rank: The best and the worst rank that the evidence leaves open.
        score: S, 0 for the original and 1 for retraining; -1 after a failure.
        scores: Seed -> S, not clipped.
        specificity: Share of the effect that needs the forget data.
        flags: What a reader must know -> of which metric, if it is not plain.
        lead: Against the best of the other ranked rows.
    """

    ranked: bool = False
    rank: tuple[int, int] | None = None
    score: Estimate | None = None
    scores: dict[int, float] = field(default_factory=dict)
    specificity: Estimate | None = None
    flags: dict[Flag, str] = field(default_factory=dict)
    lead: Lead | None = None


@dataclass(frozen=True)
class Row:
    """An anchor or a method on one task. `cells` is empty if any seed failed or diverged."""

    name: str
    kind: Kind
    uses: list[str]
    n_seeds: int
    statuses: dict[Status, int]
    optimises: list[Signal] = field(default_factory=list)
    cells: dict[str, Cell] = field(default_factory=dict)
    curves: dict[str, Curves] = field(default_factory=dict)
    examples: dict[str, list[float]] = field(default_factory=dict)
    seconds: Estimate | None = None
    speedup: float | None = None
    peak_memory: int | None = None
    flops: int | None = None
    remarks: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    verdict: Verdict = field(default_factory=Verdict)

    @property
    def is_anchor(self) -> bool:
        """Whether this is the original or the retrained model."""
        return self.kind in ("original", "retrained")

    @property
    def failed(self) -> bool:
        """Whether any seed failed or diverged; the others are then not averaged (METRICS V11)."""
        return any(self.statuses.get(status) for status in ("failed", "diverged"))

    @property
    def unchanged(self) -> bool:
        """Whether every seed's model is the original."""
        return bool(self.statuses) and self.statuses.get("no_change") == self.n_seeds

    @property
    def collapsed(self) -> bool:
        """Whether any seed's model is worse than a constant."""
        return bool(self.statuses.get("collapsed"))

    @property
    def status(self) -> Status:
        """The worst status of its seeds."""
        order: list[Status] = ["failed", "diverged", "collapsed", "no_change"]
        return next((status for status in order if self.statuses.get(status)), "ok")


@dataclass(frozen=True)
class TaskSummary:
    """One table: columns in the order of the records, rows in the order of reading.

    Attributes:
        name: Of the task.
        suite: Where its newest record comes from.
        paradigm: Of its learner.
        seeds: That any method ran with.
        ensemble: Whether all seeds part one pool, for population metrics.
        in_shards: Whether models are trained in shards, which only some methods can use.
        columns: Metric -> column.
        rows: Anchors, exact methods, ranked, unranked and failed methods.
        primary: The first attack on the forget set.
        utility: The first utility metric.
        distance: The metric whose size of gap is the distance d that ranks (METRICS V3).
        demonstration: Why nobody is ranked; None if the task is admitted.
        specificity: Whether any method ran on a placebo.
        notes: For the legend.
    """

    name: str
    suite: str
    paradigm: str
    seeds: list[int]
    ensemble: bool
    columns: dict[str, Column]
    rows: list[Row]
    primary: str | None
    utility: str | None
    notes: list[str]
    distance: str | None = None
    demonstration: str | None = None
    specificity: bool = False
    in_shards: bool = False

    @property
    def n_seeds(self) -> int:
        """How many."""
        return len(self.seeds)

    @property
    def headlines(self) -> list[Column]:
        """The columns of the leaderboard: what ranks, then what is known of forgetting, privacy and utility."""
        shown = [column for column in self.columns.values() if column.headline or column.name == self.distance]
        return sorted(shown, key=lambda column: (column.name != self.distance, _ORDER.index(column.role)))

    @property
    def sorted_by(self) -> Column | None:
        """What methods are ranked by, on an admitted task."""
        return self.columns.get(self.distance or "") if self.demonstration is None else None

    def row(self, name: str) -> Row:
        """The row of a method, `original` or `retrained`."""
        return next(row for row in self.rows if row.name == name)
