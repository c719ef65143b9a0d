"""Frames -> clip features without any learned weights: colour, shape, edges and motion on a grid.

Every number is computed from decoded pixels with NumPy, scaled by fixed constants and bounded, so
that features of different videos, and of different machines, are of one kind. Three streams are
joined (`COLUMNS` says where they lie):

- ``cells``: on a grid of 4 x 4 cells, mean colour, edges in four directions, change and flow;
- ``colours``: for ten soft colour classes and the foreground, amount, place, spread, outline
  moments, and how each of these moves inside the clip;
- ``frame``: the same measures as ``cells`` over the whole picture.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from bpnet_features.backbones.backbone import Array, Extraction, Image
from bpnet_features.errors import FeatureError
from bpnet_features.picture import Picture
from bpnet_features.spec import FeatureSpec

Floats = npt.NDArray[np.float64]
Planes = npt.NDArray[np.uint8]  # one a channel (3, 1 + F, 64, 64)

SIZE = 64  # pixels across and down; the aspect ratio is squeezed
PICTURE = Picture((SIZE, SIZE), None, "area")
CELLS = 4
CLIP_FRAMES = 4
BLOCK_CLIPS = 16  # clips computed at once: long enough for NumPy, short enough for the cache
LIMIT = 4.0  # no feature is larger

# Degrees on the colour circle; neighbours share what lies between them.
HUES = (0.0, 30.0, 58.0, 120.0, 180.0, 228.0, 280.0, 325.0)
NUM_COLOURS = len(HUES) + 3  # and white, grey, foreground
CELL_MEASURES = 11
COLOUR_MEASURES = 22

_WIDTHS = {
    "cells": CELLS * CELLS * CELL_MEASURES,
    "colours": NUM_COLOURS * COLOUR_MEASURES,
    "frame": CELL_MEASURES,
}
_ENDS = list(itertools.accumulate(_WIDTHS.values()))
COLUMNS = {
    name: slice(end - width, end) for (name, width), end in zip(_WIDTHS.items(), _ENDS, strict=True)
}
# Where motion is measured, within one cell and within one colour: zero in a still video.
CELL_MOTION = slice(7, 11)
COLOUR_MOTION = slice(12, 22)

GRID_SPEC = FeatureSpec(
    backbone="grid",
    feature_dim=_ENDS[-1],
    fps=8.0,
    clip_length_frames=CLIP_FRAMES,
    clip_stride_frames=CLIP_FRAMES,
    normalisation="fixed constants, clipped to [-4, 4]",
    streams=tuple(_WIDTHS),
    picture=str(PICTURE),
    version=1,
)


class GridBackbone:
    """The extractor of `GRID_SPEC`; see `Backbone`."""

    spec = GRID_SPEC
    picture = PICTURE

    def clips(self, frames: Iterator[Image]) -> Iterator[Array]:
        """Features of one video; a last clip that is cut short is filled with the last frame."""
        before: Image | None = None
        while block := list(itertools.islice(frames, BLOCK_CLIPS * CLIP_FRAMES)):
            block += [block[-1]] * (-len(block) % CLIP_FRAMES)
            # The frame before the block, so that a change between two blocks is seen as well.
            pixels = np.stack([block[0] if before is None else before, *block])
            yield clip_features(pixels)
            before = block[-1]


def load(extraction: Extraction) -> GridBackbone:
    """The extractor.

    Args:
        extraction: Nothing in it can differ from `GRID_SPEC`.

    Returns:
        The backbone.

    Raises:
        FeatureError: Something does.
    """
    if extraction.weights is not None:
        raise FeatureError(
            f"weights={extraction.weights!r}: backbone 'grid' has none; leave them out, or name "
            "the backbone that they are of"
        )
    made = {
        "fps": GRID_SPEC.fps,
        "clip_length_frames": CLIP_FRAMES,
        "clip_stride_frames": CLIP_FRAMES,
        "picture": GRID_SPEC.picture,
    }
    for name, value in made.items():
        if getattr(extraction, name) not in (None, value):
            raise FeatureError(
                f"{name}={getattr(extraction, name)!r}: backbone 'grid' is made for {value!r} only"
            )
    return GridBackbone()


def clip_features(frames: npt.NDArray[np.uint8]) -> Array:
    """Features of neighbouring clips.

    Args:
        frames: The frame before the first clip, then the clips' frames (1 + T * 4, 64, 64, 3).

    Returns:
        Features (T, C).
    """
    num_clips = (len(frames) - 1) // CLIP_FRAMES
    # One plane a channel: NumPy is slow along a last axis of three.
    planes = np.ascontiguousarray(np.moveaxis(frames, -1, 0))
    cells, whole = _cell_measures(planes, num_clips)
    joined = np.concatenate([cells, _colour_measures(planes, num_clips), whole], axis=1)
    features: Array = np.clip(np.nan_to_num(joined), -LIMIT, LIMIT).astype(np.float32)
    return features


def _cell_measures(planes: Planes, num_clips: int) -> tuple[Array, Array]:
    """Colour, edges and motion: (T, 4 * 4 * 11) by cell, and (T, 11) of the whole picture."""
    channels = planes.astype(np.float32) / np.float32(255)
    grey = (channels[0] + channels[1] + channels[2]) / np.float32(3)
    now, step = grey[1:], np.diff(grey, axis=0)
    across, down = np.zeros_like(now), np.zeros_like(now)
    across[:, :, 1:-1] = (now[:, :, 2:] - now[:, :, :-2]) / 2
    down[:, 1:-1] = (now[:, 2:] - now[:, :-2]) / 2
    maps = [*channels[:, 1:]]
    maps += [np.abs(across), np.abs(down), np.abs(across + down), np.abs(across - down)]
    maps += [np.abs(step), step, step * across, step * down, across**2, down**2]
    pooled = np.stack([_pool(m, num_clips) for m in maps], axis=-1)

    def scaled(sums: Array) -> Array:
        flow = -sums[..., 9:11] / (sums[..., 11:13] + 1e-3)  # one step of Lucas and Kanade
        parts = [
            2 * sums[..., :3] - 1,
            10 * sums[..., 3:7],
            10 * sums[..., 7:8],
            20 * sums[..., 8:9],
            np.tanh(2 * flow),
        ]
        return np.concatenate(parts, axis=-1)

    return scaled(pooled).reshape(num_clips, -1), scaled(pooled.mean(axis=(1, 2)))


def _pool(values: Array, num_clips: int) -> Array:
    """Means (F, 64, 64) -> (T, 4, 4) over a clip's frames and a cell's pixels."""
    # One small product a frame: quicker than a mean over inner axes, and below the size at which
    # BLAS starts threads, which would fight with the other processes.
    columns = values @ _CELL_MEANS
    cells = columns.reshape(num_clips, CLIP_FRAMES, CELLS, SIZE // CELLS, CELLS)
    means: Array = cells.mean(axis=(1, 3), dtype=np.float32)
    return means


def _colour_measures(planes: Planes, num_clips: int) -> Array:
    """Amount, place, outline and motion of each colour (T, 11 * 22)."""
    amounts = _colour_maps(planes)  # (colours, 1 + F, 64, 64)
    raw = _POWERS.T @ (amounts @ _POWERS) / SIZE**2  # of y by x (colours, 1 + F, 5, 5)
    moments = _central_moments(raw.astype(np.float64))
    mass, x, y = moments["mass"], moments["x"], moments["y"]
    gate = mass / (mass + 0.003)  # fades out what is measured on next to nothing
    radius = np.sqrt(moments["r2"])

    def in_clips(values: Floats) -> Floats:
        return values.reshape(NUM_COLOURS, num_clips, CLIP_FRAMES)

    def level(values: Floats) -> Floats:
        """Mean over a clip's frames, counting those where the colour is there."""
        here = in_clips(gate[:, 1:])
        return np.asarray((in_clips(values[:, 1:]) * here).sum(axis=2) / (here.sum(axis=2) + 0.2))

    both = in_clips(gate[:, 1:] * gate[:, :-1])

    def steps(values: Floats) -> Floats:
        return in_clips(np.diff(values, axis=1)) * both

    mass_steps = in_clips(np.diff(np.sqrt(mass), axis=1))
    change = np.abs(np.diff(amounts, axis=1)).mean(axis=(2, 3))
    turns = [np.abs(steps(moments[f"z{n}_{part}"])) for n in (2, 3, 4) for part in ("re", "im")]
    presence = in_clips(gate[:, 1:])
    x_steps, y_steps = steps(x), steps(y)
    measures = [
        4 * np.sqrt(in_clips(mass[:, 1:])).mean(axis=2),
        2 * presence.mean(axis=2) - 1,
        1.5 * level(x),
        1.5 * level(y),
        4 * level(radius),
        6 * level(moments["fill"] - 0.8),
        6 * level(moments["kurtosis"] - 1.45),
        3 * level(moments["z2"]),
        5 * level(moments["z3"]),
        3 * level(moments["z4"]),
        3 * level(moments["z4_re"]),
        5 * level(moments["z3_im"]),
        # From here on: motion.
        15 * x_steps.sum(axis=2),
        15 * y_steps.sum(axis=2),
        15 * np.abs(x_steps).sum(axis=2),
        15 * np.abs(y_steps).sum(axis=2),
        12 * mass_steps.sum(axis=2),
        6 * np.abs(mass_steps).sum(axis=2),
        8 * steps(np.log(radius)).sum(axis=2),
        2 * np.stack(turns).sum(axis=(0, 3)),
        3 * in_clips(change / (mass[:, 1:] + mass[:, :-1] + 0.003)).mean(axis=2),
        presence[:, :, -1] - in_clips(gate[:, :-1])[:, :, 0],
    ]
    assert len(measures) == COLOUR_MEASURES
    stacked = np.stack(measures, axis=-1)  # (colours, T, measures)
    return stacked.transpose(1, 0, 2).reshape(num_clips, -1).astype(np.float32)


