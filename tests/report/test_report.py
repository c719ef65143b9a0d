import base64
import dataclasses
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from bpnet.report import ReportAnswer, write_report
from bpnet.types import Moment

VOID = {"meta", "link", "img"}  # elements that are never closed
METRICS = {
    "protocol": "vslnet",
    "split": "test",
    "num_queries": 1234,
    "metrics": {"R@1,IoU=0.3": 92.04, "R@1,IoU=0.5": 83.6, "R@5,IoU=0.5": 97.0, "mIoU": 80.2},
    "stage_one": {"R@1,IoU=0.3": 91.0, "R@1,IoU=0.5": 81.1, "R@5,IoU=0.5": 95.0, "mIoU": 78.9},
    "ceiling": {"R@1,IoU=0.3": 99.9, "R@1,IoU=0.5": 98.9, "mIoU": 95.5},
    "oracle_recall": {"R@1,IoU=0.3": 91.0, "R@16,IoU=0.3": 99.4, "R@16,IoU=0.5": 98.8},
    "blind": {"interval": [0, 0.475], "R@1,IoU=0.3": 49.3, "R@1,IoU=0.5": 26.8, "mIoU": 30.4},
    "dataset": "charades_sta",
    "discounted": {"dR@1,IoU=0.3": 88.0, "dR@1,IoU=0.5": 82.0, "dR@5,IoU=0.5": 93.0},
    "whole_video": {"R@1,IoU=0.3": 35.0, "R@1,IoU=0.5": 0.4, "mIoU": 27.1},
    "average_precision": {"mAP": 30.0},
    "num_dropped": {"annotations": 0, "missing_features": 3},
    "notes": ["a hit is tIoU >= m"],
    "blind_best": {"R@1,IoU=0.3": 49.5, "R@1,IoU=0.5": 30.7, "mIoU": 30.4},
}


class Page(HTMLParser):
    """Every element as (tag, attributes, text directly inside), checked to be closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str], list[str]]] = []
        self.open: list[tuple[str, list[str]]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), []))
        if tag not in VOID:
            self.open.append((tag, self.elements[-1][2]))

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), []))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if self.open:
            self.open[-1][1].append(data)

    def find(self, tag: str, kind: str | None = None) -> list[dict[str, str]]:
        return [
            attributes
            for name, attributes, _ in self.elements
            if name == tag and (kind is None or attributes.get("class") == kind)
        ]

    def texts(self, tag: str) -> list[str]:
        return ["".join(parts) for name, _, parts in self.elements if name == tag]


def jpeg(color: tuple[int, int, int]) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (32, 24), color).save(stream, "JPEG")
    return stream.getvalue()


@pytest.fixture
def answer() -> ReportAnswer:
    return ReportAnswer(
        query='a red circle & <script>alert("it\'s")</script>',
        video_id="v<1>",
        duration_seconds=20.0,
        moments=[Moment(4.0, 9.0, 0.9), Moment(12.0, 16.0, 0.4)],
        proposals=[Moment(12.0, 16.0, 0.4), Moment(4.0, 9.0, 0.9), Moment(0.0, 20.0, 0.1)],
        edges_seconds=np.arange(0.0, 21.0, 5.0),
        start_probabilities=np.array([0.8, 0.1, 0.1, 0.0]),
        end_probabilities=np.array([0.0, 0.4, 0.4, 0.2]),
        targets=[(5.0, 10.0)],
        frames=[(2.0, jpeg((200, 0, 0))), (6.0, jpeg((0, 200, 0))), (16.0, jpeg((0, 0, 200)))],
    )


def written(tmp_path, answers, metrics=METRICS, **options) -> str:
    path = tmp_path / "new" / "report.html"
    write_report(path, answers, title="BPNet & friends", metrics=metrics, **options)
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]  # nothing temporary
    return path.read_text(encoding="utf-8")


def seconds(element: dict[str, str], duration: float) -> tuple[float, float]:
    """Start and end of a bar, back from percent of the picture's width."""
    start = float(element["x"].removesuffix("%")) / 100 * duration
    width = float(element["width"].removesuffix("%")) / 100 * duration
    return start, start + width


def test_page_is_well_formed_and_self_contained(tmp_path, answer):
    text = written(tmp_path, [answer, answer])
    page = Page(text)
    assert len(page.find("article")) == 2
    assert page.texts("title")[0] == "BPNet & friends"
    for _, attributes, _ in page.elements:
        for name in ("src", "href", "xlink:href", "srcset", "data"):
            assert attributes.get(name, "data:").startswith("data:")
    assert not re.search(r"https?:|@import|url\(|<script|<link", text)


