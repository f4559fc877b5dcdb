"""Scores, ranks and their uncertainty, with answers by hand; who is ranked and who is not."""

import pytest

from benchmark.report.ranking import Contest
from benchmark.report.summary import summarise
from benchmark.report.table import render
from tests.report.factory import Method, World, exact, metric, record, suite

FLOOR = exact([0.01] * 5, "again", oracle=True)
STEPS = [0.01, 0.02, 0.03, 0.04, 0.05]  # paired differences like these have p = .0132
WORLD = World()
ORACLE = Method("again", shift=0.0, uses=("retain",), oracle=True)


def task_of(records):
    (task,) = summarise(records).tasks
    return task


def verdict(name, records):
    return task_of(records).row(name).verdict


def ranks(task):
    return {row.name: row.verdict.rank for row in task.rows if row.kind == "method"}


# -- S -----------------------------------------------------------------------------------------------------


def test_doing_nothing_scores_zero_and_retraining_once_more_one():
    records = FLOOR + exact([0.4] * 5, "idle") + exact([0.01] * 5, "fresh")
    for name, score in (("idle", 0), ("fresh", 1), ("again", 1), ("original", 0), ("retrained", 1)):
        assert verdict(name, records).score.mean == pytest.approx(score)


def test_the_score_is_the_share_of_the_way_beyond_the_floor():
    found = verdict("half", FLOOR + exact([0.205] * 5, "half") + exact([0.6] * 5, "worse"))
    assert found.score.mean == pytest.approx(0.5)
    assert (found.score.low, found.score.high) == (pytest.approx(0.5), pytest.approx(0.5))
    assert verdict("worse", FLOOR + exact([0.6] * 5, "worse")).score.mean == pytest.approx(1 - 0.59 / 0.39)


def test_scores_of_seeds_average_to_the_score_and_its_interval_holds_it():
    found = verdict("m", FLOOR + exact(STEPS))
    assert sum(found.scores.values()) / 5 == pytest.approx(found.score.mean)
    assert found.score.low < found.score.mean < found.score.high


def test_over_forgetting_is_as_far_from_retraining_as_remembering():
    assert verdict("m", FLOOR + exact([-0.205] * 5)).score.mean == pytest.approx(0.5)


# -- ranks -------------------------------------------------------------------------------------------------


def test_rank_intervals_are_those_that_holms_adjustment_leaves_open():
    """Each of three comparisons has p = .0132: three times that is below .05, six times (four methods) above."""
    ladder = {name: dict(enumerate(place * step for step in STEPS)) for place, name in enumerate("abcd")}
    three = Contest({name: ladder[name] for name in "abc"})
    assert three.ranks == {"a": (1, 1), "b": (2, 2), "c": (3, 3)}
    assert three.lead("a").p_value == pytest.approx(3 * 0.013236, rel=1e-3)
    assert three.lead("a").difference.mean == pytest.approx(-0.03)
    assert (three.lead("a").other, three.lead("c").other) == ("b", "a")
    assert set(Contest(ladder).ranks.values()) == {(1, 4)}


def test_methods_that_tie_share_their_ranks_stand_by_name_and_are_both_best():
    task = task_of(FLOOR + exact([0.1] * 5, "beta") + exact([0.1] * 5, "alpha") + exact([0.2] * 5, "gamma"))
    assert ranks(task) == {"alpha": (1, 2), "beta": (1, 2), "gamma": (3, 3)}
    assert [row.name for row in task.rows][3:] == ["alpha", "beta", "gamma"]
    assert [row.name for row in task.rows if row.cells["leak"].best] == ["alpha", "beta"]


def test_one_method_alone_has_rank_one_and_no_lead():
    found = verdict("m", FLOOR + exact(STEPS))
    assert (found.ranked, found.rank, found.lead) == (True, (1, 1), None)


def test_failed_methods_share_the_last_ranks_and_score_minus_one():
    lost = [m for name in ("x", "y") for m in exact([0.0] * 5, name, status="diverged")]
    task = task_of(FLOOR + exact([0.3] * 5, "poor") + exact([0.9] * 5, "harmful") + lost)
    assert ranks(task) == {"poor": (1, 1), "harmful": (2, 2), "x": (3, 4), "y": (3, 4)}
    assert [row.name for row in task.rows][-2:] == ["x", "y"]
    assert task.row("x").verdict.score.mean == -1
    assert set(task.row("x").verdict.scores.values()) == {-1.0}
    line = next(line for line in render(summarise(lost + FLOOR)).markdown.splitlines() if line.startswith("| x "))
    assert "| 1–2 | −1.00 | – | worst |" in line
    assert "| 0× |" in line


def test_a_method_that_missed_seeds_is_not_ranked():
    found = verdict("late", FLOOR + exact(STEPS) + exact([0.0] * 4, "late"))
    assert (found.ranked, found.rank, found.score) == (False, None, None)


def test_a_method_is_not_ranked_by_what_it_optimises():
    signals = {"leak": metric(0.52, 0.9, 0.5, signal="loss"), "other": metric(0.6, 0.9, 0.5, signal="entropy")}
    floor = {name: value.model_copy(update={"value": 0.51}) for name, value in signals.items()}
    records = [record(WORLD, ORACLE, seed, metrics=floor) for seed in range(5)]
    for name, optimises in (("honest", ()), ("gamer", ("loss",)), ("third", ("features",))):
        records += [record(WORLD, Method(name, optimises=optimises), seed, metrics=signals) for seed in range(5)]
    task = task_of(records)
    assert ranks(task) == {"honest": (1, 2), "third": (1, 2), "gamer": None}
    assert not task.row("gamer").cells["leak"].best
    assert task.row("gamer").cells["other"].best is False
    assert task.row("honest").cells["leak"].best
    text = render(summarise(records)).markdown
    assert next(line for line in text.splitlines() if line.startswith("| gamer")).count("†") == 1
    assert "†: optimised by the method itself; not ranked on it." in text


# -- tables ------------------------------------------------------------------------------------------------


def test_the_table_prints_rank_intervals_scores_and_what_they_mean():
    text = render(summarise(FLOOR + exact([0.1] * 5, "m") + exact([0.1] * 5, "n"))).markdown
    assert "| method | access | rank | S\u00a0↑ |" in text
    assert next(line for line in text.splitlines() if line.startswith("| m ")).startswith("| m | F R | 1–2 | 0.77 |")
    assert "Holm-adjusted for 1 comparison; with 5 seeds a sign-flip test could not tell" in text


def test_the_score_of_who_is_not_ranked_stands_in_brackets():
    text = render(summarise(suite(WORLD, [ORACLE, Method("ruin", shift=0.0, drop=40), Method("fine")]))).markdown
    assert next(line for line in text.splitlines() if line.startswith("| ruin")).split("|")[3:5][1].startswith(" (")
    assert "In brackets: not ranked." in text


def test_one_seed_ranks_nobody():
    records = suite(WORLD, [ORACLE, Method("good", shift=0.05), Method("bad", shift=0.4)], [0])
    task = task_of(records)
    assert ranks(task) == {"good": None, "bad": None}
    assert task.demonstration == "one seed cannot tell a difference from chance"
    assert "| rank |" not in render(summarise(records)).markdown
