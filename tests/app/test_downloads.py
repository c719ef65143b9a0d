"""What visitors take home."""

from __future__ import annotations

import dataclasses
import json
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
    assert page.count("<article>") == sum(score >= least for score in scores)
    missed = QUERIES[scores.index(min(scores))]
    assert f"not in this video, by a score of {least:g}: {missed}" in page
    assert page.count("data:image/jpeg") == 10 * page.count("<article>")
