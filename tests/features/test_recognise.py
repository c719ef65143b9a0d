"""What is not clearly one layout is refused, with what was seen and what could be named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import releases

from bpnet_features import FeatureError, open_features
from bpnet_features.recognise import recognise

CLIPS = np.ones((4, 3), np.float32)


def hdf5(folder: Path, **items: np.ndarray) -> Path:
    with h5py.File(folder / "f.h5", "w") as file:
        for name, item in items.items():
            file[name.replace("__", "/")] = item
    return folder / "f.h5"


def npy(folder: Path, **arrays: np.ndarray) -> Path:
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return folder


def projection(folder: Path) -> Path:
    """The file that lies beside the official ActivityNet features."""
    with h5py.File(folder / "PCA_activitynet_v1-3.hdf5", "w") as file:
        file["data/x_mean"] = np.ones(4)
        file["data/U"] = np.ones((4, 4))
        file["data/S"] = np.ones(4)
    return folder / "PCA_activitynet_v1-3.hdf5"


def datasets_and_groups(folder: Path) -> Path:
    return hdf5(folder, a=CLIPS, b__c3d_features=CLIPS)


def two_layouts_of_npy(folder: Path) -> Path:
    return npy(folder, a=CLIPS, b=CLIPS[:, None, None])


def lgi_with_the_json_of_vslnet(folder: Path) -> Path:
    (folder / "feature_shapes.json").write_text('{"a": 4}')
    return npy(folder, a=CLIPS[:, None, None])


def patches(folder: Path) -> Path:
    """R2-Tuning's clip_b32_vid_k4."""
    return npy(folder, a=np.zeros((2, 4, 50, 768), np.float16))


def vectors_without_times(folder: Path) -> Path:
    return npy(folder, a=CLIPS[0], b=CLIPS[0])


def two_suffixes(folder: Path) -> Path:
    np.savez(folder / "b.npz", features=CLIPS)
    return npy(folder, a=CLIPS)


def files_and_folders(folder: Path) -> Path:
    (folder / "b").mkdir()
    return npy(folder, a=CLIPS)


def queries(folder: Path) -> Path:
    np.savez(folder / "qid7.npz", last_hidden_state=CLIPS, pooler_output=CLIPS[0])
    return folder


def other_arrays(folder: Path) -> Path:
    np.savez(folder / "a.npz", feats=CLIPS)
    return folder


def pickles(folder: Path) -> Path:
    (folder / "a.pkl").write_bytes(b"")
    return folder


def hdf5_in_a_folder(folder: Path) -> Path:
    return hdf5(folder, a=CLIPS).parent


def notes_only(folder: Path) -> Path:
    (folder / "README.txt").write_text("see the other folder")
    return folder


def several_streams(folder: Path) -> Path:
    return releases.write_moment_detr_streams(folder)[0]


def csv_without_names(folder: Path) -> Path:
    (folder / "a.csv").write_text("1,2\n3,4\n")
    return folder


def empty_hdf5(folder: Path) -> Path:
    return hdf5(folder)


def one_axis(folder: Path) -> Path:
    return hdf5(folder, a=CLIPS[0])


def single_npy(folder: Path) -> Path:
    return npy(folder, a=CLIPS) / "a.npy"


def single_npz(folder: Path) -> Path:
    return two_suffixes(folder) / "b.npz"


def web_page(folder: Path) -> Path:
    (folder / "f.hdf5").write_text("<html>404</html>")
    return folder / "f.hdf5"


NAMES = r".*\(data\.features\.layout, --layout\)"


