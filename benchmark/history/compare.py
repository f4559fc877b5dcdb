"""Two sides held against each other: runs are paired by task, method, placebo and seed; each number is decided."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from benchmark.errors import UnknownName
from benchmark.history import timing
from benchmark.history.causes import cause, redefined, same_record
from benchmark.history.drafts import Draft, Paired, floors, name_of
from benchmark.history.model import ORDER, Comparison, Row, TaskPairs
from benchmark.history.reading import Side
from benchmark.history.rules import decided
from benchmark.stats import holm


@dataclass(frozen=True)
class Selection:
    """What is asked for, by wildcards; empty means everything."""

    tasks: Sequence[str] = ()
    methods: Sequence[str] = ()
    metrics: Sequence[str] = ()

    def covers(self, task: str, method: str, metric: str) -> bool:
        """Whether a row is asked for."""
        return covers(self.tasks, task) and covers(self.methods, method) and covers(self.metrics, metric)

    def check(self, tasks: set[str], methods: set[str], metrics: set[str]) -> None:
        """Raise UnknownName if a pattern covers nothing."""
        asked = (("task", self.tasks, tasks), ("method", self.methods, methods), ("metric", self.metrics, metrics))
        for kind, patterns, known in asked:
            for pattern in patterns:
                if not any(covers([pattern], name) for name in known):
                    raise UnknownName(kind, pattern, known, f"--{kind}")


def covers(patterns: Sequence[str], name: str) -> bool:
    """Whether a name is asked for; `[` is literal, since presets have it."""
    return not patterns or any(fnmatchcase(name, pattern.replace("[", "[[]")) for pattern in patterns)


def compare(before: Side, after: Side, selection: Selection | None = None) -> Comparison:
    """Hold two sides against each other.

    Args:
        before: The baseline.
        after: The candidate.
        selection: Of tasks, methods (`original` and `retrained` among them) and metrics (`time` among them).

    Raises:
        UnknownName: If a pattern of the selection covers nothing on either side.
    """
    selection = selection or Selection()
    selection.check(*_known(before, after))
    tasks: list[TaskPairs] = []
    drafts: list[Draft] = []
    for name in sorted({*before.runs, *after.runs}):
        if covers(selection.tasks, name):
            pairs, found = _of_task(name, before, after)
            tasks.append(pairs)
            drafts += found
    drafts = [draft for draft in drafts if selection.covers(draft.row.task, draft.row.method, draft.row.metric)]
    rows = [row for kind in ("quality", "time") for row in _decided([d for d in drafts if d.row.kind == kind])]
    rows.sort(key=lambda row: (ORDER.index(row.decision), row.kind, row.task, not row.headline))
    return Comparison(before.what, after.what, tasks, rows)


def _of_task(name: str, before: Side, after: Side) -> tuple[TaskPairs, list[Draft]]:
    old, new = before.runs.get(name, {}), after.runs.get(name, {})
    counts = [sum(len(seeds) for seeds in arms.values()) for arms in (old, new)]
    reason = None
    if not old or not new:
        reason = "not on both sides"
    elif differences := redefined(before.task(name), after.task(name)):
        reason = f"the task was redefined ({', '.join(differences)}), so its runs are not comparable"
    if reason is not None:
        return TaskPairs(name, only_before=counts[0], only_after=counts[1], reason=reason), []
    pairs = {
        arm: {seed: (old[arm][seed], new[arm][seed]) for seed in sorted(old[arm]) if seed in new[arm]}
        for arm in sorted(old)
        if arm in new and old[arm].keys() & new[arm].keys()
    }
    if not pairs:
        reason = "no method and seed was run on both sides"
        return TaskPairs(name, only_before=counts[0], only_after=counts[1], reason=reason), []
    paired = Paired(name, pairs, floors(old, new), before, after)
    drafts = list(paired.drafts())
    both = [pair for found in pairs.values() for pair in found.values()]
    again = [(name_of(arm), pair) for arm, seeds in pairs.items() for pair in seeds.values() if not same_record(*pair)]
    causes: dict[str, dict[str, None]] = {}
    for method, pair in again:
        causes.setdefault(cause(*pair), {})[method] = None
    found = TaskPairs(
        name=name,
        pairs=len(both),
        not_again=len(both) - len(again),
        only_before=counts[0] - len(both),
        only_after=counts[1] - len(both),
        causes={what: list(methods) for what, methods in causes.items()},
        notes=paired.notes,
    )
    return found, drafts


def _decided(drafts: Sequence[Draft]) -> list[Row]:
    """Rows with decisions; Holm over all tests bounds how often any of them is a false alarm."""
    p_values = {place: draft.test.counted for place, draft in enumerate(drafts) if draft.test}
    known = {place: p_value for place, p_value in p_values.items() if p_value is not None}
    adjusted = dict(zip(known, holm(list(known.values()))["adjusted"], strict=True)) if known else {}
    return [_settled(draft, adjusted.get(place)) for place, draft in enumerate(drafts)]


def _settled(draft: Draft, adjusted: float | None) -> Row:
    if draft.test is None:
        return draft.row
    if draft.times is not None:
        decision, why = timing.decide(draft.times, adjusted)
    else:
        decision, why = decided(draft.test, draft.row.floor, adjusted, draft.directed)
    return replace(draft.row, decision=decision, why=why, adjusted=adjusted)


def _known(*sides: Side) -> tuple[set[str], set[str], set[str]]:
    """Every task, method and metric that can be asked for."""
    arms = [(arm, seeds) for side in sides for found in side.runs.values() for arm, seeds in found.items()]
    metrics = {name for _, seeds in arms for record in seeds.values() for name in record.metrics}
    tasks = {name for side in sides for name in side.runs}
    methods = {"all", "original", "retrained", *(name_of(arm) for arm, _ in arms)}
    return tasks, methods, {"status", "sets", "time", *metrics}
