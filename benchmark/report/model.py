"""What a report knows, typed: tasks, their columns (metrics) and rows (the two anchors and the methods).

Every number is an `Estimate` over training seeds; every distance to the retrained model is paired by seed.
"""

from dataclasses import dataclass, field
from typing import Literal

from benchmark.specs import Goal, Role, Status, Unit

Kind = Literal["original", "retrained", "oracle", "method"]
Validity = Literal["valid", "inconclusive", "one_seed", "not_gated"]


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with the ends of its 95 % t-interval; no ends for one seed. In the unit of the values."""

    mean: float
    low: float | None
    high: float | None
    n_seeds: int

    @property
    def half_width(self) -> float | None:
        """Half of the interval."""
        return None if self.high is None else self.high - self.mean


@dataclass(frozen=True)
class Cell:
    """One metric of one row: the value, the signed gap to the retrained model and its size, paired by seed."""

    value: Estimate
    gap: Estimate
    distance: Estimate
    best: bool = False


@dataclass(frozen=True)
class Floor:
    """How far exact retraining is from the retrained reference: mean |gap| and mean signed gap."""

    distance: Estimate
    gap: Estimate


@dataclass(frozen=True)
class Column:
    """A metric, as its records describe it, with what holds for the whole task."""

    name: str
    label: str
    goal: Goal
    role: Role
    attack: bool
    headline: bool
    unit: Unit
    validity: Validity
    floor: Floor | None

    @property
    def conclusive(self) -> bool:
        """Whether its numbers say anything about unlearning (METRICS V2)."""
        return self.validity != "inconclusive"


@dataclass(frozen=True)
class Curves:
    """One attack on one row, averaged over seeds: ROC on a grid and quantiles of the scores of each set."""

    label: str
    fpr: list[float]
    tpr: list[float]
    levels: list[float]
    quantiles: dict[str, list[float]]


@dataclass(frozen=True)
class Row:
    """An anchor or a method on one task. `cells` is empty if any seed failed or diverged."""

    name: str
    kind: Kind
    uses: list[str]
    n_seeds: int
    statuses: dict[Status, int]
    cells: dict[str, Cell] = field(default_factory=dict)
    curves: dict[str, Curves] = field(default_factory=dict)
    seconds: Estimate | None = None
    speedup: float | None = None
    remarks: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

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
    """One table: columns in the order of the records, rows in the order of reading."""

    name: str
    paradigm: str
    n_seeds: int
    columns: dict[str, Column]
    rows: list[Row]
    primary: str | None
    utility: str | None
    notes: list[str]

    @property
    def headlines(self) -> list[Column]:
        """The columns of the leaderboard."""
        return [column for column in self.columns.values() if column.headline]

    @property
    def sorted_by(self) -> Column | None:
        """The primary metric if it says anything: what rows are sorted by."""
        column = self.columns.get(self.primary or "")
        return column if column is not None and column.conclusive else None

    def row(self, name: str) -> Row:
        """The row of a method, `original` or `retrained`."""
        return next(row for row in self.rows if row.name == name)


@dataclass(frozen=True)
class Summary:
    """Every task, and what was left out on the way."""

    tasks: list[TaskSummary]
    n_records: int
    n_stale: int
    n_superseded: int
    commits: list[str]
    first_date: str
    last_date: str
