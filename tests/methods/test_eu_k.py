"""The end of a network made anew."""

import pytest
import torch

from benchmark.api import PARADIGMS, split_blocks, with_copies
from benchmark.methods.eu_k import EUk
from benchmark.methods.retrain import Retrain

ALL = sorted(PARADIGMS)


@pytest.mark.parametrize("paradigm", ALL)
def test_all_blocks_are_retraining(make_request, original_of, same, paradigm):
    result = EUk(k=1000).unlearn(original_of(paradigm), make_request(paradigm))
    assert same(result, Retrain().unlearn(original_of(paradigm), make_request(paradigm)))


@pytest.mark.parametrize("paradigm", ALL)
def test_first_blocks_are_the_original_s_and_the_last_know_nothing_of_it(make_request, original_of, same, paradigm):
    broken = original_of(paradigm)
    first, last = split_blocks(broken, 1)
    for part in with_copies(broken, last):
        for tensor in [*part.parameters(), *part.buffers()]:
            if tensor.is_floating_point():
                tensor.data.fill_(float("nan"))
    result = EUk(k=1).unlearn(broken, make_request(paradigm))
    assert all(value.isfinite().all() for value in result.state_dict().values())
    assert same(result, EUk(k=1).unlearn(original_of(paradigm), make_request(paradigm)))
    for mine, before in zip(split_blocks(result, 1)[0], first, strict=True):
        state = before.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in mine.state_dict().items())


def test_epochs_are_the_recipe_s_unless_said(make_request, original_of):
    for epochs, expected in ((None, 2), (3, 3)):
        request = make_request("supervised")
        EUk(epochs=epochs).unlearn(original_of("supervised"), request)
        assert len(request.log) == expected
        assert request.samples_seen() == {"forget": 0, "retain": 24 * expected, "third_party": 0}
