"""Format version 2: mapped from the file, shared, and refused where it is damaged."""

from __future__ import annotations

import mmap
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from bpnet_features import FeatureError, FeatureSpec, FeatureStore, FeatureWriter, open_features
from bpnet_features import mapped as mapped_module
from bpnet_features.header import write_header
from bpnet_features.packed import row_type

SPEC = FeatureSpec("tiny", 3)


def clips(number: int) -> np.ndarray:
    return np.random.default_rng(number).normal(size=(4 + number, 3)).astype(np.float32)


def write(path: Path, dtype: str = "float32", num_videos: int = 3) -> Path:
    with FeatureWriter(path, SPEC, dtype) as writer:
        for number in range(num_videos):
            writer.add(f"v{number}", clips(number), 8.0)
    return path


def resident_pages(path: Path) -> int:
    """Kilobytes of a file that this process has mapped and looked at."""
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ")[0]:
            inside = line.endswith(str(path))
        elif inside and line.startswith("Rss:"):
            total += int(line.split()[1])
    return total


def test_single_precision_is_not_copied(tmp_path: Path) -> None:
    store = FeatureStore(write(tmp_path / "f.h5"))
    read = store.read_clips("v1")
    assert np.shares_memory(read, store.read_clips("v1"))
    assert not read.flags.writeable and not read.flags.owndata
    store.close()
    assert np.array_equal(read, clips(1))  # what was read outlives the store


def test_videos_are_found_in_any_order(tmp_path: Path) -> None:
    store = FeatureStore(write(tmp_path / "f.h5", "float16", 30))
    for number in np.random.default_rng(0).permutation(30):
        expected = clips(number).astype(np.float16).astype(np.float32)
        assert np.array_equal(store.read(f"v{number}")[0], expected)


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="Linux only")
def test_pages_that_were_read_are_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f.h5"
    with FeatureWriter(path, FeatureSpec("wide", 1024), "float16") as writer:
        for number in range(100):
            writer.add(f"v{number}", np.full((100, 1024), number), 8.0)
    monkeypatch.setattr(mapped_module, "KEPT_BYTES", 2**21)
    store = FeatureStore(path)
    held = store._videos.read("v7", "")[0]
    most = 0
    for number in range(100):  # 20 MB
        assert store.read(f"v{number}")[0].min() == number
        most = max(most, resident_pages(path))
    assert 0 < most < 4096
    assert held.max() == 7  # is read again


def test_without_a_way_to_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(mmap, "MADV_DONTNEED", raising=False)
    monkeypatch.setattr(mapped_module, "KEPT_BYTES", 1)
    store = FeatureStore(write(tmp_path / "f.h5"))
    assert all(np.array_equal(store.read(f"v{n}")[0], clips(n)) for n in (0, 1, 2))


def test_a_file_that_is_replaced(tmp_path: Path) -> None:
    path = write(tmp_path / "f.h5")
    store, late = FeatureStore(path), FeatureStore(path)
    store.read("v0")
    write(tmp_path / "g.h5", num_videos=5).replace(path)
    assert np.array_equal(store.read("v1")[0], clips(1))  # goes on with what it has
    with pytest.raises(FeatureError, match=r"f\.h5': has changed since it was opened"):
        late.read("v0")
    path.unlink()
    with pytest.raises(FeatureError, match=r"f\.h5': cannot be read \(FileNotFoundError"):
        late.read("v0")


def test_an_empty_store(tmp_path: Path) -> None:
    store = FeatureStore(write(tmp_path / "f.h5", num_videos=0))
    assert (store.video_ids(), len(store)) == ([], 0)
    store.close()


def test_the_writer_leaves_nothing_behind(tmp_path: Path) -> None:
    writer = FeatureWriter(tmp_path / "f.h5", SPEC)
    writer.add("a", clips(0), 8.0)
    shutil.rmtree(tmp_path)
    with pytest.raises(OSError, match="No such file"):
        writer.close()
    tmp_path.mkdir()
    with FeatureWriter(tmp_path / "f.h5", SPEC) as writer:
        writer.add("a", clips(0), 8.0)
    assert [file.name for file in tmp_path.iterdir()] == ["f.h5"]


