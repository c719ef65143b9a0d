"""convert: what it writes, what it refuses, and that no interruption changes a byte."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from folder_source import SPEC, WIDTH, Folder, clips
from hypothesis import given
from hypothesis import strategies as st

from bpnet_features import FeatureError, FeatureStore
from bpnet_features import partfile as partfile_module
from bpnet_features import places as places_module
from bpnet_features.convert import convert
from bpnet_features.header import APART, write_header
from bpnet_features.source import Entry


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Videos "v0" to "v9" of 3, 5, ... 21 clips."""
    path = tmp_path / "release"
    path.mkdir()
    for number in range(10):
        np.save(path / f"v{number}.npy", clips(number))
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "f.h5"


@pytest.fixture(autouse=True)
def processes_at_once(monkeypatch) -> None:
    """So that small conversions are shared between processes as large ones are."""
    monkeypatch.setattr("bpnet_features.workers.ALONE_SECONDS", 0)
    monkeypatch.setattr("bpnet_features.convert.TASK_BYTES", 500)


def left_behind(out: Path) -> list[str]:
    return sorted(file.name for file in out.parent.iterdir())


PART, JOURNAL = ".f.h5.convert.part", ".f.h5.convert.journal"


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_values_times_and_summary(folder: Path, out: Path, dtype: str) -> None:
    source = Folder(folder, dataclasses.replace(SPEC, fps=8.0, clip_stride_frames=4))
    done = convert(source, out, dtype=dtype, durations={"v1": 2.4, "other": 1.0})
    assert left_behind(out) == ["f.h5"]
    size = np.dtype(dtype).itemsize
    assert (done.path, done.num_videos, done.num_clips) == (out, 10, 120)
    assert (done.num_bytes, done.num_bytes_before) == (120 * WIDTH * size, 0)
    assert (done.num_unknown_durations, done.dropped) == (9, ())
    store = FeatureStore(out)
    assert store.spec == source.spec
    assert store.video_ids() == [f"v{number}" for number in range(10)]
    for number in range(10):
        read, grid = store.read(f"v{number}", 30.0)
        assert np.array_equal(read, clips(number).astype(dtype).astype(np.float32))
        expected = source.grid(f"v{number}", 2.4 if number == 1 else 30.0)
        assert np.array_equal(grid.edges_seconds, expected.edges_seconds)
        assert grid.duration_seconds == expected.duration_seconds
    with h5py.File(out, locking=False) as file:
        assert dict(file.attrs) == {
            "format": "bpnet-features",
            "format_version": 2,
            "spec": source.spec.to_json(),
        }
        first, second = (row.item() for row in file["videos"][:2])
        assert first[:3] == (b"v0", 0, 3) and np.isnan(first[3]) and first[4:] == (0.0, 0.5, 0)
        assert second == (b"v1", 3, 5, 2.4, 0.0, 0.5, 0)


def test_numbers_lie_in_one_piece_and_aligned(folder: Path, out: Path) -> None:
    for number in range(10):
        np.save(folder / f"v{number}.npy", clips(number, 20 + number))
    convert(Folder(folder), out)
    with h5py.File(out, locking=False) as file:
        dataset = file["clips"]
        assert dataset.chunks is None and dataset.dtype == "<f4"
        offset = dataset.id.get_offset()
        assert offset % 4096 == 0
        mapped = np.memmap(out, "<f4", "r", offset, dataset.shape)
        expected = [clips(number, 20 + number) for number in range(10)]
        assert np.array_equal(mapped, np.concatenate(expected))


def test_a_store_of_the_former_version_is_packed(folder: Path, out: Path) -> None:
    expected, former = out.with_name("expected.h5"), out.with_name("former.h5")
    durations = {"v1": 2.4, "v9": 9.0}
    convert(Folder(folder), expected, durations=durations, max_clips=9)
    packed = FeatureStore(expected)
    with h5py.File(former, "w") as file:
        write_header(file, SPEC, APART)
        for video_id in packed.video_ids():
            entry = packed.entry(video_id)
            file[video_id] = packed.read_clips(video_id)
            times = {
                "duration_seconds": entry.duration_seconds,
                "stride_seconds": entry.stride_seconds,
                "start_seconds": entry.start_seconds,
                "resampled_from": entry.resampled_from,
            }
            given = {name: value for name, value in times.items() if value is not None}
            file[video_id].attrs.update(given)
    convert(FeatureStore(former), out)
    assert out.read_bytes() == expected.read_bytes()


