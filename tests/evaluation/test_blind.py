import json
from pathlib import Path

import numpy as np
import pytest

from bpnet.errors import AnnotationError, ConfigError
from bpnet.evaluation.blind import blind_rows, fit_constant_interval
from bpnet.evaluation.metrics import localization_metrics
from bpnet.evaluation.protocols import TAN, VSLNET, protocol
from bpnet.types import Annotation


def annotation(start: float, end: float, duration: float) -> Annotation:
    return Annotation("q", "v", "a person walks", start, end, duration, "train")


@pytest.mark.parametrize("objective", ["mIoU", "R@1,IoU=0.5", "R@1,IoU=0.7"])
def test_fit_is_the_best_of_the_whole_grid(objective):
    random = np.random.default_rng(3)
    targets = np.sort(random.random((30, 2)), axis=1)
    metrics = {}
    for start in range(40):
        for end in range(start + 1, 41):
            interval = (start / 40, end / 40)
            answers = [[interval]] * len(targets)
            metrics[interval] = localization_metrics(answers, targets, VSLNET)[objective]
    fitted = fit_constant_interval(targets, objective)
    assert metrics[fitted] == pytest.approx(max(metrics.values()))


def test_fit_of_one_repeated_moment_is_that_moment():
    # 2,500 moments take three chunks.
    assert fit_constant_interval([(0.25, 0.625)] * 2500, "mIoU") == (0.25, 0.625)


def test_fit_counts_by_the_rule_of_the_protocol():
    # Two moments of [0, .5]: only [0, .5] itself reaches .95 by either rule.
    assert fit_constant_interval([(0.0, 0.5)] * 2, "R@1,IoU=0.95", TAN) == (0.0, 0.5)
    # Of equally good intervals the earliest and shortest: [0, .25] is exactly half of [0, .5].
    assert fit_constant_interval([(0.0, 0.5)], "R@1,IoU=0.5", VSLNET) == (0.0, 0.25)
    assert fit_constant_interval([(0.0, 0.5)], "R@1,IoU=0.5", TAN) == (0.0, 0.275)


@pytest.mark.parametrize("objective", ["miou", "R@5,IoU=0.5", "R@1,IoU=2"])
def test_unknown_objective(objective):
    with pytest.raises(ConfigError, match=rf"objective '{objective}' is unknown"):
        fit_constant_interval([(0.0, 0.5)], objective)


def test_nothing_to_fit_on():
    with pytest.raises(AnnotationError, match="no annotations to fit"):
        blind_rows([], [(0.0, 1.0)], [2.0], VSLNET)


def test_fit_on_every_moment_and_answers_take_the_best_target():
    # Three windows of train: two are the second half; the first of each query alone would tie.
    train = [
        Annotation("q", "v", "a person walks", 0, 5, 10, "train", ((5, 10),)),
        annotation(20, 40, 40),
    ]
    # 0.5..1 of 10 s is 5..10: the second target fits; the third query has one target, missed.
    targets = [[(0.0, 2.0), (5.0, 10.0)], [(0.0, 4.0)]]
    rows = blind_rows(train, targets, [10.0, 10.0], VSLNET)
    assert rows["constant"]["interval"] == [0.5, 1.0]
    assert rows["constant"]["mIoU"] == 50.0
    assert rows["whole_video"]["mIoU"] == pytest.approx(100 * (5 / 10 + 4 / 10) / 2)


def test_targets_and_durations_of_different_lengths():
    with pytest.raises(AnnotationError, match="1 targets and 2 durations"):
        blind_rows([annotation(0, 5, 10)], [(0.0, 1.0)], [2.0, 3.0], VSLNET)


@pytest.mark.parametrize("name", ["tan", "snag", "moment-detr"])
def test_every_protocol_has_rows(name):
    rows = blind_rows([annotation(0, 5, 10)], [(0.0, 5.0)], [10.0], protocol(name))
    assert rows["constant"]["interval"] == [0.0, 0.5]
    # Half of 10 s is 5 s, which moment-detr rounds to 4.
    assert rows["constant"]["mIoU"] == (80.0 if name == "moment-detr" else 100.0)


