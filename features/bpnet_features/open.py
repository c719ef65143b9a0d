"""open_features: a file or folder of any layout -> FeatureSource."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bpnet_features.bounds import check_path
from bpnet_features.errors import FeatureError
from bpnet_features.hdf5 import HDF5File
from bpnet_features.hdf5_reader import Hdf5Reader, find_members
from bpnet_features.known import Named, find_layout
from bpnet_features.readers import FILE_KINDS, FolderReader, Reader
from bpnet_features.recognise import Recognised, recognise
from bpnet_features.release import NORMALISATIONS, Release
from bpnet_features.release_spec import SETTING, Part, describe
from bpnet_features.source import FeatureSource
from bpnet_features.spec import FeatureSpec
from bpnet_features.store import FeatureStore
from bpnet_features.tall import CLIP_LENGTH_FRAMES, TallReader

_HDF5_LAYOUTS = ("bpnet", "hdf5", "hdf5-group")

log = logging.getLogger(__name__)


def open_features(
    path: str | os.PathLike[str],
    *,
    layout: str = "auto",
    spec: Mapping[str, Any] | None = None,
    streams: Sequence[str] = (),
    normalise: str = "none",
    default_spec: FeatureSpec | None = None,
) -> FeatureSource:
    """Open features of any layout.

    Args:
        path: Our own store, or the file or folder of a release as its authors publish it.
        layout: ``"auto"``: look inside; otherwise the name of a layout or release, see
            `known.LAYOUTS` and `known.RELEASES`.
        spec: How the features were made, as fields of `FeatureSpec`. Our own store must agree with
            it; for a release it counts before what is known of it, and ``seconds_per_clip: None``
            stands for duration / clips.
        streams: Files or folders below ``path``, or arrays in the groups of an HDF5 file, whose
            vectors are joined in this order; empty: ``path`` itself.
        normalise: ``"none"``, or ``"l2"``: each stream of each clip is divided by its norm + 1e-5
            before they are joined, as Moment-DETR does. For releases only.
        default_spec: Counts where neither ``spec`` nor the file nor its release says.

    Returns:
        The features; ``notes`` says what was recognised, and why.

    Raises:
        FeatureError: The path cannot be read, the layout is unknown or not to be told, or nothing
            says how the features were made.
    """
    root = Path(path)
    check_path(root, f"features {str(root)!r}")
    named = find_layout(layout)
    streams = (streams,) if isinstance(streams, str) else tuple(streams)
    if normalise not in NORMALISATIONS:
        raise FeatureError(f"normalise={normalise!r}: expected {' or '.join(NORMALISATIONS)}")
    in_folder = bool(streams) and root.is_dir()
    paths = [_below(root, stream) for stream in streams] if in_folder else [root]
    found = [_layout_of(part, named, layout) for part in paths]
    source: FeatureSource
    if any(item.layout == "bpnet" for item in found):
        if streams or normalise != "none":
            raise FeatureError(
                f"{str(root)!r} is a store of our own: its streams and normalisation were chosen "
                "when it was made; leave streams and normalise out"
            )
        source = _open_store(root, spec or {})
    else:
        parts = [
            _part(part, item, () if in_folder else streams, spec or {})
            for part, item in zip(paths, found, strict=True)
        ]
        described, notes = describe(root, parts, named, spec or {}, normalise, default_spec)
        readers = [reader for part in parts for reader in part.readers]
        source = Release(root, readers, described, normalise, notes)
    for note in source.notes:
        log.info("features %s: %s", root, note)
    return source


def _below(root: Path, stream: str) -> Path:
    """The file or folder of a stream, which must lie below the folder of all streams."""
    part = root / stream
    check_path(part, f"features {str(root)!r}, stream {stream!r}")
    if Path(stream).is_absolute() or ".." in Path(stream).parts or not part.exists():
        with os.scandir(root) as items:
            names = sorted(item.name for item in items if not item.name.startswith("."))
        raise FeatureError(
            f"folder {str(root)!r}: no stream {stream!r} in it: expected some of {names[:8]}"
        )
    return part


def _layout_of(path: Path, named: Named, given: str) -> Recognised:
    """The layout of a file or folder: the given one, or what it is recognised as."""
    if len(named.layouts) != 1:
        found = recognise(path)
        if named.layouts and found.layout not in named.layouts:
            raise FeatureError(
                f"{str(path)!r} has the layout {found.layout!r} ({'; '.join(found.reasons)}), but "
                f"{given!r} is published as {' or '.join(named.layouts)}"
            )
        return found
    layout = named.layouts[0]
    if not path.exists():
        raise FeatureError(f"feature file {str(path)!r}: no such file or folder")
    if path.is_dir() == (layout in _HDF5_LAYOUTS):
        kinds = ("a file", "a folder")
        raise FeatureError(
            f"{str(path)!r} is {kinds[path.is_dir()]}: the layout {layout!r} is "
            f"{kinds[not path.is_dir()]}"
        )
    return Recognised(layout, (f"given as {given!r}",))


def _open_store(path: Path, spec: Mapping[str, Any]) -> FeatureStore:
    given = {name: value for name, value in spec.items() if value is not None}
    store = FeatureStore(path)
    if not given:
        return store
    store.close()
    merged = {**dataclasses.asdict(store.spec), **given}
    return FeatureStore(path, FeatureSpec.from_dict(merged, SETTING))


def _part(path: Path, found: Recognised, members: Sequence[str], spec: Mapping[str, Any]) -> Part:
    """A file or folder of a release, with the readers of its streams."""
    reasons = "; ".join(found.reasons)
    readers: list[Reader]
    labels: tuple[str, ...] = ()
    if found.layout != "hdf5-group" and members:
        raise FeatureError(
            f"{str(path)!r} holds one stream: streams={list(members)} name files or folders below "
            "a folder, or arrays in the groups of an HDF5 file (layout 'hdf5-group')"
        )
    match found.layout:
        case "hdf5":
            readers = [Hdf5Reader(path, "hdf5")]
        case "hdf5-group":
            arrays = find_members(path, members)
            reasons += f"; reads {' then '.join(arrays)} of each group"
            readers = [Hdf5Reader(path, "hdf5-group", array) for array in arrays]
            labels = tuple(array.rpartition("/")[2] for array in arrays) if arrays[1:] else ()
        case "tall":
            length = spec.get("clip_length_frames") or CLIP_LENGTH_FRAMES
            reasons += f"; reads the intervals of {length} frames"
            readers = [TallReader(path, length)]
        case layout:
            assert layout in FILE_KINDS
            readers = [FolderReader(path, layout)]
    if isinstance(readers[0], Hdf5Reader) and _is_own(path):
        raise FeatureError(f"{str(path)!r} is a store of our own: leave the layout at 'auto'")
    return Part(path, readers, labels, f"layout {found.layout}: {reasons}")


def _is_own(path: Path) -> bool:
    file = HDF5File(path)
    try:
        return "format" in file.root.attrs
    finally:
        file.close()
