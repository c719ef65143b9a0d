"""Version 1 of our format: a dataset a video, under its id, with its times as attributes."""

from __future__ import annotations

import h5py
import numpy as np
import numpy.typing as npt

from bpnet_features.bounds import check_axes
from bpnet_features.errors import FeatureError
from bpnet_features.hdf5 import HDF5File, check_dataset, number_attribute, read_dataset
from bpnet_features.source import Entry

_TIMES = ("duration_seconds", "stride_seconds", "start_seconds", "resampled_from")


class ApartVideos:
    """The videos of such a file, one HDF5 object each.

    Args:
        file: The file.
    """

    def __init__(self, file: HDF5File) -> None:
        self._file = file

    def names(self) -> list[str]:
        """Ids of all videos."""
        return self._file.names()

    def entry(self, name: str, where: str) -> Entry:
        """What is known of a video; ``where`` names it in messages."""
        return _entry(self._find(name, where), where)

    def read(self, name: str, where: str) -> tuple[npt.NDArray[np.floating], Entry]:
        """The numbers of a video as stored (T, C), and what is known of it."""
        dataset = self._find(name, where)
        entry = _entry(dataset, where)
        return read_dataset(dataset, where), entry

    def close(self) -> None:
        """Close the file; the next read opens it again."""
        self._file.close()

    def _find(self, name: str, where: str) -> h5py.Dataset:
        found = self._file.find(name, where)
        if not isinstance(found, h5py.Dataset):
            raise FeatureError(
                f"{where}: a group, expected one dataset (T, C)", kind="not one array"
            )
        check_dataset(found, where)
        check_axes(found.shape, where)
        return found


def _entry(dataset: h5py.Dataset, where: str) -> Entry:
    times = {name: number_attribute(dataset, name, where) for name in _TIMES}
    resampled_from = times["resampled_from"]
    return Entry(
        num_clips=dataset.shape[0],
        feature_dim=dataset.shape[1],
        dtype=dataset.dtype.name,
        duration_seconds=times["duration_seconds"],
        stride_seconds=times["stride_seconds"],
        start_seconds=times["start_seconds"] or 0.0,
        resampled_from=None if resampled_from is None else int(resampled_from),
    )
