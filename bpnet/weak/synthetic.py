"""The planted confounder in memory, as a head trains on it and is measured with it.

`bpnet_features.confounder` makes the data; `bpnet features sample DIR --confounder` writes the same
as a feature store and an annotation file, on which everything else runs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bpnet.contexts.pool import concept_table
from bpnet.weak.concepts import Concepts, content_words, fit_concepts
from bpnet.weak.mil import Pairs
from bpnet_features.confounder import PlantedWorld


@dataclasses.dataclass(frozen=True, eq=False)
class PlantedPairs:
    """A part of a planted set.

    Attributes:
        pairs: Videos and sentences, as training reads them.
        objects: Per sentence the run of what it names, in clips (1, 2); (0, 2) where it is not
            there.
        targets: Per sentence where that is, or would be (1, 2).
        contexts: Per sentence the run of its context, in clips (1, 2), or (0, 2).
    """

    pairs: Pairs
    objects: list[npt.NDArray[np.float64]]
    targets: list[npt.NDArray[np.float64]]
    contexts: list[npt.NDArray[np.float64]]


def planted_concepts(world: PlantedWorld) -> Concepts:
    """The concepts of the training sentences, found as those of any others."""
    said = [one.query.split() for name in world.video_ids("train") for one in world.queries(name)]
    return fit_concepts(said, world.word_vectors)


def planted_pairs(world: PlantedWorld, split: str, concepts: Concepts) -> PlantedPairs:
    """A part of a planted set.

    Args:
        world: The set.
        split: Name of the part.
        concepts: What `planted_concepts` gave.

    Returns:
        The part.
    """
    names = world.video_ids(split)
    asked = [(place, one) for place, name in enumerate(names) for one in world.queries(name)]
    video = torch.from_numpy(np.stack([world.clips(name) for name in names]))
    said = [one.query.split() for _, one in asked]
    pairs = Pairs(
        video=video,
        video_mask=torch.ones(video.shape[:2], dtype=torch.bool),
        queries=torch.stack([query_vector(tokens, world.word_vectors) for tokens in said]),
        concepts=concept_table([concepts.of(tokens) for tokens in said], concepts.count),
        video_index=torch.tensor([place for place, _ in asked]),
    )
    return PlantedPairs(
        pairs,
        [_runs(one.object_run if one.visible else None) for _, one in asked],
        [_runs(one.object_run) for _, one in asked],
        [_runs(one.context_run) for _, one in asked],
    )


def query_vector(tokens: list[str], vectors: Mapping[str, npt.ArrayLike]) -> Tensor:
    """The mean of the vectors of its content words (E,)."""
    found = [np.asarray(vectors[word], np.float32) for word in content_words(tokens)]
    return torch.from_numpy(np.mean(found, axis=0))


def _runs(run: tuple[int, int] | None) -> npt.NDArray[np.float64]:
    return np.array([] if run is None else [run], np.float64).reshape(-1, 2)
