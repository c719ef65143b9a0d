import base64
import dataclasses
import hashlib
import io
import re
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from bpnet.report import ReportAnswer, write_report
from bpnet.types import Moment

VOID = {"meta", "link", "img"}  # elements that are never closed
DASH = "\N{EN DASH}"
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
        highlight_scores=np.array([0.5, 1.0, 0.25, 0.0]),
        targets=[(5.0, 10.0)],
        frames=[(2.0, jpeg((200, 0, 0))), (6.0, jpeg((0, 200, 0))), (16.0, jpeg((0, 0, 200)))],
    )


def written(tmp_path, answers, metrics=METRICS, **options) -> str:
    path = tmp_path / "new" / "report.html"
    write_report(path, answers, title="BPNet & friends", metrics=metrics, **options)
    assert not list(path.parent.glob(".*"))  # nothing temporary
    return path.read_text(encoding="utf-8")


def style(element: dict[str, str]) -> dict[str, str]:
    return dict(one.split(":") for one in element["style"].split(";"))


def seconds(element: dict[str, str], duration: float = 20.0) -> tuple[float, float]:
    """Start and end of a bar, back from percent of the lanes' width."""
    place = element if "x" in element else style(element)
    start = float(place.get("left", place.get("x")).removesuffix("%")) / 100 * duration
    width = float(place["width"].removesuffix("%")) / 100 * duration
    return start, start + width


def rows(page: Page) -> list[str]:
    """What each row says, as a screen reader has it."""
    found = []
    for number, (tag, attributes, _) in enumerate(page.elements):
        if "row" in attributes.get("class", "").split() and tag in ("li", "button"):
            inside = page.elements[number + 1 : number + 9]
            end = next(i for i, one in enumerate(inside) if one[1].get("class") == "plot")
            said = [one for one in inside[:end] if "aria-hidden" not in one[1]]
            found.append("".join("".join(parts) for _, _, parts in said))
    return found


@pytest.fixture
def video(tmp_path):
    """A file that passes for a video, in a folder with an odd name below the report's."""
    file = tmp_path / "new" / "my videos #1" / 'a "b".mp4'
    file.parent.mkdir(parents=True)
    file.write_bytes(b"\0\0\0 ftypisom" + bytes(1000))
    return file


def test_page_is_well_formed_and_self_contained(tmp_path, answer):
    text = written(tmp_path, [answer, answer])
    page = Page(text)
    assert len(page.find("article")) == 2
    assert page.texts("title")[0] == "BPNet & friends"
    for _, attributes, _ in page.elements:
        for name in ("src", "href", "xlink:href", "srcset", "data"):
            assert attributes.get(name, "#").startswith(("data:", "#"))
    assert not re.search(r"https?:|@import|url\(|<script|<link", text)
    # Frames of one video stand on the page once.
    assert text.count("data:image/jpeg") == 3
    assert [one["href"] for one in page.find("use")] == ["#film-0"] * 2


def test_what_people_wrote_is_escaped(tmp_path, answer, video):
    answer = dataclasses.replace(answer, video=video, video_id='v<1>"</script>')
    text = written(tmp_path, [answer], notes=["trained for < 2 minutes", "<img src=x>"])
    page = Page(text)
    assert page.texts("h2") == [answer.query]
    assert 'video v<1>"</script>' in page.texts("span")
    assert "trained for < 2 minutes" in page.texts("p")
    assert not page.find("img")
    assert len(page.find("script")) == text.count("</script") == 1  # ours
    (card,) = page.find("article")
    assert card["data-name"] == answer.video_id


def test_the_policy_lets_only_our_script_run(tmp_path, answer, video):
    text = written(tmp_path, [dataclasses.replace(answer, video=video)])
    page = Page(text)
    policy = next(one["content"] for one in page.find("meta") if "http-equiv" in one)
    (script,) = page.texts("script")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy and "unsafe-inline' 's" not in policy


