"""One side of a comparison: the records of a results folder, or those that a commit, tag or branch holds.

What counts is chosen as the report does it: of each task its newest definition, of each run its newest record.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.errors import BenchmarkError
from benchmark.history.repository import Commit, Repository
from benchmark.report.selection import current_tasks, fitting, newest, when
from benchmark.specs import MetricValue, PopulationRecord, PopulationValue, Record, TaskSpec
from benchmark.store import PopulationRecords, Records

Arm = tuple[str, bool]  # method, and whether it was given a placebo
Run = tuple[str, Arm, int]  # task, arm, seed
Found = tuple[list[Record], list[PopulationRecord]]
_PARTS = (Records.what, PopulationRecords.what)


@dataclass(frozen=True)
class Side:
    """Records that count, by task, arm and seed.

    Attributes:
        name: As it was asked for.
        what: What that is, in words.
        runs: Task -> arm -> seed -> record; numbers that all seeds say together stand in each seed's record.
        repeats: Run -> all its records with the key of the newest, oldest first: one after the other measured.
    """

    name: str
    what: str
    runs: dict[str, dict[Arm, dict[int, Record]]]
    repeats: dict[Run, list[Record]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Runs that count."""
        return sum(len(seeds) for arms in self.runs.values() for seeds in arms.values())

    def task(self, name: str) -> TaskSpec:
        """The definition that its newest record has."""
        return next(record.run.task for seeds in self.runs[name].values() for record in seeds.values())


class Reader:
    """Reads sides; the same folder of the same content is read once.

    Args:
        results: The results folder, also its place inside the commits.
    """

    def __init__(self, results: Path) -> None:
        self.results = results.resolve()
        self._trees: dict[tuple[str, ...], Found] = {}

    def side(self, name: str) -> Side:
        """The records that a name stands for; a folder goes before a revision of the same name.

        A commit stands for the records that it holds; one without any for those that were made by its code.

        Raises:
            BenchmarkError: If there is no such folder or revision, or no record in it.
        """
        if Path(name).is_dir():
            found = read(Path(name))
            if not found[0]:
                raise BenchmarkError(f"{name}: there are no records here; give a folder that holds `records/`.")
            return as_side(name, f"results folder {name}", *found)
        repository = Repository(self.results)
        commit = repository.commit(name)
        held = self._held(repository, commit)
        what = f"{commit.short} of {commit.date[:10]}, {commit.subject!r}"
        if held[0]:
            return as_side(name, what, *held)
        made = self._made_by(commit)
        if not made[0]:
            raise BenchmarkError(
                f"{name}: this commit holds no records, and none in {self.results} was made by its code; "
                "run the benchmark on it, or give a results folder."
            )
        return as_side(name, f"{what}; it holds no records: those made by its code", *made)

    def _held(self, repository: Repository, commit: Commit) -> Found:
        if not self.results.is_relative_to(repository.root):
            raise BenchmarkError(f"{self.results}: this results folder is not in {repository.root}; give one that is.")
        path = self.results.relative_to(repository.root)
        trees = {part: tree for part in _PARTS if (tree := repository.tree(commit, path / part))}
        content = tuple(trees.values())
        if content not in self._trees:
            self._trees[content] = [], []
            if trees:
                with repository.extracted(commit, path, list(trees)) as folder:
                    self._trees[content] = read(folder)
        return self._trees[content]

    def _made_by(self, commit: Commit) -> Found:
        records, populations = read(self.results)
        return (
            [record for record in records if record.provenance.commit == commit.sha],
            [population for population in populations if population.provenance.commit == commit.sha],
        )


def read(results: Path) -> Found:
    """Every record of a results folder, populations apart."""
    return list(Records(results).read()), list(PopulationRecords(results).read())


def as_side(name: str, what: str, records: Sequence[Record], populations: Sequence[PopulationRecord] = ()) -> Side:
    """The records that count of those that there are."""
    current = current_tasks(records)
    by_run: dict[Run, list[Record]] = defaultdict(list)
    for record in sorted(current, key=when):
        by_run[run_of(record)].append(record)
    runs: dict[str, dict[Arm, dict[int, Record]]] = defaultdict(lambda: defaultdict(dict))
    for record in _with_populations(newest(current), populations):
        task, arm, seed = run_of(record)
        runs[task][arm][seed] = record
    repeats = {
        run: [record for record in found if record.key == runs[run[0]][run[1]][run[2]].key]
        for run, found in by_run.items()
    }
    return Side(name, what, {task: dict(arms) for task, arms in runs.items()}, repeats)


def run_of(record: Record) -> Run:
    """What a record is of."""
    return record.task, (record.run.method, record.run.placebo), record.run.seed


def _with_populations(records: list[Record], populations: Sequence[PopulationRecord]) -> list[Record]:
    """Each record with its seed's share of the numbers that all seeds say together, where there is one."""
    by_task: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_task[record.task].append(record)
    more: dict[Run, dict[str, MetricValue]] = defaultdict(dict)
    for task, found in by_task.items():
        for method, population in fitting(populations, found).items():
            for name, value in population.metrics.items():
                if len(value.per_seed) == len(population.seeds):
                    for place, seed in enumerate(population.seeds):
                        more[task, (method, False), seed][name] = _of_seed(value, place)
    return [record.model_copy(update={"metrics": record.metrics | more[run_of(record)]}) for record in records]


def _of_seed(value: PopulationValue, place: int) -> MetricValue:
    """A distance to retrained models is 0 for these; anchors that have no value of their own per seed stay out."""
    shared = value.model_dump(include=set(MetricValue.model_fields) - {"value", "original", "retrained", "low", "high"})
    originals = value.original_per_seed
    original = originals[place] if len(originals) == len(value.per_seed) else 0.0
    return MetricValue(value=value.per_seed[place], original=original, retrained=value.retrained or 0.0, **shared)
