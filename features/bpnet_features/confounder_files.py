"""Writes a planted set as any other one is stored, and where its contexts are beside it."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bpnet_features.atomic import write_text_atomically
from bpnet_features.confounder import SPLITS, WORDS, PlantedQuery, PlantedWorld
from bpnet_features.confounder_knobs import Confounder
from bpnet_features.spec import FeatureSpec
from bpnet_features.writer import FeatureWriter

SECONDS_PER_CLIP = 1.0


def write_confounded(root: str | os.PathLike[str], knobs: Confounder, seed: int = 0) -> int:
    """Write planted features, their sentences and their word vectors.

    ``features.h5``, a feature store of one clip a second; ``vectors.txt``, word vectors; and the
    files of `write_tables`. Each appears whole or not at all, the annotations last.

    Args:
        root: Folder to write to; it is created.
        knobs: How the set is made.
        seed: Of the random numbers, >= 0.

    Returns:
        Number of videos.

    Raises:
        FeatureError: The seed is negative.
    """
    world = PlantedWorld(knobs, seed)
    folder = Path(root)
    folder.mkdir(parents=True, exist_ok=True)
    spec = FeatureSpec(
        "planted", knobs.dim, seconds_per_clip=SECONDS_PER_CLIP, normalisation="none"
    )
    planted: dict[str, list[PlantedQuery]] = {}
    with FeatureWriter(folder / "features.h5", spec) as writer:
        for split in SPLITS:
            for video_id in world.video_ids(split):
                clips = world.clips(video_id)
                writer.add(video_id, clips, len(clips) * SECONDS_PER_CLIP)
                planted[video_id] = world.queries(video_id)
    write_vectors(folder / "vectors.txt", world.word_vectors)
    write_tables(folder, world, planted, SECONDS_PER_CLIP, WORDS)
    return len(planted)


def write_vectors(path: Path, vectors: Mapping[str, npt.NDArray[np.float32]]) -> None:
    """Write word vectors as text, ``word v1 v2 ...`` a line."""
    lines = [
        f"{word} {' '.join(f'{value:.6f}' for value in vector.tolist())}"
        for word, vector in vectors.items()
    ]
    write_text_atomically(path, "\n".join(lines) + "\n")


def write_tables(
    folder: Path,
    world: PlantedWorld,
    planted: Mapping[str, list[PlantedQuery]],
    seconds_per_clip: float,
    names: tuple[str, ...],
) -> None:
    """Write what is said of the videos, and what is in them.

    ``confounder.json``, the knobs and the seed; ``contexts.jsonl``, a line a sentence with where
    its object and its context are, for measuring; ``annotations.jsonl``, the sentences and their
    moments. In ``context_only`` the moment is where the object would be.

    Args:
        folder: Where to write.
        world: The set.
        planted: The sentences of each video.
        seconds_per_clip: Length of a clip.
        names: Of the objects.
    """
    rows, contexts = [], []
    for video_id, queries in planted.items():
        for one in queries:
            start, end = _seconds(one.object_run, seconds_per_clip)
            rows.append(
                {
                    "qid": one.qid,
                    "video_id": video_id,
                    "query": one.query,
                    "start": start,
                    "end": end,
                    "duration": world.knobs.num_clips * seconds_per_clip,
                    "split": video_id.rsplit("_", 1)[0],
                }
            )
            run = one.context_run
            contexts.append(
                {
                    "qid": one.qid,
                    "video_id": video_id,
                    "concepts": [names[concept] for concept in one.concepts],
                    "object": [start, end] if one.visible else None,
                    "context_of": None if one.context is None else names[one.context],
                    "context": None if run is None else _seconds(run, seconds_per_clip),
                }
            )
    settings = dataclasses.asdict(world.knobs) | {"seed": world.seed}
    write_text_atomically(folder / "confounder.json", json.dumps(settings, indent=2) + "\n")
    write_text_atomically(folder / "contexts.jsonl", _lines(contexts))
    write_text_atomically(folder / "annotations.jsonl", _lines(rows))


def _seconds(run: tuple[int, int], seconds_per_clip: float) -> list[float]:
    return [place * seconds_per_clip for place in run]


def _lines(rows: Iterable[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)
