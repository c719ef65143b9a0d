"""Predictions and video files -> what a report draws."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bpnet.errors import ConfigError
from bpnet.evaluation.predictions import Prediction
from bpnet.report.page import write_report
from bpnet.report.report_answer import ReportAnswer
from bpnet_features.video import frames_at, video_files

NUM_FRAMES = 10
FRAME_WIDTH = 160  # pixels


def answer_of(
    prediction: Prediction,
    query: str,
    video_id: str,
    duration_seconds: float,
    video: Path | None = None,
    *,
    top: int = 5,
    min_score: float = -math.inf,
    frames: Sequence[tuple[float, bytes]] | None = None,
) -> ReportAnswer:
    """One prediction as a report draws it.

    Args:
        prediction: The answer of both stages.
        query: The sentence.
        video_id: Id of the video.
        duration_seconds: Length of the video.
        video: Its file, for the player and the film strip; None: neither.
        top: Largest number of moments that count as answers; the others are candidates.
        min_score: Score that answers must have.
        frames: The film strip, where it is made already.

    Returns:
        What `bpnet.report.write_report` and `bpnet.report.write_plot` take.

    Raises:
        FeatureError: The video file cannot be read.
        ConfigError: Pillow is not installed.
    """
    truth = prediction.annotation
    if frames is None:
        frames = [] if video is None else film_strip(video, duration_seconds)
    return ReportAnswer(
        query=query,
        video_id=video_id,
        duration_seconds=duration_seconds,
        moments=[one for one in prediction.moments[:top] if one.score >= min_score],
        proposals=prediction.moments,
        edges_seconds=prediction.edges_seconds,
        start_probabilities=prediction.start_probabilities,
        end_probabilities=prediction.end_probabilities,
        highlight_scores=prediction.highlight_scores,
        targets=() if truth is None else truth.moments,
        frames=frames,
        video=video,
        min_score=min_score,
    )


def film_strip(video: Path, duration_seconds: float) -> list[tuple[float, bytes]]:
    """Frames along a video.

    Args:
        video: The file.
        duration_seconds: Its length.

    Returns:
        Times in seconds and JPEG bytes, ascending.
    """
    try:
        from PIL import Image
    except ImportError as err:
        raise ConfigError("pictures need `pip install 'bpnet-nlvl[video]'`") from err
    times = ((np.arange(NUM_FRAMES) + 0.5) * duration_seconds / NUM_FRAMES).tolist()
    strip = []
    for time, frame in zip(times, frames_at(video, times, FRAME_WIDTH), strict=True):
        jpeg = io.BytesIO()
        Image.fromarray(frame).save(jpeg, format="JPEG", quality=80)
        strip.append((time, jpeg.getvalue()))
    return strip


def spread(predictions: Sequence[Prediction], count: int) -> list[Prediction]:
    """Some predictions, evenly spread over all of them: not chosen by their score.

    Args:
        predictions: All of them.
        count: How many to take at the most.

    Returns:
        The chosen ones, in order.
    """
    places = np.linspace(0, len(predictions) - 1, min(count, len(predictions))).round().astype(int)
    return [predictions[place] for place in places]


def write_evaluation_report(
    path: Path,
    results: Mapping[str, Any],
    predictions: Sequence[Prediction],
    videos: str | None,
    embed: bool = False,
) -> None:
    """Draw queries of an evaluation, below its metrics.

    Args:
        path: The HTML file.
        results: What ``metrics.json`` holds.
        predictions: What to draw, with annotations.
        videos: Folder of the video files (``ID.mp4``, ...), or None: neither pictures nor player.
        embed: Whether the page holds the videos, see `write_report`.

    Raises:
        ConfigError: The folder is missing.
    """
    files: dict[str, Path] = {}
    if videos is not None:
        if not Path(videos).is_dir():
            raise ConfigError(f"videos={videos!r}: no such folder")
        files = {file.stem: file for file in video_files(Path(videos))}
    answers = []
    for prediction in predictions:
        truth = prediction.annotation
        assert truth is not None
        answers.append(
            answer_of(
                prediction,
                truth.query,
                truth.video_id,
                truth.duration_seconds,
                files.get(truth.video_id),
            )
        )
    write_report(
        path,
        answers,
        title="Found moments",
        metrics=results,
        notes=[
            f"{len(answers)} of {results['num_queries']} queries, spread evenly over the split."
        ],
        embed=embed,
    )
