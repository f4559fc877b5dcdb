"""A method tried out on the smallest task: what it was given, what it returned, what it left changed."""

import pickle
import random
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark import ROOT, registry
from benchmark.api import SETS, Method
from benchmark.data import ExampleSet
from benchmark.errors import BenchmarkError
from benchmark.learners.base import Learner
from benchmark.plan import build_method
from benchmark.smoke import original, request_of, smoke_task
from benchmark.specs import TaskSpec
from benchmark.training import UnlearningRequest


@dataclass(frozen=True)
class Run:
    """One call of `unlearn`.

    Attributes:
        given: The learner that the method was given, as it is afterwards.
        spoilt: What of it was another before, "" if nothing was.
        flags: `flags_of` it before.
        request: What else it was given.
        result: What it returned, if that is a learner.
        error: What it raised instead.
        seconds: CPU time of the call.
        changed: Global states (of RANDOM and DEFAULTS), and sets of the request, that it left changed.
    """

    given: Learner
    spoilt: str
    flags: Mapping[str, Any]
    request: UnlearningRequest
    result: Learner | None
    error: BaseException | None
    seconds: float
    changed: frozenset[str]


@dataclass(frozen=True)
class Trial:
    """A method on a learner: two runs in float32 that differ in global random state alone, then one in bfloat16."""

    name: str
    task: TaskSpec
    method: Method
    runs: Sequence[Run]

    def results(self) -> list[tuple[Learner, Learner]]:
        """(given, returned) learner of each run that returned one."""
        return [(run.given, run.result) for run in self.runs if run.result is not None]

    def changed(self, among: Iterable[str]) -> str:
        """What some run left changed of these."""
        return ", ".join(name for name in sorted(among) if any(name in run.changed for run in self.runs))

    @property
    def seconds(self) -> float:
        """Of one epoch; the faster of the two equal runs, for machines do other work too."""
        return min(run.seconds for run in self.runs[:2])


def made(name: str, paradigm: str) -> tuple[TaskSpec, Method]:
    """The method as it would run on the smallest task; BenchmarkError if it cannot be made."""
    component = registry.get("method", name.partition("[")[0])
    registry.get("learner", paradigm, f"method {name!r}, paradigms")
    target, kind = component.target, getattr(component.target, "__dataclass_params__", None)
    if not (issubclass(target, Method) and kind and kind.frozen and all(field.kw_only for field in fields(target))):
        raise BenchmarkError("it is no subclass of Method with @dataclass(frozen=True, kw_only=True).")
    task = smoke_task(name, paradigm, component.info, target)
    build_method(name, task.model_copy(update={"methods": {}}), "check")  # a preset's own values are admissible
    return task, build_method(name, task, "check")


def tried(name: str, task: TaskSpec, method: Method) -> Trial:
    """The runs of a trial; the first alone if it fails."""
    runs = [run(method, name, task, noise=1)]
    if runs[0].error is None:
        runs += [run(method, name, task, noise=2), run(method, name, task, "bfloat16")]
    return Trial(name, task, method, runs)


def remarks(trial: Trial) -> list[str]:
    """What breaks no promise: a set that is declared and never touched, a number without a range."""
    taken = trial.runs[0].request.samples_seen() if trial.runs[0].error is None else {}
    idle = [part for part, images in taken.items() if not images]
    unused = [part for part in idle if run(trial.method, trial.name, trial.task, withheld=[part]).error is None]
    parameters = fields(trial.method)  # type: ignore[arg-type]
    free = [p.name for p in parameters if type(p.default) in (int, float) and "low" not in p.metadata]
    return [
        *(f"{part} is declared, but not touched." for part in unused),
        *(f"{name} has no range; declare it with bounded(default, low, high)." for name in free),
    ]


def run(
    method: Method, name: str, task: TaskSpec, numerics: str = "float32", noise: int = 1, withheld: Collection[str] = ()
) -> Run:
    """Call `unlearn` on the task, and see what it leaves changed; global state is put back.

    Args:
        method: With its hyper-parameters.
        name: Of the method, for errors.
        task: Made by `smoke_task`.
        numerics: One of NUMERICS.
        noise: Seed of global random state, on which nothing may depend.
        withheld: Sets that raise though the method declares them.
    """
    given, request = original(task), request_of(method, name, task, numerics, withheld)
    before, flags, sets = state_of(given), flags_of(given), _content(request)
    found: dict[str, Any] = {"result": None, "error": None}
    torch.manual_seed(noise), np.random.seed(noise), random.seed(noise)
    with watched() as changed:
        start = time.process_time()
        try:
            found["result"] = method.unlearn(given, request)
            if not isinstance(found["result"], Learner):
                raise TypeError(f"unlearn returned {found.pop('result')!r}; it must return a learner")
        except (Exception, SystemExit) as error:
            found |= {"result": None, "error": error}
        seconds = time.process_time() - start
    after = _content(request)
    edited = {part for part in sets if first_difference(sets[part], after[part])}
    spoilt = first_difference(before, state_of(given))
    return Run(given, spoilt, flags, request, seconds=seconds, changed=frozenset(changed | edited), **found)