@pytest.mark.parametrize(
    ("write", "match"),
    [
        (projection, r"'data' holds 'U' and 'x_mean': these are ActivityNet's projection"),
        (datasets_and_groups, r"1 datasets of 2 axes such as 'a', 1 groups such as 'b'" + NAMES),
        (one_axis, r"1 datasets of 1 axes such as 'a'" + NAMES + ": hdf5, hdf5-group"),
        (empty_hdf5, r"an HDF5 file without a video"),
        (two_layouts_of_npy, r"arrays are \(T, 1, 1, C\), \(T, C\)" + NAMES + ": npy, vslnet, lgi"),
        (lgi_with_the_json_of_vslnet, r"feature_shapes\.json stands beside them" + NAMES),
        (patches, r"of 4 axes; four axes are patch features as R2-Tuning" + NAMES),
        (vectors_without_times, r"arrays are \(C,\)" + NAMES),
        (two_suffixes, r"1 \*\.npy, 1 \*\.npz" + NAMES + ".*npy, .*npz, .*text-vectors"),
        (files_and_folders, r"1 \*\.npy, 1 folders" + NAMES),
        (queries, r"'qid7' holds .*features of queries, not of videos"),
        (other_arrays, r"'a' holds \['feats'\]" + NAMES),
        (pickles, r"1 \*\.pkl" + NAMES),
        (hdf5_in_a_folder, r"1 \*\.h5: name one of these files"),
        (notes_only, r"no feature file in it, but 1 of other kinds"),
        (several_streams, r"--streams clip_features,slowfast_features"),
        (csv_without_names, r"'a', line 1: '1,2': expected a row of column names"),
        (single_npy, r"a single npy array, not an HDF5 file: expected.* the folder that holds"),
        (single_npz, r"a single npz or pt file"),
        (web_page, r"\(16 bytes\): a file that begins with b'<html>40', not an HDF5 file"),
    ],
)
def test_refused(tmp_path: Path, write: Callable[[Path], Path], match: str) -> None:
    with pytest.raises(FeatureError, match=match):
        open_features(write(tmp_path), spec={"backbone": "tiny"})


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match=r"gone'.*no such file or folder"):
        open_features(tmp_path / "gone")
    with pytest.raises(FeatureError, match=r"gone'.*no such file or folder"):
        open_features(tmp_path / "gone", layout="lgi")
    with pytest.raises(FeatureError, match=r"no feature file"):
        open_features(tmp_path)


@pytest.mark.parametrize("layout", ["hdf5-group", "activitynet-c3d"])
def test_the_projection_is_refused_under_any_name(tmp_path: Path, layout: str) -> None:
    path = projection(tmp_path).rename(tmp_path / "sub_activitynet_v1-3.c3d.hdf5")
    with pytest.raises(FeatureError, match=r"projection matrices, not features"):
        open_features(path, layout=layout)


@pytest.mark.parametrize(
    ("write", "layout", "match"),
    [
        (patches, "npy", r"'a'.*\(2, 4, 50, 768\): expected \(T, C\); four axes are patch feat"),
        (patches, "lgi", r"'a'.*expected \(T, 1, 1, C\)"),
        (two_layouts_of_npy, "npy", r"'b'.*are read with the layout 'lgi'"),
        (two_layouts_of_npy, "lgi", r"'a'.*\(4, 3\): expected \(T, 1, 1, C\)"),
        (vectors_without_times, "npy", r"'a'.*are read with the layout 'tall'"),
        (vectors_without_times, "tall", r"no file \{id\}_\{first\}_\{first \+ 64\}\.npy"),
        (datasets_and_groups, "hdf5", r"'b'.*is a group.*layout 'hdf5-group'"),
        (queries, "npz", r"arrays \['last_hidden_state', 'pooler_output'\].*features of queries"),
    ],
)
def test_a_named_layout_that_is_not_there(
    tmp_path: Path, write: Callable[[Path], Path], layout: str, match: str
) -> None:
    with pytest.raises(FeatureError, match=match):
        source = open_features(write(tmp_path), layout=layout, spec={"backbone": "tiny"})
        for video_id in source.video_ids():
            source.read_clips(video_id)


def test_files_that_do_not_matter_are_named(tmp_path: Path) -> None:
    folder = npy(tmp_path, a=CLIPS)
    (folder / "README.txt").write_text("features")
    (folder / "Charades_duration.json").write_text("{}")
    (folder / ".DS_Store").write_text("")
    found = recognise(folder)
    assert found.layout == "npy"
    assert "1 *.npy; 2 files of other kinds are left out" in found.reasons[0]
