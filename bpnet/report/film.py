"""Frames along a video as one picture, which stands once on a page however often it is shown."""

from __future__ import annotations

import base64
import itertools

import numpy as np

from bpnet.report.report_answer import ReportAnswer
from bpnet.report.timeline import percent

_MOST_FRAMES = 12


def film_symbol(answer: ReportAnswer, name: str) -> str:
    """Frames side by side, each around its time: the borders are half-way between the times.

    Args:
        answer: One about the video, with frames.
        name: Id for the page.

    Returns:
        An SVG symbol.
    """
    chosen = np.linspace(0, len(answer.frames) - 1, _MOST_FRAMES).round().astype(int)
    frames = [answer.frames[index] for index in np.unique(chosen)]
    middles = [(one[0] + other[0]) / 2 for one, other in itertools.pairwise(frames)]
    borders = [0.0, *middles, answer.duration_seconds]
    images = []
    for (_, jpeg), (start, end) in zip(frames, itertools.pairwise(borders), strict=True):
        left, width = percent(answer, start), percent(answer, end - start)
        data = base64.b64encode(jpeg).decode("ascii")
        fit = "slice" if len(frames) > 5 else "meet"  # a few wide places would show a thin cut
        images.append(
            f'<image x="{left}" width="{width}" y="0" height="100%" '
            f'preserveAspectRatio="xMidYMid {fit}" href="data:image/jpeg;base64,{data}"/>'
            f'<line class="seam" x1="{left}" x2="{left}" y1="0" y2="100%"/>'
        )
    return f'<symbol id="{name}">{"".join(images)}</symbol>'
