"""A library of videos: the answers of each video, the index before them, and the cache on disk."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_run
import torch

from bpnet import Localizer
from bpnet.checkpoint import Checkpoint
from bpnet.data.vocabulary import Vocabulary
from bpnet.errors import BPNetError, CheckpointError, ConfigError
from bpnet.evaluation.predictions import Prediction
from bpnet.inference.collection import StoredVideos, open_collection
from bpnet.inference.library import Library, open_library, piece_vectors
from bpnet.model_config import ModelConfig
from bpnet.models.build import Sizes, build_model
from bpnet.models.encoder import Encoded
from bpnet.settings import from_dict
from bpnet.types import FoundMoment
from bpnet_features import FeatureStore, FeatureWriter
from bpnet_features.backbones.grid import GRID_SPEC

pytest.importorskip("faiss", reason="needs pip install 'bpnet-nlvl[library]'")

QUERIES = [f"the small circle {word}" for word in tiny_run.WORDS]


@pytest.fixture
def library(localizer: Localizer, store: FeatureStore, tmp_path: Path) -> Library:
    return open_library(localizer, StoredVideos(store), tmp_path / "cache")


def rows(answer: list[FoundMoment]) -> list[tuple[str, float, float, float]]:
    return [
        (one.video_id, one.moment.start_seconds, one.moment.end_seconds, one.moment.score)
        for one in answer
    ]


def by_video(answer: list[FoundMoment]) -> list[FoundMoment]:
    return sorted(answer, key=lambda one: one.video_id)  # of one video, in the order found


def assert_same(found: list[FoundMoment], expected: list[FoundMoment]) -> None:
    """Equal to rounding; padding in a batch may change the last bits."""
    assert [one.video_id for one in found] == [one.video_id for one in expected]
    numbers = [[row[1:] for row in rows(answer)] for answer in (found, expected)]
    np.testing.assert_allclose(*numbers, atol=1e-5, rtol=0)


def test_all_windows_are_the_answers_of_every_video(
    localizer: Localizer, store: FeatureStore, library: Library
) -> None:
    assert library.video_ids == store.video_ids()
    for query in QUERIES:
        every = [
            FoundMoment(video_id, moment, 0.0)
            for video_id in store.video_ids()
            for moment in localizer.open_video(store, video_id).localize(query, top=100)
        ]
        for windows in (None, 12, 500):
            found = library.localize([query], top=1000, windows=windows)[0]
            assert_same(by_video(found), by_video(every))
            ranks = [np.log(one.moment.score) + one.similarity / 0.1 for one in found]
            assert ranks == sorted(ranks, reverse=True)


def test_fewer_windows_are_fewer_videos(library: Library) -> None:
    everything = library.localize(QUERIES, top=1000, windows=None)
    some = library.localize(QUERIES, top=1000, windows=3)
    for all_of_them, found in zip(everything, some, strict=True):
        videos = {one.video_id for one in found}
        assert len(videos) == 3
        assert_same(found, [one for one in all_of_them if one.video_id in videos])


def test_what_is_judged_at_once_is_bounded_by_its_length(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by the number of windows, which may be long; one that is longer stands alone."""
    expected = library.localize(QUERIES, top=1000, windows=None)
    judge = library._judge
    shapes: list[torch.Size] = []
    answer = judge.answer

    def watched(video: Encoded, mask: torch.Tensor, *rest: Any) -> list[Prediction]:
        shapes.append(mask.shape)
        return answer(video, mask, *rest)

    monkeypatch.setattr(judge, "answer", watched)
    for most, sizes in ((40, {1, 2, 3}), (16, {1}), (10, {1})):
        monkeypatch.setattr("bpnet.inference.library.POSITIONS_AT_ONCE", most)
        shapes.clear()
        for one, other in zip(
            library.localize(QUERIES, top=1000, windows=None), expected, strict=True
        ):
            assert_same(one, other)
        assert sum(count for count, _ in shapes) == len(QUERIES) * len(library.video_ids)
        assert {count for count, _ in shapes} <= sizes
        assert all(count == 1 or count * length <= most for count, length in shapes)


