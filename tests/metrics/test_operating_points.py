"""TPR at low FPR of the headline attack: by the rule that never exceeds the target, with its interval and its limit."""

import numpy as np
import pytest

from benchmark.api import References
from benchmark.metrics.operating_points import OperatingPoints
from benchmark.stats import clopper_pearson
from tests.metrics.observed import encoder, with_phi

MODEL = with_phi(forget=[98.5, 98.7, 50.0, 200.0], heldout=np.arange(100))


def points(outputs):
    return OperatingPoints().compute(outputs, References(outputs, outputs))


def test_one_false_positive_in_a_hundred_is_admitted_and_none_in_a_thousand():
    assert points(MODEL) == {"tpr_at_1_percent_phi": 0.75, "tpr_at_1_permille_phi": 0.25}


def test_what_the_heldout_images_cannot_resolve_is_noted():
    assert OperatingPoints().notes(MODEL) == {"tpr_at_1_permille_phi": "too few non-members: 100, 1000 are needed"}
    assert OperatingPoints().notes(with_phi(forget=[1.0], heldout=np.arange(1000))) == {}


def test_the_interval_is_that_of_the_forget_images_found():
    assert OperatingPoints().intervals(MODEL) == {
        "tpr_at_1_percent_phi": tuple(clopper_pearson(3, 4)),
        "tpr_at_1_permille_phi": tuple(clopper_pearson(1, 4)),
    }


def test_encoders_are_attacked_at_the_head():
    outputs = encoder()
    outputs["forget/head_similarities"][:] = 0.5
    outputs["heldout/head_similarities"][:] = 0.25
    assert points(outputs) == {"tpr_at_1_percent_head": 1.0, "tpr_at_1_permille_head": 1.0}


def test_a_model_without_a_leak_finds_as_many_members_as_non_members():
    scores = np.random.default_rng(0).normal(size=20_000)
    found = points(with_phi(scores[:10_000], scores[10_000:]))
    assert found["tpr_at_1_percent_phi"] == pytest.approx(0.01, abs=0.003)
    assert found["tpr_at_1_permille_phi"] == pytest.approx(0.001, abs=0.001)
