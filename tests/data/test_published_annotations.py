"""The annotation files as the datasets publish them: counts, dirt, and what is in them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from bpnet.data.annotations import read_annotations
from bpnet.data.charades import read_charades_sta
from bpnet.data.inspection import PartInspection, found_parts
from bpnet.data.published import published_counts
from bpnet.data.repair import RawQuery, RepairReport
from bpnet.data.video_json import ACTIVITYNET, TACOS_2DTAN, read_video_json
from bpnet.errors import AnnotationError
from bpnet.types import Annotation

pytestmark = pytest.mark.shared


@pytest.fixture
def annotations_dir(shared_dir: Path) -> Path:
    return shared_dir / "data" / "annotations"


@functools.cache
def read(dataset: str, path: Path, part: str) -> tuple[list[Annotation], RepairReport]:
    """Each part is read once for all tests."""
    return read_annotations(dataset, path, part)


@pytest.mark.parametrize(
    ("dataset", "folder", "parts"),
    [
        ("charades_sta", "charades_sta", ["train", "test"]),
        ("charades_sta", "charades_sta/original", ["train"]),
        ("charades_cd", "charades_cd", ["train", "val", "test_iid", "test_ood"]),
        ("tacos_2dtan", "tacos", ["train", "val", "test"]),
        ("tacos_tall", "tacos_tall", ["train", "val", "test"]),
        ("activitynet", "activitynet_captions", ["train", "val_1", "val_2", "val_merged"]),
        ("activitynet_cd", "activitynet_cd", ["val", "test_iid", "test_ood"]),
        ("qvhighlights", "qvhighlights", ["train", "val", "test"]),
    ],
)
def test_every_count_equals_the_published_one(
    annotations_dir: Path, dataset: str, folder: str, parts: list[str]
) -> None:
    path = annotations_dir / folder
    assert found_parts(dataset, path)[0] == parts
    for part in parts:
        _, report = read(dataset, path, part)
        inspection = PartInspection(report, 0.0, published_counts(dataset, part))
        assert inspection.equal, inspection.lines()


@pytest.mark.parametrize(
    ("dataset", "folder", "split", "num_pairs", "num_kept", "num_videos", "clamped", "dropped"),
    [
        # Counts of the files themselves, counted apart from this reader.
        ("charades_sta", "charades_sta", "train", 12408, 12408, 5338, 1802, 0),
        ("charades_sta", "charades_sta/original", "train", 12408, 12404, 5336, 1802, 4),
        ("charades_sta", "charades_sta", "test", 3720, 3720, 1334, 562, 0),
        ("charades_cd", "charades_cd", "train", 11071, 11071, 4564, 1652, 0),
        ("charades_cd", "charades_cd", "val", 859, 859, 333, 135, 0),
        ("charades_cd", "charades_cd", "test_iid", 823, 823, 333, 151, 0),
        # Its copy has the reversed pairs swapped: three begin after their videos end.
        ("charades_cd", "charades_cd", "test_ood", 3375, 3372, 1440, 345, 3),
        ("tacos_2dtan", "tacos", "train", 9790, 9790, 75, 43, 0),
        ("tacos_2dtan", "tacos", "val", 4436, 4436, 27, 0, 0),
        ("tacos_2dtan", "tacos", "test", 4001, 4001, 25, 5, 0),
        ("tacos_tall", "tacos_tall", "train", 10146, 10146, 75, 48, 0),
        ("tacos_tall", "tacos_tall", "val", 4589, 4589, 27, 0, 0),
        ("tacos_tall", "tacos_tall", "test", 4083, 4083, 25, 5, 0),
        ("activitynet", "activitynet_captions", "train", 37421, 37417, 10009, 261, 4),
        ("activitynet", "activitynet_captions", "val_1", 17505, 17505, 4917, 134, 0),
        ("activitynet", "activitynet_captions", "val_2", 17031, 17031, 4885, 111, 0),
        ("activitynet", "activitynet_captions", "val_merged", 34536, 34536, 4917, 245, 0),
        ("activitynet_cd", "activitynet_cd", "val", 3521, 3521, 746, 17, 0),
        ("activitynet_cd", "activitynet_cd", "test_iid", 3443, 3443, 746, 27, 0),
        ("activitynet_cd", "activitynet_cd", "test_ood", 13578, 13574, 2450, 55, 4),
        ("qvhighlights", "qvhighlights", "train", 12803, 12803, 7100, 0, 0),
        ("qvhighlights", "qvhighlights", "val", 2803, 2803, 1519, 0, 0),
        ("qvhighlights", "qvhighlights", "test", 2761, 2761, 1529, 0, 0),
    ],
)
def test_published_files(
    annotations_dir: Path,
    dataset: str,
    folder: str,
    split: str,
    num_pairs: int,
    num_kept: int,
    num_videos: int,
    clamped: int,
    dropped: int,
) -> None:
    annotations, report = read(dataset, annotations_dir / folder, split)
    assert sum(len(annotation.moments) for annotation in annotations) == num_kept
    assert (report.num_pairs, report.num_kept, report.num_videos) == (
        num_pairs,
        num_kept,
        num_videos,
    )
    assert report.counts["end_after_duration"] == clamped
    assert report.counts["start_not_before_end"] == dropped
    if dataset == "charades_sta" and split == "train":
        assert ("original" if "original" in folder else "repaired") in report.notes[0]


def raw_charades(folder: str, part: str) -> Callable[[Path], list[RawQuery]]:
    return lambda root: read_charades_sta(
        root / folder / f"charades_sta_{part}.txt",
        root / "charades_sta" / f"Charades_v1_{part}.csv",
    )


def raw_activitynet(part: str) -> Callable[[Path], list[RawQuery]]:
    return lambda root: read_video_json(root / "activitynet_captions" / f"{part}.json", ACTIVITYNET)


def raw_tacos(part: str) -> Callable[[Path], list[RawQuery]]:
    return lambda root: read_video_json(root / "tacos" / f"{part}.json", TACOS_2DTAN)


@pytest.mark.parametrize(
    ("read_raw", "num_pairs", "after", "well_after", "not_before", "reversed_"),
    [
        # Dirt as it is written, before any rule: ends after the duration, by more than 0.01 s,
        # start >= end, start > end.
        (raw_charades("charades_sta/original", "train"), 12408, 1805, 1803, 4, 4),
        (raw_charades("charades_sta", "train"), 12408, 1802, 1800, 0, 0),
        (raw_charades("charades_sta", "test"), 3720, 562, 561, 0, 0),
        (raw_activitynet("train"), 37421, 261, 12, 4, 2),
        (raw_activitynet("val_1"), 17505, 134, 0, 0, 0),
        (raw_activitynet("val_2"), 17031, 111, 0, 0, 0),
        (raw_tacos("train"), 9790, 43, 43, 0, 0),
        (raw_tacos("val"), 4436, 0, 0, 0, 0),
        (raw_tacos("test"), 4001, 5, 5, 0, 0),
    ],
)
def test_dirt(
    annotations_dir: Path,
    read_raw: Callable[[Path], list[RawQuery]],
    num_pairs: int,
    after: int,
    well_after: int,
    not_before: int,
    reversed_: int,
) -> None:
    queries = read_raw(annotations_dir)
    pairs = [(*moment, query.duration) for query in queries for moment in query.moments]
    assert len(pairs) == num_pairs
    assert sum(end > duration for _, end, duration in pairs) == after
    assert sum(end > duration + 0.01 for _, end, duration in pairs) == well_after
    assert sum(start >= end for start, end, _ in pairs) == not_before
    assert sum(start > end for start, end, _ in pairs) == reversed_


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_both_forms_of_tacos_tall_hold_the_same_pairs(annotations_dir: Path, part: str) -> None:
    folder = annotations_dir / "tacos_tall"
    of_list, _ = read_annotations("tacos_tall", folder / f"TACoS_{part}_samples.txt", part)
    of_json, _ = read("tacos_tall", folder, part)  # which prefers scdm_{part}.json
    assert sorted(of_list, key=lambda a: a.qid) == sorted(of_json, key=lambda a: a.qid)
    # The times of both are frames at 29.4 a second: so are those of 2D-TAN, which says it.
    of_tan, _ = read("tacos_2dtan", annotations_dir / "tacos", part)
    durations = [{a.video_id: a.duration_seconds for a in part} for part in (of_json, of_tan)]
    assert durations[0] == durations[1]


def test_activitynets_validation_files_describe_the_same_videos(annotations_dir: Path) -> None:
    folder = annotations_dir / "activitynet_captions"
    videos = [
        {a.video_id for a in read("activitynet", folder, part)[0]} for part in ("val_1", "val_2")
    ]
    assert len(videos[0] & videos[1]) == len(videos[1]) == 4885
    merged, report = read("activitynet", folder, "val_merged")
    assert len({a.qid for a in merged}) == len(merged) == 34536
    assert report.num_videos == 4917


@pytest.mark.parametrize(
    ("part", "num_queries", "num_scored_clips", "num_shorter"),
    [("train", 7218, 160573, 211), ("val", 1550, 32549, 38), ("test", 1542, 32887, 47)],
)
def test_qvhighlights(
    annotations_dir: Path, part: str, num_queries: int, num_scored_clips: int, num_shorter: int
) -> None:
    annotations, report = read("qvhighlights", annotations_dir / "qvhighlights", part)
    assert report.num_queries == len(annotations) == num_queries
    saliencies = [a.saliency for a in annotations if a.saliency is not None]
    assert len(saliencies) == num_queries
    assert sum(len(saliency.clip_ids) for saliency in saliencies) == num_scored_clips
    assert {len(scores) for saliency in saliencies for scores in saliency.scores} == {3}
    assert report.notes[0].startswith(f"{num_shorter} videos are shorter")
    # The scored clips are those within the moments, of two seconds each.
    for annotation in annotations:
        inside = [c for s, e in annotation.moments for c in range(int(s) // 2, int(e) // 2)]
        assert annotation.saliency is not None
        assert sorted(annotation.saliency.clip_ids) == sorted(inside)
    if part == "test":
        questions = annotations_dir / "qvhighlights" / "highlight_test_release.jsonl"
        with pytest.raises(AnnotationError, match=r"1542 queries.*highlight_test_with_gt\.jsonl"):
            read_annotations("qvhighlights", questions, "test")


def test_lighthouse_samples(annotations_dir: Path) -> None:
    read, refused = {}, []
    for file in sorted((annotations_dir / "lighthouse_samples").glob("*.jsonl")):
        part = next(part for part in ("train", "val", "test") if f"_{part}_" in file.name)
        try:
            annotations, report = read_annotations("lighthouse", file, part)
        except AnnotationError as err:
            assert "has a moment" in str(err)
            refused.append(file.name.partition(".")[0])
            continue
        assert len(annotations) == report.num_queries == 50
        read[file.name.partition(".")[0]] = (report.num_pairs, report.counts["end_after_duration"])
        assert report.num_pairs - report.num_kept == ("castella_test" in file.name)
    # Moments of the 50 queries, and how many of them end after the video (but one, [96, 97] of 96 s
    # in castella_test, begins there too and is dropped).
    assert read == {
        "activitynet_val_release": (50, 0),
        "castella_test_release": (145, 3),
        "castella_train_release": (97, 4),
        "castella_val_release": (121, 2),
        "charades_test_release": (50, 0),
        "charades_train_release": (50, 0),
        "clotho_moment_test_release": (50, 0),
        "clotho_moment_val_release": (50, 0),
        "highlight_train_release": (95, 0),
        "highlight_val_release": (74, 0),
        "tacos_test_release": (50, 0),
        "tacos_train_release": (50, 0),
        "tacos_val_release": (50, 0),
        "tut2017_test_release": (115, 0),
        "unav100-subset_test_release": (50, 0),
    }
    assert refused == [
        "highlight_test_release",
        "tvsum_train_release",
        "tvsum_val_release",
        "youtube_highlight_train_release",
        "youtube_highlight_val_release",
    ]
