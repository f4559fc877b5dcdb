"""Which records count: the newest of each run, of the newest definition of each task, and the populations that fit."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from benchmark.specs import PopulationRecord, Record, TaskSpec


def when(record: Record | PopulationRecord) -> datetime:
    """When it was made."""
    date = datetime.fromisoformat(record.provenance.date)
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def current_tasks(records: Iterable[Record]) -> list[Record]:
    """The records whose task is defined as in the task's newest record."""
    by_task: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_task[record.task].append(record)
    current = []
    for group in by_task.values():
        identity = max(group, key=when).run.task.identity()
        current += [record for record in group if record.run.task.identity() == identity]
    return current


def newest(records: Iterable[Record]) -> list[Record]:
    """The newest record of each (task, method, placebo or not, seed), sorted by these.

    Of one run at one commit it is the last in the order of reading: a clock may go backwards, a repeat's number not.
    """
    found: dict[tuple[str, str, bool, int], Record] = {}
    for record in records:
        key = (record.task, record.run.method, record.run.placebo, record.run.seed)
        if key not in found or _follows(record, found[key]):
            found[key] = record
    return [found[key] for key in sorted(found)]


def _follows(later: Record | PopulationRecord, earlier: Record | PopulationRecord) -> bool:
    """Of two in the order of reading, whether the second stands for both."""
    same = (later.key, later.provenance.commit) == (earlier.key, earlier.provenance.commit)
    return same or when(later) >= when(earlier)


def fitting(populations: Iterable[PopulationRecord], records: Sequence[Record]) -> dict[str, PopulationRecord]:
    """Method -> the newest population of one task that is defined and set as the records that count.

    Args:
        populations: Of any task.
        records: Those of one task that count.
    """
    task, params = records[0].run.task, _params(records)
    found: dict[str, PopulationRecord] = {}
    for population in sorted(populations, key=lambda population: population.key):
        if _same(population.task, task) and population.params == params.get(population.method):
            earlier = found.get(population.method, population)
            found[population.method] = population if _follows(population, earlier) else earlier
    return dict(sorted(found.items()))


def _same(one: TaskSpec, other: TaskSpec) -> bool:
    return one.name == other.name and one.identity() == other.identity()


def _params(records: Sequence[Record]) -> dict[str, object]:
    return {record.run.method: record.run.params for record in records if not record.run.placebo}
