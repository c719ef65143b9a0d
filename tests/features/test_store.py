"""FeatureStore and FeatureWriter: round trip, processes, damaged files."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import h5py
import numpy as np
import pytest

from bpnet_features import (
    FeatureError,
    FeatureSpec,
    FeatureStore,
    FeatureWriter,
    MissingVideoError,
)
from bpnet_features.header import APART, PACKED, write_header
from bpnet_features.source import Entry

SPEC = FeatureSpec(backbone="tiny", feature_dim=3)
CLIPS = np.arange(12, dtype=np.float32).reshape(4, 3)


def write(path: Path, clips: np.ndarray = CLIPS, dtype: str = "float32") -> Path:
    with FeatureWriter(path, SPEC, dtype) as writer:
        writer.add("a", clips, 8.0)
    return path


def raw(path: Path, **arrays: np.ndarray) -> Path:
    """A store that no writer of ours would write."""
    with h5py.File(path, "w") as file:
        write_header(file, SPEC, APART)
        for name, array in arrays.items():
            file.create_dataset(name, data=array)
    return path


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_round_trip(tmp_path: Path, dtype: str) -> None:
    clips = np.random.default_rng(0).normal(size=(5, 3)).astype(dtype)
    store = FeatureStore(write(tmp_path / "f.h5", clips, dtype))
    read, grid = store.read("a")
    assert store.entry("a") == Entry(5, 3, dtype, duration_seconds=8.0)
    assert read.dtype == np.float32
    assert np.array_equal(read, clips.astype(np.float32))
    assert grid.edges_seconds.tolist() == np.linspace(0, 8, 6).tolist()
    assert np.array_equal(store.grid("a").edges_seconds, grid.edges_seconds)
    assert (store.video_ids(), len(store), "a" in store, "b" in store) == (["a"], 1, True, False)
    assert store.spec == SPEC and store.layout == "bpnet"
    assert store.files("a") == (store.path,)


def test_the_file_is_that_of_the_format(tmp_path: Path) -> None:
    path = tmp_path / "f.h5"
    with FeatureWriter(path, SPEC) as writer:
        writer.add("b", CLIPS, 8.5, stride_seconds=2.0, start_seconds=0.25)
        writer.add("ä", CLIPS[:2] + 7, None)
    with h5py.File(path) as file:
        assert dict(file.attrs) == {
            "format": "bpnet-features",
            "format_version": 2,
            "spec": SPEC.to_json(),
        }
        assert sorted(file) == ["clips", "videos"]
        assert file["clips"].dtype == "<f4" and file["clips"].chunks is None
        assert np.array_equal(file["clips"], np.concatenate([CLIPS, CLIPS[:2] + 7]))
        table = file["videos"]
        assert table.dtype.names == (
            "id",
            "first_clip",
            "num_clips",
            "duration_seconds",
            "start_seconds",
            "stride_seconds",
            "resampled_from",
        )
        first, second = (row.item() for row in table)
        assert first == (b"b", 0, 4, 8.5, 0.25, 2.0, 0)
        assert second[:3] == ("ä".encode(), 4, 2) and np.isnan([second[3], second[5]]).all()
    grid = FeatureStore(path).read("b")[1]
    assert grid.edges_seconds.tolist() == [0.25, 2.25, 4.25, 6.25, 8.5]
    assert grid.duration_seconds == 8.5
    assert list(tmp_path.iterdir()) == [path]


def test_the_former_version_is_read(tmp_path: Path) -> None:
    with h5py.File(raw(tmp_path / "f.h5", a=CLIPS, b=CLIPS.astype(np.float16)), "a") as file:
        file["a"].attrs.update(duration_seconds=8.5, start_seconds=0.25, stride_seconds=2.0)
    store = FeatureStore(tmp_path / "f.h5")
    assert store.entry("a") == Entry(4, 3, "float32", 8.5, 2.0, 0.25)
    assert store.entry("b") == Entry(4, 3, "float16")
    assert np.array_equal(store.read("a")[0], CLIPS)
    assert np.array_equal(store.read("b", 8.0)[0], CLIPS)
    assert store.notes[1].startswith("format version 1: `bpnet features convert` makes it")


def test_stored_duration_wins_over_the_annotation(tiny_store: Path) -> None:
    assert FeatureStore(tiny_store).read("v0", duration_seconds=7.5)[1].duration_seconds == 8.0


def test_writer_failing_leaves_the_old_file(tmp_path: Path) -> None:
    path = write(tmp_path / "f.h5")
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="stop"), FeatureWriter(path, SPEC) as writer:
        writer.add("b", CLIPS, 8.0)
        raise RuntimeError("stop")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("death", ["os._exit(1)", "os.kill(os.getpid(), signal.SIGKILL)"])
@pytest.mark.parametrize("there", [True, False])
def test_killed_writer_leaves_the_old_file_or_none(tmp_path: Path, death: str, there: bool) -> None:
    path = tmp_path / "f.h5"
    before = write(path).read_bytes() if there else None
    code = f"""
        import os, signal, sys
        import numpy as np
        from bpnet_features import FeatureSpec, FeatureWriter
        writer = FeatureWriter(sys.argv[1], FeatureSpec("tiny", 300))
        for number in range(20):
            writer.add(f"v{{number}}", np.ones((500, 300)), 8.0)
        {death}
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(path)], timeout=60)
    assert done.returncode in (1, -signal.SIGKILL)
    assert (path.read_bytes() if path.exists() else None) == before


