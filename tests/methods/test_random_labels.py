"""Wrong labels for forget images, wrong positives where there are no labels."""

import math

import pytest
import torch

from benchmark.api import PARADIGMS, Relabelling
from benchmark.data import ExampleSet
from benchmark.methods.fine_tune import FineTune
from benchmark.methods.random_labels import RandomLabels

ALL = sorted(PARADIGMS)
LOOP = {"lr": 0.02, "epochs": 2, "batch_size": 12}


def many(make_data, count=3000, label=None):
    return ExampleSet(make_data(count, seed=9, label=label), "forget", torch.device("cpu"))


@pytest.mark.parametrize("scenario", ["random", "class"])
def test_the_true_label_is_never_drawn_nor_any_forgotten_one_where_classes_are(make_request, make_data, scenario):
    forget = many(make_data, label=1 if scenario == "class" else None)
    request = make_request("supervised", forget=forget, scenario=scenario)
    drawn = Relabelling().labels(request, request.stream("labels"))
    assert not (drawn == forget.labels).any()
    assert set(drawn.tolist()) == ({0, 2} if scenario == "class" else {0, 1, 2})
    assert forget.samples_seen == 0


def test_labels_are_uniform_over_all_classes_on_demand(make_request, make_data):
    forget = many(make_data)
    request = make_request("supervised", forget=forget)
    drawn = Relabelling(exclude_true=False).labels(request, request.stream("labels"))
    sigma = math.sqrt(1 / 3 * 2 / 3 / 3000)
    assert abs(float((drawn == forget.labels).float().mean()) - 1 / 3) < 4 * sigma
    for label in range(3):
        assert abs(float((drawn == label).float().mean()) - 1 / 3) < 4 * sigma


@pytest.mark.parametrize(("redraw", "times"), [("epoch", 3), ("once", 1)])
def test_labels_are_drawn_as_often_as_is_said(make_request, original_of, monkeypatch, redraw, times):
    drawn, labels = [], Relabelling.labels
    monkeypatch.setattr(Relabelling, "labels", lambda *given: drawn.append(labels(*given)) or drawn[-1])
    request = make_request("supervised")
    RandomLabels(redraw=redraw, epochs=3, batch_size=12).unlearn(original_of("supervised"), request)
    assert len(drawn) == times
    assert len({tuple(one.tolist()) for one in drawn}) == times


@pytest.mark.parametrize("paradigm", ALL)
def test_without_forget_images_it_is_fine_tuning(make_request, original_of, same, nobody, paradigm):
    result = RandomLabels(**LOOP).unlearn(original_of(paradigm), make_request(paradigm, forget=nobody))
    assert same(result, FineTune(**LOOP).unlearn(original_of(paradigm), make_request(paradigm)))


@pytest.mark.parametrize("order", ["mixed", "forget_first"])
@pytest.mark.parametrize("paradigm", ALL)
def test_every_image_is_seen_once_an_epoch_and_the_request_keeps_its_labels(make_request, original_of, paradigm, order):
    request = make_request(paradigm)
    labels = request.forget.labels
    RandomLabels(order=order, lr=0.01, epochs=2, batch_size=8).unlearn(original_of(paradigm), request)
    partners, rebuilt = 0 if paradigm == "supervised" else 2 * 8, 24 if paradigm == "moco" else 0
    assert request.samples_seen() == {"forget": 2 * 8 + partners, "retain": 2 * 24 + rebuilt, "third_party": 0}
    assert torch.equal(request.forget.labels, labels)


def test_forget_images_lose_their_label_and_retain_images_keep_theirs(make_learner, make_request):
    learner = make_learner("supervised", views={})
    request = make_request("supervised")
    method = RandomLabels(redraw="once", lr=0.05, epochs=40, batch_size=8)
    result = method.unlearn(learner, request)
    forget, retain = request.forget.all(), request.retain.all()
    assert (result.predict(forget.images).argmax(1) == forget.labels).float().mean() < 0.5
    assert (result.predict(retain.images).argmax(1) == retain.labels).float().mean() > 0.9
