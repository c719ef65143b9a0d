"""How fast is `bpnet features convert` beside `cp` of the same bytes, and how much memory it takes.

    python benchmarks/convert.py [--folder DIR] [--gigabytes 2] [--repeats 5] [--kills 5] [--cold]

Makes a release of made-up features below DIR (a folder of npy files, then one HDF5 file). Copies it
and converts it in turn, each in a process of its own, begun with nothing left to write to the disk.
`convert` ends with all bytes on the disk; `cp` is timed without and with that. Then a conversion is
killed at random times, with all its processes, and started again until it ends. DIR needs room for
three times the release. Linux only. (`--jobs` starts processes only after two seconds, so that it
changes little here; it counts for releases that are packed or larger.)
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

# As VGG features of Charades, the largest release of the field: 1.6 to 4.1 MB a video.
WIDTH = 4096
NUM_CLIPS = (100, 250)
JOBS = (1, 2)
POLL_SECONDS = 0.02
SETTLE_SECONDS = 2.0
COPY, COPY_SYNC = "cp", "cp, sync"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where to measure (the system's own for this)")
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--cold", action="store_true", help="read the release from the disk")
    args = parser.parse_args()
    for layout in ("npy", "hdf5"):
        with tempfile.TemporaryDirectory(prefix="convert-", dir=args.folder) as folder:
            source = make_release(Path(folder), layout, int(args.gigabytes * 1e9))
            compare(source, layout, args.repeats, args.cold)
            kill_and_restart(source, layout, args.kills)


def make_release(folder: Path, layout: str, num_bytes: int) -> Path:
    """Float32 features of videos of differing lengths."""
    rng = np.random.default_rng(0)
    pool = rng.standard_normal((4 * NUM_CLIPS[1], WIDTH), dtype=np.float32)
    arrays = {}
    while num_bytes > 0:
        num_clips = int(rng.integers(*NUM_CLIPS))
        first = int(rng.integers(len(pool) - num_clips))
        arrays[f"video{len(arrays):05d}"] = pool[first : first + num_clips]
        num_bytes -= arrays[f"video{len(arrays) - 1:05d}"].nbytes
    path = folder / "release"
    if layout == "npy":
        path.mkdir()
        for name, array in arrays.items():
            np.save(path / f"{name}.npy", array)
    else:
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array
    return path


def files_of(path: Path) -> list[Path]:
    return sorted(path.iterdir()) if path.is_dir() else [path]


def command(source: Path, layout: str, out: Path, jobs: int) -> list[str]:
    line = [sys.executable, "-m", "bpnet.cli.main", "features", "convert", str(source), str(out)]
    return [*line, "--layout", layout, "--backbone", "i3d", "--jobs", str(jobs)]


def compare(source: Path, layout: str, repeats: int, cold: bool) -> None:
    """Copy and convert in turn; then once more for the memory, which is not timed."""
    files = files_of(source)
    size = sum(file.stat().st_size for file in files)
    cached = "from the disk" if cold else "from the page cache"
    print(f"\n{layout}: {len(files)} files, {size / 1e9:.2f} GB, read {cached}", flush=True)
    target = source.with_name("target")
    lines = {f"convert --jobs {jobs}": command(source, layout, target, jobs) for jobs in JOBS}
    seconds: dict[str, list[float]] = {name: [] for name in (COPY, COPY_SYNC, *lines)}
    rng = random.Random(0)
    for _ in range(repeats):
        # In any order: what the run before leaves behind slows the next one down, or speeds it up.
        for name in rng.sample(list(seconds), len(seconds)):
            settle(files, cold)
            begun = time.perf_counter()
            if name in lines:
                run(lines[name])
            else:
                subprocess.run(["cp", "-r", source, target], check=True)
                if name == COPY_SYNC:  # all files at once, which is quicker than one by one
                    subprocess.run(["sync", "-f", target], check=True)
            seconds[name].append(time.perf_counter() - begun)
            remove(target)
    print(f"{'':<18}{'seconds (min to max)':>24}{'MB/s':>7}{'of cp':>8}{'of cp, sync':>13}", end="")
    print("   peak memory")
    for name, taken in seconds.items():
        middle = statistics.median(taken)
        spread = f"{middle:.2f} ({min(taken):.2f} to {max(taken):.2f})"
        shares = [
            100 * statistics.median(a / b for a, b in zip(seconds[other], taken, strict=True))
            for other in (COPY, COPY_SYNC)
        ]
        print(f"{name:<18}{spread:>24}{size / 1e6 / middle:>7.0f}", end="")
        print(f"{shares[0]:>7.0f}%{shares[1]:>12.0f}%", end="")
        if name in lines:
            largest, together = peak_memory(lines[name])
            remove(target)
            print(f"{largest:>6.0f} MB in a process, {together:.0f} MB in all", end="")
        print(flush=True)


def kill_and_restart(source: Path, layout: str, kills: int) -> None:
    """A conversion that is killed at random times gives the file of one that is not."""
    target = source.with_name("target")
    for jobs in JOBS:
        line = command(source, layout, target, jobs)
        begun = time.perf_counter()
        run(line)
        whole = time.perf_counter() - begun
        expected = digest(target)
        remove(target)
        rng = random.Random(jobs)
        runs = []
        while not target.exists():
            process = subprocess.Popen(line, start_new_session=True, **QUIET)
            try:
                patience = rng.uniform(0, whole) if len(runs) < kills else None
                process.wait(patience)
                runs.append("ended")
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                runs.append(f"killed after {patience:.2f} s")
            if runs[-1] == "ended" and process.returncode:
                raise SystemExit(f"{line} ended with {process.returncode}")
        same = "the same SHA-256" if digest(target) == expected else "ANOTHER SHA-256"
        print(f"--jobs {jobs}, {', '.join(runs)}: {same} ({expected[:12]})", flush=True)
        remove(target)


QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def run(line: list[str]) -> None:
    subprocess.run(line, check=True, **QUIET)


def settle(files: list[Path], cold: bool) -> None:
    """Begin every run alike: nothing to be written, the release in the page cache or not."""
    os.sync()
    time.sleep(SETTLE_SECONDS)  # a disk goes on with what was removed
    for file in files:
        with file.open("rb") as opened:
            if cold:
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            else:
                while opened.read(2**20):
                    pass


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def digest(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            found.update(block)
    return found.hexdigest()


def peak_memory(line: list[str]) -> tuple[float, float]:
    """Resident megabytes: the most of any one process, and the most of all at one time.

    The second counts memory that processes share, such as libraries, once for each of them.
    """
    process = subprocess.Popen(line, **QUIET)
    together = 0.0
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        together = max(together, sum(resident(number) for number in family(process.pid)))
        time.sleep(POLL_SECONDS)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{line} ended with {process.returncode}")
    return usage.ru_maxrss * 1024 / 1e6, together / 1e6


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(number for child in children for number in family(int(child)))]


def resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


if __name__ == "__main__":
    main()