@pytest.mark.parametrize(
    ("video_id", "clips", "duration", "match"),
    [
        ("a", CLIPS, 8.0, "'a'.*already"),
        ("", CLIPS, 8.0, "''.*not empty"),
        ("b/c", CLIPS, 8.0, "'b/c'"),
        ("b", CLIPS[:, :2], 8.0, r"\(4, 2\): expected \(T, 3\)"),
        ("b", CLIPS[:0], 8.0, r"\(0, 3\).*T >= 1"),
        ("b", CLIPS[0], 8.0, r"\(3,\)"),
        ("b", CLIPS * np.nan, 8.0, "'b'.*NaN"),
        ("b", CLIPS + 7e4, 8.0, "float16 cannot hold"),
        ("b", CLIPS, 0.0, r"'b'.*duration_seconds=0\.0"),
    ],
)
def test_writer_refuses(
    tmp_path: Path, video_id: str, clips: np.ndarray, duration: float, match: str
) -> None:
    with FeatureWriter(tmp_path / "f.h5", SPEC, "float16") as writer:
        writer.add("a", CLIPS, 8.0)
        with pytest.raises(FeatureError, match=match):
            writer.add(video_id, clips, duration)
    assert FeatureStore(tmp_path / "f.h5").video_ids() == ["a"]


def test_writer_needs_a_folder_and_a_float_type(tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match="nowhere"):
        FeatureWriter(tmp_path / "nowhere" / "f.h5", SPEC)
    with pytest.raises(FeatureError, match="dtype='float64'"):
        FeatureWriter(tmp_path / "f.h5", SPEC, "float64")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match=r"gone\.h5.*no such file"):
        FeatureStore(tmp_path / "gone.h5")


def test_truncated_file(tiny_store: Path) -> None:
    tiny_store.write_bytes(tiny_store.read_bytes()[:3000])
    with pytest.raises(FeatureError, match=r"tiny\.h5' \(3000 bytes\): a truncated or damaged"):
        FeatureStore(tiny_store)


