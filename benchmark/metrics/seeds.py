"""Attacks over all seeds of a task: the strongest of a panel, and what is left when partners exchange their images.

The panel follows the worst-case ensembles of RobustBench and AutoAttack; swapping follows Tu, Hu & Ma (NeurIPS 2025,
2404.11577), as an AUC. The unit is the training seed, or the pair of them (METRICS 2.3 and 5).
"""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import mannwhitneyu

from benchmark.api import CONTRASTIVE, Finding, Outputs, Population, PopulationMetric, Value, register_metric
from benchmark.metrics._checks import Floats
from benchmark.metrics.attacks import mia_auc, swap_auc
from benchmark.metrics.membership import EncoderMI, MembershipInference
from benchmark.metrics.pools import MARGIN, SIMILARITIES, Score, check_partners
from benchmark.specs import derive_seed
from benchmark.stats import attack_validity, t_interval

Scores = Mapping[str, Mapping[str, Floats]]
"""Attack -> set -> [n]."""


# -- panel -------------------------------------------------------------------------------------------------


class _Panel(PopulationMetric):
    """The largest distance between an attack's AUCs on unlearned and on retrained model, per seed.

    Attacks count that detect the forget set on the originals (METRICS V2); if none does, there is no value. The attack
    is chosen on a fixed random half of the images and reported on the other, halves swapped and averaged (V6). Its
    floor is above 0, two retrained models being different too.
    """

    attacks: tuple[str, ...]
    family: type[MembershipInference] | type[EncoderMI]
    value: str

    def compute(self, models: Sequence[Outputs], population: Population) -> dict[str, Finding]:
        original = [self.family().attack_scores(model) for model in population.original]
        valid = [attack for attack in self.attacks if _detects([scores[attack] for scores in original])]
        if not valid:
            return {}
        unlearned, retrained = (
            [_aucs_by_half(model, self.family().attack_scores(model), valid) for model in side]
            for side in (models, population.retrained)
        )
        per_seed = [_worst(np.abs(own - anchor)) for own, anchor in zip(unlearned, retrained, strict=True)]
        n = sum(len(models[0][f"{name}/indices"]) for name in ("forget", "heldout"))
        return {self.value: _mean(per_seed, n, per_seed)}


@register_metric(
    "attack_panel",
    paradigms={"supervised"},
    needs="seeds",
    source="worst-case ensembles after Croce & Hein, ICML 2020, arXiv 2003.01690; METRICS 2.3",
    values={"attack_panel_worst": Value("worst AUC distance", "min", "forgetting", "auc", signal="loss")},
)
class AttackPanel(_Panel):
    """Margin, entropy and modified entropy; the loss orders images as the margin does and has no vote of its own."""

    attacks = ("phi", "entropy", "mentropy")
    family = MembershipInference
    value = "attack_panel_worst"


@register_metric(
    "encoder_attack_panel",
    paradigms=CONTRASTIVE,
    needs="seeds",
    source="worst-case ensembles after Croce & Hein, ICML 2020, arXiv 2003.01690; METRICS 2.3",
    values={"encoder_attack_panel_worst": Value("worst AUC distance", "min", "forgetting", "auc", signal="similarity")},
)
class EncoderAttackPanel(_Panel):
    """Mean similarity of views at head and backbone."""

    attacks = ("head", "backbone")
    family = EncoderMI
    value = "encoder_attack_panel_worst"


def _detects(originals: Sequence[Mapping[str, Floats]]) -> bool:
    """Whether an attack tells forget from held-out images before unlearning: over seeds, or over images of one seed."""
    if len(originals) == 1:
        [scores] = originals
        return bool(mannwhitneyu(scores["forget"], scores["heldout"], alternative="greater").pvalue < 0.01)
    return attack_validity([mia_auc(scores["forget"], scores["heldout"]) for scores in originals])["valid"]


