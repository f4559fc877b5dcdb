"""Jobs from plan to record on sixty digits: what is trained on what, what is kept, what happens when things break."""

import dataclasses
import json
import shutil
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmark import jobs, keys, models, registry
from benchmark.api import info_of
from benchmark.data import TaskData
from benchmark.jobs import Job, Worker, run_job
from benchmark.observe import ATTACKED_SETS, OBSERVED_SETS, observe
from benchmark.plan import Known, Options, Plan, make_plan
from benchmark.specs import Evaluation, Record, Suite
from benchmark.store import Records, Store
from tests import tiny

METRICS = ["accuracy", "encoder_utility", "encodermi", "membership_inference"]
TASK: dict[str, Any] = {
    "name": "tiny",
    "dataset": "digits",
    "scenario": {"name": "random", "fraction": 0.2},
    "split": {"train": 60, "test": 40},
    "learner": {"name": "supervised", "encoder": {"layers": [1, 1], "channels": [8, 16]}},
    "recipe": {"lr": 0.05, "epochs": 8, "batch_size": 8, "schedule": "onecycle"},
    "evaluation": {"views": 3, "retain_probe": 20, "knn_neighbours": 5},
    "methods": {"fine_tune": {"epochs": 1, "batch_size": 16, "lr": 0.01}},
}
MOCO = {
    "learner": {
        "name": "moco",
        "encoder": {"layers": [1, 1], "channels": [8, 16]},
        "hidden": 16,
        "projection": 8,
        "queue_size": 32,
    },
    "views": {"shift": 0.1, "noise": 0.1},
}


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch):
    """Plug-ins and deterministic mode end with the test; memory is not measured here, so garbage can wait."""
    monkeypatch.setattr(jobs, "gc", types.SimpleNamespace(collect=lambda: 0))
    index, before = registry._index, list(registry._index.plugins)
    yield
    added = set(index.plugins) - set(before)
    index.plugins[:] = before
    index.files = {name: (module, path) for name, (module, path) in index.files.items() if path not in added}
    index.components = {name: found for name, found in index.components.items() if found.source not in added}
    torch.use_deterministic_algorithms(False)


@dataclasses.dataclass
class Bench:
    """A store and results of their own, and the jobs that they still lack."""

    folder: Path

    @property
    def store(self) -> Store:
        return Store(self.folder / "store")

    def plan(self, *methods: str, **task: Any) -> Plan:
        suite = Suite(
            name="tests", version=1, description="-", seeds=1, methods=methods, metrics=METRICS, tasks=[TASK | task]
        )
        options = Options(self.folder / "store", self.folder / "results", self.folder / "data", flops=True)
        return make_plan(suite, options, lambda task: "fingerprint", Known(set(), self.store.keys()))

    def run(self, *methods: str, **task: Any) -> dict[str, dict[str, Any]]:
        """Role -> what came of its job; jobs and results travel as JSON."""
        jobs = self.plan(*methods, **task).jobs.values()
        return {job["role"]: json.loads(json.dumps(run_job(json.loads(json.dumps(job))))) for job in jobs}

    def job(self, role: str, *methods: str, **task: Any) -> dict[str, Any]:
        """The job of one role on an empty store."""
        fresh = Bench(self.folder / "nothing").plan(*(methods or ["no_op"]), **task)
        (found,) = (job for job in fresh.jobs.values() if job["role"] == role)
        return found | {"store": str(self.folder / "store"), "results": str(self.folder / "results")}

    def records(self) -> list[Record]:
        return list(Records(self.folder / "results").read())

    def record(self, method: str) -> Record:
        (record,) = (record for record in self.records() if record.run.method == method)
        return record

    def file(self, key: str) -> Path:
        """The only file of an artefact beside its meta.json."""
        (path,) = (p for p in tiny.artefact(self.store, key).iterdir() if p.name != "meta.json")
        return path


