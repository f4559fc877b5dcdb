"""Training in shards and slices, and SISA on it: exact, and dearer or cheaper by what the forget set touches."""

from collections import Counter
from types import SimpleNamespace

import pytest
import torch

from benchmark import smoke
from benchmark.data import ExampleSet, join
from benchmark.errors import BenchmarkError
from benchmark.methods.sisa import Sisa
from benchmark.plan import SUITES
from benchmark.report.sharding import beside_one_model
from benchmark.shards import Artefacts, Cut, ShardedClassifier, ShardTraining, epochs_of, packed, unpacked
from benchmark.specs import Recipe, Shards, derive_seed, load_suite
from benchmark.training import train
from tests import tiny

RECIPE = Recipe(lr=0.05, epochs=6, batch_size=8)
HOW = Shards(count=3, slices=3)
DATA = smoke.sets_of("random")
SHARDS = {"tasks.0.shards": {"count": 2, "slices": 2}, "methods": ["sisa", "no_op", "retrain"]}


def training(how: Shards = HOW) -> ShardTraining:
    return ShardTraining(lambda seed: smoke.small_learner("supervised", seed), how, RECIPE, 7, smoke.CPU)


def examples(*names: str) -> ExampleSet:
    return ExampleSet(join([DATA[name] for name in names]), "original", smoke.CPU)


def trained(how: Shards, *names: str) -> list[dict[str, torch.Tensor]]:
    """What is left of each shard's training on some of the sets; shards and slices are those of all images."""
    cut = Cut.at_random(DATA, how, seed=3).of(join([DATA[name] for name in names]))
    return [packed(dict(training(how).states(examples(*names), cut, shard))) for shard in range(how.count)]


def unlearned(how: Shards, forget: torch.Tensor) -> tuple[ShardedClassifier, list[dict[str, float]]]:
    """SISA on the ensemble of all images, when these of the forget set (bool) must go."""
    stored = trained(how, "forget", "retain")
    cut, log = Cut.at_random(DATA, how, seed=3), []
    gone, left = DATA["forget"].select(forget), DATA["forget"].select(~forget)
    stay = join([left, DATA["retain"]])
    artefacts = Artefacts(
        cut.of(gone), cut.of(stay), training(how), lambda shard, state: unpacked(stored[shard], state), log
    )
    learner = ShardedClassifier([smoke.small_learner("supervised") for _ in stored], "mean")
    for member, weights in zip(learner.models(), stored, strict=True):
        member.load_state_dict(unpacked(weights, "trained"))
    request = SimpleNamespace(artefacts=artefacts, retain=ExampleSet(stay, "retain", smoke.CPU))
    return Sisa().unlearn(learner, request), log


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_shards_and_slices_part_the_images_evenly_and_whoever_is_left_keeps_their_place():
    whole = Cut.at_random(DATA, HOW, seed=3)
    assert max(Counter(whole.shard.tolist()).values()) - min(Counter(whole.shard.tolist()).values()) <= 1
    sizes = Counter(zip(whole.shard.tolist(), whole.slice.tolist(), strict=True))
    assert len(sizes) == 9
    assert max(sizes.values()) - min(sizes.values()) <= 1
    places = dict(
        zip(whole.indices.tolist(), zip(whole.shard.tolist(), whole.slice.tolist(), strict=True), strict=True)
    )
    rest = whole.of(DATA["retain"])
    assert [places[i] for i in rest.indices.tolist()] == list(
        zip(rest.shard.tolist(), rest.slice.tolist(), strict=True)
    )
    assert not torch.equal(Cut.at_random(DATA, HOW, seed=4).shard, whole.shard)


@pytest.mark.parametrize(("epochs", "slices"), [(30, 5), (120, 1), (15, 20), (7, 3)])
def test_the_epochs_of_all_slices_see_about_as_many_images_as_those_of_the_whole_shard(epochs, slices):
    each = epochs_of(epochs, slices)
    assert len(each) == slices
    seen = sum(count * number / slices for number, count in enumerate(each, start=1))
    assert epochs - 1 < seen < epochs + 1


def test_sisa_is_bit_for_bit_the_ensemble_that_was_trained_on_the_retain_set():
    result, log = unlearned(HOW, torch.ones(8, dtype=torch.bool))
    exact = trained(HOW, "retain")
    assert len(log) == len(Cut.at_random(DATA, HOW, seed=3).of(DATA["forget"]).first_slices())
    for member, weights in zip(result.models(), exact, strict=True):
        assert same(member.state_dict(), unpacked(weights, "trained"))


def test_shards_without_a_forgotten_image_and_slices_before_one_stay_as_they_are():
    cut = Cut.at_random(DATA, HOW, seed=3).of(DATA["forget"])
    late = int(cut.slice.argmax())
    assert cut.slice[late] > 0
    one = torch.arange(8) == late
    result, log = unlearned(HOW, one)
    before = trained(HOW, "forget", "retain")
    shard, first = int(cut.shard[late]), int(cut.slice[late])
    assert [(row["shard"], row["from_slice"]) for row in log] == [(shard, first)]
    changed = [
        not same(member.state_dict(), unpacked(weights, "trained"))
        for member, weights in zip(result.models(), before, strict=True)
    ]
    assert changed == [number == shard for number in range(HOW.count)]
    again = sum(epochs_of(RECIPE.epochs, HOW.slices)[first:]) * len(join([DATA["forget"], DATA["retain"]]))
    assert 0 < log[0]["images"] < again


