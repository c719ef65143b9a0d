"""Where in the frame: a square that moves through a video."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from made_videos import RED, squares, write_video

from bpnet.errors import ConfigError, FeatureError
from bpnet.images.frames import boxes_in_moment, class_in, write_answer_boxes, write_boxes
from bpnet.images.model import ImageModel
from bpnet.types import Moment

FPS = 8


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Four seconds in which a red square of 24 pixels moves from left to right."""
    xs = np.linspace(4, 36, 4 * FPS).round().astype(int).tolist()
    return write_video(tmp_path / "v.mp4", squares(xs, colour=RED, size=24), FPS)


def test_boxes_move_with_the_object(video: Path, model: ImageModel) -> None:
    found = boxes_in_moment(video, 1.0, 3.0, model, name="red", num_frames=4)
    assert [one.seconds for one in found] == [1.25, 1.75, 2.25, 2.75]
    for frame in found:
        assert frame.picture.shape == (64, 64, 3)
        box = frame.found.boxes[0]
        middle = (box.left + box.right) / 2
        left = 4 + 32 * frame.seconds * FPS / (4 * FPS - 1)
        assert left <= middle <= left + 24
        assert 24 <= (box.top + box.bottom) / 2 <= 48


def test_what_is_written(video: Path, model: ImageModel, tmp_path: Path) -> None:
    found = boxes_in_moment(video, 0.0, 4.0, model, num_frames=2)
    files = write_boxes(found, tmp_path / "boxes")
    assert [file.name for file in files] == ["00001.000.png", "00003.000.png"]
    rows = json.loads((tmp_path / "boxes" / "boxes.json").read_text())
    for row, frame, file in zip(rows, found, files, strict=True):
        assert (row["seconds"], row["picture"]) == (frame.seconds, file.name)
        assert row["name"] == frame.found.name
        assert row["boxes"][0]["left"] == frame.found.boxes[0].left
        drawn = np.asarray(PIL.Image.open(file))
        box = frame.found.boxes[0]
        # The line of the box lies on its left side, and what is outside stays as it was.
        assert tuple(drawn[int(box.bottom) - 1, round(box.left)]) == (255, 60, 60)
        assert (drawn[60:, 60:] == frame.picture[60:, 60:]).all()


def test_the_best_moment_of_each_sentence(video: Path, model: ImageModel, tmp_path: Path) -> None:
    answers = [[Moment(1.0, 2.0, 0.9), Moment(3.0, 4.0, 0.1)], [], [Moment(2.0, 9.0, 0.5)]]
    written = write_answer_boxes(
        video, ["a green one", "nothing", "what is it"], answers, model, tmp_path / "b"
    )
    assert written == [tmp_path / "b" / "1", tmp_path / "b" / "3"]
    first, third = (json.loads((one / "boxes.json").read_text()) for one in written)
    assert {row["name"] for row in first} == {"green"}  # as the sentence says
    assert all(1 < row["seconds"] < 2 for row in first)
    assert all(2 < row["seconds"] < 4 for row in third)  # the moment ends with the video


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("a person holds the red square", "red"),
        ("Two green circles", "green"),
        ("she opens the refrigerator", None),
        ("red and green", None),
        ("a fire_engine passes", "fire engine"),
        ("two fire engines", "fire engine"),
    ],
)
def test_classes_in_sentences(sentence: str, expected: str | None) -> None:
    assert class_in(sentence, ["red", "green", "fire engine", "green circle"][:3]) == expected


def test_moments_that_are_not_there(video: Path, model: ImageModel) -> None:
    for start, end in ((-1, 2), (3, 2), (5, 6)):
        with pytest.raises(ConfigError, match=r"moment .*expected a moment of this video of 4\.00"):
            boxes_in_moment(video, start, end, model)
    with pytest.raises(FeatureError, match="no such file"):
        boxes_in_moment("gone.mp4", 0, 1, model)