@pytest.mark.parametrize("content", [b"", b"<html>404</html>"])
def test_not_hdf5(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "f.h5"
    path.write_bytes(content)
    with pytest.raises(FeatureError, match=rf"\({len(content)} bytes\): not an HDF5 file"):
        FeatureStore(path)


@pytest.mark.parametrize(
    ("attribute", "value", "match"),
    [
        ("format_version", 99, "version 99: expected 'bpnet-features' version 1"),
        ("format", "other", "'other'"),
        ("spec", "{", "not JSON"),
    ],
)
def test_wrong_attributes(tiny_store: Path, attribute: str, value: object, match: str) -> None:
    with h5py.File(tiny_store, "a") as file:
        file.attrs[attribute] = value
    with pytest.raises(FeatureError, match=match):
        FeatureStore(tiny_store)


def test_spec_attribute_missing(tiny_store: Path) -> None:
    with h5py.File(tiny_store, "a") as file:
        del file.attrs["spec"]
    with pytest.raises(FeatureError, match=r"tiny\.h5"):
        FeatureStore(tiny_store)


def test_spec_mismatch_names_the_entries(tiny_store: Path) -> None:
    spec = FeatureStore(tiny_store).spec
    assert FeatureStore(tiny_store, spec).spec == spec
    other = dataclasses.replace(spec, seconds_per_clip=1.0, normalisation="l2")
    with pytest.raises(
        FeatureError, match=r"seconds_per_clip: 0\.5 != 1\.0; normalisation: 'none'"
    ):
        FeatureStore(tiny_store, other)


def test_missing_video(tiny_store: Path) -> None:
    store = FeatureStore(tiny_store)
    with pytest.raises(MissingVideoError, match=r"'v9' is not in .*tiny\.h5 \(4 videos\)"):
        store.read("v9")
    with pytest.raises(LookupError):
        store.read("")


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.where(CLIPS == 4, np.nan, CLIPS), "'a'.*1 of 4 clips, first in clip 1"),
        (np.where(CLIPS > 5, np.inf, CLIPS), "'a'.*2 of 4 clips, first in clip 2"),
        (CLIPS[:0], "'a'.*zero clips"),
        (CLIPS[:, :2], "'a'.*width 2, the feature spec says 3"),
        (CLIPS[0], r"'a'.*array of shape \(3,\): expected \(T, C\)"),
        (CLIPS.astype(int), "'a'.*int64"),
    ],
)
def test_bad_arrays_are_named_when_read(tmp_path: Path, array: np.ndarray, match: str) -> None:
    store = FeatureStore(raw(tmp_path / "f.h5", a=array))
    with pytest.raises(FeatureError, match=match):
        store.read("a", 8.0)


def test_damaged_data(tmp_path: Path) -> None:
    path = tmp_path / "f.h5"
    with h5py.File(raw(path), "a") as file:
        dataset = file.create_dataset("a", data=CLIPS, fletcher32=True, chunks=CLIPS.shape)
        offset = dataset.id.get_chunk_info(0).byte_offset
    data = bytearray(path.read_bytes())
    data[offset] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(FeatureError, match=r"'a'.*damaged data"):
        FeatureStore(path).read("a", 8.0)


def test_a_file_without_our_attributes(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["a"] = CLIPS
    with pytest.raises(FeatureError, match=r"f\.h5.*not in our own format.*data\.features\.layout"):
        FeatureStore(tmp_path / "f.h5")


@pytest.mark.parametrize("stride", [None, 2.0])
def test_a_store_without_durations(tmp_path: Path, stride: float | None) -> None:
    path = tmp_path / "f.h5"
    with FeatureWriter(path, SPEC) as writer:
        writer.add("a", CLIPS, None, stride_seconds=stride)
    store = FeatureStore(path)
    assert store.entry("a").duration_seconds is None
    assert store.read("a", 7.0)[1].duration_seconds == 7.0
    if stride is None:
        with pytest.raises(FeatureError, match=r"'a'.*neither a duration nor a time base"):
            store.read("a")
    else:
        assert store.read("a")[1].edges_seconds.tolist() == [0, 2, 4, 6, 8]


def test_a_group_in_place_of_a_video(tmp_path: Path) -> None:
    with h5py.File(raw(tmp_path / "f.h5"), "a") as file:
        file["a/clips"] = CLIPS
    store = FeatureStore(tmp_path / "f.h5")
    with pytest.raises(FeatureError, match=r"'a'.*a group, expected one dataset"):
        store.entry("a")


def test_other_names_of_a_video(tmp_path: Path) -> None:
    path = raw(
        tmp_path / "f.h5", **{"s13-d21": CLIPS, "v_x": CLIPS + 1, "7": CLIPS, "v_7": CLIPS + 2}
    )
    store = FeatureStore(path)
    assert store.video_ids() == ["7", "s13-d21", "v_7", "v_x"]
    assert np.array_equal(store.read("s13-d21-cam-002.avi", 8.0)[0], CLIPS)
    assert np.array_equal(store.read("x", 8.0)[0], CLIPS + 1)
    # Names that are alike are told apart, and found by nothing else.
    assert np.array_equal(store.read("7", 8.0)[0], CLIPS)
    assert np.array_equal(store.read("v_7", 8.0)[0], CLIPS + 2)
    assert "7.avi" not in store


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("duration_seconds", "eight", "'a'.*duration_seconds='eight': expected a finite number"),
        ("duration_seconds", [8.0, 9.0], "'a'.*'duration_seconds': expected one text or number"),
        ("stride_seconds", np.nan, "'a'.*stride_seconds=nan"),
        ("stride_seconds", -1.0, r"'a'.*stride_seconds=-1\.0"),
        ("resampled_from", 10**12, "'a'.*resampled_from=1000000000000"),
    ],
)
def test_damaged_times(tmp_path: Path, name: str, value: object, match: str) -> None:
    with h5py.File(raw(tmp_path / "f.h5", a=CLIPS), "a") as file:
        file["a"].attrs[name] = value
    with pytest.raises(FeatureError, match=match):
        FeatureStore(tmp_path / "f.h5").read("a", 8.0)


