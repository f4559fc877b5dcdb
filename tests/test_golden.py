"""Every hand-checked case of tests/golden against the function it names, by the pass rule of its README."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import benchmark.metrics
import benchmark.stats

FOLDER = Path(__file__).parent / "golden"
CASES = [
    pytest.param(table["metric"], case, id=f"{table['metric']}-{case['name']}")
    for table in (json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json")))
    for case in table["cases"]
]
SEEDS_OF = {"iqm_ci": [{"seed": seed} for seed in range(5)]}


@pytest.mark.parametrize(("metric", "case"), CASES)
def test_function_reproduces_the_golden_answer(metric: str, case: dict[str, Any]) -> None:
    function = getattr(benchmark.metrics, metric, None) or getattr(benchmark.stats, metric)
    for seed in SEEDS_OF.get(metric, [{}]):
        arguments = {**with_floats(case["inputs"]), **case["params"], **seed}
        if case["expected"] == "error":
            with pytest.raises(ValueError, match=metric):
                function(**arguments)
        else:
            assert_same(function(**arguments), case["expected"], case["tolerance"])


def with_floats(value: Any) -> Any:
    """Replace the strings NaN, Infinity and -Infinity inside inputs by the floats they stand for."""
    if isinstance(value, dict):
        return {key: with_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [with_floats(item) for item in value]
    return float(value) if value in ("NaN", "Infinity", "-Infinity") else value


def assert_same(got: Any, expected: Any, tolerance: float) -> None:
    """Compare through dicts and lists; floats within tolerance * max(1, |expected|), the rest exactly."""
    got = got.tolist() if isinstance(got, np.ndarray | np.generic) else got
    if isinstance(expected, dict):
        assert set(got) == set(expected)
        for key, item in expected.items():
            assert_same(got[key], item, tolerance)
    elif isinstance(expected, list):
        assert isinstance(got, list)
        assert len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            assert_same(one, other, tolerance)
    elif expected is None:
        assert math.isnan(got)
    elif isinstance(expected, float):
        assert isinstance(got, float)
        assert abs(got - expected) <= tolerance * max(1.0, abs(expected))
    else:
        assert type(got) is type(expected)
        assert got == expected