def _colour_maps(planes: Planes) -> Array:
    """How much each pixel belongs to each colour class, 0 to 1 (colours, 1 + F, 64, 64)."""
    red, green, blue = (plane.astype(np.int32) >> 3 for plane in planes)
    looked_up = _COLOUR_TABLE.take(red << 10 | green << 5 | blue, axis=1)
    # Foreground: what stands out from the colour that most of the picture has in these seconds.
    middle = np.median(planes[:, :, ::4, ::4].reshape(3, -1), axis=1)
    away = [np.abs(planes[i].astype(np.float32) - np.float32(middle[i])) for i in range(3)]
    distance = np.maximum(np.maximum(away[0], away[1]), away[2])
    foreground = np.clip((distance - 50) / np.float32(40), 0, 1)
    return np.concatenate([looked_up, foreground[None]])


def _colour_table() -> Array:
    """Colour classes of all colours with 5 bits a channel (colours - 1, 32768)."""
    levels = (np.arange(32, dtype=np.float64) + 0.5) / 32
    red, green, blue = (
        axis.reshape(-1) for axis in np.meshgrid(levels, levels, levels, indexing="ij")
    )
    high, low = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    chroma = high - low
    safe = np.maximum(chroma, 1e-9)
    hue = np.where(
        high == red,
        (green - blue) / safe % 6,
        np.where(high == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    hue = np.where(chroma > 0, 60 * hue, 0.0)
    coloured = np.clip((chroma - 0.2) / 0.2, 0, 1)
    classes = []
    for i, centre in enumerate(HUES):
        left = (centre - HUES[i - 1]) % 360
        right = (HUES[(i + 1) % len(HUES)] - centre) % 360
        away = (hue - centre + 180) % 360 - 180
        classes.append(coloured * np.clip(1 - np.where(away < 0, -away / left, away / right), 0, 1))
    bright = np.clip((low - 0.55) / 0.2, 0, 1)
    middling = np.clip((high - 0.3) / 0.15, 0, 1) * (1 - bright)
    classes += [(1 - coloured) * bright, (1 - coloured) * middling]
    return np.stack(classes).astype(np.float32)


def _central_moments(raw: Floats) -> dict[str, Floats]:
    """Place, size and outline of a map from its raw moments up to order four.

    Args:
        raw: Means of map * y^q * x^p over the pixels (..., 5, 5).

    Returns:
        By name, each of shape (...): the mass; the centre x and y; the mean squared radius r2; and
        measures of the outline that depend neither on place nor on size: how far the map fills the
        ellipse of its spread (a disc 1, a square 0.95, a triangle 0.83, a star less), its kurtosis,
        and the strength (and real and imaginary part) of its 2-, 3- and 4-fold symmetry.
    """
    mass = raw[..., 0, 0]
    mean = raw / np.maximum(mass, 1e-6)[..., None, None]
    x, y = mean[..., 0, 1], mean[..., 1, 0]

    def central(p: int, q: int) -> Floats:
        total = np.zeros_like(x)
        for i, j in itertools.product(range(p + 1), range(q + 1)):
            weight = math.comb(p, i) * math.comb(q, j)
            total += weight * (-x) ** (p - i) * (-y) ** (q - j) * mean[..., j, i]
        return total

    xx, xy, yy = central(2, 0), central(1, 1), central(0, 2)
    mu30, mu21, mu12, mu03 = (central(3 - q, q) for q in range(4))
    mu40, mu31, mu22, mu13, mu04 = (central(4 - q, q) for q in range(5))
    r2 = np.maximum(xx + yy, 0) + 1e-4
    r4 = mu40 + 2 * mu22 + mu04
    spread = np.sqrt(np.maximum(xx * yy - xy**2, 0)) + 1e-4
    folds = {
        "z2": (xx - yy + 2j * xy) / r2,
        "z3": (mu30 - 3 * mu12 + 1j * (3 * mu21 - mu03)) / r2**1.5,
        "z4": (r4 - 8 * mu22 + 4j * (mu31 - mu13)) / r2**2,
    }
    values = {"mass": mass, "x": x, "y": y, "r2": r2, "kurtosis": np.minimum(r4 / r2**2, 4)}
    # Masses are fractions of a picture of area 4: x and y run from -1 to 1.
    values["fill"] = np.minimum(4 * mass / (4 * np.pi * spread), 2)
    for name, fold in folds.items():
        parts = {name: np.abs(fold), f"{name}_re": fold.real, f"{name}_im": fold.imag}
        values |= {part: np.clip(value, -2, 2) for part, value in parts.items()}
    return values


_LINE: Array = ((np.arange(SIZE) + 0.5) * 2 / SIZE - 1).astype(np.float32)
_POWERS: Array = (_LINE[:, None] ** np.arange(5)).astype(np.float32)  # (64, 5)
_CELL_MEANS: Array = np.kron(np.eye(CELLS), np.full((SIZE // CELLS, 1), CELLS / SIZE)).astype("f4")
_COLOUR_TABLE = _colour_table()
