"""Readers of the published forms: lines as the datasets have them, with their quirks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpnet.data.annotations import check_files, read_annotations
from bpnet.data.didemo import consensus
from bpnet.data.parts import part_in_name, parts_of
from bpnet.errors import AnnotationError, ConfigError
from bpnet.types import Annotation

CHARADES_CD = {
    "QM4AD": {
        "framestamps": [[283, 374]],
        "decode_fps": 16.0,
        "encoded_sentences": [[1, 38, 3, 18, 23]],
        "sentences": ["person put the glass down"],
        "video_fps": -1.0,
        "timestamps": [[17.7, 23.6]],
        "video_duration": 23.5625,
    },
    "UL9LN": {
        "framestamps": [[321, 440], [0, 105]],
        "decode_fps": 16.0,
        "encoded_sentences": [[1, 21, 40], [1, 11, 7]],
        "sentences": ["person runs away", "person takes a drink"],
        "video_fps": -1.0,
        "timestamps": [[20.1, 27.5], [0.0, 6.6]],
        "video_duration": 28.5,
    },
}
SAMPLES = (
    "s30-d52.avi_294_588:He took out a glass.#The person takes a mug, a big one.#\n"
    "s17-d69.avi_224_358:He took out a pan.#\n"
    "s30-d52.avi_588_735:She took out kiwi.#\n"
)
SCDM = {
    "s17-d69.avi": {
        "duration": 2940.0,
        "timestamps": [[224, 358]],
        "sentences": ["He took out a pan."],
    },
    "s30-d52.avi": {
        "duration": 7350.0,
        "timestamps": [[294, 588], [294, 588], [588, 735]],
        "sentences": [
            "He took out a glass.",
            "The person takes a mug, a big one.",
            "She took out kiwi.",
        ],
    },
}
TAN = {
    name: {**entry, "fps": 29.4, "num_frames": int(entry["duration"])}  # type: ignore[call-overload]
    for name, entry in SCDM.items()
}
ANET = {
    "v_uqiMw7tQ1Cc": {
        "duration": 55.15,
        "timestamps": [[0.28, 55.15], [13.79, 54.32]],
        "sentences": ["A weight lifting tutorial is given.", "  The coach helps the guy in red."],
    }
}
DIDEMO: dict[str, Any] = {
    "num_segments": 6,
    "description": "the man in the hat briefly bends over the machine",
    "dl_link": "https://www.flickr.com/video_download.gne?id=6060447507",
    "times": [[1, 1], [1, 1], [1, 1], [0, 0]],
    "video": "35034348999@N01_6060447507_dc1a90b8ef.mov",
    "annotation_id": 49152,
}


def write(folder: Path, name: str, value: object) -> Path:
    path = folder / name
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def moment(annotation: Annotation) -> tuple[float, float, float]:
    return annotation.start_seconds, annotation.end_seconds, annotation.duration_seconds


def test_tacos_alone_is_refused_and_both_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"do not compare: expected 'tacos_2dtan'.*'tacos_tall'"):
        read_annotations("tacos", tmp_path, "train")
    assert parts_of("tacos_tall") == parts_of("tacos_2dtan") == ("train", "val", "test")


@pytest.mark.parametrize("part", ["train", "val", "test_iid", "test_ood"])
def test_charades_cd(tmp_path: Path, part: str) -> None:
    write(tmp_path, f"charades_{part}.json", CHARADES_CD)
    annotations, report = read_annotations("charades_cd", tmp_path, part)
    assert [a.qid for a in annotations] == ["QM4AD_0", "UL9LN_0", "UL9LN_1"]
    assert moment(annotations[0]) == (17.7, 23.5625, 23.5625)
    assert report.counts["end_after_duration"] == 1
    assert annotations[2].split == part


def test_activitynet_cd(tmp_path: Path) -> None:
    write(tmp_path, "anet_test_ood.json", ANET)
    annotations, _ = read_annotations("activitynet_cd", tmp_path, "test_ood")
    assert [a.qid for a in annotations] == ["v_uqiMw7tQ1Cc_0", "v_uqiMw7tQ1Cc_1"]
    with pytest.raises(AnnotationError, match=r"'anet_train\.json'.*holds anet_test_ood\.json"):
        check_files("activitynet_cd", tmp_path, "train")
    with pytest.raises(AnnotationError, match="'test': activitynet_cd has train, val, test_iid"):
        check_files("activitynet_cd", tmp_path, "test")


def test_activitynet_merged(tmp_path: Path) -> None:
    write(tmp_path, "val_1.json", ANET)
    with pytest.raises(AnnotationError, match=r"'val_1\.json' and 'val_2\.json'"):
        check_files("activitynet", tmp_path, "val_merged")
    write(tmp_path, "val_2.json", ANET)
    annotations, report = read_annotations("activitynet", tmp_path, "val_merged")
    name = "v_uqiMw7tQ1Cc"
    assert [a.qid for a in annotations] == [
        f"val_{part}_{name}_{index}" for part in (1, 2) for index in (0, 1)
    ]
    assert {a.split for a in annotations} == {"val_merged"}
    assert (report.num_queries, report.num_file_videos) == (4, 1)
    assert report.counts["duplicate"] == 2
    assert [Path(path).name for path in report.paths] == ["val_1.json", "val_2.json"]


def test_activitynet_merged_under_the_names_of_2d_tan(tmp_path: Path) -> None:
    write(tmp_path, "val.json", ANET)
    write(tmp_path, "test.json", ANET)
    assert len(read_annotations("activitynet", tmp_path, "val_merged")[0]) == 4


def test_tacos_tall_as_json_and_as_a_list(tmp_path: Path) -> None:
    write(tmp_path, "scdm_train.json", SCDM)
    lists = write(tmp_path, "TACoS_train_samples.txt", SAMPLES)
    of_json, report = read_annotations("tacos_tall", tmp_path, "train")
    assert [Path(path).name for path in report.paths] == ["scdm_train.json"]
    assert moment(of_json[0]) == pytest.approx((224 / 29.4, 358 / 29.4, 100.0))
    assert moment(of_json[3]) == pytest.approx((20.0, 25.0, 250.0))
    of_list, report = read_annotations("tacos_tall", lists, "train")
    assert [Path(path).name for path in report.paths] == [
        "TACoS_train_samples.txt",
        "scdm_train.json",
    ]
    assert [a.qid for a in of_list] == ["s30-d52_0", "s30-d52_1", "s17-d69_0", "s30-d52_2"]
    assert sorted(of_list, key=lambda a: a.qid) == sorted(of_json, key=lambda a: a.qid)


def test_tacos_lists_take_durations_from_2d_tan_too(tmp_path: Path) -> None:
    lists = write(tmp_path, "tacos_val_100_126.txt", SAMPLES)  # the name in CBP
    with pytest.raises(AnnotationError, match=r"how long.*'scdm_val\.json' beside it.*'val\.json'"):
        check_files("tacos_tall", tmp_path, "val")
    write(tmp_path, "val.json", TAN)
    annotations, _ = read_annotations("tacos_tall", lists, "val")
    assert [a.duration_seconds for a in annotations] == pytest.approx([250.0, 250.0, 100.0, 250.0])
    write(tmp_path, "val.json", {"s30-d52.avi": TAN["s30-d52.avi"]})
    with pytest.raises(AnnotationError, match=r"val\.json.*'s17-d69' has no duration"):
        read_annotations("tacos_tall", lists, "val")
    write(tmp_path, "val.json", {"s30-d52.avi": 5, "s1": {"num_frames": 5}})
    with pytest.raises(AnnotationError, match=r"2 faults: video 's30-d52\.avi': 5.*'s1': fps=None"):
        read_annotations("tacos_tall", lists, "val")


def test_one_tacos_is_not_read_as_the_other(tmp_path: Path) -> None:
    write(tmp_path, "train.json", TAN)
    with pytest.raises(AnnotationError, match=r"2 faults.*2D-TAN's files are dataset tacos_2dtan"):
        read_annotations("tacos_tall", tmp_path, "train")
    assert len(read_annotations("tacos_2dtan", tmp_path, "train")[0]) == 4
    write(tmp_path, "train.json", SCDM)
    with pytest.raises(AnnotationError, match=r"2 faults.*TALL's files are dataset tacos_tall"):
        read_annotations("tacos_2dtan", tmp_path, "train")
    assert len(read_annotations("tacos_tall", tmp_path, "train")[0]) == 4
    # Another toolkit's json under the same name has seconds.
    entry = {"duration": 250.0, "timestamps": [[7.925, 16.5]], "sentences": ["a man"]}
    write(tmp_path, "train.json", {"s27-d50": entry})
    with pytest.raises(AnnotationError, match=r"\[7\.925, 16\.5\]: expected whole frames"):
        read_annotations("tacos_tall", tmp_path, "train")


@pytest.mark.parametrize(
    "line", ["s1.avi_1_2", "s1.avi_1:a#", "s1_a_2:a#", "s1_1_2.5:a#", f"s1_{'9' * 5000}_1:a#"]
)
def test_bad_lines_of_a_tacos_list(tmp_path: Path, line: str) -> None:
    write(tmp_path, "scdm_train.json", SCDM)
    lists = write(tmp_path, "TACoS_train_samples.txt", SAMPLES + line)
    with pytest.raises(
        AnnotationError, match=r"1 fault: line 4: .*expected 'VIDEO_START_END:"
    ) as e:
        read_annotations("tacos_tall", lists, "train")
    assert len(str(e.value)) < 500


def test_didemo(tmp_path: Path) -> None:
    other = {**DIDEMO, "annotation_id": 0, "num_segments": 5, "times": [[4, 5]], "video": "a.b.c"}
    write(tmp_path, "val_data.json", [DIDEMO, other])
    annotations, report = read_annotations("didemo", tmp_path, "val")
    assert annotations[0] == Annotation(
        "49152",
        "35034348999@N01_6060447507_dc1a90b8ef",
        "the man in the hat briefly bends over the machine",
        5.0,
        10.0,
        30.0,
        "val",
    )
    assert (annotations[1].video_id, *moment(annotations[1])) == ("a", 20.0, 25.0, 25.0)
    assert report.counts["end_after_duration"] == 1
    no_count = {name: value for name, value in DIDEMO.items() if name != "num_segments"}
    write(tmp_path, "val_data.json", [no_count])
    assert moment(read_annotations("didemo", tmp_path, "val")[0][0])[2] == 30.0


@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        ([(1, 1), (1, 1), (1, 1), (0, 0)], (1, 1)),
        # Two and two; (1, 2) and (2, 2) overlap by 1/2, so both sum to 3: the earlier one.
        ([(1, 2), (2, 2), (1, 2), (2, 2)], (1, 2)),
        # All different. (1, 2): 1 + 1/2 + 1/2 = 2; (1, 1) and (2, 2): 1 + 1/2; (4, 4): 1.
        ([(4, 4), (2, 2), (1, 1), (1, 2)], (1, 2)),
        # Two and two. (0, 1): 2 + 2/6 + 2/6 + 0; (0, 5): 2 + 2/6 + 2/6 + 1/6 from (3, 3).
        ([(0, 1), (0, 5), (0, 1), (0, 5), (3, 3)], (0, 5)),
        ([(3, 3)], (3, 3)),
        ([(0, 0), (5, 5)], (0, 0)),
    ],
)
def test_didemo_consensus(choices: list[tuple[int, int]], expected: tuple[int, int]) -> None:
    assert consensus(choices) == expected


_CHOICE = st.tuples(st.integers(0, 5), st.integers(0, 5)).map(lambda pair: (min(pair), max(pair)))


@given(st.lists(_CHOICE, min_size=1, max_size=8), st.randoms())
def test_didemo_consensus_does_not_depend_on_the_order(
    choices: list[tuple[int, int]], random: Any
) -> None:
    chosen = consensus(choices)
    assert all(choices.count(chosen) >= choices.count(other) for other in choices)
    shuffled = choices.copy()
    random.shuffle(shuffled)
    assert consensus(shuffled) == chosen


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"times": []}, "times: 0 choices: expected 1 to 100"),
        ({"times": [[0, 0]] * 101}, "times: 101 choices"),
        ({"times": [[1]]}, r"times: \[1\]: expected \[first, last\]"),
        ({"times": [[2, 1]]}, r"times: \[2, 1\]: expected first <= last"),
        ({"times": [[0, 1.5]]}, r"times=1\.5: expected an integer >= 0"),
        ({"times": [[-1, 1]]}, "times=-1: expected an integer >= 0"),
        ({"times": [[0, 10**400]]}, "times: a number beyond all floats"),
        ({"num_segments": 0}, "num_segments=0: expected an integer >= 1"),
        ({"video": None}, "video=None: expected a string"),
        ({"description": 5}, "description=5: expected a string"),
        ({"annotation_id": "x"}, "annotation_id='x': expected an integer"),
        ({"annotation_id": True}, "annotation_id=True: expected an integer"),
    ],
)
def test_bad_entries_of_didemo(tmp_path: Path, change: dict[str, Any], match: str) -> None:
    write(tmp_path, "test_data.json", [{**DIDEMO, "annotation_id": 7}, {**DIDEMO, **change}])
    with pytest.raises(AnnotationError, match=f"test_data.json.*1 fault: entry 1: {match}"):
        read_annotations("didemo", tmp_path, "test")


def test_didemo_must_be_a_list_of_objects(tmp_path: Path) -> None:
    write(tmp_path, "test_data.json", {})
    with pytest.raises(AnnotationError, match="a JSON dict: expected a list"):
        read_annotations("didemo", tmp_path, "test")
    write(tmp_path, "test_data.json", [[]])
    with pytest.raises(AnnotationError, match=r"entry 0: \[\]: expected an object"):
        read_annotations("didemo", tmp_path, "test")


@pytest.mark.parametrize(
    ("name", "split", "part"),
    [
        ("tacos_val_release", "val", "val"),
        ("tacos_val_release", "train", "val"),
        ("charades_sta_test_tvr_format", "test", "test"),
        ("QVHighlights-Training", "train", "train"),
        ("validation", "val", "val"),
        ("dev", "validation", "validation"),
        ("anet_test_ood", "test_ood", "test_ood"),
        ("anet_test_iid", "test_ood", "test"),
        ("retrain_protest", "train", None),
        ("mine", "train", None),
    ],
)
def test_the_part_that_a_file_name_speaks_of(name: str, split: str, part: str | None) -> None:
    assert part_in_name(name, split) == part
