"""Localizer: the same answers as evaluation, each video encoded once, clear errors."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tiny_run
import torch
from tiny_clip import save_clip

from bpnet import Localizer, Moment
from bpnet.build import build_from_checkpoint
from bpnet.checkpoint import BEST, Checkpoint
from bpnet.data.annotations import read_annotations
from bpnet.data.dataset import MomentDataset
from bpnet.errors import (
    AnnotationError,
    CheckpointError,
    ConfigError,
    FeatureError,
    MissingVideoError,
)
from bpnet.evaluation.intervals import tiou
from bpnet.evaluation.predict import predict
from bpnet.evaluation.predictions import Prediction
from bpnet_features import ClipGrid, FeatureSpec, FeatureStore, FeatureWriter
from bpnet_features.backbones.backbone import Extraction
from bpnet_features.backbones.choose import load_backbone
from bpnet_features.backbones.grid import GRID_SPEC
from bpnet_features.extract_many import extract_videos

QUERY = "the small circle spins"


@pytest.fixture(scope="module")
def evaluated(run_dir: Path, store: FeatureStore) -> list[Prediction]:
    """Evaluation's answers to all 24 queries, in batches of 5 that mix videos and lengths."""
    annotations = [
        annotation
        for split in ("train", "val", "test")
        for annotation in read_annotations("jsonl", store.path.parent, split)[0]
    ]
    model, vocabulary = build_from_checkpoint(Checkpoint.load(run_dir))
    dataset = MomentDataset(annotations, store, vocabulary, max_clips=16)
    return list(predict(model, dataset, batch_size=5, device=torch.device("cpu")))


def assert_same_answer(found: Sequence[Moment], expected: Sequence[Moment]) -> None:
    """Equal to 1e-5; the scores of a video in a batch and of one alone may differ by rounding."""
    assert len(found) == len(expected)
    rows = [[(m.start_seconds, m.end_seconds, m.score) for m in ms] for ms in (found, expected)]
    np.testing.assert_allclose(*rows, atol=1e-5, rtol=0)


@pytest.fixture
def encodings(localizer: Localizer) -> Iterator[list[tuple[int, ...]]]:
    """The shapes of all videos that are encoded, in order."""
    shapes: list[tuple[int, ...]] = []
    # Every clip goes through this layer, whichever method was called.
    layer = localizer.judge.model.encoder.video_projection
    hook = layer.register_forward_hook(lambda _, inputs, __: shapes.append(inputs[0].shape))
    yield shapes
    hook.remove()


def test_answers_equal_those_of_evaluation(
    localizer: Localizer, store: FeatureStore, evaluated: list[Prediction]
) -> None:
    assert len(evaluated) == 24
    for prediction in evaluated:
        truth = prediction.annotation
        assert truth is not None
        video = localizer.open_video(store, truth.video_id)
        assert_same_answer(video.localize(truth.query, top=12), prediction.moments)
        again = video.predict([truth.query])[0]
        assert_same_answer(again.stage_one, prediction.stage_one)
        assert again.edges_seconds.tolist() == prediction.edges_seconds.tolist()
        for name in ("start_probabilities", "end_probabilities"):
            np.testing.assert_allclose(
                getattr(again, name), getattr(prediction, name), atol=1e-5, rtol=0
            )


def test_many_sentences_at_once(
    localizer: Localizer, store: FeatureStore, evaluated: list[Prediction]
) -> None:
    for video_id in store.video_ids():
        mine = [p for p in evaluated if p.annotation and p.annotation.video_id == video_id]
        queries = [p.annotation.query for p in mine if p.annotation]
        # Batch mates of other lengths, and more of them than are answered at once.
        others = ["spins", "the small circle that jumps and then slides away again"] * 40
        answers = localizer.open_video(store, video_id).localize(queries + others, top=12)
        assert len(answers) == len(queries) + len(others)
        for answer, prediction in zip(answers[: len(queries)], mine, strict=True):
            assert_same_answer(answer, prediction.moments)
        assert_same_answer(answers[-1], answers[len(queries) + 1])


