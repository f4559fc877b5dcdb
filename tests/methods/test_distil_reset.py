"""KDE resets the two ends of a classifier and teaches them, on third-party images first."""

import pytest
import torch

from benchmark.api import kl, replace_parts
from benchmark.data import Forbidden
from benchmark.errors import UndeclaredAccess
from benchmark.methods.distil_reset import DistilReset, ends, soft_cross_entropy

SHORT = {"warmup_epochs": 2, "epochs": 3, "batch_size": 8}


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("temperature", [0.5, 5.0])
def test_soft_cross_entropy_is_kl_and_the_entropy_of_the_teacher(temperature):
    teacher, student = random(6, 4), random(6, 4, seed=1).requires_grad_()
    soft, divergence = (of(teacher, student, temperature) for of in (soft_cross_entropy, kl))
    entropy = torch.distributions.Categorical(logits=teacher / temperature).entropy().mean()
    torch.testing.assert_close(soft - divergence, entropy)
    gradients = [torch.autograd.grad(value, student)[0] for value in (soft, divergence)]
    torch.testing.assert_close(*gradients)


def test_only_the_first_convolution_and_the_classifier_are_reset_to_the_weights_of_a_fresh_learner(
    make_request, original_of
):
    learner, fresh = original_of("supervised"), make_request("supervised").untrained()
    replace_parts(learner, ends(learner), fresh)
    before = original_of("supervised").state_dict()
    changed = {name for name, value in learner.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"encoder.conv1.weight", "classifier.weight", "classifier.bias"}
    assert all(torch.equal(learner.state_dict()[name], fresh.state_dict()[name]) for name in changed)


def test_it_learns_from_third_party_then_retain_and_never_sees_forget(make_request, original_of):
    request = make_request("supervised", forget=Forbidden("distil_reset", "forget"))
    DistilReset(**SHORT).unlearn(original_of("supervised"), request)
    assert request.samples_seen() == {"third_party": 2 * 8, "retain": 3 * 24}
    assert [row.keys() - {"epoch", "loss"} for row in request.log] == [{"imitation"}] * 2 + [{"lesson"}] * 3


def test_labels_of_third_party_images_are_not_read(make_request, make_set, original_of):
    results = []
    for shift in (0, 1):
        third_party = make_set("third_party", count=8, seed=2)
        altered = third_party.altered(labels=(third_party.labels + shift) % 3)
        request = make_request("supervised", third_party=altered)
        results.append(DistilReset(**SHORT).unlearn(original_of("supervised"), request).state_dict())
    assert all(torch.equal(value, results[1][name]) for name, value in results[0].items())


def test_without_third_party_images_there_is_no_such_method(make_request, original_of):
    request = make_request("supervised", third_party=Forbidden("distil_reset", "third_party"))
    with pytest.raises(UndeclaredAccess):
        DistilReset(**SHORT).unlearn(original_of("supervised"), request)


def test_imitation_brings_the_student_nearer_to_its_teacher(make_request, original_of):
    request = make_request("supervised")
    settings = {"warmup_lr": 0.1, "warmup_epochs": 10, "temperature": 1.0, "batch_size": 8, "epochs": 1}
    DistilReset(**settings).unlearn(original_of("supervised"), request)
    distances = [row["imitation"] for row in request.log[:10]]
    assert distances[-1] < 0.5 * distances[0]
