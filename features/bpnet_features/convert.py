"""Any FeatureSource -> our own store: resumable, in constant memory, in several processes.

The file is laid out before any number is read (`places`); then each video is read, checked and
written to its place. So no kill can damage the file, and its bytes depend neither on the number of
processes nor on interruptions.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from bpnet_features.errors import FeatureError
from bpnet_features.grid import ClipGrid
from bpnet_features.header import check_dtype
from bpnet_features.partfile import PartFile, writing
from bpnet_features.places import Place, digest, find_offsets, lay_out, on_disk, plan, remove
from bpnet_features.source import FeatureSource
from bpnet_features.workers import run_all

log = logging.getLogger(__name__)

NUM_SHOWN = 5
TASK_BYTES = 4 * 2**20  # small videos are handed to a process together
WRITE_BYTES = 2**20  # at a time; much larger pieces can take several times as long


@dataclasses.dataclass(frozen=True)
class Converted:
    """What `convert` did.

    Attributes:
        path: The store.
        num_videos: Videos in it.
        num_clips: Clips of all of them.
        num_bytes: Size of their numbers.
        num_bytes_before: Share of these bytes that an earlier, interrupted run had written.
        num_unknown_durations: Videos whose length is not known; an annotation file must say it.
        seconds: What this run took.
        dropped: A line for each faulty video that was left out.
    """

    path: Path
    num_videos: int
    num_clips: int
    num_bytes: int
    num_bytes_before: int
    num_unknown_durations: int
    seconds: float
    dropped: tuple[str, ...]


def convert(
    source: FeatureSource,
    out: str | os.PathLike[str],
    *,
    dtype: str = "float32",
    max_clips: int | None = None,
    durations: Mapping[str, float] | None = None,
    faulty: str = "error",
    jobs: int = 1,
    progress: bool = False,
) -> Converted:
    """Write the features of a source to one store.

    An interrupted run leaves ``.OUT.convert.part`` and ``.OUT.convert.journal``; the same call goes
    on from there. Another call begins anew.

    Args:
        source: Features of any layout, see `open_features`.
        out: The store to write; must not be there yet. It appears when all is done.
        dtype: ``"float32"`` or ``"float16"``, as stored.
        max_clips: Pool longer videos to this many clips (`ClipGrid.resample`); None: never.
        durations: Lengths in seconds by video id; count where the source says none.
        faulty: ``"error"``, or ``"drop"``: faulty videos are left out and listed.
        jobs: Most processes to use, >= 1; more than one only where it takes some seconds. They are
            spawned, so a script needs the usual ``if __name__ == "__main__"``.
        progress: Show a progress bar, where there is a terminal.

    Returns:
        What was done.

    Raises:
        FeatureError: An argument is out of range; ``out`` is there already, lies in the source or
            cannot be written; another process converts to it; or videos are faulty: all are tried,
            and the first five are named.
    """
    started = time.monotonic()
    out = Path(out)
    check_dtype(dtype)
    for name, value in (("max_clips", max_clips), ("jobs", jobs)):
        if value is not None and value < 1:
            raise FeatureError(f"{name}={value}: expected an integer >= 1")
    if faulty not in ("error", "drop"):
        raise FeatureError(f"faulty={faulty!r}: expected 'error' or 'drop'")
    _check_out(out, source.path)
    places, faults = plan(source, dtype, max_clips, durations or {})
    num_found = len(places) + len(faults)
    if not num_found:
        raise FeatureError(
            f"features {str(source.path)!r} (layout {source.layout}): no videos in it; give the "
            "file or folder that holds them"
        )
    if not places:
        raise FeatureError(_listed(faults, num_found, out, None))
    states = _states(source, places)
    total = sum(place.num_bytes for place in places)
    with PartFile(out) as part:
        _check_out(out, source.path)  # somebody may have finished it until we got the lock
        done = part.begin(
            digest(source, places), lambda path: lay_out(path, source.spec, places, dtype)
        )
        places = find_offsets(part.path, places)
        left = [place for place in places if done.get(place.video_id) != states[place.video_id]]
        before = total - sum(place.num_bytes for place in left)
        if done:
            log.info(
                "%s: goes on after an interrupted run, with %d of %d videos; %d have changed since",
                out,
                len(places) - len(left),
                len(places),
                len(done) - (len(places) - len(left)),
            )
        with tqdm(
            total=total,
            initial=before,
            desc="convert",
            unit="B",
            unit_scale=True,
            smoothing=0.05,
            disable=None if progress else True,
        ) as shown:
            for place, fault in _copy_all(source, left, part, jobs):
                shown.update(place.num_bytes)
                if fault is None:
                    part.record(place.video_id, states[place.video_id], place.num_bytes)
                else:
                    faults[place.video_id] = fault
        late = [place.video_id for place in places if place.video_id in faults]
        places = [place for place in places if place.video_id not in faults]
        if faults and (faulty == "error" or not places):
            raise FeatureError(_listed(faults, num_found, out, part.path))
        part.finish((lambda path: remove(path, late)) if late else None)
    return Converted(
        path=out,
        num_videos=len(places),
        num_clips=sum(place.entry.num_clips for place in places),
        num_bytes=sum(place.num_bytes for place in places),
        num_bytes_before=before,
        num_unknown_durations=sum(place.entry.duration_seconds is None for place in places),
        seconds=time.monotonic() - started,
        dropped=tuple(faults[video_id] for video_id in sorted(faults)),
    )


def _check_out(out: Path, source: Path) -> None:
    """Refuse a name that would cost somebody a file."""
    target, origin = out.resolve(), source.resolve()
    if target == origin:
        raise FeatureError(f"{str(out)!r} is the source itself; give another name")
    if origin in target.parents:
        raise FeatureError(
            f"{str(out)!r} lies inside the source {str(source)!r}; give a name outside of it"
        )
    if os.path.lexists(out):
        raise FeatureError(f"{str(out)!r} is there already; give another name, or remove it")
    if not out.parent.is_dir():
        raise FeatureError(f"folder {str(out.parent)!r}: no such folder; create it first")


def _states(source: FeatureSource, places: Iterable[Place]) -> dict[str, str]:
    """What the files that each video is read from look like, to notice when they change."""
    stamps: dict[Path, str] = {}
    states = {}
    for place in places:
        files = source.files(place.video_id)
        for file in files:
            if file not in stamps:
                stamps[file] = _stamp(file)
        states[place.video_id] = " ".join(stamps[file] for file in files)
    return states


def _stamp(path: Path) -> str:
    """Size and time of a file, or of all files below a folder, in short."""
    stamp = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        with contextlib.suppress(OSError):  # gone, or a link to itself: reading names it
            status = file.stat()
            stamp.update(f"{str(file)!r} {status.st_size} {status.st_mtime_ns}\n".encode())
    return stamp.hexdigest()[:16]


def _copy_all(
    source: FeatureSource, places: Iterable[Place], part: PartFile, jobs: int
) -> Iterator[tuple[Place, str | None]]:
    """Each video as soon as it is done, with what is wrong with it, if anything."""
    for task, faults in run_all(_Copy(source, part.out), _tasks(places), part.descriptor, jobs):
        yield from zip(task, faults, strict=True)


def _tasks(places: Iterable[Place]) -> Iterator[list[Place]]:
    """The videos in groups of some size: a small one is not worth a message to a process."""
    task: list[Place] = []
    size = 0
    for place in places:
        task.append(place)
        size += place.num_bytes
        if size >= TASK_BYTES:
            yield task
            task, size = [], 0
    if task:
        yield task


@dataclasses.dataclass(frozen=True)
class _Copy:
    """Copies the numbers of videos from the source to their places."""

    source: FeatureSource
    out: Path

    def __call__(self, task: list[Place], descriptor: int) -> list[str | None]:
        """What is wrong with each video, or None."""
        return [self._copy(place, descriptor) for place in task]

    def _copy(self, place: Place, descriptor: int) -> str | None:
        try:
            stored = self._read(place)
        except FeatureError as err:
            return str(err)
        with writing(self.out):
            _write(descriptor, stored, place.offset)
        return None

    def _read(self, place: Place) -> npt.NDArray[np.floating]:
        """The numbers as they are to lie in the file (N, C)."""
        where = f"video {place.video_id!r} in {self.source.path}"
        entry = place.entry
        read = clips = self.source.read_clips(place.video_id)  # finite
        if clips.shape != (place.num_read, entry.feature_dim):
            raise FeatureError(
                f"{where}: features of shape {clips.shape}, but ({place.num_read}, "
                f"{entry.feature_dim}) when the conversion began; leave the source as it is "
                "meanwhile"
            )
        if place.num_read != entry.num_clips:
            clips, _ = ClipGrid.uniform(place.num_read, 1.0).resample(clips, entry.num_clips)
        with np.errstate(over="ignore"):
            stored = np.ascontiguousarray(clips, dtype=on_disk(entry.dtype))
        if stored is not read and not np.isfinite(stored).all():
            raise FeatureError(
                f"{where}: values up to {np.abs(clips).max():g}, which {entry.dtype} cannot hold; "
                "convert to float32"
            )
        return stored


def _write(descriptor: int, array: npt.NDArray[np.floating], offset: int) -> None:
    rest = array.view(np.uint8).reshape(-1).data
    while rest:  # the system may take less than all at once
        written = os.pwrite(descriptor, rest[:WRITE_BYTES], offset)
        rest, offset = rest[written:], offset + written


def _listed(faults: Mapping[str, str], num_found: int, out: Path, part: Path | None) -> str:
    lines = [faults[video_id] for video_id in sorted(faults)]
    more = f"\n  ... and {len(lines) - NUM_SHOWN} more" if len(lines) > NUM_SHOWN else ""
    kept = (
        "" if part is None else f"; the others are kept in {part.name}, and need not be read again"
    )
    return (
        f"{len(lines)} of {num_found} videos cannot be converted, {str(out)!r} was not written: "
        f"mend the source, or leave them out with faulty=drop (--faulty drop){kept}:"
        + "".join(f"\n  {line}" for line in lines[:NUM_SHOWN])
        + more
    )