@pytest.fixture
def bench(tmp_path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture(scope="module")
def fine_tuned(tmp_path_factory) -> Path:
    """Where all jobs of fine_tune are done."""
    folder = tmp_path_factory.mktemp("done")
    results = Bench(folder).run("fine_tune")
    assert [result["status"] for result in results.values()] == ["ok"] * 3
    assert {"train", "observe"} <= results["original"]["seconds"].keys()
    return folder


@pytest.fixture
def done(tmp_path, fine_tuned) -> Bench:
    """A copy of it."""
    return Bench(shutil.copytree(fine_tuned, tmp_path / "done"))


@pytest.fixture
def plugin(tmp_path) -> Callable[[str, str], None]:
    """Registers a method with the given body of `unlearn`."""

    def write(name: str, body: str, uses: str = "set()") -> None:
        path = tmp_path / f"{name}.py"
        path.write_text(
            "from dataclasses import dataclass\n"
            "import torch\n"
            "from benchmark.api import Method, Optimisation, copy_of, register_method\n"
            f"@register_method({name!r}, paper='-', uses={uses})\n"
            "@dataclass(frozen=True, kw_only=True)\n"
            "class Plugin(Method):\n"
            "    def unlearn(self, learner, request):\n"
            f"        {body}\n"
        )
        registry.add_plugin(path)

    return write


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return first.keys() == second.keys() and all(np.array_equal(value, second[name]) for name, value in first.items())


# What is trained on what


def with_noise_for(names: tuple[str, ...]) -> Callable[..., TaskData]:
    """load_task, but the images of these sets are noise."""
    load = models.load_task

    def noisy(*args: Any) -> TaskData:
        task = load(*args)
        drawn = torch.Generator().manual_seed(0)
        sets = {
            name: dataclasses.replace(
                data, images=torch.randint(256, data.images.shape, dtype=torch.uint8, generator=drawn)
            )
            if name in names
            else data
            for name, data in task.sets.items()
        }
        return dataclasses.replace(task, sets=sets)

    return noisy


@pytest.mark.parametrize("paradigm", [{}, MOCO], ids=["supervised", "moco"])
def test_retrained_model_never_saw_the_forget_set_nor_anything_but_retain(bench, tmp_path, monkeypatch, paradigm):
    noisy = Bench(tmp_path / "noisy")
    for role in ("original", "retrained"):
        run_job(bench.job(role, **paradigm))
    monkeypatch.setattr(models, "load_task", with_noise_for(("forget", "heldout", "third_party", "validation", "test")))
    for role in ("original", "retrained"):
        run_job(noisy.job(role, **paradigm))
    weights = {r: [b.store.weights(bench.job(r, **paradigm)["key"]) for b in (bench, noisy)] for r in models.TRAINED_ON}
    assert same(*weights["retrained"])
    assert not same(*weights["original"]), "the control: the original did see it"


def test_original_never_saw_held_out_third_party_validation_and_test_images(bench, tmp_path, monkeypatch):
    noisy = Bench(tmp_path / "noisy")
    run_job(bench.job("original"))
    monkeypatch.setattr(models, "load_task", with_noise_for(("heldout", "third_party", "validation", "test")))
    run_job(noisy.job("original"))
    key = bench.job("original")["key"]
    assert same(bench.store.weights(key), noisy.store.weights(key))


def test_original_and_retrained_are_described_alike_but_for_their_sets(bench, monkeypatch):
    described = {}
    canonical_hash = keys.canonical_hash

    def spy(value: Any) -> str:
        described[canonical_hash(value)] = value
        return canonical_hash(value)

    monkeypatch.setattr(keys, "canonical_hash", spy)
    own = bench.job("no_op")["keys"]
    original, retrained = (described[own[role]] for role in ("original", "retrained"))
    assert original["sets"] == ["forget", "retain"]
    assert retrained["sets"] == ["retain"]
    assert {**original, "sets": None} == {**retrained, "sets": None}


def test_original_and_retrained_are_trained_by_one_function_that_differs_in_images_and_seed_alone(bench, monkeypatch):
    calls = []
    train = models.train
    monkeypatch.setattr(models, "train", lambda *args: calls.append(args) or train(*args))
    for role in ("original", "retrained"):
        run_job(bench.job(role))
    (_, all_images, *of_original), (_, retained, *of_retrained) = calls
    assert (len(all_images), len(retained)) == (60, 48)
    assert of_original[0] == of_retrained[0], "the recipe"
    assert of_original[1] != of_retrained[1], "the seed: two initialisations"
    held = {bytes(image.numpy().tobytes()) for image in all_images._images}
    assert {bytes(image.numpy().tobytes()) for image in retained._images} < held


def test_baseline_retrain_is_another_model_than_the_reference_it_is_held_against(bench):
    results = bench.run("retrain")
    assert results["retrain"]["status"] == "ok"
    keys = bench.job("retrain", "retrain")["keys"]
    assert not same(bench.store.weights(keys["unlearned"]), bench.store.weights(keys["retrained"]))
    assert bench.record("retrain").oracle
    assert bench.record("retrain").uses == ["retain"]


# Records


def test_a_run_leaves_one_record_with_scores_between_two_anchors(done):
    record = done.record("fine_tune")
    assert record.status == "ok"
    assert record.metrics
    assert record.sizes == {"forget": 12, "heldout": 12, "third_party": 12, "retain": 48, "validation": 0, "test": 40}
    assert record.uses == ["retain"]
    assert record.cost.samples_seen == {"retain": 48}
    assert record.cost.train_seconds > 0
    assert record.cost.retrain_seconds > 0
    assert [row["epoch"] for row in record.log] == [1]


def test_the_anchors_of_a_copy_of_the_original_are_its_own_values(bench):
    bench.run("no_op")
    record = bench.record("no_op")
    assert record.status == "no_change"
    assert all(value.value == value.original for value in record.metrics.values())


@pytest.mark.parametrize("paradigm", [{}, MOCO], ids=["supervised", "moco"])
def test_scores_are_the_same_when_they_are_computed_from_the_store(bench, paradigm):
    first = bench.run("fine_tune", **paradigm)
    one = bench.record("fine_tune")
    shutil.rmtree(bench.folder / "results")
    again = bench.run("fine_tune", **paradigm)
    two = bench.record("fine_tune")
    assert first.keys() == {"original", "retrained", "fine_tune"}
    assert again.keys() == {"fine_tune"}
    assert again["fine_tune"]["seconds"].keys() == {"score"}
    assert one.metrics
    assert one.metrics == two.metrics
    assert one.curves == two.curves
    assert one.key == two.key


def test_what_a_method_notes_is_recorded_as_far_as_it_is_a_number(bench, tmp_path):
    body = "request.log.append({'epoch': 1, 'residual': float('nan'), 'share': 0.5, 'worst': float('inf')})"
    registry.add_plugin(tiny.plugin(tmp_path, "talkative", body))
    bench.run("talkative")
    assert bench.record("talkative").log == [{"epoch": 1.0, "share": 0.5}]


def test_a_run_whose_anchors_are_missing_makes_them_itself_and_alike(done, tmp_path):
    alone = Bench(tmp_path / "alone")
    result = run_job(alone.job("fine_tune", "fine_tune"))
    assert result["status"] == "ok"
    assert {"train", "unlearn", "observe", "score"} <= result["seconds"].keys()
    assert alone.record("fine_tune").metrics == done.record("fine_tune").metrics


# What goes wrong


def test_a_method_that_raises_is_recorded_with_its_traceback_and_the_others_go_on(bench, plugin):
    plugin("broken", "raise RuntimeError('out of luck')")
    results = bench.run("broken", "no_op")
    assert {role: result["status"] for role, result in results.items()} == {
        "original": "ok", "retrained": "ok", "broken": "failed", "no_op": "no_change"
    }  # fmt: skip
    record = bench.record("broken")
    assert record.status == "failed"
    assert "Traceback" in record.error
    assert "broken.py" in record.error
    assert record.error.strip().endswith("RuntimeError: out of luck")
    assert record.metrics == {}
    assert bench.record("no_op").metrics


def test_a_method_that_reaches_for_what_it_does_not_declare_fails_with_a_sentence(bench, plugin):
    plugin("thief", "request.forget.all()", uses="{'retain'}")
    error = bench.run("thief")["thief"]["error"]
    assert error == "method 'thief' reads request.forget, but its `uses` does not declare 'forget'."
    assert bench.record("thief").status == "failed"


def test_an_original_that_cannot_be_trained_fails_its_runs_but_raises_nothing(bench):
    results = bench.run("no_op", recipe=TASK["recipe"] | {"lr": 1e30, "schedule": "constant"})
    assert {result["status"] for result in results.values()} == {"failed"}
    assert results["original"]["error"].startswith("epoch ")
    assert bench.record("no_op").status == "failed"


@pytest.mark.parametrize("body", ["return copy_of(learner)", "return copy_of(learner).eval()"])
def test_a_method_that_returns_a_copy_changed_nothing(bench, plugin, body):
    plugin("copier", body)
    assert bench.run("copier")["copier"]["status"] == "no_change"
    assert bench.record("copier").status == "no_change"


def test_a_method_that_moves_no_parameter_changed_nothing(bench):
    methods = {"fine_tune": {"epochs": 1, "batch_size": 16, "lr": 0.0}}
    assert bench.run("fine_tune", methods=methods)["fine_tune"]["status"] == "no_change"


def test_a_method_that_changes_the_learner_it_was_given_is_not_recorded_as_no_change(bench, plugin):
    plugin("vandal", "learner.classifier.bias.data.add_(1.0); return learner")
    assert bench.run("vandal")["vandal"]["status"] != "no_change"


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_weights_that_are_not_finite_have_diverged(bench, plugin, value):
    spoil = f"twin.classifier.bias.data.fill_(float('{value}'))"
    plugin("spoiler", f"twin = copy_of(learner); {spoil}; return twin")
    result = bench.run("spoiler")["spoiler"]
    assert result["status"] == "diverged"
    record = bench.record("spoiler")
    assert record.status == "diverged"
    assert record.error == "a weight of the unlearned model is not finite."
    assert record.metrics == {}
    assert record.cost.unlearn_seconds > 0
    assert bench.run("spoiler")["spoiler"]["status"] == "diverged", "also from the store"


def test_finite_weights_whose_outputs_overflow_have_diverged(bench, plugin):
    plugin("giant", "twin = copy_of(learner); [p.data.fill_(1e30) for p in twin.parameters()]; return twin")
    assert bench.run("giant")["giant"]["status"] == "diverged"
    assert bench.record("giant").error.startswith("an output of the unlearned model is not finite")


def test_a_loss_that_is_not_finite_has_diverged(bench, plugin):
    objective = "{'nothing': (1.0, lambda batch: twin.classifier.bias.sum() * float('nan'))}"
    steps = f"request.optimise(twin, request.retain, {objective}, Optimisation(lr=0.1, epochs=2, batch_size=8))"
    plugin("climber", f"twin = copy_of(learner); {steps}; return twin", uses="{'retain'}")
    assert bench.run("climber")["climber"]["status"] == "diverged"
    assert bench.record("climber").error.startswith("epoch 1: the loss is nan")


def test_a_model_that_is_worse_than_a_constant_has_collapsed(bench, plugin):
    plugin("wrecker", "twin = copy_of(learner); twin.classifier.weight.data.mul_(-100.0); return twin")
    assert bench.run("wrecker")["wrecker"]["status"] == "collapsed"
    assert bench.record("wrecker").metrics


def test_an_encoder_that_maps_everything_alike_has_collapsed(bench, plugin):
    flat = "[p.data.zero_() for p in twin.encoder.bn1.parameters()]; twin.encoder.layer2[0].bn2.bias.data.fill_(1.0)"
    plugin("flattener", f"twin = copy_of(learner); {flat}; return twin")
    assert bench.run("flattener", **MOCO)["flattener"]["status"] == "collapsed"


# Placebo arms

PLACEBO = {"split": {"train": 60, "test": 40, "placebo": True}}


@pytest.fixture
def watcher(plugin, tmp_path) -> Callable[[], list[set[str]]]:
    """A method that writes down every image that it is given to forget, and what it wrote, call by call."""
    log = tmp_path / "given"
    hexed = "(image * 255).round().to(torch.uint8).numpy().tobytes().hex()"
    write = f"open({str(log)!r}, 'a').write(' '.join({hexed} for image in request.forget.all().images) + chr(10))"
    plugin("watcher", f"{write}; return copy_of(learner)", uses="{'forget'}")
    return lambda: [set(line.split()) for line in log.read_text().splitlines()]


def pixels(data: Any) -> set[str]:
    return {image.numpy().tobytes().hex() for image in data.images}


def test_a_placebo_arm_never_touches_the_forget_set_and_its_record_says_what_it_was(bench, watcher):
    results = bench.run("watcher", **PLACEBO)
    assert results.keys() == {"original", "retrained", "watcher", "watcher (placebo arm)"}
    sets = Worker(Job.model_validate(bench.job("watcher", "watcher", **PLACEBO))).models.data
    given = watcher()
    assert pixels(sets["forget"]).isdisjoint(pixels(sets["placebo"]))
    counted = 2  # each arm once more, for its FLOPs
    assert given == [pixels(sets["forget"])] * counted + [pixels(sets["placebo"])] * counted
    real, placebo = sorted(bench.records(), key=lambda record: record.run.placebo)
    assert (real.run.placebo, placebo.run.placebo) == (False, True)
    assert real.run.model_copy(update={"placebo": True}) == placebo.run
    assert real.uses == placebo.uses == ["forget"]
    assert real.cost.samples_seen == placebo.cost.samples_seen == {"forget": 12}
    assert placebo.sizes["placebo"] == placebo.sizes["forget"] == 12


def test_a_placebo_arm_starts_from_the_same_original_and_is_scored_on_the_real_forget_set(bench):
    method = {"gradient_ascent": {"epochs": 1, "lr": 0.01}}
    bench.run("gradient_ascent", methods=method, **PLACEBO)
    real, placebo = sorted(bench.records(), key=lambda record: record.run.placebo)
    for role in ("original", "retrained"):
        assert placebo.artefacts[role] == real.artefacts[role]
    one, other = (bench.store.arrays(record.artefacts["unlearned/outputs"]) for record in (real, placebo))
    for name in OBSERVED_SETS:
        assert np.array_equal(one[f"{name}/indices"], other[f"{name}/indices"])
        assert not np.array_equal(one[f"{name}/logits"], other[f"{name}/logits"])
    assert "placebo/logits" not in other
    assert placebo.metrics.keys() == real.metrics.keys()
    assert all(value.original == real.metrics[name].original for name, value in placebo.metrics.items())


def test_a_method_that_reads_no_forget_image_runs_once(bench):
    assert bench.run("no_op", "fine_tune", **PLACEBO).keys() == {"original", "retrained", "no_op", "fine_tune"}
    assert not any(record.run.placebo for record in bench.records())


def test_the_original_never_saw_a_placebo_image(bench, tmp_path, monkeypatch):
    noisy = Bench(tmp_path / "noisy")
    run_job(bench.job("original", **PLACEBO))
    monkeypatch.setattr(models, "load_task", with_noise_for(("placebo",)))
    run_job(noisy.job("original", **PLACEBO))
    key = bench.job("original", **PLACEBO)["key"]
    assert same(bench.store.weights(key), noisy.store.weights(key))


# FLOPs


def test_flops_are_those_of_the_layers_forward_and_backward(bench):
    """Digits through a residual network of two blocks; 2 for each multiplication and addition; no bias, no norm."""
    stem = 2 * 9 * 1 * 8 * 8 * 8  # 3 x 3 kernels, 1 -> 8 channels, 8 x 8 pixels
    first = 2 * (2 * 9 * 8 * 8 * 8 * 8)
    second = 2 * 9 * 8 * 16 * 4 * 4 + 2 * 9 * 16 * 16 * 4 * 4 + 2 * 8 * 16 * 4 * 4  # stride 2; a 1 x 1 shortcut
    classifier = 2 * 16 * 10
    forward = stem + first + second + classifier
    step = 3 * forward - stem  # backward: to weights and inputs, though nothing asks for the images' gradient
    methods = {"fine_tune": {"epochs": 2, "batch_size": 16}, "gradient_ascent": {"epochs": 3, "batch_size": 5}}
    bench.run("fine_tune", "gradient_ascent", "no_op", methods=methods)
    assert bench.record("fine_tune").cost.flops == 2 * 48 * step
    assert bench.record("gradient_ascent").cost.flops == 3 * 12 * step
    assert bench.record("no_op").cost.flops == 0


def test_flops_are_counted_at_the_first_seed_and_cost_neither_time_nor_images(bench, watcher):
    bench.run("watcher", seeds=2)
    first, second = sorted(bench.records(), key=lambda record: record.run.seed)
    assert (first.cost.flops, second.cost.flops) == (0, None)
    assert len(watcher()) == 2 + 1
    assert first.cost.samples_seen == second.cost.samples_seen == {"forget": 12}


def test_counting_starts_from_the_original_also_if_the_method_changed_what_it_was_given(bench, plugin):
    plugin("vandal", "learner.classifier.bias.data.add_(1.0); return learner")
    bench.run("vandal")
    artefacts = bench.record("vandal").artefacts
    before, after = (bench.store.weights(artefacts[role])["classifier.bias"] for role in ("original", "unlearned"))
    assert torch.equal(after, before + 1)


def test_what_diverged_is_not_called_again_to_be_counted(bench, plugin, tmp_path):
    called = f"open({str(tmp_path / 'called')!r}, 'a').write('x')"
    plugin("spoiler", f"{called}; twin = copy_of(learner); twin.classifier.bias.data.fill_(float('nan')); return twin")
    assert bench.run("spoiler")["spoiler"]["status"] == "diverged"
    assert (tmp_path / "called").read_text() == "x"
    assert bench.record("spoiler").cost.flops is None


@pytest.mark.parametrize("name", [n for n in registry.names("method") if "[" not in n and n != "sisa"])
def test_the_flops_of_every_method_can_be_counted(name, make_request, original_of):
    target = registry.get("method", name).target
    numbers = [f for f in dataclasses.fields(target) if type(f.default) is int and "low" in f.metadata]
    method = target(**{f.name: max(f.metadata["low"], min(f.default, 4)) for f in numbers})  # a few steps
    paradigm = "moco" if method.refuses("supervised") or "supervised" not in info_of(target).paradigms else "supervised"
    with FlopCounterMode(display=False) as counter:
        method.unlearn(original_of(paradigm), make_request(paradigm))
    assert counter.get_total_flops() > 0 or name == "no_op"


# Damage


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, Path.unlink])
@pytest.mark.parametrize("model", ["original", "retrained", "unlearned"])
def test_damaged_artefacts_are_noticed_and_made_again_with_the_same_values(done, model, damage):
    keys, before = done.job("fine_tune", "fine_tune")["keys"], done.records()
    outputs, weights = done.store.arrays(keys[f"{model}/outputs"]), done.store.weights(keys[model])
    damage(done.file(keys[model]))
    damage(done.file(keys[f"{model}/outputs"]))
    result = run_job(done.job("fine_tune", "fine_tune"))
    assert result["status"] == "ok"
    about = sorted(note.partition(":")[0] for note in result["notes"])
    assert about == sorted(f"artefact {keys[name][:12]}" for name in (model, f"{model}/outputs"))
    assert all("do not match their hash; moved to" in note for note in result["notes"])
    assert same(done.store.arrays(keys[f"{model}/outputs"]), outputs)
    assert same(done.store.weights(keys[model]), weights)
    assert done.records() == before, "a record of what was made again would tell nothing new"
    assert run_job(done.job("fine_tune", "fine_tune"))["notes"] == []


