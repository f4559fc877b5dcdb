"""The baseline that CI compares against: the records of a small suite, committed, and how an intended change enters.

Their curves and logs are left out, since no comparison reads them and git keeps every version.
"""

from collections.abc import Sequence
from pathlib import Path

from benchmark.errors import BenchmarkError
from benchmark.history.compare import compare
from benchmark.history.model import Comparison, Row
from benchmark.history.reading import as_side, read
from benchmark.history.repository import Repository
from benchmark.history.show import change, side_of, what_of
from benchmark.report.selection import current_tasks, newest
from benchmark.store import PopulationRecords, Records, write_atomic

MESSAGE = "BASELINE_MESSAGE"


def accept(results: Path, baseline: Path) -> tuple[Path, Comparison | None]:
    """Make the records of a results folder the baseline; return a commit message's file, and what changes by it.

    Args:
        results: Where a run left its records.
        baseline: The folder of the baseline, in a git repository; its records are replaced.

    Raises:
        BenchmarkError: If there are no records, some run failed, or the baseline is in no git repository.
    """
    message = Repository(baseline).git_path(MESSAGE)
    records, populations = read(results)
    kept = newest(current_tasks(records))
    if not kept:
        raise BenchmarkError(f"{results}: there are no records here; run the suite into it first.")
    failed = [record for record in kept if record.status == "failed"]
    if failed:
        one = failed[0]
        raise BenchmarkError(
            f"{results}: {one.task}, {one.run.method}, seed {one.run.seed} failed; a baseline has no failed runs."
        )
    old, old_populations = read(baseline)
    found = None
    if old:
        before = as_side("baseline", "the baseline as it was", old, old_populations)
        found = compare(before, as_side("candidate", "the baseline as it will be", records, populations))
    for part in (Records.what, PopulationRecords.what):
        for path in sorted((baseline / part).glob("*/*/*.json")):
            path.unlink()
    for record in kept:
        Records(baseline).add(record.model_copy(update={"curves": {}, "log": []}))
    for population in populations:
        PopulationRecords(baseline).add(population)
    write_atomic(message, _message(found, len(kept)).encode())
    return message, found


def _message(found: Comparison | None, count: int) -> str:
    """A commit message with old and new values."""
    if found is None:
        return f"Baseline of {count} runs\n\n(Say what it is for.)\n"
    rows = [row for row in found.rows if row.regressed or row.decision == "better"]
    changed = "1 number changes" if len(rows) == 1 else f"{len(rows)} numbers change"
    head = f"Baseline: {changed}" if rows else "Baseline: measured again, no number changes clearly"
    return "\n".join([head, "", "(Say why this change is intended.)", "", *_lines(rows)]).rstrip() + "\n"


def _lines(rows: Sequence[Row]) -> list[str]:
    return [
        f"{row.task}, {row.method}: {what_of(row)} {side_of(row, row.before)} -> {side_of(row, row.after)}"
        f"{f' ({change(row)})' if change(row) else ''}, {row.decision}"
        for row in rows
    ]
