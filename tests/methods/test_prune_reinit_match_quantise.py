"""PRMQ redraws the smallest weights, matches entropies, and leaves half-precision weights."""

import pytest
import torch
import torch.nn.functional as F

from benchmark.data import ExampleSet, Forbidden
from benchmark.methods.prune_reinit_match_quantise import PruneReinitMatchQuantise, entropy, redraw_smallest


def generator():
    return torch.Generator().manual_seed(0)


def prunable(learner):
    norms = [n for n, m in learner.named_modules() if isinstance(m, torch.nn.BatchNorm2d)]
    return {name: p.detach() for name, p in learner.trainable() if not name.startswith(tuple(norms))}


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99, 1.0])
def test_exactly_the_share_of_smallest_weights_is_redrawn(original_of, share):
    learner, before = original_of("supervised"), prunable(original_of("supervised"))
    redraw_smallest(learner, share, generator())
    old, new = (torch.cat([p.flatten() for p in ps.values()]) for ps in (before, prunable(learner)))
    redrawn = old != new
    count = round(share * len(old))
    assert int(redrawn.sum()) == count
    if 0 < share < 1:
        assert old[redrawn].abs().max() <= old[~redrawn].abs().min()
    for name, p in learner.trainable():
        if name not in before:
            assert torch.equal(p, dict(original_of("supervised").trainable())[name])


def test_new_weights_are_uniform_within_their_bound_and_new_biases_are_zero(original_of):
    learner = original_of("supervised")
    redraw_smallest(learner, 1.0, generator())
    for name, p in prunable(learner).items():
        if p.dim() == 1:
            assert not p.any(), name
            continue
        bound = p[0].numel() ** -0.5
        assert p.abs().max() <= bound
        assert p.abs().max() > 0.7 * bound
        if p.numel() > 1000:
            assert p.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)


@pytest.mark.parametrize(("epochs", "steps"), [(3.2, 9), (1.0, 3), (0.5, 1)])
def test_steps_are_counted_to_the_fraction_of_a_pass_and_weights_end_in_half_precision(
    make_request, original_of, epochs, steps
):
    absent = {n: Forbidden("prune_reinit_match_quantise", n) for n in ("forget", "third_party")}
    request = make_request("supervised", **absent)
    result = PruneReinitMatchQuantise(epochs=epochs, batch_size=8).unlearn(original_of("supervised"), request)
    assert request.samples_seen() == {"retain": 8 * steps}
    assert all(torch.equal(p.half().float(), p) for _, p in result.trainable())


def test_a_run_of_no_steps_is_the_original_in_half_precision(make_request, original_of):
    method = PruneReinitMatchQuantise(prune=0.0, epochs=0.1, batch_size=24)
    result = method.unlearn(original_of("supervised"), make_request("supervised"))
    for (_, mine), (_, theirs) in zip(result.trainable(), original_of("supervised").trainable(), strict=True):
        assert torch.equal(mine, theirs.half().float())
    assert not result.training


def test_entropy_is_that_of_torch():
    logits = torch.randn(20, 5, generator=generator())
    torch.testing.assert_close(entropy(logits), torch.distributions.Categorical(logits=logits).entropy())


def test_student_that_is_its_teacher_pays_cross_entropy_alone(make_linear, make_data, make_request):
    """Nothing is pruned and there is no batch normalisation: the entropy term is 0, classes weigh their count^-0.1."""
    data = make_data(24, seed=1)
    request = make_request("supervised", retain=ExampleSet(data, "retain", torch.device("cpu")))
    method = PruneReinitMatchQuantise(prune=0.0, epochs=1.0, batch_size=24)
    method.unlearn(make_linear(), request)
    counts = torch.bincount(data.labels, minlength=3)
    logits = make_linear().predict(data.images.float() / 255)
    expected = F.cross_entropy(logits, data.labels, counts.float() ** -0.1)
    assert request.log[0]["utility"] == pytest.approx(expected.item(), rel=1e-5)