def test_rows_need_not_lie_side_by_side(tmp_path: Path) -> None:
    """As where a faulty video was dropped: its clips are nobody's."""
    path = write(tmp_path / "f.h5")
    with h5py.File(path, "r+") as file:
        rows = file["videos"][()][[2, 0]]
        del file["videos"]
        file["videos"] = rows
    store = FeatureStore(path)
    assert store.video_ids() == ["v0", "v2"]
    assert np.array_equal(store.read("v2")[0], clips(2))


Change = Callable[[h5py.File], object]


def rows(**values: object) -> Change:
    """Change columns of the table; what a value cannot be set to raises."""

    def change(file: h5py.File) -> None:
        table = file["videos"][()]
        for name, value in values.items():
            table[name][1:] = value
        file["videos"][...] = table

    return change


def instead(name: str, **options: object) -> Change:
    """Another dataset in place of one."""

    def change(file: h5py.File) -> None:
        del file[name]
        file.create_dataset(name, **options)

    return change


def contiguous_without_storage(file: h5py.File) -> None:
    del file["clips"]
    file.create_dataset("clips", (2**40, 3), "<f4")


def external(file: h5py.File) -> None:
    del file["clips"]
    file.create_dataset("clips", (15, 3), "<f4", external=[("/etc/passwd", 0, 180)])


def virtual(file: h5py.File) -> None:
    del file["clips"]
    layout = h5py.VirtualLayout((15, 3), "<f4")
    layout[:] = h5py.VirtualSource("other.h5", "a", (15, 3))
    file.create_virtual_dataset("clips", layout)


def soft_link(file: h5py.File) -> None:
    file.move("clips", "z")
    file["clips"] = h5py.SoftLink("/z")


def group(file: h5py.File) -> None:
    del file["videos"]
    file["videos/a"] = 1


