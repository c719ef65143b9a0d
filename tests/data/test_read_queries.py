"""Sentences without moments: read from files that have none, in part or at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bpnet.data.annotations import read_annotations, read_queries
from bpnet.data.collate import collate
from bpnet.data.dataset import MomentDataset
from bpnet.data.vocabulary import build_vocabulary
from bpnet.errors import AnnotationError
from bpnet.types import Annotation, Query
from bpnet_features import open_features

ROW = {"video_id": "v", "query": " a  dog ", "duration": 9}


def lines(folder: Path, *rows: dict[str, Any]) -> Path:
    file = folder / "annotations.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_moments_are_neither_needed_nor_kept(tmp_path: Path) -> None:
    path = lines(
        tmp_path,
        {**ROW, "split": "train"},
        {**ROW, "split": "train", "start": 1, "end": 2},
        {**ROW, "split": "train", "start": 5, "end": 2},  # dirt that would be dropped
        {**ROW, "split": "train", "query": "?!"},
        {**ROW, "split": "val", "start": 3, "end": 4},
    )
    found = read_queries("jsonl", path, "train")
    assert found == [Query(f"v_{number}", "v", "a dog", 9, "train") for number in range(3)]
    # The other part is read as ever, although these rows have no moment.
    assert [one.qid for one in read_annotations("jsonl", path, "val")[0]] == ["v_4"]
    with pytest.raises(AnnotationError, match="2 faults: line 1: start=None"):
        read_annotations("jsonl", path, "train")


def test_csv_without_columns_for_moments(tmp_path: Path) -> None:
    file = tmp_path / "train.csv"
    file.write_text("video_id,query,duration\nv,a dog,9\n")
    assert read_queries("csv", file, "train") == [Query("v_0", "v", "a dog", 9.0, "train")]
    with pytest.raises(AnnotationError, match=r"columns .*: expected a header with video_id"):
        read_annotations("csv", file, "train")


def test_questions_of_qvhighlights(tmp_path: Path) -> None:
    file = tmp_path / "highlight_train_release.jsonl"
    row = {"qid": 3158, "query": "A boat", "duration": 150, "vid": "_6hnl_BrFvs_0_150"}
    file.write_text(json.dumps(row) + "\n")
    assert [one.qid for one in read_queries("qvhighlights", file, "train")] == ["3158"]
    with pytest.raises(AnnotationError, match="none of its 1 queries has a moment"):
        read_annotations("qvhighlights", file, "train")


def test_damage_is_still_told(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="has no duration > 0"):
        read_queries("jsonl", lines(tmp_path, {**ROW, "duration": 0}), "train")
    with pytest.raises(AnnotationError, match=r"none of its 1 queries of split 'train' has a word"):
        read_queries("jsonl", lines(tmp_path, {**ROW, "query": "..."}), "train")


def test_weights_reach_the_batch(tiny_store: Path, tiny_annotations: list[Annotation]) -> None:
    vocabulary, _ = build_vocabulary(
        [one.query for one in tiny_annotations],
        tokenizer="words",
        characters=False,
        max_query_tokens=9,
        vectors=None,
        min_word_count=1,
    )
    store = open_features(tiny_store)

    def dataset(weights: dict[str, float] | None) -> MomentDataset:
        return MomentDataset(tiny_annotations, store, vocabulary, 16, weights=weights)

    weighted = dataset({"v0_1": 0.25})
    batch = collate([weighted[place] for place in range(3)])
    assert batch.weights is not None and batch.weights.tolist() == [1, 0.25, 1]
    assert collate([weighted[0], weighted[2]]).weights is None
    assert collate([dataset(None)[1]]).weights is None
