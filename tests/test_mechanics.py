"""What methods have in common: imitation, other positives, edits of weights, sets made of sets, shared descents."""

import pytest
import torch
import torch.nn.functional as F

from benchmark.api import CONTRASTIVE, PARADIGMS
from benchmark.data import ExampleSet, Mixture
from benchmark.learners.base import frozen_statistics
from benchmark.mechanics import (
    answers,
    at_rest,
    edit_weights,
    half_squared_distance,
    kl,
    logits_over,
    loss_term,
    names_in,
    plain_views,
    pointwise_distance,
    relational_distance,
    replace_parts,
    seen_features,
    sign_step,
    split_blocks,
    steps_of,
    views_with_other_positives,
    weights_of,
    with_copies,
)

ALL = sorted(PARADIGMS)
CPU = torch.device("cpu")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


# Imitation


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_kl_is_the_mean_over_examples_and_not_over_classes(temperature):
    teacher, student = torch.randn(2, 6, 5, generator=seeded(), dtype=torch.double)
    t, s = ((logits / temperature).softmax(1) for logits in (teacher, student))
    assert kl(teacher, student, temperature).item() == pytest.approx(float((t * (t / s).log()).sum() / 6))
    assert kl(teacher, teacher, temperature).item() == pytest.approx(0, abs=1e-12)


def test_pointwise_distance_is_zero_for_parallel_features_and_two_for_opposite_ones():
    features = torch.randn(4, 3, generator=seeded())
    for factor, distance in ((3.0, 0.0), (-0.5, 2.0)):
        assert pointwise_distance(features, factor * features).item() == pytest.approx(distance, abs=1e-6)


def test_relational_distance_sees_similarities_alone_and_no_image_s_own():
    teacher = torch.randn(5, 3, generator=seeded(), dtype=torch.double)
    turned = teacher @ torch.linalg.qr(torch.randn(3, 3, generator=seeded(1), dtype=torch.double)).Q
    assert relational_distance(teacher, 2 * turned).item() == pytest.approx(0, abs=1e-12)
    other = torch.randn(5, 3, generator=seeded(2), dtype=torch.double)
    assert relational_distance(teacher, other) > 0
    rows = []
    for features in (teacher, other):
        unit = F.normalize(features)
        scaled = (unit @ unit.T / 0.1).fill_diagonal_(-float("inf"))
        rows.append(scaled.softmax(1))
    t, s = rows
    by_hand = torch.where(t > 0, t * (t / s).log(), 0.0).sum() / 5
    assert relational_distance(teacher, other).item() == pytest.approx(by_hand.item())


@pytest.mark.parametrize("paradigm", ALL)
def test_features_seen_on_the_way_give_the_answers_of_a_pass_of_their_own(make_learner, make_set, paradigm):
    learner, batch = make_learner(paradigm).eval(), make_set().all()
    views = learner.views(batch.images, seeded())
    with seen_features(learner) as seen:
        learner.view_loss(views, batch.labels)
    learner.view_loss(views, batch.labels)
    assert len(seen) == {"supervised": 1, "moco": 1}.get(paradigm, 2)
    torch.testing.assert_close(answers(learner, seen[0]), answers(learner, learner.embed(views[0])))
    expected = learner.predict(views[0]) if paradigm == "supervised" else learner.embed(views[0])
    torch.testing.assert_close(answers(learner, seen[0]), expected)


def test_logits_are_read_in_evaluation_mode_and_counted(make_learner, make_set):
    learner, examples = make_learner("supervised").train(), make_set()
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    logits = logits_over(learner, examples, batch_size=10)
    assert learner.training
    assert all(torch.equal(value, before[name]) for name, value in learner.state_dict().items())
    assert not logits.requires_grad
    torch.testing.assert_close(logits, learner.eval().predict(examples.all().images))
    assert examples.samples_seen == 48


# Terms


