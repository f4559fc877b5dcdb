"""What a number may be used for: METRICS on admission (V3), band (V4), utility, over-forgetting (V5), objectives (V13).

Each rule is a function of a task or of a row of it; none knows a metric by name.
"""

from collections.abc import Iterator
from dataclasses import replace

from benchmark.report import words
from benchmark.report.model import Cell, Column, Flag, Row, TaskSummary
from benchmark.specs import Signal, Unit
from benchmark.stats import t_interval, tost

_ONE_POINT: dict[Unit, float] = {"points": 1.0, "fraction": 0.01}
_NOTHING = 1e-9  # what rounding leaves of a difference, as a share
_WORST: dict[Unit, float] = {"auc": 0.5, "fraction": 1.0, "points": 100.0}


# -- the task ------------------------------------------------------------------------------------------------


def headline_distance(task: TaskSummary) -> str | None:
    """The metric whose size of gap is the distance d by which methods are ranked (METRICS V3), if any can be.

    A panel of attacks that all rows have, with a value per seed; else the primary attack. Never both in one table.
    """
    rows = [
        row for row in task.rows if row.kind in ("oracle", "method") and not row.failed and row.n_seeds == task.n_seeds
    ]
    for name in (column.name for column in task.columns.values() if column.is_panel):
        if all(_has_every_seed(row, name, task) for row in [task.row("original"), *rows]):
            return name
    return task.primary


def demonstration(task: TaskSummary) -> str | None:
    """Why nobody is ranked on this task, as the end of a sentence; None if it is admitted (METRICS V3)."""
    column = task.columns.get(task.distance or "")
    if column is None:
        return "no attack on the forget set was run"
    if not column.conclusive:
        return "the attack does not find the forget set on the original models"
    if task.n_seeds == 1:
        return "one seed cannot tell a difference from chance"
    if column.floor is None:
        return "no exact retraining ran on it with success, so there is no floor to judge by"
    original = task.row("original").cells[column.name]
    if len(original.gaps) < 2:
        return "the originals were not measured with two seeds or more"
    away, floor = t_interval([abs(gap) for gap in original.gaps.values()]), band(column)
    low = away["low"]
    if low - floor <= _NOTHING * away["mean"]:
        return (
            "the original models are not clearly further from the retrained ones than exact retraining is "
            f"({column.label}: at least {words.number(max(low, 0.0), column.unit)} against up to "
            f"{words.number(floor, column.unit)}), so that doing nothing would pass for forgetting"
        )
    return None


def band(column: Column) -> float:
    """How far exact retraining may be from the retrained model: the 95th percentile, no less than the mean."""
    return max(column.floor.p95, column.floor.distance.mean) if column.floor else 0.0


def _has_every_seed(row: Row, metric: str, task: TaskSummary) -> bool:
    return metric in row.cells and set(row.cells[metric].gaps) == set(task.seeds)


# -- cells ---------------------------------------------------------------------------------------------------


def marked(row: Row, columns: dict[str, Column]) -> Row:
    """The row with what holds for each cell: inside the band, made from what the method optimises."""
    cells = {
        name: replace(
            cell,
            in_band=row.kind in ("original", "method") and _in_band(cell, columns[name]),
            optimised=_is_optimised(columns[name], columns, set(row.optimises)),
        )
        for name, cell in row.cells.items()
    }
    return replace(row, cells=cells)


def _in_band(cell: Cell, column: Column) -> bool:
    known = column.conclusive and column.has_band and column.floor is not None
    return known and cell.distance.mean <= band(column)


def _is_optimised(column: Column, columns: dict[str, Column], objective: set[Signal]) -> bool:
    """A panel reads what the attacks on the forget set read; whoever optimises one of several signals gains nothing."""
    if column.is_panel:
        attacks = [c for c in columns.values() if c.attack and c.role == "forgetting" and not c.pooled and c.conclusive]
        read = {attack.signal for attack in attacks}
    else:
        read = {column.signal}
    return bool(read) and read <= objective


