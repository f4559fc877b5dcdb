"""Retraining with a share of the time."""

import pytest

from benchmark.methods.retrain import Retrain
from benchmark.methods.truncated_retrain import TruncatedRetrain
from benchmark.specs import Recipe


@pytest.mark.parametrize(("share", "epochs"), [(0.1, 2), (0.26, 5), (0.001, 1), (1.0, 20)])
def test_its_epochs_are_the_share_of_the_recipe_s(make_request, original_of, share, epochs):
    request = make_request("supervised", recipe=Recipe(lr=0.01, epochs=20, batch_size=8, schedule="onecycle"))
    TruncatedRetrain(share=share).unlearn(original_of("supervised"), request)
    assert request.samples_seen() == {"forget": 0, "retain": 24 * epochs, "third_party": 0}


def test_the_whole_time_is_retraining(make_request, original_of, same):
    results = [m.unlearn(original_of("moco"), make_request("moco")) for m in (TruncatedRetrain(share=1.0), Retrain())]
    assert same(*results)
