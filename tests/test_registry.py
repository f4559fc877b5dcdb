"""Names are found without importing, wrong ones get the nearest right one, and what is broken stops nobody."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark import registry
from benchmark.errors import BenchmarkError, UnknownName
from tests import tiny


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    monkeypatch.setattr(registry, "_index", tiny.own_index())


@pytest.fixture
def fresh_registry(monkeypatch):
    """As in a process that has registered nothing yet; what is imported stays imported."""
    monkeypatch.setattr(registry, "_index", registry._Index())


def test_listing_completing_and_mistyping_names_imports_no_torch():
    code = """
        import sys
        from benchmark import cli, registry
        from benchmark.errors import UnknownName
        assert all(registry.names(kind) for kind in registry.KINDS)
        assert "fine_tune" in cli._complete_methods("fine")
        assert "quick" in cli._complete_suites("q")
        try:
            registry.get("method", "fine_tun")
        except UnknownName as error:
            assert "Did you mean 'fine_tune'?" in str(error)
        print(*{"torch", "timm", "sklearn", "matplotlib"} & sys.modules.keys())
    """
    found = subprocess.run(
        [sys.executable, "-c", "\n".join(line[8:] for line in code.splitlines())],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert found.stdout.strip() == ""


@pytest.mark.parametrize("kind", registry.KINDS)
def test_every_registered_name_can_be_imported(kind):
    for name in registry.names(kind):
        component = registry.get(kind, name.partition("[")[0])
        assert component.source == registry.source_path(kind, name)
    assert registry.unavailable() == {}


def test_wildcards_cover_names():
    assert registry.match("method", "fine*") == ["fine_tune"]
    assert registry.match("method", "*") == [name for name in registry.names("method") if "[" not in name]
    assert set(registry.match("method", "*[*")) == {name for name in registry.names("method") if "[" in name}
    assert registry.match("scenario", "random") == ["random"]


def test_presets_are_names_and_brackets_stand_for_themselves():
    assert "gradient_constraint[placebo]" in registry.names("method")
    assert registry.match("method", "gradient_constraint[placebo]") == ["gradient_constraint[placebo]"]
    presets = registry.match("method", "gradient_constraint[*]")
    assert "gradient_constraint[placebo]" in presets and "gradient_constraint" not in presets
    with pytest.raises(UnknownName):
        registry.match("method", "gradient_constrain[tp]")


def test_a_pattern_that_covers_nothing_is_an_error_with_the_nearest_name_and_the_place():
    with pytest.raises(UnknownName, match=r"^suite 'x': unknown method 'gradient_ascend'\. Did you mean 'gradient_a"):
        registry.match("method", "gradient_ascend", "suite 'x'")


def test_a_name_like_nothing_gets_no_suggestion_but_all_that_are_known():
    with pytest.raises(UnknownName, match=r"unknown scenario 'zzz'\. Known: class, ") as raised:
        registry.get("scenario", "zzz")
    assert "Did you mean" not in str(raised.value)


def test_a_plugin_is_found_imported_when_used_and_repeated_by_workers(tmp_path):
    path = tiny.plugin(tmp_path)
    registry.add_plugin(path)
    registry.add_plugin(path)
    assert "theirs" in registry.names("method")
    assert registry.get("method", "theirs").target().strength == 1.0
    assert registry.plugins() == [str(path)]
    assert registry.source_path("method", "theirs") == path


def test_a_plugin_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(BenchmarkError, match=r"absent\.py: there is no such file"):
        registry.add_plugin(tmp_path / "absent.py")


@pytest.mark.parametrize("before", ["names", "nothing"])
def test_a_plugin_cannot_take_a_name_that_is_taken(tmp_path, before, request):
    if before == "nothing":
        request.getfixturevalue("fresh_registry")
    known = registry._index
    path = tiny.plugin(tmp_path, name="fine_tune")
    with pytest.raises(BenchmarkError, match=r"the method 'fine_tune' is already registered by .*fine_tune\.py"):
        registry.add_plugin(path)
    assert known.files[("method", "fine_tune")][1].parent.name == "methods"
    assert registry.plugins() == []


def test_a_file_of_the_repository_may_be_given_as_a_plugin_too():
    registry.add_plugin(registry.source_path("method", "no_op"))
    assert registry.match("method", "no_op") == ["no_op"]


def test_two_plugins_cannot_share_a_name(tmp_path):
    (tmp_path / "other").mkdir()
    registry.add_plugin(tiny.plugin(tmp_path))
    with pytest.raises(BenchmarkError, match="already registered"):
        registry.add_plugin(tiny.plugin(tmp_path / "other"))


def test_registering_a_taken_name_while_running_is_refused(tmp_path):
    path = tmp_path / "sly.py"
    path.write_text(
        "from benchmark.api import register_method as r\nr('no_op', paper='', uses=())(type('X', (), {}))\n"
    )
    registry.get("method", "no_op")
    registry._index.files[("method", "sly")] = ("sly_plugin", path)
    registry._index.plugins.append(path)
    with pytest.raises(BenchmarkError, match="'no_op' is already registered"):
        registry.get("method", "sly")


@pytest.mark.parametrize("name", ["../evil", "a b", "a;rm", "", "-rf", "a[", "größe"])
def test_a_name_that_no_folder_and_no_record_can_bear_is_refused(tmp_path, name):
    from benchmark.api import Value, register_method, register_metric

    sentence = rf"'.*{re.escape(name)}.*' is no name; letters, digits and '_' are right\.$"
    with pytest.raises(BenchmarkError, match=sentence):
        register_method(name, paper="", uses=())(type("X", (), {}))
    with pytest.raises(BenchmarkError, match=sentence):
        register_metric("fine", source="", values={name: Value("x", "min")})(type("X", (), {}))
    preset = f"{name}/" if name == "-rf" else name  # which a preset may be called
    with pytest.raises(BenchmarkError, match="is no name"):
        register_method("fine", paper="", uses=(), presets={preset: {}})(type("X", (), {}))


def test_a_plugin_with_a_syntax_error_is_listed_and_stops_nobody(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("def (:\n")
    registry.add_plugin(path)
    assert registry.unavailable()[str(path)].startswith("SyntaxError")
    assert registry.get("method", "no_op").name == "no_op"
    with pytest.raises(UnknownName, match=r"broken\.py is left out \(SyntaxError.*unknown method 'broken'"):
        registry.get("method", "broken")


@pytest.mark.parametrize("text", [b"\xff\xfe\x00", b"x = 1\x00"])
def test_a_plugin_that_is_no_text_is_listed_too(tmp_path, text):
    path = tmp_path / "binary.py"
    path.write_bytes(text)
    registry.add_plugin(path)
    assert str(path) in registry.unavailable()


@pytest.mark.parametrize("error", ["RuntimeError", "SystemExit", "ImportError"])
def test_a_plugin_that_raises_on_import_is_listed_and_stops_nobody(tmp_path, error):
    path = tiny.plugin(tmp_path)
    path.write_text(path.read_text() + f"\nraise {error}('no such luck')\n")
    registry.add_plugin(path)
    assert "theirs" in registry.names("method")
    for _ in range(2):
        with pytest.raises(BenchmarkError, match=rf"theirs\.py: cannot be imported: {error}: no such luck"):
            registry.get("method", "theirs")
    assert registry.unavailable()[str(path)] == f"{error}: no such luck"
    assert registry.get("method", "no_op").name == "no_op"


def installed(folder: Path, entry_points: str) -> None:
    """A distribution as pip leaves it."""
    (folder / "theirs-1.0.dist-info").mkdir()
    (folder / "theirs-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (folder / "theirs-1.0.dist-info" / "entry_points.txt").write_text(f"[unlearning_benchmark]\n{entry_points}")


def test_an_installed_distribution_brings_components(tmp_path, monkeypatch, fresh_registry):
    package = tmp_path / "their_package"
    package.mkdir()
    (package / "__init__.py").touch()
    tiny.plugin(package, name="installed_method")
    installed(tmp_path, "methods = their_package.installed_method\nclass = their_package.installed_method:Theirs\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "installed_method" in registry.names("method")
    assert registry.get("method", "installed_method").source == package / "installed_method.py"
    assert registry.unavailable() == {}


@pytest.mark.parametrize("content", ["raise ImportError('no such luck')", "import sys\nsys.exit(3)"])
def test_a_package_that_cannot_be_imported_at_all_is_listed_and_stops_nobody(
    tmp_path, monkeypatch, fresh_registry, content
):
    name = f"their_ruin_{content[0]}"
    package = tmp_path / name
    package.mkdir()
    (package / "__init__.py").write_text(f"{content}\n")
    tiny.plugin(package, name="unreachable")
    installed(tmp_path, f"a = {name}.unreachable\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "no_op" in registry.names("method") and "unreachable" not in registry.names("method")
    assert list(registry.unavailable()) == [f"entry point a = {name}.unreachable"]


def test_entry_points_that_lead_nowhere_or_collide_are_listed_and_stop_nobody(tmp_path, monkeypatch, fresh_registry):
    package = tmp_path / "their_clash"
    package.mkdir()
    (package / "__init__.py").touch()
    tiny.plugin(package, name="no_op")
    installed(tmp_path, "a = nowhere\nb = nowhere.at_all\nc = their_clash.no_op\nd = sys\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "no_op" in registry.names("method")
    assert registry.source_path("method", "no_op").parent.name == "methods"
    reasons = {place.partition(" = ")[0]: reason for place, reason in registry.unavailable().items()}
    assert reasons.keys() == {"entry point a", "entry point b", "entry point c", "entry point d"}
    assert "there is no module 'nowhere'" in reasons["entry point a"]
    assert "already registered" in reasons["entry point c"]


SOURCE = '''"""Doc."""
LIMIT = 3


def f(x):
    """Doc."""
    return x + LIMIT
'''


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"""Doc."""\nLIMIT', '"""Another."""\nLIMIT'),
        ('    """Doc."""\n', '    """Several\n\n    lines.\n    """\n'),
        ('    """Doc."""\n', ""),
        ("LIMIT = 3\n", "LIMIT = 3  # three\n\n\n"),
        ("x + LIMIT", "(x + LIMIT)"),
        ("x + LIMIT", "x   +   LIMIT"),
    ],
)
def test_comments_docstrings_and_layout_are_not_in_a_source_hash(tmp_path, before, after):
    assert hashed(tmp_path, SOURCE.replace(before, after, 1)) == hashed(tmp_path, SOURCE)


@pytest.mark.parametrize(
    ("before", "after"),
    [("= 3", "= 4"), ("x + LIMIT", "x - LIMIT"), ("f(x)", "f(x, y=0)"), ("LIMIT = 3", "LIMIT = '3'")],
)
def test_a_changed_constant_or_expression_is_in_a_source_hash(tmp_path, before, after):
    assert hashed(tmp_path, SOURCE.replace(before, after)) != hashed(tmp_path, SOURCE)


METHOD = """
@register_method("theirs", paper="none", cost="10 R", uses={"retain"})
class Theirs:
    cost = price(cost=1)
