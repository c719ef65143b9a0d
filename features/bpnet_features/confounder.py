"""Makes clip features with a planted confounder: what a sentence names, and what comes with it.

Each sentence names an object, which is seen in one run of clips. In another run stands a context,
which nobody names. Every object has a context of its own that is seen with it at a chosen rate: so
a model that knows only which sentence belongs to which video can answer by the context as well as
by the object, and where the context is more salient it does. Where the context lies is written to
a file of its own, for measuring; no model reads it.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bpnet_features.atomic import write_text_atomically
from bpnet_features.errors import FeatureError
from bpnet_features.spec import FeatureSpec
from bpnet_features.writer import FeatureWriter

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
class Confounder:
    """The knobs of the generator.

    Attributes:
        rho: Rate at which an object's own context is planted, in [0, 1]. Of the other videos, half
            have no context and half any one: ``P(own | object) = rho + (1 - rho) / (2 N)``.
        salience: Amplitude of the context; that of the object is 1.
        overlap: Share of the object's run that the context covers, in [0, 1].
        location_bias: Whether the object lies in the first third of the video.
        object_dropout: Share of videos that do not show their object, in [0, 1).
        num_concepts: Different objects N, at most 64.
        num_clips: Clips T of a video.
        dim: Width C of the features.
        noise: Standard deviation of the noise of each number.
        concepts_per_query: Most objects that a sentence names, all in the same run.
        queries_per_video: Most sentences about a video, each with a run and a context of its own.
        shortest: Fewest clips of a run.
        longest: Most clips of a run.
        num_train: Videos to train on.
        num_val: Videos of ``val_labelled``.
        num_test: Videos of each of the test parts.

    Raises:
        FeatureError: A value is out of range.
    """

    rho: float = 0.9
    salience: float = 1.6
    overlap: float = 0.0
    location_bias: bool = False
    object_dropout: float = 0.0
    num_concepts: int = 8
    num_clips: int = 32
    dim: int = 48
    noise: float = 0.35
    concepts_per_query: int = 1
    queries_per_video: int = 1
    shortest: int = 4
    longest: int = 7
    num_train: int = 1600
    num_val: int = 80
    num_test: int = 400

    def __post_init__(self) -> None:
        ranges = {
            "rho": (0, 1),
            "salience": (0, 100),
            "overlap": (0, 1),
            "object_dropout": (0, 1),
            "num_concepts": (2, len(WORDS)),
            "num_clips": (4, 100_000),
            "dim": (2, 100_000),
            "noise": (0, 100),
            "concepts_per_query": (1, self.num_concepts),
            "queries_per_video": (1, self.num_concepts // self.concepts_per_query),
            "shortest": (1, self.longest),
            "longest": (1, self.num_clips // (2 * self.queries_per_video)),
            "num_train": (1, 10**7),
            "num_val": (1, 10**7),
            "num_test": (1, 10**7),
        }
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise FeatureError(f"confounder: {name}={value}: expected {low} to {high}")
        if self.location_bias and (self.queries_per_video > 1 or self.longest > self.num_clips // 3):
            raise FeatureError(
                f"confounder: location_bias with queries_per_video={self.queries_per_video}, "
                f"longest={self.longest}: expected one run that fits the first third of "
                f"{self.num_clips} clips"
            )

    @classmethod
    def rich(cls, **knobs: Any) -> Confounder:
        """Larger and closer to real sets: 64 objects, 128 clips, several sentences a video."""
        values = {
            "num_concepts": 64,
            "num_clips": 128,
            "dim": 512,
            "concepts_per_query": 3,
            "queries_per_video": 4,
            "shortest": 6,
            "longest": 16,
        }
        return cls(**{**values, **knobs})

    @classmethod
    def from_texts(cls, given: Mapping[str, str]) -> Confounder:
        """Knobs as a command line gives them.

        Args:
            given: Texts by name; ``rich`` = ``true`` begins from `rich`.

        Returns:
            The knobs.

        Raises:
            FeatureError: A name is unknown, or a value is not of its type or range.
        """
        names = {field.name: field.default for field in dataclasses.fields(cls)}
        values: dict[str, Any] = {}
        rich = False
        for name, text in given.items():
            kind = bool if name == "rich" else type(names.get(name))
            try:
                if name not in names and name != "rich":
                    raise FeatureError(
                        f"confounder: {name}={text}: expected one of {', '.join(names)}, rich"
                    )
                value = {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
            except (KeyError, ValueError) as err:
                if isinstance(err, FeatureError):
                    raise
                raise FeatureError(
                    f"confounder: {name}={text}: expected a value such as {names.get(name, 'true')}"
                ) from err
            if name == "rich":
                rich = value
            else:
                values[name] = value
        return cls.rich(**values) if rich else cls(**values)


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
        knobs = self.knobs
        split, number = video_id.rsplit("_", 1)
        # The same draws whatever the knobs are: two worlds of a seed differ in what was turned.
        rng = np.random.default_rng((self.seed, 1, _FAMILIES[split], int(number)))
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
                rivals = [one for one in range(knobs.num_concepts) if one not in set(named.tolist())]
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
        knobs = self.knobs
        split, number = video_id.rsplit("_", 1)
        rng = np.random.default_rng((self.seed, 2, _FAMILIES[split], int(number)))
        found = knobs.noise * rng.standard_normal((knobs.num_clips, knobs.dim), np.float32)
        for query in self.queries(video_id):
            if query.visible:
                found[slice(*query.object_run)] += self.objects[list(query.concepts)].sum(axis=0)
            if query.context is not None and query.context_run is not None:
                planted = np.float32(knobs.salience) * self.contexts[query.context]
                found[slice(*query.context_run)] += planted
        return found

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
            (_, (start, end)), size, length = runs[0], *lengths[0].tolist()
            first = int(early * (knobs.num_clips // 3 - size + 1))
            last = knobs.num_clips - length
            start = first + size + int(shares[0] * (last - first - size + 1))
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


def write_confounded(
    root: str | os.PathLike[str], knobs: Confounder, seed: int = 0
) -> list[PlantedQuery]:
    """Write a planted data set as any other one is stored.

    ``features.h5``, a feature store of one clip a second; ``annotations.jsonl``, the sentences and
    their moments; ``vectors.txt``, word vectors; ``contexts.jsonl``, a line a sentence with where
    its context is; ``confounder.json``, the knobs and the seed. Each appears whole or not at all,
    the annotations last. In ``context_only`` the moment is where the object would be.

    Args:
        root: Folder to write to; it is created.
        knobs: How the set is made.
        seed: Of the random numbers.

    Returns:
        All sentences, in order.

    Raises:
        FeatureError: The seed is negative.
    """
    world = PlantedWorld(knobs, seed)
    folder = Path(root)
    folder.mkdir(parents=True, exist_ok=True)
    spec = FeatureSpec("planted", knobs.dim, seconds_per_clip=1.0, normalisation="none")
    duration = float(knobs.num_clips)
    every, rows, contexts = [], [], []
    with FeatureWriter(folder / "features.h5", spec) as writer:
        for split in SPLITS:
            for video_id in world.video_ids(split):
                writer.add(video_id, world.clips(video_id), duration)
                for one in world.queries(video_id):
                    every.append(one)
                    rows.append(_row(one, video_id, split, duration))
                    contexts.append(_context_row(one, video_id))
    lines = [
        f"{word} {' '.join(f'{value:.6f}' for value in vector.tolist())}\n"
        for word, vector in world.word_vectors.items()
    ]
    write_text_atomically(folder / "vectors.txt", "".join(lines))
    settings = dataclasses.asdict(knobs) | {"seed": seed}
    write_text_atomically(folder / "confounder.json", json.dumps(settings, indent=2) + "\n")
    write_text_atomically(folder / "contexts.jsonl", "".join(_lines(contexts)))
    write_text_atomically(folder / "annotations.jsonl", "".join(_lines(rows)))
    return every


def _directions(rng: np.random.Generator, count: int, dim: int) -> Array:
    drawn = rng.standard_normal((count, dim))
    unit: Array = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
    return unit


def _lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    return (json.dumps(row) + "\n" for row in rows)


def _row(query: PlantedQuery, video_id: str, split: str, duration: float) -> dict[str, Any]:
    start, end = map(float, query.object_run)
    return {
        "qid": query.qid,
        "video_id": video_id,
        "query": query.query,
        "start": start,
        "end": end,
        "duration": duration,
        "split": split,
    }


def _context_row(query: PlantedQuery, video_id: str) -> dict[str, Any]:
    """Seconds of the object and the context; null where one is not there."""
    return {
        "qid": query.qid,
        "video_id": video_id,
        "concepts": [WORDS[concept] for concept in query.concepts],
        "object": list(map(float, query.object_run)) if query.visible else None,
        "context_of": None if query.context is None else WORDS[query.context],
        "context": None if query.context_run is None else list(map(float, query.context_run)),
    }
