"""Scores across tasks, with answers by hand, and what must not enter them."""

import pytest
from rich.console import Console

from benchmark.report.summary import summarise
from benchmark.report.table import render
from tests.report.factory import Method, Model, World, exact, metric, record, suite

ONE, TWO, THREE = World("one"), World("two"), World("three")
ORACLE = Method("again", shift=0.0, uses=("retain",), oracle=True)


def group_of(records):
    (group,) = summarise(records).across
    return group


def standing(records, name="m"):
    return next(found for found in group_of(records).standings if found.row.name == name)


def floors(*worlds):
    """Exact methods without any gap: S = 1 - d / .4."""
    return [one for world in worlds for one in exact([0.0] * 5, "again", world, oracle=True)]


def with_loss(records, points):
    """The same with an accuracy drop; retraining loses nothing."""
    lost = metric(points, 0.0, 0.0, goal="min", role="utility", unit="points", attack=False, label="drop (points)")
    return [one.model_copy(update={"metrics": one.metrics | {"lost": lost}}) for one in records]


def test_the_score_is_the_interquartile_mean_over_tasks_and_seeds():
    scores = [[0.0, 0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8, 0.9]]
    records = floors(ONE, TWO)
    for world, found in zip((ONE, TWO), scores, strict=True):
        records += exact([0.4 * (1 - score) for score in found], "m", world)
    assert standing(records).score.mean == pytest.approx(0.45), "the mean of .2 to .7"
    assert standing(records).score.low < 0.45 < standing(records).score.high
    assert standing(records, "again").score.mean == 1


def test_a_failure_counts_as_minus_one_in_every_seed():
    records = floors(ONE, TWO) + exact([0.0] * 5, "m", ONE) + exact([0.0] * 5, "m", TWO, status="failed")
    found = standing(records)
    assert found.score.mean == pytest.approx(0)
    assert (found.speedup, found.remarks) == (
        0,
        ["equal to retraining (TOST) in 1 of 2 tasks", "failed in 1 of 2 tasks"],
    )
    assert not found.front


def test_scores_are_clipped_and_where_utility_was_lost_forgetting_earns_nothing():
    worse = [one for world in (ONE, TWO) for one in exact([1.6] * 5, "m", world)]
    assert standing(
        floors(ONE, TWO) + [w.model_copy(update={"metrics": {"leak": metric(0.99, 0.7, 0.5)}}) for w in worse]
    )
    bare = floors(ONE, TWO) + exact([0.1] * 5, "m", ONE) + exact([0.1] * 5, "m", TWO)
    assert standing(bare).score.mean == pytest.approx(0.75)
    records = with_loss(floors(ONE, TWO), 0.0) + with_loss(exact([0.1] * 5, "m", ONE), 9.0)
    records += with_loss(exact([0.1] * 5, "m", TWO), 0.0)
    found = standing(records)
    assert found.score.mean == pytest.approx(0.375), "half of the runs count 0, half .75"
    assert found.utility_gap == pytest.approx(4.5)
    assert found.remarks == ["utility lost in 1 of 2 tasks"]


def test_mean_ranks_share_ties_and_put_failures_last():
    records = floors(ONE, TWO)
    for name, (first, second) in {"a": (0.1, 0.1), "b": (0.1, 0.2), "c": (0.3, 0.3)}.items():
        records += exact([first] * 5, name, ONE) + exact([second] * 5, name, TWO)
    records += exact([0.0] * 5, "lost", ONE) + exact([0.0] * 5, "lost", TWO, status="diverged")
    ranks = {found.row.name: found.average_rank for found in group_of(records).standings}
    assert ranks == {"again": None, "a": 1.75, "b": 2.25, "c": 3.5, "lost": 2.5}


def test_methods_that_did_not_run_on_every_admitted_task_are_named_and_not_compared():
    records = floors(ONE, TWO) + exact([0.1] * 5, "m", ONE) + exact([0.1] * 5, "m", TWO) + exact([0.0] * 5, "new", ONE)
    group = group_of(records)
    assert [found.row.name for found in group.standings] == ["again", "m"]
    assert group.incomplete == {"new": 1}
    assert "Incomplete, without a score on every task: new (1 of 2)." in render(summarise(records)).markdown


