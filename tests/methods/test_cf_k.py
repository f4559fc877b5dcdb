"""Fine-tuning of the end of a network; its beginning is left as it was, statistics too."""

import pytest
import torch

from benchmark.api import PARADIGMS, split_blocks
from benchmark.methods.cf_k import CFk
from benchmark.methods.fine_tune import FineTune

ALL = sorted(PARADIGMS)
LOOP = {"lr": 0.02, "epochs": 2, "batch_size": 12}


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("paradigm", ALL)
def test_what_comes_before_the_last_blocks_is_left_as_it_was(make_request, original_of, paradigm, k):
    original = original_of(paradigm)
    result = CFk(k=k, **LOOP).unlearn(original, make_request(paradigm))
    (first, last), (theirs, others) = split_blocks(result, k), split_blocks(original, k)
    assert len(first) == len(original.blocks()) - k
    for mine, before in zip(first, theirs, strict=True):
        state = before.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in mine.state_dict().items())
        assert all(parameter.grad is None and parameter.requires_grad for parameter in mine.parameters())
    for mine, before in zip(last, others, strict=True):
        assert any(not torch.equal(*pair) for pair in zip(mine.parameters(), before.parameters(), strict=True))


@pytest.mark.parametrize("paradigm", ALL)
def test_all_blocks_are_fine_tuning(make_request, original_of, same, paradigm):
    result = CFk(k=1000, **LOOP).unlearn(original_of(paradigm), make_request(paradigm))
    assert same(result, FineTune(**LOOP).unlearn(original_of(paradigm), make_request(paradigm)))
