"""What a context costs a model that is trained without timestamps, and what the pool does about it.

    python benchmarks/confounder.py [--seeds 5] [--jobs 1] [--quick] [--json FILE] [--only PART]

Planted features (`bpnet_features.confounder`): each sentence names an object, and its context is
seen in the same video at the rate rho. An activation head is trained for each intervention, and
measured on parts where the context is as in training (iid), absent, or another object's (swapped),
and where the object is missing (context_only). Scores on planted features compare interventions
with one another on the same videos; they say nothing about other data.

Parts: ``table`` (rates and interventions), ``ablations`` (what must give nothing, or lose its gain)
and ``knobs`` (salience, overlap, objects that the features miss). Then what was to be shown, each
as a mean of differences between runs of the same seed, with its 95 % interval (Student's t).
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import math
import multiprocessing
import statistics
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

from bpnet.contexts.pool_config import INTERVENTIONS, PoolConfig
from bpnet.weak.synthetic import planted_concepts, planted_pairs
from bpnet.weak.trial import TrialConfig, fit_pool, measure, train_head
from bpnet_features.confounder import PlantedWorld
from bpnet_features.confounder_knobs import Confounder

RATES = (0.0, 0.5, 0.9, 1.0)
PARTS = ("table", "ablations", "knobs")
COLUMNS = (
    "iid accuracy",
    "iid pointing",
    "iid CPR",
    "iid mIoU",
    "iid frame AP",
    "iid MaxSegAcc",
    "swapped accuracy",
    "absent pointing",
    "AUROC",
)
# Two-sided 95 % quantiles of Student's t, by the number of seeds.
STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306}
STUDENT[10] = 2.262
QUICK = {"num_concepts": 4, "num_train": 800, "num_val": 40, "num_test": 200}


@dataclasses.dataclass(frozen=True)
class Trial:
    """A run: what is planted, what is done about it, and what is taken from the pool.

    Attributes:
        name: What a row is called.
        intervention: One of `INTERVENTIONS`.
        knobs: Of the generator, where they are not the defaults.
        pool: Settings of the pool, where they are not the defaults.
        ablation: What is done to the pool or to the test, or "".
        seed: Of everything.
    """

    name: str
    intervention: str
    knobs: tuple[tuple[str, Any], ...] = ()
    pool: tuple[tuple[str, Any], ...] = ()
    ablation: str = ""
    seed: int = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="2 to 10")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    parser.add_argument("--quick", action="store_true", help="half the objects, videos and steps")
    parser.add_argument("--only", choices=PARTS, action="append", help="again for more (all)")
    parser.add_argument("--json", type=Path, help="where to write every run")
    args = parser.parse_args()
    if args.seeds not in STUDENT:
        parser.error(f"--seeds {args.seeds}: expected 2 to {max(STUDENT)}")
    trials = [
        dataclasses.replace(trial, seed=seed)
        for trial in planned(args.only or PARTS)
        for seed in range(args.seeds)
    ]
    rows = run_all(trials, args.quick, args.jobs)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")
    print("\n".join([*table(rows), "", *verdicts(rows)]))


def planned(parts: Sequence[str]) -> list[Trial]:
    """All runs of some parts, of seed 0."""
    trials = []
    if "table" in parts:
        for rate in RATES:
            for mode in INTERVENTIONS:
                trials.append(Trial(f"rho {rate:g} {mode}", mode, (("rho", rate),)))
    if "ablations" in parts:
        for mode in ("backdoor", "stratified"):
            for ablation in ("no strata", "shuffled concepts", "random prototypes"):
                trials.append(Trial(f"{ablation}, {mode}", mode, ablation=ablation))
            fitted = "fitted at rho 0"
            trials.append(Trial(f"{fitted}, {mode}", mode, ablation=fitted))
            trials.append(Trial(f"true contexts, {mode}", mode, ablation="true contexts"))
            negatives = (("context_negatives", True),)
            trials.append(Trial(f"context negatives, {mode}", mode, pool=negatives))
        for mode in ("none", "cicam"):
            biased = (("location_bias", True),)
            trials.append(Trial(f"location bias {mode}", mode, biased))
            unbiased = "tested without location bias"
            trials.append(Trial(f"{unbiased}, {mode}", mode, biased, ablation=unbiased))
        for mode in ("none", "backdoor"):
            combined = "combinational map"
            trials.append(Trial(f"{combined}, {mode}", mode, ablation=combined))
        for mode in ("none", "stratified", "backdoor"):
            shuffled = "shuffled labels"
            trials.append(Trial(f"{shuffled}, {mode}", mode, ablation=shuffled))
    if "knobs" in parts:
        for name, values in {
            "salience": (1.0, 2.5),
            "overlap": (0.25, 0.5, 1.0),
            "object_dropout": (0.02, 0.1),
            "rho": (0.8, 0.95, 0.97),
        }.items():
            for value in values:
                for mode in ("none", "backdoor", "stratified"):
                    trials.append(Trial(f"{name} {value:g} {mode}", mode, ((name, value),)))
    return trials


def run_all(trials: Sequence[Trial], quick: bool, jobs: int) -> list[dict[str, Any]]:
    """Run them, and give a row each."""
    rows = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        for row in pool.map(run, trials, itertools.repeat(quick)):
            rows.append(row)
            done = f"{len(rows)} of {len(trials)}"
            print(f"{done}: {row['name']}, seed {row['seed']}", file=sys.stderr, flush=True)
    return rows


def run(trial: Trial, quick: bool) -> dict[str, Any]:
    """One run: its settings, and the numbers of `measure`."""
    torch.set_num_threads(1)
    knobs = Confounder(**({**QUICK, **dict(trial.knobs)} if quick else dict(trial.knobs)))
    world = PlantedWorld(knobs, trial.seed)
    concepts = planted_concepts(world)
    part = planted_pairs(world, "train", concepts)
    config = PoolConfig(intervention=trial.intervention, **dict(trial.pool))
    fitted, prototypes = part, None
    match trial.ablation:
        case "no strata":
            config = dataclasses.replace(config, min_videos=knobs.num_train + 1)
        case "random prototypes":
            drawn = torch.Generator().manual_seed(trial.seed)
            directions = torch.randn(config.num_prototypes, knobs.dim, generator=drawn)
            prototypes = torch.nn.functional.normalize(directions, dim=1)
        case "true contexts":
            prototypes = torch.from_numpy(world.contexts)
        case "fitted at rho 0":
            other = PlantedWorld(dataclasses.replace(knobs, rho=0.0), trial.seed)
            fitted = planted_pairs(other, "train", concepts)
    shuffle = trial.ablation == "shuffled concepts"
    pool = fit_pool(fitted, config, trial.seed, prototypes, shuffle)
    steps = TrialConfig().num_steps // (2 if quick else 1)
    head = train_head(part, pool, TrialConfig(num_steps=steps), trial.seed)
    if trial.ablation == "tested without location bias":
        world = PlantedWorld(dataclasses.replace(knobs, location_bias=False), trial.seed)
    shuffled, combined = (trial.ablation == one for one in ("shuffled labels", "combinational map"))
    found = measure(world, head, shuffled, combined)
    found["strata"] = 0.0 if pool is None else float(pool.strata.any(dim=0).sum())
    return {**dataclasses.asdict(trial), "metrics": found}


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Mean of the seeds, a line a trial."""
    names = list(dict.fromkeys(row["name"] for row in rows))
    width = max(map(len, names))
    lines = [" " * width + "".join(f"{name:>18}" for name in COLUMNS)]
    for name in names:
        values = [column(rows, name, metric) for metric in COLUMNS]
        cells = (f"{statistics.mean(v):11.1f} ± {statistics.stdev(v):4.1f}" for v in values)
        lines.append(f"{name:<{width}}" + "".join(cells))
    return lines


