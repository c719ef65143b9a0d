"""Answers as a table in the terminal, each with a bar that shows where in the video it lies."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bpnet.report.times import clock
from bpnet.types import FoundMoment, Moment

BAR_WIDTH = 30
EIGHTHS = " ▏▎▍▌▋▊▉█"


def print_answers(
    queries: Sequence[str],
    answers: Sequence[Sequence[Moment]],
    duration_seconds: float,
    console: Console,
) -> None:
    """Print a small table for each sentence.

    Args:
        queries: The sentences.
        answers: The moments of each, best first; none: the sentence is not in the video.
        duration_seconds: Length of the video.
        console: Where to print. Colours are left out where it is no terminal.
    """
    for query, moments in zip(queries, answers, strict=True):
        console.print(Text(query, style="bold"))
        if not moments:
            console.print("  not in this video", style="yellow")
            continue
        calibrated = any(one.probability is not None for one in moments)
        table = Table(box=None, pad_edge=False, show_edge=False, header_style="dim")
        table.add_column("", justify="right")
        for name in ("from", "to"):
            table.add_column(name, justify="right")
        table.add_column(f"0:00{clock(duration_seconds):>{BAR_WIDTH - 4}}", no_wrap=True)
        table.add_column("score", justify="right")
        if calibrated:
            table.add_column("probability", justify="right")
        for rank, one in enumerate(moments, start=1):
            row = [f"{rank}", clock(one.start_seconds), clock(one.end_seconds)]
            drawn = time_bar(one, duration_seconds)
            row += [drawn, f"{one.score:.3f}"]
            if calibrated:
                row.append("" if one.probability is None else f"{one.probability:.2f}")
            table.add_row(*row, style="" if rank == 1 else "dim")
        console.print(table)


def print_found(
    queries: Sequence[str], answers: Sequence[Sequence[FoundMoment]], console: Console
) -> None:
    """Print a small table for each sentence, of moments of many videos.

    Args:
        queries: The sentences.
        answers: The moments of each, best first; none: no video shows it.
        console: Where to print.
    """
    for query, found in zip(queries, answers, strict=True):
        console.print(Text(query, style="bold"))
        if not found:
            console.print("  in no video", style="yellow")
            continue
        table = Table(box=None, pad_edge=False, show_edge=False, header_style="dim")
        for name in ("", "video", "from", "to", "score"):
            table.add_column(name, justify="left" if name == "video" else "right")
        for rank, one in enumerate(found, start=1):
            times = (clock(one.moment.start_seconds), clock(one.moment.end_seconds))
            score, style = f"{one.moment.score:.3f}", "" if rank == 1 else "dim"
            table.add_row(f"{rank}", Text(one.video_id), *times, score, style=style)
        console.print(table)


def time_bar(moment: Moment, duration_seconds: float, width: int = BAR_WIDTH) -> str:
    """Where a moment lies, in eighths of a character.

    Args:
        moment: The moment.
        duration_seconds: Length of the video, > 0.
        width: Characters of the whole video.

    Returns:
        ``width`` characters: dots outside, blocks inside; at least one character is not a dot.
    """
    start = max(0.0, moment.start_seconds / duration_seconds * width)
    end = min(float(width), moment.end_seconds / duration_seconds * width)
    first = min(int(start), width - 1)
    cells = []
    for place in range(width):
        inside = min(end, place + 1) - max(start, place)
        if inside <= 0 and place != first:
            cells.append("·")
        elif place == first and inside < 1 and end > place + 1:
            cells.append("▐" if inside >= 0.25 else "·")  # there are no blocks from the right
        else:
            cells.append(EIGHTHS[max(1, round(8 * max(inside, 0)))])
    if set(cells) == {"·"}:
        cells[first] = "▐"
    return "".join(cells)
