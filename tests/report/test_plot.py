"""Answers as a figure: what its text says, where its bars stand, what is refused."""

from __future__ import annotations

import dataclasses
import re
import sys
import xml.etree.ElementTree
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bpnet.errors import ConfigError
from bpnet.report import ReportAnswer, write_plot
from bpnet.report.plot import MOST_ANSWERS, plot_image
from bpnet.types import Moment

pytest.importorskip("matplotlib")

DASH = "\N{EN DASH}"


@pytest.fixture
def answer() -> ReportAnswer:
    moments = [Moment(4.0, 9.0, 0.9), Moment(12.0, 16.0, 0.4)]
    return ReportAnswer(
        query="costs $5 or $6 </script> a$x^{$b",
        video_id="v",
        duration_seconds=20.0,
        moments=moments[:1],
        proposals=moments,
        edges_seconds=np.arange(0.0, 21.0, 5.0),
        start_probabilities=np.array([0.8, 0.1, 0.1, 0.0]),
        end_probabilities=np.array([0.0, 0.4, 0.4, 0.2]),
        highlight_scores=np.array([0.5, 1.0, 0.25, 0.0]),
        targets=[(5.0, 10.0)],
    )


def svg_texts(path: Path) -> list[str]:
    """Everything that is written on an SVG."""
    root = xml.etree.ElementTree.parse(path).getroot()
    return ["".join(one.itertext()) for one in root.iter() if one.tag.endswith("}text")]


def columns(image: np.ndarray, colour: str) -> tuple[int, int]:
    """The first and the last column in which a colour is seen."""
    rgb = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
    near = (np.abs(image.astype(int) - rgb).max(axis=2) < 12).sum(axis=0) >= 8
    return int(near.argmax()), len(near) - 1 - int(near[::-1].argmax())


def test_what_is_written(tmp_path: Path, answer: ReportAnswer) -> None:
    write_plot(tmp_path / "new" / "found.svg", [answer])
    texts = svg_texts(tmp_path / "new" / "found.svg")
    assert answer.query in texts
    assert [one for one in texts if "probability" in one or "score" in one] == [
        *("start probability", "end probability", "highlight score"),
    ]
    assert {"true", "1", "2", "0.90", "0.40", "0 s", "20 s"} <= set(texts)
    assert {f"5.0{DASH}10.0 s", f"4.0{DASH}9.0 s", f"12.0{DASH}16.0 s"} <= set(texts)


def test_bars_are_where_their_seconds_are(answer: ReportAnswer) -> None:
    bare = dataclasses.replace(
        answer, start_probabilities=None, end_probabilities=None, highlight_scores=None
    )
    sure = [Moment(4.0, 9.0, 1.0)]
    image = plot_image([dataclasses.replace(bare, moments=sure, proposals=sure)])
    left, right = 1.95 * 110, (7.2 - 0.12) * 110  # of the time axis, from inches

    def place(seconds: float) -> float:
        return left + seconds / 20 * (right - left)

    # Bold names of the same colours stand to the left of the axis.
    axis = image[:, round(left) :]
    for colour, span in (("#3f5bd9", (4, 9)), ("#1b7d4b", (5, 10))):
        found = [column + round(left) for column in columns(axis, colour)]
        assert found == pytest.approx([place(one) for one in span], abs=2), colour


def test_lanes_that_there_are_not_take_no_room(answer: ReportAnswer) -> None:
    whole = plot_image([answer])
    spans = dataclasses.replace(answer, start_probabilities=None, end_probabilities=None)
    without = plot_image([dataclasses.replace(spans, highlight_scores=None)])
    assert len(without) < len(plot_image([spans])) < len(whole)
    both = plot_image([answer, answer])
    assert len(both) == pytest.approx(2 * len(whole), abs=2)
    np.testing.assert_allclose(both[: len(whole) - 4].mean(), whole[:-4].mean(), atol=1)


def test_not_in_the_video(tmp_path: Path, answer: ReportAnswer) -> None:
    write_plot(tmp_path / "a.svg", [answer])
    assert "not in this video" not in svg_texts(tmp_path / "a.svg")
    write_plot(tmp_path / "a.svg", [dataclasses.replace(answer, moments=[])])
    assert "not in this video" in svg_texts(tmp_path / "a.svg")


def test_long_sentences_are_broken_and_cut(tmp_path: Path, answer: ReportAnswer) -> None:
    write_plot(tmp_path / "a.svg", [dataclasses.replace(answer, query="many words " * 40)])
    lines = [one for one in svg_texts(tmp_path / "a.svg") if "many" in one]
    assert 1 <= len(lines) <= 2 and all(len(line) <= 200 for line in lines)
    assert "\N{HORIZONTAL ELLIPSIS}" in lines[-1]


def test_each_kind_of_picture(tmp_path: Path, answer: ReportAnswer) -> None:
    for suffix, begin in ((".png", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<?xml")):
        write_plot(tmp_path / f"a{suffix}", [answer])
        assert (tmp_path / f"a{suffix}").read_bytes().startswith(begin)
    with Image.open(tmp_path / "a.png") as image:
        assert image.width == 1440


def test_refusals(tmp_path: Path, answer: ReportAnswer, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"'.*a\.jpg': expected a name in \.png, \.svg, \.pdf"):
        write_plot(tmp_path / "a.jpg", [answer])
    for number in (0, MOST_ANSWERS + 1):
        with pytest.raises(ConfigError, match=f"{number} sentences in one figure: expected 1 to"):
            write_plot(tmp_path / "a.png", [answer] * number)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ConfigError, match=re.escape("folder.png': cannot be written")):
        write_plot(tmp_path / "folder.png", [answer])
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"pip install 'bpnet-nlvl\[plots\]'"):
        write_plot(tmp_path / "a.png", [answer])
    assert [one.name for one in tmp_path.iterdir()] == ["folder.png"]
