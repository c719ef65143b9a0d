"""Folder: a source of npy files that believes what it is told, to try `convert` with."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bpnet_features import ClipGrid, FeatureSpec, MissingVideoError
from bpnet_features.source import Entry, check_clips, entry_grid

WIDTH = 6
SPEC = FeatureSpec(backbone="tiny", feature_dim=WIDTH, normalisation="none")


@dataclasses.dataclass
class Folder:
    """A source of npy files that believes whatever it is told of them.

    Attributes:
        lies: Entries by id that are given in place of the true ones.
        deadly: Id at which the process that reads it dies.
        slow_seconds: What reading a video takes.
    """

    path: Path
    spec: FeatureSpec = SPEC
    lies: dict[str, Entry] = dataclasses.field(default_factory=dict)
    deadly: str = ""
    slow_seconds: float = 0.0
    layout: str = "npy"
    notes: tuple[str, ...] = ()

    def video_ids(self) -> list[str]:
        return sorted({file.stem for file in self.path.glob("*.npy")} | set(self.lies))

    def __len__(self) -> int:
        return len(self.video_ids())

    def __contains__(self, video_id: str) -> bool:
        return video_id in self.video_ids()

    def files(self, video_id: str) -> list[Path]:
        return [self.path / f"{video_id}.npy"]

    def entry(self, video_id: str) -> Entry:
        if video_id in self.lies:
            return self.lies[video_id]
        if not self.files(video_id)[0].is_file():
            raise MissingVideoError(f"video {video_id!r} is not there")
        clips = np.load(self.files(video_id)[0])
        return Entry(len(clips), clips.shape[1], clips.dtype.name)

    def read_clips(self, video_id: str) -> npt.NDArray[np.float32]:
        if video_id == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self.slow_seconds)
        clips = np.load(self.files(video_id)[0])
        return check_clips(clips, self.spec, f"video {video_id!r} in {self.path}")

    def grid(self, video_id: str, duration_seconds: float | None = None) -> ClipGrid:
        return entry_grid(self.entry(video_id), self.spec, duration_seconds, video_id)

    def read(
        self, video_id: str, duration_seconds: float | None = None
    ) -> tuple[npt.NDArray[np.float32], ClipGrid]:
        return self.read_clips(video_id), self.grid(video_id, duration_seconds)

    def close(self) -> None:
        pass


def clips(number: int, num_clips: int | None = None) -> npt.NDArray[np.float32]:
    num_clips = 3 + 2 * number if num_clips is None else num_clips
    values = np.random.default_rng(number).normal(size=(num_clips, WIDTH))
    return values.astype(np.float32)