def test_a_video_opened_once_answers_as_one_opened_each_time(
    run_dir: Path, localizer: Localizer, store: FeatureStore, encodings: list[tuple[int, ...]]
) -> None:
    localizer.session.clear()  # of what other tests have opened
    queries = [f"the small circle {word}" for word in tiny_run.WORDS]
    video = localizer.open_video(store, "v3")
    assert encodings == [(1, 12, 8)]
    once = [video.localize(query) for query in queries]
    once_again = video.localize(queries)
    assert len(encodings) == 1
    again = [localizer.open_video(store, "v3").localize(query) for query in queries]
    assert len(encodings) == 1  # found again
    others = [Localizer.from_pretrained(run_dir, device="cpu") for _ in queries]
    fresh = [
        other.open_video(store, "v3").localize(query)
        for other, query in zip(others, queries, strict=True)
    ]
    assert once == again == fresh  # the very same computation
    for one, other in zip(once, once_again, strict=True):
        assert_same_answer(one, other)


def test_two_open_videos_do_not_mix(localizer: Localizer, store: FeatureStore) -> None:
    first, second = localizer.open_video(store, "v0"), localizer.open_video(store, "v3")
    before = first.localize(QUERY)
    assert second.localize(QUERY) != before
    assert first.localize(QUERY) == before


def test_asking_leaves_the_random_state_alone(localizer: Localizer, store: FeatureStore) -> None:
    before = torch.get_rng_state()
    localizer.open_video(store, "v0").localize([QUERY, QUERY])
    assert torch.equal(torch.get_rng_state(), before)


def test_moments_lie_in_the_video_best_first(localizer: Localizer, store: FeatureStore) -> None:
    video = localizer.open_video(store, "v3")
    assert video.duration_seconds == 6.0
    moments = video.localize(QUERY, top=100)
    # Of 12 proposals, those that lie on no better one: 6 or 7, by the version of PyTorch.
    assert 2 <= len(moments) <= 7
    assert all(0 <= m.start_seconds < m.end_seconds <= 6.0 for m in moments)
    scores = [moment.score for moment in moments]
    assert scores == sorted(scores, reverse=True)
    ends = np.array([(m.start_seconds, m.end_seconds) for m in moments])
    overlaps = tiou(ends[:, None], ends)
    assert overlaps[~np.eye(len(ends), dtype=bool)].max() <= 0.7 + 1e-6  # model.proposal_nms


def test_top(localizer: Localizer, store: FeatureStore) -> None:
    video = localizer.open_video(store, "v0")
    assert 2 <= len(video.localize(QUERY)) <= 5
    assert video.localize(QUERY, top=2) == video.localize(QUERY, top=5)[:2]
    assert [len(answer) for answer in video.localize([QUERY] * 3, top=1)] == [1, 1, 1]
    assert video.localize([]) == []
    for top in (0, -1):
        with pytest.raises(ConfigError, match=rf"top={top}: expected an integer >= 1"):
            video.localize(QUERY, top=top)


def test_an_array_with_its_grid(localizer: Localizer, store: FeatureStore) -> None:
    clips, grid = store.read("v5")
    expected = localizer.open_video(store, "v5").localize(QUERY)
    assert localizer.open_video(clips, grid=grid).localize(QUERY) == expected
    half = localizer.open_video(clips.astype(np.float16), grid=grid).localize(QUERY)
    starts = [moment.start_seconds for moment in half]
    assert starts == pytest.approx([moment.start_seconds for moment in expected], abs=0.01)
    with pytest.raises(ConfigError, match="grid=ClipGrid"):
        localizer.open_video(clips)


def test_a_path_for_the_store(localizer: Localizer, store: FeatureStore) -> None:
    expected = localizer.open_video(store, "v5").localize(QUERY)
    assert localizer.open_video(store.path, "v5").localize(QUERY) == expected
    assert localizer.open_video(str(store.path), "v5").localize(QUERY) == expected


def test_a_plain_file(localizer: Localizer, store: FeatureStore, tmp_path: Path) -> None:
    path, groups = tmp_path / "plain.h5", tmp_path / "groups.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("v5", data=store.read("v5")[0])
        file.create_dataset("wide", data=np.zeros((4, 9), dtype=np.float32))
    with h5py.File(groups, "w") as file:
        file.create_group("v6").create_dataset("c3d_features", data=store.read("v6")[0])
    # The checkpoint's spec says what is in it: half a second a clip.
    for file_path, video_id in ((path, "v5"), (groups, "v6")):
        expected = localizer.open_video(store, video_id).localize(QUERY)
        assert localizer.open_video(file_path, video_id).localize(QUERY) == expected
    shorter = localizer.open_video(path, "v5", duration_seconds=7.75)
    assert shorter.duration_seconds == 7.75
    with pytest.raises(FeatureError, match=r"'wide'.*width 9.*says 8"):
        localizer.open_video(path, "wide")


