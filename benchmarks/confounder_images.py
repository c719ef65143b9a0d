"""Pictures with a planted context: does an image model point at the digit, or at the texture?

    python benchmarks/confounder_images.py [--quick] [--jobs 16] [--json FILE] [--glyphs sklearn]

Every model sees the same pictures and their class names. Boxes of ``val_labelled`` (100 pictures)
choose the threshold of its boxes, and nothing else. The last column is the gain on `none, top`,
plain class activation maps, of the same seed. `--glyphs sklearn` takes handwritten digits (pip
install scikit-learn) in place of a drawn font. It needs torch, NumPy, h5py and safetensors.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import json
import math
import multiprocessing
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

MODES = ("none", "cicam", "stratified", "backdoor")
WEIGHTINGS = ("top", "quadratic", "sum_1")
SPLITS = ("iid", "absent", "swapped")
COLUMNS = ("Top-1 Loc", "Top-5 Loc", "GT-known", "accuracy", "pointing", "CPR")
# Two-sided 95 % of Student's t, by degrees of freedom.
_T = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26}


@dataclasses.dataclass(frozen=True)
class Job:
    """One training, and its evaluations."""

    mode: str
    rho: float
    seed: int
    location_bias: bool
    glyphs: str
    sizes: dict[str, int]
    settings: dict[str, Any]


def run(job: Job) -> dict[str, Any]:
    """Train, choose the threshold on ``val_labelled``, and measure each test part."""
    import torch

    from bpnet.images.composites import CompositeConfig, composites
    from bpnet.images.settings import ImageConfig
    from bpnet.images.train import train_images

    torch.set_num_threads(1)
    begun = time.perf_counter()
    config = CompositeConfig(rho=job.rho, location_bias=job.location_bias, **job.sizes)
    glyphs = _handwritten() if job.glyphs == "sklearn" else None
    parts = {
        split: list(composites(config, split, job.seed, glyphs))
        for split in ("train", "val_labelled", *SPLITS)
    }
    pictures = torch.from_numpy(np.stack([one.picture for one in parts["train"]]))
    labels = torch.tensor([one.label for one in parts["train"]])
    model = train_images(
        pictures.permute(0, 3, 1, 2),
        labels,
        [str(digit) for digit in range(config.num_classes)],
        ImageConfig(intervention=job.mode, seed=job.seed, **job.settings),
    )
    rows = {}
    for weighting in WEIGHTINGS:
        model.weighting = weighting
        level = int(_measure(model, parts["val_labelled"])[1].argmax())
        rows[weighting] = {split: _measure(model, parts[split], level)[0] for split in SPLITS}
    return {**dataclasses.asdict(job), "rows": rows, "seconds": time.perf_counter() - begun}


def _measure(model: Any, part: Sequence[Any], level: int = 0) -> tuple[dict[str, float], Any]:
    """Metrics at a threshold, and box accuracies at all of them."""
    import torch

    from bpnet.images.metrics import box_accuracy, localize, metrics_at, pointing

    labels = np.array([one.label for one in part])
    pictures = torch.from_numpy(np.stack([one.picture for one in part])).permute(0, 3, 1, 2)
    maps, scores = model.maps(pictures.float() / 255, torch.from_numpy(labels))
    found = localize(maps, scores, labels, [[one.box] for one in part])
    rows = metrics_at(found, level)
    rows["pointing"] = pointing(found, [[one.box] * one.visible for one in part])
    contexts = [one.context_box for one in part]
    rows["CPR"] = pointing(found, [[box] * (box is not None) for box in contexts])
    return {name: rows[name] for name in COLUMNS}, box_accuracy(found, (0.5,))


def _handwritten() -> list[Any]:
    """The digits of scikit-learn, by class."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return [digits.images[digits.target == digit] / 16 for digit in range(10)]


def cell(values: Sequence[float], sign: str = "") -> str:
    """Mean, and half of its 95 % interval over seeds, which a single seed has not."""
    mean = f"{statistics.fmean(values):{sign}.1f}"
    if len(values) == 1:
        return mean
    half = _T.get(len(values) - 1, 1.96) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{mean} ± {half:.1f}"


def table(results: Sequence[dict[str, Any]], split: str) -> list[str]:
    """A row for each mode and weighting: means over seeds, and what it gains on `none`."""
    lines = []
    for setting in sorted({(one["rho"], one["location_bias"]) for one in results}):
        chosen = [one for one in results if (one["rho"], one["location_bias"]) == setting]
        where = ", digits left" if setting[1] else ""
        lines.append(f"\nrho {setting[0]:g}{where}, {split}, percent")
        heads = "".join(f"{name:>15}" for name in (*COLUMNS, "gain, Top-1"))
        lines.append(f"{'':<22}{heads}")
        plain = {
            one["seed"]: one["rows"]["top"][split]["Top-1 Loc"]
            for one in chosen
            if one["mode"] == "none"
        }
        for mode in MODES:
            runs = [one for one in chosen if one["mode"] == mode]
            for weighting in WEIGHTINGS if runs else ():
                rows = [one["rows"][weighting][split] for one in runs]
                cells = [cell([row[name] for row in rows]) for name in COLUMNS]
                gains = [
                    one["rows"][weighting][split]["Top-1 Loc"] - plain[one["seed"]]
                    for one in runs
                    if one["seed"] in plain
                ]
                cells.append(cell(gains, "+") if gains else "")
                line = "".join(f"{one:>15}" for one in cells)
                lines.append(f"{mode + ', ' + weighting:<22}{line}".rstrip())
    return lines


def main() -> None:
    """Run all trainings and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a minute, to see that it runs")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time (1)")
    parser.add_argument("--seeds", type=int, default=5, help="(5)")
    parser.add_argument("--epochs", type=int, default=20, help="of every training (20)")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    parser.add_argument("--rho", nargs="+", type=float, default=[0.0, 0.9])
    parser.add_argument("--location-bias", action="store_true", help="also with digits left")
    parser.add_argument("--glyphs", choices=("drawn", "sklearn"), default="drawn")
    parser.add_argument("--json", metavar="FILE", help="write every run")
    args = parser.parse_args()
    sizes, settings = {}, {"epochs": args.epochs}
    rhos, seeds, modes = args.rho, args.seeds, args.modes
    if args.quick:
        sizes = {"num_train": 600, "num_val": 50, "num_test": 100, "num_classes": 4}
        settings = {"epochs": 8, "first_epochs": 3}
        rhos, seeds = [0.9], 1
    biased = [False, True] if args.location_bias else [False]
    jobs = [
        Job(mode, rho, seed, bias, args.glyphs, sizes, settings)
        for seed in range(seeds)
        for rho in rhos
        for bias in biased
        for mode in modes
    ]
    results = []
    # Spawned: a forked process would inherit torch's threads.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(args.jobs, context) as pool:
        for done in concurrent.futures.as_completed([pool.submit(run, job) for job in jobs]):
            results.append(done.result())
            one = results[-1]
            row = one["rows"]["top"]["iid"]
            print(
                f"{len(results)} of {len(jobs)}: {one['mode']}, rho {one['rho']:g}, seed "
                f"{one['seed']}: Top-1 Loc {row['Top-1 Loc']:.1f}, CPR {row['CPR']:.1f} "
                f"({one['seconds']:.0f} s)",
                file=sys.stderr,
                flush=True,
            )
            if args.json is not None:  # after each: a run may be ended at any time
                Path(args.json).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    results.sort(key=lambda one: (one["rho"], one["seed"], MODES.index(one["mode"])))
    for split in SPLITS:
        print("\n".join(table(results, split)))


if __name__ == "__main__":
    main()