# -- what a run may not change -----------------------------------------------------------------------------

Access = tuple[Callable[[], Any], Callable[[Any], Any]]
RANDOM: dict[str, Access] = {
    "torch": (
        lambda: torch.get_rng_state().tolist(),
        lambda state: torch.set_rng_state(torch.tensor(state, dtype=torch.uint8)),
    ),
    "NumPy": (lambda: pickle.dumps(np.random.get_state()), lambda state: np.random.set_state(pickle.loads(state))),
    "Python": (random.getstate, random.setstate),
}
DEFAULTS: dict[str, Access] = {
    "default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "number of threads": (torch.get_num_threads, torch.set_num_threads),
    "grad mode": (torch.is_grad_enabled, torch.set_grad_enabled),
    "deterministic flag": (
        lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        lambda state: torch.use_deterministic_algorithms(state[0], warn_only=state[1]),
    ),
    "float32 matmul precision": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
}


@contextmanager
def watched() -> Iterator[set[str]]:
    """What changes of RANDOM and DEFAULTS inside is named in the set, and put back."""
    changed: set[str] = set()
    states = {**RANDOM, **DEFAULTS}
    before = {name: read() for name, (read, _) in states.items()}
    try:
        yield changed
    finally:
        for name, (read, put_back) in states.items():
            if read() != before[name]:
                changed.add(name)
                put_back(before[name])


@contextmanager
def as_in_a_job() -> Iterator[None]:
    """One thread and deterministic algorithms inside; outside everything is as it was."""
    with watched():
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True)
        yield


def state_of(learner: Learner) -> dict[str, Any]:
    """Parameters, buffers (a queue is one), modes and flags, each under a name for sentences."""
    state: dict[str, Any] = {f"buffer {name}": buffer.clone() for name, buffer in learner.named_buffers()}
    for name, parameter in learner.named_parameters():
        state[f"parameter {name}"] = parameter.detach().clone()
        state[f"gradient of {name}"] = None if parameter.grad is None else parameter.grad.clone()
    modes = {f"mode of {name or 'the whole'}": module.training for name, module in learner.named_modules()}
    return state | modes | flags_of(learner)


def flags_of(learner: Learner) -> dict[str, Any]:
    """Which parameters take a gradient, and whether keys are remembered."""
    flags = {f"requires_grad of {name}": parameter.requires_grad for name, parameter in learner.named_parameters()}
    return flags | {"remembers_keys": learner.remembers_keys}


def parameters_of(method: Any) -> dict[str, Any]:
    """Its hyper-parameters."""
    return {field.name: getattr(method, field.name) for field in fields(method)}


def layout_of(learner: Learner) -> dict[str, Any]:
    """Its class, and the shape and dtype of each tensor."""
    return {"the class": type(learner)} | {n: (t.shape, t.dtype) for n, t in learner.state_dict().items()}


def first_difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """The first name under which two mappings differ bit by bit, NaN being NaN; "" if there is none."""
    return next((name for name in {**first, **second} if not _same(first.get(name), second.get(name))), "")


def _same(first: Any, second: Any) -> bool:
    if not isinstance(first, Tensor) or not isinstance(second, Tensor):
        return bool(type(first) is type(second) and first == second)
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    return bool(((first == second) | (first.isnan() & second.isnan())).all())


def _content(request: UnlearningRequest) -> dict[str, dict[str, Any]]:
    """Set name -> its images and labels, by a look that counts none."""
    sets = {part: getattr(request, part) for part in sorted(SETS)}
    looks = {part: found.altered(name="a look").all() for part, found in sets.items() if isinstance(found, ExampleSet)}
    return {part: {"images": batch.images, "labels": batch.labels} for part, batch in looks.items()}


def in_words(error: BaseException) -> str:
    """Our own sentence, or kind, first line, and where in the plug-in it was raised."""
    if isinstance(error, BenchmarkError):
        return str(error).rstrip(".")
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "site-packages" not in f.filename and not Path(f.filename).is_relative_to(ROOT)]
    place = (own or frames)[-1]
    said = (str(error).strip().splitlines() or [""])[0].rstrip(".")
    return f"{type(error).__name__}: {said} ({Path(place.filename).name}, line {place.lineno})"
