"""The leaderboard in its four forms: each can be read back, and none says more than the records."""

import csv
import io
import re

import pytest
from rich.console import Console

from benchmark.report.latex import escape
from benchmark.report.markdown import escaped
from benchmark.report.summary import summarise
from benchmark.report.table import render
from tests.report.factory import Method, Model, World, metric, record, suite

METHODS = [
    Method("again", shift=0.0, uses=("retain",), oracle=True, seconds=100),
    Method("good_one[placebo]", shift=0.05, uses=("forget", "retain", "third_party")),
    Method("weak", shift=0.4, drop=0.2, uses=("forget",)),
    Method("idle", status="no_change", uses=(), seconds=0.001),
]
LOST = Method("lost", status="failed")
NAMES = ["good_one[placebo]", "weak", "idle", "lost"]


@pytest.fixture(scope="module")
def tables():
    blind = World("blind", original=Model(0.0, 0.93))
    lonely = World("lonely", "simclr")
    return render(summarise(suite(World(), [*METHODS, LOST]) + suite(blind, METHODS) + suite(lonely, METHODS, [0])))


def shown(tables, width):
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(*tables.terminal)
    return capture.get()


def section(tables, task):
    return next(part for part in tables.markdown.split("### ") if part.startswith(f"{task} "))


def test_the_csv_parses_back_to_one_line_per_task_row_and_metric(tables):
    lines = list(csv.DictReader(io.StringIO(tables.csv)))
    keys = {(line["task"], line["method"], line["metric"]) for line in lines}
    assert len(keys) == len(lines) == (7 + 6 + 6) * 6
    good = next(line for line in lines if line["method"] == "good_one[placebo]" and line["task"] == "toy-random")
    assert good["access"] == "forget+retain+third_party"
    assert float(good["value_low"]) < float(good["value_mean"]) < float(good["value_high"])
    assert float(good["abs_gap_mean"]) >= abs(float(good["gap_mean"]))


def test_a_failed_method_has_no_values_in_the_csv_and_counts_as_worst(tables):
    lines = [line for line in csv.DictReader(io.StringIO(tables.csv)) if line["method"] == "lost"]
    assert {(line["value_mean"], line["status"], line["seeds_failed"]) for line in lines} == {("", "failed", "5")}
    assert {(line["score_mean"], line["rank_best"], line["rank_worst"], line["speedup"]) for line in lines} == {
        ("-1", "4", "4", "0")
    }
    assert {line["unit"]: line["abs_gap_mean"] for line in lines} == {"auc": "0.5", "points": "100", "fraction": "1"}


def test_failures_without_any_metric_do_not_vanish_from_the_csv():
    lines = list(csv.DictReader(io.StringIO(render(summarise(suite(World(), [LOST]))).csv)))
    assert ("lost", "", "failed") in {(line["method"], line["metric"], line["status"]) for line in lines}


def test_inconclusive_cells_say_so_but_keep_their_evidence(tables):
    text = section(tables, "blind")
    rows = {line.split("|")[1].strip(" *"): line for line in text.splitlines() if line.startswith("|")}
    assert rows["weak"].count("inconclusive") == 2
    assert "inconclusive" not in rows["original"]
    assert "does not beat chance" in text
    assert "Demonstration only: the attack does not find the forget set on the original models. Nobody is" in text


def test_one_seed_prints_no_interval(tables):
    text = section(tables, "lonely")
    assert "1 seed" in text.splitlines()[0]
    assert "±" not in text


def test_one_seed_beside_rows_with_more_says_so_in_the_cell():
    records = suite(World(), [METHODS[2]]) + suite(World(), [METHODS[1]], [0])
    assert "(1\u00a0seed)" in render(summarise(records)).markdown


def test_numbers_print_in_the_unit_that_their_metadata_says():
    metrics = {
        "a": metric(0.512, 0.75, 0.5, label="attack"),
        "b": metric(0.913, 0.95, 0.9, goal="max", role="utility", unit="fraction", attack=False, label="accuracy"),
        "c": metric(-0.25, 0.0, 0.5, goal="min", role="utility", unit="points", attack=False, label="drop (points)"),
        "d": metric(12345.0, 1.0, 1.0, goal="min", role="info", unit="number", attack=False, label="odd"),
    }
    text = render(summarise([record(World(), METHODS[2], 0, metrics=metrics)])).markdown
    assert re.search(r"\| \.512 \| \.012 \| 91\.3 \| −0\.2 \| 1\.23e\+04 \|", text)


