"""What figures depend on besides the code: versions, threads, load, and the machine's limits."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
import time
from pathlib import Path
from typing import Any

LIBRARIES = ("numpy", "h5py", "torch", "bpnet-nlvl")
# Threads that spin while they wait make small operations fast on idle cores, and slow on busy ones.
WAITING = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
CPU = "cpu"
GEMM_SIZE = 1024
CUDA_GEMM_SIZE = 8192  # a smaller one leaves much of a GPU idle
READ_BYTES = 2**28  # more than any cache holds
CUDA_READ_BYTES = 2**32


def machine(device: str = CPU) -> dict[str, Any]:
    """Versions and settings; importing torch is left to who measures with it."""
    found: dict[str, Any] = {name: _version(name) for name in LIBRARIES}
    if device != CPU:
        import torch

        found |= {"device": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    cores = len(os.sched_getaffinity(0))
    settings = {name: os.environ.get(name) for name in WAITING}
    return {"python": platform.python_version(), "cores": cores, **found, **settings}


def _version(name: str) -> str:
    """Of an installed library; ours may lie on the path only."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def described(threads: int | None = None) -> str:
    """A line to stand above figures."""
    given = {} if threads is None else {"threads": threads}
    settings = {name: os.environ.get(name, "not set") for name in WAITING}
    load = {"load": f"{os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores"}
    return ", ".join(f"{name} {value}" for name, value in {**given, **settings, **load}.items())


def settle(device: str) -> None:
    """Wait until a device has done what it was given; a CPU has when the call returns."""
    if device != CPU:
        import torch

        torch.cuda.synchronize(device)


def gemm_rate(device: str = CPU, repeats: int = 3) -> float:
    """Floating point operations a second of a square matrix product, with torch's threads.

    In float32 on a CPU, in bfloat16 on a GPU: what we train in there.
    """
    import torch

    size, dtype = (GEMM_SIZE, torch.float32) if device == CPU else (CUDA_GEMM_SIZE, torch.bfloat16)
    left, right = torch.rand(2, size, size, device=device).to(dtype)
    out = torch.empty_like(left)
    torch.mm(left, right, out=out)
    settle(device)
    begun = time.perf_counter()
    for _ in range(repeats):
        torch.mm(left, right, out=out)
    settle(device)
    return 2 * size**3 * repeats / (time.perf_counter() - begun)


def read_rate(device: str = CPU) -> float:
    """Bytes a second of reading memory once, with torch's threads."""
    import torch

    size = READ_BYTES if device == CPU else CUDA_READ_BYTES
    values = torch.ones(size // 8, dtype=torch.int64, device=device)
    values.max()
    settle(device)
    begun = time.perf_counter()
    values.max()
    settle(device)
    return size / (time.perf_counter() - begun)


def bandwidth(path: Path) -> dict[str, float]:
    """Bytes a second: of reading the file as a whole, and of copying in memory."""
    import numpy as np

    found = {}
    for name in ("disk", "page cache"):
        if name == "disk":
            evict(path)
        begun = time.perf_counter()
        with path.open("rb", buffering=0) as file:
            buffer = bytearray(2**20)
            total = 0
            while count := file.readinto(buffer):
                total += count
        found[name] = total / (time.perf_counter() - begun)
    source = np.ones(2**26, np.uint8)
    target = np.empty_like(source)
    target[:] = source
    begun = time.perf_counter()
    target[:] = source
    found["memory copy"] = source.nbytes / (time.perf_counter() - begun)
    return found


def evict(path: Path) -> None:
    """Let the system forget what it keeps of a file in memory."""
    os.sync()
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def status_bytes(*names: str) -> list[int]:
    """Entries of /proc/self/status that are sizes, such as ``VmRSS``."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return [int(lines[name].split()[0]) * 1024 for name in names]


def spread(values: list[float], digits: int) -> str:
    """Median, lowest and highest."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
