"""Encoder measurements: the neighbour vote by a plain loop, and the identities of view similarity."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.metrics import encodermi_t, pairwise_cosines, weighted_knn

repeated = settings(max_examples=40, deadline=None, derandomize=True)
seeds = st.integers(0, 10_000)


def knn_by_loop(bank, labels, queries, k, temperature, num_classes):
    answers = []
    for query in queries:
        cosines = bank @ query / np.linalg.norm(bank, axis=1) / np.linalg.norm(query)
        nearest = np.argsort(-cosines, kind="stable")[:k]
        weights = np.exp(cosines[nearest] / temperature)
        votes = [weights[labels[nearest] == c].sum() for c in range(num_classes)]
        answers.append(int(np.argmax(votes)))
    return answers


@given(seed=seeds, k=st.integers(1, 60), temperature=st.sampled_from([0.05, 0.1, 1.0]))
@repeated
def test_weighted_knn_is_the_plain_loop(seed, k, temperature):
    generator = np.random.default_rng(seed)
    bank, queries = generator.normal(size=(40, 5)), generator.normal(size=(12, 5))
    labels = generator.integers(4, size=40)
    got = weighted_knn(bank, labels, queries, num_classes=4, k=k, temperature=temperature)
    assert got.tolist() == knn_by_loop(bank, labels, queries, k, temperature, 4)


def test_answers_do_not_depend_on_how_queries_are_batched():
    generator = np.random.default_rng(0)
    bank, labels, queries = (
        generator.normal(size=(50, 4)),
        generator.integers(3, size=50),
        generator.normal(size=(600, 4)),
    )
    whole = weighted_knn(bank, labels, queries, num_classes=3, k=7)
    single = [weighted_knn(bank, labels, query[None], num_classes=3, k=7)[0] for query in queries[250:270]]
    assert len(whole) == 600
    assert whole[250:270].tolist() == single


@given(seed=seeds)
@repeated
def test_equal_votes_go_to_the_lowest_class_whatever_the_norms(seed):
    generator = np.random.default_rng(seed)
    directions = generator.normal(size=(3, 6))
    bank = np.repeat(directions, 2, axis=0) * generator.uniform(0.1, 100, size=(6, 1))
    labels = np.array([2, 1, 1, 2, 2, 1])
    assert (weighted_knn(bank, labels, generator.normal(size=(8, 6)), num_classes=4, k=6) == 1).all()


@given(seed=seeds)
@repeated
def test_equally_near_points_at_the_kth_place_enter_in_bank_order_whatever_the_norms(seed):
    generator = np.random.default_rng(seed)
    bank = generator.normal(size=6) * generator.uniform(0.1, 100, size=(4, 1))
    queries = generator.normal(size=(8, 6))
    assert weighted_knn(bank, [3, 0, 2, 1], queries, num_classes=4, k=1).tolist() == [3] * 8


def test_tiny_and_huge_features_have_directions_too():
    bank = np.array([[1e-200, 0.0], [0.0, 1e200]])
    assert weighted_knn(bank, [0, 1], bank[::-1], num_classes=2, k=1).tolist() == [1, 0]


@given(seed=seeds)
@repeated
def test_encodermi_is_the_norm_identity(seed):
    generator = np.random.default_rng(seed)
    views = generator.integers(2, 11)
    features = generator.normal(size=(6, views, 4))
    unit = features / np.linalg.norm(features, axis=2, keepdims=True)
    expected = ((unit.sum(axis=1) ** 2).sum(axis=1) - views) / (views * (views - 1))
    np.testing.assert_allclose(encodermi_t(features), expected, atol=1e-12)
    np.testing.assert_allclose(pairwise_cosines(features).mean(axis=1), expected, atol=1e-12)


@given(seed=seeds)
@repeated
def test_view_order_and_feature_length_do_not_change_encodermi(seed):
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(5, 4, 3))
    moved = features[:, ::-1] * generator.uniform(1e-3, 1e3, size=(5, 4, 1))
    np.testing.assert_allclose(encodermi_t(moved), encodermi_t(features), atol=1e-12)


def test_ten_views_give_forty_five_cosines_in_pair_order():
    features = np.random.default_rng(0).normal(size=(2, 10, 3))
    cosines = pairwise_cosines(features)
    assert cosines.shape == (2, 45)
    first, last = features[0, 0], features[0, 1]
    assert cosines[0, 0] == pytest.approx(first @ last / np.linalg.norm(first) / np.linalg.norm(last))
    first, last = features[1, 8], features[1, 9]
    assert cosines[1, -1] == pytest.approx(first @ last / np.linalg.norm(first) / np.linalg.norm(last))


def test_cosines_never_leave_their_range():
    features = np.repeat(np.random.default_rng(0).normal(size=(200, 1, 3)), 2, axis=1) * [[[1.0], [3.0]]]
    assert pairwise_cosines(features).max() <= 1.0
    assert pairwise_cosines(features * [[[1.0], [-1.0]]]).min() >= -1.0