def test_a_converted_store_converts_to_the_same_bytes(folder: Path, out: Path) -> None:
    convert(Folder(folder), out, durations={"v1": 2.4}, max_clips=9)
    again = out.with_name("again.h5")
    convert(FeatureStore(out), again)
    assert again.read_bytes() == out.read_bytes()


def test_pooling_twice_is_refused(folder: Path, out: Path) -> None:
    convert(Folder(folder), out, max_clips=9)
    with pytest.raises(FeatureError, match=r"^6 of 10 .*\n.*'v4' .* 9 clips, pooled from 11 befo"):
        convert(FeatureStore(out), out.with_name("g.h5"), max_clips=8)


@pytest.mark.parametrize("value", [2, -1, 5_000_000])
def test_a_store_that_lies_about_pooling(folder: Path, out: Path, value: int) -> None:
    convert(Folder(folder), out, durations={"v0": 4.0})
    with h5py.File(out, "r+", locking=False) as file:
        file["videos"]["resampled_from"] = [value] * 10
    with pytest.raises(FeatureError, match=rf"'v0' .*3 clips, resampled_from={value}: expected"):
        FeatureStore(out).read("v0")


def test_lengths_that_do_not_fit_the_stride_are_told(folder: Path, out: Path, caplog) -> None:
    source = Folder(folder, dataclasses.replace(SPEC, seconds_per_clip=0.5))
    convert(source, out, durations={f"v{number}": 1.5 + number for number in range(10)})
    assert not caplog.records
    convert(source, out.with_name("g.h5"), durations={"v0": 60.0, "v1": 60.0})
    first, second = (record.getMessage() for record in caplog.records)
    assert "'v0' differ: 1.50 s by the clips and their stride, 60.00 s in the" in first
    assert second.endswith("the length of 2 videos differ")


def test_values_that_half_precision_cannot_hold(folder: Path, out: Path) -> None:
    np.save(folder / "v3.npy", clips(3) + 7e4)
    with pytest.raises(FeatureError, match=r"'v3' .*values up to 700\d\d.* float16 cannot hold"):
        convert(Folder(folder), out, dtype="float16")
    # 65519 is rounded to the largest half, 65520 to infinity.
    np.save(folder / "v3.npy", np.full((2, WIDTH), 65519, np.float32))
    convert(Folder(folder), out, dtype="float16")
    assert FeatureStore(out).read("v3", 1.0)[0].max() == 65504


def spoil(folder: Path) -> None:
    """Faults that show when a video is read (v2, v5) and before (v7, v8)."""
    for number in (2, 5):
        array = clips(number)
        array[1, 2] = np.nan
        np.save(folder / f"v{number}.npy", array)
    np.save(folder / "v7.npy", clips(7)[:0])
    np.save(folder / "v8.npy", clips(8)[:, :4])


@pytest.mark.parametrize("jobs", [1, 2])
def test_all_faults_are_told_together(folder: Path, out: Path, jobs: int) -> None:
    spoil(folder)
    source = Folder(folder, lies={"v9x": Entry(4, WIDTH, "float32", duration_seconds=-1.0)})
    with pytest.raises(FeatureError) as caught:
        convert(source, out, jobs=jobs)
    first, *lines = str(caught.value).splitlines()
    assert first.startswith(f"5 of 11 videos cannot be converted, {str(out)!r} was not written")
    texts = ("1 of 7 clips", "1 of 13 clips", "zero clips", "width 4", "duration_seconds=-1.0")
    for line, number, text in zip(lines, ("2", "5", "7", "8", "9x"), texts, strict=True):
        assert line.startswith(f"  video 'v{number}' in {folder}: ") and text in line
    assert left_behind(out) == [JOURNAL, PART]


def test_of_many_faults_five_are_told(folder: Path, out: Path) -> None:
    for file in folder.iterdir():
        np.save(file, np.full((3, WIDTH), np.inf))
    with pytest.raises(FeatureError, match=r"^10 of 10 videos(.*\n){6}  \.\.\. and 5 more$"):
        convert(Folder(folder), out)
    for file in folder.iterdir():
        np.save(file, np.zeros((0, WIDTH)))
    with pytest.raises(FeatureError, match=r"^10 of 10 videos(.*\n){6}  \.\.\. and 5 more$"):
        convert(Folder(folder), out, faulty="drop")