NUMBERS = [("id", "S2"), *((name, "<i8") for name in row_type(1).names[1:])]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (rows(first_clip=-1), r"2 of 3 videos do not lie in its 15 clips.*\(rows 1, 2 of 'videos'"),
        (rows(first_clip=10), r"1 of 3 videos do not lie in its 15 clips.*\(rows 2 of"),
        (rows(first_clip=2**62), "2 of 3 videos do not lie"),
        (rows(num_clips=0), "2 of 3 videos do not lie"),
        (rows(num_clips=-(2**63)), "2 of 3 videos do not lie"),
        (rows(num_clips=2**62), "2 of 3 videos do not lie"),
        (rows(id=b"v0"), r"2 of 3 ids are empty or there twice \(rows 0, 1 of"),
        (rows(id=b""), r"2 of 3 ids are empty or there twice \(rows 1, 2 of"),
        (rows(id=b"\xff"), r"f\.h5': damaged data \(UnicodeDecodeError"),
        (lambda file: file.__delitem__("clips"), r"no dataset 'clips': expected one"),
        (lambda file: file.__delitem__("videos"), r"no dataset 'videos'"),
        (group, r"no dataset 'videos'"),
        (soft_link, r"'clips' is a link to elsewhere"),
        (instead("videos", data=h5py.Empty("<f4")), r"no dataset 'videos'"),
        (instead("videos", data=np.zeros(3)), r"'videos' of shape \(3,\) and float64: expected at"),
        (instead("videos", data=np.zeros((1, 1), row_type(2))), r"'videos' of shape \(1, 1\)"),
        (instead("videos", data=np.zeros(1, row_type(256))), r"'videos' of shape \(1,\)"),
        (instead("videos", data=np.zeros(1, NUMBERS)), r"'videos' of shape \(1,\)"),
        (instead("clips", data=np.zeros((15, 2), "<f4")), r"'clips' .*expected float16 or .*, 3\)"),
        (instead("clips", data=np.zeros((15, 3), "<f8")), r"'clips' .*float64: expected float16"),
        (instead("clips", data=np.zeros((15, 3), ">f4")), r"'clips' .*>f4: expected float16"),
        (instead("clips", data=np.zeros(45, "<f4")), r"'clips' of shape \(45,\)"),
        (
            instead("clips", data=np.zeros((15, 3), "<f4"), chunks=(5, 3)),
            r"'clips' of shape \(15, 3\) and float32 does not lie in one piece",
        ),
        (contiguous_without_storage, r"'clips' .*does not lie in one piece in the file"),
        (external, r"'clips' .*does not lie in one piece in the file"),
        (virtual, r"damaged heap of texts"),
    ],
)
def test_damaged_files_are_refused_when_opened(tmp_path: Path, change: Change, match: str) -> None:
    path = write(tmp_path / "f.h5")
    with h5py.File(path, "r+") as file:
        change(file)
    for opened in (FeatureStore, open_features):
        with pytest.raises(FeatureError, match=match):
            opened(path)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"duration_seconds": np.inf}, "'v1'.*duration_seconds=inf.*expected finite numbers"),
        ({"start_seconds": np.nan}, "'v1'.*start_seconds=nan"),
        ({"stride_seconds": -np.inf}, "'v1'.*stride_seconds=-inf"),
        ({"stride_seconds": -1.0}, r"'v1'.*stride_seconds=-1\.0"),
        ({"resampled_from": 10**12}, "'v1'.*resampled_from=1000000000000"),
        ({"resampled_from": -7}, "'v1'.*resampled_from=-7"),
    ],
)
def test_damaged_times(tmp_path: Path, values: dict[str, object], match: str) -> None:
    path = write(tmp_path / "f.h5")
    with h5py.File(path, "r+") as file:
        rows(**values)(file)
    store = FeatureStore(path)
    store.read("v0")
    with pytest.raises(FeatureError, match=match):
        store.read("v1")


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_values_that_are_not_finite(tmp_path: Path, dtype: str) -> None:
    path = write(tmp_path / "f.h5", dtype)
    with h5py.File(path, "r+") as file:
        file["clips"][6, 1] = np.inf  # the third clip of v1
    store = FeatureStore(path)
    store.read("v0")
    with pytest.raises(FeatureError, match=r"'v1'.*NaN or infinite values in 1 of 5 .*in clip 2"):
        store.read("v1")


@pytest.mark.parametrize("cut", [1, 200, 1000, 100_000])
def test_a_file_that_is_cut_off(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "f.h5"
    with FeatureWriter(path, SPEC) as writer:
        writer.add("a", np.ones((50_000, 3)), 8.0)
    data = path.read_bytes()
    path.write_bytes(data[:-cut])
    with pytest.raises(FeatureError, match=r"f\.h5' \(\d+ bytes\): a truncated or damaged HDF5"):
        FeatureStore(path)


def test_a_sparse_file_of_twenty_gigabytes(tmp_path: Path) -> None:
    """Opening it, and reading from its end, costs what its table costs."""
    path = tmp_path / "f.h5"
    num_videos, per_video = 1000, 10_000
    spec = FeatureSpec("wide", 1024)
    table = np.zeros(num_videos, row_type(4))
    table["id"] = [f"{number:04}".encode() for number in range(num_videos)]
    table["first_clip"] = np.arange(num_videos) * per_video
    table["num_clips"], table["duration_seconds"] = per_video, 100.0
    table["stride_seconds"] = np.nan
    with h5py.File(path, "w") as file:
        write_header(file, spec)
        how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        how.set_layout(h5py.h5d.CONTIGUOUS)
        how.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        how.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        space = h5py.h5s.create_simple((num_videos * per_video, 1024))
        h5py.h5d.create(file.id, b"clips", h5py.h5t.IEEE_F16LE, space, how)
        file["videos"] = table
    assert path.stat().st_size > 20 * 10**9 and path.stat().st_blocks * 512 < 10**6
    with FeatureStore(path) as store:
        read, grid = store.read("0999")
        assert read.shape == (per_video, 1024) and not read.any()
        assert grid.duration_seconds == 100.0
