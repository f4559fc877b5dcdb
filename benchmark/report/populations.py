"""What all seeds' models say together, as columns and cells beside those of single runs.

A population's number has one value for all seeds, and often an interval that its metric worked out itself. Its
retrained value is taken as given; where it has none it is a distance to the retrained models, whose own is zero.
"""

from collections.abc import Mapping
from dataclasses import replace

from benchmark.report.columns import estimate, gate, percentile
from benchmark.report.model import Cell, Column, Estimate, Floor, Row, Validity
from benchmark.report.rows import last_line
from benchmark.specs import PopulationRecord, PopulationValue


def with_populations(
    columns: dict[str, Column], rows: list[Row], populations: Mapping[str, PopulationRecord]
) -> tuple[dict[str, Column], list[Row]]:
    """Columns and rows of a task with what its populations add to them.

    Args:
        columns: Of the task's records.
        rows: Anchors and methods; those that failed get no numbers.
        populations: Method -> population.
    """
    of_metric: dict[str, dict[str, PopulationValue]] = {}
    for method, population in populations.items():
        for name, value in population.metrics.items():
            of_metric.setdefault(name, {})[method] = value
    oracles = {row.name for row in rows if row.kind == "oracle"}
    added = {
        name: _column(name, values, [_cell(value, populations[m].seeds) for m, value in values.items() if m in oracles])
        for name, values in of_metric.items()
    }
    return columns | added, [_extended(row, populations, of_metric) for row in rows]


def _column(name: str, values: dict[str, PopulationValue], oracles: list[Cell]) -> Column:
    one = next(iter(values.values()))
    return Column(
        name=name,
        label=one.label,
        goal=one.goal,
        role=one.role,
        attack=one.attack,
        headline=one.headline,
        unit=one.unit,
        tier=one.tier,
        signal=one.signal,
        n=min(value.n for value in values.values()),
        validity=_validity(list(values.values())),
        floor=_floor(oracles) if one.retrained is not None or one.goal == "min" else None,
        pooled=True,
    )


def _validity(values: list[PopulationValue]) -> Validity:
    """METRICS V2. Without a value per seed the original's interval is taken to be as wide as the widest printed."""
    one = values[0]
    if not one.attack or one.goal != "match_retrained" or one.original is None:
        return "not_gated"
    if one.original_per_seed:
        return gate(one.original_per_seed)
    half_widths = [(v.high - v.low) / 2 for v in values if v.low is not None and v.high is not None]
    return "valid" if one.original - max(half_widths, default=0.0) > 0.5 else "inconclusive"


def _floor(oracles: list[Cell]) -> Floor | None:
    """Of exact retraining; the percentile is that of its seeds or, of one number, the outer end of its interval."""
    if not oracles:
        return None
    outer = [abs(e) for cell in oracles for e in (cell.gap.mean, cell.gap.low, cell.gap.high) if e is not None]
    of_seeds = [gap for cell in oracles for gap in cell.gaps.values()]
    first = oracles[0]
    return Floor(first.distance, first.gap, percentile(of_seeds) if of_seeds else max(outer))


def _cell(value: PopulationValue, seeds: list[int]) -> Cell:
    found = _estimate(value, len(seeds))
    gaps = dict(zip(seeds, value.per_seed, strict=True)) if value.per_seed and value.retrained is None else {}
    gap = _shifted(found, -(value.retrained or 0.0))
    return Cell(found, gap, _size(gap), gaps)


def _estimate(value: PopulationValue, seeds: int) -> Estimate:
    if value.low is None and len(value.per_seed) > 1:
        of_seeds = estimate(value.per_seed)
        return Estimate(value.value, of_seeds.low, of_seeds.high, seeds)
    return Estimate(value.value, value.low, value.high, seeds)


def _shifted(found: Estimate, by: float) -> Estimate:
    low, high = (None if end is None else end + by for end in (found.low, found.high))
    return Estimate(found.mean + by, low, high, found.n_seeds)


def _size(gap: Estimate) -> Estimate:
    if gap.low is None or gap.high is None:
        return Estimate(abs(gap.mean), None, None, gap.n_seeds)
    ends = sorted((abs(gap.low), abs(gap.high)))
    return Estimate(abs(gap.mean), 0.0 if gap.low <= 0 <= gap.high else ends[0], ends[1], gap.n_seeds)


def _extended(
    row: Row, populations: Mapping[str, PopulationRecord], of_metric: dict[str, dict[str, PopulationValue]]
) -> Row:
    if row.is_anchor:
        return replace(row, cells=row.cells | _anchor_cells(row, populations, of_metric))
    population = populations.get(row.name)
    if population is None or row.failed:
        return row
    errors = [f"all seeds: {last_line(population.error)}"] if population.error else []
    return replace(
        row,
        cells=row.cells | {name: _cell(value, population.seeds) for name, value in population.metrics.items()},
        examples={name: value.per_example for name, value in population.metrics.items() if value.per_example},
        errors=row.errors + errors,
    )


def _anchor_cells(
    row: Row, populations: Mapping[str, PopulationRecord], of_metric: dict[str, dict[str, PopulationValue]]
) -> dict[str, Cell]:
    """From the method with most seeds: its originals are everybody's."""
    cells = {}
    for name, values in of_metric.items():
        method = max(values, key=lambda method: (len(populations[method].seeds), method))
        value = values[method]
        mean = value.original if row.kind == "original" else value.retrained
        if mean is not None:
            per_seed = value.original_per_seed if row.kind == "original" else []
            anchor = value.model_copy(update={"value": mean, "low": None, "high": None, "per_seed": per_seed})
            cells[name] = _cell(anchor, populations[method].seeds)
    return cells