def test_damaged_meta_data_are_noticed(done):
    key = done.job("fine_tune", "fine_tune")["keys"]["unlearned"]
    truncate(tiny.artefact(done.store, key) / "meta.json")
    result = run_job(done.job("fine_tune", "fine_tune"))
    assert result["status"] == "ok"
    assert "meta.json is damaged" in result["notes"][0]
    assert "unlearn" in result["seconds"]


def test_fresh_jobs_make_everything_again(done):
    before = [record.metrics for record in done.records()]
    for role, stages in (("original", {"train", "observe"}), ("fine_tune", {"unlearn", "count", "observe", "score"})):
        result = run_job(done.job(role, "fine_tune") | {"fresh": True})
        assert result["seconds"].keys() == stages
    assert [record.metrics for record in done.records()] == before * 2


# What is observed


@pytest.mark.parametrize("numerics", [{}, {"precision": "bfloat16", "channels_last": True}], ids=["fp32", "bf16"])
@pytest.mark.parametrize("paradigm", [{}, MOCO], ids=["supervised", "moco"])
def test_outputs_are_float32_and_those_of_evaluation_mode(bench, paradigm, numerics):
    recipe = TASK["recipe"] | numerics
    results = bench.run("fine_tune", **paradigm, recipe=recipe)
    assert results["fine_tune"]["status"] == "ok"
    job = Job.model_validate(bench.job("fine_tune", "fine_tune", **paradigm, recipe=recipe))
    worker = Worker(job)
    for role in ("original", "retrained", "unlearned"):
        outputs = bench.store.arrays(job.keys[f"{role}/outputs"])
        learner = worker.models.build(0)
        learner.load_state_dict(bench.store.weights(job.keys[role]))
        learner.eval()
        for name in OBSERVED_SETS:
            images = worker.models.data[name].images.float() / 255
            with torch.no_grad():
                expected = {"features": learner.embed(images)}
                if not paradigm:
                    expected["logits"] = learner.predict(images)
            assert outputs[f"{name}/labels"].tolist() == worker.models.data[name].labels.tolist()
            for what, value in expected.items():
                assert np.array_equal(outputs[f"{name}/{what}"], value.numpy())
        floating = {name: value.dtype for name, value in outputs.items() if value.dtype.kind == "f"}
        assert set(floating.values()) == {np.dtype("float32")}
        if paradigm:
            shapes = {outputs[f"{name}/head_similarities"].shape for name in ATTACKED_SETS}
            assert shapes == {(12, 3), (20, 3)}, "three pairs of three views; twenty retain images are attacked"