def test_tasks_on_which_nobody_is_ranked_do_not_count():
    methods = [ORACLE, Method("m", shift=0.2), Method("n", shift=0.4)]
    blind = World("blind", original=Model(0.0, 0.93))
    group = group_of(suite(ONE, methods) + suite(TWO, methods) + suite(blind, [*methods, Method("extra")]))
    assert (group.tasks, group.demonstrations) == (["one", "two"], ["blind"])
    assert [found.row.name for found in group.standings] == ["again", "m", "n"]


def test_one_task_has_no_score_across_tasks():
    summary = summarise(floors(ONE) + exact([0.1] * 5, "m", ONE))
    assert summary.across[0].standings == []
    text = render(summary).markdown
    assert "- toy (supervised): 1 task on which methods are ranked; a score across tasks takes 2." in text


def test_an_ensemble_does_not_count_its_task_twice():
    twin = World("one.ensemble8", spec={"split": {"train": 2000, "pairs": True, "seed": 0}})
    group = group_of([r for world in (ONE, TWO, twin) for r in suite(world, [ORACLE, Method("m")])])
    assert group.tasks == ["one", "two"]


def test_pairs_that_draw_their_own_pools_are_no_ensemble():
    paired = World("pairs", spec={"split": {"train": 2000, "pairs": True}})
    assert group_of([r for world in (ONE, paired) for r in suite(world, [ORACLE])]).tasks == ["one", "pairs"]


def test_suites_and_primary_attacks_are_kept_apart():
    worlds = [World("a"), World("b", suite="big"), World("c", "simclr"), World("d", attacks=("other",))]
    groups = summarise([r for world in worlds for r in suite(world, [ORACLE, Method("m")])]).across
    assert [(g.suite, g.paradigms, g.tasks) for g in groups] == [
        ("big", ["supervised"], ["b"]),
        ("toy", ["simclr", "supervised"], ["a", "c"]),
        ("toy", ["supervised"], ["d"]),
    ]


def test_who_is_beaten_in_nothing_is_marked():
    def arm(name, d, points, seconds):
        return [one for world in (ONE, TWO) for one in with_loss(exact([d] * 5, name, world, seconds=seconds), points)]

    records = with_loss(floors(ONE, TWO), 0.0)
    records += arm("best", 0.04, 0.5, 50) + arm("cheap", 0.2, 0.2, 1) + arm("dominated", 0.21, 0.9, 60)
    records += arm("idle", 0.4, 0.0, 0.001)
    assert [found.row.name for found in group_of(records).standings if found.front] == ["best", "cheap"]


def test_tasks_with_other_numbers_of_seeds_weigh_the_same():
    records = floors(ONE, TWO) + exact([0.0] * 5, "m", ONE) + exact([0.4] * 5, "m", TWO)
    few = [one for one in records if one.task == "one" or one.run.seed < 2]
    assert standing(few).score.mean == pytest.approx(standing(records).score.mean) == pytest.approx(0.5)


def test_the_terminal_prints_it_first_and_the_markdown_at_the_top():
    records = floors(ONE, TWO) + exact([0.1] * 5, "m", ONE) + exact([0.1] * 5, "m", TWO)
    tables = render(summarise(records))
    console = Console(width=120, color_system=None)
    with console.capture() as capture:
        console.print(*tables.terminal)
    for text in (capture.get().lower(), tables.markdown.lower()):
        assert (
            text.index("across tasks")
            < text.index("toy (supervised), 2 tasks")
            < text.index("one (supervised, 5 seeds)")
        )
    assert "access tasks" not in tables.latex and r"{toy (supervised), 2 tasks." in tables.latex


def test_a_group_of_records_with_one_seed_each_has_no_scores():
    group = group_of([record(world, ORACLE, 0) for world in (ONE, TWO)])
    assert (group.tasks, group.standings) == ([], [])
