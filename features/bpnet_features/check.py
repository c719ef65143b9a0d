"""What do features hold, and do they cover what an annotation file needs?

Memory does not grow with the number of videos, whatever the layout.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from bpnet_features.errors import FeatureError
from bpnet_features.ids import shared_id
from bpnet_features.source import FeatureSource, entry_grid
from bpnet_features.spec import FeatureSpec
from bpnet_features.timebase import time_fault

NUM_SHOWN = 5


@dataclasses.dataclass(frozen=True)
class Summary:
    """What `inspect` found.

    Attributes:
        path: The file or folder.
        layout: Name of its layout.
        notes: What was recognised, and why.
        spec: How the features were made.
        num_videos: Entries of the file.
        num_odd: Entries among them that are not one array (T, C); the other numbers leave them out.
        clips: Smallest, median and largest number of clips; (0, 0, 0) in an empty file.
        num_clips: Clips of all videos.
        dtypes: Names of the stored types.
        widths: Widths C that occur.
        duration_seconds: Length of all videos whose length the file says.
        num_unknown_durations: Videos whose length it does not say.
        num_bytes: Size of the file, or of all files in the folder.
    """

    path: str
    layout: str
    notes: tuple[str, ...]
    spec: FeatureSpec
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
        low, median, high = self.clips
        lines = [
            f"{self.path} ({self.num_bytes / 1e6:.1f} MB)",
            *self.notes,
            f"spec: {self.spec.line()}",
            f"{self.num_videos} videos, {self.num_clips} clips "
            f"(per video {low} to {high}, median {median:g})",
            f"width {_joined(self.widths)}, {_joined(self.dtypes)}",
        ]
        if self.duration_seconds:
            lines[-1] += f", {self.duration_seconds / 3600:.2f} hours"
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


def inspect(source: FeatureSource) -> Summary:
    """Sum up features by what their files say; no numbers are read where the layout allows it.

    Args:
        source: The open features.

    Returns:
        The summary.
    """
    counts: list[int] = []
    dtypes: set[str] = set()
    widths: set[int] = set()
    durations: list[float] = []
    num_odd = 0
    video_ids = source.video_ids()
    for video_id in video_ids:
        try:
            entry = source.entry(video_id)
        except FeatureError:
            num_odd += 1
            continue
        counts.append(entry.num_clips)
        widths.add(entry.feature_dim)
        dtypes.add(entry.dtype)
        if entry.duration_seconds is not None:
            durations.append(entry.duration_seconds)
    return Summary(
        path=str(source.path),
        layout=source.layout,
        notes=source.notes,
        spec=source.spec,
        num_videos=len(video_ids),
        num_odd=num_odd,
        clips=(min(counts), statistics.median(counts), max(counts)) if counts else (0, 0, 0),
        num_clips=sum(counts),
        dtypes=tuple(sorted(dtypes)),
        widths=tuple(sorted(widths)),
        duration_seconds=math.fsum(durations),
        num_unknown_durations=len(counts) - len(durations),
        num_bytes=_num_bytes(source.path),
    )


def _num_bytes(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def check(source: FeatureSource, wanted: Mapping[str, float | None]) -> CheckReport:
    """Look for everything that would stop a run, one video in memory at a time.

    What the durations of the features and of the annotations may differ by, says
    `timebase.time_fault`.

    Args:
        source: The open features.
        wanted: Durations in seconds by video id, from the annotations; None where not known.

    Returns:
        All faults, by kind.
    """
    faults: defaultdict[str, list[str]] = defaultdict(list)
    found = set()
    for video_id, duration in wanted.items():
        if video_id not in source:
            faults["missing"].append(repr(video_id))
            continue
        found.add(shared_id(video_id))
        where = f"video {video_id!r} in {source.path}"
        try:
            entry = source.entry(video_id)
            source.read_clips(video_id)
            entry_grid(entry, source.spec, duration, where)
        except FeatureError as err:
            faults[err.kind].append(f"{video_id!r}: {str(err).removeprefix(f'{where}: ')}")
            continue
        fault = time_fault(entry, source.spec, duration)
        if fault is not None:
            faults["durations disagree"].append(f"{video_id!r}: {fault}")
    return CheckReport(
        path=str(source.path),
        num_wanted=len(wanted),
        num_unwanted=len(source) - len(found),
        faults={kind: tuple(lines) for kind, lines in faults.items()},
    )


def _joined(values: tuple[object, ...]) -> str:
    return ", ".join(str(value) for value in values) or "none"
