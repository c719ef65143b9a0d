"""The validation part: split off by video, the same everywhere."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpnet.data.annotations import carve_validation
from bpnet.errors import AnnotationError, ConfigError
from bpnet.types import Annotation


def pairs_of(num_videos: int) -> list[Annotation]:
    return [
        Annotation(f"v{number}_{index}", f"v{number}", "a man", 0.0, 1.0, 2.0, "train")
        for number in range(num_videos)
        for index in range(2)
    ]


@given(st.integers(2, 30), st.floats(0.001, 0.99), st.integers(0, 5), st.randoms())
def test_validation_is_carved_by_video(
    num_videos: int, fraction: float, seed: int, random: Any
) -> None:
    annotations = pairs_of(num_videos)
    train, validation = carve_validation(annotations, fraction, seed)
    videos = [{pair.video_id for pair in part} for part in (train, validation)]
    assert videos[0] and videos[1] and not videos[0] & videos[1]
    assert len(train) + len(validation) == len(annotations)
    assert abs(len(videos[1]) - fraction * num_videos) <= 1
    assert train == [pair for pair in annotations if pair in train]
    shuffled = annotations.copy()
    random.shuffle(shuffled)
    assert {pair.qid for pair in carve_validation(shuffled, fraction, seed)[1]} == {
        pair.qid for pair in validation
    }


def test_carving_by_hand() -> None:
    annotations = pairs_of(20)
    assert carve_validation(annotations, 0.0, 1) == (annotations, [])
    # The four smallest SHA-256 of "0:v0" to "0:v19". The choice must stay the same on every machine
    # and in every version: a resumed run would otherwise train on its validation videos.
    chosen = {pair.video_id for pair in carve_validation(annotations, 0.2, 0)[1]}
    assert chosen == {"v3", "v5", "v9", "v10"}
    assert chosen != {pair.video_id for pair in carve_validation(annotations, 0.2, 1)[1]}
    with pytest.raises(AnnotationError, match=r"fraction=0\.5 of 1 videos"):
        carve_validation(pairs_of(1), 0.5, 0)
    for fraction in (-0.1, 1.0, math.nan):
        with pytest.raises(ConfigError, match=f"fraction={fraction}"):
            carve_validation(annotations, fraction, 0)
