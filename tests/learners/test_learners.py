"""The contract of learners, and each paradigm's loss against one that is written out here by hand."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.api import CONTRASTIVE, PARADIGMS
from benchmark.errors import BenchmarkError
from benchmark.learners.base import Learner, frozen_statistics
from benchmark.learners.encoders import build_encoder

ALL = sorted(PARADIGMS)
ENCODERS = sorted(CONTRASTIVE)
FOLLOWED = ["byol", "moco"]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int = 6, seed: int = 1) -> Tensor:
    return torch.rand(count, 1, 8, 8, generator=seeded(seed))


LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


def storages(module: torch.nn.Module) -> set[int]:
    return {tensor.data_ptr() for tensor in [*module.parameters(), *module.buffers()] if tensor.numel()}


# Losses


@pytest.mark.parametrize("paradigm", ALL)
def test_losses_of_images_average_to_the_loss_of_the_batch(make_learner, paradigm):
    learner = make_learner(paradigm).train()
    each = learner.loss(pictures(), LABELS, seeded(), reduction="none")
    assert each.shape == (6,)
    torch.testing.assert_close(each.mean(), copy.deepcopy(learner).loss(pictures(), LABELS, seeded()))


@pytest.mark.parametrize("paradigm", ALL)
def test_loss_is_the_loss_of_the_views_that_the_generator_draws(make_learner, paradigm):
    learner = make_learner(paradigm).eval()
    views = learner.views(pictures(), seeded(3))
    assert len(views) == learner.view_count == (1 if paradigm == "supervised" else 2)
    assert torch.equal(learner.loss(pictures(), LABELS, seeded(3)), learner.view_loss(views, LABELS))
    assert not torch.equal(learner.loss(pictures(), LABELS, seeded(3)), learner.loss(pictures(), LABELS, seeded(4)))


def test_classifier_loss_is_cross_entropy(make_learner):
    learner = make_learner("supervised").eval()
    logits = learner.predict(pictures()).double()
    by_hand = -(logits.exp() / logits.exp().sum(1, keepdim=True))[torch.arange(6), LABELS].log()
    torch.testing.assert_close(learner.view_loss([pictures()], LABELS, "none").double(), by_hand, rtol=0, atol=1e-5)


@pytest.mark.parametrize("temperature", [0.1, 0.7])
def test_simclr_loss_is_nt_xent(make_learner, temperature):
    learner = make_learner("simclr", temperature=temperature).eval()
    first, second = pictures(seed=1), pictures(seed=2)
    z = F.normalize(torch.cat([learner.project(first), learner.project(second)]).double())
    by_hand = []
    for anchor in range(12):
        similar = z @ z[anchor] / temperature
        others = torch.arange(12) != anchor
        by_hand.append(similar[others].logsumexp(0) - similar[(anchor + 6) % 12])
    by_hand = (torch.stack(by_hand[:6]) + torch.stack(by_hand[6:])) / 2
    losses = learner.view_loss([first, second], LABELS, "none")
    torch.testing.assert_close(losses.double(), by_hand, rtol=0, atol=1e-5)


@pytest.mark.parametrize("valid", [20, 7])
def test_moco_loss_is_info_nce_against_the_valid_part_of_the_queue(make_learner, valid):
    learner = make_learner("moco", temperature=0.2).eval()
    learner.queue_state[1] = valid
    first, second = pictures(seed=1), pictures(seed=2)
    with torch.no_grad():
        query = F.normalize(learner.head(learner.encoder((first - 0.5) / 0.25))).double()
        key = F.normalize(learner.key_head(learner.key_encoder((second - 0.5) / 0.25))).double()
    positive = (query * key).sum(1) / 0.2
    negatives = query @ learner.queue[:valid].double().T / 0.2
    by_hand = torch.cat([positive[:, None], negatives], 1).logsumexp(1) - positive
    losses = learner.view_loss([first, second], LABELS, "none")
    torch.testing.assert_close(losses.double(), by_hand, rtol=0, atol=1e-5)


def test_byol_loss_is_two_minus_twice_the_cosine_in_both_directions(make_learner):
    learner = make_learner("byol").eval()
    first, second = pictures(seed=1), pictures(seed=2)

    def direction(online: Tensor, target: Tensor) -> Tensor:
        online, target = (online - 0.5) / 0.25, (target - 0.5) / 0.25
        predicted = learner.predictor(learner.projector(learner.encoder(online)))
        return 2 - 2 * F.cosine_similarity(predicted, learner.target_projector(learner.target_encoder(target)))

    there, back = direction(first, second), direction(second, first)
    losses = learner.view_loss([first, second], LABELS, "none")
    torch.testing.assert_close(losses, (there + back) / 2)
    for loss in (there, back, losses):
        assert loss.min() >= 0
        assert loss.max() <= 4
    opposite = learner.view_loss([first, second], LABELS)
    learner.predictor.layers[-1].weight.data.neg_()
    learner.predictor.layers[-1].bias.data.neg_()
    torch.testing.assert_close(learner.view_loss([first, second], LABELS), 4 - opposite)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_moco_loss_is_worst_where_the_key_is_opposite_and_every_negative_alike(make_learner, monkeypatch, temperature):
    learner = make_learner("moco", temperature=temperature, queue_size=9).eval()
    bound = math.log(1 + 9 * math.exp(2 / temperature))  # METHODS A2 but for its last digits: 2/tau + log K
    assert bound == pytest.approx(2 / temperature + math.log(9), abs=0.01)
    query = F.normalize(torch.ones(1, 8))
    monkeypatch.setattr(learner, "project", lambda images: query)
    monkeypatch.setattr(learner, "_key", lambda view: -query)
    learner.queue.copy_(query.expand(9, -1))
    worst = learner.view_loss([pictures(1), pictures(1)], LABELS[:1])
    assert worst.item() == pytest.approx(bound, rel=1e-6)


@pytest.mark.parametrize(("paradigm", "negatives"), [("simclr", 10), ("moco", 20)])
def test_contrastive_losses_lie_between_zero_and_their_bound(make_learner, paradigm, negatives):
    learner = make_learner(paradigm, temperature=0.1).eval()
    for seed in range(5):
        losses = learner.view_loss([pictures(seed=seed), pictures(seed=seed + 50)], LABELS, "none")
        assert losses.min() > 0
        assert losses.max() <= 2 / 0.1 + math.log(negatives)


# Confidence


def test_classifier_confidence_is_the_log_odds_of_the_true_class(make_learner):
    learner = make_learner("supervised").eval()
    p = learner.predict(pictures()).double().softmax(1)[torch.arange(6), LABELS]
    confidence = learner.view_confidence([pictures()], LABELS).double()
    torch.testing.assert_close(confidence, (p / (1 - p)).log(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("space", ["head", "encoder"])
@pytest.mark.parametrize("paradigm", ENCODERS)
def test_encoder_confidence_is_the_cosine_of_two_views(make_learner, paradigm, space):
    learner = make_learner(paradigm).eval()
    online, other = {
        ("simclr", "head"): (learner.project, learner.project),
        ("simclr", "encoder"): (learner.embed, learner.embed),
        ("moco", "head"): (learner.project, lambda x: learner.key_head(learner.key_encoder((x - 0.5) / 0.25))),
        ("moco", "encoder"): (learner.embed, lambda x: learner.key_encoder((x - 0.5) / 0.25)),
        ("byol", "head"): (
            lambda x: learner.predictor(learner.project(x)),
            lambda x: learner.target_projector(learner.target_encoder((x - 0.5) / 0.25)),
        ),
        ("byol", "encoder"): (learner.embed, lambda x: learner.target_encoder((x - 0.5) / 0.25)),
    }[paradigm, space]
    first, second = pictures(seed=1), pictures(seed=2)
    u, v = online(first).double(), other(second).double()
    by_hand = (u * v).sum(1) / u.norm(dim=1) / v.norm(dim=1)
    confidence = learner.view_confidence([first, second], LABELS, space).double()
    torch.testing.assert_close(confidence, by_hand, rtol=0, atol=1e-5)


@pytest.mark.parametrize("paradigm", ALL)
def test_confidence_is_differentiable_in_images_and_weights(make_learner, paradigm):
    learner = make_learner(paradigm).eval()
    images = pictures().requires_grad_()
    confidence = learner.confidence(images, LABELS, seeded())
    assert confidence.shape == (6,)
    confidence.sum().backward()
    assert (images.grad.flatten(1).norm(dim=1) > 0).all()
    assert all(p.grad is not None and p.grad.isfinite().all() for _, p in learner.trainable() if p.requires_grad)
    assert all(p.grad is None for _, target in learner.targets() for p in target.parameters())


@pytest.mark.parametrize("paradigm", FOLLOWED)
def test_confidence_takes_no_gradient_through_the_momentum_network(make_learner, paradigm):
    learner = make_learner(paradigm).eval()
    first, second = pictures(seed=1).requires_grad_(), pictures(seed=2).requires_grad_()
    for space in ("head", "encoder"):
        confidence = learner.view_confidence([first, second], LABELS, space)
        mine, theirs = torch.autograd.grad(confidence.sum(), [first, second], allow_unused=True)
        assert mine.norm() > 0
        assert theirs is None


# MoCo's memory


def step(learner: Learner, seed: int, count: int = 4) -> Tensor:
    """A training step without an optimiser; returns the keys that it made, computed by a twin."""
    views = [pictures(count, seed), pictures(count, seed + 100)]
    twin = copy.deepcopy(learner)
    with torch.no_grad():
        keys = F.normalize(twin.key_head(twin.key_encoder((views[1] - 0.5) / 0.25)))
    learner.view_loss(views, torch.zeros(count, dtype=torch.long)).backward()
    learner.after_step()
    return keys


def test_keys_enter_the_queue_only_after_the_step(make_learner):
    learner = make_learner("moco").train()
    before = learner.queue.clone()
    loss = learner.loss(pictures(4), LABELS[:4], seeded())
    assert torch.equal(learner.queue, before)
    loss.backward()
    assert torch.equal(learner.queue, before)
    learner.after_step()
    assert not torch.equal(learner.queue[:4], before[:4])
    assert torch.equal(learner.queue[4:], before[4:])
    learner.after_step()
    assert learner.queue_state.tolist() == [4, 20], "a second step without a loss has no keys to remember"


def test_queue_is_a_ring_that_overwrites_the_oldest_keys(make_learner):
    learner = make_learner("moco", queue_size=10).train()
    first, second, third = (step(learner, seed) for seed in (1, 2, 3))
    torch.testing.assert_close(learner.queue, torch.cat([third[2:], first[2:], second, third[:2]]))
    assert learner.queue_state.tolist() == [2, 10]


def test_queue_smaller_than_a_batch_keeps_its_last_keys(make_learner):
    learner = make_learner("moco", queue_size=3).train()
    keys = step(learner, seed=1, count=5)
    torch.testing.assert_close(learner.queue, keys[-3:])
    assert learner.queue_state.tolist() == [0, 3]


def test_losses_without_gradient_or_out_of_training_remember_nothing(make_learner):
    learner = make_learner("moco")
    before = learner.queue.clone()
    learner.eval().loss(pictures(), LABELS, seeded())
    with torch.no_grad():
        learner.train().loss(pictures(), LABELS, seeded())
    learner.train().confidence(pictures(), LABELS, seeded())
    learner.after_step()
    assert torch.equal(learner.queue, before)


def test_rebuilt_memory_holds_keys_of_the_given_images_alone(make_learner):
    learner = make_learner("moco", views={}).train()
    learner.queue.fill_(float("nan"))
    norms = {name: value.clone() for name, value in learner.state_dict().items() if "queue" not in name}
    images = pictures(7)
    learner.rebuild_memory(iter(images.split(3)), seeded())
    assert learner.training
    assert learner.queue_state.tolist() == [7, 7]
    assert all(torch.equal(value, learner.state_dict()[name]) for name, value in norms.items())
    assert learner.queue.isfinite().all()
    assert not learner.queue[7:].any()
    torch.testing.assert_close(learner.queue[:7], copy.deepcopy(learner).eval()._key(images))
    assert torch.isfinite(learner.loss(images, torch.zeros(7, dtype=torch.long), seeded()))


def test_rebuilding_stops_when_the_memory_is_full(make_learner):
    learner = make_learner("moco", queue_size=5)
    batches = iter(pictures(12).split(3))
    learner.rebuild_memory(batches, seeded())
    assert learner.queue_state.tolist() == [1, 5]
    assert len(list(batches)) == 2


def test_cleared_memory_has_no_negatives(make_learner):
    learner = make_learner("moco").train()
    learner.loss(pictures(), LABELS, seeded())
    learner.clear_memory()
    learner.after_step()
    assert learner.queue_state.tolist() == [0, 0]
    assert not learner.queue.any()
    assert learner.loss(pictures(), LABELS, seeded()).item() == 0


@pytest.mark.parametrize("paradigm", sorted(PARADIGMS - {"moco"}))
def test_learners_without_a_memory_ignore_calls_to_it(make_learner, paradigm):
    learner = make_learner(paradigm)
    before = copy.deepcopy(learner.state_dict())
    learner.rebuild_memory(iter([pictures()]), seeded())
    learner.clear_memory()
    assert all(torch.equal(value, before[name]) for name, value in learner.state_dict().items())


# Momentum copies


@pytest.mark.parametrize("paradigm", FOLLOWED)
def test_momentum_network_is_an_exact_moving_average(make_learner, paradigm):
    learner = make_learner(paradigm).train()
    for _, p in learner.trainable():
        p.data.add_(1.0)
    pairs = [pair for o, t in learner.targets() for pair in zip(o.parameters(), t.parameters(), strict=True)]
    expected = [0.9 * target + 0.1 * online for online, target in pairs]
    buffers = [{n: b.clone() for n, b in target.named_buffers()} for _, target in learner.targets()]
    learner.after_step()
    for (_, target), value in zip(pairs, expected, strict=True):
        torch.testing.assert_close(target, value, rtol=1e-6, atol=1e-6)
    for (_, target), before in zip(learner.targets(), buffers, strict=True):
        assert all(torch.equal(b, before[n]) for n, b in target.named_buffers())


@pytest.mark.parametrize("paradigm", FOLLOWED)
def test_momentum_copies_start_equal_and_take_no_gradient(make_learner, paradigm):
    for online, target in make_learner(paradigm).targets():
        assert all(torch.equal(value, target.state_dict()[n]) for n, value in online.state_dict().items())
        assert not storages(online) & storages(target)
        assert not any(p.requires_grad for p in target.parameters())


# Frozen statistics


@pytest.mark.parametrize("paradigm", ALL)
def test_frozen_statistics_leave_no_trace(make_learner, paradigm):
    learner = make_learner(paradigm).train()
    before = copy.deepcopy(learner.state_dict())
    with frozen_statistics(learner):
        learner.loss(pictures(), LABELS, seeded()).backward()
        learner.confidence(pictures(), LABELS, seeded())
        learner.embed(pictures())
    assert all(torch.equal(value, before[name]) for name, value in learner.state_dict().items())
    assert all(module.training for module in learner.modules())
    learner.after_step()
    if paradigm == "moco":
        assert torch.equal(learner.queue, before["queue"]), "a key was remembered"
    learner.loss(pictures(), LABELS, seeded())
    assert not torch.equal(learner.encoder.bn1.running_mean, before["encoder.bn1.running_mean"]), "still frozen"


def test_frozen_statistics_can_leave_batch_normalisation_alone_and_still_remember_no_key(make_learner):
    learner = make_learner("moco").train()
    before = copy.deepcopy(learner.state_dict())
    with frozen_statistics(learner, batch_norm=False):
        learner.loss(pictures(), LABELS, seeded())
    learner.after_step()
    assert torch.equal(learner.queue, before["queue"])
    assert int(learner.encoder.bn1.num_batches_tracked) == 1


def test_frozen_statistics_are_restored_after_an_error_and_keep_what_was_frozen_before(make_learner):
    learner = make_learner("moco").train()
    learner.encoder.bn1.eval()
    with pytest.raises(ZeroDivisionError), frozen_statistics(learner), frozen_statistics(learner):
        raise ZeroDivisionError
    assert learner.remembers_keys
    assert not learner.encoder.bn1.training
    assert learner.encoder.layer1[0].bn1.training


# Anatomy and copies


@pytest.mark.parametrize("paradigm", ALL)
def test_deep_copy_shares_no_storage(make_learner, paradigm):
    learner = make_learner(paradigm).train()
    learner.loss(pictures(), LABELS, seeded())
    twin = copy.deepcopy(learner)
    assert not storages(learner) & storages(twin)
    assert all(torch.equal(value, twin.state_dict()[name]) for name, value in learner.state_dict().items())
    assert [name for name, _ in twin.trainable()] == [name for name, _ in learner.trainable()]
    for (online, target), (mine, momentum) in zip(twin.targets(), learner.targets(), strict=True):
        assert online is not mine
        assert target is not momentum


@pytest.mark.parametrize("paradigm", ALL)
def test_trainable_is_encoder_and_heads_without_momentum_copies(make_learner, paradigm):
    learner = make_learner(paradigm)
    online = [p for part in [learner.encoder, *learner.heads()] for p in part.parameters()]
    assert {id(p) for _, p in learner.trainable()} == {id(p) for p in online}
    assert all(p.requires_grad for _, p in learner.trainable())
    assert len(learner.targets()) == (2 if paradigm in FOLLOWED else 0)


@pytest.mark.parametrize("paradigm", ALL)
def test_blocks_cover_the_encoder_once_from_input_to_output(make_learner, paradigm):
    encoder = make_learner(paradigm, encoder={"layers": [2, 1], "channels": [8, 16]})
    blocks = encoder.blocks()
    assert len(blocks) == 5, "stem convolution, its normalisation, two blocks of stage one, one of stage two"
    parameters = [id(p) for block in blocks for p in block.parameters()]
    assert parameters == [id(p) for p in encoder.encoder.parameters()]


@pytest.mark.parametrize("paradigm", ALL)
def test_state_round_trips_into_a_learner_of_another_seed(make_learner, paradigm):
    learner = make_learner(paradigm, seed=1).train()
    learner.loss(pictures(), LABELS, seeded()).backward()
    learner.after_step()
    other = make_learner(paradigm, seed=2)
    other.load_state_dict(learner.state_dict())
    for mine, theirs in zip(learner.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)
    learner.eval(), other.eval()
    assert torch.equal(learner.loss(pictures(), LABELS, seeded()), other.loss(pictures(), LABELS, seeded()))


@pytest.mark.parametrize("paradigm", ALL)
def test_embedding_sees_no_views_and_no_neighbours(make_learner, paradigm):
    learner, plain = make_learner(paradigm).eval(), make_learner(paradigm, views={}).eval()
    embedded = learner.embed(pictures())
    assert embedded.shape == (6, 16)
    assert torch.equal(embedded, learner.embed(pictures()))
    assert torch.equal(embedded, plain.embed(pictures()))
    alone = torch.cat([learner.embed(image[None]) for image in pictures()])
    torch.testing.assert_close(embedded, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("paradigm", ENCODERS)
def test_encoders_do_not_classify(make_learner, paradigm):
    with pytest.raises(NotImplementedError, match=paradigm):
        make_learner(paradigm).predict(pictures())


# Building


@pytest.mark.parametrize("paradigm", ALL)
def test_initialisation_is_a_function_of_the_seed_and_leaves_global_random_state_alone(make_learner, paradigm):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = make_learner(paradigm, seed=3).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    again, other = make_learner(paradigm, seed=3).state_dict(), make_learner(paradigm, seed=4).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert not torch.equal(first["encoder.conv1.weight"], other["encoder.conv1.weight"])
    if paradigm == "moco":
        assert not torch.equal(first["queue"], other["queue"])


def test_network_of_timm_gets_a_stem_for_small_images():
    encoder = build_encoder({"name": "resnet18"}, in_channels=1).eval()
    assert encoder.conv1.weight.shape == (64, 1, 3, 3)
    assert encoder.conv1.stride == (1, 1)
    assert isinstance(encoder.maxpool, torch.nn.Identity)
    assert encoder(pictures(2)).shape == (2, encoder.num_features)


def test_network_of_timm_keeps_its_own_stem_if_asked():
    encoder = build_encoder({"name": "resnet18", "stem": "timm"}, in_channels=3)
    assert encoder.conv1.weight.shape == (64, 3, 7, 7)


@pytest.mark.parametrize("stride", [1, 2])
def test_stem_stride_divides_the_side_of_the_feature_map(stride):
    encoder = build_encoder({"layers": [2], "channels": [8], "stem_stride": stride}, in_channels=1)
    assert encoder.forward_features(pictures()).shape == (6, 8, 8 // stride, 8 // stride)


def test_wrong_encoder_name_is_answered_with_the_nearest():
    with pytest.raises(BenchmarkError, match=r"unknown encoder 'resnet81'. Did you mean 'resnet18'\?"):
        build_encoder({"name": "resnet81"}, in_channels=1)


def test_unknown_encoder_option_is_refused_by_name():
    with pytest.raises(BenchmarkError, match=r"encoder: unknown option 'layer'. Did you mean 'layers'\?"):
        build_encoder({"layer": [1]}, in_channels=1)


@pytest.mark.parametrize(("layers", "channels"), [([1, 1], [8]), ([], []), ([1] * 5, [8] * 5)])
def test_layers_and_channels_must_fit_each_other(layers, channels):
    with pytest.raises(BenchmarkError, match="equally long lists of 1 to 4"):
        build_encoder({"layers": layers, "channels": channels}, in_channels=1)


def test_a_single_block_is_refused():
    with pytest.raises(BenchmarkError, match="needs two or more"):
        build_encoder({"layers": [1], "channels": [8]}, in_channels=1)


@pytest.mark.parametrize("paradigm", ALL)
def test_unknown_learner_parameter_is_refused_by_name(make_learner, paradigm):
    with pytest.raises(BenchmarkError, match=rf"learner '{paradigm}': unknown parameter 'temprature'"):
        make_learner(paradigm, temprature=0.1)


def test_bad_view_is_refused_by_name(make_learner):
    with pytest.raises(BenchmarkError, match=r"views: unknown view 'flop'. Did you mean 'flip'\?"):
        make_learner("supervised", views={"flop": 0.5})
    with pytest.raises(BenchmarkError, match="views: flip must be"):
        make_learner("supervised", views={"flip": 2.0})
