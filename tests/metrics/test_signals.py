"""Per-example signals: invariances, agreement with the textbook formulas, and no saturation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmark.metrics import entropy, loss, modified_entropy, phi

SIGNALS = {
    "phi": phi,
    "loss": lambda logits, labels: loss(phi(logits, labels)),
    "entropy": lambda logits, labels: entropy(logits),
    "modified_entropy": modified_entropy,
}
each_signal = pytest.mark.parametrize("signal", SIGNALS.values(), ids=SIGNALS)
repeated = settings(max_examples=40, deadline=None, derandomize=True)
seeds = st.integers(0, 10_000)


def batch(seed: int, scale: float = 3.0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    generator = np.random.default_rng(seed)
    examples, classes = generator.integers(1, 20), generator.integers(2, 12)
    return scale * generator.normal(size=(examples, classes)), generator.integers(classes, size=examples)


@each_signal
@given(seed=seeds)
@repeated
def test_signals_follow_a_permutation_of_the_examples(signal, seed):
    logits, labels = batch(seed)
    order = np.random.default_rng(seed).permutation(len(labels))
    permuted = signal(logits[order], labels[order])
    np.testing.assert_allclose(permuted, signal(logits, labels)[order], rtol=1e-12)


@each_signal
@given(seed=seeds, offset=st.floats(-1e4, 1e4))
@repeated
def test_a_constant_added_to_a_row_changes_no_signal(signal, seed, offset):
    logits, labels = batch(seed)
    np.testing.assert_allclose(signal(logits + offset, labels), signal(logits, labels), rtol=1e-8, atol=1e-8)


@each_signal
@given(seed=seeds)
@repeated
def test_classes_may_be_renumbered(signal, seed):
    logits, labels = batch(seed)
    order = np.random.default_rng(seed).permutation(logits.shape[1])
    renumbered = np.argsort(order)[labels]
    np.testing.assert_allclose(signal(logits[:, order], renumbered), signal(logits, labels), rtol=1e-10)


@each_signal
@pytest.mark.parametrize("size", [1e2, 1e5, 3e38])
def test_signals_stay_finite_for_every_float32_logit(signal, size):
    logits = size * np.array([[1.0, -1.0, 0.0], [1.0, 1.0, -1.0], [0.0, 0.0, 0.0]], dtype=np.float32)
    for label in range(3):
        assert np.isfinite(signal(logits, [label] * 3)).all()


@given(seed=seeds)
@repeated
def test_moderate_logits_reproduce_the_textbook_formulas(seed):
    logits, labels = batch(seed)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    rows = np.arange(len(labels))
    true = p[rows, labels]
    others = p.copy()
    others[rows, labels] = 0
    mentr = -(1 - true) * np.log(true) - (others * np.log1p(-others)).sum(axis=1)
    np.testing.assert_allclose(phi(logits, labels), np.log(true / (1 - true)), rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(loss(phi(logits, labels)), -np.log(true), rtol=1e-9)
    np.testing.assert_allclose(entropy(logits), -(p * np.log(p)).sum(axis=1), rtol=1e-9)
    np.testing.assert_allclose(modified_entropy(logits, labels), mentr, rtol=1e-7)


def test_phi_keeps_the_order_that_a_softmax_loses():
    steps = np.arange(0.0, 800.0, 0.5)
    logits = np.stack([steps, np.zeros_like(steps)], axis=1)
    right, wrong = phi(logits, np.zeros(len(steps), int)), phi(logits, np.ones(len(steps), int))
    assert (np.diff(right) > 0).all()
    assert (np.diff(wrong) < 0).all()


def test_loss_does_not_round_to_zero_for_confident_examples():
    assert (np.diff(loss(np.arange(0.0, 700.0))) < 0).all()


def test_one_changed_label_changes_one_modified_entropy():
    logits, _ = batch(3)
    labels = np.zeros(len(logits), int)
    changed = labels.copy()
    changed[1] = 1
    different = modified_entropy(logits, labels) != modified_entropy(logits, changed)
    assert different.tolist() == [row == 1 for row in range(len(logits))]


def test_modified_entropy_of_a_thousand_classes_sums_them_all():
    value = modified_entropy(np.zeros((1, 1000)), [7])[0]
    assert value == pytest.approx(0.999 * np.log(1000) - 0.999 * np.log(0.999))


def test_a_right_answer_has_less_modified_entropy_than_a_wrong_one():
    logits = [[4.0, 0.0, -1.0]]
    right, middle, wrong = (modified_entropy(logits, [label])[0] for label in range(3))
    assert 0 <= right < middle < wrong


@given(seed=seeds)
@repeated
def test_entropy_lies_between_zero_and_log_of_the_classes(seed):
    logits, _ = batch(seed, scale=20.0)
    values = entropy(logits)
    assert (values >= 0).all()
    assert (values <= np.log(logits.shape[1]) + 1e-12).all()
