"""Does the time that clips cover agree with the length of their video?

A wrong time base gives scores near zero without any error, so it is looked for wherever both the
stride of the clips and the length of the video are known.
"""

from __future__ import annotations

import logging

from bpnet_features.source import Entry
from bpnet_features.spec import FeatureSpec

MIN_TOLERANCE_SECONDS = 0.1

log = logging.getLogger(__name__)


def time_fault(entry: Entry, spec: FeatureSpec, duration_seconds: float | None) -> str | None:
    """What does not fit in the times of a video, if anything.

    The two lengths may differ by one clip stride, and by `MIN_TOLERANCE_SECONDS` in any case. Where
    the file says no duration but a stride is known, the time that its clips cover takes the place
    of the duration; it may fall short by the length of a clip beyond its stride as well, because
    extractors leave an incomplete last clip out.

    Args:
        entry: What the file says of the video.
        spec: How its features were made.
        duration_seconds: Length of the video as annotations have it, or None.

    Returns:
        The fault, or None where nothing is wrong or nothing is known.
    """
    if duration_seconds is None or entry.num_clips == 0:
        return None
    stride = entry.stride_seconds if entry.stride_seconds is not None else spec.stride_seconds
    num_clips = entry.resampled_from or entry.num_clips
    found, source, slack = entry.duration_seconds, "in the store", 0.0
    if found is None:
        if stride is None:
            return None
        found, source = (
            entry.start_seconds + num_clips * stride,
            "by the clips and their stride",
        )
        if spec.fps is not None and spec.clip_length_frames is not None:
            slack = max(0.0, spec.clip_length_frames / spec.fps - stride)
    elif stride is None:
        stride = found / num_clips
    tolerance = slack + max(MIN_TOLERANCE_SECONDS, stride)
    if abs(found - duration_seconds) <= tolerance:
        return None
    return (
        f"{found:.2f} s {source}, {duration_seconds:.2f} s in the annotations: more than "
        f"{tolerance:.2f} s apart"
    )


class TimeBaseWatch:
    """Warns of the first video whose times do not fit, and counts the others.

    Args:
        path: The feature file or folder, for the message.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._faulty: set[str] = set()

    def look(
        self, video_id: str, entry: Entry, spec: FeatureSpec, duration_seconds: float | None
    ) -> None:
        """Look at one video; see `time_fault` for the arguments."""
        if video_id in self._faulty:
            return
        fault = time_fault(entry, spec, duration_seconds)
        if fault is None:
            return
        self._faulty.add(video_id)
        if len(self._faulty) == 1:
            log.warning(
                "%s: the time base and the length of video %r differ: %s; further videos are "
                "counted, `bpnet features check` lists them. Correct the spec (seconds_per_clip, "
                "fps), or leave the time base out to use duration / clips",
                self._path,
                video_id,
                fault,
            )

    def report(self) -> None:
        """Say how many videos were found since the last report, where it was more than one."""
        if len(self._faulty) > 1:
            log.warning(
                "%s: the time base and the length of %d videos differ",
                self._path,
                len(self._faulty),
            )
        self._faulty.clear()
