"""Outputs of models that were never trained: small, made from a seed, and of the same images whatever the seed."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIZES = {"forget": 12, "heldout": 14, "third_party": 6, "retain": 40, "test": 20}
CLASSES, FEATURES, PAIRS = 3, 6, 10
Arrays = dict[str, NDArray[Any]]


def classifier(seed: int = 0) -> Arrays:
    """Features around one place per class, and logits that follow them."""
    rng, outputs = np.random.default_rng([seed, 1]), _images()
    places = 2 * np.random.default_rng(0).normal(size=(CLASSES, FEATURES))
    for name, size in SIZES.items():
        features = places[outputs[f"{name}/labels"]] + rng.normal(size=(size, FEATURES))
        outputs[f"{name}/features"] = features.astype(np.float32)
        outputs[f"{name}/logits"] = (features @ places.T / 4 + rng.normal(size=(size, CLASSES))).astype(np.float32)
    return outputs | relearned(rng)


def encoder(seed: int = 0) -> Arrays:
    """The same features, and similarities of five views."""
    rng, outputs = np.random.default_rng([seed, 2]), classifier(seed)
    for name, size in SIZES.items():
        del outputs[f"{name}/logits"]
        if name != "test":
            for place in ("head", "backbone"):
                outputs[f"{name}/{place}_similarities"] = rng.uniform(-1, 1, (size, PAIRS)).astype(np.float32)
    for name in ("forget", "heldout"):
        outputs[f"relearning/{name}_similarity"] = rng.uniform(-1, 1, (4, SIZES[name])).astype(np.float32)
    return outputs


OF_PARADIGM = {"supervised": classifier, "simclr": encoder}


def with_phi(forget: Any, heldout: Any, **sets: Any) -> Arrays:
    """A classifier of two classes whose margins phi are given by set: all labels are 0, the other logit is 0."""
    outputs: Arrays = {}
    for name, margins in {"forget": forget, "heldout": heldout, **sets}.items():
        margins = np.asarray(margins, dtype=np.float64)
        outputs[f"{name}/logits"] = np.stack([margins, np.zeros_like(margins)], axis=1)
        outputs[f"{name}/labels"] = np.zeros(len(margins), dtype=np.int64)
        outputs[f"{name}/indices"] = 1000 * len(outputs) + np.arange(len(margins))
    return outputs


class Watched(Mapping[str, NDArray[Any]]):
    """Outputs that remember which of them were read."""

    def __init__(self, outputs: Arrays) -> None:
        self._outputs = outputs
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> NDArray[Any]:
        array = self._outputs[name]
        self.read.add(name)
        return array

    def __contains__(self, name: object) -> bool:
        return name in self._outputs

    def __iter__(self) -> Iterator[str]:
        return iter(self._outputs)

    def __len__(self) -> int:
        return len(self._outputs)


def relearned(rng: np.random.Generator) -> Arrays:
    """What is left after four checkpoints of relearning."""
    return {f"relearning/{name}_correct": rng.random((4, SIZES[name])) < 0.7 for name in ("forget", "heldout")}


def _images() -> Arrays:
    """What does not depend on the model."""
    outputs: Arrays = {"retain/neighbours": np.array(5), "split/coins": np.array(1), "retain/probe": np.arange(40)}
    start = 0
    for name, size in SIZES.items():
        outputs[f"{name}/labels"] = np.arange(size) % CLASSES
        outputs[f"{name}/indices"] = np.arange(start, start + size)
        start += size
    return outputs