def test_bars_are_where_their_seconds_are(tmp_path, answer):
    page = Page(written(tmp_path, [answer]))
    bars = {
        kind: [seconds(one) for one in page.find("i", kind)]
        for kind in ("mark moment", "mark target", "band", "mark candidate")
    }
    assert bars["mark moment"] == [pytest.approx((4, 9))]
    assert bars["mark target"] == bars["band"] == [pytest.approx((5, 10))]
    # The second answer, and what is only a candidate.
    assert bars["mark candidate"] == [pytest.approx((12, 16)), pytest.approx((0, 20))]
    marks = page.find("i", "mark moment") + page.find("i", "mark candidate")
    strengths = [style(one)["--strength"] for one in marks]
    assert strengths == ["95%", "63%", "32%"]  # the roots of .9, .4 and .1


def test_rows_say_what_they_show(tmp_path, answer):
    page = Page(written(tmp_path, [answer]))
    assert rows(page) == [
        f"true moment: 5.0{DASH}10.0 s",
        f"candidate 1: 4.0{DASH}9.0 s score 0.90",
        f"candidate 2: 12.0{DASH}16.0 s score 0.40",
        f"candidate 3: 0.0{DASH}20.0 s score 0.10",
    ]
    assert page.texts("summary") == ["1 more candidate"]
    assert "IoU 0.67" in page.texts("b")  # 4 / 6
    for label in (f"4.0{DASH}9.0 s", f"5.0{DASH}10.0 s"):
        assert label in page.texts("b")
    assert not page.find("button")  # nothing plays


def test_probabilities_are_said(tmp_path, answer):
    sure = [Moment(4.0, 9.0, 0.9, 0.75)]
    page = Page(written(tmp_path, [dataclasses.replace(answer, moments=sure, proposals=sure)]))
    assert "right with probability 0.75" in page.texts("span")
    assert rows(page)[1] == f"candidate 1: 4.0{DASH}9.0 s score 0.90 right with probability 0.75"


def test_curves_are_described(tmp_path, answer):
    page = Page(written(tmp_path, [answer]))
    assert [one["aria-label"] for one in page.find("svg") if "aria-label" in one] == [
        "3 frames along the video",
        f"Probability that the moment starts, highest 0.80 at 0.0{DASH}5.0 s, or ends, "
        f"highest 0.40 at 5.0{DASH}10.0 s",
        f"Highlight score, highest 1.00 at 5.0{DASH}10.0 s",
    ]


def test_what_a_model_does_not_predict_is_not_drawn(tmp_path, answer):
    spans_alone = dataclasses.replace(answer, start_probabilities=None, end_probabilities=None)
    page = Page(written(tmp_path, [spans_alone]))
    assert [one["class"] for one in page.find("path")] == ["curve highlight"]
    page = Page(written(tmp_path, [dataclasses.replace(spans_alone, highlight_scores=None)]))
    assert not page.find("path")
    assert not {"Start probability", "Highlight score"} & set(page.texts("span"))


def test_a_sentence_that_is_not_in_the_video(tmp_path, answer, video):
    absent = dataclasses.replace(answer, moments=[], min_score=0.95, targets=[], video=video)
    page = Page(written(tmp_path, [absent]))
    assert "Not in this video" in page.texts("b")
    assert ": the best candidate scores 0.90, less than 0.95." in page.texts("p")
    assert not page.find("i", "mark moment") and len(page.find("i", "mark candidate")) == 3
    assert page.texts("summary") == ["3 candidates"]
    assert len(page.find("button")) == 3