def test_what_people_wrote_is_escaped(tmp_path, answer):
    text = written(tmp_path, [answer], notes=["trained for < 2 minutes", "<img src=x>"])
    page = Page(text)
    assert page.texts("h2") == [answer.query]
    assert "video v<1>" in page.texts("span")
    assert "trained for < 2 minutes" in page.texts("p")
    assert not page.find("script") and not page.find("img")


def test_bars_are_where_their_seconds_are(tmp_path, answer):
    page = Page(written(tmp_path, [answer]))
    bars = {
        kind: [seconds(one, 20.0) for one in page.find("rect", kind)]
        for kind in ("moment", "moment later", "target", "band", "candidate")
    }
    assert bars["moment"] == [pytest.approx((4, 9))]
    assert bars["moment later"] == [pytest.approx((12, 16))]
    assert bars["target"] == bars["band"] == [pytest.approx((5, 10))]
    # Best score first, and the better the stronger.
    assert bars["candidate"] == [pytest.approx(span) for span in ((4, 9), (12, 16), (0, 20))]
    strengths = [float(one["opacity"]) for one in page.find("rect", "candidate")]
    assert strengths == [1.0, pytest.approx(0.25 + 0.75 * 0.3 / 0.8, abs=0.01), 0.25]


def test_labels_and_overlap_of_the_best_answer(tmp_path, answer):
    page = Page(written(tmp_path, [answer]))
    assert "IoU 0.67" in page.texts("b")  # 4 / 6
    for label in ("4.0\N{EN DASH}9.0 s", "5.0\N{EN DASH}10.0 s"):
        assert label in page.texts("b")
    assert "1. 4.0\N{EN DASH}9.0 s, score 0.90" in page.texts("text")
    assert {"0.90", "0.40", "0.10"} < set(page.texts("text"))
    pictures = [one for one in page.find("svg") if "aria-label" in one]
    assert [one["aria-label"] for one in pictures] == [
        "Timeline of 20.0 s; answer 4.0\N{EN DASH}9.0 s; true moment 5.0\N{EN DASH}10.0 s"
    ]


def test_ticks_are_where_their_seconds_are(tmp_path, answer):
    page = Page(written(tmp_path, [answer]))
    ticks = [
        (float(attributes["x"].removesuffix("%")) / 100 * 20, "".join(parts))
        for _, attributes, parts in page.elements
        if attributes.get("class") == "tick"
    ]
    assert ticks == [(0, "0 s"), (5, "5 s"), (10, "10 s"), (15, "15 s"), (20, "20 s")]


@pytest.mark.parametrize("duration", [0.04, 0.9, 1.0, 7.3, 59.9, 240.0, 7200.0])
def test_any_duration_gets_a_handful_of_ticks(tmp_path, answer, duration):
    short = dataclasses.replace(answer, duration_seconds=duration)
    assert 3 <= len(Page(written(tmp_path, [short])).find("text", "tick")) <= 8


def test_curves_are_steps_over_their_clips(tmp_path, answer):
    page = Page(written(tmp_path, [answer]))
    (box,) = [one for one in page.find("svg") if "viewbox" in one]
    assert box["viewbox"] == "0 0 20.000 100"
    (path,) = page.find("path", "curve start")
    points = [tuple(map(float, pair.split(","))) for pair in re.split("[ML]", path["d"])[1:]]
    # The highest of all probabilities, .8, is drawn at 100 - 96; .1 at 100 - 96 / 8.
    assert points[:5] == [(0, 100), (0, 4), (5, 4), (5, 88), (10, 88)]
    assert points[-1] == (20, 100)


def test_frames_meet_half_way_between_their_times(tmp_path, answer):
    page = Page(written(tmp_path, [answer]))
    images = page.find("image")
    borders = [seconds(one, 20.0) for one in images]
    assert borders == [pytest.approx(span) for span in ((0, 4), (4, 11), (11, 20))]
    for image, (time, data) in zip(images, answer.frames, strict=True):
        prefix, _, content = image["href"].partition(",")
        assert prefix == "data:image/jpeg;base64"
        assert base64.b64decode(content) == data
        assert image["aria-label"] == f"frame at {time:.1f} s"