def test_the_latex_is_balanced_and_every_row_has_every_column(tables):
    text = tables.latex
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    assert text.count(r"\begin{table*}") == text.count(r"\end{table*}") == 3
    for table in text.split(r"\begin{tabular}")[1:]:
        columns = len(re.match(r"\{@\{\}([lr]+)@\{\}\}", table)[1])
        rows = [row for row in table.splitlines() if row.endswith(r" \\")]
        assert {len(re.split(r"(?<!\\)&", row)) for row in rows} == {columns}
    assert r"good\_one{[}placebo{]}" in text
    assert r"\textbf{" in text


def test_the_latex_has_no_character_that_latex_would_misread(tables):
    lines = [line for line in tables.latex.splitlines() if not line.startswith("%")]
    assert not re.search(r"(?<!\\)[%#_]", "\n".join(lines))
    assert "".join(lines).isascii()


def test_latex_escapes_every_special_character():
    assert escape(r"a_b & 50% \x {y} ~^#$") == (
        r"a\_b \& 50\% \textbackslash{}x \{y\} \textasciitilde{}\textasciicircum{}\#\$"
    )


@pytest.mark.parametrize("width", [60, 80, 100, 140, 200])
def test_the_terminal_table_fits_and_breaks_no_number(tables, width):
    text = shown(tables, width)
    assert max(map(len, text.splitlines())) <= width
    if width >= 80:
        assert re.search(r"\.\d{3} ±\s\.\d{3}", text)


def test_markup_in_method_names_is_text(tables):
    assert "good_one[placebo]" in shown(tables, 160)


def test_what_is_left_out_for_want_of_room_is_said(tables):
    assert "For want of room without" in shown(tables, 100)
    assert "want of room" not in shown(tables, 220)


def test_the_legend_names_the_floor_and_the_access_letters(tables):
    text = section(tables, "toy-random")
    assert "Oracle floor, in the row of again: retraining once more leaves a gap of [mean, 95th percentile" in text
    assert "F forget set, R retain set, T third-party set" in text
    assert "again (oracle floor)" in text


def test_names_that_are_markdown_are_escaped(tables):
    assert r"good\_one\[placebo\]" in tables.markdown


def test_details_have_a_line_per_metric_and_a_column_per_model(tables):
    text = tables.details.split("## ")[-1]
    assert text.startswith("toy-random (supervised, 5 seeds)")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    assert rows[0] == ["metric", "original", "retrained", "floor", "again (oracle floor)", *map(escaped, NAMES)]
    assert {len(row) for row in rows} == {len(rows[0])}
    metrics = [row[0].replace("\u00a0", " ") for row in rows[2:]]
    assert metrics[:2] == ["leak a AUC ≈", "leak b AUC ≈"]
    assert metrics[-3:] == ["forget accuracy (%) ≈", "time (s)", "peak memory (MiB)"]
    assert all(row[-1] == "–" for row in rows[2:-2])


def test_details_name_the_tier_of_what_is_not_headline():
    metrics = {
        "a": metric(0.512, 0.75, 0.5, label="attack"),
        "b": metric(0.2, 0.3, 0.1, label="old", tier="legacy", headline=False, goal="info", role="info", attack=False),
    }
    records = [record(World(), METHODS[2], seed, metrics=metrics) for seed in range(2)]
    tables = render(summarise(records))
    assert "| old (legacy, never ranked) |" in tables.details
    assert "old" not in tables.markdown
    assert {line["metric"]: line["tier"] for line in csv.DictReader(io.StringIO(tables.csv))} == {
        "a": "every_run",
        "b": "legacy",
    }


def test_the_csv_has_every_cell_between_its_anchors_and_its_floor(tables):
    lines = [line for line in csv.DictReader(io.StringIO(tables.csv)) if line["task"] == "toy-random"]
    one = next(line for line in lines if line["method"] == "weak" and line["metric"] == "leak_a")
    assert float(one["gap_mean"]) == pytest.approx(float(one["value_mean"]) - float(one["retrained_mean"]), abs=1e-5)
    assert 0 < float(one["floor_abs_gap_mean"]) <= float(one["floor_abs_gap_p95"]) < float(one["abs_gap_mean"])
    assert float(one["original_mean"]) > float(one["value_mean"])
    assert (one["in_band"], one["ranked"], one["admitted"], one["distance"]) == ("False", "True", "True", "leak_a")
    assert float(one["score_low"]) < float(one["score_mean"]) < float(one["score_high"])
    assert one["best_other"] in NAMES
    assert 0 <= float(one["p_holm_best_other"]) <= 1