@pytest.mark.parametrize("views", [{"shift": 0.1, "noise": 0.1}, {"flip": 0.5, "crop_scale": [0.4, 1.0]}])
def test_fixed_views_depend_neither_on_the_set_nor_on_its_size(make_learner, make_data, views):
    learner, data = make_learner("simclr", views=views), make_data(30)
    groups = [
        {"forget": range(0, 6), "heldout": range(6, 12), "third_party": range(12, 18), "retain": range(18, 30)},
        {"forget": range(20, 30), "heldout": range(0, 3), "third_party": range(3, 20), "retain": range(3, 20)},
    ]
    seen: list[dict[str, dict[int, list[float]]]] = []
    for group in groups:
        sets = {name: data.select(torch.tensor(list(where))) for name, where in group.items()}
        task = TaskData(sets | {"test": sets["heldout"]}, 0, 30, retain_comparable=True, coins=False)
        outputs = observe(learner, task, Evaluation(views=4), view_seed=3, device=torch.device("cpu"))
        rows = {place: {} for place in ("backbone", "head")}
        for place, found in rows.items():
            for name in ATTACKED_SETS:
                for index, row in zip(
                    sets[name].indices.tolist(), outputs[f"{name}/{place}_similarities"], strict=True
                ):
                    np.testing.assert_allclose(row, found.setdefault(index, row), atol=1e-5)
        seen.append(rows)
    for place in ("backbone", "head"):
        first, second = (np.array([rows[place][index] for index in range(30)]) for rows in seen)
        np.testing.assert_allclose(first, second, atol=1e-5)
        assert first.shape == (30, 6)
        assert np.ptp(first, axis=1).min() > 0, "views of one image differ"


