"""What is in a feature store, and does it cover what an annotation file needs?

NumPy and h5py only; memory does not grow with the arrays of the file.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

from bpnet_features.errors import FeatureError, MissingVideoError
from bpnet_features.spec import FeatureSpec
from bpnet_features.store import FeatureStore

MIN_TOLERANCE_SECONDS = 0.1
NUM_SHOWN = 5


@dataclasses.dataclass(frozen=True)
class StoreSummary:
    """What `inspect` found.

    Attributes:
        path: The file.
        spec: How the features were made.
        is_plain: Whether the file carries no spec of its own.
        num_videos: Entries of the file.
        num_odd: Entries among them that are not one array (T, C); the other numbers leave them out.
        clips: Smallest, median and largest number of clips; (0, 0, 0) in an empty file.
        num_clips: Clips of all videos.
        dtypes: Names of the stored types.
        widths: Widths C that occur.
        duration_seconds: Length of all videos whose length the file says.
        num_unknown_durations: Videos whose length it does not say.
        num_bytes: Size of the file.
    """

    path: str
    spec: FeatureSpec
    is_plain: bool
    num_videos: int
    num_odd: int
    clips: tuple[int, float, int]
    num_clips: int
    dtypes: tuple[str, ...]
    widths: tuple[int, ...]
    duration_seconds: float
    num_unknown_durations: int
    num_bytes: int

    def lines(self) -> list[str]:
        """The summary as lines of text."""
        known = {
            name: value
            for name, value in dataclasses.asdict(self.spec).items()
            if value is not None and value != ()
        }
        low, median, high = self.clips
        lines = [
            f"{self.path} ({self.num_bytes / 1e6:.1f} MB, "
            + ("plain HDF5, spec as given)" if self.is_plain else "bpnet-features)"),
            "spec: " + ", ".join(f"{name}={value}" for name, value in known.items()),
            f"{self.num_videos} videos, {self.num_clips} clips "
            f"(per video {low} to {high}, median {median:g})",
            f"width {_joined(self.widths)}, {_joined(self.dtypes)}, "
            f"{self.duration_seconds / 3600:.2f} hours",
        ]
        if self.num_unknown_durations:
            lines.append(f"{self.num_unknown_durations} videos of unknown duration")
        if self.num_odd:
            lines.append(f"{self.num_odd} entries that are not one array (T, C)")
        return lines


@dataclasses.dataclass(frozen=True)
class CheckReport:
    """What `check` found.

    Attributes:
        path: The file.
        num_wanted: Videos that were asked for.
        num_unwanted: Videos of the file that nobody asked for; no fault.
        faults: A line for each faulty video, by kind of fault.
    """

    path: str
    num_wanted: int
    num_unwanted: int
    faults: dict[str, tuple[str, ...]]

    @property
    def ok(self) -> bool:
        """Whether every wanted video is there and sound."""
        return not self.faults

    def lines(self) -> list[str]:
        """The report as lines of text: of each kind of fault the number and the first five."""
        verdict = "all wanted videos are there and sound" if self.ok else "does not fit"
        lines = [
            f"{self.path}: {verdict} ({self.num_wanted} wanted, "
            f"{self.num_unwanted} others in the file)"
        ]
        for kind, faults in self.faults.items():
            lines.append(f"{kind}: {len(faults)}")
            lines.extend(f"  {fault}" for fault in faults[:NUM_SHOWN])
            if len(faults) > NUM_SHOWN:
                lines.append(f"  and {len(faults) - NUM_SHOWN} more")
        return lines


def inspect(store: FeatureStore) -> StoreSummary:
    """Sum up a store from shapes and attributes; no array is read.

    Args:
        store: The open store.

    Returns:
        The summary.
    """
    counts: list[int] = []
    dtypes: set[str] = set()
    widths: set[int] = set()
    durations: list[float] = []
    num_odd = 0
    video_ids = store.video_ids()
    for video_id in video_ids:
        try:
            dataset = store.dataset(video_id)
        except FeatureError:
            num_odd += 1
            continue
        if dataset.ndim != 2:
            num_odd += 1
            continue
        counts.append(dataset.shape[0])
        widths.add(dataset.shape[1])
        dtypes.add(str(dataset.dtype))
        if (duration := store.duration_seconds(video_id)) is not None:
            durations.append(duration)
    return StoreSummary(
        path=str(store.path),
        spec=store.spec,
        is_plain=store.is_plain,
        num_videos=len(video_ids),
        num_odd=num_odd,
        clips=(min(counts), statistics.median(counts), max(counts)) if counts else (0, 0, 0),
        num_clips=sum(counts),
        dtypes=tuple(sorted(dtypes)),
        widths=tuple(sorted(widths)),
        duration_seconds=math.fsum(durations),
        num_unknown_durations=len(counts) - len(durations),
        num_bytes=Path(store.path).stat().st_size,
    )


def check(store: FeatureStore, wanted: Mapping[str, float | None]) -> CheckReport:
    """Look for everything that would stop a run, one video in memory at a time.

    The durations of the store and of the annotations may differ by one clip stride, and by
    `MIN_TOLERANCE_SECONDS` in any case. Where a plain file says no duration but its spec a stride,
    the time that its clips cover takes the place of the duration; it may fall short by the length
    of a clip beyond its stride as well, because extractors leave an incomplete last clip out.

    Args:
        store: The open store.
        wanted: Durations in seconds by video id, from the annotations; None where not known.

    Returns:
        All faults, by kind.
    """
    faults: defaultdict[str, list[str]] = defaultdict(list)
    found = set()
    for video_id, duration in wanted.items():
        try:
            dataset = store.dataset(video_id)
        except MissingVideoError:
            faults["missing"].append(repr(video_id))
            continue
        except FeatureError as err:
            faults["not one array"].append(str(err))
            found.add(video_id)
            continue
        found.add(dataset.name)
        fault = _array_fault(dataset, store.spec.feature_dim) or _time_fault(
            store, video_id, dataset, duration
        )
        if fault is not None:
            faults[fault[0]].append(f"{video_id!r}: {fault[1]}")
    return CheckReport(
        path=str(store.path),
        num_wanted=len(wanted),
        num_unwanted=len(store) - len(found),
        faults={kind: tuple(lines) for kind, lines in faults.items()},
    )


def _array_fault(dataset: h5py.Dataset, feature_dim: int) -> tuple[str, str] | None:
    """Kind and text of what is wrong with the numbers, if anything."""
    if dataset.ndim != 2 or dataset.dtype.kind != "f":
        return "wrong type", f"{dataset.dtype} of shape {dataset.shape}: expected floats (T, C)"
    if dataset.shape[1] != feature_dim:
        return "wrong width", f"{dataset.shape[1]}: the feature spec says {feature_dim}"
    if dataset.shape[0] == 0:
        return "zero clips", "extract this video again"
    try:
        finite = np.isfinite(dataset[:]).all(axis=1)
    except OSError as err:
        return "damaged data", str(err)
    if not finite.all():
        bad = np.flatnonzero(~finite)
        return "NaN or infinite", f"{len(bad)} of {len(finite)} clips, first in clip {bad[0]}"
    return None


def _time_fault(
    store: FeatureStore, video_id: str, dataset: h5py.Dataset, duration: float | None
) -> tuple[str, str] | None:
    """Kind and text of what is wrong with the times, if anything."""
    try:
        store.grid(video_id, duration)
    except FeatureError as err:
        return "wrong time base", str(err).removeprefix(f"video {video_id!r} in {store.path}: ")
    if duration is None:
        return None
    spec, num_clips = store.spec, dataset.shape[0]
    stored = store.duration_seconds(video_id)
    stride = dataset.attrs.get("stride_seconds", spec.stride_seconds)
    tolerance = 0.0
    if stored is None:
        if stride is None:
            return None
        stored = num_clips * stride
        if spec.fps is not None and spec.clip_length_frames is not None:
            tolerance = max(0.0, spec.clip_length_frames / spec.fps - stride)
    elif stride is None:
        stride = stored / num_clips
    tolerance += max(MIN_TOLERANCE_SECONDS, stride)
    if abs(stored - duration) > tolerance:
        return "durations disagree", (
            f"{stored:.2f} s in the store, {duration:.2f} s in the annotations: "
            f"more than {tolerance:.2f} s apart"
        )
    return None


def _joined(values: tuple[object, ...]) -> str:
    return ", ".join(str(value) for value in values) or "none"