@pytest.mark.parametrize(("bn", "moves"), [("train", True), ("frozen", False)])
@pytest.mark.parametrize("paradigm", ALL)
def test_loss_term_is_the_training_loss_with_statistics_and_keys_as_is_said(
    make_learner, make_set, paradigm, bn, moves
):
    for remember in (True, False):
        learner, twin, batch = make_learner(paradigm).train(), make_learner(paradigm).train(), make_set().all()
        statistics = learner.encoder.bn1.running_mean.clone()
        queue = {name: value.clone() for name, value in learner.state_dict().items() if "queue" in name}
        loss = loss_term(learner, seeded(3), bn, remember)(batch)
        with frozen_statistics(twin, bn == "frozen", keys=False):
            assert loss.item() == twin.loss(batch.images, batch.labels, seeded(3)).item()
        learner.after_step()
        assert torch.equal(learner.encoder.bn1.running_mean, statistics) != moves
        if queue:
            assert torch.equal(learner.queue, queue["queue"]) != remember


def test_modules_at_rest_are_in_evaluation_mode_and_wake_as_they_were(make_learner):
    learner = make_learner("moco").train()
    learner.encoder.bn1.eval()
    modes = [module.training for module in learner.modules()]
    with at_rest(learner.encoder, learner.key_encoder):
        assert not any(module.training for module in learner.encoder.modules())
        assert learner.training and learner.head.training
    assert [module.training for module in learner.modules()] == modes


def test_plain_views_are_the_image_in_classifiers_and_training_views_elsewhere(make_learner, make_set):
    images = make_set().all().images
    (view,) = plain_views(make_learner("supervised"), images, seeded())
    assert view is images
    learner = make_learner("moco")
    pairs = zip(plain_views(learner, images, seeded()), learner.views(images, seeded()), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)


@pytest.mark.parametrize("paradigm", ALL)
@pytest.mark.parametrize(("images", "size"), [(24, 8), (25, 8), (5, 8)])
def test_steps_of_a_pass_are_those_that_it_takes(make_learner, make_request, make_data, paradigm, images, size):
    from benchmark.specs import Optimisation

    learner, request = make_learner(paradigm), make_request(paradigm)
    examples = ExampleSet(make_data(images), "retain", CPU)
    descent = request.descent(learner, Optimisation(lr=0.0, epochs=1, batch_size=size))
    for _ in descent.epochs():
        descent.over(examples, {"u": (1.0, loss_term(learner, seeded()))}, seeded())
    assert descent.done == steps_of(learner, images, size)


# Positives


@pytest.mark.parametrize("paradigm", sorted(CONTRASTIVE))
def test_positives_of_forget_images_are_views_of_other_forget_images(make_learner, make_set, paradigm):
    learner = make_learner(paradigm, views={})
    forget, retain = make_set("forget", count=8, seed=1), make_set("retain", count=24, seed=2)
    partners, met = seeded(5), set()
    for _ in range(60):
        batch = Mixture(forget, retain, name="retain").all()
        rows = batch.part(0)
        first, second = views_with_other_positives(learner, batch, forget, rows, seeded(), partners)
        assert torch.equal(first, batch.images)
        assert torch.equal(second[~rows], batch.images[~rows])
        matches = (second[rows][:, None] == first[rows][None]).flatten(2).all(2)
        assert torch.equal(matches.sum(1), torch.ones(8, dtype=torch.long))
        met |= {tuple(pair) for pair in matches.nonzero().tolist()}
    assert met == {(one, other) for one in range(8) for other in range(8) if one != other}


@pytest.mark.parametrize("paradigm", sorted(CONTRASTIVE))
def test_without_forget_images_views_are_those_of_the_learner_and_no_partner_is_drawn(make_learner, make_set, paradigm):
    learner, batch, partners = make_learner(paradigm), make_set().all(), seeded(5)
    state = partners.get_state()
    nobody = torch.zeros(len(batch), dtype=torch.bool)
    drawn = views_with_other_positives(learner, batch, make_set("forget"), nobody, seeded(), partners)
    assert all(torch.equal(*pair) for pair in zip(drawn, learner.views(batch.images, seeded()), strict=True))
    assert torch.equal(partners.get_state(), state)


