"""Every metric of every run, on 10,000 examples a set: what a metric costs at the size of real test sets.

Relearning and what reads many models have sizes of their own; the support-vector attack of the legacy columns takes
minutes at this one.
"""

from typing import Any

import numpy as np
import pytest

from benchmark import registry
from benchmark.api import References

N, CLASSES, WIDTH, VIEWS = 10_000, 10, 64, 10
MODELS = {"original": 1.0, "retrained": 0.0, "unlearned": 0.4}  # what memory adds to a forget image's score


def metrics() -> list[tuple[str, str]]:
    """(metric, paradigm) of those that read one run."""
    infos = [registry.get("metric", name).info for name in registry.names("metric")]
    chosen = [info for info in infos if info.needs == "run" and info.tier == "every_run"]
    return [
        (info.name, paradigm) for info in chosen for paradigm in ("supervised", "simclr") if paradigm in info.paradigms
    ]


def outputs(paradigm: str, seed: int, shift: float) -> dict[str, np.ndarray]:
    """Made up, of the shapes that `observe` leaves."""
    generator, fixed = np.random.default_rng(seed), np.random.default_rng(7)
    found: dict[str, np.ndarray] = {
        "retain/neighbours": np.array(200),
        "split/coins": np.array(1),
        "retain/probe": np.arange(N),
    }
    for place, name in enumerate(("forget", "heldout", "third_party", "retain", "test")):
        labels = fixed.integers(0, CLASSES, N)
        features = generator.standard_normal((N, WIDTH), dtype=np.float32)
        features[np.arange(N), labels] += 3
        found |= {f"{name}/labels": labels, f"{name}/indices": np.arange(N) + N * place, f"{name}/features": features}
        if paradigm == "supervised":
            logits = generator.standard_normal((N, CLASSES), dtype=np.float32)
            logits[np.arange(N), labels] += 2 + shift * (name in ("forget", "retain"))
            found[f"{name}/logits"] = logits
        elif name != "test":
            centre = shift * (name in ("forget", "retain"))
            drawn = np.tanh(generator.standard_normal((N, VIEWS * (VIEWS - 1) // 2), dtype=np.float32) + centre)
            found |= {f"{name}/{part}_similarities": drawn for part in ("backbone", "head")}
    return found


@pytest.fixture(scope="module")
def models() -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """Paradigm -> role -> outputs."""
    return {
        paradigm: {name: outputs(paradigm, seed, shift) for seed, (name, shift) in enumerate(MODELS.items())}
        for paradigm in ("supervised", "simclr")
    }


@pytest.mark.parametrize(("name", "paradigm"), metrics())
def test_a_metric_on_ten_thousand_examples(benchmark: Any, models: Any, name: str, paradigm: str) -> None:
    found = models[paradigm]
    metric = registry.get("metric", name).target()

    def score() -> dict[str, float]:
        scored: dict[str, float] = metric.compute(found["unlearned"], References(found["original"], found["retrained"]))
        return scored

    values = benchmark.pedantic(score, rounds=2)
    assert values and all(np.isfinite(value) for value in values.values())
