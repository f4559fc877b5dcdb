"""Records -> summary: what they say per task, metric and row, how sure that is, and what may be concluded from it.

The replicate is the training seed. Columns follow from the metadata in the records; no metric, method, dataset
or task is known by name here. The rules are those of METRICS.md; each has a file of its own beside this one.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmark.errors import BenchmarkError
from benchmark.places import Location
from benchmark.report.across import Across, across
from benchmark.report.columns import BySeed, anchors_of, columns_of
from benchmark.report.model import Column, Row, TaskSummary
from benchmark.report.populations import with_populations
from benchmark.report.ranking import ranked
from benchmark.report.rows import anchor_row, method_row
from benchmark.report.selection import current_tasks, fitting, newest, when
from benchmark.report.sharding import beside_one_model
from benchmark.report.specificity import is_own_placebo, specificity
from benchmark.report.validity import demonstration, flags, headline_distance, marked
from benchmark.specs import MetricValue, PopulationRecord, Record, SplitSpec
from benchmark.store import PopulationRecords, Records


@dataclass(frozen=True)
class Summary:
    """Every task, and what was left out on the way."""

    tasks: list[TaskSummary]
    across: list[Across]
    n_records: int
    n_stale: int
    n_superseded: int
    commits: list[str]
    first_date: str
    last_date: str


def load(results: Location) -> Summary:
    """The summary of a results folder.

    Raises:
        BenchmarkError: If it holds no records, or a file that is none.
    """
    records = list(Records(results).read())
    if not records:
        raise BenchmarkError(f"{results}: there are no records here; `run` makes some, or give another --results.")
    return summarise(records, list(PopulationRecords(results).read()))


def summarise(records: Sequence[Record], populations: Sequence[PopulationRecord] = ()) -> Summary:
    """The summary of some records: the newest of each run, of the newest definition of each task."""
    current = current_tasks(records)
    kept = newest(current)
    by_task: dict[str, list[Record]] = defaultdict(list)
    for record in kept:
        by_task[record.task].append(record)
    tasks = [
        _task(name, found, fitting(populations, found), by_task)
        for name, found in sorted(by_task.items())
        if not all(record.run.placebo for record in found)
    ]
    dates = sorted(when(record) for record in kept)
    return Summary(
        tasks=tasks,
        across=across(tasks),
        n_records=len(kept),
        n_stale=len(records) - len(current),
        n_superseded=len(current) - len(kept),
        commits=sorted({record.provenance.commit for record in kept}),
        first_date=dates[0].date().isoformat(),
        last_date=dates[-1].date().isoformat(),
    )


def _task(
    name: str,
    records: list[Record],
    populations: dict[str, PopulationRecord],
    others: Mapping[str, list[Record]],
) -> TaskSummary:
    records = sorted(records, key=when, reverse=True)
    real = [record for record in records if not record.run.placebo]
    runs, placebos = _by_method(real), _by_method([record for record in records if record.run.placebo])
    seeds = sorted({record.run.seed for record in real})
    anchors = anchors_of(real)
    rows = [method_row(method, by_seed, len(seeds)) for method, by_seed in runs.items()]
    exact = [runs[row.name] for row in rows if row.kind == "oracle" and not row.failed]
    rows = [anchor_row("original", real, anchors), anchor_row("retrained", real, anchors), *rows]
    columns, rows = with_populations(columns_of(anchors, exact), rows, populations)
    task = TaskSummary(
        name=name,
        suite=real[0].suite,
        paradigm=real[0].paradigm,
        seeds=seeds,
        ensemble=_one_pool(real[0].run.task.split),
        columns=columns,
        rows=[marked(row, columns) for row in rows],
        primary=_primary(columns),
        utility=_first(columns, lambda c: c.role == "utility"),
        notes=_notes(real, anchors) + beside_one_model(real, others),
        specificity=bool(placebos),
        in_shards=real[0].run.task.in_shards,
    )
    return _judged(task, runs, placebos)


def _one_pool(split: SplitSpec) -> bool:
    return split.pairs and split.seed is not None


def _by_method(records: list[Record]) -> dict[str, BySeed]:
    found: dict[str, BySeed] = defaultdict(dict)
    for record in records:
        found[record.run.method][record.run.seed] = record
    return found


def _primary(columns: dict[str, Column]) -> str | None:
    def forgets(column: Column) -> bool:
        return column.role == "forgetting" and not column.pooled

    return _first(columns, lambda column: forgets(column) and column.attack) or _first(columns, forgets)


def _first(columns: dict[str, Column], wanted: Callable[[Column], bool]) -> str | None:
    return next((name for name, column in columns.items() if column.headline and wanted(column)), None)


def _judged(task: TaskSummary, runs: dict[str, BySeed], placebos: dict[str, BySeed]) -> TaskSummary:
    """What may be concluded: admission first, then what holds for each row, then ranks."""
    task = replace(task, distance=headline_distance(task))
    task = replace(task, demonstration=demonstration(task))
    return ranked(replace(task, rows=[_flagged(row, task, runs, placebos) for row in task.rows]))


def _flagged(row: Row, task: TaskSummary, runs: dict[str, BySeed], placebos: dict[str, BySeed]) -> Row:
    if row.kind != "method" or row.failed:
        return row
    found, share = flags(row, task), None
    if not is_own_placebo(row.uses):
        column = task.columns.get(task.primary or "")
        share = specificity(column, runs[row.name], placebos.get(row.name, {}))
    if share is not None and share.low is not None and share.low <= 0:
        found["not specific"] = ""
    remarks = [f"{flag} ({of})" if of else flag for flag, of in found.items()]
    verdict = replace(row.verdict, flags=found, specificity=share)
    return replace(row, verdict=verdict, remarks=row.remarks + remarks)


def _notes(records: list[Record], anchors: dict[str, dict[int, MetricValue]]) -> list[str]:
    notes = []
    split = records[0].run.task.split
    if split.seed is not None:
        notes.append("All seeds share one draw of images: intervals tell of training, not of another draw.")
    elif split.pairs:
        notes.append("Two seeds share each draw of images, so intervals of accuracies are somewhat too narrow.")
    costs = [(record.cost, record.provenance.hardware) for record in records if record.cost]
    machines = {(c.device, c.threads, h.get("processor"), h.get("gpu")) for c, h in costs}
    if len(machines) > 1:
        notes.append(
            f"Times were measured on {len(machines)} kinds of machine or numbers of threads; do not compare them."
        )
    seeds = sorted({r.run.seed for r in records for n, v in r.metrics.items() if _differs(v, anchors[n][r.run.seed])})
    if seeds:
        notes.append(
            f"Originals or retrained models differ between methods at seed {', '.join(map(str, seeds))}; "
            "gaps are to each run's own retrained model."
        )
    return notes


def _differs(value: MetricValue, anchor: MetricValue) -> bool:
    return (value.original, value.retrained) != (anchor.original, anchor.retrained)
