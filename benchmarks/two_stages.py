"""Does stage two earn its place? Trains on the rendered sample with several seeds, prints the mean.

    python benchmarks/two_stages.py runs/demo/sample [--seeds 3] [--out runs/two_stages]

Each run is `bpnet train experiment=demo seed=N`, scored on the held-out test videos. Scores on
rendered videos compare models with one another on the same videos; they say nothing about others.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

ROWS = {
    "two stages": "metrics",
    "stage one alone": "stage_one",
    "constant interval": "blind",
    "  fitted a column": "blind_best",
}
COLUMNS = ("R@1,IoU=0.3", "R@1,IoU=0.5", "R@1,IoU=0.7", "mIoU")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sample", type=Path, help="folder made by `bpnet features sample`")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/two_stages"))
    parser.add_argument("overrides", nargs="*", help="more settings of `bpnet train`")
    args = parser.parse_args()
    runs = [one_run(args.sample, seed, args.out, args.overrides) for seed in range(args.seeds)]
    print(f"test videos of {args.sample}, {runs[0]['num_queries']} queries, {args.seeds} seeds")
    print(" " * 20 + "".join(f"{name.replace(',IoU=', ' '):>16}" for name in COLUMNS))
    for name, key in ROWS.items():
        values = np.array([[run[key][column] for column in COLUMNS] for run in runs])
        cells = zip(values.mean(axis=0), values.std(axis=0), strict=True)
        print(f"{name:<20}" + "".join(f"{mean:9.2f} ± {spread:4.2f}" for mean, spread in cells))


def one_run(sample: Path, seed: int, out: Path, overrides: list[str]) -> dict:
    """Train and evaluate with one seed; a run that was cut off goes on."""
    folder = out / f"seed_{seed}"
    bpnet = [sys.executable, "-m", "bpnet.cli.main"]
    train = ["experiment=demo", f"data.root={sample}", f"seed={seed}", f"run_dir={folder}"]
    subprocess.run([*bpnet, "train", *train, "resume=auto", *overrides], check=True)
    subprocess.run([*bpnet, "evaluate", f"checkpoint={folder}", f"out={folder}/test"], check=True)
    return json.loads((folder / "test" / "metrics.json").read_text())


if __name__ == "__main__":
    main()
