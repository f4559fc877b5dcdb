"""The README is what a newcomer types: its method works as it stands, and the names that it drops exist."""

import re
import sys

import pytest

from benchmark import ROOT
from benchmark.cli import main
from benchmark.plan import SUITES
from benchmark.specs import suite_names
from tests.tiny import own_process, places, suite_file

README = ROOT.parent / "README.md"


@pytest.fixture(scope="module")
def text() -> str:
    return README.read_text(encoding="utf-8")


def test_every_suite_of_the_table_exists_and_every_suite_is_in_the_table(text):
    assert set(re.findall(r"^\| `([a-z0-9-]+)` \|", text, re.M)) == set(suite_names(SUITES))


def test_every_file_that_it_links_or_shows_is_there(text):
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT.parent / target).is_file(), target


@pytest.mark.parametrize("command", ["check", "run"])
def test_the_method_of_the_readme_works_as_it_stands(text, tmp_path, monkeypatch, capsys, command):
    plugin = tmp_path / "head_only.py"
    plugin.write_text(re.search(r"```python\n(.*?)```", text, re.S)[1], encoding="utf-8")
    run = ["--plugin", plugin, "--method", "head_only", "--executor", "serial", "--suite", suite_file(tmp_path)]
    words = {"check": [plugin], "run": [*run, *places(tmp_path)]}[command]
    monkeypatch.setattr(sys, "argv", ["benchmark", command, *map(str, words)])
    with own_process(monkeypatch), pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert "head_only" in capsys.readouterr().out


def test_every_number_of_its_table_stands_in_the_leaderboard(text):
    shown = re.search(r"<!-- results:begin -->(.*?)<!-- results:end -->", text, re.S)[1]
    board = (ROOT.parent / "results" / "leaderboard.md").read_text(encoding="utf-8").replace("\u00a0", " ")
    tables = [block.splitlines()[2:] for block in shown.split("\n\n") if block.startswith("|")]
    rows = [row for table in tables for row in table]
    known = [row for row in board.splitlines() if row.startswith("|")]
    assert len(rows) > 8
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert any(all(f" {cell} |" in line for cell in cells if cell) for line in known), row
