"""Seconds as people write them."""

from __future__ import annotations

import math

LONG = 120.0  # seconds from which a video's times are minutes and seconds, on a page or a figure
_CLOCK_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600)  # seconds between ticks
_MOST_TICKS = 6


def clock(seconds: float) -> str:
    """``M:SS.s``, or ``H:MM:SS.s`` from an hour on.

    Args:
        seconds: >= 0.

    Returns:
        The time, rounded to a tenth of a second.
    """
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02d}:{rest / 10:04.1f}"
    return f"{minutes}:{rest / 10:04.1f}"


def interval(start: float, end: float, duration: float) -> str:
    """A piece of a video: ``4.0–9.0 s``, or ``1:04.0–1:09.0`` of a long one.

    Args:
        start: Its beginning in seconds, >= 0.
        end: Its end.
        duration: Length of the video.

    Returns:
        Both times, rounded to a tenth of a second.
    """
    if duration < LONG:
        return f"{start:.1f}\N{EN DASH}{end:.1f} s"
    return f"{clock(start)}\N{EN DASH}{clock(end)}"


def ticks(duration: float, *, clocks: bool | None = None) -> list[tuple[float, str]]:
    """A handful of round times along a video.

    Args:
        duration: Its length in seconds, > 0.
        clocks: Whether labels are those of `clock`, or seconds; None: as `interval` has them.

    Returns:
        Times in seconds with their labels, ascending from 0.
    """
    least = duration / _MOST_TICKS
    if clocks is None:
        clocks = duration >= LONG
    if clocks:
        step = next((one for one in _CLOCK_STEPS if one >= least), math.ceil(least / 3600) * 3600.0)
    else:
        power = 10.0 ** math.floor(math.log10(duration / 5))
        step = next(power * one for one in (1, 2, 5, 10) if power * one >= least)
    times = [count * step for count in range(int(duration / step + 1e-9) + 1)]
    return [(time, clock(time).removesuffix(".0") if clocks else f"{time:g} s") for time in times]
