"""What ``metrics.json`` says of calibration -> a reliability curve, as SVG in the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SIDE = 240  # pixels of the square from (0, 0) to (1, 1)
_LEFT, _TOP = 40, 10


def reliability_card(row: Mapping[str, Any]) -> str:
    """Said against seen: the share of answers that are right, by their score and probability.

    Args:
        row: ``calibration`` of ``metrics.json``.

    Returns:
        HTML; the errors stand below the table of metrics.
    """
    curves = [("score", "candidate", row["score"]), ("probability", "moment", row["probability"])]
    parts = [_axes()]
    legend = ""
    for name, kind, values in curves:
        if values is not None:
            parts.append(_curve(values["curve"], name, kind))
            legend += f'<span><i style="background:var(--{kind})"></i>{name}</span>'
    width, height = _LEFT + _SIDE + 20, _TOP + _SIDE + 40
    return (
        "<div class=scroll><h2>Is the score a probability?</h2>"
        f"<p class=facts><span>Share of first moments with IoU {row['threshold']:g} or more, by "
        f"what was said of them; half of the sentences are about another video.</span>{legend}</p>"
        f'<svg role="img" aria-label="reliability curve" width="{width}" height="{height}">'
        f"{''.join(parts)}</svg></div>"
    )


def _axes() -> str:
    """The square, its ticks, and the diagonal on which a calibrated curve lies."""
    parts = [_line((0, 0), (1, 0)), _line((0, 0), (0, 1)), _line((0, 0), (1, 1), dashed=True)]
    for tick in (0.0, 0.5, 1.0):
        x, y = _place(tick, tick)
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{_TOP + _SIDE + 16}" '
            f'text-anchor="middle">{tick:g}</text>'
            f'<text class="tick" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>'
        )
    middle = _LEFT + _SIDE / 2
    parts.append(
        f'<text class="lane" x="{middle:.1f}" y="{_TOP + _SIDE + 34}" text-anchor="middle">said'
        f'</text><text class="lane" x="{_LEFT + 6}" y="{_TOP + 10}">seen</text>'
    )
    return "".join(parts)


def _curve(bins: list[Mapping[str, Any]], name: str, kind: str) -> str:
    """A point a bin, joined."""
    points = [(_place(one["probability"], one["right"]), one) for one in bins]
    path = " ".join(f"{x:.1f},{y:.1f}" for (x, y), _ in points)
    style = f"stroke:var(--{kind});fill:none;stroke-width:1.5"
    parts = [f'<polyline class="reliability" points="{path}" style="{style}"/>']
    for (x, y), one in points:
        label = f"{one['count']} answers: {name} {one['probability']:.2f}, right {one['right']:.2f}"
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" style="fill:var(--{kind})">'
            f"<title>{label}</title></circle>"
        )
    return "".join(parts)


def _line(start: tuple[float, float], end: tuple[float, float], dashed: bool = False) -> str:
    (x1, y1), (x2, y2) = _place(*start), _place(*end)
    dashes = ' stroke-dasharray="4 4"' * dashed
    return f'<line class="rule" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"{dashes}/>'


def _place(said: float, seen: float) -> tuple[float, float]:
    return _LEFT + _SIDE * said, _TOP + _SIDE * (1 - seen)
