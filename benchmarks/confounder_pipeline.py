"""Whether a context comes back by self-training: teachers and students on planted data.

    python benchmarks/confounder_pipeline.py OUT [--seeds 5] [--jobs 1] [--json FILE]

Sets of `bpnet_features.confounder` as `bpnet features sample --confounder` writes them; each run is
``bpnet train supervision=weak`` as it is configured, with small and short students (`SETTINGS`).
What was cut off goes on. The teacher's own best spans and the answers of the chosen student are
measured on ``iid``: mIoU, and the confounder pointing rate (CPR), the share of queries whose first
moment has its middle in the context and not in the truth. Then what was to be shown, each as a mean
of differences between runs of the same seed, with its 95 % interval (Student's t).
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import statistics
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from confounder import STUDENT, interval

from bpnet.cli.hydra_app import compose
from bpnet.config import TrainConfig, conf_path
from bpnet.data.annotations import read_annotations
from bpnet.evaluation.answers import Answer
from bpnet.evaluation.confounders import pointing, read_confounders
from bpnet.evaluation.metrics import localization_metrics
from bpnet.evaluation.protocols import VSLNET
from bpnet.settings import from_dict
from bpnet.types import Annotation
from bpnet.weak.labels import Opinion, as_annotations, grids_of, pseudo_moments
from bpnet.weak.rounds import train_weakly
from bpnet.weak.run import WeakRun
from bpnet.weak.teach import ask
from bpnet_features.confounder_files import write_confounded
from bpnet_features.confounder_knobs import Confounder

RUNS = ((0.5, "backdoor"), (0.9, "none"), (0.9, "backdoor"))  # rho and intervention
WHO = ("teacher", "student")
METRICS = ("mIoU", "R@1,IoU=0.5", "pointing", "CPR")
SETTINGS = (
    "data=jsonl",
    "data.validation_split=val_labelled",
    "data.validation_fraction=0",
    "supervision=weak",
    "model.hidden_dim=64",
    "model.characters=false",
    "trainer.max_epochs=5",
    "trainer.batch_size=32",
    "trainer.calibrate=false",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=5, help="2 to 10")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    parser.add_argument("--json", type=Path, help="where to write every run")
    args = parser.parse_args()
    if args.seeds not in STUDENT:
        parser.error(f"--seeds {args.seeds}: expected 2 to {max(STUDENT)}")
    work = [(args.out, seed, *one) for seed in range(args.seeds) for one in RUNS]
    rows = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(args.jobs, mp_context=context) as pool:
        for row in pool.map(run, *zip(*work, strict=True)):
            rows.append(row)
            print(f"{len(rows)} of {len(work)}: {row}", file=sys.stderr, flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")
    print("\n".join([*table(rows), "", *verdicts(rows)]))


def run(out: Path, seed: int, rho: float, intervention: str) -> dict[str, Any]:
    """One run, or what is left of it; its settings and numbers."""
    torch.set_num_threads(1)
    root = out / f"rho_{rho:g}" / f"seed_{seed}"
    if not (root / "annotations.jsonl").exists():
        write_confounded(root, Confounder(rho=rho), seed)
    run_dir = root / intervention
    run_dir.mkdir(exist_ok=True)
    config = from_dict(
        TrainConfig,
        compose(
            conf_path(),
            "train",
            [
                *SETTINGS,
                f"data.features={root / 'features.h5'}",
                f"data.annotations={root / 'annotations.jsonl'}",
                f"data.vectors={root / 'vectors.txt'}",
                f"supervision.pool.intervention={intervention}",
                f"seed={seed}",
                f"run_dir={run_dir}",
                "resume=auto",
            ],
        ),
    )
    report = train_weakly(config, run_dir)
    weak = WeakRun(config, run_dir)
    test = weak.dataset(read_annotations(config.data.dataset, config.data.annotations, "iid")[0])
    opinions = []
    for name in config.supervision.teachers:
        teacher = weak.teacher(name)
        extent = report["teachers"][name]["extent"]
        opinions.append(Opinion(list(ask(teacher, test, config, weak.device)), extent))
    grids = grids_of(test)
    spans = as_annotations(test.annotations, pseudo_moments(opinions, None, grids, 1.0), grids)
    answers = {
        "teacher": [Answer(one.moments) for one in spans],
        "student": [
            Answer([(one.start_seconds, one.end_seconds) for one in prediction.moments])
            for prediction in weak.answers(run_dir, test)
        ],
    }
    found = {who: measure(answers[who], test.annotations, root) for who in WHO}
    return {"seed": seed, "rho": rho, "intervention": intervention, **found}


def measure(
    answers: Sequence[Answer], annotations: Sequence[Annotation], root: Path
) -> dict[str, float]:
    """`METRICS` of answers, in percent."""
    metrics = localization_metrics(
        [answer.moments for answer in answers],
        [one.moments for one in annotations],
        VSLNET,
        ranks=(1,),
    )
    values, _ = pointing(answers, annotations, read_confounders(root / "contexts.jsonl"))
    right, wrong = values.mean(axis=0).tolist()
    metrics |= {"pointing": right, "CPR": wrong}
    return {name: round(metrics[name], 2) for name in METRICS}


def column(
    rows: Sequence[dict[str, Any]], rho: float, intervention: str, who: str, metric: str
) -> list[float]:
    """A metric by seed."""
    return [
        row[who][metric]
        for row in rows
        if row["rho"] == rho and row["intervention"] == intervention
    ]


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Mean of the seeds, a line for each run and who answers."""
    lines = [f"{'':<24}" + "".join(f"{name:>18}" for name in METRICS)]
    for (rho, intervention), who in itertools.product(RUNS, WHO):
        values = [column(rows, rho, intervention, who, metric) for metric in METRICS]
        cells = (f"{statistics.mean(v):11.1f} ± {statistics.stdev(v):4.1f}" for v in values)
        lines.append(f"{f'rho {rho:g} {intervention} {who}':<24}" + "".join(cells))
    return lines


def verdicts(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What was to be shown, and whether the runs show it."""
    gain = [
        after - before
        for after, before in zip(
            column(rows, 0.5, "backdoor", "student", "mIoU"),
            column(rows, 0.5, "backdoor", "teacher", "mIoU"),
            strict=True,
        )
    ]
    kept = [
        one - none / 3
        for one, none in zip(
            column(rows, 0.9, "backdoor", "student", "CPR"),
            column(rows, 0.9, "none", "student", "CPR"),
            strict=True,
        )
    ]
    lines = []
    for what, values, sign in (
        ("rho 0.5: backdoor student mIoU >= teacher", gain, 1),
        ("rho 0.9: backdoor student CPR <= 1/3 of none", kept, -1),
    ):
        mean, low, high = interval(values)
        word = "yes" if sign * mean >= 0 else "NO"
        lines.append(f"{word:<4}{what}: {mean:+.1f} ({low:+.1f} to {high:+.1f})")
    return lines


if __name__ == "__main__":
    main()
