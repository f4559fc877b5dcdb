"""One room per idea and one direction of dependency: DESIGN §2, held against the source."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark import ROOT, component_folder, registry

FILES = sorted(path for path in ROOT.rglob("*.py") if not {"methods", "datasets"} & set(path.relative_to(ROOT).parts))
COMPONENTS = [path for folder in ("methods", "datasets") for path in sorted(component_folder(folder).glob("*.py"))]
LIGHT = (
    "errors", "registry", "specs", "components", "metric_api", "api", "store", "provenance", "stats", "history",
    "report", "keys", "plan", "display", "runner", "catalogue", "session", "cli", "executors.local", "executors.serial",
    "executors.ray", "scoring", "populations", "guard", "since", "parts", "places", "records", "keeping.garbage",
    "keeping.validity", "keeping.compact", "cli_history", "history.overview", "history.figure", "history.bisect",
    "history.baseline",
)  # fmt: skip


def name_of(path: Path) -> str:
    """`learners.moco` for benchmark/learners/moco.py."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(path: Path) -> set[str]:
    """What a file imports of ours, without `benchmark.`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "benchmark":
            found |= {f"benchmark.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return {name.removeprefix("benchmark.") for name in found if name.startswith("benchmark.")}


@pytest.mark.parametrize("path", COMPONENTS, ids=lambda path: path.stem)
def test_methods_and_datasets_import_the_api_and_nothing_else_of_ours(path):
    assert imported(path) <= {"api"}


def test_methods_and_datasets_are_no_packages_of_their_own():
    assert not [path for path in COMPONENTS if path.stem == "__init__"]


def test_what_only_reads_never_imports_torch():
    there = {name_of(path) for path in FILES}
    modules = [f"benchmark.{name}" for name in LIGHT if name in there]
    assert len(modules) >= 20
    code = f"""
import importlib, sys
for name in {modules!r}:
    importlib.import_module(name)
    assert "torch" not in sys.modules, name
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT.parent, check=False)
    assert done.returncode == 0, done.stderr.strip().splitlines()[-1]


CHECKS = {"smoke", "trials", "conformance"}
COMMANDS = CHECKS | {"cli", "session", "catalogue", "runner", "display"}
COMMANDS |= {"plan", "parts", "executors", "report", "history", "warm", "keeping"}
WORK = {"jobs", "observe", "relearning", "scoring", "populations", "cost"}
MODELS = {"training", "steps", "curvature", "edits", "input_gradients", "learners", "data", "decoding"}
NEVER = {
    "report": COMMANDS - {"report"} | WORK | MODELS,
    "stats": COMMANDS | WORK | MODELS,
    "history": COMMANDS - {"report", "history"} | WORK | MODELS,
    "metrics": COMMANDS | WORK | MODELS,
    "jobs": COMMANDS,
    "observe": COMMANDS | WORK - {"observe"},
    "relearning": COMMANDS | WORK - {"observe"},
    "scoring": COMMANDS | MODELS | WORK - {"scoring"},
    "populations": COMMANDS | MODELS | WORK - {"populations"},
    "cost": COMMANDS | MODELS | WORK | {"api", "registry", "store", "specs"},
    "keys": COMMANDS | MODELS | WORK | {"store"},
    "training": COMMANDS | WORK,
    "input_gradients": COMMANDS | WORK,
    "steps": COMMANDS | WORK,
    "curvature": COMMANDS | WORK,
    "edits": COMMANDS | WORK,
    "learners": COMMANDS | WORK | {"training", "input_gradients", "steps", "curvature", "edits"},
    "scenarios": COMMANDS | WORK | MODELS,
    "data": COMMANDS | WORK | MODELS - {"data"},
    "decoding": COMMANDS | WORK | MODELS,
    "store": COMMANDS | WORK | MODELS | {"api", "registry"},
    "records": COMMANDS | WORK | MODELS | {"api", "registry", "store"},
    "places": COMMANDS | WORK | MODELS | {"api", "registry", "store", "records", "specs"},
    "keeping": COMMANDS - {"keeping"} | WORK - {"scoring"} | MODELS,
    "specs": COMMANDS | WORK | MODELS | {"api", "registry", "store"},
    "registry": COMMANDS | WORK | MODELS | {"api", "specs", "store"},
    "errors": COMMANDS | WORK | MODELS | {"api", "registry", "specs", "store"},
    "components": COMMANDS | WORK | MODELS,
    "guard": COMMANDS | WORK | MODELS | {"api", "registry", "specs", "store"},
    "plan": {"cli", "session", "catalogue", "runner", "display", "executors", "report", "history"} | WORK | MODELS,
    "parts": {"cli", "session", "catalogue", "runner", "display", "executors", "report", "history"} | WORK | MODELS,
    "display": {"cli", "session", "catalogue", "runner", "executors", "report", "history"} | WORK | MODELS,
    "catalogue": {"cli", "session"} | WORK | MODELS | CHECKS,
    "session": {"cli"} | CHECKS,
    "smoke": COMMANDS | WORK,
    "trials": COMMANDS - {"plan", "smoke"} | WORK,
    "conformance": COMMANDS - {"smoke", "trials"} | WORK,
    "runner": {"cli", "session", "catalogue", "executors", "report", "history"} | WORK | MODELS,
}  # fmt: skip
"""Room -> rooms that it must not look into."""


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_dependencies_run_one_way(path):
    room = name_of(path).partition(".")[0]
    assert not {name.partition(".")[0] for name in imported(path)} & NEVER.get(room, set())


def words_of(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of every string of a file; docstrings left out, for they may give examples."""
    tree = ast.parse(path.read_text())
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in bare:
            yield node.lineno, node.value


def test_the_harness_names_no_method_no_dataset_and_no_metric():
    """Neither as a whole string nor inside one; those that are plain words (`folder`) may stand in sentences."""
    values = {value for name in registry.names("metric") for value in registry.get("metric", name).info.values}
    names = {*registry.names("method"), *registry.names("dataset"), *registry.names("metric"), *values}
    peculiar = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True) if not name.isalpha())
    inside = re.compile(rf"(?<![\w-])({peculiar})(?![\w-])")
    found = [
        f"{name_of(path)}:{line}: {text!r}"
        for path in FILES
        if name_of(path).partition(".")[0] != "metrics"
        for line, text in words_of(path)
        if text in names or inside.search(text)
    ]
    assert not found


def test_the_harness_builds_no_name_of_a_metric_either():
    """No beginning of one (`mia_`, `acc_`) stands in a string, from which an f-string would make the rest."""
    values = {value for name in registry.names("metric") for value in registry.get("metric", name).info.values}
    beginnings = {value[: value.index("_") + 1] for value in values if "_" in value}
    found = [
        f"{name_of(path)}:{line}: {text!r}"
        for path in FILES
        if name_of(path).partition(".")[0] != "metrics"
        for line, text in words_of(path)
        if text in beginnings
    ]
    assert not found
