"""Every published layout, written as its release is laid out and read back value for value."""

from __future__ import annotations

import multiprocessing
import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import releases

from bpnet_features import FeatureError, FeatureSource, open_features
from bpnet_features.known import LAYOUTS

# What must stand in the spec, from what the authors publish; everything else stays unknown.
SPECS: dict[str, dict[str, Any]] = {
    "2d-tan": {"backbone": "vgg", "layer": "fc7", "fps": 24, "clip_stride_frames": 4},
    "2d-tan-tacos-c3d": {
        "backbone": "c3d",
        "layer": "fc6",
        "fps": 29.4,
        "clip_length_frames": 64,
        "clip_stride_frames": 12,
    },
    "ms-2d-tan": {"backbone": "c3d", "layer": "fc6", "seconds_per_clip": 1},
    "ms-2d-tan-charades-i3d": {
        "backbone": "i3d",
        "fps": 25,
        "clip_length_frames": 16,
        "clip_stride_frames": 16,
    },
    "hdf5": {"backbone": "c3d", "layer": "fc6", "seconds_per_clip": 1},
    "cpl": {"backbone": "i3d-charades"},
    "activitynet-c3d": {"backbone": "c3d", "clip_length_frames": 16, "clip_stride_frames": 8},
    "hdf5-group": {"backbone": "c3d", "clip_stride_frames": 64},
    "bmt": {
        "backbone": "i3d",
        "fps": 25,
        "clip_length_frames": 24,
        "clip_stride_frames": 24,
        "streams": ("rgb", "flow"),
    },
    "vslnet": {"backbone": "i3d-charades"},
    "lgi": {"backbone": "i3d-charades"},
    "snag": {"backbone": "c3d", "fps": 24, "clip_length_frames": 16, "clip_stride_frames": 4},
    "npy": {"backbone": "vgg"},
    "drn": {"backbone": "c3d", "clip_length_frames": 16, "clip_stride_frames": 8},
    "pt": {"backbone": "c3d", "clip_length_frames": 16, "clip_stride_frames": 8},
    "moment-detr": {"backbone": "slowfast", "seconds_per_clip": 2},
    "lighthouse": {"backbone": "clip", "seconds_per_clip": 1},
    "npz": {"backbone": "slowfast"},
    "allenai": {"backbone": "vgg", "layer": "fc7", "fps": 24, "clip_stride_frames": 4},
    "mmaction2-csv": {"backbone": "tsn"},
    "tall": {
        "backbone": "c3d",
        "layer": "fc6",
        "fps": 29.4,
        "clip_length_frames": 64,
        "clip_stride_frames": 12,
    },
}
UNKNOWN = ("layer", "fps", "clip_length_frames", "clip_stride_frames", "seconds_per_clip")
DTYPES = {
    "2d-tan": "float64",
    "hdf5": "float16",
    "lighthouse": "float16",
    "allenai": "text",
    "mmaction2-csv": "text",
}


def check_values(source: FeatureSource, expected: dict[str, np.ndarray]) -> None:
    assert source.video_ids() == sorted(expected)
    assert len(source) == len(expected)
    for video_id, array in expected.items():
        assert video_id in source
        entry = source.entry(video_id)
        assert (entry.num_clips, entry.feature_dim) == array.shape
        clips = source.read_clips(video_id)
        assert clips.dtype == np.float32
        assert np.array_equal(clips, array)
        again, grid = source.read(video_id, 30.0 if source.spec.stride_seconds is None else None)
        assert np.array_equal(again, array)
        assert grid.num_clips == len(array)
        files = source.files(video_id)
        assert files and all(file.exists() for file in files)


def test_every_layout_is_here(tmp_path: Path) -> None:
    found = {"bpnet"}
    for number, (name, write) in enumerate(releases.LAYOUTS.items()):
        (tmp_path / str(number)).mkdir()
        found.add(open_features(write(tmp_path / str(number))[0], layout=name).layout)
    assert found == set(LAYOUTS)