def test_a_mended_source_goes_on(folder: Path, out: Path, caplog) -> None:
    expected = out.with_name("expected.h5")
    convert(Folder(folder), expected)
    for number in (2, 5):
        np.save(folder / f"v{number}.npy", clips(number) * np.nan)
    with pytest.raises(FeatureError, match=r"^2 of 10"):
        convert(Folder(folder), out)
    for number in (2, 5):
        np.save(folder / f"v{number}.npy", clips(number))
    done = convert(Folder(folder), out)
    assert done.num_bytes - done.num_bytes_before == (7 + 13) * WIDTH * 4
    assert out.read_bytes() == expected.read_bytes()
    assert not caplog.records


def test_a_video_that_changed_is_read_again(folder: Path, out: Path) -> None:
    np.save(folder / "v5.npy", clips(5) * np.nan)
    with pytest.raises(FeatureError, match=r"^1 of 10"):
        convert(Folder(folder), out)
    np.save(folder / "v5.npy", clips(5))
    np.save(folder / "v6.npy", clips(6) + 1)
    done = convert(Folder(folder), out)
    assert done.num_bytes - done.num_bytes_before == (13 + 15) * WIDTH * 4
    assert np.array_equal(FeatureStore(out).read("v6", 1.0)[0], clips(6) + 1)


@pytest.mark.parametrize("jobs", [1, 2])
def test_dropping(folder: Path, out: Path, jobs: int) -> None:
    spoil(folder)
    done = convert(Folder(folder), out, faulty="drop", jobs=jobs)
    assert left_behind(out) == ["f.h5"]
    assert [line.split("'")[1] for line in done.dropped] == ["v2", "v5", "v7", "v8"]
    good = [0, 1, 3, 4, 6, 9]
    assert (done.num_videos, done.num_clips) == (6, sum(3 + 2 * number for number in good))
    store = FeatureStore(out)
    assert store.video_ids() == [f"v{number}" for number in good]
    for number in good:
        assert np.array_equal(store.read(f"v{number}", 1.0)[0], clips(number))


def test_dropping_after_the_error_reads_only_what_is_missing(folder: Path, out: Path) -> None:
    expected = out.with_name("expected.h5")
    spoil(folder)
    convert(Folder(folder), expected, faulty="drop")
    with pytest.raises(FeatureError, match=r"^4 of 10"):
        convert(Folder(folder), out)
    done = convert(Folder(folder), out, faulty="drop")
    assert done.num_bytes_before == done.num_bytes
    assert out.read_bytes() == expected.read_bytes()


def test_broken_off_while_dropping(folder: Path, out: Path, monkeypatch, caplog) -> None:
    expected = out.with_name("expected.h5")
    spoil(folder)
    convert(Folder(folder), expected, faulty="drop")

    def fail_half_way(path: Path, video_ids: list[str]) -> None:
        places_module.remove(path, video_ids[:1])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("bpnet_features.convert.remove", fail_half_way)
        convert(Folder(folder), out, faulty="drop")
    assert left_behind(out) == [JOURNAL, PART, "expected.h5"]
    assert convert(Folder(folder), out, faulty="drop").num_bytes_before == 0
    assert "broken off at the very end" in caplog.text
    assert out.read_bytes() == expected.read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "float16"},
        {"max_clips": 9},
        {"durations": {"v3": 7.0}},
        {"source": {"spec": dataclasses.replace(SPEC, normalisation="l2")}},
        {"source": {"notes": ("normalise l2",)}},
        {"files": {"v3": clips(3, 8)}},
        {"files": {"new": clips(3)}},
    ],
    ids=str,
)
def test_another_plan_begins_anew(folder: Path, out: Path, change: dict, caplog) -> None:
    np.save(folder / "v5.npy", clips(5) * np.nan)
    with pytest.raises(FeatureError, match=r"^1 of 10"):
        convert(Folder(folder), out)
    np.save(folder / "v5.npy", clips(5))
    for name, array in change.pop("files", {}).items():
        np.save(folder / f"{name}.npy", array)
    source = dataclasses.replace(Folder(folder), **change.pop("source", {}))
    assert convert(source, out, **change).num_bytes_before == 0
    assert "begun before with another source, other videos or other options" in caplog.text
    expected = out.with_name("expected.h5")
    convert(source, expected, **change)
    assert out.read_bytes() == expected.read_bytes()


