"""The Fisher information: its diagonal and its products are those of single gradients, and systems are solved."""

import pytest
import torch

from benchmark.curvature import (
    class_fisher_diagonal,
    conjugate_gradients,
    fisher_product,
    per_weight,
    single_gradients,
    summed_gradient,
)
from benchmark.importance import example_gradients
from benchmark.mechanics import plain_views

WHERE = ("supervised", "moco", "byol")


def matrix_of(learner, views, labels):
    """[n, P]"""
    single = example_gradients(learner, views, labels)
    return torch.cat([value.flatten(1) for value in single.values()], dim=1)


def test_information_of_a_logistic_model_is_its_closed_form(make_linear, make_set):
    """F of a bias is the mean of p (1 - p), of a weight that of p (1 - p) x^2."""
    learner, examples = make_linear(side=8), make_set(count=40)
    found = class_fisher_diagonal(learner, examples)
    x = examples.all().images.flatten(1)
    p = learner.predict(examples.all().images).softmax(1)
    spread = (p * (1 - p)).detach()
    torch.testing.assert_close(found["classifier.bias"], spread.mean(0))
    torch.testing.assert_close(found["classifier.weight"], spread.T @ x.square() / len(x))


def test_empirical_information_is_the_mean_square_of_single_gradients(make_set, original_of):
    learner, examples = original_of("supervised"), make_set(count=20)
    found = class_fisher_diagonal(learner, examples, "empirical")
    expected = 0
    for number in range(len(examples)):
        batch = examples.take(torch.tensor([number]))
        loss = learner.view_loss([batch.images], batch.labels)
        expected = expected + torch.autograd.grad(loss, learner.encoder.conv1.weight)[0].square() / len(examples)
    torch.testing.assert_close(found["encoder.conv1.weight"], expected, rtol=1e-4, atol=1e-8)


def test_newton_step_on_least_squares_is_the_retain_minimiser():
    drawn = torch.Generator().manual_seed(0)
    x, y = (torch.randn(60, columns, generator=drawn, dtype=torch.double) for columns in (5, 1))
    retain = slice(0, 40)
    everything, wanted = (torch.linalg.lstsq(x[part], y[part]).solution[:, 0] for part in (slice(None), retain))
    hessian = x[retain].T @ x[retain] / 40
    right = -x[retain].T @ (x[retain] @ everything - y[retain, 0]) / 40  # grad L(all) is 0 at its minimiser
    step, residual, _ = conjugate_gradients(lambda u: hessian @ u, right, 1e-14, 100)
    torch.testing.assert_close(everything + step, wanted, rtol=0, atol=1e-12)
    assert residual <= 1e-14


@pytest.mark.parametrize("paradigm", WHERE)
def test_product_is_that_of_single_gradients_with_themselves(make_request, original_of, paradigm):
    learner, batch = original_of(paradigm), make_request(paradigm).retain.all()
    views = plain_views(learner, batch.images, torch.Generator().manual_seed(0))
    matrix = matrix_of(learner, views, batch.labels)
    vector = torch.randn(matrix.shape[1], generator=torch.Generator().manual_seed(1))
    seen = [([view[part] for view in views], batch.labels[part]) for part in (slice(0, 20), slice(20, 24))]
    expected = matrix.T @ (matrix @ vector) / len(matrix)
    torch.testing.assert_close(fisher_product(learner, seen, vector), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("paradigm", WHERE)
def test_single_gradients_come_one_by_one_and_in_order(make_request, original_of, paradigm):
    learner, batch = original_of(paradigm), make_request(paradigm).retain.all()
    views = plain_views(learner, batch.images, torch.Generator().manual_seed(0))
    found = torch.stack([*single_gradients(learner, [(views, batch.labels)])])
    torch.testing.assert_close(found, matrix_of(learner, views, batch.labels), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("paradigm", WHERE)
def test_the_sum_of_gradients_is_that_of_the_single_ones(make_request, original_of, paradigm):
    learner, retain = original_of(paradigm), make_request(paradigm).retain
    found = summed_gradient(learner, retain.batches(24), torch.Generator().manual_seed(0))
    views = plain_views(learner, retain.all().images, torch.Generator().manual_seed(0))
    single = matrix_of(learner, views, retain.all().labels)
    torch.testing.assert_close(found, single.sum(0), rtol=1e-3, atol=1e-4)


def test_a_vector_is_parted_among_the_weights_in_their_order(original_of):
    learner = original_of("supervised")
    shapes = {name: weight.shape for name, weight in learner.trainable()}
    count = sum(shape.numel() for shape in shapes.values())
    parts = per_weight(learner, torch.arange(count))
    assert {name: part.shape for name, part in parts.items()} == shapes
    assert torch.equal(torch.cat([part.flatten() for part in parts.values()]), torch.arange(count))
