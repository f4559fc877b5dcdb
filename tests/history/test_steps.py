"""Piecewise constant fits: steps that are there are found where they are, and noise has none."""

import numpy as np
import pytest

from benchmark.history.steps import LEAST_LENGTH, levels, segments


def test_a_series_without_noise_steps_where_it_steps():
    values = [0.1] * 5 + [0.4] * 3 + [0.2] * 6
    assert segments(values) == [0, 5, 8]
    assert levels(values, [0, 5, 8]) == [0.1, 0.4, 0.2]


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0], [1.0, 2.0, 3.0], [5.0] * 30])
def test_a_short_or_a_constant_series_has_no_step(values):
    assert segments(values) == [0]


def test_one_commit_is_no_step():
    assert segments([1.0] * 10 + [9.0] + [1.0] * 10) == [0]


def test_every_segment_has_two_commits_or_more():
    generator = np.random.default_rng(0)
    for _ in range(50):
        starts = [*segments(generator.normal(size=12).tolist()), 12]
        assert min(np.diff(starts)) >= LEAST_LENGTH


def test_nothing_is_fitted_better_than_the_noise_of_seeds():
    values = [0.50, 0.501, 0.499, 0.5, 0.51, 0.511, 0.509, 0.51]
    assert segments(values) == [0, 4]
    assert segments(values, noise=0.01) == [0]


def test_the_fit_does_not_depend_on_the_unit():
    generator = np.random.default_rng(1)
    values = np.r_[generator.normal(0, 1, 15), generator.normal(6, 1, 15)]
    assert segments(values.tolist()) == segments((1e6 * values + 7).tolist()) == [0, 15]


def test_the_best_cut_is_the_best_of_all_cuts():
    """Against trying every pair of cuts."""
    generator = np.random.default_rng(2)
    values = np.r_[generator.laplace(0, 0.2, 6), generator.laplace(3, 0.2, 5), generator.laplace(1, 0.2, 7)]

    def cost(*cuts):
        return sum(np.abs(part - np.median(part)).sum() for part in np.split(values, cuts))

    pairs = [(i, j) for i in range(2, 15) for j in range(i + 2, 17)]
    assert tuple(segments(values.tolist())[1:]) == min(pairs, key=lambda cuts: cost(*cuts)) == (6, 11)


@pytest.mark.parametrize("draw", ["normal", "laplace"])
def test_noise_alone_hardly_ever_steps(draw, capsys):
    generator = np.random.default_rng(3)
    alarms = {}
    for n in (4, 6, 10, 20):
        drawn = (getattr(generator, draw)(size=n).tolist() for _ in range(100))
        alarms[n] = sum(len(segments(values)) > 1 for values in drawn)
    with capsys.disabled():
        print(
            f"\n{draw} noise without a step, of 100 series: "
            + ", ".join(f"{a} of {n} commits" for n, a in alarms.items())
        )
    assert max(alarms.values()) <= 6