@pytest.mark.parametrize("damage", ["torn", "nonsense", "empty", "gone", "no part"])
def test_a_damaged_journal_costs_work_only(folder: Path, out: Path, damage: str) -> None:
    expected = out.with_name("expected.h5")
    convert(Folder(folder), expected)
    np.save(folder / "v5.npy", clips(5) * np.nan)
    with pytest.raises(FeatureError, match=r"^1 of 10"):
        convert(Folder(folder), out)
    np.save(folder / "v5.npy", clips(5))
    journal = out.with_name(JOURNAL)
    before = 0
    match damage:
        case "torn":
            journal.write_bytes(journal.read_bytes() + b'{"done": [["v5", "0')
            before = (120 - 13) * WIDTH * 4
        case "nonsense":
            journal.write_bytes(b"\xff\x00[[1]]\n")
        case "empty":
            journal.write_bytes(b"")
        case "gone":
            journal.unlink()
        case "no part":
            out.with_name(PART).unlink()
    assert convert(Folder(folder), out).num_bytes_before == before
    assert out.read_bytes() == expected.read_bytes()
    assert left_behind(out) == ["expected.h5", "f.h5"]


SLOW = """
    import sys
    from pathlib import Path
    from bpnet_features import convert as convert_module, partfile, workers
    from folder_source import Folder
    partfile.SYNC_SECONDS = workers.ALONE_SECONDS = 0
    convert_module.TASK_BYTES = 500
    if __name__ == "__main__":
        folder, out, jobs = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
        print("begins", flush=True)
        convert_module.convert(Folder(folder, slow_seconds=0.02 * jobs), out, jobs=jobs)
"""