def test_the_nearest_pieces_are_judged(localizer: Localizer, library: Library) -> None:
    """By hand, from the vectors themselves."""
    encoded = localizer.judge.encode(QUERIES[:1])
    assert encoded.states.keys is not None
    query = torch.nn.functional.normalize(encoded.states.keys.mean(dim=1), dim=-1).numpy()[0]
    best = [
        max(float((vectors @ query).max()) for vectors in piece_vectors(library._load(number)))
        for number in range(len(library.video_ids))
    ]
    nearest = {library.video_ids[number] for number in np.argsort(best)[-4:]}
    found = library.localize(QUERIES[:1], top=1000, windows=4)[0]
    assert {one.video_id for one in found} == nearest


def test_a_window_may_be_wanted_without_its_neighbour(localizer: Localizer, tmp_path: Path) -> None:
    with FeatureWriter(tmp_path / "long.h5", tiny_run.SPEC) as writer:
        for name in ("a", "b"):
            rng = np.random.default_rng(ord(name))
            clips = rng.normal(scale=0.1, size=(150, 8)).astype(np.float32)
            writer.add(name, clips, duration_seconds=75.0)
    store = FeatureStore(tmp_path / "long.h5")
    library = open_library(localizer, StoredVideos(store), tmp_path / "cache")
    found = library.localize(QUERIES[:1], top=1000, windows=3)[0]
    assert found
    everything = library.localize(QUERIES[:1], top=1000, windows=None)[0]
    for name in ("a", "b"):
        expected = localizer.open_video(store, name).localize(QUERIES[0], top=1000)
        mine = [one for one in everything if one.video_id == name]
        assert_same(mine, [FoundMoment(name, moment, 0.0) for moment in expected])


