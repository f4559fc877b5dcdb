"""Gives every method the same few settings to try on each task of `quick`, and chooses one by a rule set beforehand.

    python tools/tune.py try --store STORE --results RESULTS    # runs; docs/tuning/quick.csv has all that was tried
    python tools/tune.py write                                  # from that file: the suite's settings, docs' tables

docs/TUNING.md says why, and has the rule: it is `choose` here. Runs go through the benchmark's own plan, executor and
report, in folders of their own, with seeds that no leaderboard reads. What was run once is not run again.
"""

import csv
import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from benchmark import ROOT, registry
from benchmark.components import make
from benchmark.data import DataCache
from benchmark.display import Plain
from benchmark.executors.local import Local
from benchmark.plan import SUITES, Known, Options, Plan, applicability, make_plan, resolve_method
from benchmark.report.model import TaskSummary
from benchmark.report.summary import summarise
from benchmark.report.validity import flags, in_points, loss
from benchmark.runner import Limits, execute
from benchmark.specs import Record, Suite, TaskSpec, derive_seed, load_suite
from benchmark.store import Records, Store

Settings = dict[str, Any]

SUITE = "quick"
TRIED = ROOT.parent / "docs" / "tuning" / f"{SUITE}.csv"
PAGE = ROOT.parent / "docs" / "TUNING.md"

SEEDS = (100, 101)
ORACLE_SEEDS = (100, 101, 102, 103, 104, 105)
"""Exact retraining gets more: its spread is the gate that utility is held against."""
BUDGET = 5
REACH, REACH_OF_COUNTS = 30.0, 4.0
"""How many times more and less than at the start is tried: rates and weights, and epochs, steps and blocks."""
SECONDS = 60
IDLE = 0.9
"""A gap larger than this share of doing nothing's is called next to nothing."""
METRICS = ("accuracy", "membership_inference", "encoder_utility", "encodermi")
ORIGINAL, ORACLE = ANCHORS = ("original", "retrain")

STRENGTH = {
    "alignment_calibration": ("lr", "alpha", "epochs"),
    "amun": ("lr", "epochs"),
    "bad_teacher": ("lr", "epochs"),
    "boundary_expand": ("lr", "epochs"),
    "boundary_shrink": ("lr", "epochs"),
    "cf_k": ("lr", "k", "epochs"),
    "confuse_finetune_weighted": ("lr", "std", "epochs"),
    "contrastive_unlearning": ("lr", "unlearn_weight", "epochs"),
    "convolution_transpose": ("lr", "epochs"),
    "delete": ("lr", "epochs"),
    "distil_reset": ("lr", "warmup_lr", "epochs"),
    "eu_k": ("k",),
    "fine_tune": ("lr", "epochs"),
    "fisher_forgetting": ("alpha",),
    "forget_contrast_strengthen": ("lr", "uniform_lr", "contrast_lr"),
    "gradient_ascent": ("lr", "epochs"),
    "gradient_constraint": ("lr", "lambda1", "lambda2"),
    "gradient_penalty": ("lr", "penalty", "epochs"),
    "influence": ("alpha", "damping"),
    "l1_sparse": ("lr", "alpha", "epochs"),
    "lfssd": ("alpha", "strength"),
    "masked_small_gradients": ("lr", "epochs"),
    "mumis": ("lr", "epochs"),
    "neg_grad_plus": ("lr", "alpha", "epochs"),
    "negmerge": ("lr",),
    "npo": ("lr", "beta", "epochs"),
    "prune_reinit_match_quantise": ("lr", "epochs"),
    "random_labels": ("lr", "epochs"),
    "repeated_noise": ("lr", "last_lr", "epochs"),
    "salun": ("lr", "epochs"),
    "scrub": ("lr", "msteps", "epochs"),
    "sfron": ("lr", "rate", "epochs"),
    "ssd": ("alpha", "strength"),
    "third_party_alignment": ("lr", "weight", "epochs"),
    "unsir": ("impair_lr", "repair_lr"),
}
"""Method -> what decides how strongly it forgets, three at most. Where that costs too much time it is left as it is:
the pool and epochs of negmerge, the epochs of eu_k, the samples of influence."""


# -- what is tried -------------------------------------------------------------------------------------------


