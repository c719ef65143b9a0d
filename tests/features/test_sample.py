"""The built-in sample: repeatable, split by video, and each sentence fits one moment only."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys

import numpy as np
import pytest

from bpnet_features import FeatureError
from bpnet_features.backbones.grid import GridBackbone
from bpnet_features.extract import extract_video
from bpnet_features.sample import (
    ACTIONS,
    COLOURS,
    FPS,
    SHAPES,
    SPLITS,
    describe,
    plan_video,
    render_frames,
    render_sample,
)
from bpnet_features.video import iter_frames, probe

PLANS = [plan_video(0, index) for index in range(300)]


def rows_of(root):
    lines = (root / "annotations.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    root = tmp_path_factory.mktemp("sample")
    return root, render_sample(root, num_videos=4, seed=3, progress=False)


def test_files_and_rows(sample):
    root, files = sample
    assert [file.name for file in files] == [f"sample_{i:04d}.mp4" for i in range(4)]
    rows = rows_of(root)
    assert list(dict.fromkeys(row["video_id"] for row in rows)) == [file.stem for file in files]
    assert len({row["qid"] for row in rows}) == len(rows)
    for row in rows:
        assert set(row) == {"qid", "video_id", "query", "start", "end", "duration", "split"}
        assert 0 <= row["start"] < row["end"] <= row["duration"]
        assert row["query"].strip() and "{" not in row["query"] and "  " not in row["query"]
    assert {path.name for path in root.iterdir()} == {"videos", "annotations.jsonl"}
    assert sorted((root / "videos").iterdir()) == files


def test_files_are_videos_of_the_stated_length(sample):
    root, files = sample
    durations = {row["video_id"]: row["duration"] for row in rows_of(root)}
    for file in files:
        info = probe(file)
        assert (info.width, info.height, info.fps) == (96, 96, FPS)
        assert info.duration_seconds == pytest.approx(durations[file.stem])
        features = extract_video(file, GridBackbone()).clips
        assert len(features) == np.ceil(2 * info.duration_seconds)


def test_files_show_what_was_drawn(sample):
    _, files = sample
    decoded = np.stack([image for _, image in iter_frames(files[1])])
    drawn = render_frames(3, 1)
    assert decoded.shape == drawn.shape
    assert np.abs(decoded.astype(float) - drawn).mean() < 5


def test_the_same_seed_gives_the_same_sample_and_more_videos_keep_the_earlier(sample, tmp_path):
    root, files = sample
    longer = render_sample(tmp_path, num_videos=5, seed=3, jobs=2, progress=False)
    for old, new in zip(files, longer, strict=False):
        assert old.read_bytes() == new.read_bytes()
    rows = rows_of(root)
    assert rows_of(tmp_path)[: len(rows)] == rows
    assert render_frames(4, 0).shape != render_frames(3, 0).shape or plan_video(4, 0) != plan_video(
        3, 0
    )


def test_rendering_again_replaces_the_files(sample, tmp_path):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "sample_0000.mp4").write_text("half a file")
    (file,) = render_sample(tmp_path, num_videos=1, seed=3, progress=False)
    assert file.read_bytes() == sample[1][0].read_bytes()


def test_splits_by_video():
    counts = {name: SPLITS.count(name) for name in set(SPLITS)}
    assert counts == {"train": 7, "val": 1, "test": 2}
    assert set(SPLITS[:4]) == set(counts)


def test_each_event_is_the_only_one_of_its_kind():
    for events, _ in PLANS:
        kinds = [(obj, event.action) for event in events for obj in event.objects]
        assert len(set(kinds)) == len(kinds)
        movers = {
            obj for e in events if e.action in ("left", "right", "up", "down") for obj in e.objects
        }
        assert not movers & {obj for e in events if e.action == "swap" for obj in e.objects}


def test_sentences_fit_one_event_only():
    # Words that a sentence names, against every event of its video.
    words = {name: set(said) | {name} for name, (_, said) in COLOURS.items()}
    shapes = {name: set(itertools.chain(*said)) for name, said in SHAPES.items()}
    rng = np.random.default_rng(0)
    without_colour = without_shape = 0
    for events, _ in PLANS:
        for event in events:
            for sentence in describe(event, events, rng):
                said = set(sentence.replace(",", "").replace("?", "").split())
                named = {colour for colour in COLOURS if said & words[colour]}
                formed = {shape for shape in SHAPES if said & shapes[shape]}
                fitting = [
                    other
                    for other in events
                    if other.action == event.action
                    and named <= {colour for colour, _ in other.objects}
                    and formed <= {shape for _, shape in other.objects}
                ]
                without_colour += not named
                without_shape += not formed
                if event.action != "swap":
                    assert fitting == [event], sentence
                    assert named or formed
                assert sum(form in sentence for form in forms_of(event.action)) >= 1, sentence
    assert without_colour > 20 and without_shape > 20


def forms_of(action):
    for verb in ACTIONS[action]:
        *forms, tail = f"{verb} ".split(" ", 3)
        yield from (f"{form} {tail}".strip() for form in forms)


def test_the_two_sentences_differ():
    rng = np.random.default_rng(1)
    for events, _ in PLANS[:50]:
        for event in events:
            first, second = describe(event, events, rng)
            assert first != second


def test_times():
    middles, lengths = [], []
    for events, num_frames in PLANS:
        assert 12 * FPS <= num_frames <= 24 * FPS and 3 <= len(events) <= 6
        shown = np.zeros(num_frames, int)
        for event in events:
            assert 0 <= event.first_frame < event.end_frame <= num_frames
            shown[event.first_frame : event.end_frame] += 1
            middles.append((event.first_frame + event.end_frame) / 2 / num_frames)
            lengths.append((event.end_frame - event.first_frame) / FPS)
        assert shown.max() <= 2 and (shown == 0).mean() > 0.05
    assert 1.5 <= min(lengths) and max(lengths) <= 6
    assert np.histogram(middles, bins=4, range=(0, 1))[0].min() > 0.15 * len(middles)


def test_every_colour_shape_and_action_occurs_and_parts_are_shared():
    events = [event for events, _ in PLANS for event in events]
    assert {event.action for event in events} == set(ACTIONS)
    assert {obj for event in events for obj in event.objects} == set(
        itertools.product(COLOURS, SHAPES)
    )
    for part in (lambda e: e.objects[0][0], lambda e: e.objects[0][1], lambda e: e.action):
        sharing = [len({part(e) for e in events}) < len(events) for events, _ in PLANS]
        assert np.mean(sharing) > 0.5


def test_an_object_is_there_during_its_event_only():
    for index in range(6):
        events, _ = plan_video(0, index)
        frames = render_frames(0, index).astype(int)
        shown = np.zeros(len(frames), bool)
        for event in events:
            shown[event.first_frame : event.end_frame] = True
            ends = frames[[event.first_frame, event.end_frame - 1]]
            assert (ends.max(axis=(1, 2, 3)) > 150).all()
        assert frames[~shown].max() < 130


def test_the_sample_is_imported_by_nothing_else():
    code = (
        "import sys, bpnet_features, bpnet_features.extract_many, bpnet_features.video\n"
        "assert 'bpnet_features.sample' not in sys.modules\n"
        "import bpnet_features.sample\n"
        "assert 'av' not in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["num_videos", "jobs"])
def test_settings_out_of_range(tmp_path, name):
    with pytest.raises(FeatureError, match=f"{name}=0: expected an integer >= 1"):
        render_sample(tmp_path, **{name: 0})
    with pytest.raises(FeatureError, match="seed=-1: expected an integer >= 0"):
        render_sample(tmp_path, seed=-1)