def test_only_keys_of_the_rows_that_are_kept_enter_the_queue(make_learner, make_set):
    learner, batch = make_learner("moco").train(), make_set(count=6).all()
    start, rows = int(learner.queue_state[0]), torch.tensor([True, False, True, False, False, True])
    before = learner.queue.clone()
    views = learner.views(batch.images, seeded())
    learner.view_loss(views, batch.labels)
    keys = learner._step_keys.clone()
    learner.keep_keys(rows)
    learner.after_step()
    assert torch.equal(learner.queue[start : start + 3], keys[rows])
    assert torch.equal(learner.queue[start + 3 :], before[start + 3 :])


# Weights


@pytest.mark.parametrize("paradigm", ALL)
def test_an_edit_reaches_weights_and_momentum_copies_under_one_name(make_learner, paradigm):
    learner, before = make_learner(paradigm), make_learner(paradigm).state_dict()
    names = []
    edit_weights(learner, lambda name, weight: names.append(name) or 2 * weight + 1)
    trainable = [name for name, _ in learner.trainable()]
    copies = [name for name, _ in learner.named_parameters() if name not in trainable]
    assert len(names) == len(trainable) + len(copies)
    assert set(names) == set(trainable)
    for name, value in learner.state_dict().items():
        edited = name in trainable or name in copies
        assert torch.equal(value, 2 * before[name] + 1 if edited else before[name])


def test_half_squared_distance_has_the_difference_as_its_gradient(make_linear):
    learner, original = make_linear(seed=1), make_linear(seed=2)
    distance = half_squared_distance(learner, original)
    distance.backward()
    start = weights_of(original)
    total = 0.0
    for name, parameter in learner.trainable():
        torch.testing.assert_close(parameter.grad, (parameter - start[name]).detach())
        total += float((parameter - start[name]).detach().square().sum()) / 2
    assert distance.item() == pytest.approx(total, rel=1e-5)
    assert all(parameter.grad is None for parameter in original.parameters())


@pytest.mark.parametrize("paradigm", ALL)
def test_blocks_split_all_weights_in_two(make_learner, paradigm):
    learner = make_learner(paradigm)
    everything = {name for name, _ in learner.trainable()}
    for last in range(len(learner.blocks()) + 2):
        first, rest = split_blocks(learner, last)
        assert len(first) == max(0, len(learner.blocks()) - last)
        assert names_in(learner, first) | names_in(learner, rest) == everything
        assert not names_in(learner, first) & names_in(learner, rest)
        assert all(head in rest for head in learner.heads())


@pytest.mark.parametrize("paradigm", ALL)
def test_parts_are_replaced_with_buffers_and_momentum_copies_and_nothing_else_is(make_learner, paradigm):
    learner, other, before = make_learner(paradigm), make_learner(paradigm, 1), make_learner(paradigm).state_dict()
    other.encoder.bn1.running_mean.fill_(7.0)
    _, last = split_blocks(other, 1)
    replace_parts(learner, [learner.encoder.bn1, *split_blocks(learner, 1)[1]], other)
    theirs = {
        id(t)
        for part in with_copies(other, [other.encoder.bn1, *last])
        for t in part.state_dict(keep_vars=True).values()
    }
    for name, value in other.state_dict(keep_vars=True).items():
        mine = learner.state_dict()[name]
        assert torch.equal(mine, value if id(value) in theirs else before[name])
    shared = {t.data_ptr() for t in learner.state_dict().values()} & {t.data_ptr() for t in other.state_dict().values()}
    assert not shared


# Attacks


def test_sign_step_stays_in_its_ball_and_in_eight_bits_and_raises_the_loss(make_learner, make_set):
    learner, batch = make_learner("supervised").train(), make_set().all()
    before = learner.encoder.bn1.running_mean.clone()
    moved = sign_step(learner, batch.images, batch.labels, 0.1)
    assert (moved - batch.images).abs().max() <= 0.1 + 1 / 510 + 1e-6
    assert moved.min() >= 0 and moved.max() <= 1
    assert torch.equal((moved * 255).round() / 255, moved)
    assert torch.equal(learner.encoder.bn1.running_mean, before)
    assert all(parameter.grad is None for parameter in learner.parameters())
    learner.eval()
    assert learner.view_loss([moved], batch.labels) > learner.view_loss([batch.images], batch.labels)
    assert torch.equal(sign_step(learner, batch.images, batch.labels, 0.0), batch.images)


