"""TALL's folder of single vectors: ``{id}.avi_{first}_{end}.npy``, frames counted from 1."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bpnet_features import npy
from bpnet_features.bounds import check_claim
from bpnet_features.errors import FeatureError
from bpnet_features.ids import VideoIndex
from bpnet_features.readers import list_names
from bpnet_features.source import Entry

NAME = re.compile(r"(?P<id>.+)_(?P<first>\d{1,9})_(?P<end>\d{1,9})")
FPS = 29.4
# 2D-TAN's choice among the lengths that stand in one folder: 64, 128, 256 and 512 frames.
CLIP_LENGTH_FRAMES = 64
MIN_LENGTH_FRAMES = 10


class TallReader:
    """Reads the intervals of one length, in order of time.

    Args:
        path: The folder.
        length: Length of the intervals in frames, >= `MIN_LENGTH_FRAMES`.

    Attributes:
        stride: Frames between the beginnings of neighbouring intervals.

    Raises:
        FeatureError: It is no folder, or holds no interval of that length, or the length is out of
            range.
    """

    layout = "tall"

    def __init__(self, path: Path, length: int = CLIP_LENGTH_FRAMES) -> None:
        if not isinstance(length, int) or length < 10:
            raise FeatureError(f"clip_length_frames={length!r}: expected an integer >= 10")
        if not isinstance(length, int) or length < MIN_LENGTH_FRAMES:
            raise FeatureError(
                f"clip_length_frames={length!r}: expected an integer >= {MIN_LENGTH_FRAMES} for "
                "the layout 'tall'"
            )
        self.path = path
        self.length = length
        self.stride = length // 5  # they overlap by 0.8, rounded as 2D-TAN does
        self._firsts: dict[str, list[int]] = {}
        lengths = set()
        for name in list_names(path, ".npy"):
            found = NAME.fullmatch(name)
            if found is not None:
                first, end = int(found["first"]), int(found["end"])
                lengths.add(end - first)
                on_grid = first % self.stride == 1  # as 2D-TAN reads them; there may be others
                if on_grid and end - first == length and name.endswith(f"_{first}_{end}"):
                    self._firsts.setdefault(found["id"], []).append(first)
        if not self._firsts:
            raise FeatureError(
                f"folder {str(path)!r}: no file {{id}}_{{first}}_{{first + {length}}}.npy in it, "
                f"as the layout 'tall' has them; lengths found: {sorted(lengths)[:8]}. Give one "
                "of them as clip_length_frames of the spec, or name another layout"
            )
        for firsts in self._firsts.values():
            firsts.sort()
        self.index = VideoIndex(self._firsts, f"folder {str(path)!r}")

    def entry(self, name: str, where: str) -> Entry:
        """See `Reader`; one file is looked at."""
        firsts = self._firsts[name]
        wanted = range(1, firsts[-1] + 1, self.stride)  # a name can say any number of them
        if len(firsts) < len(wanted):
            gap = next(frame for frame, first in zip(wanted, firsts, strict=False) if frame < first)
            raise FeatureError(
                f"{where}: {len(firsts)} clips of {self.length} frames, the last from frame "
                f"{firsts[-1]}, but {len(wanted) - len(firsts)} are missing before it, the first "
                f"from frame {gap}; unpack the archive again",
                kind="damaged data",
            )
        first = npy.vector_entry(self.files(name)[0], where)
        check_claim((len(firsts), first.feature_dim), np.float32, where)
        return Entry(len(firsts), first.feature_dim, first.dtype)

    def read(self, name: str, where: str) -> npt.NDArray[np.floating]:
        """See `Reader`."""
        entry = self.entry(name, where)
        clips = np.empty((entry.num_clips, entry.feature_dim), np.float32)
        for row, file in enumerate(self.files(name)):
            vector = npy.vector_read(file, f"{where}, {file.name!r}")
            if len(vector) != entry.feature_dim:
                raise FeatureError(
                    f"{where}, {file.name!r}: {len(vector)} wide, the first clip is "
                    f"{entry.feature_dim} wide; download it again",
                    kind="damaged data",
                )
            with np.errstate(over="ignore"):
                clips[row] = vector
        return clips

    def files(self, name: str) -> tuple[Path, ...]:
        """See `Reader`."""
        return tuple(
            self.path / f"{name}_{first}_{first + self.length}.npy" for first in self._firsts[name]
        )

    def close(self) -> None:
        """See `Reader`; nothing is kept open."""
