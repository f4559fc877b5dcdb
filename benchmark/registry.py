"""Name -> component. Files are found by reading their `@register_…("name")` decorators, and imported when used.

Reading instead of importing keeps `--help`, completion and wrong names instant: no torch is loaded to learn that
`salum` is not a method. The idea of a lazy registry that answers a wrong name with the nearest right one is
lm-evaluation-harness's; the code is ours.
"""

import ast
import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from benchmark import ROOT, component_folder
from benchmark.errors import BenchmarkError, UnknownName

KINDS = ("method", "dataset", "scenario", "learner", "metric", "executor")
ENTRY_POINT_GROUP = "unlearning_benchmark"


@dataclass(frozen=True)
class Component:
    """A registered class with what its decorator said of it."""

    kind: str
    name: str
    target: Any
    info: Any
    source: Path


@dataclass
class _Index:
    files: dict[tuple[str, str], tuple[str, Path]] = field(default_factory=dict)  # (kind, name) -> module, file
    unavailable: dict[str, str] = field(default_factory=dict)  # file or entry point -> error
    components: dict[tuple[str, str], Component] = field(default_factory=dict)
    plugins: list[Path] = field(default_factory=list)
    scanned: bool = False


_index = _Index()
_instead: dict[Path, Path] = {}
_NAME = re.compile(r"\w[\w.-]*(\[[\w.-]+\])?", re.ASCII)  # of what becomes a folder or stands in a record


def register(kind: str, name: str, info: Any) -> Callable[[type], type]:
    """The decorator behind every `register_*` of `benchmark.api`.

    Raises:
        BenchmarkError: If another file already registered the name, or it cannot be a folder's.
    """

    def decorate(target: type) -> type:
        presets = [f"{name}[{preset}]" for preset in info.presets] if kind == "method" else []
        for one in [name, *presets, *(info.values if kind == "metric" else [])]:
            if not _NAME.fullmatch(one):
                raise BenchmarkError(f"{kind} {name!r}: {one!r} is no name; letters, digits and '_' are right.")
        source = Path(sys.modules[target.__module__].__file__ or "").resolve()
        known = _index.components.get((kind, name))
        if known is not None and known.source != source:
            raise BenchmarkError(f"{source}: the {kind} {name!r} is already registered by {known.source}.")
        _index.components[(kind, name)] = Component(kind, name, target, info, source)
        target._benchmark_info = info  # type: ignore[attr-defined]
        return target

    return decorate


def get(kind: str, name: str, where: str = "") -> Component:
    """The component called `name` (without preset or argument), imported if it was not yet.

    Args:
        kind: One of KINDS.
        name: Of the component.
        where: The place that names it, for the error.

    Raises:
        UnknownName: If nothing is registered under the name.
        BenchmarkError: If its file cannot be imported.
    """
    _scan()
    if (kind, name) not in _index.components:
        if (kind, name) not in _index.files:
            raise _unknown(kind, name, where)
        module, path = _index.files[(kind, name)]
        try:
            _import(module, path)
        except (Exception, SystemExit) as error:
            _index.unavailable[str(path)] = f"{type(error).__name__}: {error}"
            _index.components = {what: c for what, c in _index.components.items() if c.source != path}  # half a file
            raise BenchmarkError(f"{path}: cannot be imported: {type(error).__name__}: {error}.") from error
    return _index.components[(kind, name)]


def names(kind: str) -> list[str]:
    """All names of a kind, sorted; for methods their presets too (`gradient_constraint[placebo]`)."""
    _scan()
    return sorted({name for of, name in [*_index.files, *_index.components] if of == kind})


def match(kind: str, pattern: str, where: str = "") -> list[str]:
    """The names that a pattern with wildcards covers: presets (`name[preset]`) only if it has a `[`, which is literal.

    Raises:
        UnknownName: If none does, saying `where` the pattern stands.
    """
    wanted = [name for name in names(kind) if "[" in pattern or "[" not in name]
    found = [name for name in wanted if fnmatchcase(name, pattern.replace("[", "[[]"))]
    if not found:
        raise _unknown(kind, pattern, where)
    return found


def unavailable() -> dict[str, str]:
    """Files and entry points that could not be read or imported, with the reason."""
    _scan()
    return dict(_index.unavailable)


def add_plugin(path: str | Path) -> None:
    """Make a file's components known (`--plugin FILE`); one that cannot be parsed is listed as unavailable.

    Raises:
        BenchmarkError: If there is no such file, or it takes a name that is taken.
    """
    path = Path(path).resolve()
    if not path.is_file():
        raise BenchmarkError(f"--plugin {path}: there is no such file; give the path of a Python file.")
    _scan()  # first come, first served: a plug-in never takes the place of what is there
    if path not in _index.plugins:
        module = f"unlearning_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
        with _noting(str(path), (SyntaxError, ValueError)):
            _scan_file(path, module)
        _index.plugins.append(path)


def plugins() -> list[str]:
    """The paths given with `--plugin`, for workers to repeat."""
    return [str(path) for path in _index.plugins]


