"""The README is what a newcomer types: its method works as it stands, and the names that it drops exist."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from benchmark import ROOT, registry
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


# Add a method: what its section says, word by word


@pytest.fixture(scope="module")
def section(text) -> str:
    return re.search(r"^## Add a method\n(.*?)^## ", text, re.S | re.M)[1]


def block(section: str, language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", section, re.S)
    return found


@pytest.fixture
def here(section, tmp_path, monkeypatch) -> Path:
    """Where the newcomer works: the method's file, and a suite whose tasks have the names of `quick` and are tiny."""
    (tmp_path / "head_only.py").write_text(block(section, "python"), encoding="utf-8")
    suite_file(tmp_path, {"tasks.0.name": "digits-supervised-random"})
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("number", [0, 1])
def test_the_commands_of_the_section_do_what_they_say(section, here, monkeypatch, capsys, number):
    lines = block(section, "sh").splitlines()
    assert [line.split()[:4] for line in lines] == [["python", "-m", "benchmark", what] for what in ("check", "run")]
    words = shlex.split(lines[number])[3:]
    small = ["--executor", "serial", "--suite", "tiny.toml", *places(here)] if words[0] == "run" else []
    monkeypatch.setattr(sys, "argv", ["benchmark", *words, *small])
    with own_process(monkeypatch), pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert re.search(r"head_only .*16 of 16", said) if words[0] == "check" else re.search(r"^head_only  ", said, re.M)


def test_a_file_in_the_folder_of_methods_is_part_of_the_suite(here):
    for folder in ("benchmark", "methods", "datasets"):
        shutil.copytree(ROOT.parent / folder, here / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.move("head_only.py", "methods")
    rows = {row["name"]: row for row in json.loads(typed("list", "methods", "--json", path=here).stdout)}
    assert rows["head_only"]["paper"] == "yours" and rows["head_only"]["access"] == ["retain"]
    assert "fine_tune" in rows and "head_only" not in registry.names("method")


def test_an_installed_package_brings_its_method_and_a_broken_one_stops_nothing(section, here):
    """Both as pip leaves them, beside a plug-in that works and one that does not: listed, run, shown."""
    groups = tomllib.loads(block(section, "toml"))["project"]["entry-points"]
    (module,) = groups["unlearning_benchmark"].values()
    code = block(section, "python")
    install(here, module, code.replace('"head_only"', '"of_a_package"'))
    install(here, "ruined_package.method", "import no_such_module\n" + code.replace('"head_only"', '"of_a_ruin"'))
    (here / "ruined_file.py").write_text("import no_such_module\n" + code.replace('"head_only"', '"of_a_file"'))
    plugins = ["--plugin", "head_only.py", "--plugin", "ruined_file.py"]

    listed = typed("list", "methods", "--json", *plugins, path=f"{ROOT.parent}{os.pathsep}{here}")
    rows = {row["name"]: row for row in json.loads(listed.stdout)}
    errors = {name: row["error"] for name, row in rows.items() if "error" in row}
    assert {"fine_tune", "head_only", "of_a_package"} <= rows.keys() - errors.keys()
    assert errors.keys() == {"of_a_ruin", "of_a_file"}
    assert all("cannot be imported: ModuleNotFoundError" in error for error in errors.values())

    small = ["--suite", "tiny.toml", "--executor", "serial", "--quiet", *places(here)]
    chosen = ["--method", "head_only", "--method", "of_a_*"]
    run = typed("run", *plugins, *chosen, *small, path=f"{ROOT.parent}{os.pathsep}{here}")
    assert re.findall(r"^(head_only|of_a_\w+)  ", run.stdout, re.M) == ["head_only", "of_a_package"]
    for path in (here / "ruined_package" / "method.py", here / "ruined_file.py"):
        assert f"note: {path} is left out (ModuleNotFoundError: No module named 'no_such_module')" in run.stdout
    assert "failed" not in run.stdout


def install(folder: Path, module: str, code: str) -> None:
    """A package with one module, and the metadata that pip makes of its entry point."""
    package, _, name = module.partition(".")
    info = folder / f"{package}-1.0.dist-info"
    for new in (folder / package, info):
        new.mkdir()
    (folder / package / "__init__.py").touch()
    (folder / package / f"{name}.py").write_text(code, encoding="utf-8")
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[unlearning_benchmark]\n{name} = {module}\n")


def typed(*words: str, path: object) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, which ends well."""
    environment = os.environ | {"PYTHONPATH": str(path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmark", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


# Results


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
