"""The one-run audit: closed forms, both signs, ties, and how often it errs when there is nothing to find."""

import numpy as np
import pytest

from benchmark.api import References
from benchmark.metrics import one_run_epsilon
from benchmark.metrics.audit import OneRunAudit, audit_epsilon
from tests.metrics.observed import encoder, with_phi


def all_right(r, p_value):
    """Epsilon of r guesses, all right, at delta = 0: expit(epsilon)^r = p."""
    q = p_value ** (1 / r)
    return np.log(q / (1 - q))


def bound(members, nonmembers, **options):
    size = len(members)
    return audit_epsilon(members, nonmembers, np.arange(size), size + np.arange(len(nonmembers)), **options)


@pytest.mark.parametrize("size", [50, 200])
def test_perfect_guesses_of_a_fifth_have_a_closed_form(size):
    above, below = 1.0 + np.arange(size), -1.0 - np.arange(size)
    assert bound(above, below, delta=0.0) == pytest.approx(all_right(2 * size // 5, 0.025), abs=2e-6)


def test_over_forgetting_leaks_as_much_as_remembering():
    scores = np.random.default_rng(0).normal(size=(2, 100))
    shifted = bound(scores[0] + 2, scores[1])
    assert shifted > 0.3
    assert bound(-scores[0] - 2, -scores[1]) == shifted
    assert bound(scores[1], scores[0] + 2) == shifted


@pytest.mark.parametrize(("candidates", "guessed"), [(10, 2), (14, 2), (19, 2), (20, 4), (29, 4), (30, 6)])
def test_a_fifth_is_rounded_down_to_an_even_number(candidates, guessed):
    members, nonmembers = np.arange(candidates)[candidates // 2 :], np.arange(candidates // 2)
    expected = one_run_epsilon(candidates, guessed, guessed, 1e-5, 0.025)
    assert bound(members, nonmembers) == expected


def test_below_ten_candidates_nothing_is_guessed():
    assert bound([5.0, 6.0, 7.0, 8.0], [1.0, 2.0, 3.0, 4.0, 0.0]) == 0.0


def test_equal_scores_do_not_betray_in_which_set_they_stand():
    same, order = np.zeros(100), np.random.default_rng(0).permutation(200)
    assert audit_epsilon(same, same, order[:100], order[100:]) == 0.0
    assert audit_epsilon(same, same, np.arange(100), 100 + np.arange(100)) > 1  # the order is all that it goes by


def test_without_a_leak_one_in_twenty_bounds_is_wrong_at_most():
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(300):
        scores, heads = rng.normal(size=100), rng.random(100) < 0.5
        wrong += audit_epsilon(scores[heads], scores[~heads], *map(np.flatnonzero, (heads, ~heads))) > 0
    assert wrong / 300 <= 0.05


@pytest.mark.parametrize("outputs", [with_phi(range(20, 40), range(20)), encoder()], ids=["classifier", "encoder"])
def test_nothing_is_said_where_no_coins_were_thrown(outputs):
    outputs.pop("split/coins", None)
    for coins in ({}, {"split/coins": np.array(0)}):
        assert OneRunAudit().compute(outputs | coins, References(outputs, outputs)) == {}
        assert OneRunAudit().sizes(outputs | coins) == {}


def test_a_classifier_is_audited_by_its_margins():
    outputs = with_phi(range(100, 200), range(100)) | {"split/coins": np.array(1)}
    found = OneRunAudit().compute(outputs, References(outputs, outputs))
    assert found == {"one_run_epsilon_phi": one_run_epsilon(200, 40, 40, 1e-5, 0.025)}
    assert OneRunAudit().sizes(outputs) == {"one_run_epsilon_phi": 200}


@pytest.mark.parametrize(
    "arguments",
    [
        ([], [1.0], [], [0]),
        ([1.0], [np.nan], [0], [1]),
        ([1.0, 2.0], [1.0], [0], [1]),
        ([1.0], [1.0], [0], [1], 1.0),
        ([1.0], [1.0], [0], [1], 1e-5, 0.0),
    ],
)
def test_bad_inputs_are_refused(arguments):
    with pytest.raises(ValueError, match=r"^(audit|one_run)_epsilon: "):
        audit_epsilon(*arguments)