def test_rows_worked_by_hand():
    # Both moments of train are the first half of their videos, so that every fit of mIoU is
    # [0, .5]; of the intervals that reach tIoU .3 of it, the earliest and shortest is [0, .15].
    train = [annotation(0, 5, 10), annotation(0, 20, 40)]
    # 20 s: target 0..5 against 0..10; 8 s: target 4..8 against 0..4.
    rows = blind_rows(train, [(0.0, 5.0), (4.0, 8.0)], [20.0, 8.0], VSLNET)
    assert rows["constant"] == {
        "interval": [0.0, 0.5],
        "R@1,IoU=0.3": 50.0,  # 5/10
        "R@1,IoU=0.5": 50.0,
        "R@1,IoU=0.7": 0.0,
        "mIoU": 25.0,  # (5/10 + 0) / 2
    }
    # The whole video: 5/20 and 4/8.
    assert rows["whole_video"] == {
        "R@1,IoU=0.3": 50.0,
        "R@1,IoU=0.5": 50.0,
        "R@1,IoU=0.7": 0.0,
        "mIoU": 37.5,
    }
    # Fitted for .3, .5, .7 and mIoU: [0, .15], [0, .25], [0, .35] and [0, .5] of the video; of
    # 20 s that is 0..3, 0..5, 0..7 and 0..10, against 0..5: 3/5, 1, 5/7 and 5/10.
    assert rows["constant_best"] == {
        "R@1,IoU=0.3": 50.0,
        "R@1,IoU=0.5": 50.0,
        "R@1,IoU=0.7": 50.0,
        "mIoU": 25.0,
    }
    json.dumps(rows)  # plain values only


def charades(folder: Path, split: str) -> list[Annotation]:
    videos = json.loads((folder / "charades_sta" / "charades_durations.json").read_text())
    rows = []
    for line in (folder / "charades_sta" / f"charades_sta_{split}.txt").read_text().splitlines():
        place, _, _ = line.partition("##")
        video_id, start, end = place.split()
        duration = videos[video_id]["duration"]
        rows.append(annotation(float(start), min(float(end), duration), duration))
    return rows


def by_video(folder: Path, name: str) -> list[Annotation]:
    moments = []
    for video in json.loads((folder / name).read_text()).values():
        unit = video.get("fps", 1.0)
        duration = video["num_frames"] / unit if "fps" in video else video["duration"]
        for pair in video["timestamps"]:
            start, end = pair[0] / unit, pair[1] / unit
            moments.append((max(0.0, start), min(end, duration), duration))
    return [annotation(*moment) for moment in moments if moment[0] < moment[1]]


def part(folder: Path, name: str) -> list[Annotation]:
    dataset, _, split = name.partition(" ")
    if dataset == "charades":
        return charades(folder, split)
    return by_video(folder, f"{dataset}/{split}.json")


def metrics_of(interval: tuple[float, float], annotations: list[Annotation]) -> list[float]:
    lengths = np.array([one.duration_seconds for one in annotations])
    answers = lengths[:, None, None] * np.array(interval)
    targets = [one.moments for one in annotations]
    return list(localization_metrics(answers, targets, VSLNET, ranks=(1,)).values())


# The stored numbers below were measured on the annotation files by separate code, to one decimal
# (whole video) and to two (constant intervals): R@1 at .3, .5, .7, and mIoU.
WHOLE_VIDEO = {
    "charades train": (12_408, [35.3, 0.2, 0.0, 26.9]),
    "charades test": (3_720, [35.0, 0.4, 0.0, 27.1]),
    "activitynet_captions train": (37_417, [39.3, 20.8, 10.7, 30.6]),
    "activitynet_captions val_1": (17_505, [42.9, 22.7, 11.4, 32.3]),
    "activitynet_captions val_2": (17_031, [48.0, 21.2, 12.4, 34.6]),
    "tacos train": (9_790, [6.9, 1.0, 0.3, 10.2]),
    "tacos test": (4_001, [5.9, 1.5, 0.8, 8.8]),
}
# Train, then for each objective the interval, then the metrics on each test part.
CONSTANT = {
    "charades train": {
        "R@1,IoU=0.3": ((0.0, 0.525), {"charades test": [49.54, 24.30, 9.35, 29.83]}),
        "R@1,IoU=0.5": ((0.0, 0.3), {"charades test": [40.30, 30.65, 15.16, 28.07]}),
        "R@1,IoU=0.7": ((0.0, 0.35), {"charades test": [44.14, 30.46, 17.34, 29.57]}),
        "mIoU": ((0.0, 0.475), {"charades test": [49.27, 26.80, 10.86, 30.43]}),
    },
    "activitynet_captions train": {
        "R@1,IoU=0.5": (
            (0.3, 0.95),
            {
                "activitynet_captions val_1": [40.66, 27.39, 10.02, 28.60],
                "activitynet_captions val_2": [48.19, 29.05, 7.31, 30.17],
            },
        ),
        "R@1,IoU=0.7": (
            (0.225, 0.925),
            {
                "activitynet_captions val_1": [41.15, 26.74, 16.00, 29.43],
                "activitynet_captions val_2": [47.45, 29.89, 15.52, 31.37],
            },
        ),
        "mIoU": ((0.0, 1.0), {}),
    },
    "tacos train": {
        "R@1,IoU=0.3": ((0.125, 0.3), {"tacos test": [10.75, 3.15, 0.57, 7.99]}),
        "R@1,IoU=0.5": ((0.625, 0.925), {"tacos test": [7.87, 3.00, 1.10, 6.53]}),
        "R@1,IoU=0.7": ((0.55, 0.925), {"tacos test": [8.40, 3.72, 1.12, 7.17]}),
        "mIoU": ((0.1, 0.9), {"tacos test": [7.40, 2.42, 1.10, 9.24]}),
    },
}