def test_features_of_another_spec(localizer: Localizer, tmp_path: Path) -> None:
    path = tmp_path / "other.h5"
    spec = dataclasses.replace(tiny_run.SPEC, backbone="i3d", seconds_per_clip=1.0)
    with FeatureWriter(path, spec) as writer:
        writer.add("a", np.zeros((4, 8)), 4.0)
    message = r"other\.h5.*backbone: 'tiny' != 'i3d'; seconds_per_clip: 0\.5 != 1\.0"
    with pytest.raises(CheckpointError, match=message):
        localizer.open_video(path, "a")
    with pytest.raises(CheckpointError, match=message):
        localizer.open_video(FeatureStore(path), "a")


def test_a_store_of_another_width(localizer: Localizer, tmp_path: Path) -> None:
    path = tmp_path / "wide.h5"
    with FeatureWriter(path, FeatureSpec("tiny", 9)) as writer:
        writer.add("a", np.zeros((4, 9)), 4.0)
    with pytest.raises(CheckpointError, match="feature_dim: 8 != 9"):
        localizer.open_video(path, "a")


@pytest.mark.parametrize("shape", [(4, 9), (5, 8), (0, 8), (4,), (1, 4, 8)])
def test_an_array_of_another_shape(localizer: Localizer, shape: tuple[int, ...]) -> None:
    grid = ClipGrid.uniform(4, 2.0)
    message = rf"shape {re.escape(str(shape))}: the checkpoint expects \(4, 8\), from 'tiny'"
    with pytest.raises(CheckpointError, match=message):
        localizer.open_video(np.zeros(shape), grid=grid)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_array_with_nan(localizer: Localizer, value: float) -> None:
    clips = np.zeros((4, 8))
    clips[2, 3] = value
    with pytest.raises(CheckpointError, match="NaN or infinite"):
        localizer.open_video(clips, grid=ClipGrid.uniform(4, 2.0))


