"""The sentences below a table: what its marks mean, what good looks like, and what must not be read into it."""

from benchmark.report import words
from benchmark.report.model import Cell, Column, Flag, TaskSummary

_FLAGS: dict[Flag, str] = {
    "utility lost": "more is lost than by retraining, by over a point and beyond the oracle floor; such methods are "
    "not ranked.",
    "over-forgets": "the attack falls below the retrained value, which tells forgotten images just as well.",
    "not specific": "the same effect comes from images that were never trained on, so it is no forgetting.",
    "equal to retraining (TOST)": "in every column marked ≈ the mean difference lies within the floor's 95th "
    "percentile (two one-sided tests, 5%).",
}
_SPECIFICITY = (
    "Specificity: share of the attack's fall that needs the forget data (1 all, 0 none), from the same method given "
    f"images that were never trained on; {words.NOTHING} without such a run, without forget data or a clear effect."
)


def legend(task: TaskSummary) -> list[str]:
    """Only what applies to this table."""
    lines = [*_demonstration(task), _reading(task), *_floor(task), *_ranks(task), *_marks(task), *_flags(task)]
    return [*lines, *_inconclusive(task), *_ends(task), *task.notes]


def _demonstration(task: TaskSummary) -> list[str]:
    if task.demonstration is None:
        return []
    return [f"Demonstration only: {task.demonstration}. Nobody is ranked; methods stand by name."]


def _reading(task: TaskSummary) -> str:
    goals = {column.goal for column in task.headlines}
    words_of = {
        "match_retrained": "≈: best is the retrained row's value; gap is the mean distance from it, seed by seed.",
        "min": "↓: small is good.",
        "max": "↑: large is good.",
    }
    return " ".join([*(text for goal, text in words_of.items() if goal in goals), _interval(task)])


def _interval(task: TaskSummary) -> str:
    if task.n_seeds == 1:
        return "One seed, so no intervals; whether an attack works or one method beats another cannot be told."
    return f"±: half of the 95% interval over {words.seeds(task.n_seeds)}."


def _floor(task: TaskSummary) -> list[str]:
    columns = [column for column in task.headlines if column.has_band and column.conclusive]
    if not columns:
        return []
    names = " and ".join(row.name for row in task.rows if row.kind == "oracle" and not row.failed)
    if not names:
        return ["No oracle floor: no exact method ran with success, so small gaps cannot be judged."]
    lines = [
        f"Oracle floor, in the row of {names}: retraining once more leaves a gap of [mean, 95th percentile of seeds]; "
        "below that, smaller is not better."
    ]
    if any(cell.in_band for _, cell in _cells(task)):
        lines.append(f"{words.WITHIN}: a gap within the floor, not distinguished from retraining.")
    return [" ".join(lines)]


def _cells(task: TaskSummary) -> list[tuple[Column, Cell]]:
    """What stands in the table."""
    return [(c, row.cells[c.name]) for c in task.headlines for row in task.rows if c.name in row.cells]


def _ranks(task: TaskSummary) -> list[str]:
    column = task.sorted_by
    if column is None:
        return []
    share = f"S: share of the way from the original (0) to retraining (1), by {words.distance(column)}"
    lost = f"; a failed run counts {words.MINUS}1" if any(row.failed for row in task.rows) else ""
    lines = [f"{share}; below 0 is worse than doing nothing{lost}."]
    if any(row.kind == "method" and not row.failed and not row.verdict.ranked for row in task.rows):
        lines[0] += " In brackets: not ranked."
    entrants = sum(row.verdict.ranked for row in task.rows)
    comparisons = entrants * (entrants - 1) // 2
    if comparisons:
        family = f"Holm-adjusted for {comparisons} comparison{'s' * (comparisons > 1)}"
        why = f"; with {task.n_seeds} seeds a sign-flip test could not tell" if 2 / 2**task.n_seeds > 0.05 else ""
        lines.append(f"Rank: what paired t-tests over seeds leave open (5%, {family}{why}).")
    return [" ".join(lines)]


def _marks(task: TaskSummary) -> list[str]:
    shown = _cells(task)
    lines = []
    if any(cell.optimised for _, cell in shown):
        lines.append(f"{words.OPTIMISED}: optimised by the method itself; not ranked on it.")
    notes = sorted({f"{cell.note} ({column.label})" for column, cell in shown if cell.note is not None})
    if notes:
        lines.append(f"{words.NOTED}: not ranked, {'; '.join(notes)}.")
    if any(not r.failed and not r.is_anchor and c.name not in r.cells for r in task.rows for c in task.headlines):
        lines.append(f"{words.MISSING}: not measured there.")
    return [" ".join(lines)] if lines else []


def _flags(task: TaskSummary) -> list[str]:
    found = {flag for row in task.rows for flag in row.verdict.flags}
    lines = [f"{flag[0].upper()}{flag[1:]}: {text}" for flag, text in _FLAGS.items() if flag in found]
    if task.specificity:
        lines.insert(0, _SPECIFICITY)
    return [" ".join(lines)] if lines else []


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
        lines.append(f"Sorted by {words.distance(task.sorted_by)}, then unranked, collapsed and failed methods.")
    if any(cell.best for row in task.rows for cell in row.cells.values()):
        lines.append("Bold: best mean among ranked methods.")
    return [" ".join(lines)]


def _letters(task: TaskSummary) -> str:
    names = sorted({name for row in task.rows for name in row.uses})
    return ", ".join(f"{name[0].upper()} {words.access_to(name)}" for name in names) or "none"