def source_hash(*paths: Path) -> str:
    """A hash of what Python files do: comments, docstrings, layout and the cost that a method states left out."""
    files = [_instead.get(path, path) for path in paths]
    return hashlib.sha256("".join(_file_hash(file, file.stat().st_mtime_ns) for file in files).encode()).hexdigest()


@contextmanager
def reading(instead: Mapping[Path, Path]) -> Iterator[None]:
    """Inside, `source_hash` reads other files in the place of some."""
    _instead.update(instead)
    try:
        yield
    finally:
        _instead.clear()


def source_path(kind: str, name: str) -> Path:
    """The file that defines a component, found without importing it."""
    _scan()
    base = name.partition("[")[0]
    if (kind, base) in _index.files:
        return _index.files[(kind, base)][1]
    return get(kind, base).source


def source_closure(path: Path) -> list[Path]:
    """A metric's file and those that it imports of the measurement layer, directly or not; sorted."""
    found, left = set(), [path]
    while left:
        found.add(current := left.pop())
        left += [file for file in _measures(current, current.stat().st_mtime_ns) if file not in found]
    return sorted(found)


@cache
def _measures(path: Path, _mtime: int) -> list[Path]:
    """What a file imports of `benchmark.metrics` and `benchmark.stats`."""
    names = imported_names(path)  # what is imported from a package may be a module of it
    modules = names | {name.rpartition(".")[0] for name in names}
    ours = [name for name in modules if re.match(r"benchmark\.(metrics|stats)\b", name)]
    places = [ROOT.joinpath(*name.split(".")[1:]) for name in ours]
    files = [place / "__init__.py" if place.is_dir() else place.with_suffix(".py") for place in places]
    return [file for file in files if file.is_file()]


def imported_names(path: Path) -> set[str]:
    """`a.b` for each `import a.b` and each `from a import b` of a file; `a.*` where all is imported."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module or ''}.{alias.name}" for alias in node.names}
    return found


@cache
def _file_hash(path: Path, _mtime: int) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _called(node) == "register_method":
            node.keywords = [keyword for keyword in node.keywords if keyword.arg != "cost"]
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [statement for statement in body if not _is_bare_string(statement)]  # type: ignore[attr-defined]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _is_bare_string(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _unknown(kind: str, name: str, where: str) -> UnknownName:
    """Nothing has this name; a plug-in that cannot be read may be why, so it is mentioned."""
    broken = [f"{place} is left out ({reason})" for place, reason in _index.unavailable.items()]
    return UnknownName(kind, name, names(kind), "; ".join([*broken, where] if where else broken))


def _scan() -> None:
    if _index.scanned:
        return
    _index.scanned = True
    folders = {
        "benchmark.learners": ROOT / "learners",
        "benchmark.scenarios": ROOT / "scenarios",
        "benchmark.metrics": ROOT / "metrics",
        "benchmark.executors": ROOT / "executors",
        "benchmark.datasets": component_folder("datasets"),
        "benchmark.methods": component_folder("methods"),
    }
    for package, folder in folders.items():
        for path in sorted(folder.glob("*.py")):
            if path.stem != "__init__":
                with _noting(str(path)):
                    _scan_file(path, f"{package}.{path.stem}")
    for point in entry_points(group=ENTRY_POINT_GROUP):
        with _noting(f"entry point {point.name} = {point.value}"):
            spec = importlib.util.find_spec(point.module)
            if spec is None or not spec.origin:
                raise ModuleNotFoundError(f"there is no module {point.module!r}")
            _scan_file(Path(spec.origin).resolve(), point.module)


@contextmanager
def _noting(
    place: str, errors: type[BaseException] | tuple[type[BaseException], ...] = (Exception, SystemExit)
) -> Iterator[None]:
    """What goes wrong inside makes `place` unavailable, and stops nobody."""
    try:
        yield
    except errors as error:
        _index.unavailable[place] = f"{type(error).__name__}: {error}"


def _scan_file(path: Path, module: str) -> None:
    declared = list(_declared(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))))
    for kind, name in declared:
        _, taken = _index.files.get((kind, name), (module, path))
        if taken != path:
            raise BenchmarkError(f"{path}: the {kind} {name!r} is already registered by {taken}.")
    _index.files |= dict.fromkeys(declared, (module, path))


def _declared(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """(kind, name) of every `@register_kind("name", presets={…})` in a file."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef):
            continue
        for call in node.decorator_list:
            if not (isinstance(call, ast.Call) and call.args and isinstance(call.args[0], ast.Constant)):
                continue
            function = _called(call)
            kind, name = function.removeprefix("register_"), str(call.args[0].value)
            if not function.startswith("register_") or kind not in KINDS:
                continue
            yield kind, name
            presets = next((k.value for k in call.keywords if k.arg == "presets"), None)
            if isinstance(presets, ast.Dict):
                for key in presets.keys:
                    if isinstance(key, ast.Constant):
                        yield kind, f"{name}[{key.value!s}]"


def _called(call: ast.Call) -> str:
    """The last word of what is called."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _import(module: str, path: Path) -> None:
    if path not in _index.plugins:
        importlib.import_module(module)
        return
    spec = importlib.util.spec_from_file_location(module, path)
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[module] = loaded
    try:
        spec.loader.exec_module(loaded)
    except BaseException:
        del sys.modules[module]
        raise