def test_fixed_views_are_the_same_for_every_model_and_other_for_another_seed(make_learner, make_data, monkeypatch):
    data = make_data(8)
    sets = dict.fromkeys(OBSERVED_SETS, data)
    task = TaskData(sets, 0, 8, retain_comparable=True, coins=False)
    seen = []
    for model, view_seed in ((1, 3), (2, 3), (1, 4)):
        learner = make_learner("simclr", seed=model)
        views: list[torch.Tensor] = []
        embed = learner.embed
        learner.embed = lambda images, views=views, embed=embed: (views.append(images), embed(images))[1]
        observe(learner, task, Evaluation(views=2), view_seed, torch.device("cpu"))
        seen.append(torch.cat(views))
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])


def test_fixed_views_are_drawn_once_for_all_seeds_and_models_of_a_task(bench, monkeypatch):
    seeds = []
    monkeypatch.setattr(jobs, "observe", lambda *words: seeds.append(words[3]) or observe(*words))
    bench.run("no_op", seeds=2)
    assert len(seeds) == 2 * 3 and len(set(seeds)) == 1
    bench.run("no_op", name="another")
    assert len(set(seeds)) == 2


def test_retain_probe_is_drawn_once_for_all_models_and_sorted(make_learner, make_data):
    data = make_data(30)
    sets = dict.fromkeys(OBSERVED_SETS, data)
    task = TaskData(sets, 0, 30, retain_comparable=True, coins=False)
    probes = [
        observe(make_learner("supervised", seed), task, Evaluation(retain_probe=10), 3, torch.device("cpu"))[
            "retain/probe"
        ]
        for seed in (1, 2)
    ]
    assert np.array_equal(*probes)
    assert len(set(probes[0].tolist())) == 10
    assert np.array_equal(probes[0], np.sort(probes[0]))
