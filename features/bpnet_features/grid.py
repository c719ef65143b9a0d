"""ClipGrid: the only place that converts seconds and clip positions."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from bpnet_features.errors import FeatureError

FloatArray = npt.NDArray[np.floating]


@dataclasses.dataclass(frozen=True, eq=False)
class ClipGrid:
    """Where the clips of one video lie in time.

    Clip ``i`` stands for the time ``[edges_seconds[i], edges_seconds[i + 1])``. A *span* is a
    half-open pair of real-valued clip positions; position ``p`` lies at the linear interpolation of
    the edges, so position 0 is the first edge and position T the last one.

    Attributes:
        edges_seconds: Strictly increasing times (T + 1,), float64; T >= 1.
        duration_seconds: Length of the video, > 0.
    """

    edges_seconds: npt.NDArray[np.float64]
    duration_seconds: float

    def __post_init__(self) -> None:
        edges = np.asarray(self.edges_seconds, dtype=np.float64)
        object.__setattr__(self, "edges_seconds", edges)
        if not (np.isfinite(self.duration_seconds) and self.duration_seconds > 0):
            raise FeatureError(
                f"duration_seconds={self.duration_seconds}: expected a finite number > 0"
            )
        if edges.ndim != 1 or len(edges) < 2:
            raise FeatureError(f"grid edges of shape {edges.shape}: expected (T + 1,) with T >= 1")
        if not (edges[1:] > edges[:-1]).all():
            raise FeatureError("grid edges: expected strictly increasing seconds")

    @classmethod
    def uniform(
        cls,
        num_clips: int,
        duration_seconds: float,
        stride_seconds: float | None = None,
        start_seconds: float = 0.0,
    ) -> ClipGrid:
        """Clips at a constant stride; the last one reaches to the end of the video.

        Where the last clip would begin at or after the end, by rounding or because an extractor
        padded the video, the last two clips share what the one before it has, so that every clip
        stands for some time inside the video.

        Args:
            num_clips: Number of clips T, >= 1.
            duration_seconds: Length of the video, > 0.
            stride_seconds: Seconds between neighbouring clips, > 0; None: the clips share the
                duration evenly.
            start_seconds: Where the first clip begins, >= 0.

        Returns:
            The grid.

        Raises:
            FeatureError: A number is out of range, or the last clip would begin a clip or more
                after the end of the video: then the stride or the duration is wrong.
        """
        if num_clips < 1:
            raise FeatureError(f"num_clips={num_clips}: expected at least 1 clip")
        if not start_seconds >= 0:
            raise FeatureError(f"start_seconds={start_seconds}: expected a number >= 0")
        if stride_seconds is None:
            edges = np.linspace(start_seconds, duration_seconds, num_clips + 1)
            return cls(edges, duration_seconds)
        if not 0 < stride_seconds < np.inf:
            raise FeatureError(f"stride_seconds={stride_seconds}: expected a finite number > 0")
        edges = start_seconds + stride_seconds * np.arange(num_clips + 1, dtype=np.float64)
        late = edges[-2] >= duration_seconds
        if late and (num_clips == 1 or edges[-3] >= duration_seconds):
            raise FeatureError(
                f"{num_clips} clips of {stride_seconds:g} s each begin as late as {edges[-2]:.2f} "
                f"s, but the video ends at {duration_seconds:.2f} s: the stride or the duration is "
                "wrong. Correct the spec, or leave seconds_per_clip out to use duration / clips"
            )
        edges[-1] = duration_seconds
        if late:
            edges[-2] = (edges[-3] + duration_seconds) / 2
        return cls(edges, duration_seconds)

    @property
    def num_clips(self) -> int:
        """Number of clips T."""
        return len(self.edges_seconds) - 1

    def to_seconds(self, spans: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Clip positions to seconds.

        Args:
            spans: Positions in [0, T], any shape; what lies outside is moved to the nearest end.

        Returns:
            Seconds of the same shape, not after the end of the video.
        """
        positions = np.asarray(spans, dtype=np.float64)
        seconds = np.interp(positions, np.arange(self.num_clips + 1), self.edges_seconds)
        return np.minimum(seconds, self.duration_seconds)

    def to_clips(self, seconds: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Seconds to clip positions, the inverse of `to_seconds`.

        Args:
            seconds: Times, any shape; what lies outside the grid is moved to its nearest end.

        Returns:
            Real-valued positions in [0, T] of the same shape.
        """
        times = np.asarray(seconds, dtype=np.float64)
        return np.interp(times, self.edges_seconds, np.arange(self.num_clips + 1))

    def nearest_cells(self, start_seconds: float, end_seconds: float) -> tuple[int, int]:
        """The span of whole clips with the highest temporal IoU with a moment.

        Args:
            start_seconds: Beginning of the moment.
            end_seconds: End of the moment, > start_seconds.

        Returns:
            ``(start, end)`` with 0 <= start < end <= T; of equal ones the earliest, as in VSLNet.
        """
        low, high = self.to_clips((start_seconds, end_seconds))
        # For a fixed other end the IoU falls off on both sides of the true time, so the best edge
        # is one of its two neighbours; where both fall together, it is the cell that begins there.
        last = self.num_clips - 1
        starts = sorted({min(int(np.floor(low)), last), min(int(np.ceil(low)), last)})
        ends = sorted({int(np.floor(high)), int(np.ceil(high))})
        best, best_iou = (starts[0], starts[0] + 1), -1.0
        for start in starts:
            for end in (end for end in ends if end > start):
                left, right = self.edges_seconds[start], self.edges_seconds[end]
                overlap = max(0.0, min(right, end_seconds) - max(left, start_seconds))
                iou = overlap / (max(right, end_seconds) - min(left, start_seconds))
                if iou > best_iou:
                    best, best_iou = (start, end), iou
        return best

    def boundaries(self, num_positions: int) -> npt.NDArray[np.int64]:
        """First clips of the groups that `resample` averages: ``round(i T / N)``, half to even.

        This is the rule of 2D-TAN, VSLNet and MMN; an off-by-one here moves published numbers.

        Args:
            num_positions: Number N of groups, >= 1.

        Returns:
            (N + 1,) int64 in [0, T], not decreasing.
        """
        steps = np.arange(num_positions + 1) * self.num_clips / num_positions
        return np.round(steps).astype(np.int64)

    def coarsen(self, num_positions: int) -> ClipGrid:
        """The grid of a video brought to a fixed number of positions, see `resample`.

        Args:
            num_positions: Number N of positions, >= 1.

        Returns:
            A grid of N positions over the same time.

        Raises:
            FeatureError: N < 1.
        """
        if num_positions < 1:
            raise FeatureError(f"num_positions={num_positions}: expected at least 1")
        if num_positions <= self.num_clips:
            edges = self.edges_seconds[self.boundaries(num_positions)]
        else:  # a clip is repeated, and its time is divided evenly between the copies
            positions = np.arange(num_positions + 1) * self.num_clips / num_positions
            edges = np.interp(positions, np.arange(self.num_clips + 1), self.edges_seconds)
        return dataclasses.replace(self, edges_seconds=edges)

    def resample(self, clips: FloatArray, num_positions: int) -> tuple[FloatArray, ClipGrid]:
        """Bring a video to a fixed number of positions by mean pooling.

        Position i is the mean of the clips ``[b_i, b_{i+1})`` of `boundaries`, clamped to T - 1, or
        the single clip ``b_i`` where that range is empty. So the very last clip of a shortened
        video is read only where its group has no other: as in the published code.

        Args:
            clips: Features (T, C).
            num_positions: Number N of positions, >= 1.

        Returns:
            Features (N, C) float32, and the grid that says where they lie.

        Raises:
            FeatureError: The features do not belong to this grid, or N < 1.
        """
        if len(clips) != self.num_clips:
            raise FeatureError(f"{len(clips)} clips on a grid of {self.num_clips}")
        grid = self.coarsen(num_positions)
        bounds = np.minimum(self.boundaries(num_positions), self.num_clips - 1)
        firsts, counts = bounds[:-1], np.diff(bounds)
        if not np.all(counts[:-1] > 0):  # no group has more than one clip
            return clips[firsts].astype(np.float32), grid
        counts[-1] = max(1, counts[-1])  # an empty last group still reads its one clip
        means = np.empty((num_positions, clips.shape[1]), dtype=np.float32)
        # One group at a time is many times faster than np.add.reduceat, which goes down columns.
        for mean, first, count in zip(means, firsts.tolist(), counts.tolist(), strict=True):
            np.add.reduce(clips[first : first + count], axis=0, dtype=np.float32, out=mean)
        means /= counts[:, None].astype(np.float32)
        return means, grid
