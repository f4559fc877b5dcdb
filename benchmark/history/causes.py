"""Why two records of one run may differ: which stage was done anew, and on which machine with which numerics."""

from collections.abc import Iterable, Iterator
from typing import Any

from benchmark.specs import Record, TaskSpec

_NUMERICS = ("recipe.precision", "recipe.channels_last")
_STAGES = (  # the first key that differs says where the change began
    ("dataset", "the dataset or how it is decoded"),
    ("original", "the split or the training of the models"),
    ("retrained", "the split or the training of the models"),
    ("unlearned", "the method's code"),
    ("original/outputs", "what is observed of models"),
)


def cause(before: Record, after: Record) -> str:
    """Which part of the code or the settings makes two records of one run differ, after their content keys."""
    if before.key == after.key:
        return "nothing that decides a result; it was run again"
    changed = [words for key, words in _STAGES if before.artefacts.get(key) != after.artefacts.get(key)]
    if not changed:
        return "the metrics' code"
    settings = list(_differences(before.run.params, after.run.params))
    if changed[0] == "the method's code" and settings:
        return f"the method's settings ({', '.join(settings)})"
    return changed[0]


def same_record(before: Record, after: Record) -> bool:
    """Whether a run stands on both sides as it was made once, so that nothing was run again."""
    return before.key == after.key and before.provenance == after.provenance


def redefined(before: TaskSpec, after: TaskSpec) -> list[str]:
    """In what two definitions of a task differ, numerics apart: such tasks are not comparable."""
    return list(_differences(before.identity(), after.identity(), _NUMERICS))


def machines(before: Iterable[Record], after: Iterable[Record]) -> list[str]:
    """In what the machines of two groups of records differ, as `threads 1 → 2`."""
    return _between(before, after, _machine)


def numerics(before: Iterable[Record], after: Iterable[Record]) -> list[str]:
    """In what their numerics differ: device, precision, memory layout, versions of libraries."""
    return _between(before, after, _numerics)


def same_outputs(before: Record, after: Record) -> bool:
    """Whether the three models' outputs are the same bit for bit, so that only their scoring can differ.

    Equal keys say so on one machine with one set of libraries, on a CPU.
    """
    places = {name for name in (*before.artefacts, *after.artefacts) if "/" in name}
    equal = bool(places) and all(before.artefacts.get(name) == after.artefacts.get(name) for name in places)
    exact = before.cost is not None and before.cost.device == "cpu"
    return equal and exact and _machine(before) == _machine(after) and _numerics(before) == _numerics(after)


def _machine(record: Record) -> dict[str, Any]:
    ours = dict(record.provenance.hardware)
    if record.cost is not None:
        ours |= {"device": record.cost.device, "threads": record.cost.threads, "exclusive": record.cost.exclusive}
    return ours


def _numerics(record: Record) -> dict[str, Any]:
    recipe = record.run.task.recipe
    versions = {name: found for name, found in record.provenance.versions.items() if name != "benchmark"}
    ours = versions | {"precision": recipe.precision, "channels_last": recipe.channels_last}
    return ours | ({"device": record.cost.device.partition(":")[0]} if record.cost is not None else {})


def _between(before: Iterable[Record], after: Iterable[Record], part: Any) -> list[str]:
    """Differences of what each group has, whatever the record."""
    found = []
    groups = [[part(record) for record in side] for side in (before, after)]
    for name in dict.fromkeys(name for group in groups for one in group for name in one):
        old, new = ({one[name] for one in group if name in one} for group in groups)
        if old != new:
            found.append(f"{name} {_listed(old)} → {_listed(new)}")
    return found


def _listed(values: set[Any]) -> str:
    return " or ".join(sorted(map(str, values))) or "unknown"


def _differences(before: Any, after: Any, without: tuple[str, ...] = (), place: str = "") -> Iterator[str]:
    """`lr 0.1 → 0.3` for each leaf of two nested dictionaries that differs."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in dict.fromkeys((*before, *after)):
            yield from _differences(before.get(name), after.get(name), without, f"{place}.{name}".lstrip("."))
    elif before != after and place not in without:
        yield f"{place} {_short(before)} → {_short(after)}"


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
