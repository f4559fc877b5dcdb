"""Numbers and names as people read them: AUCs with three decimals, fractions as percent points, times, speed-ups."""

from benchmark.report.model import Column, Estimate, Row
from benchmark.specs import Unit

MINUS = "−"
ARTEFACTS = "artefacts"  # as `uses` of records has it
NOTHING = "–"
MISSING = "n/a"
WITHIN, OPTIMISED, NOTED = "°", "†", "‡"
ARROWS = {"min": "↓", "max": "↑", "match_retrained": "≈", "info": ""}


def number(value: float, unit: Unit) -> str:
    """A mean: `.563`, `91.2` (percent), `1.3` (points) or three significant digits."""
    if unit == "auc":
        text = f"{value:.3f}".replace("0.", ".", 1) if abs(value) < 0.9995 else f"{value:.3f}"
    elif unit == "number":
        text = f"{value:.3g}" if abs(value) > 1e-9 else "0"
    else:
        text = f"{100 * value if unit == 'fraction' else value:.1f}"
    return signed(text)


def estimate(found: Estimate, unit: Unit, lone: bool = False) -> str:
    """Mean and half of the 95 % interval; `lone` says that other rows have more seeds than this one."""
    mean = number(found.mean, unit)
    if found.half_width is None:
        return f"{mean} (1\u00a0seed)" if lone and found.n_seeds == 1 else mean
    if found.half_width == 0:
        return mean
    return f"{mean} ±\u00a0{number(found.half_width, unit)}"


def band(column: Column) -> str:
    """The oracle floor as `[mean, 95th percentile]`."""
    if column.floor is None:
        return NOTHING
    return f"[{number(column.floor.distance.mean, column.unit)}, {number(column.floor.p95, column.unit)}]"


def share(found: Estimate | None, intervals: bool = True) -> str:
    """A share such as S, two decimals: `0.92 ± 0.07`."""
    if found is None:
        return NOTHING
    mean = signed(f"{found.mean:.2f}")
    narrow = found.half_width is None or found.half_width < 1e-9
    return mean if narrow or not intervals else f"{mean} ±\u00a0{found.half_width:.2f}"


def rank(found: tuple[int, int] | None) -> str:
    """The best and the worst rank that are left open: `2`, `1–3`."""
    if found is None:
        return NOTHING
    return str(found[0]) if found[0] == found[1] else f"{found[0]}–{found[1]}"


def seconds(value: float) -> str:
    """`<0.01`, `0.42`, `4.2`, `42`, `4200`."""
    if value < 0.01:
        return "<0.01"
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def speedup(value: float) -> str:
    """`0×` of a failure, `0.96×`, `4.2×`, `42×`, `>1000×`."""
    if value == 0:
        return "0×"
    if value > 1000:
        return ">1000×"
    return f"{value:.0f}×" if value >= 10 else f"{value:.1f}×" if value >= 1 else f"{value:.2f}×"


def access(row: Row) -> str:
    """The sets that a method is given, by their first letters."""
    return " ".join(sorted(name[0].upper() for name in row.uses)) or NOTHING


def set_name(name: str) -> str:
    """`third_party` -> `third-party`."""
    return {"heldout": "held-out"}.get(name, name.replace("_", "-"))


def access_to(name: str) -> str:
    """`retain set`, or what is read beside the sets."""
    return "artefacts of training" if name == ARTEFACTS else f"{set_name(name)} set"


def row_name(row: Row) -> str:
    """As it stands in the first column."""
    return {"retrained": "retrained (reference)", "oracle": f"{row.name} (oracle floor)"}.get(row.kind, row.name)


def plain(column: Column) -> str:
    """A label without its unit."""
    return column.label.removesuffix(" (points)")


def distance(column: Column) -> str:
    """What methods are ranked by."""
    return column.label if column.is_distance else f"the gap of {column.label}"


def heading(column: Column) -> str:
    """A column's label with the mark of what is good."""
    return f"{with_unit(column)}\u00a0{ARROWS[column.goal]}".rstrip()


def with_unit(column: Column) -> str:
    """A label that says what is printed; labels of other units say it themselves."""
    return f"{column.label} (%)" if column.unit == "fraction" else column.label


def seeds(count: int) -> str:
    """`1 seed`, `5 seeds`."""
    return f"{count} seed" if count == 1 else f"{count} seeds"


def signed(text: str) -> str:
    """A true minus sign, and none before zero."""
    negative = text.startswith("-") and any(digit in "123456789" for digit in text)
    return MINUS * negative + text.lstrip("-")
