"""The feature spec of a release: what is given, what is published, and what is measured."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bpnet_features.errors import FeatureError
from bpnet_features.known import Known, Named, agreed, find_releases
from bpnet_features.readers import Reader
from bpnet_features.spec import FeatureSpec
from bpnet_features.tall import TallReader

SETTING = "data.features.spec"
# Videos that are tried until one says how wide the features are, or whose ids are looked at.
NUM_LOOKED_AT = 8

_FRAMES = ("fps", "clip_stride_frames")
_SECONDS = "seconds_per_clip"

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Part:
    """One file or folder of a release.

    Attributes:
        path: The file or folder.
        readers: A reader for each stream in it.
        labels: Names of its streams; empty: it is one stream.
        note: What was recognised.
    """

    path: Path
    readers: Sequence[Reader]
    labels: Sequence[str]
    note: str


def describe(
    root: Path,
    parts: Sequence[Part],
    named: Named,
    given: Mapping[str, Any],
    normalise: str,
    default: FeatureSpec | None,
) -> tuple[FeatureSpec, list[str]]:
    """The spec of a release, and what was found out for it.

    Args:
        root: What the user named.
        parts: Its files or folders, in the order of their columns.
        named: What the user calls it.
        given: Fields that the user gives; they count first.
        normalise: What is done to each vector.
        default: Counts last.

    Returns:
        The spec and the notes.

    Raises:
        FeatureError: Nothing says which backbone made the features, what is given does not fit, or
            the streams have different time bases.
    """
    notes: list[str] = []
    fields: list[dict[str, Any]] = []
    candidates: list[Known] = []
    width = 0
    for part in parts:
        part_width = sum(map(_width, part.readers))
        ids = part.readers[0].index.ids()[:NUM_LOOKED_AT]
        rows = find_releases(named, part.readers[0].layout, part.path, part_width, ids)
        published = agreed(rows)
        if isinstance(part.readers[0], TallReader) and published:
            published["clip_length_frames"] = part.readers[0].length
            published["clip_stride_frames"] = part.readers[0].stride
        notes += [
            _place(part, parts) + note for note in (part.note, _release_note(rows, published))
        ]
        fields.append(published)
        candidates += rows
        width += part_width
    notes += _gaps([reader for part in parts for reader in part.readers], root)
    if normalise != "none":
        notes.append(f"normalise {normalise}: each clip of each stream is divided by its norm")
    streams = [label for part in parts for label in part.labels]
    if len(parts) > 1:
        streams = [_stream_name(part, label) for part in parts for label in part.labels or ("",)]
    values: dict[str, Any] = {}
    if default is not None:
        values = {key: value for key, value in dataclasses.asdict(default).items() if value}
    times_given = any(name in given for name in (_SECONDS, *_FRAMES))
    values = _over(values, _joined(fields, root, check_times=not times_given))
    values |= {"feature_dim": width, "normalisation": normalise}
    if streams:
        values["streams"] = streams
    if normalise != "none" and given.get("normalisation") not in (None, normalise):
        raise FeatureError(
            f"{SETTING}.normalisation={given['normalisation']!r}, but normalise={normalise!r}: "
            "give one of them"
        )
    known = {key: value for key, value in given.items() if value is not None or key == _SECONDS}
    values = _over(values, known)
    if not values.get("backbone"):
        names = [row.name for row in candidates]
        fit = f"; releases that fit: {', '.join(names)}, name one as the layout" if names else ""
        raise FeatureError(
            f"features {str(root)!r}: nothing says which backbone made them ({'; '.join(notes)}): "
            f"give {SETTING}.backbone (--backbone){fit}"
        )
    return FeatureSpec.from_dict(values, SETTING), notes


def _width(reader: Reader) -> int:
    """Width of the first sound video, or the error of the first one."""
    first: FeatureError | None = None
    for name in reader.index.ids()[:NUM_LOOKED_AT]:
        listed = reader.index.find(name)
        assert listed is not None
        try:
            return reader.entry(listed, f"video {name!r} in {reader.path}").feature_dim
        except FeatureError as err:
            first = first or err
    assert first is not None
    raise first


def _place(part: Part, parts: Sequence[Part]) -> str:
    return f"{part.path.name}: " if len(parts) > 1 else ""


def _release_note(rows: Sequence[Known], published: Mapping[str, Any]) -> str:
    if not rows:
        return "no published release is known by this name, width and these ids"
    says = ", ".join(f"{key}={value}" for key, value in published.items()) or "nothing"
    if len(rows) == 1:
        return f"release {rows[0].name}, which says {says}"
    return f"one of the releases {', '.join(row.name for row in rows)}, which agree on {says}"


def _stream_name(part: Part, label: str) -> str:
    """``slowfast_features`` and ``vid_slowfast`` are both the stream ``slowfast``."""
    name = part.path.name.removesuffix(part.path.suffix if part.path.is_file() else "")
    name = name.removeprefix("vid_").removesuffix("_features")
    return f"{name}/{label}" if label else name


def _gaps(readers: Sequence[Reader], root: Path) -> list[str]:
    """A note on videos that are not in every stream."""
    if len(readers) == 1:
        return []
    everywhere = {
        name
        for name in readers[0].index.ids()
        if all(reader.index.find(name) is not None for reader in readers)
    }
    absent = sorted({name for reader in readers for name in reader.index.ids()} - everywhere)
    if not absent:
        return []
    note = (
        f"{len(absent)} videos are not in every stream, and count as missing: "
        f"{', '.join(map(repr, absent[:5]))}{', ...' if absent[5:] else ''}"
    )
    log.warning("features %s: %s", root, note)
    return [note]


def _joined(fields: Sequence[Mapping[str, Any]], root: Path, check_times: bool) -> dict[str, Any]:
    """What is published of all parts together."""
    strides = {stride for part in fields if (stride := _stride(part)) is not None}
    if check_times and len(strides) > 1:
        raise FeatureError(
            f"features {str(root)!r}: the streams have clips of {sorted(strides)} seconds, which "
            f"cannot be joined; give {SETTING}.seconds_per_clip if this is not so"
        )
    first, *others = fields
    joined = {k: v for k, v in first.items() if all(part.get(k) == v for part in others)}
    backbones = [part.get("backbone") for part in fields]
    if all(backbones):
        joined["backbone"] = "+".join(dict.fromkeys(map(str, backbones)))
    return joined


def _stride(fields: Mapping[str, Any]) -> float | None:
    if fields.get(_SECONDS) is not None:
        return float(fields[_SECONDS])
    if all(fields.get(name) is not None for name in _FRAMES):
        return float(fields["clip_stride_frames"] / fields["fps"])
    return None


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of ``above`` in place of those below; a time base is replaced as a whole."""
    values = dict(below)
    if _SECONDS in above:
        for name in _FRAMES:
            values.pop(name, None)
    elif any(name in above for name in _FRAMES):
        values.pop(_SECONDS, None)
    return {**values, **above}
