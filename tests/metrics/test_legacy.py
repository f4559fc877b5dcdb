"""Legacy columns: what papers print, and why it is not ranked."""

import numpy as np
import pytest
from scipy.special import expit

from benchmark.metrics import average_gap, svc_mia_efficacy, tow


def test_tow_is_at_most_one_and_only_for_equal_accuracies():
    generator = np.random.default_rng(0)
    u, r = generator.uniform(size=(2, 50, 3))
    assert 0 <= tow(u, r) < 1
    assert tow(u, u) == 1.0
    assert tow(u, r) == pytest.approx(tow(r, u))


def test_gaps_of_opposite_seeds_do_not_cancel():
    u, r = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[2.0, 2.0], [2.0, 4.0]])
    assert average_gap(u, r) == 0.5 == average_gap(r, u)
    assert average_gap(u, u) == 0.0


def test_svc_efficacy_calls_over_forgetting_perfect():
    generator = np.random.default_rng(0)
    retain, test = expit(generator.normal(6, 1, size=300)), expit(generator.normal(1, 2, size=300))
    over_forgotten = expit(generator.normal(-10, 1, size=100))
    assert svc_mia_efficacy(retain, test, over_forgotten) == 1.0
    assert svc_mia_efficacy(retain, test, test[:100]) < 0.9


def test_svc_efficacy_of_an_untouched_model_is_low():
    retain, test = np.linspace(0.95, 1.0, 50), np.linspace(0.0, 0.6, 50)
    assert svc_mia_efficacy(retain, test, retain[::2]) == 0.0
