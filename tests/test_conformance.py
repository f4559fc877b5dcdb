"""`check`: each promise that a plug-in breaks is named, and no other; what it prints, and its exit codes."""

import itertools
import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from benchmark import ROOT, catalogue, cli, conformance, registry, trials
from benchmark.api import PARADIGMS
from tests import tiny

MADE = "can be made"
HEAD = """import torch
import numpy
import random
from dataclasses import dataclass
from benchmark.api import Method, bounded, choice, copy_of, optimisation_of, register_method


@register_method("{name}", paper="none", uses={{"retain", "forget"}}, paradigms={{"supervised"}}, {more})
@dataclass(frozen=True, kw_only=True)
class Theirs(Method):
    {fields}

    def reads(self):
        return frozenset({reads})

    def unlearn(self, learner, request):
        unlearned = copy_of(learner)
        request.forget.all(), request.retain.all()
        {body}
        return unlearned
"""


@pytest.fixture(autouse=True)
def own_index(monkeypatch):
    monkeypatch.setattr(registry, "_index", tiny.own_index())


@pytest.fixture
def write(tmp_path) -> Callable[..., Path]:
    def write(body: str = "pass", name: str = "theirs", fields: str = "epochs: int = bounded(3, 1, 9)", **words: Any):
        words = {"more": "", "reads": '{"retain", "forget"}'} | words
        path = tmp_path / f"{name}.py"
        path.write_text(HEAD.format(name=name, body=body, fields=fields, **words), encoding="utf-8")
        return path

    return write


def verdicts_of(path: Path) -> list[conformance.Verdict]:
    return [verdict for name in catalogue.methods_of([str(path)]) for verdict in conformance.examine(name)]


def test_a_method_that_keeps_its_promises_passes_them_all(write):
    (verdict,) = verdicts_of(write())
    assert (verdict.method, verdict.learner, verdict.scenario) == ("theirs", "supervised", "random")
    assert verdict.passed == list(conformance.CHECKS)
    assert not (verdict.failed or verdict.open or verdict.notes)
    assert verdict.seconds >= 0


SAME_SEED = "same seed, same weights"
BROKEN = [
    ("next(learner.parameters()).data.add_(1)", "leaves the given learner as it was", "parameter encoder."),
    ("next(learner.buffers()).add_(1)", "leaves the given learner as it was", "buffer mean"),
    ("learner.train()", "leaves the given learner as it was", "mode of "),
    ("learner.requires_grad_(False)", "leaves the given learner as it was", "requires_grad of encoder."),
    ("return learner", "returns a learner of its own", "shares tensors"),
    ("unlearned.register_buffer('extra', torch.zeros(1))", "returns a learner of its own", "extra of the result"),
    ("unlearned.classifier.bias.data.add_(numpy.random.default_rng().normal())", SAME_SEED, "classifier.bias"),
    ("request.third_party.all()", "reads declared sets only", "request.third_party, but its `uses` does not declare"),
    ("unlearned.classifier.bias.data[0] = float('nan')", "the result is finite", "classifier.bias"),
    ("unlearned.train()", "the result is in evaluation mode", "the result is in training mode"),
    ("unlearned.encoder.eval().train()", "the result is in evaluation mode", "encoder is in training mode"),
    ("unlearned.encoder.requires_grad_(False)", "the result is as trainable as before", "requires_grad of encoder."),
    ("torch.manual_seed(7)", "leaves global random state as it was", "that of torch is"),
    ("numpy.random.rand()", "leaves global random state as it was", "that of NumPy is"),
    ("random.random()", "leaves global random state as it was", "that of Python is"),
    ("torch.set_default_dtype(torch.float64)", "leaves torch's defaults as they were", "default dtype"),
    ("torch.set_num_threads(2)", "leaves torch's defaults as they were", "number of threads"),
    ("torch.set_grad_enabled(False)", "leaves torch's defaults as they were", "grad mode"),
    ("torch.use_deterministic_algorithms(False)", "leaves torch's defaults as they were", "deterministic flag"),
    ("request.forget._images.zero_()", "leaves the request as it was", "forget"),
    ("request.retain._labels.zero_()", "leaves the request as it was", "retain"),
    ("raise ValueError('too much')", "runs in float32", "ValueError: too much (theirs.py, line 19)"),
    ("unlearned = None", "runs in float32", "TypeError: unlearn returned None"),
    ("assert request.recipe.precision == 'float32'", "runs in bfloat16", "AssertionError"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "promise", "sentence"), BROKEN, ids=[body for body, _, _ in BROKEN])
