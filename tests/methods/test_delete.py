"""DELETE imitates the original without the label: loss and gradient have closed forms."""

import pytest
import torch

from benchmark.api import kl
from benchmark.data import Forbidden
from benchmark.methods.delete import Delete, without_label

LABELS = torch.tensor([0, 2, 1, 1])


def logits(seed=0):
    return torch.randn(4, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def test_loss_at_the_original_is_the_loss_of_its_own_label_struck_out():
    own = logits().softmax(1)[torch.arange(4), LABELS]
    assert kl(without_label(logits(), LABELS), logits()).item() == pytest.approx(-(1 - own).log().mean().item())


def test_gradient_of_the_logits_is_the_difference_of_the_softmaxes():
    z, q = logits(1).requires_grad_(), without_label(logits(), LABELS).softmax(1)
    kl(without_label(logits(), LABELS), z).backward()
    torch.testing.assert_close(z.grad, (z.detach().softmax(1) - q) / 4)


def test_a_student_who_has_struck_out_the_label_has_no_loss():
    wanted = without_label(logits(), LABELS)
    assert kl(wanted, wanted).item() == pytest.approx(0, abs=1e-12)
    assert (wanted.softmax(1)[torch.arange(4), LABELS] == 0).all()


@pytest.mark.parametrize("bn", ["train", "frozen"])
def test_first_loss_is_that_of_the_original_and_later_ones_are_smaller(make_request, original_of, bn):
    absent = {name: Forbidden("delete", name) for name in ("retain", "third_party")}
    before, request = original_of("supervised"), make_request("supervised", **absent)
    after = Delete(bn_forget=bn, lr=0.01, epochs=10, batch_size=8).unlearn(before, request)
    losses = [row["imitation"] for row in request.log]
    assert losses[-1] < losses[0]
    running = {name: value for name, value in after.state_dict().items() if "running" in name}
    kept = all(torch.equal(value, before.state_dict()[name]) for name, value in running.items())
    assert kept == (bn == "frozen")
    if bn == "frozen":
        order = torch.randperm(8, generator=request.stream("forget"))
        batch = request.forget.take(order)
        (view,) = before.views(batch.images, request.stream("augment/forget"))
        own = before.predict(view).softmax(1)[torch.arange(8), batch.labels]
        assert losses[0] == pytest.approx(-(1 - own).log().mean().item(), rel=1e-4)


def test_labels_are_forgotten_towards_what_the_original_thought_next(make_request, original_of):
    before, request = original_of("supervised"), make_request("supervised")
    after = Delete(bn_forget="frozen", lr=0.1, epochs=30, batch_size=8).unlearn(before, request)
    batch = request.forget.all()
    right = [(model.predict(batch.images).argmax(1) == batch.labels).sum().item() for model in (before, after)]
    assert right[1] < right[0]