def _aucs_by_half(model: Outputs, scores: Scores, attacks: Sequence[str]) -> Floats:
    """[attacks, 2]: AUCs on two fixed random halves of each set; models of one seed have the same halves."""
    indices = [model[f"{name}/indices"] for name in ("forget", "heldout")]
    lots = np.random.default_rng(derive_seed("panel", "halves")).random(1 + max(int(own.max()) for own in indices))
    halves = [lots[own].argsort().argsort() % 2 for own in indices]
    sides = [(scores[attack]["forget"], scores[attack]["heldout"]) for attack in attacks]
    return np.array(
        [
            [mia_auc(*(own[half == which] for own, half in zip(side, halves, strict=True))) for which in (0, 1)]
            for side in sides
        ]
    )


def _worst(gaps: Floats) -> float:
    """Distances [attacks, 2] -> that of the attack which the other half chooses, averaged over the halves."""
    first_by_second, second_by_first = gaps[gaps[:, 1].argmax(), 0], gaps[gaps[:, 0].argmax(), 1]
    return float(first_by_second + second_by_first) / 2


# -- swap --------------------------------------------------------------------------------------------------


class _Swap(PopulationMetric):
    """AUC of forget against held-out images, averaged over partners that forgot each other's held-out images.

    What makes one half harder than the other cancels to first order. The interval is over pairs.
    """

    prefix: str
    signals: Mapping[str, Score]

    def compute(self, models: Sequence[Outputs], population: Population) -> dict[str, Finding]:
        check_partners(population.seeds, len(models))
        pairs = list(zip(models[0::2], models[1::2], strict=True))
        for seed, (one, other) in zip(population.seeds[0::2], pairs, strict=True):
            if not _exchanged(one, other):
                raise ValueError(f"seeds {seed} and {seed + 1} do not forget what the other held out, as a pair must.")
        n = sum(len(models[0][f"{name}/indices"]) for name in ("forget", "heldout"))
        found = {}
        for suffix, score in self.signals.items():
            aucs = [swap_auc(*(score(m, name) for m in pair for name in ("forget", "heldout"))) for pair in pairs]
            found[f"{self.prefix}{suffix}"] = _mean(aucs, n)
        return found


@register_metric(
    "swap",
    paradigms={"supervised"},
    needs="pairs",
    source="after the swapped splits of Tu, Hu & Ma, NeurIPS 2025, arXiv 2404.11577; METRICS 2.3",
    values={
        "swap_auc": Value("swapped AUC", "match_retrained", "forgetting", "auc", attack=True, signal="loss"),
    },
)
class Swap(_Swap):
    """Of the margins phi."""

    prefix = "swap_auc"
    signals = MARGIN


@register_metric(
    "encoder_swap",
    paradigms=CONTRASTIVE,
    needs="pairs",
    source="after the swapped splits of Tu, Hu & Ma, NeurIPS 2025, arXiv 2404.11577; METRICS 2.3",
    values={
        f"encoder_swap_auc_{place}": Value(
            f"swapped {place} AUC", "match_retrained", "forgetting", "auc", attack=True, signal="similarity"
        )
        for place in ("head", "backbone")
    },
)
class EncoderSwap(_Swap):
    """Of the mean similarity of an image's fixed views."""

    prefix = "encoder_swap_auc"
    signals = SIMILARITIES


def _exchanged(one: Outputs, other: Outputs) -> bool:
    """Whether each forgot what the other held out."""
    ways = ((one, other), (other, one))
    return all(np.array_equal(np.sort(a["forget/indices"]), np.sort(b["heldout/indices"])) for a, b in ways)


def _mean(units: Sequence[float], n: int, per_seed: Sequence[float] = ()) -> Finding:
    """Mean over units with its t-interval, if there are two or more."""
    if len(units) == 1:
        return Finding(units[0], n, per_seed=per_seed)
    interval = t_interval(units)
    return Finding(interval["mean"], n, interval["low"], interval["high"], per_seed=per_seed)