def start(method: str, paradigm: str) -> Settings:
    """What a method's search starts from beside its own defaults.

    Two baselines had settings for small sets before. negmerge fine-tunes 27 models, which takes eight times as long as
    retraining; on encoders its own default is nine.
    """
    starts: dict[str, Settings] = {
        "fine_tune": {"optimizer": "adam", "lr": 3e-3, "schedule": "onecycle", "weight_decay": 0.0, "batch_size": 64},
        "gradient_ascent": {"lr": 3e-4 if paradigm == "supervised" else 3e-3, "weight_decay": 0.0, "batch_size": 64},
        "negmerge": {"pool_size": 9},
    }
    return starts.get(method, {})


def settings(method: str, task: TaskSpec) -> list[Settings]:
    """The start and what is drawn around it: a Latin hypercube, log-uniform, two digits; no setting twice."""
    first = start(method, task.paradigm)
    defaults = resolve_method(method, with_settings(task, {method: first}), SUITE)
    names = STRENGTH[method]
    limits = [limits_of(method, name, defaults[name]) for name in names]
    rng = np.random.default_rng(derive_seed("tuning", task.name, method))
    found = [first]
    for _ in range(10):  # a single count has few values: some are drawn twice, some settings are the start again
        strata = np.stack([rng.permutation(BUDGET - 1) for _ in names], axis=1)
        for row in (strata + rng.random(strata.shape)) / (BUDGET - 1):
            drawn = {
                name: _between(low, high, float(place), isinstance(defaults[name], int))
                for name, (low, high), place in zip(names, limits, row, strict=True)
            }
            is_start = all(drawn[name] == defaults[name] for name in names)
            if len(found) < BUDGET and not is_start and first | drawn not in found:
                found.append(first | drawn)
    return found


def limits_of(method: str, name: str, default: float) -> tuple[float, float]:
    """What a hyper-parameter is drawn between: within reach of the default, and of what the method declares."""
    field = next(field for field in fields(registry.get("method", method).target) if field.name == name)
    reach = REACH_OF_COUNTS if isinstance(default, int) or name == "epochs" else REACH
    return max(default / reach, field.metadata["low"]), min(default * reach, field.metadata["high"])


def _between(low: float, high: float, place: float, whole: bool) -> float:
    """From low (place 0) to high (1) on a logarithmic scale, rounded, and never outside."""
    value = math.exp(math.log(low) + place * math.log(high / low))
    rounded = round(value) if whole else float(f"{value:.2g}")
    return min(max(rounded, math.ceil(low) if whole else low), math.floor(high) if whole else high)


def with_settings(task: TaskSpec, methods: dict[str, Settings]) -> TaskSpec:
    """The task with these settings in place of its own."""
    return task.model_copy(update={"methods": methods})


# -- how it is tried -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trial:
    """One setting of one method on one task. Anchors stand among them for comparison.

    Attributes:
        task: Its name.
        method: Its name, `original` or `retrain`.
        number: 0 is the start.
        settings: What differs from the method's own defaults, as JSON.
        gap: Mean size of the gap of the leading attack's AUC to the retrained model's; None if there is no number.
        gaps: The signed gap at each seed.
        loss: Points of utility lost beyond what retraining loses, of the utility that suffers most.
        out: Why it cannot be chosen; empty if it can.
        seconds: That unlearning takes.
    """

    task: str
    method: str
    number: int
    settings: str
    gap: float | None = None
    gaps: str = ""
    loss: float | None = None
    out: str = ""
    seconds: float | None = None


def work_on(suite: Suite, task: TaskSpec, candidates: dict[str, list[Settings]], where: Options) -> Plan:
    """Every setting of every method, and exact retraining, as one plan."""
    whole = Plan(suite.name)
    known = Known(Records(where.results).keys(), Store(where.store).keys())

    def add(methods: dict[str, Settings], seeds: Sequence[int]) -> None:
        part = suite.model_copy(update={"tasks": [with_settings(task, methods)], "methods": list(methods)})
        options = Options(where.store, where.results, where.data, seeds=tuple(seeds), metrics=METRICS)
        whole.jobs.update(make_plan(part, options, partial(_fingerprint, where), known).jobs)

    add({ORACLE: {}}, ORACLE_SEEDS)
    for number in range(BUDGET):
        add({name: tried[number] for name, tried in candidates.items() if number < len(tried)}, SEEDS)
    whole.jobs = {
        key: job | {"counts_flops": False} for key, job in whole.jobs.items() if not job["run"].get("placebo")
    }
    return whole


def run(work: Plan, workers: int, console: Console) -> None:
    """Do it; a run that takes too long is given up, and leaves no record."""
    execute(work, Local(workers=workers), workers, Plain(console), Limits(SECONDS))


