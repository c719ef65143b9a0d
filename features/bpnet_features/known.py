"""The published feature releases: what they are called, and how they were made.

Only what their authors state, in code or README, stands here; the rest stays unknown. A release
without a time base is read with duration / clips.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bpnet_features.errors import FeatureError

LAYOUTS = (
    "bpnet",
    "hdf5",
    "hdf5-group",
    "npy",
    "vslnet",
    "lgi",
    "tall",
    "npz",
    "pt",
    "csv",
    "text-vectors",
)
# One project publishes in each of these, so that the layout tells the release.
_TELLING_LAYOUTS = ("vslnet", "lgi", "tall", "pt", "csv", "text-vectors")
_FAMILY_ALIASES = {"mmaction2": ("drn", "mmaction2")}

# How the ids of a dataset's videos look.
DATASETS = {
    "charades": re.compile(r"[0-9A-Z]{5}"),
    "tacos": re.compile(r"s\d+-d\d+"),
    "activitynet": re.compile(r"v_.{11}"),
    "qvhighlights": re.compile(r".{11}_\d+\.\d+_\d+\.\d+"),
}


@dataclasses.dataclass(frozen=True)
class Known:
    """One file or folder of a published release.

    Attributes:
        family: The project that published it.
        name: Its own name: the family, the dataset and the features.
        layout: How it is laid out.
        feature_dim: Width C.
        files: Ends of its path, as the project names it; empty: no telling name.
        dataset: A key of `DATASETS`, or None: several.
        spec: Further fields of the feature spec, as far as they are published.
    """

    family: str
    name: str
    layout: str
    feature_dim: int
    files: tuple[str, ...]
    dataset: str | None
    spec: Mapping[str, Any]


def _row(
    family: str, what: str, layout: str, width: int, files: str, dataset: str | None, **spec: Any
) -> Known:
    return Known(family, f"{family}-{what}", layout, width, tuple(files.split()), dataset, spec)


_VGG: dict[str, Any] = {"backbone": "vgg", "layer": "fc7", "fps": 24.0, "clip_stride_frames": 4}
_FC6: dict[str, Any] = {"backbone": "c3d", "layer": "fc6"}
_TALL = {**_FC6, "fps": 29.4, "clip_length_frames": 64, "clip_stride_frames": 12}
_OFFICIAL: dict[str, Any] = {
    "backbone": "c3d",
    "clip_length_frames": 16,
    "clip_stride_frames": 8,
}
_SNAG: dict[str, Any] = {"fps": 24.0, "clip_length_frames": 16, "clip_stride_frames": 4}
_25_FPS: dict[str, Any] = {"fps": 25.0, "clip_length_frames": 16, "clip_stride_frames": 16}
_TUNED = "i3d-charades"  # I3D, fine-tuned on Charades

# fmt: off
RELEASES = (
    _row("2d-tan", "charades-vgg", "hdf5", 4096,
         "vgg_rgb_features.hdf5 charades_vgg_rgb.hdf5", "charades", **_VGG),
    _row("2d-tan", "tacos-c3d", "hdf5", 4096,
         "tall_c3d_features.hdf5 tall_c3d_64_features.hdf5", "tacos", **_TALL),
    _row("ms-2d-tan", "charades-c3d", "hdf5", 4096,
         "charades_c3d_fc6_nonoverlap.hdf5", "charades", **_FC6, seconds_per_clip=1.0),
    _row("ms-2d-tan", "charades-i3d", "hdf5", 1024,
         "charades_i3d_rgb_25fps.hdf5", "charades", backbone="i3d", **_25_FPS),
    _row("ms-2d-tan", "charades-i3d-tuned", "hdf5", 1024,
         "i3d_adam_epoch16_25fps.hdf5", "charades", backbone=_TUNED, **_25_FPS),
    _row("ms-2d-tan", "tacos-c3d", "hdf5", 4096,
         "tacos_c3d_fc6_nonoverlap.hdf5", "tacos", **_FC6, seconds_per_clip=1.0),
    _row("ms-2d-tan", "tacos-i3d", "hdf5", 1024,
         "i3d_imagenet.hdf5", "tacos", backbone="i3d", seconds_per_clip=0.64),
    _row("ms-2d-tan", "tacos-vgg", "hdf5", 4096,
         "vgg_fc7.hdf5", "tacos", backbone="vgg", layer="fc7", seconds_per_clip=1 / 6),
    _row("ms-2d-tan", "activitynet-c3d", "hdf5", 4096,
         "activitynet_c3d_fc6_stride_1s.hdf5", "activitynet", **_FC6, seconds_per_clip=1.0),
    _row("ms-2d-tan", "activitynet-i3d", "hdf5", 1024,
         "cmcs_features.hdf5", "activitynet", backbone="i3d"),
    _row("cpl", "charades-i3d", "hdf5", 1024,
         "i3d_features.hdf5", "charades", backbone=_TUNED),
    _row("activitynet-c3d", "official", "hdf5-group", 500,
         "sub_activitynet_v1-3.c3d.hdf5", "activitynet", **_OFFICIAL),
    _row("activitynet-c3d", "stride64", "hdf5-group", 500,
         "sub_activitynet_v1-3_stride_64frame.c3d.hdf5", "activitynet",
         backbone="c3d", clip_stride_frames=64),
    _row("bmt", "activitynet-i3d", "hdf5-group", 2048,
         "sub_activitynet_v1-3.i3d_25fps_stack24step24_2stream.hdf5", "activitynet",
         backbone="i3d", fps=25.0, clip_length_frames=24, clip_stride_frames=24),
    _row("vslnet", "charades-new", "vslnet", 1024, "new", "charades", backbone=_TUNED),
    _row("vslnet", "charades-org", "vslnet", 1024, "org", "charades", backbone="i3d"),
    _row("vslnet", "tacos", "vslnet", 1024, "new org", "tacos", backbone="i3d"),
    _row("vslnet", "activitynet-new", "vslnet", 1024, "new", "activitynet", backbone="i3d"),
    _row("vslnet", "activitynet-org", "vslnet", 500, "org", "activitynet", **_OFFICIAL),
    _row("lgi", "charades-i3d", "lgi", 1024, "i3d_finetuned", "charades", backbone=_TUNED),
    _row("tall", "tacos-c3d", "tall", 4096,
         "Interval64_128_256_512_overlap0.8_c3d_fc6", "tacos", **_TALL),
    _row("snag", "charades-c3d", "npy", 4096, "", "charades", backbone="c3d", **_SNAG),
    _row("snag", "charades-i3d", "npy", 2048, "", "charades", backbone="i3d", **_SNAG),
    _row("snag", "tacos-c3d", "npy", 4096, "", "tacos", backbone="c3d", clip_length_frames=16),
    _row("snag", "activitynet-c3d", "npy", 500, "", "activitynet", **_OFFICIAL),
    _row("viga", "charades-vgg", "npy", 4096, "", "charades", backbone="vgg"),
    _row("viga", "charades-1024", "npy", 1024, "", "charades"),  # called both I3D and C3D
    _row("cg-detr", "charades-vgg", "npy", 4096,
         "vgg_features/rgb_features", "charades", backbone="vgg"),
    _row("drn", "charades-c3d", "pt", 4096, "C3D_unit16_overlap0.5_merged", "charades",
         backbone="c3d", clip_length_frames=16, clip_stride_frames=8),
    _row("drn", "charades-mfnet", "pt", 768, "", "charades",
         backbone="mfnet", clip_length_frames=32, clip_stride_frames=8),
    _row("drn", "charades-i3d", "pt", 2048, "", "charades",
         backbone="i3d-r50", clip_length_frames=64, clip_stride_frames=8),
    _row("moment-detr", "slowfast", "npz", 2304,
         "slowfast_features", "qvhighlights", backbone="slowfast", seconds_per_clip=2.0),
    _row("moment-detr", "clip", "npz", 512,
         "clip_features", "qvhighlights", backbone="clip", seconds_per_clip=2.0),
    _row("lighthouse", "charades-slowfast", "npz", 2304,
         "slowfast", "charades", backbone="slowfast", seconds_per_clip=1.0),
    _row("lighthouse", "charades-clip", "npz", 512,
         "clip", "charades", backbone="clip", seconds_per_clip=1.0),
    _row("lighthouse", "qvhighlights-slowfast", "npz", 2304,
         "slowfast", "qvhighlights", backbone="slowfast", seconds_per_clip=2.0),
    _row("lighthouse", "qvhighlights-clip", "npz", 512,
         "clip", "qvhighlights", backbone="clip", seconds_per_clip=2.0),
    _row("univtg", "slowfast", "npz", 2304, "vid_slowfast", None, backbone="slowfast"),
    _row("univtg", "clip", "npz", 512, "vid_clip", None, backbone="clip"),
    _row("allenai", "charades-vgg", "text-vectors", 4096,
         "Charades_v1_features_rgb", "charades", **_VGG),
    _row("mmaction2", "csv", "csv", 400, "", "activitynet", backbone="tsn"),
)
# fmt: on


@dataclasses.dataclass(frozen=True)
class Named:
    """What a name for ``layout=`` stands for.

    Attributes:
        layouts: The layouts that it allows; empty for ``"auto"``: any.
        releases: The releases that it names; empty where it is the name of a layout.
    """

    layouts: tuple[str, ...]
    releases: tuple[Known, ...] = ()


def find_layout(name: str) -> Named:
    """Look up a layout or a release.

    Args:
        name: ``"auto"``, one of `LAYOUTS`, or the family or name of one of `RELEASES`.

    Returns:
        What it stands for.

    Raises:
        FeatureError: There is none of that name.
    """
    if name == "auto":
        return Named(())
    if name in LAYOUTS:
        return Named((name,))
    families = _FAMILY_ALIASES.get(name, (name,))
    found = tuple(row for row in RELEASES if row.name == name or row.family in families)
    if found:
        return Named(tuple(dict.fromkeys(row.layout for row in found)), found)
    if name.startswith("r2-tuning"):
        raise FeatureError(
            f"layout {name!r}: R2-Tuning publishes patch features (T, layers, patches, C), which "
            "no model here reads; pool them to (T, C), then use the layout 'npy'"
        )
    names = sorted({row.family for row in RELEASES} | _FAMILY_ALIASES.keys())
    everything = ["auto", *LAYOUTS, *names, *(row.name for row in RELEASES)]
    close = difflib.get_close_matches(name.lower(), everything, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
    raise FeatureError(
        f"layout {name!r}: expected 'auto', a layout ({', '.join(LAYOUTS)}) or a release "
        f"({', '.join(names)}){hint}"
    )


def find_dataset(video_ids: Sequence[str]) -> str | None:
    """The dataset whose ids all of these look like, or None."""
    for name, pattern in DATASETS.items():
        if video_ids and all(pattern.fullmatch(video_id) for video_id in video_ids):
            return name
    return None


def find_releases(
    named: Named, layout: str, path: Path, feature_dim: int, video_ids: Sequence[str]
) -> tuple[Known, ...]:
    """The releases that a file or folder may be.

    Args:
        named: What the user calls it.
        layout: Its layout.
        path: The file or folder.
        feature_dim: Width C that was found in it.
        video_ids: Some of its ids.

    Returns:
        The releases, possibly none. Where the user named none, only those are taken that the name
        of the file, or a layout that no other project uses, and the width and the ids all point to.

    Raises:
        FeatureError: The user named a release of another width.
    """
    dataset = find_dataset(video_ids)
    if named.releases:
        rows = tuple(row for row in named.releases if row.feature_dim == feature_dim)
        if not rows:
            widths = sorted({row.feature_dim for row in named.releases})
            raise FeatureError(
                f"{str(path)!r}: the features are {feature_dim} wide, those of "
                f"{named.releases[0].family!r} are {' or '.join(map(str, widths))}: name the "
                f"layout instead ({layout!r}), and say how they were made (backbone)"
            )
        for fits in (
            lambda row: row.dataset in (None, dataset),
            lambda row: _has_name(row, path),
        ):
            rows = tuple(filter(fits, rows)) or rows
        return rows
    rows = tuple(row for row in RELEASES if (row.layout, row.feature_dim) == (layout, feature_dim))
    by_name = tuple(row for row in rows if _has_name(row, path))
    by_ids = tuple(row for row in by_name if row.dataset in (None, dataset))
    if by_name and layout not in _TELLING_LAYOUTS:
        return by_ids or (by_name if dataset is None else ())
    if layout in _TELLING_LAYOUTS:
        return by_ids or tuple(row for row in rows if row.dataset == dataset)
    return ()


def agreed(rows: Sequence[Known]) -> dict[str, Any]:
    """The fields of the spec on which all of these releases agree."""
    if not rows:
        return {}
    first, *others = (dict(row.spec) for row in rows)
    return {key: value for key, value in first.items() if all(o.get(key) == value for o in others)}


def _has_name(row: Known, path: Path) -> bool:
    return any(path.absolute().match(end) for end in row.files)