def counts(cell: Cell, column: Column) -> bool:
    """Whether a method may be ranked, or be best, by a cell."""
    return column.conclusive and cell.note is None and not cell.optimised


def worst_distance(column: Column, task: TaskSummary) -> float:
    """What a failed run counts as (METRICS V11): the largest gap there can be or, without a limit, that was seen."""
    seen = [row.cells[column.name].distance.mean for row in task.rows if column.name in row.cells]
    return _WORST.get(column.unit, max(seen, default=float("inf")))


# -- rows ----------------------------------------------------------------------------------------------------


def flags(row: Row, task: TaskSummary) -> dict[Flag, str]:
    """Flag -> of which metric, where that is not the first of its kind; of a method's row that has numbers."""
    found: dict[Flag, str] = {}
    rules: dict[Flag, list[Column]] = {
        "utility lost": _utility_lost(row, task),
        "over-forgets": _over_forgets(row, task),
    }
    for flag, columns in rules.items():
        names = [column.name for column in columns]
        if names:
            plain = names[0] in (task.primary, task.utility)
            found[flag] = "" if plain else ", ".join(words.plain(column) for column in columns)
    if not found and task.demonstration is None and _equals_retraining(row, task):
        found["equal to retraining (TOST)"] = ""
    return found


def _utility_lost(row: Row, task: TaskSummary) -> list[Column]:
    """METRICS 2.1: more is lost than by retraining, beyond the floor and by more than a point.

    Where retraining gains, a model as good as the original has lost nothing.
    """
    original = task.row("original").cells
    return [
        column
        for column in task.headlines
        if column.role == "utility" and (cell := row.cells.get(column.name))
        if loss(cell, column) > max(band(column), _ONE_POINT.get(column.unit, 0.0))
        if (before := original.get(column.name)) is None or loss(cell, column) > loss(before, column)
    ]


def loss(cell: Cell, column: Column) -> float:
    """How much worse than the retrained model."""
    return -cell.gap.mean if column.goal == "max" else cell.gap.mean


def in_points(value: float, unit: Unit) -> float | None:
    """Percentage points; None for what has no such meaning."""
    return value / _ONE_POINT[unit] if unit in _ONE_POINT else None


def _over_forgets(row: Row, task: TaskSummary) -> list[Column]:
    """METRICS V5: the whole interval of the gap lies below zero, and its mean beyond the floor."""
    return [
        column
        for column in task.headlines
        if column.role == "forgetting" and column.attack and column.goal == "match_retrained" and column.conclusive
        if (cell := row.cells.get(column.name)) and cell.gap.high is not None
        if cell.gap.high < 0 and -cell.gap.mean > band(column)
    ]


def _equals_retraining(row: Row, task: TaskSummary) -> bool:
    """Equivalence to within the floor in every column whose best value is the retrained one (METRICS 5)."""
    columns = [column for column in task.headlines if column.goal == "match_retrained" and column.conclusive]
    if not any(column.role == "forgetting" for column in columns):
        return False
    return all(_equivalent(row.cells.get(column.name), column) for column in columns)


def _equivalent(cell: Cell | None, column: Column) -> bool:
    if cell is None or column.floor is None or not counts(cell, column):
        return False
    margin = max(column.floor.p95, *_one_example(column))
    if column.pooled:
        ends = (cell.gap.low, cell.gap.high)
        return all(end is not None and abs(end) < margin for end in ends)
    return margin > 0 and len(cell.gaps) > 1 and tost(list(cell.gaps.values()), margin)["equivalent"]


def _one_example(column: Column) -> Iterator[float]:
    """The least step of a share of so many examples, in the column's unit."""
    yield 0.0
    if column.unit != "number":
        yield (100.0 if column.unit == "points" else 1.0) / column.n