def test_a_broken_promise_is_named_in_a_sentence_and_no_other(write, body, promise, sentence):
    (verdict,) = verdicts_of(write(body))
    assert list(verdict.failed) == [promise]
    assert sentence in verdict.failed[promise] and verdict.failed[promise].endswith(".")
    assert "\n" not in verdict.failed[promise]
    assert sorted([*verdict.passed, *verdict.failed, *verdict.open]) == sorted(conformance.CHECKS)


@pytest.mark.parametrize(
    ("fields", "promise", "sentence"),
    [
        ("rate: 'int | float' = bounded(1, 0, 2)", "refuses wrong values by name", "'nonsense' raises TypeError"),
        ("rate: float = bounded(9.0, 0.0, 1.0)", "its parameters survive a record", "rate = 9.0 is outside"),
        ("rate: tuple = (1, 2)", "its parameters survive a record", "rate = (1, 2) comes back from JSON as [1, 2]"),
        ("rate: type = int", "its parameters survive a record", "cannot be made again from its record"),
    ],
)
def test_parameters_that_cannot_be_checked_or_kept_are_named(write, fields, promise, sentence):
    (verdict,) = verdicts_of(write(fields=fields))
    assert list(verdict.failed) == [promise]
    assert sentence in verdict.failed[promise]


def test_an_error_in_a_preset_or_outside_unlearn_is_a_sentence_too(write):
    more = 'presets={"far": {"epochs": 99}, "near": {"epochs": 2}}'
    good, far, near = verdicts_of(write(more=more))
    assert not good.failed and not near.failed
    assert far.method == "theirs[far]" and "epochs = 99 is outside 1 … 9" in far.failed[MADE]
    (verdict,) = verdicts_of(write(name="reader", reads="1 / 0"))
    assert "ZeroDivisionError" in verdict.failed[MADE] and verdict.open == list(conformance.CHECKS)


def test_reading_more_than_is_declared_is_seen_before_it_happens(write):
    (verdict,) = verdicts_of(write(reads='{"retain", "forget", "third_party"}'))
    assert "reads() names third_party" in verdict.failed["reads declared sets only"]


def test_what_is_no_frozen_dataclass_is_said_to_be_none(write):
    path = write()
    path.write_text(path.read_text().replace("frozen=True, ", ""), encoding="utf-8")
    (verdict,) = verdicts_of(path)
    assert "@dataclass(frozen=True, kw_only=True)" in verdict.failed[MADE]


def test_a_method_without_a_learner_does_not_pass(write):
    path = write()
    refuses = '    def refuses(self, paradigm):\n        return "never"\n'
    path.write_text(path.read_text() + "\n" + refuses, encoding="utf-8")
    (verdict,) = verdicts_of(path)
    assert "refuses every learner" in verdict.failed[MADE]


def test_a_set_without_use_and_a_number_without_a_range_are_noted_and_pass(write):
    path = write(fields="rate: float = 1.0")
    path.write_text(path.read_text().replace("request.forget.all(), ", ""), encoding="utf-8")
    (verdict,) = verdicts_of(path)
    assert not verdict.failed
    assert verdict.notes == [
        "forget is declared, but not touched.",
        "rate has no range; declare it with bounded(default, low, high).",
    ]


def test_a_set_whose_labels_alone_are_looked_at_is_used(write):
    path = write()
    path.write_text(path.read_text().replace("request.forget.all(), ", "request.forget.labels, "), encoding="utf-8")
    assert not verdicts_of(path)[0].notes


def test_a_slow_epoch_is_reported_with_its_seconds(write, monkeypatch):
    clock = itertools.count(step=6)
    monkeypatch.setattr(trials, "time", SimpleNamespace(process_time=lambda: next(clock)))
    (verdict,) = verdicts_of(write())
    assert verdict.seconds == 6
    assert verdict.failed == {"one epoch takes at most 5 s": "it took 6.0 s of CPU time."}


def test_a_method_for_classes_is_tried_on_a_class_that_is_not_retained(write):
    absent = "assert request.scenario == 'class' and set(request.forget.labels.tolist()) == {0}; "
    absent += "assert set(request.retain.labels.tolist()) == {1, 2}"
    (verdict,) = verdicts_of(write(absent, more='scenarios={"class"}'))
    assert not verdict.failed and verdict.scenario == "class"


def test_each_run_is_of_one_epoch_in_a_range_that_the_method_admits(write):
    fields = "epochs: int = bounded(30, 1, 50); batch_size: int = bounded(256, 16, 512)"
    (verdict,) = verdicts_of(write("assert (self.epochs, self.batch_size) == (1, 16)", fields=fields))
    assert not verdict.failed


