"""What every method promises, as a list of checks on the smallest task, for each learner that it is meant for.

`python -m benchmark check my_method.py` prints what they find; the tests ask them of every registered method. A check
takes a `Trial` and returns "" if its promise is kept, a sentence if it is broken, None if the runs do not show it.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from benchmark import registry, trials
from benchmark.api import SETS, info_of
from benchmark.components import build
from benchmark.errors import BenchmarkError, UndeclaredAccess
from benchmark.smoke import pictures
from benchmark.specs import RunSpec
from benchmark.training import copy_of
from benchmark.trials import Trial, first_difference, in_words

LIMIT = 5.0
"""Seconds of CPU time for one epoch on the smallest task, so that a crowded machine fails nobody."""
Check = Callable[[Trial], str | None]
CHECKS: dict[str, Check] = {}


@dataclass(frozen=True)
class Verdict:
    """What the checks say of a method, or a preset, on a learner; `open` are those that its runs do not show."""

    method: str
    learner: str
    scenario: str | None = None
    passed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    open: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float | None = None

    def row(self) -> dict[str, str]:
        """The same for a table, a sentence to a line."""
        failed = [f"{check}: {sentence}" for check, sentence in self.failed.items()]
        return {
            "method": self.method,
            "learner": self.learner,
            "passed": f"{len(self.passed)} of {len(CHECKS)}",
            "seconds": "" if self.seconds is None else f"{self.seconds:.2f}",
            "failed or noted": "\n".join(failed + [f"note: {note}" for note in self.notes]),
        }


def examine(name: str) -> list[Verdict]:
    """A verdict for each learner that a method, or a preset (`name[preset]`), applies to."""
    verdicts = []
    try:
        paradigms = sorted(registry.get("method", name.partition("[")[0]).info.paradigms)
    except BenchmarkError as error:
        return [Verdict(name, "none", failed={"can be made": str(error)}, open=[*CHECKS])]
    with trials.as_in_a_job():
        for paradigm in paradigms:
            try:
                task, method = trials.made(name, paradigm)
                if method.refuses(paradigm) is None:
                    verdicts.append(_verdict(trials.tried(name, task, method)))
            except Exception as error:  # a plug-in's reads() and refuses() may do anything
                verdicts.append(Verdict(name, paradigm, failed={"can be made": f"{in_words(error)}."}, open=[*CHECKS]))
    refused = {"can be made": f"it refuses every learner that it is registered for: {', '.join(paradigms)}."}
    return verdicts or [Verdict(name, "none", failed=refused, open=[*CHECKS])]


def promise(words: str) -> Callable[[Check], Check]:
    """The function below checks this."""

    def decorate(check: Check) -> Check:
        CHECKS[words] = check
        return check

    return decorate


# -- the promises ------------------------------------------------------------------------------------------


@promise("runs in float32")
def _(trial: Trial) -> str | None:
    return _error(trial, slice(2))


@promise("runs in bfloat16")
def _(trial: Trial) -> str | None:
    return _error(trial, slice(2, 3))


@promise("reads declared sets only")
def _(trial: Trial) -> str | None:
    if more := trial.method.reads() - info_of(trial.method).uses:
        return f"reads() names {', '.join(sorted(more))}, which `uses` does not declare."
    return next((str(run.error) for run in trial.runs if isinstance(run.error, UndeclaredAccess)), "")


@promise("leaves the given learner as it was")
def _(trial: Trial) -> str | None:
    what = max(run.spoilt for run in trial.runs)
    return what and f"{what} is another afterwards; work on copy_of(learner)."


@promise("returns a learner of its own")
def _(trial: Trial) -> str | None:
    for given, result in trial.results():
        if what := first_difference(trials.layout_of(given), trials.layout_of(result)):
            return f"{what} of the result is not what it is in the given learner; keep class, names, shapes and dtypes."
        first, second = ({t.data_ptr() for t in x.state_dict().values()} for x in (given, result))
        if first & second:
            return "the result shares tensors with the given learner; return a copy_of(learner)."
    return "" if trial.results() else None


@promise("same seed, same weights")
def _(trial: Trial) -> str | None:
    results = [run.result.state_dict() for run in trial.runs[:2] if run.result is not None]
    if len(results) < 2:
        return None
    what = first_difference(*results)
    return what and f"{what} differs between two runs of one seed; draw from request.stream(name) alone."


@promise("the result is finite")
def _(trial: Trial) -> str | None:
    for _, result in trial.results():
        outputs = {"the features that it gives": copy_of(result).embed(pictures().images / 255)}
        for name, tensor in {**result.state_dict(), **outputs}.items():
            if not tensor.isfinite().all():
                return f"{name} of the result: not every number is finite."
    return "" if trial.results() else None


@promise("the result is in evaluation mode")
def _(trial: Trial) -> str | None:
    awake = [name or "the result" for _, result in trial.results() for name, m in result.named_modules() if m.training]
    return f"{awake[0]} is in training mode; end with eval()." if awake else "" if trial.results() else None


@promise("the result is as trainable as before")
def _(trial: Trial) -> str | None:
    what = [first_difference(run.flags, trials.flags_of(run.result)) for run in trial.runs if run.result is not None]
    return max(what) and f"{max(what)} is not what it was; put it back (`only` of `optimise` does)." if what else None


@promise("the result can be trained")
def _(trial: Trial) -> str | None:
    for _, result in trial.results():
        learner, data = copy_of(result).train().requires_grad_(True), pictures()
        learner.loss(data.images / 255, data.labels, torch.Generator().manual_seed(0)).backward()
        learner.after_step()
    return "" if trial.results() else None


@promise("its parameters survive a record")
def _(trial: Trial) -> str | None:
    target, params = type(trial.method), trials.parameters_of(trial.method)
    try:
        spec = RunSpec(task=trial.task, method=trial.name, params=params, seed=0, metrics=[])
        again = build(target, RunSpec.model_validate_json(spec.model_dump_json()).params, "record")
    except (BenchmarkError, TypeError, ValueError) as error:
        return f"it cannot be made again from its record: {in_words(error)}."
    what = first_difference(params, trials.parameters_of(again))
    return what and f"{what} = {params[what]!r} comes back from JSON as {getattr(again, what)!r}."


@promise("refuses wrong values by name")
def _(trial: Trial) -> str | None:
    target = type(trial.method)
    for parameter in dataclasses.fields(target):  # type: ignore[arg-type]
        for value in _wrong_values(parameter):
            try:
                build(target, {parameter.name: value}, "check")
                return f"{parameter.name} = {value!r} is not refused."
            except BenchmarkError as error:
                if not str(error).startswith(f"check: {parameter.name} = "):
                    return f"{parameter.name} = {value!r} is refused without its name: {error}"
            except Exception as error:
                return f"{parameter.name} = {value!r} raises {in_words(error)}; annotate it as int, float or bool."
    return ""


@promise("leaves global random state as it was")
def _(trial: Trial) -> str | None:
    what = trial.changed(trials.RANDOM)
    return what and f"that of {what} is another afterwards; draw from request.stream(name) alone."


@promise("leaves torch's defaults as they were")
def _(trial: Trial) -> str | None:
    what = trial.changed(trials.DEFAULTS)
    return what and f"the {what} is another afterwards; put it back."


@promise("leaves the request as it was")
def _(trial: Trial) -> str | None:
    what = trial.changed(SETS)
    return what and f"images or labels of {what} are others afterwards; `altered` makes a set of its own."


@promise(f"one epoch takes at most {LIMIT:g} s")
def _(trial: Trial) -> str | None:
    return f"it took {trial.seconds:.1f} s of CPU time." if trial.seconds > LIMIT else ""


# -- what they need ----------------------------------------------------------------------------------------


def _verdict(trial: Trial) -> Verdict:
    said = {words: _asked(check, trial) for words, check in CHECKS.items()}
    return Verdict(
        trial.name,
        trial.task.paradigm,
        trial.task.scenario.name,
        passed=[words for words, sentence in said.items() if sentence == ""],
        failed={words: sentence for words, sentence in said.items() if sentence},
        open=[words for words, sentence in said.items() if sentence is None],
        notes=trials.remarks(trial),
        seconds=trial.seconds,
    )


def _asked(check: Check, trial: Trial) -> str | None:
    try:
        return check(trial)
    except Exception as error:  # a plug-in may return anything
        return f"looking for it raises {in_words(error)}."


def _error(trial: Trial, which: slice) -> str | None:
    errors = [run.error for run in trial.runs[which]]
    if not errors or any(isinstance(error, UndeclaredAccess) for error in errors):
        return None
    return next((f"unlearn raises {in_words(error)}." for error in errors if error is not None), "")


def _wrong_values(parameter: "dataclasses.Field[Any]") -> list[Any]:
    """Of another type, out of range, or comparable with nothing."""
    meta, kind = parameter.metadata, type(parameter.default)
    if "low" in meta:
        wrong = ["nonsense", meta["low"] - 1, meta["high"] + 1, float("nan"), float("inf"), True]
        return [*wrong, 0.5] if kind is int else wrong
    return ["nonsense"] if "choices" in meta or kind is bool else []
