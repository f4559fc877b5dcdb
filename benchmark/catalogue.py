"""What there is: rows for `list`, a page for `show`. Read from the decorators, so it cannot be out of date."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from benchmark import registry
from benchmark.api import PARADIGMS, Method, MethodInfo, MetricInfo
from benchmark.components import build
from benchmark.errors import BenchmarkError, UnknownName
from benchmark.plan import SUITES
from benchmark.specs import load_suite, suite_names

Row = dict[str, Any]
COST = (
    "access: F forget, R retain, T third party, A artefacts of training. cost: passes with default parameters; "
    "F, R, T: forward and backward, f(·): forward alone, d(·): double backward, E: epochs of the recipe."
)
KINDS = {f"{kind}s": kind for kind in registry.KINDS} | {"tasks": "task", "suites": "suite"}


TABLES = ("parameters", "presets", "values")
"""What of a page are rows."""


def rows(kinds: str, suite: str, plugins: Sequence[Path]) -> list[Row]:
    """One row for each component of a kind (in the plural); what cannot be imported has an `error`.

    Raises:
        UnknownName: If there is no such kind.
    """
    for plugin in plugins:
        registry.add_plugin(plugin)
    if kinds not in KINDS:
        raise UnknownName("kind", kinds, KINDS)
    if kinds == "suites":
        return [_suite_row(name) for name in suite_names(SUITES)]
    if kinds == "tasks":
        return [_task_row(task) for task in load_suite(suite, SUITES).tasks]
    kind = KINDS[kinds]
    found = [_row(kind, name) for name in registry.names(kind)]
    shown = {str(registry.source_path(kind, row["name"])) for row in found}
    return found + [{"name": p, "error": error} for p, error in registry.unavailable().items() if p not in shown]


def table(kind: str, content: list[Row]) -> Table:
    """Rows as a table for the terminal."""
    caption = COST if kind == "methods" else None
    content = [_shortened(row) for row in content] if kind == "methods" else content
    columns = list(dict.fromkeys(key for row in content for key in row))
    shown = Table(title=kind, title_justify="left", header_style="bold", caption=caption, caption_justify="left")
    for column in columns:
        shown.add_column(column.replace("_", " "), overflow="fold")
    for row in content:
        shown.add_row(*(Text(_words(row.get(column, ""))) for column in columns))  # names have brackets
    return shown


def methods_of(targets: Sequence[str], everything: bool = False) -> list[str]:
    """The methods, each with its presets, of files and of names with wildcards.

    Args:
        targets: Paths that end in `.py`, or names.
        everything: All that are registered, too.

    Raises:
        UnknownName: If nothing has a name.
        BenchmarkError: If a file is not there or has no method; if what is named cannot be imported.
    """
    chosen = registry.names("method") if everything else []
    for target in targets:
        found = _methods_in(Path(target).resolve()) if target.endswith(".py") else registry.match("method", target)
        if target.endswith(".py") or target in found:
            for name in found:
                registry.get("method", name.partition("[")[0])
        chosen += found
    return [name for name in registry.names("method") if {name, name.partition("[")[0]} & set(chosen)]


def _methods_in(path: Path) -> list[str]:
    """The names of a file's methods, which are known from now on."""
    if not path.is_file():
        raise BenchmarkError(f"{path}: there is no such file; give the path of a Python file.")
    registry.add_plugin(path)
    if reason := registry.unavailable().get(str(path)):
        raise BenchmarkError(f"{path}: cannot be read: {reason}.")
    found = [name for name in registry.names("method") if registry.source_path("method", name) == path]
    if not found:
        raise BenchmarkError(
            f"{path}: no method is registered here; @register_method(name, …) above its class does so."
        )
    return found


def describe(name: str, suite: str, plugins: Sequence[Path]) -> Row:
    """Everything known of one component, task or suite.

    Raises:
        UnknownName: If nothing has this name.
    """
    for plugin in plugins:
        registry.add_plugin(plugin)
    for kind in registry.KINDS:
        if name in registry.names(kind):
            place = {"kind": kind, "source": str(registry.source_path(kind, name))}
            return _row(kind, name) | place | _more(kind, name)
    if name in suite_names(SUITES) or name.endswith(".toml"):
        return {"kind": "suite", **load_suite(name, SUITES).model_dump(mode="json")}
    tasks = {task.name: task for task in load_suite(suite, SUITES).tasks}
    if name in tasks:
        return {"kind": "task", **tasks[name].model_dump(mode="json")}
    known = [n for kind in registry.KINDS for n in registry.names(kind)]
    raise UnknownName("name", name, [*known, *suite_names(SUITES), *tasks])


