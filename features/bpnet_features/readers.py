"""Reader: what every container of a foreign release answers; folders with one file a video."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from bpnet_features import npy, npz, tensor_file, text
from bpnet_features.bounds import MAX_JSON_BYTES, check_file, reading
from bpnet_features.errors import FeatureError
from bpnet_features.ids import VideoIndex, shared_id
from bpnet_features.source import Entry

SHAPES_NAME = "feature_shapes.json"


class Reader(Protocol):
    """One file or folder of a release; can be handed to worker processes.

    Attributes:
        path: The file or folder.
        layout: Name of its layout.
        index: The names that it lists.
    """

    path: Path
    layout: str
    index: VideoIndex

    def entry(self, name: str, where: str) -> Entry:
        """What is known of a listed name; ``where`` names it in messages."""
        ...

    def read(self, name: str, where: str) -> npt.NDArray[np.floating]:
        """The array (T, C) of a listed name, as stored."""
        ...

    def files(self, name: str) -> tuple[Path, ...]:
        """The files, or the folder, that a listed name is read from."""
        ...

    def close(self) -> None:
        """Close what is open; the next read opens it again."""
        ...


@dataclasses.dataclass(frozen=True)
class FileKind:
    """How the file, or the folder, of one video is read.

    Attributes:
        suffix: End of its name; empty: a folder.
        entry: What it says of itself.
        read: Its array (T, C).
    """

    suffix: str
    entry: Callable[[Path, str], Entry]
    read: Callable[[Path, str], npt.NDArray[np.floating]]


FILE_KINDS = {
    "npy": FileKind(".npy", npy.entry, npy.read),
    "vslnet": FileKind(".npy", npy.entry, npy.read),
    "lgi": FileKind(".npy", npy.squeezed_entry, npy.squeezed_read),
    "npz": FileKind(".npz", npz.entry, npz.read),
    "pt": FileKind(".pt", tensor_file.entry, tensor_file.read),
    "csv": FileKind(".csv", text.csv_entry, text.csv_read),
    "text-vectors": FileKind("", text.vectors_entry, text.vectors_read),
}


class FolderReader:
    """A folder that holds a file, or a folder, for each video.

    The folder is listed once; an id only ever finds a listed name.

    Args:
        path: The folder.
        layout: A name of `FILE_KINDS`.

    Raises:
        FeatureError: It is no folder, or holds nothing of that kind.
    """

    def __init__(self, path: Path, layout: str) -> None:
        self.path = path
        self.layout = layout
        self._kind = FILE_KINDS[layout]
        suffix = self._kind.suffix
        names = list_names(path, suffix)
        if not names:
            kind = f"{suffix} files" if suffix else "folders of .txt files"
            raise FeatureError(
                f"folder {str(path)!r}: no {kind} in it, as the layout {layout!r} has them; name "
                "the folder that holds them, or another layout"
            )
        self.index = VideoIndex(names, f"folder {str(path)!r}")
        self._num_clips = read_shapes(path / SHAPES_NAME) if layout == "vslnet" else None

    def entry(self, name: str, where: str) -> Entry:
        """See `Reader`."""
        entry = self._kind.entry(self._file(name), where)
        self._check_shape(name, entry.num_clips, where)
        return entry

    def read(self, name: str, where: str) -> npt.NDArray[np.floating]:
        """See `Reader`."""
        clips = self._kind.read(self._file(name), where)
        self._check_shape(name, len(clips), where)
        return clips

    def _check_shape(self, name: str, num_clips: int, where: str) -> None:
        if self._num_clips is None:
            return
        said = self._num_clips.get(shared_id(name))
        if said != num_clips:
            says = "does not name it" if said is None else f"says {said}"
            raise FeatureError(
                f"{where}: {num_clips} clips, but {SHAPES_NAME} {says}: the file is truncated, or "
                "of another release than the json; download both again",
                kind="damaged data",
            )

    def _file(self, name: str) -> Path:
        return self.path / f"{name}{self._kind.suffix}"

    def files(self, name: str) -> tuple[Path, ...]:
        """See `Reader`."""
        return (self._file(name),)

    def close(self) -> None:
        """See `Reader`; nothing is kept open."""


def list_names(path: Path, suffix: str) -> list[str]:
    """Names of the files with a suffix, without it; of the folders, where it is empty.

    Args:
        path: The folder.
        suffix: The end of the names.

    Returns:
        The names, sorted, without hidden ones.

    Raises:
        FeatureError: There is no such folder.
    """
    with reading(f"folder {str(path)!r}"), os.scandir(path) as items:
        return sorted(
            item.name.removesuffix(suffix)
            for item in items
            if not item.name.startswith(".")
            and item.name.endswith(suffix)
            and item.name != suffix
            and (item.is_file() if suffix else item.is_dir())
        )


def read_shapes(path: Path) -> Mapping[str, int]:
    """The number of clips of each video, as VSLNet writes it beside its features.

    Args:
        path: The json file: ``{id: T}``.

    Returns:
        Numbers by `shared_id`.

    Raises:
        FeatureError: It is missing, or not that.
    """
    where = f"file {str(path)!r}"
    if not path.is_file():
        raise FeatureError(
            f"{where}: no such file, which the layout 'vslnet' has beside its features; copy it "
            "there, or use the layout 'npy'"
        )
    with reading(where), path.open("rb") as file:
        check_file(path, MAX_JSON_BYTES, where)
        shapes = json.load(file)
    if not isinstance(shapes, dict) or not all(type(value) is int for value in shapes.values()):
        raise FeatureError(
            f"{where}: expected an object {{id: number of clips}}; download it again"
        )
    return {shared_id(name): value for name, value in shapes.items()}
