"""Retraining is training: nothing of the original and nothing of the forget set can be in its result."""

import pytest
import torch

from benchmark.api import PARADIGMS
from benchmark.data import Forbidden
from benchmark.methods.retrain import Retrain
from benchmark.training import train


@pytest.mark.parametrize("paradigm", sorted(PARADIGMS))
def test_retraining_is_plain_training_whatever_the_original_and_touches_no_forget_image(
    make_learner, make_request, original_of, paradigm
):
    broken = original_of(paradigm)
    for tensor in [*broken.parameters(), *broken.buffers()]:
        if tensor.is_floating_point():
            tensor.data.fill_(float("nan"))
    absent = {name: Forbidden("retrain", name) for name in ("forget", "third_party")}
    request = make_request(paradigm, **absent)
    results = [
        Retrain().unlearn(broken, request),
        Retrain().unlearn(original_of(paradigm), make_request(paradigm)),
        train(request.fresh_learner, make_request(paradigm).retain, request.recipe, request.seed, request.device),
    ]
    first, *others = (learner.state_dict() for learner in results)
    assert all(value.isfinite().all() for value in first.values())
    for other in others:
        assert all(torch.equal(value, other[name]) for name, value in first.items())
    assert request.samples_seen() == {"retain": 48}


def test_retraining_has_an_initialisation_of_its_own_for_every_seed(make_learner, make_request):
    first, other = (Retrain().unlearn(make_learner("moco"), make_request("moco", seed=seed)) for seed in (1, 2))
    assert not torch.equal(first.encoder.conv1.weight, other.encoder.conv1.weight)