def judged(task: TaskSpec, candidates: dict[str, list[Settings]], records: Sequence[Record]) -> list[Trial]:
    """What the benchmark's own report makes of each setting of a task's methods."""
    mine = [record for record in records if record.task == task.name and not record.run.placebo]
    exact = [record for record in mine if record.run.method == ORACLE]
    (reference,) = summarise(exact).tasks
    found = [_trial(reference, ORACLE, 0, {})]
    for number in range(BUDGET):
        tried = {name: settings[number] for name, settings in candidates.items() if number < len(settings)}
        params = {name: resolve_method(name, with_settings(task, tried), SUITE) for name in tried}
        runs = [record for record in mine if record.run.params == params.get(record.run.method)]
        (table,) = summarise([*(record for record in exact if record.run.seed in SEEDS), *runs]).tasks
        table = replace(table, columns=reference.columns)  # with the floor of all of the oracle's seeds
        found += [_trial(table, name, number, settings) for name, settings in tried.items()]
        found += [_trial(table, ORIGINAL, 0, {})] if number == 0 else []
    return sorted(found, key=lambda trial: (trial.method not in ANCHORS, trial.method, trial.number))


def _trial(table: TaskSummary, method: str, number: int, tried: Settings) -> Trial:
    row = next((row for row in table.rows if row.name == method), None)
    trial = Trial(table.name, method, number, json.dumps(tried))
    if row is None or (row.kind == "method" and row.n_seeds < len(SEEDS)):
        return replace(trial, out=f"not done in {SECONDS} s")
    trial = replace(trial, seconds=None if row.seconds is None else round(row.seconds.mean, 2))
    if row.failed:
        return replace(trial, out=row.status)
    attack = row.cells[table.primary or ""]
    losses = [
        in_points(loss(row.cells[column.name], column), column.unit) or 0.0
        for column in table.headlines
        if column.role == "utility"
    ]
    lost = row.kind == "method" and "utility lost" in flags(row, table)
    return replace(
        trial,
        gap=round(attack.distance.mean, 4),
        gaps=" ".join(f"{gap:+.3f}" for gap in attack.gaps.values()),
        loss=round(max(losses), 2),
        out="collapsed" if row.collapsed else "utility lost" if lost else "",
    )


def _fingerprint(where: Options, task: TaskSpec) -> str:
    return DataCache(where.store / "datasets").fingerprint(make("dataset", task.dataset, task.name).files(where.data))


# -- what is chosen ------------------------------------------------------------------------------------------


def choose(trials: Iterable[Trial]) -> Trial:
    """The rule. Of one method's trials on one task: the smallest gap among those that are not out; else the start."""
    ordered = sorted(trials, key=lambda trial: trial.number)
    standing = [trial for trial in ordered if not trial.out and trial.gap is not None]
    return min(standing, key=lambda trial: trial.gap or 0.0, default=ordered[0])


def by_method(trials: Iterable[Trial], task: str) -> dict[str, list[Trial]]:
    """Method -> its trials on a task; anchors among them."""
    found: dict[str, list[Trial]] = {}
    for trial in sorted(trials, key=lambda trial: (trial.method not in ANCHORS, trial.method)):
        if trial.task == task:
            found.setdefault(trial.method, []).append(trial)
    return found


def chosen(trials: Iterable[Trial], task: TaskSpec) -> dict[str, Settings]:
    """What a task's table of settings holds: method -> what was chosen, without what is its default anyway."""
    found = {}
    for method, tried in by_method(trials, task.name).items():
        if method not in ANCHORS:
            defaults = resolve_method(method, with_settings(task, {}), SUITE)
            best: Settings = json.loads(choose(tried).settings)
            found[method] = {name: value for name, value in best.items() if value != defaults[name]}
    return {method: best for method, best in found.items() if best}


def remark(tried: Sequence[Trial], original: Trial) -> str:
    """What a reader must know of a method's search."""
    best = choose(tried)
    if best.out:
        counts = Counter(trial.out for trial in tried)
        return "start kept, nothing stands: " + ", ".join(f"{word} ({n})" for word, n in counts.items())
    words = [] if best.number else ["start kept"]
    if best.gap is not None and original.gap is not None and best.gap > IDLE * original.gap:
        words.append("next to nothing is forgotten")
    return "; ".join(words)


def read(path: Path) -> list[Trial]:
    """The trials of a file."""
    kinds = {"number": int, "gap": float, "loss": float, "seconds": float}
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [Trial(**{name: kinds.get(name, str)(text) for name, text in row.items() if text}) for row in rows]


