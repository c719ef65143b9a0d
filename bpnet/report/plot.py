"""Answers as a figure for a paper: what the page shows of each sentence, below one another."""

from __future__ import annotations

import io
import itertools
import os
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bpnet.errors import ConfigError
from bpnet.report.figure_file import INK, LINE, SOFT, figure_image, save_figure
from bpnet.report.report_answer import Curve, ReportAnswer
from bpnet.report.times import interval, ticks
from bpnet.types import Moment

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_ANSWERS = 12  # in one figure
_MOST_CANDIDATES = 8  # of an answer, where the page shows more on demand
_MOST_FRAMES = 12
_WIDTH = 7.2  # inches, of both columns of a paper
_LEFT, _RIGHT = 1.95, 0.12  # inches beside the lanes; names and scores stand to the left
_TITLE, _FILM, _CURVES, _HIGHLIGHT, _ROW, _AXIS, _GAP = 0.46, 0.46, 0.42, 0.3, 0.19, 0.3, 0.08
_START, _END, _MARKED, _MOMENT, _WEAK, _TARGET = (
    *("#0e8a9c", "#d9772b", "#a8479b"),
    *("#3f5bd9", "#b9c2e6", "#1b7d4b"),
)


def write_plot(path: str | os.PathLike[str], answers: Sequence[ReportAnswer]) -> None:
    """Draw answers as a figure.

    Args:
        path: The picture; its suffix chooses png, svg or pdf. Missing folders are made.
        answers: What to draw, from the top; 1 to `MOST_ANSWERS`.

    Raises:
        ConfigError: The suffix is another one, there are too many answers, matplotlib is missing,
            or the picture cannot be written.
    """
    check_count(len(answers))
    save_figure(path, lambda figure: _draw(figure, answers), dots_an_inch=200)


def plot_image(answers: Sequence[ReportAnswer]) -> npt.NDArray[np.uint8]:
    """The same as pixels.

    Args:
        answers: What to draw, from the top; 1 to `MOST_ANSWERS`.

    Returns:
        An image (height, width, 3).

    Raises:
        ConfigError: There are too many answers, or matplotlib is missing.
    """
    check_count(len(answers))
    return figure_image(lambda figure: _draw(figure, answers), dots_an_inch=110)


def check_count(number: int) -> None:
    """Refuse what is too much for one figure.

    Args:
        number: Of answers.

    Raises:
        ConfigError: It is not 1 to `MOST_ANSWERS`.
    """
    if not 1 <= number <= MOST_ANSWERS:
        raise ConfigError(
            f"{number} sentences in one figure: expected 1 to {MOST_ANSWERS}; a page "
            "(--report) takes any number"
        )


def _draw(figure: Figure, answers: Sequence[ReportAnswer]) -> None:
    """Answers into an empty figure, which gets the height that they need."""
    height = sum(map(_height, answers))
    figure.set_size_inches(_WIDTH, height)
    top = height
    for answer in answers:
        _draw_answer(_Column(figure, answer, top, height))
        top -= _height(answer)


def _height(answer: ReportAnswer) -> float:
    """Inches of an answer."""
    lanes = [_TITLE, len(_rows(answer)) * _ROW, _AXIS]
    if answer.frames:
        lanes.append(_FILM + _GAP)
    if answer.start_probabilities is not None:
        lanes.append(_CURVES + _GAP)
    if answer.highlight_scores is not None:
        lanes.append(_HIGHLIGHT + _GAP)
    return sum(lanes)


class _Column:
    """Lanes of one answer, each below the last one.

    Args:
        figure: The figure.
        answer: The answer.
        top: Where it begins, inches from the bottom.
        height: Inches of the figure.
    """

    def __init__(self, figure: Figure, answer: ReportAnswer, top: float, height: float) -> None:
        self.figure, self.answer = figure, answer
        self._top, self._height = top, height

    def lane(self, height: float, gap: float = 0.0) -> Axes:
        """The next lane, of some inches; its time axis is the video's."""
        self._top -= height
        width = (_WIDTH - _LEFT - _RIGHT) / _WIDTH
        place = (_LEFT / _WIDTH, self._top / self._height, width, height / self._height)
        axes = self.figure.add_axes(place)
        axes.set(xlim=(0, self.answer.duration_seconds), xticks=[], yticks=[])
        axes.grid(False)
        for side in ("left", "right", "top", "bottom"):
            axes.spines[side].set_visible(False)
        axes.patch.set_visible(False)
        self._top -= gap
        return axes

    def bands(self, height: float) -> None:
        """The true moments, behind the next lanes."""
        top = self._top
        axes = self.lane(height)
        axes.set_zorder(-1)
        for start, end in self.answer.targets:
            axes.axvspan(start, end, color=_TARGET, alpha=0.1, linewidth=0)
        self._top = top

    def title(self, height: float) -> None:
        """One or two lines of text above what follows."""
        self._top -= height
        found = bool(self.answer.moments)
        lines = textwrap.wrap(
            self.answer.query,
            88 if found else 68,
            max_lines=2,
            placeholder=" \N{HORIZONTAL ELLIPSIS}",
        )
        left, right, low = 0.12 / _WIDTH, 1 - _RIGHT / _WIDTH, (self._top + 0.1) / self._height
        self.figure.text(left, low, "\n".join(lines), fontsize=9.5, weight="bold", va="bottom")
        if not found:
            self.figure.text(right, low, "not in this video", fontsize=8.5, color=SOFT, ha="right")