def test_sign_step_on_a_linear_classifier_lowers_the_margin_by_epsilon_times_the_norm(make_linear, make_set):
    learner, batch = make_linear(classes=2), make_set(classes=2).all()
    inside = batch.images * 0.5 + 0.25
    moved = sign_step(learner, inside, batch.labels, 0.1)
    weight = learner.classifier.weight.detach()
    sign = torch.where(batch.labels == 0, 1.0, -1.0)
    margins = [sign * (learner.predict(x).detach() @ torch.tensor([1.0, -1.0])) for x in (inside, moved)]
    expected = 0.1 * (weight[0] - weight[1]).abs().sum()
    slack = (weight[0] - weight[1]).abs().sum() / 510
    assert ((margins[0] - margins[1] - expected).abs() <= slack + 1e-5).all()


# Sets made of sets


def test_an_altered_set_counts_for_the_set_that_it_was_made_of_and_leaves_it_as_it_was(make_set):
    examples = make_set()
    labels, images = examples.labels, torch.rand(24, 1, 8, 8, generator=seeded())
    some = examples.altered(positions=torch.tensor([3, 1]))
    assert torch.equal(some.all().images, examples.take(torch.tensor([3, 1])).images)
    assert torch.equal(some.labels, labels[[3, 1]])
    other = examples.altered(labels=2 - labels, images=images)
    batch = other.all()
    assert torch.equal(batch.images, images) and torch.equal(batch.labels, 2 - labels)
    assert torch.equal(examples.labels, labels)
    assert examples.samples_seen == some.samples_seen == other.samples_seen == 2 + 2 + 24
    free = examples.altered(images=images[:5], labels=labels[:5], name="noise")
    free.all()
    assert (free.name, free.samples_seen, examples.samples_seen) == ("noise", 5, 28)
    with pytest.raises(ValueError, match="24 images and 3 labels"):
        examples.altered(labels=labels[:3])


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_mixture_draws_from_its_parts_as_one_and_says_which(make_data, channels_last):
    parts = [ExampleSet(make_data(n, seed=n), name, CPU, channels_last) for n, name in ((5, "forget"), (9, "retain"))]
    mixture = Mixture(*parts, name="both")
    assert (len(mixture), mixture.name, mixture.num_classes) == (14, "both", 3)
    seen = []
    for batch in mixture.batches(4, seeded()):
        for image, label, position, origin in zip(
            batch.images, batch.labels, batch.positions, batch.origin, strict=True
        ):
            own = parts[origin].take(position[None])
            assert torch.equal(own.images[0], image) and own.labels[0] == label
            seen.append((int(origin), int(position)))
        assert torch.equal(batch.part(0), batch.origin == 0)
    assert sorted(seen) == [(0, p) for p in range(5)] + [(1, p) for p in range(9)]
    assert mixture.samples_seen == 2 * 14
    assert [part.samples_seen for part in parts] == [10, 18]
    assert torch.equal(mixture.labels, torch.cat([part.labels for part in parts]))


def test_a_mixture_with_an_empty_part_gives_the_batches_of_the_other(make_set, make_data):
    nobody = ExampleSet(make_data(4).select(torch.arange(0)), "forget", CPU)
    alone, mixed = make_set(), Mixture(nobody, make_set(), name="retain")
    for one, other in zip(alone.batches(7, seeded()), mixed.batches(7, seeded()), strict=True):
        assert torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)
        assert torch.equal(one.positions, other.positions) and not other.part(0).any()


def test_a_batch_of_one_set_has_no_parts_and_a_mixture_is_not_altered(make_set):
    with pytest.raises(TypeError, match="only those of a Mixture"):
        make_set().all().part(0)
    with pytest.raises(TypeError, match="alter the parts"):
        Mixture(make_set(), name="one").altered(labels=torch.zeros(24))
