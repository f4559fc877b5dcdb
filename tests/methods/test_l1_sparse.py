"""Fine-tuning with an l1 penalty that fades."""

import itertools

import pytest
import torch

from benchmark.api import PARADIGMS
from benchmark.methods.fine_tune import FineTune
from benchmark.methods.l1_sparse import L1Sparse

ALL = sorted(PARADIGMS)
LOOP = {"lr": 0.02, "epochs": 2, "batch_size": 12}


@pytest.mark.parametrize("schedule", ["constant", "cosine", "onecycle"])
@pytest.mark.parametrize("paradigm", ALL)
def test_alpha_zero_is_fine_tuning(make_request, original_of, same, paradigm, schedule):
    result = L1Sparse(alpha=0.0, schedule=schedule, **LOOP).unlearn(original_of(paradigm), make_request(paradigm))
    assert same(result, FineTune(schedule=schedule, **LOOP).unlearn(original_of(paradigm), make_request(paradigm)))


def test_without_data_loss_every_weight_moves_towards_zero_by_rate_times_gamma(
    make_request, original_of, flat, monkeypatch
):
    learner = original_of("supervised")
    monkeypatch.setattr(
        type(learner), "view_loss", lambda self, views, labels, reduction="mean": 0.0 * self.predict(views[0]).sum()
    )
    start = flat(learner)
    method = L1Sparse(alpha=0.01, lr=0.1, momentum=0.0, weight_decay=0.0, epochs=1, batch_size=24)
    result = method.unlearn(learner, make_request("supervised"))
    torch.testing.assert_close(flat(result), start - 0.1 * 0.01 * start.sign(), rtol=0, atol=1e-7)


def test_gamma_begins_at_alpha_and_falls_to_zero():
    method = L1Sparse(alpha=0.3, epochs=10, no_l1_epochs=2)
    gammas = [method.gamma(epoch) for epoch in range(10)]
    assert gammas[0] == 0.3
    assert all(before > after for before, after in itertools.pairwise(gammas[:9]))
    assert gammas[8:] == [0.0, 0.0]
    assert [L1Sparse(alpha=0.3, l1_schedule="constant", epochs=2).gamma(epoch) for epoch in (0, 1)] == [0.3, 0.3]


def test_penalty_shrinks_the_weights_and_leaves_the_log(make_request, original_of, flat):
    request = make_request("supervised")
    sparse = L1Sparse(alpha=0.01, lr=0.02, epochs=5, batch_size=8).unlearn(original_of("supervised"), request)
    plain = FineTune(lr=0.02, epochs=5, batch_size=8).unlearn(original_of("supervised"), make_request("supervised"))
    assert flat(sparse).abs().sum() < flat(plain).abs().sum()
    assert "l1" in request.log[0]
