"""Releases in one HDF5 file: a dataset (T, C) for each video, or a group of datasets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from bpnet_features.bounds import check_axes
from bpnet_features.errors import FeatureError
from bpnet_features.hdf5 import HDF5File, check_dataset, read_dataset
from bpnet_features.ids import VideoIndex
from bpnet_features.source import Entry

# What stands in the group of a video: the official ActivityNet C3D; BMT and MDVC, in their order.
KNOWN_MEMBERS = (("c3d_features",), ("i3d_features/rgb", "i3d_features/flow"))
NUM_LOOKED_AT = 8


class Hdf5Reader:
    """Reads one dataset for each name in the root of a file.

    Args:
        path: The file.
        layout: ``"hdf5"`` or ``"hdf5-group"``.
        member: Name of the dataset in each video's group; None: a video is a dataset itself.

    Raises:
        FeatureError: The file cannot be opened, or is empty.
    """

    def __init__(self, path: Path, layout: str, member: str | None = None) -> None:
        self.path = path
        self.layout = layout
        self._member = member
        self._file = HDF5File(path)
        names = self._file.names()
        if not names:
            raise FeatureError(f"feature file {str(path)!r}: no video in it; download it again")
        self.index = VideoIndex(names, f"feature file {str(path)!r}")

    def entry(self, name: str, where: str) -> Entry:
        """See `Reader`."""
        dataset = self._dataset(name, where)
        return Entry(dataset.shape[0], dataset.shape[1], dataset.dtype.name)

    def read(self, name: str, where: str) -> npt.NDArray[np.floating]:
        """See `Reader`."""
        return read_dataset(self._dataset(name, where), where)

    def _dataset(self, name: str, where: str) -> h5py.Dataset:
        inner = name if self._member is None else f"{name}/{self._member}"
        found = self._file.find(inner, where)
        if not isinstance(found, h5py.Dataset):
            raise FeatureError(
                f"{where}: {inner!r} is a group, expected a dataset (T, C); groups are read with "
                "the layout 'hdf5-group'",
                kind="not one array",
            )
        check_dataset(found, where)
        check_axes(found.shape, where)
        return found

    def files(self, name: str) -> tuple[Path, ...]:
        """See `Reader`."""
        return (self.path,)

    def close(self) -> None:
        """See `Reader`."""
        self._file.close()


def find_members(path: Path, wanted: Sequence[str] = ()) -> tuple[str, ...]:
    """The datasets that are read from the group of each video, in the order of their columns.

    Args:
        path: An HDF5 file of groups; the first ones are looked at.
        wanted: Names, or ends of names, in order; empty: those of `KNOWN_MEMBERS`, or the only
            dataset that there is.

    Returns:
        Their names within the groups.

    Raises:
        FeatureError: They are not there, or it is not clear which are meant.
    """
    where = f"feature file {str(path)!r}"
    file = HDF5File(path)
    try:
        found: set[str] = set()
        for name in file.names()[:NUM_LOOKED_AT]:
            group = file.find(name, where)
            if isinstance(group, h5py.Group):
                members = file.members(group, where)
                refuse_projection(members, name, where)
                found |= {key for key in members if members[key].ndim == 2}
    finally:
        file.close()
    if wanted:
        return tuple(_find_member(found, name, where) for name in wanted)
    for known in KNOWN_MEMBERS:
        if found >= set(known):
            return known
    if len(found) != 1:
        raise FeatureError(
            f"{where}: its groups hold {len(found)} arrays (T, C): {sorted(found)[:8]}; name those "
            "to read, in order, as streams (data.features.streams, --streams)"
        )
    return tuple(found)


def refuse_projection(members: Iterable[str], name: str, where: str) -> None:
    """Refuse ActivityNet's projection matrices, which lie beside the official features."""
    if {member.rpartition("/")[2] for member in members} >= {"U", "x_mean"}:
        raise FeatureError(
            f"{where}: {name!r} holds 'U' and 'x_mean': these are ActivityNet's projection "
            "matrices, not features; take sub_activitynet_v1-3.c3d.hdf5"
        )


def _find_member(found: set[str], name: str, where: str) -> str:
    matches = [key for key in sorted(found) if key == name or key.endswith(f"/{name}")]
    if len(matches) != 1:
        raise FeatureError(
            f"{where}: stream {name!r} names {len(matches)} of the arrays in its groups: expected "
            f"one of {sorted(found)[:8]}"
        )
    return matches[0]