@pytest.mark.parametrize("name", releases.LAYOUTS)
def test_by_name(tmp_path: Path, name: str) -> None:
    path, expected = releases.LAYOUTS[name](tmp_path)
    source = open_features(path, layout=name)
    check_values(source, expected)
    if name != "bpnet":
        fields = dict.fromkeys(UNKNOWN) | {"streams": ()} | SPECS[name]
        assert {key: getattr(source.spec, key) for key in fields} == fields
        assert source.spec.normalisation == "none"
        first = source.video_ids()[0]
        assert source.entry(first).dtype == DTYPES.get(name, "float32")


@pytest.mark.parametrize("name", releases.LAYOUTS)
def test_auto(tmp_path: Path, name: str) -> None:
    """The inside tells the layout, and the names of files and ids the release."""
    path, expected = releases.LAYOUTS[name](tmp_path)
    source = open_features(path, spec=releases.AUTO_SPECS.get(name))
    check_values(source, expected)
    named = open_features(path, layout=name)
    assert source.layout == named.layout
    assert source.notes[0].startswith(f"layout {source.layout}: ")
    if name not in releases.AUTO_SPECS:
        assert source.spec == named.spec


@pytest.mark.parametrize("name", releases.STREAMS)
@pytest.mark.parametrize("layout", ["auto", "by name"])
def test_streams(tmp_path: Path, name: str, layout: str) -> None:
    path, expected, streams = releases.STREAMS[name](tmp_path)
    source = open_features(path, layout="auto" if layout == "auto" else name, streams=streams)
    check_values(source, expected)


@pytest.mark.parametrize("name", ["2d-tan", "bmt", "vslnet", "drn", "npz", "allenai", "tall"])
def test_pickled(tmp_path: Path, name: str) -> None:
    path, expected = releases.LAYOUTS[name](tmp_path)
    source = open_features(path)
    source.read_clips(source.video_ids()[0])
    check_values(pickle.loads(pickle.dumps(source)), expected)


def sums(source: FeatureSource) -> list[float]:
    return [float(source.read_clips(video_id).sum()) for video_id in source.video_ids()]


# Forking warns where another test has started threads; a source is safe either way.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", ["2d-tan", "bmt", "vslnet", "npz"])
def test_forked(tmp_path: Path, name: str) -> None:
    """Parent and children read the same open source at once."""
    source = open_features(releases.LAYOUTS[name](tmp_path)[0])
    expected = sums(source)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        results = [pool.apply_async(sums, (source,)) for _ in range(4)]
        assert sums(source) == expected
        assert [result.get(timeout=30) for result in results] == [expected] * 4


def test_keys_with_avi_are_found_by_every_name(tmp_path: Path) -> None:
    path, expected = releases.write_2d_tan_tacos(tmp_path)
    source = open_features(path)
    assert source.video_ids() == sorted(expected)
    for name in ("s13-d21", "s13-d21.avi", "s13-d21-cam-002", "s13-d21-cam-002.avi"):
        assert name in source
        assert np.array_equal(source.read_clips(name), expected["s13-d21"])


def test_activitynet_ids_without_their_prefix(tmp_path: Path) -> None:
    path, expected = releases.write_activitynet_c3d(tmp_path)
    source = open_features(path)
    assert np.array_equal(source.read_clips("0dkIbKXXFzI"), expected["v_0dkIbKXXFzI"])


