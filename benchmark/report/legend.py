"""The sentences below a table: what its marks mean, what good looks like, and what must not be read into it."""

from benchmark.report import words
from benchmark.report.model import Column, TaskSummary


def legend(task: TaskSummary) -> list[str]:
    """Only what applies to this table."""
    return [*_reading(task), *_floor(task), *_inconclusive(task), *_ends(task), *task.notes]


def _reading(task: TaskSummary) -> list[str]:
    goals = {column.goal for column in task.headlines}
    words_of = {
        "match_retrained": "≈: best is the retrained row's value; gap is the mean distance from it, seed by seed.",
        "min": "↓: small is good.",
        "max": "↑: large is good.",
    }
    return [" ".join([*(text for goal, text in words_of.items() if goal in goals), _interval(task)])]


def _interval(task: TaskSummary) -> str:
    if task.n_seeds == 1:
        return "One seed, so no intervals; whether an attack works or one method beats another cannot be told."
    return f"±: half of the 95% interval over {words.seeds(task.n_seeds)}."


def _floor(task: TaskSummary) -> list[str]:
    columns = [column for column in task.headlines if column.goal == "match_retrained" and column.conclusive]
    known = [f"{words.number(c.floor.distance.mean, c.unit)} ({c.label})" for c in columns if c.floor]
    if known:
        gaps = ", ".join(known)
        return [f"Oracle floor: retraining once more leaves a gap of {gaps}; below that, smaller is not better."]
    return ["No oracle floor: no exact method ran with success, so small gaps cannot be judged."] if columns else []


def _inconclusive(task: TaskSummary) -> list[str]:
    dead = [column for column in task.headlines if not column.conclusive]
    if not dead:
        return []
    names = " and ".join(column.label for column in dead)
    return [
        f"Inconclusive ({names}): the attack does not beat chance on the original models (the 95% interval of its AUC "
        "reaches .5), so it says nothing about unlearned ones."
    ]


def _ends(task: TaskSummary) -> list[str]:
    lines = [f"Access: {_letters(task)}. Time is the geometric mean; speed-up is against retraining."]
    if task.sorted_by is not None:
        lines.append(f"Sorted by {_criterion(task.sorted_by)}, then collapsed and failed methods.")
    elif task.primary is not None:
        lines.append("Not ranked: methods stand by name.")
    if any(cell.best for row in task.rows for cell in row.cells.values()):
        lines.append("Bold: best mean among methods that went well with every seed.")
    return [" ".join(lines)]


def _letters(task: TaskSummary) -> str:
    names = sorted({name for row in task.rows for name in row.uses})
    return ", ".join(f"{name[0].upper()} {words.set_name(name)} set" for name in names) or "none"


def _criterion(column: Column) -> str:
    return f"the gap of {column.label}" if column.goal == "match_retrained" else column.label
