"""The statistics of a dataset as one picture; matplotlib is imported when it is drawn."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bpnet.data.statistics import Statistics
from bpnet.errors import ConfigError
from bpnet.report.figure_file import INK, LINE, SOFT, check_suffix, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which people with any colour vision tell apart; dashes help in print.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1)), (0, (6, 2, 1, 2)), (0, (9, 3)), "-")
MAX_PARTS = len(_COLOURS)

_WIDTH, _ROW_HEIGHT, _HEAD_HEIGHT = 16.0, 3.3, 1.0  # inches; 100 dots each in a png
_CELLS = 20  # a side of the heat map
_FEW_BINS, _MANY_BINS = 10, 40
_SHOWN = 98  # percent of the values of each part that a histogram must show


def write_statistics_plot(
    path: str | os.PathLike[str], parts: Sequence[Statistics], *, title: str
) -> None:
    """Draw the distributions of some parts of a dataset.

    A heat map of where moments start and end for each part, then histograms in which each part has
    its colour, then the most frequent words.

    Args:
        path: The picture; its suffix chooses png, svg or pdf. Missing folders are made.
        parts: At least one, at most `MAX_PARTS`.
        title: Heading, such as the name of the dataset.

    Raises:
        ConfigError: The suffix is another one, there are too many parts, matplotlib is missing, or
            the picture cannot be written.
    """
    check_suffix(path)
    if not 1 <= len(parts) <= MAX_PARTS:
        raise ConfigError(
            f"{len(parts)} parts in one picture: expected 1 to {MAX_PARTS}; choose with --split"
        )
    save_figure(path, lambda figure: _draw(figure, parts, title), dots_an_inch=100)


def _draw(figure: Figure, parts: Sequence[Statistics], title: str) -> None:
    """Panels in reading order on a grid; the words take what is left of the last row."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    lengths = [part.moment_seconds for part in parts]
    shares = [100 * part.relative_lengths for part in parts]
    videos = [part.video_seconds for part in parts]
    words = [part.words_per_query for part in parts]
    moments = [part.moments_per_query for part in parts]
    panels: list[Callable[[Axes], None]] = [
        partial(_heat_map, parts=parts, number=number) for number in range(len(parts))
    ]
    panels += [
        partial(_histogram, values=lengths, title="Moment length", unit="seconds", of="moments"),
        partial(
            _histogram,
            values=shares,
            title="Relative moment length",
            unit="percent of the video",
            of="moments",
            top=100,
        ),
        partial(_histogram, values=videos, title="Video length", unit="seconds", of="videos"),
        partial(_counts, values=words, title="Words per query", unit="words"),
    ]
    if max(map(np.max, moments)) > 1:
        panels.append(partial(_counts, values=moments, title="Moments per query", unit="moments"))

    columns = 3 if len(parts) % 3 == 0 else 4
    rows = len(panels) // columns + 1
    # Rows that begin with a heat map are as high as it is wide.
    heights = [
        _WIDTH / columns if row * columns < len(parts) else _ROW_HEIGHT for row in range(rows)
    ]
    height = sum(heights) + _HEAD_HEIGHT
    figure.set_size_inches(_WIDTH, height)
    rect = (0.005, 0.005, 0.988, 0.995 - _HEAD_HEIGHT / height)
    figure.set_layout_engine(
        ConstrainedLayoutEngine(rect=rect, w_pad=0.14, h_pad=0.12, wspace=0.02, hspace=0.02)
    )
    _head(figure, parts, title, height)
    grid = figure.add_gridspec(rows, columns, height_ratios=heights)
    for place, panel in enumerate(panels):
        panel(figure.add_subplot(grid[divmod(place, columns)]))
    row, column = divmod(len(panels), columns)
    _words(figure.add_subplot(grid[row, column:]), parts, 36 * (columns - column) // columns)


def _head(figure: Figure, parts: Sequence[Statistics], title: str, height: float) -> None:
    """The title, and below it what the colours mean."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colour, linestyle=dashes, linewidth=3)
        for colour, dashes, _ in zip(_COLOURS, _DASHES, parts, strict=False)
    ]
    labels = [f"{_short(part.split, 15)}  ({_number_of_moments(part, parts)})" for part in parts]
    handles.append(Line2D([], [], color=SOFT, marker="^", linestyle="", markersize=8))
    figure.text(0.0125, 1 - 0.18 / height, _short(title, 90), fontsize=20, weight="bold", va="top")
    figure.legend(
        handles,
        [*labels, "median"],
        loc="upper left",
        bbox_to_anchor=(0.0075, 1 - 0.56 / height),
        ncols=len(handles),
        fontsize=11,
        handlelength=2.8,
        columnspacing=1.8,
    )


def _number_of_moments(part: Statistics, parts: Sequence[Statistics]) -> str:
    number = len(part.moments)
    noun = " moment" + "s" * (number > 1)
    return f"{number:,}{noun if len(parts) <= 4 else ''}"


def _heat_map(axes: Axes, parts: Sequence[Statistics], number: int) -> None:
    """Starts across and ends upwards; all parts have one scale, so that shades compare."""
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm

    edges = np.linspace(0, 100, _CELLS + 1)
    shares = [_cell_shares(part, edges) for part in parts]
    part, colour = parts[number], _COLOURS[number]
    shades = LinearSegmentedColormap.from_list(part.split, ["#ffffff", colour, "#101218"])
    image = axes.pcolormesh(
        edges,
        edges,
        np.ma.masked_equal(shares[number], 0),
        cmap=shades,
        norm=PowerNorm(0.5, vmin=0, vmax=max(map(np.max, shares))),
        rasterized=True,
    )
    axes.plot([0, 100], [0, 100], color=LINE, linewidth=1)
    axes.set(xlim=(0, 100), ylim=(0, 100), aspect="equal", anchor="W")
    axes.set(xlabel="start, percent of the video", ylabel="end, percent of the video")
    axes.set_xticks(range(0, 101, 25))
    axes.set_yticks(range(0, 101, 25))
    axes.set_title(f"Where moments lie: {_short(part.split, 14)}", color=_darker(colour))
    axes.grid(False)
    # No moment ends before it starts: the lower right corner is free.
    bar = axes.figure.colorbar(
        image, cax=axes.inset_axes((0.58, 0.17, 0.36, 0.035)), orientation="horizontal"
    )
    bar.outline.set_visible(False)
    bar.set_label("percent of moments", size=9.5)
    bar.ax.tick_params(labelsize=9)
    bar.locator = _round_ticks(4, integer=True)
    bar.update_ticks()


def _cell_shares(part: Statistics, edges: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Percent of the moments in each cell (ends, starts)."""
    starts, ends = 100 * part.relative_moments.T
    counts, *_ = np.histogram2d(ends, starts, bins=(edges, edges))
    return np.asarray(100 * counts / len(starts))


def _histogram(
    axes: Axes,
    values: Sequence[npt.NDArray[np.float64]],
    title: str,
    unit: str,
    of: str,
    *,
    top: float | None = None,
) -> None:
    if top is None:
        top = _round_up(max(float(np.percentile(one, _SHOWN)) for one in values))
    bins = min(max(round(2 * min(map(len, values)) ** 0.5), _FEW_BINS), _MANY_BINS)
    _steps(axes, values, np.linspace(0, top, bins + 1), of)
    axes.set_title(title)
    axes.set_xlabel(_with_rest(unit, values, top))


def _counts(axes: Axes, values: Sequence[npt.NDArray[np.int64]], title: str, unit: str) -> None:
    """A histogram of whole numbers, a bin each."""
    last = math.ceil(max(float(np.percentile(one, _SHOWN)) for one in values)) + 1
    _steps(axes, values, np.arange(0.5, last + 1), "queries")
    axes.xaxis.set_major_locator(_round_ticks(9, integer=True))
    axes.set_title(title)
    axes.set_xlabel(_with_rest(unit, values, last))


def _steps(
    axes: Axes, values: Sequence[npt.NDArray[Any]], edges: npt.NDArray[np.float64], of: str
) -> None:
    """An outline for each part, the first one filled, and a mark at each median."""
    for number, one in enumerate(values):
        counts, _ = np.histogram(one, bins=edges)
        share, colour = 100 * counts / len(one), _COLOURS[number]
        if number == 0:
            axes.stairs(share, edges, color=colour, fill=True, alpha=0.13)
        axes.stairs(share, edges, color=colour, linestyle=_DASHES[number], linewidth=1.8)
        axes.plot(
            [np.median(one)],
            [0],
            color=colour,
            marker="^",
            markersize=10,
            markeredgecolor="white",
            clip_on=False,
            zorder=5,
        )
    axes.set_ylim(bottom=0)
    axes.set_xlim(edges[0], edges[-1] + 0.01 * (edges[-1] - edges[0]))
    axes.yaxis.set_major_locator(_round_ticks(6))
    axes.set_ylabel(f"percent of {of}")


def _words(axes: Axes, parts: Sequence[Statistics], number: int) -> None:
    """How often the most frequent words of all parts together occur in each."""
    rates = [
        {word: 100 * count / len(part.words_per_query) for word, count in part.words}
        for part in parts
    ]
    total: dict[str, float] = {}
    for rate in rates:
        for word, value in rate.items():
            total[word] = total.get(word, 0) + value
    chosen = sorted(total, key=lambda word: (-total[word], word))[:number]
    axes.set_title("Most frequent content words")
    if not chosen:
        axes.set_axis_off()
        axes.text(0, 0.9, "none", color=SOFT, va="top", transform=axes.transAxes)
        return
    for place, rate in enumerate(rates):
        across = np.arange(len(chosen)) + 0.16 * (place - (len(parts) - 1) / 2)
        heights = [rate.get(word, 0.0) for word in chosen]
        axes.vlines(across, 0, heights, color=_COLOURS[place], linewidth=1.6, alpha=0.6)
        axes.plot(across, heights, "o", color=_COLOURS[place], markersize=5.5)
    # One word is often ten times as frequent as the next; a root keeps both readable.
    axes.set_yscale("function", functions=(_root, np.square))
    axes.set_ylim(bottom=0)
    ticks = _root_ticks(axes.get_ylim()[1])
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xlim(-0.7, len(chosen) - 0.3)
    names = [_short(word, 16) for word in chosen]
    axes.set_xticks(range(len(chosen)), names, rotation=40, ha="right", rotation_mode="anchor")
    axes.tick_params(axis="x", length=0, labelcolor=INK)
    axes.set_ylabel("times in 100 queries, root scale")


def _root(values: Any) -> Any:
    return np.sqrt(np.maximum(values, 0))


def _root_ticks(top: float) -> list[float]:
    """0 and round numbers up to the top of an axis with a root scale, not too close together."""
    ticks = [0.0]
    decade = 10.0 ** (math.floor(math.log10(top)) - 2)
    for tick in (first * decade * 10**power for power in range(4) for first in (1, 2, 5)):
        if tick <= top and math.sqrt(tick) - math.sqrt(ticks[-1]) > 0.13 * math.sqrt(top):
            ticks.append(tick)
    return ticks


def _round_ticks(most: int, *, integer: bool = False) -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(most, steps=[1, 2, 5, 10], integer=integer)


def _darker(colour: str) -> tuple[float, ...]:
    """A colour for text on white."""
    return tuple(0.75 * int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))


def _with_rest(unit: str, values: Sequence[npt.NDArray[Any]], top: float) -> str:
    """The unit, and how much lies to the right of the picture."""
    beyond = max(float(np.mean(one > top)) for one in values)
    return f"{unit} (up to {100 * beyond:.1f} % are beyond {top:g})" if beyond else unit


def _round_up(value: float) -> float:
    """The next number with one or two leading digits, for the end of an axis."""
    unit = 5 * 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.ceil(value / unit) * unit


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "\N{HORIZONTAL ELLIPSIS}"
