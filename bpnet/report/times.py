"""Seconds as people write them."""

from __future__ import annotations


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