def test_videos_are_found_from_the_page(tmp_path, answer, video):
    beside = tmp_path / "other" / "c.mp4"
    beside.parent.mkdir()
    beside.write_bytes(video.read_bytes())
    answers = [dataclasses.replace(answer, video=one) for one in (video, beside, None)]
    path = tmp_path / "new" / "report.html"
    write_report(path, answers, title="t")
    page = Page(path.read_text(encoding="utf-8"))
    addresses = [one.get("data-video") for one in page.find("article")]
    assert addresses == ["my%20videos%20%231/a%20%22b%22.mp4", "../other/c.mp4", None]
    assert (path.parent / unquote(addresses[0])).read_bytes() == video.read_bytes()
    assert str(tmp_path) not in path.read_text(encoding="utf-8")
    # What can be played is a button.
    assert len(page.find("button")) == 8 and len(rows(page)) == 12
    assert rows(page)[0] == f"Play true moment: 5.0{DASH}10.0 s"


def test_small_videos_go_into_the_page(tmp_path, answer, video, monkeypatch, caplog):
    large = video.with_name("large.webm")
    large.write_bytes(b"\x1a\x45\xdf\xa3" + bytes(2000))
    monkeypatch.setattr("bpnet.report.media.MOST_EMBEDDED", 2003)
    answers = [dataclasses.replace(answer, video=one) for one in (video, large, video)]
    path = tmp_path / "new" / "report.html"
    write_report(path, answers, title="t", embed=True)
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    addresses = [one["data-video"] for one in page.find("article")]
    assert addresses == ["#video-0", "my%20videos%20%231/large.webm", "#video-0"]
    (holder,) = [one for one in page.elements if one[1].get("id") == "video-0"]
    assert base64.b64decode("".join(holder[2])) == video.read_bytes()
    assert (holder[1]["type"], holder[1]["data-type"]) == ("text/plain", "video/mp4")
    assert len(caplog.messages) == 1 and "large.webm" in caplog.messages[0]
    monkeypatch.setattr("bpnet.report.media.MOST_EMBEDDED", 2004)
    write_report(path, answers[1:2], title="t", embed=True)
    assert 'data-type="video/webm"' in path.read_text(encoding="utf-8")


def test_ticks_are_where_their_seconds_are(tmp_path, answer):
    page = Page(written(tmp_path, [answer]))
    found = ticks(page)
    assert found == [(0, "0 s"), (5, "5 s"), (10, "10 s"), (15, "15 s"), (20, "20 s")]


def ticks(page: Page, duration: float = 20.0) -> list[tuple[float, str]]:
    return [
        (float(attributes["style"][5:-1]) / 100 * duration, "".join(parts))
        for tag, attributes, parts in page.elements
        if tag == "span" and attributes.get("style", "").startswith("left:")
    ]


@pytest.mark.parametrize("duration", [0.04, 0.9, 1.0, 7.3, 59.9, 119.0, 120.0, 240.0, 7200.0, 1e5])
def test_any_duration_gets_a_handful_of_ticks(tmp_path, answer, duration):
    short = dataclasses.replace(answer, duration_seconds=duration)
    found = ticks(Page(written(tmp_path, [short])), duration)
    assert 3 <= len(found) <= 8
    assert len({label for _, label in found}) == len(found)


def test_long_videos_have_minutes(tmp_path, answer):
    late = [Moment(3725.0, 3800.25, 0.9)]
    long = dataclasses.replace(answer, duration_seconds=4000.0, moments=late, proposals=late)
    page = Page(written(tmp_path, [dataclasses.replace(long, targets=[])]))
    assert rows(page) == [f"candidate 1: 1:02:05.0{DASH}1:03:20.2 score 0.90"]
    assert "1:06:40.0" in page.texts("span")
    assert [label for _, label in ticks(page, 4000)] == [
        *("0:00", "20:00", "40:00", "1:00:00"),
    ]