def test_vslnet_shapes_are_checked(tmp_path: Path) -> None:
    path, expected = releases.write_vslnet(tmp_path)
    array = expected["AO8RW"]
    np.save(path / "AO8RW.npy", array[:-2])
    np.save(path / "NEW00.npy", array)
    source = open_features(path)
    for name, match in (
        ("AO8RW", r"'AO8RW'.*3 clips, but feature_shapes\.json says 5"),
        ("NEW00", r"'NEW00'.*5 clips, but feature_shapes\.json does not name it"),
    ):
        with pytest.raises(FeatureError, match=match):
            source.entry(name)
        with pytest.raises(FeatureError, match=match):
            source.read_clips(name)
    assert np.array_equal(source.read_clips("3MSZA"), expected["3MSZA"])


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (None, r"feature_shapes\.json'.*no such file"),
        ("[1, 2]", r"feature_shapes\.json': expected an object"),
        ('{"AO8RW": "5"}', r"feature_shapes\.json': expected an object"),
        ('{"AO8RW": 5', r"feature_shapes\.json': damaged data"),
        ("[" * 100_000, r"feature_shapes\.json': damaged data"),
    ],
)
def test_vslnet_json(tmp_path: Path, text: str | None, match: str) -> None:
    path, _ = releases.write_vslnet(tmp_path)
    (path / "feature_shapes.json").unlink()
    if text is not None:
        (path / "feature_shapes.json").write_text(text)
    with pytest.raises(FeatureError, match=match):
        open_features(path, layout="vslnet")


def test_tall_intervals_of_another_length(tmp_path: Path) -> None:
    """128 frames, 0.8 of them shared with the next: every 25 frames."""
    path, expected = releases.write_tall(tmp_path)
    source = open_features(path, spec={"clip_length_frames": 128})
    first = expected["s13-d21"][0]
    assert np.array_equal(source.read_clips("s13-d21"), np.stack([first + 1, first + 2]))
    assert source.spec.clip_length_frames == 128
    assert source.spec.clip_stride_frames == 25
    with pytest.raises(FeatureError, match=r"first \+ 256.*found: \[64, 128\]"):
        open_features(path, spec={"clip_length_frames": 256})


def test_tall_with_a_gap(tmp_path: Path) -> None:
    path, expected = releases.write_tall(tmp_path)
    (path / "s17-d69.avi_25_89.npy").unlink()
    source = open_features(path)
    with pytest.raises(FeatureError, match=r"'s17-d69'.*4 clips.*1 are missing.*from frame 25"):
        source.entry("s17-d69")
    assert np.array_equal(source.read_clips("s13-d21"), expected["s13-d21"])


def test_bmt_in_another_order(tmp_path: Path) -> None:
    path, expected = releases.write_bmt(tmp_path)
    source = open_features(path, streams=("flow", "rgb"))
    video_id = source.video_ids()[0]
    swapped = np.roll(expected[video_id], 1024, axis=1)
    assert np.array_equal(source.read_clips(video_id), swapped)
    assert source.spec.streams == ("flow", "rgb")
    alone = open_features(path, streams=("rgb",), spec={"backbone": "i3d"})
    assert np.array_equal(alone.read_clips(video_id), expected[video_id][:, :1024])
    with pytest.raises(FeatureError, match=r"stream 'audio' names 0.*'i3d_features/rgb'"):
        open_features(path, streams=("audio",))


def test_a_group_of_unknown_arrays(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["a/one"] = file["a/two"] = np.ones((4, 3))
    with pytest.raises(FeatureError, match=r"2 arrays \(T, C\): \['one', 'two'\].*--streams"):
        open_features(tmp_path / "f.h5", spec={"backbone": "tiny"})
    source = open_features(tmp_path / "f.h5", streams=("two",), spec={"backbone": "tiny"})
    assert source.read_clips("a").shape == (4, 3)


def test_a_dict_with_one_tensor(tmp_path: Path) -> None:
    import torch

    (tmp_path / "pt").mkdir()
    torch.save({"feature": torch.ones(4, 3), "fps": 24}, tmp_path / "pt" / "a.pt")
    torch.save({"one": torch.ones(4, 3), "two": torch.ones(4, 3)}, tmp_path / "pt" / "b.pt")
    torch.save(torch.arange(12).reshape(4, 3).half().T, tmp_path / "pt" / "c.pt")
    source = open_features(tmp_path / "pt", spec={"backbone": "tiny"})
    assert source.read_clips("a").tolist() == np.ones((4, 3)).tolist()
    with pytest.raises(FeatureError, match=r"'b'.*dict with 2 tensors: expected one"):
        source.read_clips("b")
    with pytest.raises(FeatureError, match=r"'c'.*width 4, the feature spec says 3"):
        source.read_clips("c")
