"""A planted confounder: what a sentence names, and what comes with it.

Each sentence names an object, which is seen in one run of clips. In another run stands a context,
which nobody names. Every object has a context of its own that is seen with it at a chosen rate: so
a model that knows only which sentence belongs to which video can answer by the context as well as
by the object, and where the context is more salient it does.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from bpnet_features.confounder_knobs import Confounder
from bpnet_features.errors import FeatureError

WORD_DIM = 50
# Objects that can be named, in the order in which they are used.
WORDS = tuple(
    "kettle guitar bicycle ladder hammer piano candle umbrella mirror pillow bucket camera "
    "basket helmet blanket bottle wallet lantern violin pencil scissors balloon carpet towel "
    "spoon drum anchor compass trumpet broom shovel statue pumpkin lemon onion carrot cabbage "
    "pepper cookie sandwich turtle rabbit parrot spider dolphin penguin squirrel hedgehog sofa "
    "cupboard drawer curtain chimney fountain tractor sailboat scooter rocket wagon kite puzzle "
    "dice magnet feather".split()
)
# Nothing but function words around the object, so that the object alone is what is said.
TEMPLATES = (
    "the {}",
    "there is the {}",
    "when is the {} there",
    "here they have the {}",
    "this is where the {} is",
)
# The parts, and from which numbers of which family their videos are made. The four test parts are
# the same videos with another context each.
TEST_SPLITS = ("iid", "absent", "swapped", "context_only")
SPLITS = ("train", "val_labelled", *TEST_SPLITS)
_FAMILIES = {"train": 0, "val_labelled": 1} | dict.fromkeys(TEST_SPLITS, 2)

Array = npt.NDArray[np.float32]
Run = tuple[int, int]  # first clip, and the one behind the last


@dataclasses.dataclass(frozen=True)
class PlantedQuery:
    """A sentence, and where its object and its context are.

    Attributes:
        qid: Its id.
        query: The sentence.
        concepts: The objects that it names, numbers into `WORDS`.
        object_run: Clips of the object; where ``visible`` is false, where it would be.
        visible: Whether the object is there.
        context: Whose context is planted, a number into `WORDS`, or None.
        context_run: Clips of the context, or None.
    """

    qid: str
    query: str
    concepts: tuple[int, ...]
    object_run: Run
    visible: bool
    context: int | None
    context_run: Run | None


class PlantedWorld:
    """What the videos of a seed have in common, and the videos: pure functions of seed and id.

    Args:
        knobs: How it is made.
        seed: Another seed gives other directions and other videos, >= 0.

    Attributes:
        objects: Unit direction of each object (N, C).
        contexts: Unit direction of each object's own context (N, C).
        word_vectors: Unit vector of each word that is used, by word.

    Raises:
        FeatureError: The seed is negative.
    """

    def __init__(self, knobs: Confounder, seed: int = 0) -> None:
        if seed < 0:
            raise FeatureError(f"seed={seed}: expected an integer >= 0")
        self.knobs, self.seed = knobs, seed
        rng = np.random.default_rng((seed, 0))
        self.objects = _directions(rng, knobs.num_concepts, knobs.dim)
        self.contexts = _directions(rng, knobs.num_concepts, knobs.dim)
        said = {word for line in TEMPLATES for word in line.split() if word.isalpha()}
        words = [*WORDS[: knobs.num_concepts], "and", *sorted(said - {"and"})]
        vectors = _directions(rng, len(words), WORD_DIM)
        self.word_vectors = dict(zip(words, vectors, strict=True))

    def video_ids(self, split: str) -> list[str]:
        """The videos of a part, in order.

        Args:
            split: One of `SPLITS`.

        Returns:
            Their ids.

        Raises:
            FeatureError: There is no such part.
        """
        counts = {"train": self.knobs.num_train, "val_labelled": self.knobs.num_val}
        if split not in SPLITS:
            raise FeatureError(f"split {split!r}: expected one of {', '.join(SPLITS)}")
        return [f"{split}_{number:05d}" for number in range(counts.get(split, self.knobs.num_test))]

    def queries(self, video_id: str) -> list[PlantedQuery]:
        """The sentences about a video.

        Args:
            video_id: An id of `video_ids`.

        Returns:
            At least one.
        """
        knobs, split = self.knobs, video_id.rsplit("_", 1)[0]
        # The same draws whatever the knobs are: two worlds of a seed differ in what was turned.
        rng = self.random(video_id, 1)
        num_queries = int(rng.integers(1, knobs.queries_per_video + 1))
        sizes = rng.integers(1, knobs.concepts_per_query + 1, num_queries)
        named = rng.permutation(knobs.num_concepts)[: int(sizes.sum())]
        concepts = np.split(named, np.cumsum(sizes)[:-1])
        runs = self._runs(rng, num_queries)
        queries = []
        for place, (own, (object_run, context_run)) in enumerate(zip(concepts, runs, strict=True)):
            chance, kind = rng.random(2)
            other = int(rng.integers(knobs.num_concepts))
            words = [WORDS[concept] for concept in own]
            template = TEMPLATES[int(rng.integers(len(TEMPLATES)))]
            visible = bool(rng.random() >= knobs.object_dropout)
            context: int | None = int(own[0])
            if split == "absent":
                context = None
            elif split == "swapped":
                rivals = [
                    one for one in range(knobs.num_concepts) if one not in set(named.tolist())
                ]
                rivals = rivals or [one for one in range(knobs.num_concepts) if one != own[0]]
                context = rivals[other % len(rivals)]
            elif split != "context_only" and chance >= knobs.rho:
                context = None if kind < 0.5 else other
            queries.append(
                PlantedQuery(
                    f"{video_id}_{place}",
                    template.format(" and the ".join(words)),
                    tuple(map(int, own)),
                    object_run,
                    visible and split != "context_only",
                    context,
                    None if context is None else context_run,
                )
            )
        return queries

    def clips(self, video_id: str) -> Array:
        """The features of a video (T, C): objects, contexts and noise, added."""
        knobs, rng = self.knobs, self.random(video_id, 2)
        found = knobs.noise * rng.standard_normal((knobs.num_clips, knobs.dim), np.float32)
        for query in self.queries(video_id):
            if query.visible:
                found[slice(*query.object_run)] += self.objects[list(query.concepts)].sum(axis=0)
            if query.context is not None and query.context_run is not None:
                planted = np.float32(knobs.salience) * self.contexts[query.context]
                found[slice(*query.context_run)] += planted
        return found

    def random(self, video_id: str, stream: int) -> np.random.Generator:
        """Random numbers of a video; the test parts' videos of one number share them.

        Args:
            video_id: An id of `video_ids`.
            stream: What they are drawn for.

        Returns:
            The generator.
        """
        split, number = video_id.rsplit("_", 1)
        return np.random.default_rng((self.seed, stream, _FAMILIES[split], int(number)))

    def _runs(self, rng: np.random.Generator, num_queries: int) -> list[tuple[Run, Run]]:
        """Runs of the object and the context of each sentence, apart from one another."""
        knobs = self.knobs
        lengths = rng.integers(knobs.shortest, knobs.longest + 1, (num_queries, 2))
        order = rng.permutation(2 * num_queries)
        shares = rng.dirichlet(np.ones(2 * num_queries + 1))
        early, side = rng.random(2)
        idle = knobs.num_clips - int(lengths.sum())
        starts = np.zeros(2 * num_queries, dtype=int)
        ends = np.cumsum(lengths.ravel()[order])
        gaps = np.floor(np.cumsum(shares)[:-1] * idle).astype(int)
        starts[order] = ends - lengths.ravel()[order] + gaps
        runs = [
            ((start, start + size), (other, other + length))
            for (start, other), (size, length) in zip(
                starts.reshape(-1, 2).tolist(), lengths.tolist(), strict=True
            )
        ]
        if knobs.location_bias:
            size, length = lengths[0].tolist()
            first = int(early * (knobs.num_clips // 3 - size + 1))
            left = knobs.num_clips - length - first - size
            start = first + size + int(shares[0] * (left + 1))
            runs = [((first, first + size), (start, start + length))]
        if knobs.overlap:
            runs = [self._covered(one, bool(side < 0.5)) for one, _ in runs]
        return runs

    def _covered(self, run: Run, left: bool) -> tuple[Run, Run]:
        """A run, and a context of as many clips that covers a share of it from one side."""
        start, end = run
        size = end - start
        shift = size - round(self.knobs.overlap * size)
        first = start - shift if left else start + shift
        if not 0 <= first <= self.knobs.num_clips - size:
            first = 2 * start - first  # the other side
        return run, (first, first + size)


def _directions(rng: np.random.Generator, count: int, dim: int) -> Array:
    drawn = rng.standard_normal((count, dim))
    unit: Array = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
    return unit
