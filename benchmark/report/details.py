"""All numbers of a task in one table, for who looks up one: a line per metric, a column per model.

The leaderboard shows the headlines; operating points, distances, probes and legacy columns stand here.
"""

from benchmark.report import words
from benchmark.report.markdown import bare, escaped
from benchmark.report.model import Column, Row, TaskSummary

_TIERS = {"population": "all seeds together", "probing": "probing", "legacy": "legacy, never ranked"}


def details(tasks: list[TaskSummary], origin: str) -> str:
    """The Markdown file.

    Args:
        tasks: In the order of reading.
        origin: Where the numbers come from.
    """
    blocks = ["# All numbers", f"{origin} Built from `records/` by `report`; do not edit.", _LEGEND]
    for task in tasks:
        blocks += [f"## {task.name} ({task.paradigm}, {words.seeds(task.n_seeds)})", _table(task)]
    return "\n\n".join(blocks) + "\n"


_LEGEND = (
    "Mean ± half of the 95% interval over seeds. ≈: best is the retrained value; ↓: small is good; ↑: large is good; "
    "unmarked numbers inform. Floor: size of the gap that exact retraining leaves, [mean, 95th percentile over seeds]. "
    f"{words.WITHIN}: within the floor. {words.OPTIMISED}: optimised by the method itself. "
    f"{words.NOTED}: too few examples to rank. What the leaderboard concludes, it concludes from its own columns."
)


def _table(task: TaskSummary) -> str:
    rows = [row for row in task.rows if row.kind != "retrained"]
    original, methods = rows[0], rows[1:]
    names = ["original", "retrained", "floor", *(escaped(words.row_name(row)) for row in methods)]
    lines = [["metric", *names], [":---", *("---:" for _ in names)]]
    for column in task.columns.values():
        floor = words.band(column) if column.goal != "info" else ""
        anchors = [_value(original, column, task), _value(task.row("retrained"), column, task), floor]
        lines.append([_name(column), *map(escaped, [*anchors, *(_value(row, column, task) for row in methods)])])
    lines += [[name, *map(escaped, values)] for name, values in _costs(task, original, methods)]
    return bare(lines)


def _name(column: Column) -> str:
    tier = _TIERS.get(column.tier)
    notes = [*([tier] if tier else []), *([] if column.conclusive else ["inconclusive"])]
    return escaped(words.heading(column) + (f" ({', '.join(notes)})" if notes else ""))


def _value(row: Row, column: Column, task: TaskSummary) -> str:
    cell = row.cells.get(column.name)
    if cell is None:
        return "" if row.is_anchor else words.NOTHING if row.failed else words.MISSING
    marks = words.WITHIN * cell.in_band + words.OPTIMISED * cell.optimised + words.NOTED * (cell.note is not None)
    return words.estimate(cell.value, column.unit, lone=task.n_seeds > 1) + marks


def _costs(task: TaskSummary, original: Row, methods: list[Row]) -> list[tuple[str, list[str]]]:
    """Time, memory and operations, as far as they were measured."""
    anchors = [original, task.row("retrained")]
    rows = [*anchors, None, *methods]

    def line(text: list[str | None]) -> list[str]:
        return [one or "" for one in text]

    seconds = [words.seconds(row.seconds.mean) if row and row.seconds else None for row in rows]
    memory = [f"{row.peak_memory / 2**20:.0f}" if row and row.peak_memory else None for row in rows]
    flops = [f"{row.flops / 1e9:.3g}" if row and row.flops else None for row in rows]
    found = [
        ("time (s)", seconds),
        ("peak memory (MiB)", memory),
        ("operations (10⁹; convolutions and matrix products)", flops),
    ]
    return [(name, line(values)) for name, values in found if any(values)]