def write(path: Path, trials: Sequence[Trial]) -> None:
    """Leave the trials in a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, [field.name for field in fields(Trial)], lineterminator="\n")
        table.writeheader()
        table.writerows(asdict(trial) for trial in trials)


# -- commands ------------------------------------------------------------------------------------------------

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


@app.command("try")
def try_command(
    store: Annotated[Path, typer.Option()],
    results: Annotated[Path, typer.Option()],
    task: Annotated[str, typer.Option(help="Wildcards allowed.")] = "*",
    method: Annotated[str, typer.Option(help="Wildcards allowed.")] = "*",
    workers: int = os.cpu_count() or 1,
    out: Path = TRIED,
) -> None:
    """Try every setting on the tasks that fit, one by one; a task's rows are written when it is done."""
    suite = load_suite(SUITE, SUITES)
    where = Options(store.resolve(), results.resolve(), store.resolve() / "data")
    console = Console(width=200)
    for one in (one for one in suite.tasks if fnmatchcase(one.name, task)):
        names = [name for name in STRENGTH if fnmatchcase(name, method) and applicability(name, one) is None]
        candidates = {name: settings(name, one) for name in names}
        run(work_on(suite, one, candidates, where), workers, console)
        trials = judged(one, candidates, list(Records(where.results).read()))
        before = read(out) if out.exists() else []
        new = {(trial.task, trial.method) for trial in trials}
        write(out, [*(trial for trial in before if (trial.task, trial.method) not in new), *trials])
        for name, tried in by_method(trials, one.name).items():
            best = choose(tried)
            console.print(one.name, name, tried[0].gap, "->", best.gap, best.settings, best.out, markup=False)


@app.command("write")
def write_command() -> None:
    """Put what was chosen into the suite and the tables of docs/TUNING.md."""
    trials, suite = read(TRIED), load_suite(SUITE, SUITES)
    path = SUITES / f"{SUITE}.toml"
    text = path.read_text()
    for task in suite.tasks:
        lines = "".join(f"{name} = {_inline(best)}\n" for name, best in sorted(chosen(trials, task).items()))
        block = rf'(name = "{re.escape(task.name)}"\n.*?\[tasks\.methods\]\n)(?:[^\n]+\n)*'
        text = re.sub(block, partial(_with_new_end, lines), text, count=1, flags=re.DOTALL)
    path.write_text(text)
    tables = "\n".join(table(task.name, by_method(trials, task.name)) for task in suite.tasks)
    block = r"(<!-- tables:begin -->\n).*(?=<!-- tables:end -->)"
    PAGE.write_text(re.sub(block, partial(_with_new_end, f"\n{tables}\n"), PAGE.read_text(), flags=re.DOTALL))


def _with_new_end(end: str, found: re.Match[str]) -> str:
    return found[1] + end


def table(task: str, trials: dict[str, list[Trial]]) -> str:
    """One task's search as Markdown."""
    (original,), (oracle,) = (trials[name] for name in ANCHORS)
    lines = [
        f"### {task}",
        "",
        f"Gap of doing nothing {_gap(original)}, of exact retraining {_gap(oracle)}.",
        "",
        "| method | gap at start | gap chosen | points lost | chosen | remarks |",
        "| :--- | ---: | ---: | ---: | :--- | :--- |",
    ]
    for method, tried in trials.items():
        if method not in ANCHORS:
            best = choose(tried)
            drawn = ", ".join(f"{n} {json.loads(best.settings)[n]:g}" for n in STRENGTH[method] if best.number)
            points = "–" if best.loss is None else f"{best.loss:.1f}"
            cells = (method, _gap(tried[0]), _gap(best), points, drawn, remark(tried, original))
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _gap(trial: Trial) -> str:
    """In brackets where it does not count."""
    text = "" if trial.gap is None else f"{trial.gap:.3f}".removeprefix("0")
    return f"({text or trial.out})" if trial.out else text


def _inline(values: Settings) -> str:
    """An inline table of TOML, with floats as people write them: 3e-4, not 0.0003 or 3e-04."""
    return "{ " + ", ".join(f"{name} = {_plain(value)}" for name, value in values.items()) + " }"


def _plain(value: Any) -> str:
    if isinstance(value, float) and 0 < value < 1e-3:
        digits, _, power = f"{value:.6e}".partition("e")
        return f"{digits.rstrip('0').rstrip('.')}e{int(power)}"
    return json.dumps(value)


if __name__ == "__main__":
    app()
