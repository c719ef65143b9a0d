"""HDF5 files from strangers: opened once in each process, and checked before a dataset is read."""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from bpnet_features.bounds import check_claim, reading
from bpnet_features.errors import FeatureError
from bpnet_features.heaps import check_heaps

MAGIC = b"\x89HDF\r\n\x1a\n"
MAX_ATTRIBUTE_BYTES = 2**20
_ATTRIBUTE_TYPES = (h5py.h5t.TypeStringID, h5py.h5t.TypeIntegerID, h5py.h5t.TypeFloatID)
# HDF5 unpacks one at a time, in two or three pieces of memory of its size. h5py makes them of 1 MB.
MAX_CHUNK_BYTES = 2**28
_BLOCK_BYTES = 2**20
# The packers, with the most that each can shrink a byte sequence to; HDF5 itself sets no bound when
# it unpacks. Other filters than these and those below are plug-ins, or pack without a known bound.
_PACKERS = {h5py.h5z.FILTER_DEFLATE: 1032, h5py.h5z.FILTER_LZF: 88}
_OTHER_FILTERS = {h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}


class HDF5File:
    """A file that is opened at the first read, once in each process.

    It can be handed to worker processes, forked or spawned; no open handle is shared or pickled.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: h5py.File | None = None
        self._pid = -1

    @property
    def root(self) -> h5py.File:
        """The open file.

        Raises:
            FeatureError: It is missing, truncated or not HDF5.
        """
        if self._file is not None and self._pid != os.getpid():
            # Inherited through a fork. HDF5 would hand out the parent's file descriptor again, and
            # with it the position that it shares with the parent, if this stayed open.
            self._file.close()
            self._file = None
        if self._file is None:
            self._file, self._pid = self._open(), os.getpid()
        return self._file

    def _open(self) -> h5py.File:
        if not self.path.is_file():
            raise FeatureError(f"feature file {str(self.path)!r}: no such file")
        try:
            # Feature files are replaced whole, never written in place, so reading needs no lock; a
            # lock would fail on read-only and network file systems.
            return h5py.File(self.path, "r", locking=False)
        except (OSError, RuntimeError, ValueError) as err:
            with self.path.open("rb") as file:
                is_hdf5 = file.read(len(MAGIC)) == MAGIC
            fault = "a truncated or damaged HDF5 file" if is_hdf5 else "not an HDF5 file"
            raise FeatureError(
                f"feature file {str(self.path)!r} ({self.path.stat().st_size} bytes): {fault}; "
                "download or extract it again"
            ) from err

    def names(self) -> list[str]:
        """Names in the root of the file; raises a `FeatureError` where they are damaged."""
        where = f"feature file {str(self.path)!r}"
        with reading(where):
            names: list[Any] = list(self.root)
        broken = [name for name in names if not isinstance(name, str)]
        if broken:
            raise FeatureError(
                f"{where}: {len(broken)} of {len(names)} names are no text, the first is "
                f"{broken[0][:40]!r}: damaged data; download or extract it again",
                kind="damaged data",
            )
        return names

    def find(self, name: str, where: str) -> h5py.Dataset | h5py.Group:
        """What stands under a listed name; links to elsewhere are not followed.

        Args:
            name: A name in the file, with "/" between the names of groups.
            where: Names it, for the message.

        Returns:
            The dataset or group.

        Raises:
            FeatureError: It is not there, damaged, or a link.
        """
        with reading(where):
            found: Any = self.root
            for part in name.split("/"):
                if not _is_hard(found, part):
                    raise FeatureError(
                        f"{where}: {part!r} is a link to elsewhere, which is not followed; copy "
                        "the data into the file (h5repack)",
                        kind="not one array",
                    )
                found = found[part]
            return found

    def members(self, group: h5py.Group, where: str) -> dict[str, h5py.Dataset]:
        """All datasets below a group, up to one group deeper, by name."""
        found = {}
        for name, item in self._items(group, where):
            if isinstance(item, h5py.Dataset):
                found[name] = item
            elif isinstance(item, h5py.Group):
                for inner, dataset in self._items(item, where):
                    if isinstance(dataset, h5py.Dataset):
                        found[f"{name}/{inner}"] = dataset
        return found

    def _items(self, group: h5py.Group, where: str) -> Iterator[tuple[str, Any]]:
        with reading(where):
            for name in group:
                # A damaged name comes as bytes.
                if isinstance(name, str) and _is_hard(group, name):
                    yield name, group[name]

    def close(self) -> None:
        """Close the file; the next read opens it again."""
        if self._file is not None and self._pid == os.getpid():
            self._file.close()
        self._file = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None, "_pid": -1}


def _is_hard(group: h5py.Group, name: str) -> bool:
    return isinstance(group.get(name, getlink=True), h5py.HardLink)


def attribute(owner: h5py.File | h5py.Dataset, name: str, where: str) -> str | float | None:
    """A text or number that stands with a file or dataset.

    Args:
        owner: The file or dataset.
        name: Name of the attribute.
        where: Names the owner, for the message.

    Returns:
        Its value, or None where there is none.

    Raises:
        FeatureError: It is neither text nor one number, or damaged.
    """
    with reading(where):
        if name not in owner.attrs:
            return None
        stored = owner.attrs.get_id(name)
        kind = stored.get_type()
        if isinstance(kind, h5py.h5t.TypeStringID) and kind.is_variable_str():
            check_heaps(Path(owner.file.filename), where)
        is_plain = isinstance(kind, _ATTRIBUTE_TYPES) and math.prod(stored.shape) == 1
        value: Any = None
        if is_plain and stored.get_storage_size() <= MAX_ATTRIBUTE_BYTES:
            value = owner.attrs[name]
        if isinstance(value, np.ndarray):
            value = value.item()
        if isinstance(value, bytes):
            value = value.decode("utf-8")
        if isinstance(value, np.generic):
            value = value.item()
        if not isinstance(value, (str, int, float)):
            raise FeatureError(f"{where}: attribute {name!r}: expected one text or number")
        return value


def number_attribute(owner: h5py.Dataset, name: str, where: str) -> float | None:
    """As `attribute`, of a finite number."""
    value = attribute(owner, name, where)
    if value is None or (isinstance(value, (int, float)) and math.isfinite(value)):
        return value
    raise FeatureError(f"{where}: {name}={value!r}: expected a finite number")


def check_dataset(dataset: h5py.Dataset, where: str) -> None:
    """Refuse a dataset by what it claims, before it is read.

    Args:
        dataset: The dataset.
        where: Names it, for the message.

    Raises:
        FeatureError: It is no plain array of floats, is too large, keeps its numbers elsewhere, or
            claims more than is stored.
    """
    with reading(where):
        shape, dtype = dataset.shape, dataset.dtype
        if shape is None:
            raise FeatureError(f"{where}: an empty dataset without a shape", kind="wrong type")
        check_claim(shape, dtype, where)
        how = dataset.id.get_create_plist()
        if how.get_layout() == h5py.h5d.VIRTUAL or how.get_external_count():
            raise FeatureError(
                f"{where}: its numbers are kept in other files, which are not read; copy them into "
                "this one (h5repack)",
                kind="not one array",
            )
        filters = _filters(dataset)
        packers = [code for code in filters if code not in _OTHER_FILTERS]
        if len(packers) > 1 or not _PACKERS.keys() >= set(packers):
            raise FeatureError(
                f"{where}: packed by the HDF5 filters {filters}: expected gzip or lzf; pack it "
                "anew (h5repack -f GZIP=4)",
                kind="not one array",
            )
        claimed = math.prod(shape) * dtype.itemsize
        most = dataset.id.get_storage_size() * (_PACKERS[packers[0]] if packers else 1)
        if claimed > most:
            raise FeatureError(
                f"{where}: {dtype} of shape {shape} takes {claimed} bytes, but no more than {most} "
                "are stored: truncated or damaged data; download or extract it again",
                kind="damaged data",
            )
        size, chunks = _chunks(dataset)
        if size > MAX_CHUNK_BYTES:
            raise FeatureError(
                f"{where}: chunks of {size} bytes: at most {MAX_CHUNK_BYTES} are read; chunk it "
                "anew (h5repack)",
                kind="too large",
            )
        # No filter makes data twice as large.
        _refuse_chunks([one for one in chunks if one.size > 2 * size + 64], size, where)


def _filters(dataset: h5py.Dataset) -> list[int]:
    how = dataset.id.get_create_plist()
    return [how.get_filter(number)[0] for number in range(how.get_nfilters())]


def _chunks(dataset: h5py.Dataset) -> tuple[int, list[Any]]:
    """What a chunk takes when it is unpacked, in bytes, and the chunks that are stored."""
    chunks: list[Any] = []
    if dataset.chunks is None:
        return 0, chunks
    dataset.id.chunk_iter(chunks.append)
    return math.prod(dataset.chunks) * dataset.dtype.itemsize, chunks


def _refuse_chunks(chunks: list[Any], size: int, where: str) -> None:
    if chunks:
        places = ", ".join(str(chunk.chunk_offset) for chunk in chunks[:5])
        raise FeatureError(
            f"{where}: chunks {places} unpack to more than their claimed {size} bytes, or to less "
            f"({len(chunks)} chunks): damaged data; download or extract it again",
            kind="damaged data",
        )


def _is_whole(dataset: h5py.Dataset, chunk: Any, filters: list[int], size: int) -> bool:
    """Whether a chunk unpacks to ``size`` bytes; little more is unpacked to tell."""
    found = chunk.size
    for place, code in reversed(list(enumerate(filters))):  # the last one packed it last
        if chunk.filter_mask >> place & 1:  # stored as it was
            continue
        if code == h5py.h5z.FILTER_FLETCHER32:
            found -= 4
        if code in _PACKERS and found > 0:
            data = dataset.id.read_direct_chunk(chunk.chunk_offset)[1][:found]
            is_gzip = code == h5py.h5z.FILTER_DEFLATE
            found = _inflated_size(data, size) if is_gzip else _lzf_size(data)
    return bool(found == size)


def _inflated_size(data: bytes, most: int) -> int:
    """What deflated data unpacks to; -1 where it has no end within a little more than ``most``."""
    inflate, size = zlib.decompressobj(), 0
    while data and size <= most + 4 and not inflate.eof:
        size += len(inflate.decompress(data, _BLOCK_BYTES))
        data = inflate.unconsumed_tail
    return size if inflate.eof else -1


def _lzf_size(data: bytes) -> int:
    """What LZF data unpacks to: runs of bytes as they are, and repeats of earlier ones."""
    place = size = 0
    while place < len(data):
        length = data[place] >> 5
        if length == 0:
            size += data[place] + 1
            place += data[place] + 2
        else:
            size += length + 2 + (data[place + 1] if length == 7 else 0)
            place += 3 if length == 7 else 2
    return size


def read_dataset(dataset: h5py.Dataset, where: str) -> npt.NDArray[np.floating]:
    """The numbers of a dataset that `check_dataset` has passed, as stored.

    Args:
        dataset: The dataset.
        where: Names it, for the message.

    Returns:
        Its array.

    Raises:
        FeatureError: A chunk does not unpack to what it takes: HDF5 would go on reading in memory
            behind a shorter one, and take memory for all of a longer one.
    """
    with reading(where):
        filters = _filters(dataset)
        size, chunks = _chunks(dataset)
        bad = [one for one in chunks if not _is_whole(dataset, one, filters, size)]
        _refuse_chunks(bad, size, where)
        array: npt.NDArray[np.floating] = dataset[()]
        return array