def test_stored_nan(localizer: Localizer, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file.create_dataset("a", data=np.full((4, 8), np.nan))
    with pytest.raises(FeatureError, match=r"'a'.*NaN or infinite values in 4 of 4 clips"):
        localizer.open_video(tmp_path / "plain.h5", "a")


def test_zero_clips(localizer: Localizer, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file.create_dataset("a", data=np.zeros((0, 8), dtype=np.float32))
    with pytest.raises(FeatureError, match=r"'a'.*zero clips"):
        localizer.open_video(tmp_path / "plain.h5", "a")


def test_a_missing_video(localizer: Localizer, store: FeatureStore) -> None:
    with pytest.raises(MissingVideoError, match=r"'v99' is not in .*\(12 videos\)"):
        localizer.open_video(store, "v99")


def test_a_store_without_an_id(localizer: Localizer, store: FeatureStore) -> None:
    with pytest.raises(ConfigError, match="holds features: give the id of a video"):
        localizer.open_video(store)


def test_a_video_file_that_is_missing(localizer: Localizer, tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match="backbone='tiny' cannot be extracted here"):
        localizer.open_video(tmp_path / "gone.mp4")
    pytest.importorskip("av")
    reads_files = Localizer(
        localizer.judge.model, localizer.judge._vocabulary, GRID_SPEC, max_clips=16
    )
    with pytest.raises(FeatureError, match=r"gone\.mp4"):
        reads_files.open_video(tmp_path / "gone.mp4")


def test_a_video_file_is_extracted_as_the_checkpoint_says(
    localizer: Localizer, tmp_path: Path
) -> None:
    """With the same weights, or not at all; what comes out is what a store of it would hold."""
    made_videos = pytest.importorskip("made_videos")
    weights = save_clip(tmp_path / "clip", width=8)
    spec = load_backbone(Extraction("clip", weights, "cpu", fps=4.0)).spec
    video = made_videos.write_video(tmp_path / "v.mp4", made_videos.squares(range(24)))
    model, vocabulary = localizer.judge.model, localizer.judge._vocabulary
    reads = Localizer(model, vocabulary, spec, max_clips=16, backbone_weights=weights)
    extract_videos([video], tmp_path / "v.h5", Extraction("clip", weights, "cpu", fps=4.0))
    answers = reads.open_video(video).localize(QUERY)
    stored = reads.open_video(tmp_path / "v.h5", "v").localize(QUERY)
    assert [moment.to_dict() for moment in answers] == [
        pytest.approx(moment.to_dict(), abs=1e-4) for moment in stored
    ]
    assert all(0 <= moment.start_seconds < moment.end_seconds <= 3.01 for moment in answers)
    other = save_clip(tmp_path / "other", seed=1, width=8)
    refuses = Localizer(model, vocabulary, spec, max_clips=16, backbone_weights=other)
    with pytest.raises(FeatureError, match="Give the weights that those features were made with"):
        refuses.open_video(video)


@pytest.mark.parametrize("query", ["", "   ", "?!", "\n"])
def test_an_empty_query(localizer: Localizer, store: FeatureStore, query: str) -> None:
    video = localizer.open_video(store, "v0")
    with pytest.raises(AnnotationError, match="has no words"):
        video.localize(query)
    with pytest.raises(AnnotationError, match="has no words"):
        video.localize([QUERY, query])


def test_a_query_of_unknown_words_only(localizer: Localizer, store: FeatureStore) -> None:
    """They are read letter by letter, so two of them are told apart."""
    video = localizer.open_video(store, "v0")
    one, other = video.localize(["xylophone quartz", "jumping"])
    assert len(one) == len(other) == 5
    assert all(np.isfinite(moment.score) for moment in one + other)
    assert one != other
    assert len(video.localize("日本語 αβγ")) == 5


def test_a_query_of_500_words(
    localizer: Localizer, store: FeatureStore, caplog: pytest.LogCaptureFixture
) -> None:
    video = localizer.open_video(store, "v0")
    words = [tiny_run.WORDS[number % 4] for number in range(500)]
    with caplog.at_level(logging.WARNING):
        long = video.localize(" ".join(words))
    assert "1 of 1 queries with more than 12 tokens: cut there ('jumps spins slides" in caplog.text
    assert long == video.localize(" ".join(words[:12]))
    caplog.clear()
    video.localize(" ".join(words[:12]))
    assert not caplog.records


def test_a_video_of_one_clip(localizer: Localizer) -> None:
    clips = np.ones((1, 8))
    video = localizer.open_video(clips, grid=ClipGrid.uniform(1, 0.5))
    for answer in video.localize([QUERY, "jumps"]):
        (moment,) = answer
        assert 0 <= moment.start_seconds < moment.end_seconds <= 0.5


def test_fewer_spans_than_proposals(localizer: Localizer) -> None:
    """Two clips have three spans, and the model looks for six."""
    video = localizer.open_video(np.ones((2, 8)), grid=ClipGrid.uniform(2, 1.0))
    moments = video.localize(QUERY)
    assert len(moments) == 3
    assert all(0 <= m.start_seconds < m.end_seconds <= 1 for m in moments)


def test_a_long_video_is_pooled(
    localizer: Localizer, encodings: list[tuple[int, ...]], store: FeatureStore
) -> None:
    """Each clip four times, and time four times as dense: 64 clips become 16 again."""
    clips, grid = store.read("v0")
    localizer.session.clear()
    long = localizer.open_video(np.repeat(clips, 4, axis=0), grid=ClipGrid.uniform(64, 8.0))
    assert encodings == [(1, 16, 8)]
    assert_same_answer(long.localize(QUERY), localizer.open_video(clips, grid=grid).localize(QUERY))


def test_loading(run_dir: Path, tmp_path: Path, store: FeatureStore) -> None:
    expected = Localizer.from_pretrained(run_dir).open_video(store, "v0").localize(QUERY)
    copy = tmp_path / "model.safetensors"
    copy.write_bytes((run_dir / BEST).read_bytes())
    found = Localizer.from_pretrained(str(copy), device="cpu")
    assert found.open_video(store, "v0").localize(QUERY) == expected
    assert found.feature_spec == tiny_run.SPEC


def test_a_checkpoint_that_cannot_be_read(run_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"expected best\.safetensors or last"):
        Localizer.from_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"gone.*no such file"):
        Localizer.from_pretrained(tmp_path / "gone")
    file = tmp_path / "model.safetensors"
    data = (run_dir / BEST).read_bytes()
    for damaged in (b"", b"<html>404</html>", data[:100], data[: len(data) // 2], data[:-1]):
        file.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=rf"\({len(damaged)} bytes\): truncated or not"):
            Localizer.from_pretrained(file)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"model": {"hidden_dim": 32}}, "do not fit.*size mismatch"),
        ({"model": {"hiden_dim": 32}}, "unknown config key 'model.hiden_dim'"),
        ({"sizes": {"num_word": 3}}, "num_word"),
        ({"vocabulary": {"words": ["<pad>"]}}, "characters"),
    ],
)
def test_a_checkpoint_whose_parts_do_not_fit(
    run_dir: Path, tmp_path: Path, change: dict[str, Any], match: str
) -> None:
    checkpoint = Checkpoint.load(run_dir)
    dataclasses.replace(checkpoint, **change).save(tmp_path / BEST)
    with pytest.raises(CheckpointError, match=f"(?s){match}"):
        Localizer.from_pretrained(tmp_path)


