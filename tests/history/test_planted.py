"""Defects planted in a copy of the source, real small runs before and after: each is found, named and measured."""

import pytest

from tests.history.house import TINY, House, held, named

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A copy of the source whose runs are there as they were before any defect."""
    house = House.build(tmp_path_factory.mktemp("house"))
    house.run("before")
    house.run("before-learns", "learns")
    return house


@pytest.fixture(autouse=True)
def _mended(house):
    yield
    house.undo()


@pytest.fixture
def say(capsys):
    def printed(comparison):
        with capsys.disabled():
            for row in comparison.regressions():
                sizes = (
                    f"{row.before} -> {row.after}"
                    if isinstance(row.before, str)
                    else f"{row.before:.3g} -> {row.after:.3g}"
                )
                print(f"\nfound: {row.task}, {row.method}, {row.metric}: {sizes}, {row.decision}: {row.why}", end="")
            print()

    return printed


def test_a_method_s_learning_rate_times_three(house, say):
    house.edit("methods/gradient_ascent.py", "lr: float = bounded(5e-4", "lr: float = bounded(1.5e-3")
    found = held(house.folder / "before-learns", house.run("rate", "learns"))
    say(found)
    rows = found.regressions()
    assert ("learns-random", "gradient_ascent", "drop_test") in named(rows)
    assert {row.method for row in rows} == {"gradient_ascent"}
    drop = next(row for row in rows if row.metric == "drop_test")
    assert drop.after - drop.before > 10 and drop.change.low > 0, "points of accuracy"
    assert drop.cause == "the method's settings (lr 0.0005 → 0.0015)"


def test_a_metric_s_sign(house, say):
    house.edit(
        "benchmark/metrics/accuracy.py",
        '100 * (accuracy(original, "test") - test)',
        '100 * (test - accuracy(original, "test"))',
    )
    found = held(house.folder / "before", house.run("sign"))
    say(found)
    rows = found.regressions()
    assert {row.metric for row in rows} == {"drop_test"}
    assert ("tiny-random", "gradient_ascent", "drop_test") in named(rows)
    assert {row.cause for row in rows if row.method in ("retrain", "gradient_ascent")} == {"the metrics' code"}


def test_a_sleep_in_unlearn(house, say):
    house.edit(
        "methods/gradient_ascent.py", "views = request", '__import__("time").sleep(1.0)\n        views = request'
    )
    after = house.run("sleep")
    once = held(house.folder / "before", after)
    assert not once.regressions("time")
    row = next(row for row in once.rows if (row.kind, row.method) == ("time", "gradient_ascent"))
    assert row.decision == "cannot tell" and "measure again with `run --fresh`" in row.why
    house.run("sleep", fresh=True)
    assert len(list((after / "records").rglob("*.2.json"))) == 24, "every run was measured again"
    twice = held(house.folder / "before", after)
    say(twice)
    assert named(twice.regressions()) == {("tiny-random", "gradient_ascent", "time")}


def test_an_off_by_one_in_the_split(house, say):
    house.edit("benchmark/data.py", "retain = split.train - forget\n", "retain = split.train - forget - 1\n")
    found = held(house.folder / "before", house.run("split"))
    say(found)
    row = next(row for row in found.regressions() if row.metric == "sets")
    assert (row.task, row.before, row.after) == ("tiny-random", "retain 36", "retain 35")


def test_an_off_by_one_by_which_sets_overlap(house, say):
    house.edit("benchmark/data.py", "rest[:retain], ", "np.append(rest[: retain - 1], eligible[forget - 1]), ")
    found = held(house.folder / "before", house.run("overlap"))
    say(found)
    assert ("tiny-random", "gradient_ascent", "status") in named(found.regressions()), (
        "sets that overlap fail every run"
    )


def test_other_numerics(house, say):
    house.suite({**TINY, "tasks.0.recipe.precision": "bfloat16"})
    found = held(house.folder / "before", house.run("numerics"))
    say(found)
    notes = " ".join(found.tasks[0].notes)
    assert "numerics differ: precision float32 → bfloat16" in notes and "times are not compared" in notes
    assert found.tasks[0].pairs == 24 and not [row for row in found.rows if row.kind == "time"]


def test_nothing_planted(house):
    house.edit("methods/gradient_ascent.py", '"""Epochs of', '"""Some epochs of')
    found = held(house.folder / "before", house.run("nothing"))
    assert not found.regressions()


def test_bisect_names_what_may_have_moved_it_and_skips_what_cannot_run(tmp_path):
    """Real runs in a real worktree: a sentence, a commit that does not start, the rate, a comment."""
    house = House.build(tmp_path)
    good = house.git("rev-parse", "HEAD")
    house.edit("methods/gradient_ascent.py", '"""Epochs of', '"""Some epochs of')
    house.commit("a sentence")
    house.edit("benchmark/session.py", '"""One command', 'raise RuntimeError("half done")\n"""One command')
    broken = house.commit("half done")
    house.edit("benchmark/session.py", 'raise RuntimeError("half done")\n', "")
    house.edit("methods/gradient_ascent.py", "lr: float = bounded(5e-4", "lr: float = bounded(1.5e-3")
    moved = house.commit("faster")
    house.edit("methods/gradient_ascent.py", "Some epochs", "Many epochs")
    house.commit("another sentence")
    words = ["drop_test", "--task", "learns-random", "--method", "gradient_ascent", "--suite", "learns", "--good", good]
    places = ["--bad", "HEAD", "--store", tmp_path / "store", "--data", tmp_path / "data", "--jobs", 1]
    done = house.python("-m", "benchmark", "bisect", *words, *places)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The number moved at one of these; those between cannot be run:" in done.stdout
    assert f"  {broken} half done\n  {moved} faster\n" in done.stdout
    assert "skipped: RuntimeError: half done" in done.stdout
    assert "accuracy drop (points) ↓ (drop_test)" in done.stdout and ", worse: 8 seeds" in done.stdout
    assert len(house.git("worktree", "list").splitlines()) == 1
