"""What a visitor may take home: the moments as JSON, as clips, as a report."""

from __future__ import annotations

import json
import tempfile
import zipfile
from pathlib import Path

from bpnet.app.visit import Answers, Visit
from bpnet.report import answer_of, write_report
from bpnet.report.clips import cut_moments
from bpnet.report.media import embeddable


def write_moments(visit: Visit, answers: Answers, path: Path) -> None:
    """The moments that are shown, as JSON.

    Args:
        visit: The visit.
        answers: Its answers.
        path: The file to write: the video's name and duration, and the moments of each sentence, in
            seconds.
    """
    rows = [
        {"query": query, "moments": [one.to_dict() for one in moments]}
        for query, moments in zip(answers.queries, answers.moments(), strict=True)
    ]
    whole = {
        "video": visit.name,
        "duration_seconds": visit.opened.duration_seconds,
        "top": answers.top,
        "min_score": answers.min_score,
        "answers": rows,
    }
    path.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write_clips(visit: Visit, answers: Answers, path: Path) -> None:
    """Cut the moments that are shown out of the video.

    Args:
        visit: The visit.
        answers: Its answers.
        path: The zip file to write.

    Raises:
        FeatureError: The video cannot be cut.
    """
    with tempfile.TemporaryDirectory(dir=visit.folder) as folder:
        clips = cut_moments(visit.video, answers.queries, answers.moments(), Path(folder))
        # Video does not get smaller by being compressed once more.
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for clip in clips:
                archive.write(clip, clip.name)


def write_answers(visit: Visit, answers: Answers, path: Path) -> None:
    """Draw the answers that are shown; a small video is in the page.

    Args:
        visit: The visit.
        answers: Its answers.
        path: The HTML file to write.
    """
    duration = visit.opened.duration_seconds
    drawn = [
        answer_of(
            prediction,
            query,
            visit.name,
            duration,
            # Inside the page or not at all: at home there is no such path.
            visit.player if embeddable(visit.player) else None,
            top=answers.top,
            min_score=answers.min_score,
            frames=visit.frames,
        )
        for query, prediction in zip(answers.queries, answers.predictions, strict=True)
    ]
    write_report(path, drawn, title=f"Moments of {visit.name}", embed=True)