def test_what_is_encoded_stays(
    localizer: Localizer, store: FeatureStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[tuple[int, int]] = []
    first = open_library(localizer, StoredVideos(store), tmp_path, lambda *step: told.append(step))
    assert told == [(count, 12) for count in range(1, 13)]
    expected = first.localize(QUERIES, top=7)
    files = sorted((tmp_path / localizer.digest[:16]).iterdir())
    assert len(files) == 12
    times = [file.stat().st_mtime_ns for file in files]
    assert (
        open_library(localizer, StoredVideos(store), tmp_path).localize(QUERIES, top=7) == expected
    )
    assert [file.stat().st_mtime_ns for file in files] == times
    files[3].write_bytes(files[3].read_bytes()[:100])
    with caplog.at_level(logging.WARNING):
        again = open_library(localizer, StoredVideos(store), tmp_path)
    assert "is damaged" in caplog.text
    assert again.localize(QUERIES, top=7) == expected


def test_a_changed_video_is_encoded_again(
    localizer: Localizer, store: FeatureStore, tmp_path: Path
) -> None:
    for number, scale in enumerate((1.0, 2.0)):
        with FeatureWriter(tmp_path / f"{number}.h5", tiny_run.SPEC) as writer:
            for name in ("v0", "v1"):
                clips, grid = store.read(name)
                changed = clips * (scale if name == "v1" else 1.0)
                writer.add(name, changed, duration_seconds=grid.duration_seconds)
        open_library(
            localizer, StoredVideos(FeatureStore(tmp_path / f"{number}.h5")), tmp_path / "cache"
        )
    assert len(list((tmp_path / "cache" / localizer.digest[:16]).iterdir())) == 3


def test_a_damaged_video_is_left_out(
    localizer: Localizer, store: FeatureStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with FeatureWriter(tmp_path / "a.h5", tiny_run.SPEC) as writer:
        clips, grid = store.read("v0")
        writer.add("v0", clips, duration_seconds=grid.duration_seconds)
        writer.add("bad", clips, duration_seconds=grid.duration_seconds)
    content = bytearray((tmp_path / "a.h5").read_bytes())
    place = content.rfind(np.float32(clips[3, 2]).tobytes())
    content[place : place + 4] = np.float32(np.nan).tobytes()
    (tmp_path / "a.h5").write_bytes(bytes(content))
    with caplog.at_level(logging.WARNING):
        library = open_library(
            localizer, StoredVideos(FeatureStore(tmp_path / "a.h5")), tmp_path / "cache"
        )
    assert len(library.video_ids) == 1
    assert "is left out" in caplog.text and "NaN" in caplog.text


def test_impossible_wishes(library: Library) -> None:
    with pytest.raises(ConfigError, match="windows=0: expected an integer >= 1, or None"):
        library.localize(QUERIES, windows=0)
    with pytest.raises(ConfigError, match="top=0"):
        library.localize(QUERIES, top=0)
    with pytest.raises(ConfigError, match="expected a list of queries"):
        library.localize(QUERIES[0])
    assert library.localize([]) == []
    assert library.localize(QUERIES[:1], min_score=2.0) == [[]]
    one = library.localize(QUERIES[:1], top=1)[0][0]
    extra = {"video_id": one.video_id, "similarity": one.similarity}
    assert one.to_dict() == {**extra, **one.moment.to_dict()}


def test_an_empty_library(localizer: Localizer, tmp_path: Path) -> None:
    class Empty:
        path = tmp_path

        def video_ids(self) -> list[str]:
            return []

    with pytest.raises(BPNetError, match="none of 0 videos can be read"):
        open_library(localizer, Empty(), tmp_path / "cache")  # type: ignore[arg-type]


def test_a_path_is_a_store_or_a_folder_of_videos(
    localizer: Localizer, store: FeatureStore, tmp_path: Path
) -> None:
    assert open_collection(localizer, store.path).video_ids() == store.video_ids()
    other = dataclasses.replace(tiny_run.SPEC, backbone="another")
    with FeatureWriter(tmp_path / "other.h5", other) as writer:
        writer.add("v0", np.zeros((4, 8), np.float32), duration_seconds=2.0)
    with pytest.raises(CheckpointError, match="backbone: 'tiny' != 'another'"):
        open_collection(localizer, tmp_path / "other.h5")


def test_video_files_are_extracted_once(run_dir: Path, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "notes.txt").write_text("no video")
    (folder / "broken.mp4").write_text("no video either")
    for name, grey in (("a.mp4", 40), ("b.mkv", 200)):
        with av.open(str(folder / name), "w") as out:
            stream = out.add_stream("libx264", rate=8)
            stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
            for _ in range(16):
                image = np.full((32, 32, 3), grey, np.uint8)
                out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            out.mux(stream.encode(None))
    # A network that reads the features of video files; it has learned nothing, and need not.
    trained = Checkpoint.load(run_dir)
    sizes = Sizes(**{**trained.sizes, "feature_dim": GRID_SPEC.feature_dim})
    model = build_model(from_dict(ModelConfig, trained.model, "model"), sizes).eval()
    vocabulary = Vocabulary.from_dict(trained.vocabulary)
    localizer = Localizer(model, vocabulary, GRID_SPEC, max_clips=16)
    videos = open_collection(localizer, folder)
    assert videos.video_ids() == ["a.mp4", "b.mkv", "broken.mp4"]
    library = open_library(localizer, videos, tmp_path / "kept")
    assert library.video_ids == ["a.mp4", "b.mkv"]
    expected = library.localize(QUERIES[:1], top=50)
    alone = localizer.open_video(folder / "b.mkv").localize(QUERIES[0], top=50)
    found = [one.moment for one in expected[0] if one.video_id == "b.mkv"]
    numbers = [[(m.start_seconds, m.end_seconds, m.score) for m in ms] for ms in (found, alone)]
    np.testing.assert_allclose(*numbers, atol=1e-5)
    read: list[Path] = []
    extract = localizer.extract
    localizer.extract = lambda video: read.append(video) or extract(video)  # type: ignore[method-assign,func-returns-value]
    again = open_library(localizer, open_collection(localizer, folder), tmp_path / "kept")
    assert read == [folder / "broken.mp4"]  # which is tried again; the others are not decoded
    assert again.localize(QUERIES[:1], top=50) == expected