@pytest.mark.shared
@pytest.mark.parametrize("name", list(WHOLE_VIDEO))
def test_the_whole_video_on_real_annotations(name, shared_dir):
    annotations = part(shared_dir / "data/annotations", name)
    count, expected = WHOLE_VIDEO[name]
    assert len(annotations) == count
    found = metrics_of((0.0, 1.0), annotations)
    assert [round(value, 1) for value in found] == expected


@pytest.mark.shared
@pytest.mark.parametrize("train", list(CONSTANT))
def test_constant_intervals_on_real_annotations(train, shared_dir):
    folder = shared_dir / "data/annotations"
    training = part(folder, train)
    relative = [
        (one.start_seconds / one.duration_seconds, one.end_seconds / one.duration_seconds)
        for one in training
    ]
    fitted = {name: fit_constant_interval(relative, name) for name in CONSTANT[train]}
    assert fitted == {name: interval for name, (interval, _) in CONSTANT[train].items()}
    tests = {name for _, rows in CONSTANT[train].values() for name in rows}
    for name in tests:
        annotations = part(folder, name)
        rows = blind_rows(
            training,
            [one.moments for one in annotations],
            [one.duration_seconds for one in annotations],
            VSLNET,
        )
        columns = ["R@1,IoU=0.3", "R@1,IoU=0.5", "R@1,IoU=0.7", "mIoU"]
        for objective, (interval, expected) in CONSTANT[train].items():
            if name in expected:
                found = metrics_of(interval, annotations)
                assert [round(value, 2) for value in found] == expected[name], objective
                # And the printed rows are made of these.
                own = expected[name][columns.index(objective)]
                assert round(rows["constant_best"][objective], 2) == own
        assert rows["constant"]["interval"] == list(CONSTANT[train]["mIoU"][0])
        whole = WHOLE_VIDEO[name][1]
        assert [round(rows["whole_video"][column], 1) for column in columns] == whole


def qvhighlights(folder: Path, split: str) -> list[Annotation]:
    lines = (folder / f"qvhighlights/highlight_{split}_release.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    return [
        Annotation(
            str(row["qid"]),
            row["vid"],
            row["query"],
            *map(float, row["relevant_windows"][0]),
            150.0,
            split,
            tuple((float(start), float(end)) for start, end in row["relevant_windows"][1:]),
        )
        for row in rows
    ]


@pytest.mark.shared
def test_rows_of_qvhighlights_take_every_window(shared_dir):
    folder = shared_dir / "data/annotations"
    train, val = qvhighlights(folder, "train"), qvhighlights(folder, "val")
    targets = [one.moments for one in val]
    assert (len(val), sum(map(len, targets))) == (1_550, 2_803)
    rows = blind_rows(train, targets, [150.0] * len(val), VSLNET)
    # By a plain loop: the best window of each query against the whole video of 150 s.
    best = np.array([max(end - start for start, end in one) / 150 for one in targets])
    assert rows["whole_video"]["mIoU"] == pytest.approx(100 * best.mean())
    assert rows["whole_video"]["R@1,IoU=0.5"] == pytest.approx(100 * (best >= 0.5).mean())
    # The fit counts each of the 12,000-odd training windows once.
    low, high = rows["constant"]["interval"]
    windows = np.array([moment for one in train for moment in one.moments]) / 150
    fitted = fit_constant_interval(windows, "mIoU")
    assert (low, high) == fitted


def test_a_constant_answer_does_not_depend_on_the_unit_of_time():
    train = [annotation(1, 5, 10), annotation(3, 20, 40)]
    targets, durations = np.array([(2.0, 7.0), (1.0, 3.0)]), np.array([20.0, 4.0])
    seconds = blind_rows(train, targets, durations, VSLNET)
    minutes = blind_rows(train, targets / 64, durations / 64, VSLNET)  # 1/64 is exact
    assert seconds == minutes
