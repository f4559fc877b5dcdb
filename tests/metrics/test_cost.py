"""Speed-up: null value, units and aggregation."""

import numpy as np
import pytest

from benchmark.metrics import speedup


def test_retraining_is_one_times_as_fast_as_retraining():
    seconds = np.random.default_rng(0).uniform(50, 150, size=(5, 3))
    assert speedup(seconds, seconds, np.zeros(5)) == pytest.approx(1.0)


def test_the_unit_of_time_cancels():
    retrain, unlearn = np.random.default_rng(0).uniform(1, 9, size=(2, 4, 3))
    stored = np.full(4, 0.5)
    in_minutes = speedup(retrain / 60, unlearn / 60, stored / 60)
    assert in_minutes == pytest.approx(speedup(retrain, unlearn, stored))


def test_twice_as_fast_and_half_as_fast_average_to_equal():
    assert speedup([[10.0], [10.0]], [[5.0], [20.0]], [0.0, 0.0]) == pytest.approx(1.0)


def test_stored_precomputation_slows_a_method_down():
    assert speedup([[100.0]], [[10.0]], [15.0]) < speedup([[100.0]], [[10.0]], [0.0])