def _draw_answer(column: _Column) -> None:
    answer = column.answer
    column.title(_TITLE)
    column.bands(_height(answer) - _TITLE - _AXIS)
    if answer.frames:
        _film(column.lane(_FILM, _GAP), answer)
    starts, ends = answer.start_probabilities, answer.end_probabilities
    if starts is not None and ends is not None:
        top = max(float(starts.max(initial=0.0)), float(ends.max(initial=0.0))) or 1.0
        start, end = ("start probability", starts, _START), ("end probability", ends, _END)
        axes = column.lane(_CURVES, _GAP)
        _curves(axes, answer, [start, end], top)
    if answer.highlight_scores is not None:
        curve = ("highlight score", answer.highlight_scores, _MARKED)
        _curves(column.lane(_HIGHLIGHT, _GAP), answer, [curve], 1.0)
    rows = _rows(answer)
    axes = column.lane(len(rows) * _ROW)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    for place, row in enumerate(rows):
        _bar(axes, answer, place, *row)
    axes.spines["bottom"].set(visible=True, color=LINE)
    times, labels = zip(*ticks(answer.duration_seconds), strict=True)
    axes.set_xticks(times, labels, fontsize=7.5)
    axes.tick_params(axis="x", length=2.5, pad=2)


def _rows(answer: ReportAnswer) -> list[tuple[str, Moment | tuple[float, float]]]:
    """Names and spans of the bars, from the top."""
    several = len(answer.targets) > 1
    rows: list[tuple[str, Moment | tuple[float, float]]] = [
        (f"true {number}" if several else "true", one)
        for number, one in enumerate(answer.targets, start=1)
    ]
    candidates = [*answer.moments, *answer.others][:_MOST_CANDIDATES]
    return rows + [(str(rank), one) for rank, one in enumerate(candidates, start=1)]


def _bar(
    axes: Axes,
    answer: ReportAnswer,
    place: int,
    name: str,
    span: Moment | tuple[float, float],
) -> None:
    """One bar with its name, times and score to its left."""
    is_target = not isinstance(span, Moment)
    start, end = (span.start_seconds, span.end_seconds) if isinstance(span, Moment) else span
    is_first = not is_target and name == "1" and bool(answer.moments)

    colour: Any = _mixed(answer.strength(span)) if isinstance(span, Moment) else _TARGET
    axes.barh(place, end - start, left=start, height=0.56, color=colour, linewidth=0)
    weight = "bold" if is_target or is_first else "normal"
    ink = _TARGET if is_target else _MOMENT if is_first else INK
    beside: dict[str, Any] = {
        "transform": axes.get_yaxis_transform(),
        "va": "center_baseline",
        "fontsize": 7.5,
        "weight": weight,
        "clip_on": False,
    }
    inch = 1 / (_WIDTH - _LEFT - _RIGHT)
    axes.text(-(_LEFT - 0.12) * inch, place, name, color=ink, **beside)
    times = interval(start, end, answer.duration_seconds)
    indent = 0.55 if is_target else 0.32
    axes.text(-(_LEFT - indent) * inch, place, times, color=ink, **beside)
    if isinstance(span, Moment):
        axes.text(-0.1 * inch, place, f"{span.score:.2f}", color=SOFT, ha="right", **beside)


def _film(axes: Axes, answer: ReportAnswer) -> None:
    """Frames side by side, each around its time, cut to its place."""
    from PIL import Image

    chosen = np.linspace(0, len(answer.frames) - 1, _MOST_FRAMES).round().astype(int)
    frames = [answer.frames[index] for index in np.unique(chosen)]
    middles = [(one[0] + other[0]) / 2 for one, other in itertools.pairwise(frames)]
    borders = [0.0, *middles, answer.duration_seconds]
    inches = (_WIDTH - _LEFT - _RIGHT) / answer.duration_seconds
    for (_, jpeg), (start, end) in zip(frames, itertools.pairwise(borders), strict=True):
        image = np.asarray(Image.open(io.BytesIO(jpeg)))
        height, width = image.shape[:2]
        kept = min(width, round(height * (end - start) * inches / _FILM))
        first = (width - kept) // 2
        axes.imshow(
            image[:, first : first + kept],
            extent=(start, end, 0, 1),
            aspect="auto",
            interpolation="antialiased",
        )
        axes.axvline(start, color="white", linewidth=0.8)
    axes.set(xlim=(0, answer.duration_seconds), ylim=(0, 1))


def _curves(
    axes: Axes, answer: ReportAnswer, curves: Sequence[tuple[str, Curve, str]], top: float
) -> None:
    """Filled steps, one step a clip, with their names to the left."""
    edges = np.clip(answer.edges_seconds, 0, answer.duration_seconds)
    inch = 1 / (_WIDTH - _LEFT - _RIGHT)
    for number, (name, values, colour) in enumerate(curves):
        axes.stairs(values, edges, fill=True, color=colour, alpha=0.22, linewidth=0)
        axes.stairs(values, edges, color=colour, linewidth=1)
        axes.text(
            -(_LEFT - 0.12) * inch,
            0.5 + (len(curves) / 2 - 0.5 - number) * 0.36,
            name,
            color=colour,
            fontsize=7.5,
            weight="bold",
            va="center",
            transform=axes.transAxes,
        )
    axes.set_ylim(0.02 * top, 1.06 * top)  # the line of what is zero lies below
    axes.spines["bottom"].set(visible=True, color=LINE)


def _mixed(strength: float) -> tuple[float, ...]:
    """The colour of a score: from weak to that of the best one."""
    weak, strong = (
        [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        for colour in (_WEAK, _MOMENT)
    )
    return tuple(w + strength * (s - w) for w, s in zip(weak, strong, strict=True))
