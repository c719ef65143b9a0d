"""Small copies of the published feature releases, laid out exactly as each of them is.

Every ``write_...`` function writes below a folder, which must exist and be empty, and gives the
path to open and what must come out: arrays (T, C) float32 by the id that annotation files use.

`LAYOUTS` holds them by the name that ``layout=`` takes; ``open_features(path, layout=name)`` needs
nothing else. With ``layout="auto"`` those of `AUTO_SPECS` need the spec that stands there, because
nothing in such a release says what it is. `STREAMS` holds releases of several streams: their
functions give the names of the streams, in order, as a third value, and arrays that are joined but
not normalised.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from bpnet_features import FeatureSpec, FeatureWriter

Clips = npt.NDArray[np.float32]
Written = tuple[Path, dict[str, Clips]]

CHARADES = ("3MSZA", "AO8RW", "00607")
TACOS = ("s13-d21", "s17-d69")
ACTIVITYNET = ("v_QOlSCBRmfWY", "v_0dkIbKXXFzI")
QVHIGHLIGHTS = ("NUsG9BgSes0_210.0_360.0", "_8WdE1a-Hf8_60.0_210.0")


def clips(seed: int, num_clips: int, width: int, dtype: Any = np.float32) -> npt.NDArray[Any]:
    """Made-up features; about a third of them zero, as after a rectifier."""
    values = np.random.default_rng(seed).normal(0.3, 1.0, size=(num_clips, width))
    return np.maximum(values, 0).astype(dtype)


def made(ids: tuple[str, ...], width: int, dtype: Any = np.float32) -> dict[str, npt.NDArray[Any]]:
    """Features of several videos, of 3, 5, 7 ... clips."""
    return {name: clips(seed, 3 + 2 * seed, width, dtype) for seed, name in enumerate(ids)}


def single(arrays: dict[str, npt.NDArray[Any]]) -> dict[str, Clips]:
    """The same as float32: what a reader must give."""
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def write_hdf5(
    path: Path, arrays: dict[str, npt.NDArray[Any]], name: str = "{}", **options: Any
) -> Written:
    """One HDF5 file; ``name`` turns an id into the name of its dataset."""
    with h5py.File(path, "w") as file:
        for video_id, array in arrays.items():
            file.create_dataset(name.format(video_id), data=array, **options)
    return path, single(arrays)


def write_npy(folder: Path, arrays: dict[str, npt.NDArray[Any]]) -> Written:
    """A folder of ``{id}.npy``."""
    folder.mkdir(parents=True)
    for video_id, array in arrays.items():
        np.save(folder / f"{video_id}.npy", array)
    return folder, single(arrays)


def write_npz(folder: Path, arrays: dict[str, npt.NDArray[Any]]) -> Written:
    """A folder of ``{id}.npz`` with the array ``features``."""
    folder.mkdir(parents=True)
    for video_id, array in arrays.items():
        np.savez(folder / f"{video_id}.npz", features=array)
    return folder, single(arrays)


def write_2d_tan_charades(folder: Path) -> Written:
    """VGG, float64 and gzip as the convert script leaves it."""
    arrays = made(CHARADES, 4096, np.float64)
    return write_hdf5(folder / "vgg_rgb_features.hdf5", arrays, compression="gzip")


def write_2d_tan_tacos(folder: Path) -> Written:
    """C3D under keys with ``.avi``, gzip."""
    arrays = made(TACOS, 4096)
    path = folder / "tall_c3d_features.hdf5"
    return write_hdf5(path, arrays, "{}.avi", compression="gzip")


def write_ms_2d_tan_tacos(folder: Path) -> Written:
    """C3D under keys without ``.avi``."""
    return write_hdf5(folder / "tacos_c3d_fc6_nonoverlap.hdf5", made(TACOS, 4096))


def write_ms_2d_tan_charades(folder: Path) -> Written:
    """I3D at 25 frames a second."""
    return write_hdf5(folder / "charades_i3d_rgb_25fps.hdf5", made(CHARADES, 1024))


def write_ms_2d_tan_activitynet(folder: Path) -> Written:
    """C3D, a clip a second, stored in half precision."""
    arrays = made(ACTIVITYNET, 4096, np.float16)
    return write_hdf5(folder / "activitynet_c3d_fc6_stride_1s.hdf5", arrays)


def write_cpl(folder: Path) -> Written:
    """The I3D features of LGI, squeezed into one file."""
    return write_hdf5(folder / "i3d_features.hdf5", made(CHARADES, 1024), compression="gzip")


def write_activitynet_c3d(folder: Path) -> Written:
    """The official file: a group for each video."""
    path = folder / "sub_activitynet_v1-3.c3d.hdf5"
    return write_hdf5(path, made(ACTIVITYNET, 500), "{}/c3d_features")


def write_activitynet_c3d_stride_64(folder: Path) -> Written:
    """Its derivative with fewer clips."""
    path = folder / "sub_activitynet_v1-3_stride_64frame.c3d.hdf5"
    return write_hdf5(path, made(ACTIVITYNET, 500), "{}/c3d_features")


def write_bmt(folder: Path) -> Written:
    """Two streams in a group in the group of each video; rgb comes first."""
    path = folder / "sub_activitynet_v1-3.i3d_25fps_stack24step24_2stream.hdf5"
    rgb = made(ACTIVITYNET, 1024)
    flow = {name: array[::-1] + 1 for name, array in rgb.items()}
    with h5py.File(path, "w") as file:
        for name in rgb:
            file[f"{name}/i3d_features/flow"] = flow[name]
            file[f"{name}/i3d_features/rgb"] = rgb[name]
    return path, {name: np.concatenate([rgb[name], flow[name]], axis=1) for name in rgb}


def write_vslnet(folder: Path) -> Written:
    """A folder of npy files, with the number of clips of each in a json file beside them."""
    path, expected = write_npy(folder / "charades" / "new", made(CHARADES, 1024))
    shapes = {name: len(array) for name, array in expected.items()}
    (path / "feature_shapes.json").write_text(json.dumps(shapes), encoding="utf-8")
    return path, expected


def write_lgi(folder: Path) -> Written:
    """Arrays (T, 1, 1, 1024)."""
    arrays = made(CHARADES, 1024)
    write_npy(
        folder / "i3d_finetuned", {name: array[:, None, None] for name, array in arrays.items()}
    )
    return folder / "i3d_finetuned", arrays


def write_snag(folder: Path) -> Written:
    """C3D of Charades."""
    return write_npy(folder / "c3d_features", made(CHARADES, 4096))


def write_cg_detr(folder: Path) -> Written:
    """VGG of Charades."""
    return write_npy(folder / "vgg_features" / "rgb_features", made(CHARADES, 4096))


def write_drn(folder: Path, legacy: bool = False) -> Written:
    """One tensor a file; ``legacy`` is the container that PyTorch wrote before 1.6."""
    import torch

    path, arrays = folder / "C3D_unit16_overlap0.5_merged", made(CHARADES, 4096)
    path.mkdir()
    for video_id, array in arrays.items():
        torch.save(
            torch.from_numpy(array),
            path / f"{video_id}.pt",
            _use_new_zipfile_serialization=not legacy,
        )
    return path, arrays


def write_drn_legacy(folder: Path) -> Written:
    """As `write_drn`, in the older container."""
    return write_drn(folder, legacy=True)


def write_moment_detr(folder: Path) -> Written:
    """The SlowFast stream alone."""
    return write_npz(folder / "slowfast_features", made(QVHIGHLIGHTS, 2304))


def write_lighthouse(folder: Path) -> Written:
    """CLIP in half precision."""
    return write_npz(folder / "clip", made(CHARADES, 512, np.float16))


def write_univtg(folder: Path) -> Written:
    """SlowFast."""
    return write_npz(folder / "vid_slowfast", made(CHARADES, 2304))


def write_allenai(folder: Path) -> Written:
    """A folder a video, in it a text file a vector."""
    path, arrays = folder / "Charades_v1_features_rgb", made(CHARADES, 4096)
    for video_id, array in arrays.items():
        (path / video_id).mkdir(parents=True)
        for number, vector in enumerate(array):
            text = " ".join(map(str, vector.tolist()))
            file = path / video_id / f"{video_id}-{4 * number + 1:06d}.txt"
            file.write_text(f"{text}\n", encoding="ascii")
    return path, arrays


def write_mmaction2_csv(folder: Path) -> Written:
    """A row of column names, four decimals, no newline at the end."""
    path, expected = folder / "csv_mean_100", {}
    path.mkdir()
    for video_id, array in made(ACTIVITYNET, 400).items():
        rows = [[f"{value:.4f}" for value in row] for row in array.tolist()]
        header = [f"f{column}" for column in range(400)]
        text = "\n".join(",".join(row) for row in [header, *rows])
        (path / f"{video_id}.csv").write_text(text, encoding="ascii")
        expected[video_id] = np.array(rows, dtype=np.float64).astype(np.float32)
    return path, expected


def write_tall(folder: Path) -> Written:
    """A file a clip, frames counted from 1; longer intervals stand between those of 64 frames."""
    path, arrays = folder / "Interval64_128_256_512_overlap0.8_c3d_fc6", made(TACOS, 4096)
    path.mkdir()
    for video_id, array in arrays.items():
        for number, vector in enumerate(array):
            start = 12 * number + 1
            np.save(path / f"{video_id}.avi_{start}_{start + 64}.npy", vector)
        np.save(path / f"{video_id}.avi_1_129.npy", array[0] + 1)
        np.save(path / f"{video_id}.avi_26_154.npy", array[0] + 2)
    return path, arrays


def write_bpnet(folder: Path) -> Written:
    """Our own format."""
    arrays, path = made(CHARADES, 8), folder / "features.h5"
    spec = FeatureSpec(backbone="tiny", feature_dim=8, seconds_per_clip=0.5)
    with FeatureWriter(path, spec) as writer:
        for name, array in arrays.items():
            writer.add(name, array, len(array) / 2)
    return path, arrays


LAYOUTS: dict[str, Callable[[Path], Written]] = {
    "2d-tan": write_2d_tan_charades,
    "2d-tan-tacos-c3d": write_2d_tan_tacos,
    "ms-2d-tan": write_ms_2d_tan_tacos,
    "ms-2d-tan-charades-i3d": write_ms_2d_tan_charades,
    "hdf5": write_ms_2d_tan_activitynet,
    "cpl": write_cpl,
    "activitynet-c3d": write_activitynet_c3d,
    "hdf5-group": write_activitynet_c3d_stride_64,
    "bmt": write_bmt,
    "vslnet": write_vslnet,
    "lgi": write_lgi,
    "snag": write_snag,
    "npy": write_cg_detr,
    "drn": write_drn,
    "pt": write_drn_legacy,
    "moment-detr": write_moment_detr,
    "lighthouse": write_lighthouse,
    "npz": write_univtg,
    "allenai": write_allenai,
    "mmaction2-csv": write_mmaction2_csv,
    "tall": write_tall,
    "bpnet": write_bpnet,
}

AUTO_SPECS: dict[str, dict[str, Any]] = {"snag": {"backbone": "c3d"}}


def write_moment_detr_streams(folder: Path) -> tuple[Path, dict[str, Clips], tuple[str, ...]]:
    """SlowFast, then CLIP; the first video is one clip longer in CLIP, and half precision there."""
    slowfast = made(QVHIGHLIGHTS, 2304)
    clip = made(QVHIGHLIGHTS, 512, np.float16)
    first = QVHIGHLIGHTS[0]
    clip[first] = clips(7, len(slowfast[first]) + 1, 512, np.float16)
    write_npz(folder / "slowfast_features", slowfast)
    write_npz(folder / "clip_features", clip)
    joined = {
        name: np.concatenate([array, single(clip)[name][: len(array)]], axis=1)
        for name, array in slowfast.items()
    }
    return folder, joined, ("slowfast_features", "clip_features")


STREAMS: dict[str, Callable[[Path], tuple[Path, dict[str, Clips], tuple[str, ...]]]] = {
    "moment-detr": write_moment_detr_streams,
}
