"""Pairs that a batch is given in training: sentences of other videos, and each pair again."""

from __future__ import annotations

import numpy as np

from bpnet.data.collate import collate
from bpnet.training.copies import with_copies
from bpnet.training.mismatches import with_strangers
from bpnet.types import Annotation, Batch, Sample
from bpnet_features import ClipGrid

LENGTHS = {"a": 4, "b": 2, "c": 3}


def batch_about(*names: str) -> Batch:
    """Pairs about videos; their words are the letter of the video and the pair's place + 2."""
    videos = {name: np.full((n, 2), ord(name), np.float32) for name, n in LENGTHS.items()}
    samples = []
    for place, name in enumerate(names):
        words = np.array([ord(name), place + 2])
        annotation = Annotation(str(place), name, "a dog", 0.0, 1.0, 4.0, "train")
        letters = np.zeros((2, 0), np.int64)
        grid = ClipGrid.uniform(LENGTHS[name], 4.0)
        samples.append(Sample(videos[name], grid, words, letters, annotation))
    return collate(samples)


def pairs(batch: Batch) -> list[tuple[str, int, str, int]]:
    """Video, its number of clips, and the two words, of each pair."""
    found = []
    for pair, video in enumerate(batch.video_index.tolist()):
        words = batch.query_ids[pair].tolist()
        clips = int(batch.video_mask[pair].sum())
        found.append((chr(int(batch.video[video, 0, 0])), clips, chr(words[0]), words[1]))
    return found


def test_each_video_once_with_the_first_sentence_of_the_next() -> None:
    batch = batch_about("a", "a", "b", "c", "c")
    found = with_strangers(batch)
    assert found.target_spans is found.target_cells is None
    assert found.video is batch.video
    assert pairs(found)[:5] == pairs(batch)
    assert pairs(found)[5:] == [("a", 4, "b", 4), ("b", 2, "c", 5), ("c", 3, "a", 2)]


def test_a_video_is_never_its_own_stranger() -> None:
    found = pairs(with_strangers(batch_about("a", "b", "a")))
    assert found[3:] == [("a", 4, "b", 3), ("b", 2, "a", 4), ("a", 4, "b", 3)]


def test_one_video_has_no_strangers() -> None:
    batch = batch_about("a", "a")
    assert pairs(with_strangers(batch)) == pairs(batch)


def test_copies_have_videos_of_their_own() -> None:
    batch = batch_about("a", "a", "b")
    asked = with_strangers(batch)
    found = with_copies(asked, len(batch.video_index))
    assert pairs(found) == pairs(asked) + pairs(batch)
    assert found.video_index.tolist() == [0, 0, 1, 0, 1, 2, 2, 3]
    assert len(found.video) == 4
