"""QueryFeatureStore: precomputed token features of queries, from npz files or HDF5."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from bpnet_features import npz
from bpnet_features.bounds import check_path
from bpnet_features.errors import FeatureError
from bpnet_features.hdf5 import HDF5File, check_dataset, read_dataset
from bpnet_features.readers import list_names
from bpnet_features.source import check_clips
from bpnet_features.spec import FeatureSpec

# Folders as Moment-DETR, UniVTG and Lighthouse name them.
_KNOWN = {"clip_text_features": "clip", "txt_clip": "clip", "clip_text": "clip"}


class QueryFeatureStore:
    """Token features of queries, such as those of CLIP, BERT or MiniLM, by the id of the query.

    Either a folder with one npz file a query, ``{qid}.npz`` or ``qid{qid}.npz`` (Moment-DETR,
    UniVTG, Lighthouse), or an HDF5 file with a group, or a plain array, under ``{qid}``. Can be
    handed to worker processes.

    Args:
        path: The folder or file.
        key: Array to read: ``"last_hidden_state"``, a vector a token, or ``"pooler_output"``, one
            for the sentence.
        spec: How they were made; its ``backbone`` is needed where the folder's name does not say.

    Attributes:
        spec: How they were made; ``layer`` is the key.

    Raises:
        FeatureError: The path is neither of the two, or empty, or two entries stand for one query,
            or it is not known how they were made.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        key: str = "last_hidden_state",
        spec: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = Path(path)
        self.key = key
        check_path(self.path, f"query features {str(self.path)!r}")
        self._file = HDF5File(self.path) if self.path.is_file() else None
        self._names = self._list()
        first = self._shape(next(iter(self._names)))
        given = {"layer": key, "feature_dim": first[-1], **(spec or {})}
        given.setdefault("backbone", _KNOWN.get(self.path.name))
        if given["backbone"] is None:
            raise FeatureError(
                f"query features {str(self.path)!r}: it is not known what made them: give "
                "data.query_features.spec.backbone"
            )
        self.spec = FeatureSpec.from_dict(given, "data.query_features.spec")

    def _list(self) -> dict[str, str]:
        """Names in the folder or file by the id of their query."""
        if self._file is not None:
            listed = self._file.names()
        elif self.path.is_dir():
            listed = [f"{name}.npz" for name in list_names(self.path, ".npz")]
        else:
            raise FeatureError(f"query features {str(self.path)!r}: no such file or folder")
        names: dict[str, str] = {}
        for name in sorted(listed):
            qid = name.removesuffix(".npz").removeprefix("qid")
            if names.setdefault(qid, name) != name:
                raise FeatureError(
                    f"query features {str(self.path)!r}: {names[qid]!r} and {name!r} stand for "
                    "one query; remove one of them"
                )
        if not names:
            raise FeatureError(
                f"query features {str(self.path)!r}: no query: expected npz files, or an HDF5 "
                "file with an entry a query"
            )
        return names

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, qid: str) -> bool:
        return qid in self._names

    def num_tokens(self, qid: str) -> int:
        """Number of vectors L of a query; reads no numbers.

        Args:
            qid: Id of the query.

        Returns:
            The number, 1 for a ``pooler_output``.

        Raises:
            FeatureError: The query is not there, or its entry is not what it must be.
        """
        return self._shape(qid)[0]

    def read(self, qid: str) -> npt.NDArray[np.float32]:
        """The token features of a query.

        Args:
            qid: Id of the query.

        Returns:
            (L, C') float32, L >= 1.

        Raises:
            FeatureError: The query is not there, or its features are damaged, of another width
                than the first query's, or not finite.
        """
        where = self._where(qid)
        shape = self._shape(qid)
        if self._file is None:
            array = npz.read_array(self.path / self._names[qid], self.key, where)
        else:
            array = read_dataset(self._dataset(qid), where)
        return check_clips(array.reshape(shape), self.spec, where)

    def close(self) -> None:
        """Close what is open; the next read opens it again."""
        if self._file is not None:
            self._file.close()

    def _where(self, qid: str) -> str:
        return f"query {qid!r} in {self.path}"

    def _shape(self, qid: str) -> tuple[int, int]:
        """Shape (L, C') of what is stored, without the axis of a batch of one."""
        where = self._where(qid)
        if qid not in self._names:
            raise FeatureError(f"{where}: no such query ({len(self)} queries)")
        if self._file is None:
            shape = npz.array_shape(self.path / self._names[qid], self.key, where)
        else:
            shape = self._dataset(qid).shape
        plain = shape
        if self.key == "pooler_output":
            plain = (1, *shape) if len(shape) == 1 else shape
        elif len(shape) == 3 and shape[0] == 1:
            plain = shape[1:]
        if len(plain) != 2 or 0 in plain:
            wanted = "(C,)" if self.key == "pooler_output" else "(L, C)"
            raise FeatureError(f"{where}: {self.key} of shape {shape}: expected {wanted}")
        return plain[0], plain[1]

    def _dataset(self, qid: str) -> h5py.Dataset:
        assert self._file is not None
        where = self._where(qid)
        found = self._file.find(self._names[qid], where)
        if isinstance(found, h5py.Group):
            members = self._file.members(found, where)
            if self.key not in members:
                raise FeatureError(f"{where}: holds {sorted(members)}: expected {self.key!r}")
            found = members[self.key]
        check_dataset(found, where)
        return found

    def __str__(self) -> str:
        return f"query features {str(self.path)!r} ({len(self)} queries)"
