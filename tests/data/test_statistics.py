"""Statistics worked by hand, and against those of the published files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpnet.data.annotations import read_annotations
from bpnet.data.statistics import describe, table
from bpnet.types import Annotation

ANNOTATIONS = [
    Annotation("1", "a", "A person opens, the DOOR.", 0.0, 2.0, 8.0, "train"),
    Annotation("2", "b", "the dog's dog runs", 5.0, 10.0, 20.0, "train", ((15.0, 20.0),)),
    Annotation("3", "a", "runs ! -- (runs)", 4.0, 8.0, 8.0, "train"),
]


def test_by_hand() -> None:
    part = describe(ANNOTATIONS, "train")
    assert part.split == "train"
    # Queries in order, with all their moments.
    assert part.moments.tolist() == [[0, 2], [5, 10], [15, 20], [4, 8]]
    assert part.durations.tolist() == [8, 20, 20, 8]
    assert part.moment_seconds.tolist() == [2, 5, 5, 4]
    assert part.relative_lengths.tolist() == [2 / 8, 5 / 20, 5 / 20, 4 / 8]
    assert part.relative_moments.tolist() == [[0, 0.25], [0.25, 0.5], [0.75, 1], [0.5, 1]]
    assert part.moments_per_query.tolist() == [1, 2, 1]
    # Each video once.
    assert part.video_seconds.tolist() == [8, 20]
    assert part.hours == 28 / 3600
    # White space parts words, as in "runs | ! | -- | (runs)".
    assert part.words_per_query.tolist() == [5, 4, 4]
    # Of equal number: by alphabet. "a" and "the" are function words, "!" and "--" are no words.
    counts = [("runs", 3), ("dog", 1), ("dog's", 1), ("door", 1), ("opens", 1), ("person", 1)]
    assert list(part.words) == counts
    assert part.num_distinct_words == len({"a", "the"} | {word for word, _ in counts})


def test_a_video_of_two_durations_counts_once() -> None:
    others = [Annotation(str(i), "v", "runs", 0, 1, 4.0 + i, "train") for i in range(3)]
    part = describe(others, "train")
    assert part.video_seconds.tolist() == [4]
    assert part.durations.tolist() == [4, 5, 6]


def test_table() -> None:
    """Moments: mean 16 / 4, median 4.5; shares: mean 1.25 / 4, median 0.25; videos: 28 / 2."""
    lines = table([describe(ANNOTATIONS, "train"), describe(ANNOTATIONS[:1], "val")]).splitlines()
    rows = [[cell.strip() for cell in line.split("  ") if cell] for line in lines]
    assert rows == [
        [
            *("part", "queries", "moments", "videos", "hours"),
            *("video s", "moment s", "share of video", "words", "distinct words"),
        ],
        [
            *("train", "3", "4", "2", "0.0"),
            *("14.0 (14.0)", "4.0 (4.5)", "0.312 (0.250)", "4.3 (4.0)", "8"),
        ],
        [
            *("val", "1", "1", "1", "0.0"),
            *("8.0 (8.0)", "2.0 (2.0)", "0.250 (0.250)", "5.0 (5.0)", "5"),
        ],
        ["seconds, share and words: mean (median)"],
    ]
    assert len({len(line) for line in lines[:3]}) == 1


@given(st.lists(st.text(min_size=1).filter(str.strip), min_size=1, max_size=5))
def test_any_sentences(sentences: list[str]) -> None:
    queries = [Annotation(str(i), "v", text, 0, 1, 2, "train") for i, text in enumerate(sentences)]
    part = describe(queries, "train")
    assert part.words_per_query.tolist() == [len(text.split()) for text in sentences]
    assert len(part.words) <= part.num_distinct_words <= part.words_per_query.sum()
    assert sum(count for _, count in part.words) <= part.words_per_query.sum()
    for word, _ in part.words:
        assert word and not word[0].isspace()
    assert table([part]).count("\n") == 2


@pytest.mark.shared
@pytest.mark.parametrize(
    ("dataset", "folder", "split", "video", "mean", "median", "share", "words"),
    [
        # Counted in the published files, after clipping, apart from this code.
        ("charades_sta", "charades_sta", "train", 30.9, 8.2, 7.3, 0.269, 6.2),
        ("charades_sta", "charades_sta", "test", 29.5, 7.8, 7.0, 0.271, 6.2),
        pytest.param(
            *("activitynet", "activitynet_captions", "train", 117, 35.5, 21.2, 0.306, 13.5),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("activitynet", "activitynet_captions", "val_1", 118, 37.7, 22.9, 0.323, 13.6),
            marks=pytest.mark.slow,
        ),
        ("activitynet", "activitynet_captions", "val_2", 118, 40.2, 26.4, 0.346, 12.0),
        ("tacos_2dtan", "tacos", "train", 224, 23.3, 10.8, 0.102, 8.4),
        ("tacos_2dtan", "tacos", "test", 367, 31.9, 14.4, 0.088, 8.5),
    ],
)
def test_published_files(
    shared_dir: Path,
    dataset: str,
    folder: str,
    split: str,
    video: float,
    mean: float,
    median: float,
    share: float,
    words: float,
) -> None:
    path = shared_dir / "data" / "annotations" / folder
    part = describe(read_annotations(dataset, path, split)[0], split)
    # Each number is given to so many digits.
    assert part.video_seconds.mean() == pytest.approx(video, abs=0.5 if video > 100 else 0.05)
    assert part.moment_seconds.mean() == pytest.approx(mean, abs=0.0501)
    assert np.median(part.moment_seconds) == pytest.approx(median, abs=0.0501)
    assert part.relative_lengths.mean() == pytest.approx(share, abs=0.000501)
    assert part.words_per_query.mean() == pytest.approx(words, abs=0.0501)
