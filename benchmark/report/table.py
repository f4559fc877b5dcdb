"""The leaderboard in its forms: Markdown with a file of details, tidy CSV, LaTeX and rich tables for the terminal."""

from dataclasses import dataclass
from itertools import groupby

from rich.console import RenderableType

from benchmark.report.details import details
from benchmark.report.latex import latex
from benchmark.report.layout import Detail, layout
from benchmark.report.markdown import section
from benchmark.report.model import TaskSummary
from benchmark.report.standings import standings, without
from benchmark.report.summary import Summary
from benchmark.report.terminal import overview, terminal
from benchmark.report.tidy import tidy_csv


@dataclass(frozen=True)
class Tables:
    """The leaderboard, rendered."""

    markdown: str
    details: str
    csv: str
    latex: str
    terminal: list[RenderableType]


def render(summary: Summary) -> Tables:
    """Draw scores across tasks, then every task, grouped by paradigm."""
    ordered = by_paradigm(summary)
    groups = [(paradigm, list(tasks)) for paradigm, tasks in groupby(ordered, key=lambda task: task.paradigm)]
    overall = [group for group in summary.across if group.standings]
    return Tables(
        markdown=_markdown(summary, groups),
        details=details(ordered, sources(summary)),
        csv=tidy_csv(ordered),
        latex=latex([*map(standings, overall), *(layout(task, Detail(gaps=False)) for task in ordered)]),
        terminal=[*overview(overall), *(item for paradigm, tasks in groups for item in terminal(paradigm, tasks))],
    )


def by_paradigm(summary: Summary) -> list[TaskSummary]:
    """Tasks in the order of reading."""
    return sorted(summary.tasks, key=lambda task: (task.paradigm, task.name))


def sources(summary: Summary) -> str:
    """Where the numbers come from, in one sentence."""
    days = summary.first_date + (f" to {summary.last_date}" if summary.last_date != summary.first_date else "")
    commits = "1 commit" if len(summary.commits) == 1 else f"{len(summary.commits)} commits"
    return f"From {summary.n_records} records of {commits}, {days}."


def _markdown(summary: Summary, groups: list[tuple[str, list[TaskSummary]]]) -> str:
    blocks = [
        "# Leaderboard",
        f"{sources(summary)} Built from `records/` by `report`; do not edit. "
        "Headline numbers only: [details.md](details.md) has all of them, `leaderboard.csv` with every interval.",
        *_across(summary),
    ]
    for paradigm, tasks in groups:
        blocks.append(f"## {paradigm}")
        for task in tasks:
            blocks += section(layout(task))
    return "\n\n".join(blocks) + "\n"


def _across(summary: Summary) -> list[str]:
    blocks = ["## Across tasks"]
    for group in summary.across:
        if group.standings:
            blocks += section(standings(group))
    rest = [f"- {without(group)}" for group in summary.across if not group.standings]
    return blocks + (["\n".join(rest)] if rest else [])
