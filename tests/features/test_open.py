"""open_features: what is given, published and measured; streams, their order and normalisation."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import releases

from bpnet_features import (
    FeatureError,
    FeatureSpec,
    FeatureStore,
    MissingVideoError,
    open_features,
)
from bpnet_features.known import DATASETS, RELEASES, find_layout

TINY = {"backbone": "tiny"}


def npy(folder: Path, **arrays: Any) -> Path:
    return releases.write_npy(folder, {k: np.asarray(v, np.float32) for k, v in arrays.items()})[0]


def test_streams_in_the_stated_order(tmp_path: Path) -> None:
    npy(tmp_path / "vid_one", a=[[1, 2], [3, 4]])
    npy(tmp_path / "two_features", a=[[5], [6], [7]])  # one clip more
    source = open_features(tmp_path, streams=("vid_one", "two_features"), spec=TINY)
    assert source.read_clips("a").tolist() == [[1, 2, 5], [3, 4, 6]]
    assert (source.entry("a").num_clips, source.entry("a").feature_dim) == (2, 3)
    assert source.spec.streams == ("one", "two")
    other = open_features(tmp_path, streams=["two_features", "vid_one"], spec=TINY)
    assert other.read_clips("a").tolist() == [[5, 1, 2], [6, 3, 4]]
    assert other.spec.streams == ("two", "one")
    assert other.spec.differences(source.spec)


def test_each_stream_is_divided_by_its_norm(tmp_path: Path) -> None:
    npy(tmp_path / "one", a=[[3, 4], [0, 0]])
    npy(tmp_path / "two", a=[[6, 8], [0, 2]])
    source = open_features(tmp_path, streams=("one", "two"), spec=TINY, normalise="l2")
    small, large, last = 5 + 1e-5, 10 + 1e-5, 2 + 1e-5
    expected = [[3 / small, 4 / small, 6 / large, 8 / large], [0, 0, 0, 2 / last]]
    assert np.allclose(source.read_clips("a"), expected, rtol=1e-6, atol=0)
    assert source.spec.normalisation == "l2"
    assert open_features(tmp_path / "one", spec=TINY).spec.normalisation == "none"


def test_a_norm_beyond_float32(tmp_path: Path) -> None:
    npy(tmp_path / "one", a=[[3, 4], [3e30, 3e30]])
    source = open_features(tmp_path / "one", spec=TINY, normalise="l2")
    with pytest.raises(FeatureError, match=r"'a'.*NaN or infinite values in 1 of 2"):
        source.read_clips("a")


def test_streams_that_differ_by_more_than_one_clip(tmp_path: Path) -> None:
    npy(tmp_path / "one", a=np.ones((5, 2)), b=np.ones((5, 2)))
    npy(tmp_path / "two", a=np.ones((3, 2)), b=np.ones((4, 2)))
    source = open_features(tmp_path, streams=("one", "two"), spec=TINY)
    assert source.read_clips("b").shape == (4, 4)
    for read in (source.read_clips, source.entry, source.grid):
        with pytest.raises(FeatureError, match=r"'a'.*one has 5, two has 3"):
            read("a")


def test_a_video_that_one_stream_lacks(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    npy(tmp_path / "one", a=np.ones((2, 2)), b=np.ones((2, 2)))
    npy(tmp_path / "two", a=np.ones((2, 2)), c=np.ones((2, 2)))
    source = open_features(tmp_path, streams=("one", "two"), spec=TINY)
    assert (source.video_ids(), len(source), "b" in source) == (["a"], 1, False)
    with pytest.raises(MissingVideoError, match=r"'b' is not in .*\(1 videos\).*layout 'npy'"):
        source.read("b")
    assert "2 videos are not in every stream, and count as missing: 'b', 'c'" in caplog.text
    assert source.notes[-1].startswith("2 videos are not in every stream")


def test_streams_of_two_layouts(tmp_path: Path) -> None:
    """QVHighlights has audio as npy beside npz."""
    name = releases.QVHIGHLIGHTS[0]
    releases.write_npz(tmp_path / "clip_features", {name: np.ones((3, 512), np.float16)})
    releases.write_npy(tmp_path / "pann", {name: np.full((3, 2), 2, np.float32)})
    streams = ("clip_features", "pann")
    with pytest.raises(FeatureError, match=r"nothing says which backbone.*--backbone"):
        open_features(tmp_path, streams=streams)
    source = open_features(tmp_path, streams=streams, spec={"backbone": "clip+pann"})
    assert source.layout == "npz+npy"
    assert source.read_clips(name)[0, 510:].tolist() == [1, 1, 2, 2]


def test_streams_with_different_time_bases(tmp_path: Path) -> None:
    arrays = {"3MSZA": np.ones((3, 4096), np.float32)}
    releases.write_hdf5(tmp_path / "vgg_rgb_features.hdf5", arrays)
    releases.write_hdf5(tmp_path / "charades_c3d_fc6_nonoverlap.hdf5", arrays)
    streams = ("vgg_rgb_features.hdf5", "charades_c3d_fc6_nonoverlap.hdf5")
    with pytest.raises(FeatureError, match=r"clips of \[0\.1666.*, 1\.0\] seconds"):
        open_features(tmp_path, streams=streams)
    source = open_features(tmp_path, streams=streams, spec={"seconds_per_clip": 1.0})
    assert source.spec.backbone == "vgg+c3d"
    assert source.spec.streams == ("vgg_rgb", "charades_c3d_fc6_nonoverlap")


@pytest.mark.parametrize("stream", ["three", "../one", "/etc", "one/../../x"])
def test_streams_lie_below_the_path(tmp_path: Path, stream: str) -> None:
    npy(tmp_path / "d" / "one", a=np.ones((2, 2)))
    with pytest.raises(FeatureError, match=r"no stream .* in it: expected some of \['one'\]"):
        open_features(tmp_path / "d", streams=(stream,), spec=TINY)


def test_streams_of_a_file_with_one(tmp_path: Path) -> None:
    path, _ = releases.write_cpl(tmp_path)
    with pytest.raises(FeatureError, match=r"holds one stream: streams=\['x'\]"):
        open_features(path, streams=("x",))


def test_what_is_given_counts_first(tmp_path: Path) -> None:
    path, _ = releases.write_2d_tan_charades(tmp_path)
    default = FeatureSpec("other", 7, layer="fc6", fps=8.0, clip_length_frames=16, version=3)
    spec = open_features(path, spec={"layer": "fc8"}, default_spec=default).spec
    assert (spec.backbone, spec.feature_dim, spec.layer) == ("vgg", 4096, "fc8")
    assert (spec.fps, spec.clip_length_frames, spec.version) == (24.0, 16, 3)


@pytest.mark.parametrize(
    ("given", "stride"),
    [
        ({}, 1 / 6),
        ({"seconds_per_clip": 0.5}, 0.5),
        ({"seconds_per_clip": None}, None),  # duration / clips
        ({"fps": 30.0, "clip_stride_frames": 15}, 0.5),
    ],
)
def test_a_time_base_is_replaced_as_a_whole(
    tmp_path: Path, given: dict[str, Any], stride: float | None
) -> None:
    path, _ = releases.write_2d_tan_charades(tmp_path)
    spec = open_features(path, spec=given).spec
    assert spec.stride_seconds == stride
    assert spec.backbone == "vgg"
    if given.get("fps"):
        assert spec.seconds_per_clip is None


def test_the_default_spec_of_a_checkpoint(tmp_path: Path) -> None:
    """It stands in for what nobody says, and is not compared."""
    path = releases.write_hdf5(tmp_path / "my.h5", {"a": np.ones((4, 3), np.float32)})[0]
    default = FeatureSpec("tiny", 3, seconds_per_clip=0.5, normalisation="l2")
    spec = open_features(path, default_spec=default).spec
    assert (spec.backbone, spec.seconds_per_clip, spec.normalisation) == ("tiny", 0.5, "none")


def test_our_own_store_must_agree(tmp_path: Path) -> None:
    path, _ = releases.write_bpnet(tmp_path)
    assert isinstance(open_features(path), FeatureStore)
    assert open_features(path, spec={"backbone": "tiny", "layer": "x"}).spec.layer is None
    with pytest.raises(FeatureError, match=r"file != given.*backbone: 'tiny' != 'i3d'"):
        open_features(path, spec={"backbone": "i3d"})
    default = FeatureSpec("i3d", 1024)
    assert open_features(path, default_spec=default).spec.backbone == "tiny"
    for options in ({"normalise": "l2"}, {"streams": ("x",)}):
        with pytest.raises(FeatureError, match=r"a store of our own.*leave streams and normalise"):
            open_features(path, **options)  # type: ignore[arg-type]


def test_the_width_is_measured_on_the_first_sound_video(tmp_path: Path) -> None:
    folder = npy(tmp_path / "f", a=np.ones((2, 3)), b=np.ones((2, 3)))
    (folder / "a.npy").write_bytes(b"<html>")
    assert open_features(folder, layout="npy", spec=TINY).spec.feature_dim == 3
    (folder / "b.npy").write_bytes(b"<html>")
    with pytest.raises(FeatureError, match=r"'a'.*not an npy file, it begins with b'<html>'"):
        open_features(folder, layout="npy", spec=TINY)
    folder = npy(tmp_path / "g", a=np.ones((2, 3)), b=np.ones((2, 4)))
    source = open_features(folder, spec=TINY | {"feature_dim": 4})
    with pytest.raises(FeatureError, match=r"'a'.*width 3, the feature spec says 4"):
        source.read_clips("a")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"normalise": "l1"}, r"normalise='l1': expected none or l2"),
        ({"spec": {}}, r"nothing says which backbone made them.*data\.features\.spec\.backbone"),
        ({"spec": {"backbone": ""}}, r"nothing says which backbone"),
        ({"spec": TINY | {"backbne": 3}}, r"backbne.*data\.features\.spec"),
        ({"spec": TINY | {"fps": -1}}, r"fps=-1"),
        (
            {"spec": TINY | {"normalisation": "none"}, "normalise": "l2"},
            r"normalisation='none', but normalise='l2'",
        ),
    ],
)
def test_what_does_not_fit(tmp_path: Path, options: dict[str, Any], match: str) -> None:
    folder = npy(tmp_path / "f", a=np.ones((2, 3)))
    with pytest.raises(FeatureError, match=match):
        open_features(folder, **options)


def test_backbone_unknown_is_said_by_the_user_only(tmp_path: Path) -> None:
    folder = npy(tmp_path / "f", a=np.ones((2, 3)))
    assert open_features(folder, spec={"backbone": "unknown"}).spec.backbone == "unknown"


# Names of layouts and releases.


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("2d-tna", r"layout '2d-tna': expected 'auto'.*did you mean '2d-tan'"),
        ("Moment-DETR", r"did you mean 'moment-detr'"),
        ("hdf", r"did you mean 'hdf5'"),
        ("r2-tuning", r"patch features \(T, layers, patches, C\)"),
        ("", r"layout '': expected 'auto', a layout \(bpnet, hdf5, .*mmaction2"),
    ],
)
def test_unknown_layouts(tmp_path: Path, name: str, match: str) -> None:
    with pytest.raises(FeatureError, match=match):
        open_features(tmp_path, layout=name)


def test_every_release_is_found_by_its_names() -> None:
    assert len({row.name for row in RELEASES}) == len(RELEASES)
    for row in RELEASES:
        assert row.layout in find_layout(row.name).layouts
        assert row.layout in find_layout(row.family).layouts
        assert row.dataset is None or row.dataset in DATASETS
        FeatureSpec.from_dict({"backbone": "x", "feature_dim": row.feature_dim, **row.spec}, "")
    assert set(find_layout("mmaction2").layouts) == {"pt", "csv"}


def test_a_release_of_another_width(tmp_path: Path) -> None:
    path = releases.write_hdf5(tmp_path / "f.h5", {"3MSZA": np.ones((4, 500))})[0]
    with pytest.raises(
        FeatureError, match=r"500 wide, those of '2d-tan' are 4096: name the layout"
    ):
        open_features(path, layout="2d-tan")


def test_a_release_of_another_layout(tmp_path: Path) -> None:
    path, _ = releases.write_cpl(tmp_path)
    with pytest.raises(
        FeatureError, match=r"layout 'hdf5' .*'mmaction2' is published as pt or csv"
    ):
        open_features(path, layout="mmaction2")
    with pytest.raises(FeatureError, match=r"is a file: the layout 'npy' is a folder"):
        open_features(path, layout="snag")
    with pytest.raises(FeatureError, match=r"is a folder: the layout 'hdf5' is a file"):
        open_features(tmp_path, layout="hdf5")
    for length in (3, "64"):
        with pytest.raises(FeatureError, match=rf"clip_length_frames={length!r}: expected an int"):
            open_features(tmp_path, layout="tall", spec={"clip_length_frames": length})
    with pytest.raises(FeatureError, match=r"no \.csv files in it"):
        open_features(tmp_path, layout="csv")


def test_a_renamed_file_is_not_guessed(tmp_path: Path) -> None:
    """4096 wide features of Charades are published with 1/6 s and with 1 s."""
    path, expected = releases.write_2d_tan_charades(tmp_path)
    renamed = path.rename(tmp_path / "charades.h5")
    with pytest.raises(FeatureError, match=r"nothing says which backbone.*no published release"):
        open_features(renamed)
    source = open_features(renamed, layout="2d-tan")
    assert source.spec.stride_seconds == 1 / 6
    assert np.array_equal(source.read_clips("3MSZA"), expected["3MSZA"])


def test_ids_of_another_dataset_are_not_those_of_the_release(tmp_path: Path) -> None:
    arrays = {"s13-d21": np.ones((4, 4096), np.float32)}
    path = releases.write_hdf5(tmp_path / "vgg_rgb_features.hdf5", arrays)[0]
    with pytest.raises(FeatureError, match="nothing says which backbone"):
        open_features(path)


def test_vslnet_without_its_folder_name(tmp_path: Path) -> None:
    """`new` is fine-tuned and `org` is not: they are not to be mixed up."""
    path, _ = releases.write_vslnet(tmp_path)
    path = path.rename(tmp_path / "features")
    with pytest.raises(FeatureError, match=r"that fit: vslnet-charades-new, vslnet-charades-org"):
        open_features(path)
    assert open_features(path, layout="vslnet-charades-org").spec.backbone == "i3d"


def test_two_names_for_one_video(tmp_path: Path) -> None:
    folder = npy(
        tmp_path / "f", **{"a": np.ones((2, 3)), "a.avi": np.ones((2, 3)), "b": [[1, 2, 3]]}
    )
    with pytest.raises(FeatureError, match=r"1 videos are there twice: 'a' and 'a\.avi'"):
        open_features(folder, spec=TINY)


# Where the clips lie in time.


def test_the_time_base_is_compared_with_durations(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = npy(tmp_path / "f", **{name: np.ones((10, 3)) for name in "abcd"})
    source = open_features(folder, spec=TINY | {"seconds_per_clip": 2.0})
    assert source.read("a", 21.9)[1].duration_seconds == 21.9
    source.grid("b", 18.1)
    assert not caplog.records
    source.read("c", 60.0)
    source.read("c", 60.0)
    source.grid("d", 30.0)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "video 'c' differ: 20.00 s by the clips and their stride, 60.00 s" in caplog.text
    source.close()
    assert "the length of 2 videos differ" in caplog.records[-1].getMessage()
    source.close()
    assert len(caplog.records) == 2


def test_neither_duration_nor_time_base(tmp_path: Path) -> None:
    source = open_features(npy(tmp_path / "f", a=np.ones((10, 3))), spec=TINY)
    with pytest.raises(FeatureError, match=r"'a'.*neither a duration nor a time base"):
        source.read("a")
    assert source.read("a", 5.0)[1].edges_seconds[1] == 0.5


def test_what_was_recognised_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, _ = releases.write_lgi(tmp_path)
    with caplog.at_level(logging.INFO):
        open_features(path)
    assert "layout lgi: 3 *.npy; the first 3 arrays are (T, 1, 1, C)" in caplog.text
    assert "release lgi-charades-i3d, which says backbone=i3d-charades" in caplog.text


def test_other_types_of_numbers(tmp_path: Path) -> None:
    arrays = {
        "big": np.ones((2, 3), ">f4"),
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "whole": np.ones((2, 3), np.int64),
        "long": np.ones((2, 3), np.longdouble),
        "large": np.full((2, 3), 1e300),
        "none": np.ones((0, 3)),
    }
    path = tmp_path / "f"
    path.mkdir()
    for name, array in arrays.items():
        np.save(path / f"{name}.npy", array)
    source = open_features(path, layout="npy", spec=TINY)
    assert source.read_clips("big").tolist() == np.ones((2, 3)).tolist()
    assert source.read_clips("columns").tolist() == [[0, 1, 2], [3, 4, 5]]
    for name, match in (
        ("whole", r"'whole'.*int64 of shape \(2, 3\): expected floats"),
        ("long", r"'long'.*expected floats \(T, C\) of 16, 32 or 64 bits"),
        ("large", r"'large'.*NaN or infinite values in 2 of 2"),
        ("none", r"'none'.*zero clips"),
    ):
        with pytest.raises(FeatureError, match=match):
            source.read_clips(name)


def test_closed_and_read_again(tmp_path: Path) -> None:
    path, expected = releases.write_activitynet_c3d(tmp_path)
    with open_features(path) as source:  # type: ignore[attr-defined]
        assert np.array_equal(source.read_clips("v_0dkIbKXXFzI"), expected["v_0dkIbKXXFzI"])
    assert np.array_equal(source.read_clips("v_0dkIbKXXFzI"), expected["v_0dkIbKXXFzI"])


def test_our_own_store_by_another_name(tmp_path: Path) -> None:
    path, _ = releases.write_bpnet(tmp_path)
    with pytest.raises(FeatureError, match=r"a store of our own: leave the layout at 'auto'"):
        open_features(path, layout="hdf5", spec=TINY)
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["a"] = np.ones((2, 3))
    with pytest.raises(FeatureError, match=r"not in our own format"):
        open_features(tmp_path / "plain.h5", layout="bpnet")
