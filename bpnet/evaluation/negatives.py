"""Sentences asked about another video, where they describe nothing: what must get a low score."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from bpnet.types import Annotation


def mismatched(annotations: Sequence[Annotation], seed: int = 0) -> list[Annotation]:
    """Each sentence about another video of the same queries.

    The queries are shuffled, and each takes the video of the next one that is another video without
    this very sentence. So every video is asked about as often as it has queries, but for few.

    Args:
        annotations: Sentences about their own videos.
        seed: Of the shuffling.

    Returns:
        The sentences in their order, without those for which there is no other video. The moment
        of each is the whole video; it stands for nothing, and must not be read.
    """
    said: dict[str, set[str]] = {}
    for one in annotations:
        said.setdefault(one.video_id, set()).add(_words(one.query))
    order = np.random.default_rng(seed).permutation(len(annotations)).tolist()
    places = {query: place for place, query in enumerate(order)}
    found = []
    for number, one in enumerate(annotations):
        for step in range(1, len(order)):
            other = annotations[order[(places[number] + step) % len(order)]]
            if other.video_id != one.video_id and _words(one.query) not in said[other.video_id]:
                found.append(_asked_about(one, other))
                break
    return found


def _asked_about(one: Annotation, other: Annotation) -> Annotation:
    """A query about another query's video."""
    return dataclasses.replace(
        one,
        video_id=other.video_id,
        duration_seconds=other.duration_seconds,
        start_seconds=0.0,
        end_seconds=other.duration_seconds,
        other_moments=(),
        saliency=None,
    )


def _words(query: str) -> str:
    """Equal for the same sentence, but for case, spaces and punctuation."""
    return "".join(letter for letter in query.casefold() if letter.isalnum())