def start_slow(folder: Path, out: Path, jobs: int) -> subprocess.Popen[str]:
    """A conversion of some tenths of a second, in a process group of its own."""
    script = out.with_name("slow.py")
    script.write_text(textwrap.dedent(SLOW))
    process = subprocess.Popen(
        [sys.executable, script, folder, out, str(jobs)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "begins\n"
    return process


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_killed_at_random_the_file_is_the_same(folder: Path, out: Path, jobs: int) -> None:
    for number in range(10, 40):
        np.save(folder / f"v{number}.npy", clips(number))
    expected = out.with_name("expected.h5")
    convert(Folder(folder), expected)
    rng = random.Random(jobs)
    killed = 0
    while killed < 6 and not out.exists():
        with start_slow(folder, out, jobs) as process:
            try:
                assert process.wait(rng.uniform(0.05, 0.6)) == 0
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                killed += 1
    if not out.exists():
        convert(Folder(folder), out, jobs=jobs)
    assert killed > 0
    assert out.read_bytes() == expected.read_bytes()


@pytest.mark.parametrize("jobs", [1, 2])
def test_killed_once_it_goes_on(folder: Path, out: Path, jobs: int) -> None:
    """Only the parent is killed: its workers end by themselves, and until then keep the lock."""
    expected = out.with_name("expected.h5")
    convert(Folder(folder), expected)
    journal = out.with_name(JOURNAL)
    with start_slow(folder, out, jobs) as process:
        while not journal.exists() or "done" not in journal.read_text():
            assert process.poll() is None
            time.sleep(0.002)
        process.kill()
    done = convert(Folder(folder), out)
    assert 0 < done.num_bytes_before <= done.num_bytes
    assert out.read_bytes() == expected.read_bytes()


def test_the_number_of_processes_changes_nothing(folder: Path, out: Path) -> None:
    contents = set()
    for jobs in (1, 2, 3):
        convert(Folder(folder), out, jobs=jobs, max_clips=11)
        contents.add(out.read_bytes())
        out.unlink()
    assert len(contents) == 1


def test_a_dead_worker_is_told(folder: Path, out: Path) -> None:
    with pytest.raises(FeatureError, match="a worker process died"):
        convert(Folder(folder, deadly="v4"), out, jobs=2)
    assert left_behind(out)[-1] == PART
    assert convert(Folder(folder), out, jobs=2).num_videos == 10


def test_two_conversions_to_one_file(folder: Path, out: Path, monkeypatch) -> None:
    monkeypatch.setattr(partfile_module, "LOCK_SECONDS", 0.1)
    with out.with_name(PART).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(FeatureError, match=r"f\.h5': another process is converting to it"):
            convert(Folder(folder), out)
    assert convert(Folder(folder), out).num_videos == 10


def test_finished_by_another_process_while_waiting(folder: Path, out: Path, monkeypatch) -> None:
    """The lock is then had on a file that has its final name already."""
    true_flock = fcntl.flock
    other = out.with_name("other.h5")
    convert(Folder(folder), other)

    def flock(descriptor: int, how: int) -> None:
        true_flock(descriptor, how)
        if other.exists():
            out.with_name(PART).unlink()
            other.rename(out)

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(FeatureError, match="is there already"):
        convert(Folder(folder), out)
    assert left_behind(out) == ["f.h5"]
    assert len(FeatureStore(out)) == 10


def test_a_file_system_without_locks(folder: Path, out: Path, monkeypatch, caplog) -> None:
    def flock(descriptor: int, how: int) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    assert convert(Folder(folder), out).num_videos == 10
    assert "has no locks" in caplog.text


HOSTILE = {
    "": "''",
    ".": r"'\.'",
    "/etc/passwd": "'/etc/passwd'",
    "../../x": r"'\.\./\.\./x'",
    "a/b": "'a/b'",
    "nul\0": r"'nul\\x00'",
    "half \ud800": r"'half \\ud800'",
    "x" * 256: "'x{40}...'",
    "ü" * 128: "'ü{128}'",
}


@pytest.mark.parametrize("video_id", HOSTILE, ids=ascii)
def test_hostile_ids(folder: Path, out: Path, video_id: str) -> None:
    class Hostile(Folder):
        def files(self, video_id: str) -> list[Path]:
            return super().files("v0")

        def video_ids(self) -> list[str]:
            return [*super().video_ids(), video_id]

    before = sorted(out.parent.parent.rglob("*"))
    with pytest.raises(FeatureError) as caught:
        convert(Hostile(folder), out)
    assert caught.match(rf"\n  video {HOSTILE[video_id]}: expected an id that")
    str(caught.value).encode()  # can be printed
    after = sorted(out.parent.parent.rglob("*"))
    assert [path for path in after if path not in before] == [
        out.with_name(JOURNAL),
        out.with_name(PART),
    ]
    done = convert(Hostile(folder), out, faulty="drop")
    assert (done.num_videos, len(done.dropped)) == (10, 1)


@given(st.text(st.characters(codec=None), max_size=8))
def test_any_id_is_stored_or_refused(tmp_path_factory, video_id: str) -> None:
    path = tmp_path_factory.mktemp("id")
    (path / "a").mkdir()
    np.save(path / "a" / "v.npy", clips(1))

    class Renamed(Folder):
        def files(self, _: str) -> list[Path]:
            return super().files("v")

        def video_ids(self) -> list[str]:
            return [video_id]

    try:
        convert(Renamed(path / "a"), path / "f.h5")
    except FeatureError:
        assert sorted(file.name for file in path.iterdir()) == ["a"]
    else:
        assert sorted(file.name for file in path.iterdir()) == ["a", "f.h5"]
        store = FeatureStore(path / "f.h5")
        assert store.video_ids() == [video_id]
        assert np.array_equal(store.read(video_id, 1.0)[0], clips(1))
    shutil.rmtree(path)


def test_names_that_are_refused(folder: Path, out: Path) -> None:
    source = Folder(folder)
    with pytest.raises(FeatureError, match=r"release/f\.h5' lies inside the source"):
        convert(source, folder / "f.h5")
    with pytest.raises(FeatureError, match="lies inside the source"):
        convert(source, out.parent / ".." / "release" / "deep" / "f.h5")
    with pytest.raises(FeatureError, match="is the source itself"):
        convert(source, folder.parent / "out" / ".." / "release")
    with pytest.raises(FeatureError, match="nowhere': no such folder"):
        convert(source, out.parent / "nowhere" / "f.h5")
    with pytest.raises(FeatureError, match="is there already; give another name, or remove it"):
        convert(source, out.parent)
    out.symlink_to("dangling")
    with pytest.raises(FeatureError, match=r"f\.h5' is there already"):
        convert(source, out)
    out.unlink()
    out.write_text("precious")
    with pytest.raises(FeatureError, match=r"f\.h5' is there already"):
        convert(source, out)
    assert out.read_text() == "precious"
    assert left_behind(out) == ["f.h5"]
    assert len(list(folder.iterdir())) == 10


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"dtype": "float64"}, "dtype='float64': expected"),
        ({"jobs": 0}, "jobs=0: expected an integer >= 1"),
        ({"max_clips": 0}, "max_clips=0: expected an integer >= 1"),
        ({"faulty": "ignore"}, "faulty='ignore': expected 'error' or 'drop'"),
        ({"durations": {"v3": 0.0}}, r"'v3' .*duration_seconds=0\.0"),
    ],
)
def test_options_that_are_refused(folder: Path, out: Path, options: dict, match: str) -> None:
    with pytest.raises(FeatureError, match=match):
        convert(Folder(folder), out, **options)
    assert not out.exists()


