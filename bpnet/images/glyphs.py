"""Draws what planted pictures show: digits, turned and sheared, and gratings."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

NUM_DIGITS = 10
# Digits of 5 x 7 points; handwritten ones may take their place.
_FONT = (
    "01110 10001 10011 10101 11001 10001 01110",
    "00100 01100 00100 00100 00100 00100 01110",
    "01110 10001 00001 00010 00100 01000 11111",
    "11111 00010 00100 00010 00001 10001 01110",
    "00010 00110 01010 10010 11111 00010 00010",
    "11111 10000 11110 00001 00001 10001 01110",
    "00110 01000 10000 11110 10001 10001 01110",
    "11111 00001 00010 00100 01000 01000 01000",
    "01110 10001 10001 01110 10001 10001 01110",
    "01110 10001 10001 01111 00001 00010 01100",
)


def font() -> list[Array]:
    """For each digit its one picture (1, 7, 5)."""
    rows = [np.array([[int(dot) for dot in row] for row in one.split()]) for one in _FONT]
    return [row[None].astype(np.float64) for row in rows]


def warped(rng: np.random.Generator, glyphs: Array, height: int) -> Array:
    """A glyph turned, sheared and scaled to a height, cut to the box of what is seen (h, w)."""
    glyph = np.pad(glyphs[int(rng.integers(len(glyphs)))], 1)
    angle, shear, stretch = rng.uniform((-0.2, -0.2, 0.85), (0.2, 0.2, 1.15))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shape = turn @ np.array([[1.0, 0.0], [shear, stretch]])
    step = np.ptp(np.flatnonzero(glyph.any(axis=1))) / height  # points of the glyph a pixel
    rows, columns = np.indices((2 * height, 2 * height)) - height
    places = np.tensordot(shape * step, np.stack([rows, columns]), axes=1)
    centre = (np.array(glyph.shape) - 1) / 2
    found = _sampled(glyph, places[0] + centre[0], places[1] + centre[1])
    seen = found > 0.3
    ends = [np.flatnonzero(seen.any(axis=axis))[[0, -1]] for axis in (1, 0)]
    cut = found[ends[0][0] : ends[0][1] + 1, ends[1][0] : ends[1][1] + 1]
    most = np.array(cut.shape).max()
    # A turned glyph may be wider than it is high: neither side is longer than asked for.
    step = max(1.0, most / height)
    sides = [max(2, int(one / step)) for one in cut.shape]
    down, across = (
        np.linspace(0, one - 1, side) for one, side in zip(cut.shape, sides, strict=True)
    )
    return _sampled(cut, *np.broadcast_arrays(down[:, None], across))


def _sampled(glyph: Array, rows: Array, columns: Array) -> Array:
    """Bilinear values of a picture at real-valued places; 0 outside."""
    padded = np.pad(glyph, 1)
    rows = np.clip(rows + 1, 0, padded.shape[0] - 1.001)
    columns = np.clip(columns + 1, 0, padded.shape[1] - 1.001)
    top, left = rows.astype(int), columns.astype(int)
    down, across = rows - top, columns - left
    above = padded[top, left] * (1 - across) + padded[top, left + 1] * across
    below = padded[top + 1, left] * (1 - across) + padded[top + 1, left + 1] * across
    found: Array = above * (1 - down) + below * down
    return found


def texture(context: int, width: int, height: int, phases: Array) -> Array:
    """The grating of a class (height, width, 3) in [-1, 1]: its angle, period and colour."""
    angle = np.pi * context / 10
    period = 4.0 + 3.0 * (context % 3)
    rows, columns = np.indices((height, width))
    along = (columns * np.cos(angle) + rows * np.sin(angle)) / period
    colour = np.cos(2 * np.pi * (context / 10 + np.arange(3) / 3))
    colour /= np.abs(colour).max()
    wave = np.sin(2 * np.pi * (along + phases[0]))
    found: Array = wave[..., None] * colour
    return found
