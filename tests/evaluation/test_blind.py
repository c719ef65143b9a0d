import json
from pathlib import Path

import numpy as np
import pytest

from bpnet.errors import AnnotationError, ConfigError
from bpnet.evaluation.blind import blind_rows, fit_constant_interval
from bpnet.evaluation.metrics import localization_metrics
from bpnet.evaluation.protocols import TAN, VSLNET
from bpnet.types import Annotation

ANNOTATIONS = Path(__file__).parents[3] / "shared" / "data" / "annotations"


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


def charades(split: str) -> list[Annotation]:
    folder = ANNOTATIONS / "charades_sta"
    videos = json.loads((folder / "charades_durations.json").read_text())
    rows = []
    for line in (folder / f"charades_sta_{split}.txt").read_text().splitlines():
        place, _, query = line.partition("##")
        video_id, start, end = place.split()
        duration = videos[video_id]["duration"]
        rows.append((float(start), min(float(end), duration), duration, video_id, query))
    return [
        Annotation(str(number), video_id, query, start, end, duration, split)
        for number, (start, end, duration, video_id, query) in enumerate(rows)
    ]


def activitynet(part: str) -> list[Annotation]:
    videos = json.loads((ANNOTATIONS / "activitynet_captions" / f"{part}.json").read_text())
    moments = [
        (max(0.0, min(pair)), min(max(pair), video["duration"]), video["duration"])
        for video in videos.values()
        for pair in video["timestamps"]
    ]
    return [annotation(*moment) for moment in moments if moment[0] < moment[1]]


def rows_of(train: list[Annotation], test: list[Annotation]) -> dict[str, dict[str, object]]:
    targets = [(one.start_seconds, one.end_seconds) for one in test]
    return blind_rows(train, targets, [one.duration_seconds for one in test], VSLNET)


# The stored numbers below were measured on the annotation files by separate code, to two (or one)
# decimals.
@pytest.mark.shared
@pytest.mark.skipif(not ANNOTATIONS.is_dir(), reason="no development data")
def test_rows_of_charades_sta():
    train, test = charades("train"), charades("test")
    assert (len(train), len(test)) == (12_408, 3_720)
    rows = rows_of(train, test)
    names = ["R@1,IoU=0.3", "R@1,IoU=0.5", "R@1,IoU=0.7", "mIoU"]
    assert rows["constant"]["interval"] == [0.0, 0.475]
    assert [round(rows["constant"][name], 2) for name in names] == [49.27, 26.80, 10.86, 30.43]
    best = [round(rows["constant_best"][name], 2) for name in names]
    assert best == [49.54, 30.65, 17.34, 30.43]
    assert [round(rows["whole_video"][name], 1) for name in names] == [35.0, 0.4, 0.0, 27.1]
    relative = [
        (one.start_seconds / one.duration_seconds, one.end_seconds / one.duration_seconds)
        for one in train
    ]
    fitted = {name: fit_constant_interval(relative, name) for name in names}
    assert list(fitted.values()) == [(0.0, 0.525), (0.0, 0.3), (0.0, 0.35), (0.0, 0.475)]


@pytest.mark.shared
@pytest.mark.skipif(not ANNOTATIONS.is_dir(), reason="no development data")
def test_rows_of_activitynet_captions():
    rows = rows_of(activitynet("train"), activitynet("val_2"))
    assert rows["constant"]["interval"] == [0.0, 1.0]  # for mIoU it is the whole video
    assert round(rows["constant_best"]["R@1,IoU=0.5"], 2) == 29.05
    assert round(rows["constant_best"]["R@1,IoU=0.7"], 2) == 15.52
    whole = rows["whole_video"]
    assert [round(value, 1) for value in whole.values()] == [48.0, 21.2, 12.4, 34.6]


def test_a_constant_answer_does_not_depend_on_the_unit_of_time():
    train = [annotation(1, 5, 10), annotation(3, 20, 40)]
    targets, durations = np.array([(2.0, 7.0), (1.0, 3.0)]), np.array([20.0, 4.0])
    seconds = blind_rows(train, targets, durations, VSLNET)
    minutes = blind_rows(train, targets / 64, durations / 64, VSLNET)  # 1/64 is exact
    assert seconds == minutes