def test_nothing_of_the_process_is_another_afterwards(write):
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    before = {name: read() for name, (read, _) in {**trials.RANDOM, **trials.DEFAULTS}.items()}
    verdicts_of(write("torch.manual_seed(7); torch.set_default_dtype(torch.float64); numpy.random.rand()"))
    assert {name: read() for name, (read, _) in {**trials.RANDOM, **trials.DEFAULTS}.items()} == before


# -- the command -------------------------------------------------------------------------------------------


@pytest.fixture
def check(monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """(exit code, out, err) of `check` with these words."""

    def typed(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["benchmark", "check", *map(str, words)])
        monkeypatch.setenv("COLUMNS", "200")
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.main()
        said = capsys.readouterr()
        return left.value.code or 0, said.out, said.err

    return typed


def test_files_and_names_are_checked_together_with_their_presets(check, write):
    path = write(more='presets={"near": {"epochs": 2}}')
    code, out, err = check(path, "no_op", "--json")
    assert (code, err) == (0, "")
    rows = json.loads(out)
    assert [(row["method"], row["learner"]) for row in rows if row["method"] != "no_op"] == [
        ("theirs", "supervised"),
        ("theirs[near]", "supervised"),
    ]
    assert {row["learner"] for row in rows if row["method"] == "no_op"} == PARADIGMS
    assert all(row["passed"] == list(conformance.CHECKS) and row["seconds"] < 5 for row in rows)


def test_a_broken_promise_is_printed_and_exits_with_1(check, write):
    code, out, _ = check(write("unlearned.train()"))
    assert code == 1
    assert "15 of 16" in out and "the result is in evaluation mode: the result is in training mode; end with" in out
    code, out, _ = check(write("unlearned.train()", name="others"), "--json")
    assert code == 1 and list(json.loads(out)[0]["failed"]) == ["the result is in evaluation mode"]


def test_a_method_that_cannot_be_imported_fails_alone_where_nobody_named_it(check, write):
    good, broken = write(), write(name="ruined")
    broken.write_text("import no_such_module\n" + broken.read_text())
    for path in (good, broken):
        registry.add_plugin(path)
    code, out, _ = check("*heirs", "ruin*", "--json")
    verdicts = {verdict["method"]: verdict for verdict in json.loads(out)}
    assert code == 1 and verdicts.keys() == {"theirs", "ruined"}
    assert not verdicts["theirs"]["failed"]
    assert "cannot be imported: ModuleNotFoundError" in verdicts["ruined"]["failed"][MADE]
    code, out, err = check("theirs", "ruined")
    assert (code, out) == (2, "") and err.startswith(f"error: {broken}: cannot be imported")


def test_names_have_wildcards_and_all_is_every_method():
    assert catalogue.methods_of(["fine_*"]) == ["fine_tune"]
    assert catalogue.methods_of(["scrub"]) == [name for name in registry.names("method") if name.startswith("scrub")]
    assert catalogue.methods_of(["scrub[r]"]) == ["scrub[r]"]
    assert catalogue.methods_of([], everything=True) == registry.names("method")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "there is no such file; give the path of a Python file."),
        ("def (:\n", "cannot be read: SyntaxError: "),
        ("import no_such_module\n" + HEAD, "cannot be imported: ModuleNotFoundError: No module named 'no_such"),
        ("x = 1\n", "no method is registered here; @register_method(name, …) above its class does so."),
    ],
)
def test_a_file_that_cannot_be_checked_is_one_sentence_and_exits_with_2(check, tmp_path, content, sentence):
    path = tmp_path / "theirs.py"
    if content is not None:
        words = {"name": "theirs", "more": "", "fields": "pass", "reads": "()", "body": "pass"}
        path.write_text(content.format(**words) if "{name}" in content else content, encoding="utf-8")
    code, out, err = check(path)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {path}: {sentence}") and err.count("\n") == 1


def test_wrong_usage_exits_with_2_and_without_torch():
    code = """
import sys
from benchmark import cli
for words in (["check"], ["check", "fine_tun"], ["check", "no/such/file.py"], ["check", "--frobnicate"]):
    sys.argv = ["unlearning-benchmark", *words]
    try:
        cli.main()
    except SystemExit as left:
        assert left.code == 2, words
    assert "torch" not in sys.modules, words
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT.parent, check=False)
    assert done.returncode == 0, done.stderr
    assert "say what to check: the file of a method, the name of one, or --all." in done.stderr
    assert "Did you mean 'fine_tune'?" in done.stderr