def column(rows: Sequence[dict[str, Any]], name: str, metric: str) -> list[float]:
    """A metric of a trial, by seed."""
    return [row["metrics"][metric] for row in rows if row["name"] == name]


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, and both ends of its 95 % interval."""
    mean = statistics.mean(values)
    half = STUDENT[len(values)] * statistics.stdev(values) / math.sqrt(len(values))
    return mean, mean - half, mean + half


def verdicts(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What was to be shown, and whether the runs show it."""
    names = {row["name"] for row in rows}
    lines = []

    def say(what: str, values: Sequence[float], holds: Callable[[float], bool]) -> None:
        mean, low, high = interval(values)
        word = "yes" if holds(mean) else "NO"
        lines.append(f"{word:<4}{what}: {mean:+.1f} ({low:+.1f} to {high:+.1f})")

    def difference(one: str, other: str, metric: str, share: float = 1.0) -> list[float]:
        pairs = zip(column(rows, one, metric), column(rows, other, metric), strict=True)
        return [first - share * second for first, second in pairs]

    for mode in ("backdoor", "stratified"):
        one, none = f"rho 0.9 {mode}", "rho 0.9 none"
        if {one, none} <= names:
            say(f"{mode} CPR <= 1/4 of none", difference(one, none, "iid CPR", 0.25), _not_above)
            say(f"{mode} mIoU not lower", difference(one, none, "iid mIoU"), _not_below)
    one, none = "rho 0.9 backdoor", "rho 0.9 none"
    if {one, none} <= names:
        say("backdoor pointing not lower", difference(one, none, "iid pointing"), _not_below)
        swapped = difference(one, none, "swapped accuracy", 1.5)
        say("backdoor swapped accuracy >= 1.5 x none", swapped, _not_below)
        say("backdoor AUROC >= none + 10", difference(one, none, "AUROC"), lambda x: x >= 10)
    for mode in INTERVENTIONS[1:]:
        one, none = f"rho 0 {mode}", "rho 0 none"
        if {one, none} <= names:
            for metric, most in (("CPR", 2), ("pointing", 2), ("mIoU", 2), ("accuracy", 3)):
                say(
                    f"rho 0: {mode} {metric} within {most} of none",
                    difference(one, none, f"iid {metric}"),
                    lambda x, most=most: abs(x) <= most,
                )
    for mode in ("backdoor", "stratified"):
        one, none = f"rho 1 {mode}", "rho 1 none"
        if {one, none} <= names:
            say(f"rho 1: {mode} equals none, CPR", difference(one, none, "iid CPR"), _is_zero)
        for ablation in (
            "no strata",
            "shuffled concepts",
            "random prototypes",
            "fitted at rho 0",
        ):
            one, none = f"{ablation}, {mode}", "rho 0.9 none"
            if {one, none} <= names:
                say(
                    f"{one}: no gain, CPR within 10 of none",
                    difference(one, none, "iid CPR"),
                    lambda x: abs(x) <= 10,
                )
    if {"rho 0.9 cicam", "rho 0.9 none"} <= names:
        gain = difference("rho 0.9 cicam", "rho 0.9 none", "iid CPR")
        say("cicam CPR within 10 of none", gain, lambda x: abs(x) <= 10)
    if "location bias cicam" in names:
        learned = difference("location bias cicam", "location bias none", "iid CPR")
        say("location bias: cicam CPR below none", learned, lambda x: x < 0)
        unbiased = "tested without location bias"
        lost = difference(f"{unbiased}, cicam", f"{unbiased}, none", "iid CPR")
        kept = [after - before for after, before in zip(lost, learned, strict=True)]
        say("and loses it without the bias, CPR", kept, lambda x: x > 0)
    return lines


def _not_above(value: float) -> bool:
    return value <= 0


def _not_below(value: float) -> bool:
    return value >= 0


def _is_zero(value: float) -> bool:
    return value == 0


if __name__ == "__main__":
    main()
