"""Models trained in shards and slices, so that unlearning retrains no more than what saw the forget set.

SISA: sharded, isolated, sliced, aggregated (Bourtoule et al., IEEE S&P 2021). The training images are cut at random
into shards, a model each, and every shard into slices that its model learns one after the other: first slice 1, then
slices 1 and 2, and so on, with a fresh optimiser each time. The model is kept as it was before each slice.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from benchmark.data import ExampleSet, ImageData, join
from benchmark.learners.base import Learner
from benchmark.learners.supervised import Supervised
from benchmark.specs import Recipe, Shards, derive_seed
from benchmark.training import Progress, UnlearningRequest, optimise

Weights = dict[str, Tensor]
TRAINED = "trained"
_VOTES = 0.999  # of a majority vote's logits; the rest breaks ties by the mean


class ShardedClassifier(Supervised):
    """One classifier per shard, asked together. Logits are log-probabilities; features are all members' in a row.

    Args:
        members: One supervised learner per shard.
        vote: "mean" of the members' probabilities, or "majority": the share of members that vote for a class.
    """

    def __init__(self, members: list[Learner], vote: str) -> None:
        nn.Module.__init__(self)
        self.members = nn.ModuleList(members)
        self.vote = vote
        self.policy, self.num_classes, self.remembers_keys = members[0].policy, members[0].num_classes, True

    def predict(self, images: Tensor) -> Tensor:
        each = torch.stack([member.predict(images).float().log_softmax(1) for member in self.models()])
        mean: Tensor = each.logsumexp(0) - math.log(len(each))
        if self.vote == "mean":
            return mean
        share = F.one_hot(each.argmax(2), each.shape[2]).float().mean(0)
        mixed: Tensor = _VOTES * share + (1 - _VOTES) * mean.exp()
        return mixed.log()

    def embed(self, images: Tensor) -> Tensor:
        return torch.cat([member.embed(images) for member in self.models()], dim=1)

    def blocks(self) -> list[nn.Module]:
        return [block for member in self.models() for block in member.blocks()]

    def heads(self) -> list[nn.Module]:
        return [head for member in self.models() for head in member.heads()]

    def models(self) -> list[Learner]:
        """The members, one per shard."""
        return list(self.members)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Cut:
    """Where each training image went.

    Attributes:
        indices: [N] int64, ascending: the images, as the dataset counts them.
        shard: [N] int64.
        slice: [N] int64, within the shard, in the order of training.
    """

    indices: Tensor
    shard: Tensor
    slice: Tensor

    @classmethod
    def at_random(cls, data: Mapping[str, ImageData], how: Shards, seed: int) -> "Cut":
        """Shards and slices of forget and retain images together, alike in size; whoever forgets keeps the map."""
        indices = join([data["forget"], data["retain"]]).indices
        place = torch.from_numpy(np.random.default_rng(seed).permutation(len(indices)))
        return cls(indices, place % how.count, place // how.count % how.slices)

    def of(self, data: ImageData) -> "Cut":
        """The map of some of these images, in their order."""
        rows = torch.searchsorted(self.indices, data.indices)
        return Cut(data.indices, self.shard[rows], self.slice[rows])

    def first_slices(self) -> dict[int, int]:
        """Shard -> the earliest slice that any of these images is in; shards that hold none are left out."""
        return {shard: int(self.slice[self.shard == shard].min()) for shard in sorted(set(self.shard.tolist()))}


def epochs_of(epochs: int, slices: int) -> list[int]:
    """Epochs on each slice and those before it; in all as many images are seen as in `epochs` of the whole shard."""
    pace = 2 * epochs / (slices + 1)
    return [math.floor(number * pace) - math.floor((number - 1) * pace) for number in range(1, slices + 1)]


@dataclass(frozen=True)
class ShardTraining:
    """How the model of one shard comes about; the streams of each slice are its own, whatever came before.

    Attributes:
        build: seed -> an untrained member.
        how: Shards and slices.
        recipe: Of the original; its epochs are spread over the slices.
        seed: Of the whole ensemble.
        device: Where.
        progress: Called with (slice, slices).
    """

    build: Callable[[int], Learner]
    how: Shards
    recipe: Recipe
    seed: int
    device: torch.device
    progress: Progress | None = None

    def states(
        self, examples: ExampleSet, cut: Cut, shard: int, first: int = 0, kept: Weights | None = None
    ) -> Iterator[tuple[str, Weights]]:
        """("slice0", weights before it), …, ("trained", weights after the last).

        Args:
            examples: All that may be learned, the shard's among them.
            cut: The map of these.
            shard: Which.
            first: Slice to begin with.
            kept: Weights before it; of an untrained model unless given.

        Raises:
            Diverged: If a loss is not finite.
        """
        own = derive_seed(self.seed, "shard", shard)
        learner = self.build(derive_seed(own, "init")).to(self.device)
        if kept is not None:
            learner.load_state_dict(kept)
        for number in range(first, self.how.slices):
            yield f"slice{number}", _copied(learner)
            positions = ((cut.shard == shard) & (cut.slice <= number)).nonzero().squeeze(1)
            epochs = epochs_of(self.recipe.epochs, self.how.slices)[number]
            if epochs and len(positions):
                self._learn(learner, examples.altered(positions=positions), epochs, own, number)
            if self.progress is not None:
                self.progress(number + 1, self.how.slices)
        yield TRAINED, _copied(learner.eval())

    def _learn(self, learner: Learner, examples: ExampleSet, epochs: int, seed: int, number: int) -> None:
        seed = derive_seed(seed, "slice", number) if number else seed  # one slice is trained as a whole model is
        views, order = (torch.Generator().manual_seed(derive_seed(seed, name)) for name in ("augment", "order"))
        optimise(
            learner,
            examples,
            {"utility": (1.0, lambda batch: learner.loss(batch.images, batch.labels, views))},
            self.recipe.model_copy(update={"epochs": epochs}),
            order=order,
            recipe=self.recipe,
        )


@dataclass(frozen=True)
class Artefacts:
    """What training in shards left for unlearning.

    Attributes:
        forget: The map of the forget set: which shards and slices it was in.
        retain: The map of the retain set.
        training: How the original was trained, its streams included.
        kept: (shard, "slice2" say) -> weights before that slice.
        log: Takes a row for each shard that is trained again.
    """

    forget: Cut
    retain: Cut
    training: ShardTraining
    kept: Callable[[int, str], Weights]
    log: list[dict[str, float]]

    def resume(self, shard: int, first: int, examples: ExampleSet) -> Weights:
        """The shard's model, trained from before slice `first` on, on what of the shard is in `examples`."""
        before = examples.samples_seen
        states = self.training.states(examples, self.retain, shard, first, self.kept(shard, f"slice{first}"))
        weights = dict(states)[TRAINED]
        self.log.append({"shard": shard, "from_slice": first, "images": examples.samples_seen - before})
        return weights


@dataclass(frozen=True, kw_only=True)
class ShardedRequest(UnlearningRequest):
    """What a method is handed that reads what training left."""

    artefacts: Artefacts


def packed(states: Mapping[str, Weights]) -> Weights:
    """The states of one shard as one set of weights: `slice0/encoder.…`."""
    return {f"{state}/{name}": tensor for state, weights in states.items() for name, tensor in weights.items()}


def unpacked(weights: Weights, state: str) -> Weights:
    """One of the states."""
    start = f"{state}/"
    return {name.removeprefix(start): tensor for name, tensor in weights.items() if name.startswith(start)}


def assembled(shards: list[Weights]) -> Weights:
    """The weights of a ShardedClassifier from what is packed of its shards."""
    trained = [unpacked(weights, TRAINED) for weights in shards]
    return {f"members.{n}.{name}": tensor for n, own in enumerate(trained) for name, tensor in own.items()}


def _copied(learner: Learner) -> Weights:
    return {name: tensor.detach().cpu().clone() for name, tensor in learner.state_dict().items()}
