"""What visitors take home."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import zipfile
from pathlib import Path

import pytest
from app_parts import QUERIES

from bpnet.app.downloads import write_answers, write_clips, write_moments
from bpnet.app.visit import Visit
from bpnet_features.video import probe


def test_json(visit: Visit, tmp_path: Path) -> None:
    assert visit.answers is not None
    write_moments(visit, visit.answers, tmp_path / "out")
    written = json.loads((tmp_path / "out").read_text(encoding="utf-8"))
    assert (written["video"], written["top"], written["min_score"]) == ("one of ours.mp4", 2, 0.0)
    assert written["duration_seconds"] == visit.opened.duration_seconds
    assert [row["query"] for row in written["answers"]] == QUERIES
    assert [row["moments"] for row in written["answers"]] == [
        [one.to_dict() for one in moments] for moments in visit.answers.moments()
    ]


def test_clips(visit: Visit, tmp_path: Path) -> None:
    assert visit.answers is not None
    write_clips(visit, visit.answers, tmp_path / "out.zip")
    shown = [one for moments in visit.answers.moments() for one in moments]
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "clips")
    assert names[0] == "1-1-a-red-circle-slides-to-the-left.mp4"
    assert len(names) == len(shown)
    for name, moment in zip(names, shown, strict=True):
        length = min(moment.end_seconds, visit.opened.duration_seconds) - moment.start_seconds
        assert probe(tmp_path / "clips" / name).duration_seconds == pytest.approx(length, abs=0.3)
    assert list(visit.folder.iterdir()) == []  # nothing is left lying


def test_report(visit: Visit, tmp_path: Path) -> None:
    assert visit.answers is not None
    scores = [prediction.moments[0].score for prediction in visit.answers.predictions]
    least = sorted(scores)[1]
    answers = dataclasses.replace(visit.answers, min_score=least)
    write_answers(visit, answers, tmp_path / "out.html")
    page = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert "Moments of one of ours.mp4" in page and all(query in page for query in QUERIES)
    assert page.count("<article ") == len(QUERIES)
    assert page.count("Not in this video") == sum(score < least for score in scores)
    assert f"the best candidate scores {min(scores):.2f}, less than {least:.2f}." in page
    assert page.count("data:image/jpeg") == 10  # once, for all sentences
    # The video is in the page, and where it lay is not.
    holder = re.search(r'<script type="text/plain" id="video-0"[^>]*>([^<]*)<', page)
    assert holder is not None
    assert base64.b64decode(holder[1]) == visit.player.read_bytes()
    assert page.count('data-video="#video-0"') == len(QUERIES)
    assert str(visit.player) not in page and str(tmp_path) not in page


def test_a_report_of_a_large_video_does_without_it(
    visit: Visit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert visit.answers is not None
    monkeypatch.setattr("bpnet.report.media.MOST_EMBEDDED", 100)
    write_answers(visit, visit.answers, tmp_path / "out.html")
    page = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert page.count("<article ") == len(QUERIES)
    assert "<video" not in page and 'data-video="' not in page
