"""Building a report: the files that it leaves, that they come out the same, what it needs and how long it takes."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmark.errors import BenchmarkError
from benchmark.report import build_report
from tests.report.factory import Method, Model, World, record, suite, write

ORACLE = Method("again", shift=0.0, uses=("retain",), oracle=True, seconds=100)
METHODS = [ORACLE, Method("good", shift=0.05), Method("weak", shift=0.4), Method("idle", status="no_change")]
TABLES = ["details.md", "leaderboard.csv", "leaderboard.md", "leaderboard.tex"]
KINDS = ("roc", "tradeoff", "time", "scores")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    results = write(tmp_path_factory.mktemp("results"), suite(World(), METHODS, range(3)))
    return results, build_report(results)


def test_every_figure_exists_in_both_forms_and_is_not_empty(built):
    results, report = built
    for kind in KINDS:
        png = (results / "figures" / f"toy-random-{kind}.png").read_bytes()
        svg = (results / "figures" / f"toy-random-{kind}.svg").read_text()
        assert png.startswith(b"\x89PNG")
        assert svg.rstrip().endswith("</svg>")
        assert min(len(png), len(svg)) > 10_000
    assert all(path.is_file() for path in report.files)
    assert len(report.files) == len(TABLES) + 2 * len(KINDS)


def test_a_second_build_leaves_the_same_bytes(built):
    results, report = built
    before = {path: path.read_bytes() for path in report.files}
    build_report(results)
    assert {path: path.read_bytes() for path in report.files} == before


def test_no_temporary_file_is_left(built):
    results, _ = built
    assert not list(results.rglob(".tmp-*"))


def test_tables_can_be_built_without_figures(tmp_path):
    report = build_report(write(tmp_path, suite(World(), METHODS, range(2))), draw=False)
    assert sorted(path.name for path in report.files) == TABLES
    assert report.renderables


def test_what_was_set_aside_and_what_failed_is_told(tmp_path):
    world, old = World(), World(spec={"split": {"train": 99}})
    records = suite(world, METHODS, range(2)) + suite(old, METHODS, [7])
    records += [record(world, METHODS[1], 0, date="2026-05-01T00:00:00+00:00")]
    records += [record(world, Method("lost", status="failed"), 0)]
    notes = "\n".join(build_report(write(tmp_path, records), draw=False).notes)
    assert "4 records of earlier task definitions set aside" in notes
    assert "1 record set aside for newer ones" in notes
    assert "lost: failed; 1 of 2 seeds run: seed 0:" in notes
    assert "the loss is not finite" in notes


def test_records_from_before_these_fields_existed_still_report(tmp_path):
    """They know neither tiers nor signals nor placebos, and there are no populations beside them."""
    results = write(tmp_path, suite(World(), METHODS, range(3)))
    expected = build_report(results, draw=False)
    before = [path.read_bytes() for path in expected.files]
    for path in (results / "records").rglob("*.json"):
        content = json.loads(path.read_text())
        del content["optimises"], content["run"]["placebo"]
        for name in ("pairs", "placebo"):
            del content["run"]["task"]["split"][name]
        for value in content["metrics"].values():
            del value["tier"], value["signal"], value["note"]
        path.write_text(json.dumps(content))
    assert [path.read_bytes() for path in build_report(results, draw=False).files] == before


def test_why_nobody_is_ranked_is_part_of_the_json(tmp_path):
    report = build_report(write(tmp_path, suite(World(), METHODS, [0])), draw=False)
    assert report.as_json()["demonstrations"] == {"toy-random": "one seed cannot tell a difference from chance"}


def test_no_records_is_one_sentence(tmp_path):
    with pytest.raises(BenchmarkError) as error:
        build_report(tmp_path)
    assert str(error.value).count(".\n") == 0
    assert str(error.value).endswith("--results.")


@pytest.mark.parametrize(
    ("world", "methods", "seeds"),
    [
        (World("blind", original=Model(0.0, 0.9)), METHODS, range(3)),
        (World("lonely"), METHODS, [0]),
        (World("saturated", attacks=("leak",)), [Method("wild", shift=-300, drop=90, status="collapsed")], range(2)),
        (World("failures"), [Method("lost", status="diverged")], range(2)),
        (World("no-attack", attacks=()), METHODS, range(2)),
    ],
    ids=lambda value: value.name if isinstance(value, World) else "",
)
def test_odd_tasks_are_drawn_or_left_out_but_never_break_a_report(tmp_path, world, methods, seeds):
    report = build_report(write(tmp_path, suite(world, methods, seeds)))
    assert all(path.stat().st_size for path in report.files)


@pytest.mark.parametrize("draw", ["roc", "tradeoff", "time"])
@pytest.mark.parametrize("count", [6, 40])
def test_the_legend_has_room_however_many_methods_there_are(draw, count):
    from benchmark.report import figures
    from benchmark.report.looks import looks
    from benchmark.report.summary import summarise

    many = [Method(f"a_method_of_some_length_{i}", shift=0.01 * i) for i in range(count)]
    summary = summarise(suite(World(), many, [0, 1]))
    figure = getattr(figures, draw)(summary.tasks[0], looks(summary))
    figure.draw_without_rendering()
    inside, legend = figure.bbox, figure.legends[0].get_window_extent()
    assert inside.x0 <= legend.x0 and legend.x1 <= inside.x1 and inside.y0 <= legend.y0 and legend.y1 <= inside.y1
    assert len(figure.legends[0].get_texts()) >= count
    assert all(axes.get_position().width * figure.get_figwidth() > 2 for axes in figure.axes), "inches for the data"


def test_colours_stay_with_a_method_across_tasks():
    from benchmark.report.looks import looks
    from benchmark.report.summary import summarise

    many = [Method(f"m{i}") for i in range(30)]
    found = looks(summarise(suite(World(), many, [0])))
    assert len({(look.colour, str(look.line), look.marker) for look in found.values()}) == 32


def test_a_report_needs_no_torch(tmp_path):
    write(tmp_path, suite(World(), METHODS, range(2)))
    program = (
        "import sys; from pathlib import Path; from benchmark.report import build_report; "
        f"build_report(Path({str(tmp_path)!r}), draw=False); assert 'matplotlib' not in sys.modules; "
        f"build_report(Path({str(tmp_path)!r})); assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_thousand_records_take_seconds(tmp_path):
    methods = [Method(f"method_{i}", shift=0.1 * i, oracle=i == 0) for i in range(10)]
    one = suite(World("task-0"), methods, range(5))
    records = []
    for number in range(20):
        for found in one:
            task = found.run.task.model_copy(update={"name": f"task-{number}"})
            records.append(found.model_copy(update={"run": found.run.model_copy(update={"task": task})}))
    write(tmp_path, records)
    start = time.process_time()
    build_report(tmp_path, draw=False)
    assert time.process_time() - start < 8