def test_curves_are_steps_over_their_clips(tmp_path, answer):
    page = Page(written(tmp_path, [answer]))
    boxes = [one for one in page.find("svg") if "viewbox" in one]
    assert [one["viewbox"] for one in boxes] == ["0 0 20.000 100"] * 2
    (path,) = page.find("path", "curve start")
    points = [tuple(map(float, pair.split(","))) for pair in re.split("[ML]", path["d"])[1:]]
    # The highest of both, .8, is drawn at 4 of 100; zero below the box; .1 at 104 - 100 / 8.
    assert points[:5] == [(0, 104), (0, 4), (5, 4), (5, 91.5), (10, 91.5)]
    assert points[-2:] == [(20, 104), (20, 104)]
    (path,) = page.find("path", "curve highlight")
    points = [tuple(map(float, pair.split(","))) for pair in re.split("[ML]", path["d"])[1:]]
    assert points[1:4:2] == [(0, 54), (5, 4)]  # of 1, not of the highest


def test_frames_meet_half_way_between_their_times(tmp_path, answer):
    page = Page(written(tmp_path, [answer]))
    images = page.find("image")
    borders = [seconds(one) for one in images]
    assert borders == [pytest.approx(span) for span in ((0, 4), (4, 11), (11, 20))]
    for image, (_, data) in zip(images, answer.frames, strict=True):
        prefix, _, content = image["href"].partition(",")
        assert prefix == "data:image/jpeg;base64"
        assert base64.b64decode(content) == data


def test_many_frames_and_candidates_are_thinned(tmp_path, answer):
    frames = [(second / 5, jpeg((0, second, 0))) for second in range(100)]
    proposals = [Moment(1.0, 2.0 + rank, 1.0 / (1 + rank)) for rank in range(36)]
    crowded = dataclasses.replace(answer, frames=frames, proposals=proposals, targets=[])
    page = Page(written(tmp_path, [crowded]))
    assert len(page.find("image")) == 12
    assert len(rows(page)) == 20
    assert page.texts("summary") == ["18 more candidates, the best of 36"]


def test_metrics_table(tmp_path, answer):
    page = Page(written(tmp_path, [answer]))
    assert page.texts("caption") == ["1,234 queries of charades_sta test, protocol vslnet, percent"]
    names = ["Two-stage", "Discounted", "Stage one alone", "Blind constant"]
    names += ["Blind, best a column", "Whole video", "Oracle", "Whole clips at best"]
    assert [text for text in page.texts("th") if text in names] == names
    cells = [
        "".join(parts)
        for tag, attributes, parts in page.elements
        if tag == "td" and "colspan" not in attributes
    ]
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
    sentences = [text for text in page.texts("span") if text.endswith(".")]
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
    for kind in ("mark target", "band"):
        bars = sorted(seconds(one) for one in page.find("i", kind))
        assert bars == [pytest.approx((5, 10)), pytest.approx((14, 18))]
    assert rows(page)[:2] == [
        f"true moment 1: 14.0{DASH}18.0 s",
        f"true moment 2: 5.0{DASH}10.0 s",
    ]
    assert "IoU 0.67" in page.texts("b")  # of the nearest


def test_without_truth_frames_candidates_or_metrics(tmp_path, answer):
    bare = dataclasses.replace(answer, targets=[], frames=[], proposals=[])
    page = Page(written(tmp_path, [bare], metrics=None))
    assert not page.find("table") and not page.find("image")
    assert not page.find("i", "mark target") and not page.find("i", "band")
    assert not any("IoU" in text for text in page.texts("b"))
    assert len(page.find("i", "mark moment")) == 1


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
    assert seconds(page.find("i", "mark moment")[0]) == pytest.approx((15, 20))
    (path,) = page.find("path", "curve end")
    assert path["d"].endswith("L20.000,104")


def test_flat_probabilities(tmp_path, answer):
    flat = dataclasses.replace(
        answer, start_probabilities=np.zeros(4), end_probabilities=np.zeros(4)
    )
    page = Page(written(tmp_path, [flat]))
    assert "nan" not in page.find("path", "curve start")[0]["d"]


def test_a_failed_write_leaves_the_old_report(tmp_path, answer, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_report(path, [answer], title="t", metrics=None)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
