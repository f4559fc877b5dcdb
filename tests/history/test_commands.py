"""compare, history and baseline as typed: tables, Markdown, JSON and exit codes 0, 2 and 3."""

import json
import re
import subprocess
import sys

import pytest

from benchmark import ROOT, cli
from tests.history.made import exact, runs
from tests.report import factory

VALUES = [0.60, 0.62, 0.59, 0.61, 0.63, 0.60, 0.58, 0.61]


@pytest.fixture
def command(monkeypatch, capsys):
    """Type a command, in this process; (exit code, what is printed, what is complained)."""

    def typed(*words, columns=220):
        monkeypatch.setattr(sys, "argv", ["benchmark", *map(str, words)])
        monkeypatch.setenv("COLUMNS", str(columns))
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.main()
        said = capsys.readouterr()
        return left.value.code or 0, said.out, said.err

    return typed


@pytest.fixture
def folders(tmp_path):
    old = factory.write(tmp_path / "old", [*runs(VALUES), *exact(8)])
    new = factory.write(tmp_path / "new", [*runs([v + 0.1 for v in VALUES], code="new"), *exact(8)])
    return old, new


def test_a_regression_is_exit_code_three_and_a_line_that_names_it(command, folders):
    code, out, _ = command("compare", *folders)
    assert code == 3
    assert "Regressed: 1 number worse (16 runs paired, 8 of them not run again)." in out
    assert "\ntoy-random: m\nwhat differs: the method's code\n" in out
    assert re.search(r"\nworse +gap of leak ↓ \(leak\) +\.105 +\.205 +\+\.100 +\.020 *\n", out)
    assert re.search(r"\n +8 seeds, p [=<] \S+ after Holm +\[\.100, \.100\] *\n", out)


@pytest.mark.parametrize("columns", [80, 100, 220])
def test_no_word_is_broken_however_narrow_the_terminal(command, folders, columns):
    _, out, _ = command("compare", *folders, columns=columns)
    assert all(len(line) <= columns for line in out.splitlines())
    heads = next(line for line in out.splitlines() if line.startswith("decision"))
    assert heads.split() == ["decision", "number", "before", "after", "change", "noise"]
    assert "toy-random: m" in out and "\n  m: the method's code" in out


@pytest.mark.parametrize(("fail_on", "code"), [("quality", 3), ("time", 0), ("any", 3)])
def test_what_fails_can_be_chosen(command, folders, fail_on, code):
    assert command("compare", *folders, "--fail-on", fail_on)[0] == code


def test_no_regression_is_exit_code_zero(command, folders):
    code, out, _ = command("compare", folders[0], folders[0])
    assert code == 0
    assert "No change: all 16 paired runs are the same records on both sides; nothing was run again." in out
    assert command("compare", *reversed(folders))[0] == 0, "the other way it is better"


def test_markdown_for_a_pull_request(command, folders):
    code, out, _ = command("compare", *folders, "--markdown")
    assert code == 3 and out.startswith("### Regressed: 1 number worse")
    table = [line for line in out.splitlines() if line.startswith("|")]
    assert table[0].startswith("| task | method | decision | number | before | after | change | noise | why |")
    assert all(line.count("|") == table[0].count("|") for line in table[:3])
    assert "<details><summary>Every task</summary>" in out


def test_json_for_scripts(command, folders):
    code, out, _ = command("compare", *folders, "--json")
    content = json.loads(out)
    assert code == 3 and content["regressed"] == {"quality": True, "time": False}
    row = next(row for row in content["rows"] if row["decision"] == "worse")
    assert (row["task"], row["method"], row["metric"]) == ("toy-random", "m", "leak")
    assert row["change"]["mean"] == pytest.approx(0.1)


def test_everything_can_be_shown(command, folders):
    shown, everything = (command("compare", *folders, *more)[1] for more in ([], ["--all"]))
    assert "equal in every seed" not in shown and "not run again" in everything
    assert re.search(r"Not shown: \d+ more numbers?; --all shows all\.", shown) and "Not shown" not in everything


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["compare", "{old}", "no-such-place"], "'no-such-place' is neither a results folder nor a commit"),
        (["compare", "{old}", "{new}", "--method", "mm"], "--method: unknown method 'mm'."),
        (["compare", "{old}", "{new}", "--metric", "leek"], "--metric: unknown metric 'leek'. Did you mean 'leak'?"),
        (["history", "--results", "{old}/none"], "{old}/none: there are no records here"),
        (["baseline", "{old}/none"], "results/baseline: this is in no git repository"),
    ],
)
def test_a_wrong_word_is_one_sentence_and_exit_code_two(command, folders, tmp_path, monkeypatch, words, sentence):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    if "no-such-place" in words:
        subprocess.run(["git", "init", "-q"], check=True)
    places = dict(zip(("old", "new"), map(str, folders), strict=True))
    code, out, err = command(*(word.format(**places) for word in words))
    assert (code, out) == (2, "")
    assert err.startswith("error: " + sentence.format(**places)) and err.count("\n") == 1


def test_this_repository_s_own_history_can_be_compared(command, monkeypatch):
    monkeypatch.chdir(ROOT.parent)
    code, out, _ = command("compare", "HEAD", "HEAD")
    assert code == 0 and "No change: all" in out