def test_an_empty_source(tmp_path: Path, out: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FeatureError, match=r"empty' \(layout npy\): no videos in it"):
        convert(Folder(tmp_path / "empty"), out)
    assert left_behind(out) == []


def test_a_source_that_changes_meanwhile(folder: Path, out: Path) -> None:
    source = Folder(folder, lies={"v3": Entry(8, WIDTH, "float32")})
    with pytest.raises(FeatureError, match=r"'v3' .*shape \(9, 6\), but \(8, 6\) when the conv"):
        convert(source, out)


def test_a_full_disk(folder: Path, out: Path, monkeypatch) -> None:
    usage = shutil.disk_usage(out.parent)._replace(free=2879)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage)
        with pytest.raises(FeatureError, match=r"2,880 bytes to write, but only 2,879 are free in"):
            convert(Folder(folder), out)
    assert left_behind(out) == []

    def pwrite(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", pwrite)
        with pytest.raises(FeatureError, match=r"f\.h5' cannot be written .*No space left"):
            convert(Folder(folder), out)
    assert convert(Folder(folder), out).num_videos == 10


def test_a_folder_that_may_not_be_written_to(folder: Path) -> None:
    with pytest.raises(FeatureError, match=r"'/proc/f\.h5' cannot be written"):
        convert(Folder(folder), "/proc/f.h5")


def test_the_journal_says_only_what_is_on_the_disk(folder: Path, out: Path, monkeypatch) -> None:
    """Every sync is done before the line that speaks of it."""
    events: list[str] = []
    true_sync = partfile_module._sync

    def sync(descriptor: int) -> None:
        journal = out.with_name(JOURNAL)
        events.append(f"sync after {len(journal.read_text().splitlines())} lines")
        true_sync(descriptor)

    monkeypatch.setattr(partfile_module, "_sync", sync)
    monkeypatch.setattr(partfile_module, "SYNC_BYTES", 1)
    np.save(folder / "v9.npy", clips(9) * np.nan)
    with pytest.raises(FeatureError, match=r"^1 of 10"):
        convert(Folder(folder), out)
    lines = [json.loads(line) for line in out.with_name(JOURNAL).read_text().splitlines()]
    assert events == [f"sync after {number} lines" for number in range(1, len(lines))]
    names = [name for line in lines[1:] for name, _ in line["done"]]
    assert names == [f"v{number}" for number in range(9)]


def test_a_damaged_part(folder: Path, out: Path) -> None:
    np.save(folder / "v9.npy", clips(9) * np.nan)
    with pytest.raises(FeatureError, match=r"kept in \.f\.h5\.convert\.part, and need not be read"):
        convert(Folder(folder), out)
    with out.with_name(PART).open("r+b") as file:
        file.write(b"damage")
    with pytest.raises(
        FeatureError, match=r"\.f\.h5\.convert\.part': what an interrupted run left"
    ):
        convert(Folder(folder), out)
    out.with_name(PART).unlink()
    np.save(folder / "v9.npy", clips(9))
    assert convert(Folder(folder), out).num_bytes_before == 0


def test_going_on_is_told(folder: Path, out: Path, caplog) -> None:
    np.save(folder / "v9.npy", clips(9) * np.nan)
    with pytest.raises(FeatureError, match=r"^1 of 10"):
        convert(Folder(folder), out)
    for number in (3, 9):
        np.save(folder / f"v{number}.npy", clips(number))
    with caplog.at_level(logging.INFO):
        convert(Folder(folder), out)
    (record,) = caplog.records
    assert record.getMessage() == (
        f"{out}: goes on after an interrupted run, with 8 of 10 videos; 1 have changed since"
    )
