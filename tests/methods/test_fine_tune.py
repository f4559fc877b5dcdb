"""Fine-tuning sees the retain set alone and ends where its loss is smallest."""

import pytest
import torch
import torch.nn.functional as F

from benchmark.api import PARADIGMS
from benchmark.data import ExampleSet, Forbidden
from benchmark.methods.fine_tune import FineTune

ALL = sorted(PARADIGMS)
SHORT = {"epochs": 2, "batch_size": 8}


def weights(learner):
    return torch.cat([p.detach().flatten() for _, p in learner.trainable()])


@pytest.mark.parametrize("paradigm", ALL)
def test_learning_rate_zero_leaves_parameters_equal_and_no_forget_image_is_touched(make_request, original_of, paradigm):
    absent = {name: Forbidden("fine_tune", name) for name in ("forget", "third_party")}
    request = make_request(paradigm, **absent)
    result = FineTune(lr=0.0, **SHORT).unlearn(original_of(paradigm), request)
    assert torch.equal(weights(result), weights(original_of(paradigm)))
    rebuilt = 24 if paradigm == "moco" else 0
    assert request.samples_seen() == {"retain": 48 + rebuilt}


def test_full_batch_on_a_convex_loss_ends_at_the_minimiser_of_the_retain_set(make_linear, make_data, make_request):
    data, decay = make_data(40, side=3), 0.05
    request = make_request("supervised", retain=ExampleSet(data, "retain", torch.device("cpu")))
    method = FineTune(lr=0.5, weight_decay=decay, epochs=300, batch_size=40)
    result = method.unlearn(make_linear(side=3, seed=3), request)
    batch = request.retain.all()
    result.zero_grad()
    loss = F.cross_entropy(result.predict(batch.images), batch.labels)
    loss = loss + decay / 2 * sum(p.square().sum() for p in result.parameters())
    loss.backward()
    assert max(p.grad.abs().max() for p in result.parameters()) < 1e-4
    log = [row["loss"] for row in request.log]
    assert len(log) == 300
    assert log[-1] < log[0]


@pytest.mark.parametrize("paradigm", ALL)
def test_frozen_batch_normalisation_keeps_its_statistics(make_request, original_of, paradigm):
    result = FineTune(bn="frozen", **SHORT).unlearn(original_of(paradigm), make_request(paradigm))
    before = original_of(paradigm).state_dict()
    running = {n: v for n, v in result.state_dict().items() if "running" in n or "num_batches" in n}
    assert running
    assert all(torch.equal(value, before[name]) for name, value in running.items())
    assert not torch.equal(weights(result), weights(original_of(paradigm)))


def test_pull_to_the_original_keeps_the_result_near_it(make_request, original_of):
    start = weights(original_of("supervised"))
    moved = {}
    for pull in (0.0, 10.0):
        method = FineTune(l2_to_original=pull, momentum=0.0, weight_decay=0.0, **SHORT)
        request = make_request("supervised")
        moved[pull] = (weights(method.unlearn(original_of("supervised"), request)) - start).norm()
        assert ("distance" in request.log[0]) == bool(pull)
    assert 0 < moved[10.0] < 0.9 * moved[0.0]


@pytest.mark.parametrize("paradigm", ALL)
def test_one_retain_image_left_over_by_the_batches_does_no_harm(make_request, original_of, make_data, paradigm):
    request = make_request(paradigm, retain=ExampleSet(make_data(25), "retain", torch.device("cpu")))
    result = FineTune(**SHORT).unlearn(original_of(paradigm), request)
    assert all(value.isfinite().all() for value in result.state_dict().values())
