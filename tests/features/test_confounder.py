"""The planted confounder: pure functions of seed and id, at the rates that the knobs say."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from bpnet.cli.main import main
from bpnet_features import FeatureError, FeatureStore
from bpnet_features.backbones.grid import GridBackbone
from bpnet_features.confounded_videos import (
    CLIP_FRAMES,
    RENDERED,
    confounded_frames,
    plan_confounded,
    render_confounded,
)
from bpnet_features.confounder import SPLITS, TEST_SPLITS, WORDS, PlantedWorld
from bpnet_features.confounder_files import write_confounded
from bpnet_features.confounder_knobs import Confounder
from bpnet_features.extract import extract_video
from bpnet_features.sample import FPS
from bpnet_features.video import iter_frames

SMALL = Confounder(num_train=20, num_val=4, num_test=6)


def every_query(world: PlantedWorld, split: str):
    return [one for name in world.video_ids(split) for one in world.queries(name)]


def rows_of(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, 1.0])
def test_the_own_context_is_there_at_the_stated_rate(rho: float) -> None:
    world = PlantedWorld(Confounder(rho=rho, num_train=3000), 1)
    queries = every_query(world, "train")
    own = np.mean([one.context == one.concepts[0] for one in queries])
    none = np.mean([one.context is None for one in queries])
    assert own == pytest.approx(rho + (1 - rho) / (2 * 8), abs=0.02)
    assert none == pytest.approx((1 - rho) / 2, abs=0.03)
    counts = np.bincount([one.concepts[0] for one in queries])
    assert len(counts) == 8 and counts.min() > 300


def test_parts_differ_in_the_context_alone() -> None:
    world = PlantedWorld(SMALL, 0)
    for number in range(6):
        iid, absent, swapped, only = (
            world.queries(f"{split}_{number:05d}")[0] for split in TEST_SPLITS
        )
        for one in (absent, swapped, only):
            assert (one.query, one.object_run) == (iid.query, iid.object_run)
        assert absent.context is None and absent.context_run is None
        assert swapped.context is not None and swapped.context not in swapped.concepts
        assert only.context == only.concepts[0] and not only.visible and iid.visible
        start, end = iid.object_run
        pixels = {split: world.clips(f"{split}_{number:05d}") for split in TEST_SPLITS}
        assert np.array_equal(pixels["absent"][start:end], pixels["swapped"][start:end])
        assert np.array_equal(pixels["swapped"][start:end], pixels["iid"][start:end])
        shown = pixels["absent"] - pixels["context_only"]
        planted = world.objects[iid.concepts[0]]
        assert np.allclose(shown[start:end], planted, atol=1e-5)


def test_videos_depend_on_seed_and_id_only() -> None:
    world = PlantedWorld(SMALL, 0)
    longer = PlantedWorld(dataclasses.replace(SMALL, num_train=500), 0)
    assert np.array_equal(world.clips("train_00007"), longer.clips("train_00007"))
    assert world.queries("train_00007") == longer.queries("train_00007")
    turned = PlantedWorld(dataclasses.replace(SMALL, rho=0.0, salience=3.0), 0)
    for one, other in zip(every_query(world, "train"), every_query(turned, "train"), strict=True):
        assert (one.query, one.object_run) == (other.query, other.object_run)
    other = PlantedWorld(SMALL, 1)
    assert not np.array_equal(world.clips("train_00007"), other.clips("train_00007"))
    assert not np.array_equal(world.clips("train_00003"), world.clips("val_labelled_00003"))


def test_object_and_context_lie_apart() -> None:
    rich = Confounder.rich(num_train=100)
    for knobs in (Confounder(num_train=300), rich):
        world = PlantedWorld(knobs, 2)
        for name in world.video_ids("train"):
            taken = np.zeros(knobs.num_clips, dtype=int)
            for one in world.queries(name):
                for start, end in (one.object_run, one.context_run or (0, 0)):
                    assert 0 <= start <= end <= knobs.num_clips
                    taken[start:end] += 1
            assert taken.max() == 1
    sizes = [len(world.queries(name)) for name in world.video_ids("train")]
    named = [len(one.concepts) for one in every_query(world, "train")]
    assert set(sizes) == {1, 2, 3, 4} and set(named) == {1, 2, 3}
    one = next(one for one in every_query(world, "train") if len(one.concepts) == 2)
    assert all(WORDS[concept] in one.query for concept in one.concepts)


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_the_context_covers_a_share_of_the_object(share: float) -> None:
    world = PlantedWorld(Confounder(rho=1.0, overlap=share, num_train=200), 0)
    for one in every_query(world, "train"):
        (start, end), (first, last) = one.object_run, one.context_run
        covered = max(0, min(end, last) - max(start, first))
        assert covered == round(share * (end - start)) and last - first == end - start


def test_location_bias_and_dropout() -> None:
    world = PlantedWorld(Confounder(location_bias=True, object_dropout=0.1, num_train=2000), 0)
    queries = every_query(world, "train")
    assert max(one.object_run[1] for one in queries) <= 32 // 3
    assert np.mean([not one.visible for one in queries]) == pytest.approx(0.1, abs=0.02)
    for one in queries:
        if one.context_run is not None:
            assert one.context_run[0] >= one.object_run[1] and one.context_run[1] <= 32


def test_a_set_is_stored_as_any_other_one(tmp_path) -> None:
    assert write_confounded(tmp_path, SMALL, 5) == 20 + 4 + 4 * 6
    world = PlantedWorld(SMALL, 5)
    store = FeatureStore(tmp_path / "features.h5")
    clips, grid = store.read("swapped_00002")
    assert np.array_equal(clips, world.clips("swapped_00002")) and grid.duration_seconds == 32.0
    rows = {row["qid"]: row for row in rows_of(tmp_path / "annotations.jsonl")}
    assert {row["split"] for row in rows.values()} == set(SPLITS)
    contexts = {row["qid"]: row for row in rows_of(tmp_path / "contexts.jsonl")}
    assert rows.keys() == contexts.keys()
    (query,) = world.queries("train_00004")
    row, beside = rows[query.qid], contexts[query.qid]
    assert [row["start"], row["end"]] == list(map(float, query.object_run)) == beside["object"]
    assert row["query"] == query.query and beside["concepts"] == [WORDS[query.concepts[0]]]
    assert contexts["context_only_00001_0"]["object"] is None
    assert contexts["absent_00001_0"]["context"] is None
    knobs = json.loads((tmp_path / "confounder.json").read_text())
    assert knobs.pop("seed") == 5 and Confounder(**knobs) == SMALL
    lines = (tmp_path / "vectors.txt").read_text().splitlines()
    vectors = {word: list(map(float, numbers)) for word, *numbers in map(str.split, lines)}
    said = {word for row in rows.values() for word in row["query"].split()}
    assert said <= vectors.keys() and {len(one) for one in vectors.values()} == {50}


def test_the_command_makes_features_that_the_toolkit_reads(tmp_path, capsys) -> None:
    given = ["rho=1", "num_train=12", "num_val=2", "num_test=2", "location_bias=true"]
    main(["features", "sample", str(tmp_path), "--seed", "3", "--confounder", *given])
    assert "22 videos with a planted confounder" in capsys.readouterr().out
    where = ["--annotations", str(tmp_path / "annotations.jsonl")]
    main(["features", "check", str(tmp_path / "features.h5"), *where])
    assert "all wanted videos are there" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--confounder", "rho=2"], "rho=2.0: expected 0 to 1"),
        (["--confounder", "rho=high"], "rho=high: expected a value such as 0.9"),
        (["--confounder", "location_bias=1"], "location_bias=1: expected a value such as false"),
        (["--confounder", "colour=red"], "unknown knob"),
        (["--confounder", "location_bias=true", "longest=12"], "fits the first third"),
        (["--confounder", "longest=17"], "longest=17: expected 1 to 16"),
        (["--confounder", "--videos", "9"], "knobs num_train"),
        (["--confounder", "salience=2", "--render"], "rendered videos have no such knob"),
        (["--confounder", "num_concepts=7", "--render"], "at most 6 colours"),
        (["--render"], "expected --confounder beside it"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, capsys, given: list[str], message: str) -> None:
    with pytest.raises(SystemExit):
        main(["features", "sample", str(tmp_path), *given])
    assert message in capsys.readouterr().err
    with pytest.raises(FeatureError, match="expected one of train"):
        PlantedWorld(SMALL).video_ids("test")
    with pytest.raises(FeatureError, match="seed=-1"):
        PlantedWorld(SMALL, -1)


def test_rendered_videos_show_object_and_context(tmp_path) -> None:
    knobs = Confounder(**{**RENDERED, "num_train": 2, "num_val": 1, "num_test": 1})
    files = render_confounded(tmp_path, knobs, 7, progress=False)
    assert len(files) == 2 + 1 + 4 and all(file.is_file() for file in files)
    world = PlantedWorld(knobs, 7)
    drawn = {split: confounded_frames(world, f"{split}_00000") for split in TEST_SPLITS}
    decoded = np.stack([image for _, image in iter_frames(files[3])])
    assert np.abs(decoded.astype(float) - drawn["iid"]).mean() < 5
    ((query, event),) = plan_confounded(world, "swapped_00000")
    start, end = event.first_frame, event.end_frame
    assert (start, end) == tuple(CLIP_FRAMES * place for place in query.object_run)
    # Without the context, what is left over the ground is the object; without the object, nothing.
    assert np.array_equal(drawn["absent"][start:end], drawn["swapped"][start:end])
    first, last = (CLIP_FRAMES * place for place in query.context_run)
    assert (drawn["absent"][first:last] != drawn["swapped"][first:last]).any(axis=(1, 2, 3)).all()
    assert (drawn["iid"][start:end] != drawn["context_only"][start:end]).any(axis=(1, 2, 3)).any()
    rows = rows_of(tmp_path / "annotations.jsonl")
    assert rows[0]["duration"] == knobs.num_clips * CLIP_FRAMES / FPS == len(decoded) / FPS
    clips = extract_video(files[3], GridBackbone()).clips
    assert len(clips) == knobs.num_clips  # a clip of the planted set is one of the extractor


def test_every_rendered_sentence_says_the_colour() -> None:
    world = PlantedWorld(Confounder(num_concepts=6, num_train=200), 0)
    for name in world.video_ids("train"):
        for query, event in plan_confounded(world, name):
            assert event.objects[0][0] in query.query.split(), query.query
