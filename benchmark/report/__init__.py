"""What people read: tables in several forms and figures, built from a folder of records. Nothing here imports torch."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.console import Console, RenderableType

from benchmark.places import Location, place_of
from benchmark.records import PopulationRecords, Records
from benchmark.report.summary import Summary, load
from benchmark.report.table import render, sources

DRAWN = "figures/records.sha256"
"""Says of which records the figures were drawn: times of files tell nothing after a checkout or a clock's jump."""


@dataclass(frozen=True)
class Report:
    """What was built: renderables for the terminal, sentences to be printed below them, and the files written."""

    renderables: list[RenderableType]
    notes: list[str]
    files: list[Location]
    summary: Summary

    def show(self, console: Console) -> None:
        """Print tables and notes."""
        console.print(*self.renderables)
        for note in self.notes:
            console.print(note, markup=False, highlight=False)

    def as_json(self) -> dict[str, Any]:
        """For `--json`: what was built and from how much."""
        return {
            "files": [str(file) for file in self.files],
            "records": self.summary.n_records,
            "tasks": [task.name for task in self.summary.tasks],
            "demonstrations": {t.name: t.demonstration for t in self.summary.tasks if t.demonstration is not None},
            "notes": self.notes,
        }


def build_report(results: Location, draw: bool = True) -> Report:
    """Write leaderboard.md, .csv, .tex, details.md and figures/<task>-<kind>.{png,svg} into a results folder.

    Args:
        results: The folder that holds `records/` and, if populations were measured, `populations/`.
        draw: False leaves the figures as they are.

    Raises:
        BenchmarkError: If there are no records, or a file is none.
    """
    place, of = place_of(results), _digest(results)
    summary = load(results)
    tables = render(summary)
    contents = {
        "leaderboard.md": tables.markdown.encode(),
        "leaderboard.csv": tables.csv.encode(),
        "leaderboard.tex": tables.latex.encode(),
        "details.md": tables.details.encode(),
    }
    if draw:
        from benchmark.report.figures import figures

        for name, forms in figures(summary):
            contents |= {f"figures/{name}.{suffix}": data for suffix, data in forms.items()}
    for name, data in contents.items():
        place.write(name, data)
    if draw:
        place.write(DRAWN, f"{of}\n".encode())
    return Report(tables.terminal, list(_notes(summary)), [place.at(name) for name in contents], summary)


def figures_are_outdated(results: Location) -> bool:
    """Whether figures, which take seconds to draw, are of other records than those that are there."""
    try:
        return place_of(results).read(DRAWN) != f"{_digest(results)}\n".encode()
    except FileNotFoundError:
        return True


def _digest(results: Location) -> str:
    names = {name for shelf in (Records(results), PopulationRecords(results)) for name in shelf.names()}
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()


def _notes(summary: Summary) -> Iterator[str]:
    yield sources(summary)
    if summary.n_stale:
        yield f"{_records(summary.n_stale)} of earlier task definitions set aside."
    if summary.n_superseded:
        yield f"{_records(summary.n_superseded)} set aside for newer ones of the same task, method and seed."
    for task in summary.tasks:
        for row in task.rows:
            if row.errors:
                yield ": ".join(
                    filter(None, [f"{task.name}, {row.name}", "; ".join(row.remarks), "; ".join(row.errors)])
                )


def _records(count: int) -> str:
    return "1 record" if count == 1 else f"{count} records"
