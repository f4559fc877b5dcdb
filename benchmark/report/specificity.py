"""Whether the effect needs the forget data (METRICS V17): the same method, given images that were never trained on.

specificity = 1 - (AUC_original - AUC_placebo) / (AUC_original - AUC_unlearned), of the primary attack on the forget
set: 1 if nothing of the effect comes without it, 0 if all does. Means over seeds, Fieller's interval.
"""

from benchmark.report.columns import BySeed
from benchmark.report.model import Column, Estimate
from benchmark.specs import Record
from benchmark.stats import ratio_interval, t_interval

_READ = "forget"
_NOTHING = 1e-9  # what rounding leaves of an effect, as a share


def specificity(column: Column | None, real: BySeed, placebo: BySeed) -> Estimate | None:
    """Of one method on one task.

    Args:
        column: The primary attack.
        real: The method's runs.
        placebo: Its runs on the placebo.

    Returns:
        None where it has no meaning: the attack is inconclusive, a run failed, fewer than two seeds have both arms, or
        the effect itself cannot be told from none.
    """
    seeds = sorted(real.keys() & placebo.keys())
    runs = [record for seed in seeds for record in (real[seed], placebo[seed])]
    if column is None or not column.conclusive or len(seeds) < 2 or not all(_scored(run, column) for run in runs):
        return None
    effect, without = ([_fall(arm[seed], column) for seed in seeds] for arm in (real, placebo))
    fall = t_interval(effect)
    if fall["low"] <= _NOTHING * abs(fall["mean"]):
        return None
    ratio = ratio_interval(without, effect)
    return Estimate(1 - ratio["mean"], 1 - ratio["high"], 1 - ratio["low"], len(seeds))


def is_own_placebo(uses: list[str]) -> bool:
    """Whether a method reads no forget data, so that a placebo would change nothing."""
    return _READ not in uses


def _scored(record: Record, column: Column) -> bool:
    return record.status not in ("failed", "diverged") and column.name in record.metrics


def _fall(record: Record, column: Column) -> float:
    """How far the attack fell from the original."""
    value = record.metrics[column.name]
    return value.original - value.value
