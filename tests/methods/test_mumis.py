"""MU-Mis lowers the input sensitivity of an image's own logit against another's, and stops in time."""

import pytest
import torch

from benchmark.data import Forbidden
from benchmark.methods.mumis import MUMis, has_turned, mean_sensitivity, other_classes, squared_sensitivities


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def batch_of(make_request):
    batch = make_request("supervised").forget.all()
    return batch.images, batch.labels, other_classes(batch.labels, 3, generator())


def objective(learner, images, labels, others):
    own, other = squared_sensitivities(learner, images, labels, others)
    return (own - other).mean()


def test_other_classes_are_never_the_own_and_all_are_drawn():
    labels = torch.arange(3).repeat(1000)
    others = other_classes(labels, 3, generator())
    counts = torch.bincount(3 * labels + others, minlength=9).view(3, 3)
    assert counts.diagonal().tolist() == [0, 0, 0]
    assert counts.sum() == 3000
    assert (counts + 1000 * torch.eye(3) > 400).all()


def test_a_linear_model_gives_norms_of_weights_and_their_gradients(make_linear, make_request):
    learner = make_linear()
    images, labels, others = batch_of(make_request)
    loss = objective(learner, images, labels, others)
    weight = learner.classifier.weight
    norms = weight.square().sum(1)
    torch.testing.assert_close(loss, (norms[labels] - norms[others]).mean())
    loss.backward()
    times = torch.bincount(labels, minlength=3) - torch.bincount(others, minlength=3)
    torch.testing.assert_close(weight.grad, 2 * weight.detach() * times[:, None] / len(labels))


def test_what_moves_all_logits_alike_moves_nothing(make_request, original_of):
    learner = original_of("supervised")
    images, labels, others = batch_of(make_request)
    loss = objective(learner, images, labels, others)
    loss.backward()
    assert learner.classifier.bias.grad is None or not learner.classifier.bias.grad.any()
    with torch.no_grad():
        learner.classifier.bias.add_(7.0)
    torch.testing.assert_close(objective(learner, images, labels, others), loss)


def test_images_of_a_batch_do_not_see_each_other(make_request, original_of):
    learner = original_of("supervised")
    images, labels, _ = batch_of(make_request)
    (together,) = squared_sensitivities(learner, images, labels)
    (alone,) = squared_sensitivities(learner, images[:1], labels[:1])
    torch.testing.assert_close(together[:1], alone)


@pytest.mark.parametrize(
    ("history", "delta", "stops"),
    [
        ([1.0, 0.7, 0.6, 0.9], 0.8, True),
        ([1.0, 0.95], 0.8, False),  # high, but still falling
        ([1.0, 0.7, 0.75], 0.8, False),  # it turned, but is low
        ([1.0, 1.1], 1.0, True),  # it never fell
        ([1.0, 0.9, 1.1], 1.5, False),
    ],
)
def test_stop_rule_wants_a_turn_and_a_return(history, delta, stops):
    assert has_turned(history, delta) == stops


def test_it_reads_forget_alone_lowers_its_loss_and_keeps_running_statistics(make_request, original_of):
    request = make_request("supervised", **{n: Forbidden("mumis", n) for n in ("retain", "third_party")})
    original = original_of("supervised")
    images, labels, others = batch_of(make_request)
    result = MUMis(epochs=6, lr=1e-3, delta=1.5, momentum=0.0).unlearn(original, request)
    losses = [row["contribution"] for row in request.log]
    assert losses[-1] < losses[0]
    assert objective(result, images, labels, others) < objective(original, images, labels, others)
    assert torch.equal(result.encoder.bn1.running_mean, original.encoder.bn1.running_mean)
    assert request.samples_seen()["forget"] == (1 + 2 * len(losses)) * 8


def test_the_run_ends_when_the_other_logits_have_become_sensitive(make_request, original_of):
    request = make_request("supervised")
    result = MUMis(epochs=50, lr=1e-2, delta=0.8).unlearn(original_of("supervised"), request)
    assert len(request.log) < 50
    ends = [mean_sensitivity(m, request.forget, 128, generator(3)) for m in (original_of("supervised"), result)]
    assert ends[1] > 0.8 * ends[0]