def test_no_such_device(run_dir: Path) -> None:
    with pytest.raises(ConfigError, match="device='cuda:99'"):
        Localizer.from_pretrained(run_dir, device="cuda:99")


def test_what_is_not_in_the_video(localizer: Localizer, store: FeatureStore) -> None:
    least = localizer.least_score
    assert least is not None and 0 < least < 1
    video = localizer.open_video(store, "v3")
    every = video.localize([QUERY, "nothing of the kind"], top=12)
    for bound in (0.0, least, every[0][0].score, 1.1):
        found = video.localize([QUERY, "nothing of the kind"], top=12, min_score=bound)
        assert found == [[one for one in answer if one.score >= bound] for answer in every]
    assert video.localize(QUERY, min_score=1.1) == []
    with pytest.raises(ConfigError, match="min_score=nan"):
        video.localize(QUERY, min_score=float("nan"))


def test_several_videos_at_once(localizer: Localizer, store: FeatureStore) -> None:
    videos = [localizer.open_video(store, name) for name in ("v0", "v3", "v1")]
    queries = [[QUERY] * 300, [], ["the small circle jumps", QUERY]]
    told: list[tuple[int, int]] = []
    found = localizer.localize_many(
        list(zip(videos, queries, strict=True)), top=2, progress=lambda *step: told.append(step)
    )
    alone = [video.localize(asked, top=2) for video, asked in zip(videos, queries, strict=True)]
    assert found == alone
    assert told == [(256, 302), (300, 302), (302, 302)]  # 4,096 positions, 16 of each pair
    assert localizer.localize_many([]) == []


def test_progress_may_end_the_work(localizer: Localizer, store: FeatureStore) -> None:
    video = localizer.open_video(store, "v0")

    def stop(done: int, _: int) -> None:
        raise KeyboardInterrupt(done)

    with pytest.raises(KeyboardInterrupt, match="256"):
        video.localize([QUERY] * 600, progress=stop)
    assert not torch.is_inference_mode_enabled()
    assert video.localize(QUERY)


def test_threads_may_ask_one_video(localizer: Localizer, store: FeatureStore) -> None:
    videos = [localizer.open_video(store, name) for name in ("v0", "v3")]
    queries = [f"the small circle {word}" for word in tiny_run.WORDS]
    asked = [(video, query) for video in videos for query in queries] * 8
    alone = [video.localize(query) for video, query in asked]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda one: one[0].localize(one[1]), asked))
    assert together == alone


def test_one_sentence_is_not_a_list_of_letters(localizer: Localizer, store: FeatureStore) -> None:
    video = localizer.open_video(store, "v0")
    for ask in (video.predict, lambda query: localizer.localize_many([(video, query)])):
        with pytest.raises(ConfigError, match=r"queries='the small circle spins': expected a list"):
            ask(QUERY)


QUERIES = ["the small circle spins", "the small circle jumps"]


def test_what_is_drawn_is_what_is_found(localizer: Localizer, store: FeatureStore) -> None:
    video = localizer.open_video(store, "v11")
    found = video.localize(QUERIES, top=2)
    least = max(moments[0].score for moments in found)
    for top, min_score in ((2, 0.0), (2, least)):
        drawn = video.draw(QUERIES, top, min_score)
        assert [one.query for one in drawn] == QUERIES
        answers = video.localize(QUERIES, top, min_score)
        assert [list(one.moments) for one in drawn] == answers
        for one, prediction in zip(drawn, video.predict(QUERIES), strict=True):
            assert (one.video_id, one.video, list(one.frames)) == ("v11", None, [])
            assert one.proposals == prediction.moments
            np.testing.assert_array_equal(one.highlight_scores, prediction.highlight_scores)
    assert [] in [list(one.moments) for one in drawn]
    with pytest.raises(ConfigError, match="expected a list of queries"):
        video.draw(QUERIES[0])
    with pytest.raises(ConfigError, match="top=0"):
        video.draw(QUERIES, top=0)