"""


def test_the_cost_that_a_method_states_is_not_in_a_source_hash_and_all_else_of_its_registration_is(tmp_path):
    assert hashed(tmp_path, METHOD.replace("10 R", "5 F")) == hashed(tmp_path, METHOD)
    assert hashed(tmp_path, METHOD.replace('cost="10 R", ', "")) == hashed(tmp_path, METHOD)
    assert hashed(tmp_path, METHOD.replace("@register", "@api.register").replace('cost="10 R", ', "")) == hashed(
        tmp_path, METHOD.replace("@register", "@api.register")
    )
    for before, after in (('"retain"', '"forget"'), ('"none"', '"some"'), ("cost=1", "cost=2")):
        assert hashed(tmp_path, METHOD.replace(before, after)) != hashed(tmp_path, METHOD)


def test_a_source_hash_sees_every_file_and_a_file_that_is_written_again(tmp_path):
    one, other = tmp_path / "one.py", tmp_path / "other.py"
    one.write_text("a = 1\n")
    other.write_text("b = 1\n")
    first = registry.source_hash(one, other)
    assert first != registry.source_hash(one)
    other.write_text("b = 2\n")
    assert registry.source_hash(one, other) != first


IMPORTS = """
import benchmark.metrics.legacy
from benchmark import stats
from benchmark.metrics import signals, nowhere
from benchmark.api import Metric


def late():
    from benchmark.metrics.attacks import mia_auc
"""


def test_the_closure_of_a_metric_follows_imports_of_every_form_and_leaves_the_contracts_out(tmp_path):
    path = tmp_path / "theirs.py"
    path.write_text(IMPORTS)
    found = registry.source_closure(path)
    assert found == sorted(found) and path in found
    ours = {str(file.relative_to(registry.ROOT)) for file in found if file != path}
    assert {"stats.py", "metrics/legacy.py", "metrics/signals.py", "metrics/attacks.py"} <= ours
    assert "metrics/_checks.py" in ours, "what they import counts as well"
    assert all(name.startswith("metrics/") or name == "stats.py" for name in ours)


def test_the_closure_of_a_metric_is_read_again_when_its_file_has_changed(tmp_path):
    path = tmp_path / "theirs.py"
    path.write_text("x = 1\n")
    assert registry.source_closure(path) == [path]
    path.write_text("from benchmark.metrics._checks import number\n")
    assert {file.name for file in registry.source_closure(path)} == {"_checks.py", "theirs.py"}


def hashed(folder: Path, text: str) -> str:
    path = folder / f"source{len(list(folder.iterdir()))}.py"
    path.write_text(text)
    return registry.source_hash(path)