def test_many_frames_and_candidates_are_thinned(tmp_path, answer):
    frames = [(second / 5, jpeg((0, second, 0))) for second in range(100)]
    proposals = [Moment(1.0, 2.0 + rank, 1.0 / (1 + rank)) for rank in range(16)]
    crowded = dataclasses.replace(answer, frames=frames, proposals=proposals)
    page = Page(written(tmp_path, [crowded]))
    assert len(page.find("image")) == len(page.find("rect", "candidate")) == 12
    assert "Candidates (best 12 of 16, matching score)" in page.texts("text")


def test_metrics_table(tmp_path, answer):
    page = Page(written(tmp_path, [answer]))
    assert page.texts("caption") == ["1,234 queries of charades_sta test, protocol vslnet, percent"]
    names = ["Two-stage", "Discounted", "Stage one alone", "Blind constant"]
    names += ["Blind, best a column", "Whole video", "Oracle", "Whole clips at best"]
    assert [text for text in page.texts("th") if text in names] == names
    cells = [text for text in page.texts("td") if re.fullmatch(r"[\d.]*", text)]
    assert cells[2:] == [  # the first two are the corner of the heading
        *("92.0", "83.6", "97.0", "80.2"),
        *("88.0", "82.0", "93.0", ""),
        *("91.0", "81.1", "95.0", "78.9"),
        *("49.3", "26.8", "", "30.4"),
        *("49.5", "30.7", "", "30.4"),
        *("35.0", "0.4", "", "27.1"),
        *("99.4", "98.8", "", ""),  # the best of all 16
        *("99.9", "98.9", "", "95.5"),
    ]
    sentences = [text for text in page.texts("td") if text.endswith(".")]
    assert len(sentences) == 8
    assert "best of the 16 candidates" in sentences[6]
    below = [text for text in page.texts("p") if text.strip() and not text.startswith("\n")]
    assert below == [
        "average precision: mAP 30.00",
        "left out: 3 queries about videos without features",
        "a hit is tIoU >= m",
    ]


def test_several_true_moments(tmp_path, answer):
    page = Page(written(tmp_path, [dataclasses.replace(answer, targets=[(14, 18), (5, 10)])]))
    for kind in ("target", "band"):
        bars = sorted(seconds(one, 20.0) for one in page.find("rect", kind))
        assert bars == [pytest.approx((5, 10)), pytest.approx((14, 18))]
    assert "IoU 0.67" in page.texts("b")  # of the nearest


def test_without_truth_frames_candidates_or_metrics(tmp_path, answer):
    bare = dataclasses.replace(answer, targets=[], frames=[], proposals=[])
    page = Page(written(tmp_path, [bare], metrics=None))
    assert not page.find("table") and not page.find("image")
    assert not page.find("rect", "target") and not page.find("rect", "band")
    assert not any("IoU" in text for text in page.texts("b"))
    assert len(page.find("rect", "moment")) == 1


def test_rows_without_figures_are_left_out(tmp_path):
    page = Page(written(tmp_path, [], metrics={**METRICS, "stage_one": {}, "blind": {}}))
    rows = [text for text in page.texts("th") if text in ("Two-stage", "Stage one alone")]
    assert rows == ["Two-stage"]
    assert "Blind constant" not in page.texts("th")


def test_what_reaches_beyond_the_video_is_drawn_at_its_border(tmp_path, answer):
    beyond = dataclasses.replace(
        answer, moments=[Moment(15.0, 21.0, 1.0)], edges_seconds=np.array([0, 7, 14, 19, 22.0])
    )
    page = Page(written(tmp_path, [beyond]))
    assert seconds(page.find("rect", "moment")[0], 20.0) == pytest.approx((15, 20))
    (path,) = page.find("path", "curve end")
    assert path["d"].endswith("L20.000,100")


def test_equal_scores_and_flat_probabilities(tmp_path, answer):
    flat = dataclasses.replace(
        answer,
        proposals=[Moment(1.0, 2.0, 0.5), Moment(3.0, 4.0, 0.5)],
        start_probabilities=np.zeros(4),
        end_probabilities=np.zeros(4),
    )
    page = Page(written(tmp_path, [flat]))
    assert [one["opacity"] for one in page.find("rect", "candidate")] == ["1.00", "1.00"]
    assert "nan" not in page.find("path", "curve start")[0]["d"]


def test_a_failed_write_leaves_the_old_report(tmp_path, answer, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_report(path, [answer], title="t", metrics=None)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