def test_one_shard_with_one_slice_is_plain_training():
    (weights,) = trained(Shards(count=1, slices=1), "retain")
    plain = train(training().build, examples("retain"), RECIPE, derive_seed(7, "shard", 0), smoke.CPU)
    assert same(unpacked(weights, "trained"), plain.state_dict())


def test_members_vote_by_their_mean_probability_or_by_the_majority():
    members = [smoke.small_learner("supervised", seed).eval() for seed in range(3)]
    images = DATA["retain"].images / 255
    each = torch.stack([member.predict(images).softmax(1) for member in members])
    mean = ShardedClassifier(members, "mean")
    assert torch.allclose(mean.predict(images).exp(), each.mean(0), atol=1e-6)
    votes = torch.stack([(each.argmax(2) == label).sum(0) for label in range(smoke.CLASSES)], dim=1)
    shares = ShardedClassifier(members, "majority").predict(images).exp()
    assert torch.allclose(shares, votes / 3, atol=2e-3)
    clear = votes.max(1).values > 1
    assert torch.equal(shares.argmax(1)[clear], votes.argmax(1)[clear])
    assert mean.embed(images).shape == (len(images), sum(member.embed(images).shape[1] for member in members))


def test_a_task_in_shards_has_jobs_of_its_own_and_takes_only_methods_that_can_use_it(tmp_path):
    bench = tiny.Bench(tmp_path, SHARDS)
    plan = bench.plan()
    jobs = {(job["run"]["task"]["name"], job["role"]): job for job in plan.jobs.values()}
    sharded = "tiny-random.sharded2x2"
    assert {role for task, role in jobs if task == sharded} == {
        *(f"{role}{shard}" for role in ("original", "retrained") for shard in ("", ".shard0", ".shard1")),
        "sisa",
        "no_op",
    }
    assert {role for task, role in jobs if task == "tiny-random"} == {"original", "retrained", "no_op", "retrain"}
    parts = {jobs[sharded, f"original.shard{n}"]["key"] for n in range(2)}
    assert set(jobs[sharded, "original"]["needs"]) == parts
    assert [(method, why) for _, method, why in plan.not_applicable] == [
        ("sisa", f"reads what training in shards leaves; see {sharded}")
    ]
    assert jobs[sharded, "no_op"]["keys"]["dataset"] == jobs["tiny-random", "no_op"]["keys"]["dataset"]
    without = bench.plan({"methods": ["no_op"]})
    assert {job["run"]["task"]["name"] for job in without.jobs.values()} == {"tiny-random"}


def test_a_run_on_shards_leaves_what_it_kept_and_what_it_took(tmp_path):
    bench = tiny.Bench(tmp_path, SHARDS)
    assert {result["status"] for _, result in bench.work()} <= {"ok", "no_change", "collapsed"}
    records = {(record.task, record.run.method): record for record in bench.records}
    record = records["tiny-random.sharded2x2", "sisa"]
    whole = records["tiny-random", "no_op"]
    assert record.oracle
    assert record.uses == ["artefacts", "retain"]
    assert record.cost.artefact_bytes == sum(
        bench.store.meta(record.artefacts[f"original.shard{n}"])["bytes"] for n in range(2)
    )
    assert record.cost.train_seconds > 0
    assert {row["shard"] for row in record.log} <= {0.0, 1.0}
    assert record.sizes == whole.sizes
    assert not bench.plan().jobs
    sentences = beside_one_model([record], {"tiny-random": [whole]})
    assert sentences[0].startswith("Models of 2 shards with 2 slices each, which keep ")
    assert "(tiny-random)" in sentences[1]
    assert beside_one_model([whole], {}) == []


def test_a_lost_shard_is_trained_again_and_gives_the_same_record(tmp_path):
    bench = tiny.Bench(tmp_path, SHARDS)
    bench.work()
    (before,) = (record for record in bench.records if record.run.method == "sisa")
    for name in ("original.shard0", "unlearned", "unlearned/outputs"):
        key = before.artefacts[name]
        (bench.store.folder / "artefacts" / key[:2] / key / "meta.json").unlink()
    assert not bench.plan().jobs  # the record stands; only a fresh run asks
    bench.work(bench.plan(fresh=True))
    *_, after = (record for record in bench.records if record.run.method == "sisa")
    assert tiny.said(after)["metrics"] == tiny.said(before)["metrics"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"tasks.0.shards": {"count": 0}}, "shards.count"),
        ({"tasks.0.in_shards": True}, "shards = "),
        ({"tasks.0.shards": {"count": 2}, "tasks.0.learner.name": "simclr"}, "supervised"),
        ({"tasks.0.shards": {"count": 2}, "tasks.0.name": "a" * 70}, "64 letters"),
    ],
)
def test_wrong_shards_are_refused_in_a_sentence(tmp_path, changes, sentence):
    with pytest.raises(BenchmarkError, match=sentence.replace("(", r"\(")):
        load_suite(str(tiny.suite_file(tmp_path, changes)), SUITES)
