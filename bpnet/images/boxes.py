"""Maps -> boxes: the connected regions above a threshold; NumPy only.

Labelling regions is all that SciPy would be needed for, so it is done here.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Box:
    """A rectangle of a picture, in pixels, half-open.

    Attributes:
        left: First column, >= 0.
        top: First row, >= 0.
        right: The column behind the last one, > left.
        bottom: The row behind the last one, > top.
        score: Highest value of the map in it, as a share of its range, in [0, 1].
    """

    left: float
    top: float
    right: float
    bottom: float
    score: float

    @property
    def corners(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom."""
        return self.left, self.top, self.right, self.bottom

    def scaled(self, across: float, down: float) -> Box:
        """The same box of a picture of another size.

        Args:
            across: Its width, as a multiple.
            down: Its height, as a multiple.

        Returns:
            The box.
        """
        return dataclasses.replace(
            self,
            left=self.left * across,
            top=self.top * down,
            right=self.right * across,
            bottom=self.bottom * down,
        )


def normalised(activation: Array) -> Array:
    """A map (H, W) moved and scaled to 0 to 1; a flat one is 0."""
    low, high = activation.min(), activation.max()
    if not high > low:
        return np.zeros_like(activation)
    scaled: Array = (activation - low) / (high - low)
    return scaled


def boxes_above(activation: Array, threshold: float) -> list[Box]:
    """Boxes of the regions where a map is high, the largest region first.

    CI-CAM takes the first one alone; several objects of a class give several regions.

    Args:
        activation: A map (H, W) of any range, at the size of the picture.
        threshold: Share of the range of the map from which a pixel belongs to a region, in (0, 1].

    Returns:
        A box around each region of pixels that touch at their sides; at least one, unless the map
        is flat.
    """
    shares = normalised(activation)
    found = [
        (
            sum(end - start for _, start, end in region),
            Box(
                left=float(min(start for _, start, _ in region)),
                top=float(region[0][0]),
                right=float(max(end for _, _, end in region)),
                bottom=float(region[-1][0] + 1),
                score=max(float(shares[row, start:end].max()) for row, start, end in region),
            ),
        )
        for region in regions(shares >= threshold)
    ]
    return [box for _, box in sorted(found, key=lambda one: -one[0])]


def regions(mask: npt.NDArray[np.bool_]) -> list[list[tuple[int, int, int]]]:
    """The connected regions of a mask; pixels touch at their sides.

    Args:
        mask: (H, W).

    Returns:
        Each region as its runs of pixels: row, first column, and the one behind the last; in the
        order of the rows. The regions are in the order of their first pixels.
    """
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(edges == 1)
    runs = list(
        zip(rows.tolist(), starts.tolist(), np.nonzero(edges == -1)[1].tolist(), strict=True)
    )
    parents = list(range(len(runs)))

    def root(run: int) -> int:
        while parents[run] != run:
            parents[run] = parents[parents[run]]
            run = parents[run]
        return run

    # Each run is joined with those of the row above that it touches.
    bounds = np.searchsorted(rows, np.arange(len(mask) + 1)).tolist()
    for run, (row, start, end) in enumerate(runs):
        for above in range(bounds[row - 1], bounds[row]) if row else ():
            if runs[above][1] < end and start < runs[above][2]:
                low, high = sorted((root(above), root(run)))
                parents[high] = low
    found: dict[int, list[tuple[int, int, int]]] = {}
    for run, place in enumerate(runs):
        found.setdefault(root(run), []).append(place)
    return list(found.values())


def box_iou(boxes: npt.ArrayLike, others: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Intersection over union of rectangles.

    Args:
        boxes: Left, top, right, bottom (..., 4), left < right and top < bottom.
        others: The same; the two broadcast.

    Returns:
        In [0, 1] (...).
    """
    one, two = np.asarray(boxes, np.float64), np.asarray(others, np.float64)
    sides = np.minimum(one[..., 2:], two[..., 2:]) - np.maximum(one[..., :2], two[..., :2])
    common = np.clip(sides, 0, None).prod(axis=-1)
    areas = [(each[..., 2:] - each[..., :2]).prod(axis=-1) for each in (one, two)]
    shares: npt.NDArray[np.float64] = common / (areas[0] + areas[1] - common)
    return shares
