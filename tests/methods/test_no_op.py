"""The control that does nothing."""

import pytest
import torch

from benchmark.api import PARADIGMS
from benchmark.data import Forbidden
from benchmark.methods.no_op import NoOp


@pytest.mark.parametrize("paradigm", sorted(PARADIGMS))
def test_no_op_returns_an_equal_copy_and_touches_no_image(make_request, original_of, paradigm):
    original = original_of(paradigm)
    everything = {name: Forbidden("no_op", name) for name in ("forget", "retain", "third_party")}
    result = NoOp().unlearn(original, make_request(paradigm, **everything))
    assert result is not original
    ours, theirs = result.state_dict(), original.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert not {v.data_ptr() for v in ours.values()} & {v.data_ptr() for v in theirs.values()}
