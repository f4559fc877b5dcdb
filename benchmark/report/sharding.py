"""What training in shards costs before anything is forgotten: the same images in one model, beside it."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from benchmark.specs import Record


def beside_one_model(records: Sequence[Record], tasks: Mapping[str, Sequence[Record]]) -> list[str]:
    """Sentences for the legend of a task whose models are trained in shards; none for others.

    Args:
        records: Of the task.
        tasks: Task -> records, that of one model on the same images among them if it was run.
    """
    task = records[0].run.task
    if not task.in_shards or task.shards is None:
        return []
    kept = [record.cost.artefact_bytes for record in records if record.cost and record.cost.artefact_bytes]
    storage = f", which keep {fmean(kept) / 1e6:.1f} MB of weights for it" if kept else ""
    lines = [f"Models of {task.shards.count} shards with {task.shards.slices} slices each{storage}."]
    whole = tasks.get(task.split_of or "", [])
    if whole:
        here, there = _retraining(records), _retraining(whole)
        quality = [
            f"{label} {_percent(records, name)} against {_percent(whole, name)}" for name, label in _best(records)
        ]
        lines.append(
            f"Beside one model on the same images ({task.split_of}), originals: {', '.join(quality)}; "
            f"retraining takes {here:.1f} s against {there:.1f} s."
        )
    return lines


def _best(records: Sequence[Record]) -> list[tuple[str, str]]:
    """(name, label) of the numbers whose best value is the largest."""
    found = {n: v.label for r in records for n, v in r.metrics.items() if v.goal == "max" and v.headline}
    return list(found.items())


def _percent(records: Sequence[Record], name: str) -> str:
    by_seed = {r.run.seed: r.metrics[name].original for r in records if name in r.metrics}
    return f"{100 * fmean(by_seed.values()):.1f} %" if by_seed else "unknown"


def _retraining(records: Sequence[Record]) -> float:
    return fmean({r.run.seed: r.cost.retrain_seconds for r in records if r.cost}.values())
