"""The benchmark of planted pictures: its table, and that it runs and shows something."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BENCHMARK = ROOT / "benchmarks" / "confounder_images.py"


def benchmark(code: str, **environment: str) -> str:
    """Run Python with the benchmark on its path."""
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "features", BENCHMARK.parent)))
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": paths, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_means_intervals_and_gains() -> None:
    code = """
import json
from confounder_images import COLUMNS, SPLITS, WEIGHTINGS, cell, table
def run(mode, seed, value):
    rows = {w: {s: dict.fromkeys(COLUMNS, value) for s in SPLITS} for w in WEIGHTINGS}
    return {"mode": mode, "seed": seed, "rho": 0.9, "location_bias": False, "rows": rows}
runs = [run("none", 0, 10.0), run("none", 1, 20.0)]
runs += [run("backdoor", 0, 13.0), run("backdoor", 1, 23.0)]
print(json.dumps([cell([1.0]), cell([1.0, 3.0]), *table(runs, "iid")]))
"""
    single, pair, *lines = json.loads(benchmark(code))
    # Standard deviation 1.414 of two values, over the root of 2, times 12.71.
    assert (single, pair) == ("1.0", "2.0 ± 12.7")
    assert lines[0] == "\nrho 0.9, iid, percent"
    (row,) = (line for line in lines if line.startswith("backdoor, top"))
    assert row.split()[2:5] == ["18.0", "±", "63.5"]
    assert row.endswith("+3.0 ± 0.0")
    assert not any(line.startswith("cicam") for line in lines)


def test_what_it_imports() -> None:
    """It runs where no command line, no vocabulary and no video library is installed."""
    code = """
import sys
import confounder_images
import bpnet.images.train, bpnet.images.composites, bpnet.images.metrics
print(sorted({"hydra", "torchtext", "av", "PIL", "scipy", "sklearn"} & set(sys.modules)))
"""
    assert benchmark(code).strip() == "[]"


@pytest.mark.slow
def test_quick(tmp_path: Path) -> None:
    out = tmp_path / "runs.json"
    line = [sys.executable, str(BENCHMARK), "--quick", "--json", str(out), "--modes"]
    done = subprocess.run(
        [*line, "none", "backdoor"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    plain, adjusted = (one["rows"]["top"]["iid"] for one in json.loads(out.read_text()))
    # Told what the context tells, the network points at it less.
    assert adjusted["CPR"] < plain["CPR"] - 10
    assert adjusted["Top-1 Loc"] > plain["Top-1 Loc"]
    assert "rho 0.9, swapped, percent" in done.stdout