@pytest.fixture(params=[APART, PACKED])
def either_store(request: pytest.FixtureRequest, tmp_path: Path, tiny_store: Path) -> Path:
    """`tiny_store` in each version of the format."""
    if request.param == PACKED:
        return tiny_store
    store = FeatureStore(tiny_store)
    with h5py.File(tmp_path / "apart.h5", "w") as file:
        write_header(file, store.spec, APART)
        for video_id in store.video_ids():
            file[video_id] = store.read(video_id)[0]
            file[video_id].attrs["duration_seconds"] = 8.0
    return tmp_path / "apart.h5"


def test_pickled_store_opens_anew(either_store: Path) -> None:
    store = FeatureStore(either_store)
    expected = store.read("v1")[0]
    pickled = pickle.dumps(store)
    assert len(pickled) < 4000  # the index alone; the clips are 2 kB
    again = pickle.loads(pickled)
    assert np.array_equal(again.read("v1")[0], expected)


def test_closing_and_reading_again(either_store: Path) -> None:
    with FeatureStore(either_store) as store:
        first = store.read("v1")[0]
    assert np.array_equal(store.read("v1")[0], first)
    store.close()
    store.close()


def sum_of_video(store: FeatureStore, video_id: str) -> float:
    return float(store.read(video_id)[0].sum())


@pytest.mark.parametrize("method", ["fork", "spawn"])
# Forking warns where another test has started threads; the store is safe either way.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_reading_in_worker_processes(either_store: Path, method: str) -> None:
    store = FeatureStore(either_store)
    expected = [sum_of_video(store, f"v{number}") for number in range(4)]
    with multiprocessing.get_context(method).Pool(2) as pool:
        jobs = [(store, f"v{number % 4}") for number in range(16)]
        assert pool.starmap(sum_of_video, jobs) == expected * 4
    assert [sum_of_video(store, f"v{number}") for number in range(4)] == expected


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_inherited_store_is_opened_anew(either_store: Path) -> None:
    """Under fork the child holds the parent's object itself, not a pickled copy.

    A file of HDF5's is opened anew; a map is shared.
    """
    store = FeatureStore(either_store)
    expected = sum_of_video(store, "v2")
    context = multiprocessing.get_context("fork")
    answers = context.Queue()

    def answer() -> None:
        file = getattr(store._videos, "_file", None)
        total = sum_of_video(store, "v2")
        answers.put((total, os.getpid() if file is None else file._pid))

    children = [context.Process(target=answer) for _ in range(2)]
    for child in children:
        child.start()
    results = [answers.get(timeout=30) for _ in children]
    for child in children:
        child.join()
    assert [value for value, _ in results] == [expected] * 2
    assert {pid for _, pid in results} == {child.pid for child in children}
    assert sum_of_video(store, "v2") == expected


def test_importing_does_not_import_torch() -> None:
    code = (
        "import sys, bpnet_features, bpnet_features.check\n"
        "print(sorted(name for name in ('torch', 'av', 'bpnet', 'hydra') if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