def page(content: Row) -> RenderableType:
    """A component as text, parameters as a table."""
    lines = [
        Text.assemble((f"{key.replace('_', ' ')}: ", "bold"), _words(value))
        for key, value in content.items()
        if key not in TABLES and value not in ("", None, [], {})
    ]
    tables = [table(key, content[key]) for key in TABLES if content.get(key)]
    return Group(*lines, *tables)


def _row(kind: str, name: str) -> Row:
    try:
        component = registry.get(kind, name.partition("[")[0])
    except BenchmarkError as error:
        return {"name": name, "error": str(error)}
    info = component.info
    if kind == "method":
        return {"name": name, **_method_row(name, component.target, info)}
    if kind == "dataset":
        facts = {"title": info.title, "classes": info.classes, "shape": info.shape, "licence": info.licence}
        return {"name": name, **facts}
    if kind == "metric":
        facts = {"tier": info.tier, "learners": sorted(info.paradigms), "reads": info.needs}
        return {"name": name, **facts, "numbers": list(info.values), "source": info.source}
    if kind == "learner":
        return {"name": name, **info}
    return {"name": name, "description": info}


def _method_row(name: str, target: type, info: MethodInfo) -> Row:
    """What a method, or its preset, applies to and reads with its default parameters."""
    preset = _preset(name, info)
    on_classifiers: Method = build(target, preset, name)
    on_encoders: Method = build(target, {**info.contrastive, **preset}, name)
    methods = {p: on_classifiers if p == "supervised" else on_encoders for p in sorted(info.paradigms)}
    scenarios = info.scenarios_of(name)
    return {
        "paper": info.paper,
        "learners": [paradigm for paradigm, method in methods.items() if method.refuses(paradigm) is None],
        "scenarios": "all" if scenarios is None else sorted(scenarios),
        "access": sorted(set().union(*(method.reads() for method in methods.values()))),
        "cost": "" if preset else info.cost,
    }


def _preset(name: str, info: MethodInfo) -> Row:
    return dict(info.presets.get(name.partition("[")[2].rstrip("]"), {}))


def _more(kind: str, name: str) -> Row:
    component = registry.get(kind, name.partition("[")[0])
    more: Row = {}
    if kind == "method":
        info: MethodInfo = component.info
        presets = [{"name": preset, "sets": dict(sets)} for preset, sets in sorted(info.presets.items())]
        defaults = dict(info.contrastive)
        more = {"defaults_on_encoders": defaults, "preset": _preset(name, info), "presets": presets}
    if kind == "dataset":
        more = {"citation": component.info.citation}
    if kind == "metric":
        values: MetricInfo = component.info
        more = {
            "values": [{"name": n, "label": v.label, "goal": v.goal, "role": v.role} for n, v in values.values.items()]
        }
    if dataclasses.is_dataclass(component.target):
        more["parameters"] = [_parameter(field) for field in _own_first(component.target)]
    return more


def _own_first(target: Any) -> list["dataclasses.Field[Any]"]:
    """Its fields as its class body has them, then what it inherits."""
    own = list(vars(target).get("__annotations__", {}))
    place = {name: number for number, name in enumerate(own)}
    return sorted(dataclasses.fields(target), key=lambda field: place.get(field.name, len(own)))


def _parameter(field: "dataclasses.Field[Any]") -> Row:
    meta = field.metadata
    admissible = ""
    if "low" in meta:
        admissible = f"{meta['low']} … {meta['high']}"
    if "choices" in meta:
        admissible = " | ".join(meta["choices"])
    default = "required" if field.default is dataclasses.MISSING else field.default
    return {"name": field.name, "default": default, "admissible": admissible}


def _suite_row(name: str) -> Row:
    suite = load_suite(name, SUITES)
    runs = sum(len(suite.seed_list(task)) * len(suite.methods) for task in suite.tasks)
    return {
        "name": name,
        "version": suite.version,
        "tasks": len(suite.tasks),
        "methods": len(suite.methods),
        "runs": runs,
        "description": suite.description,
    }


def _task_row(task: Any) -> Row:
    return {
        "name": task.name,
        "dataset": task.dataset.name,
        "learner": task.learner.name,
        "scenario": task.scenario.name,
        "training_images": task.split.train,
    }


def _shortened(row: Row) -> Row:
    """A method's row for eighty columns: initials of the sets, one word for all learners, no paper twice."""
    short = row | ({"paper": ""} if "[" in row["name"] else {})
    if "access" in row:
        short["access"] = " ".join(name[0].upper() for name in row["access"]) or "none"
    if row.get("learners") == sorted(PARADIGMS):
        short["learners"] = "all"
    return short


def _words(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{key} = {entry}" for key, entry in value.items())
    return str(value)
