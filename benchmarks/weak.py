"""Training without timestamps beside training with them, and beside CNM- and CPL-style teachers.

    bpnet features sample SAMPLE
    python benchmarks/weak.py sample OUT --root SAMPLE [--seeds 3] [--jobs 16] [--json FILE]
    python benchmarks/weak.py planted OUT --root PLANTED --annotations CHARADES_STA ...

SAMPLE is the rendered sample; PLANTED what the generator of planted features makes of Charades-STA,
whose annotations are in CHARADES_STA. Every row and seed is a process of its own with one thread
(`--threads`), `--jobs` of them at a time. What was cut off goes on; what is finished is not done
again. Needs no network.

Rows whose names begin with "teacher" are a teacher's own best spans, without a student. The CNM-
and CPL-style ones see as many pairs as the weak run does with its teacher and its students; margins
and learning rate are those of their code. `--rows` chooses some. Scores on made videos compare
models with one another on the same videos only.
"""

import argparse
import concurrent.futures
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

COLUMNS = ("R@1,IoU=0.3", "R@1,IoU=0.5", "R@1,IoU=0.7", "mIoU")
WEAK = "supervision=weak"
# One mask, exp(-5.5 (place - centre)^2 / width^2), against eight narrower ones that must differ.
CNM = (
    "supervision.gaussian.num_masks=1",
    f"supervision.gaussian.sharpness={11**0.5:.4f}",
    "supervision.gaussian.most_width=0.45",
)
CPL = ("supervision.gaussian.num_masks=8",)


# What the overrides of each benchmark begin with.
EXPERIMENTS = {"sample": "weak_sample", "planted": "weak_planted_charades"}


def rows(alone_epochs: int) -> dict[str, tuple[str | None, tuple[str, ...]]]:
    """By name: the teacher that stands alone or None, and the overrides."""
    alone = (WEAK, f"supervision.teacher_epochs={alone_epochs}")
    gaussian = ("supervision.teachers=[gaussian]", "supervision.teacher_lr=0.0004")
    both = "supervision.teachers=[evidence,gaussian]"
    no_pool = "supervision.pool.intervention=none"
    return {
        "full": (None, ("supervision=full",)),
        "weak": (None, (WEAK,)),
        "mixed, 5 % of the videos": (None, ("supervision=mixed",)),
        "teacher evidence": ("evidence", (WEAK,)),
        "teacher mil": ("mil", (*alone, no_pool)),
        "teacher CNM-style": ("gaussian", (*alone, *gaussian, *CNM)),
        "teacher CPL-style": ("gaussian", (*alone, *gaussian, *CPL)),
        "weak, CPL-style teacher": (None, (WEAK, *gaussian, *CPL)),
        "weak, evidence and CPL-style": (None, (WEAK, both)),
        "weak, one round": (None, (WEAK, "supervision.rounds=1")),
        "weak, three rounds": (None, (WEAK, "supervision.rounds=3")),
        "weak, none left out": (None, (WEAK, "supervision.left_out=0")),
        "weak, 40 % left out": (None, (WEAK, "supervision.left_out=0.4")),
        "weak, hide-and-seek": (None, (WEAK, "supervision.evidence.hidden_share=0.3")),
        "weak, inside against outside": (None, (WEAK, "supervision.evidence.contrast_weight=0.1")),
        "weak, no in-video negatives": (None, (WEAK, "supervision.evidence.in_video_weight=0")),
    }


MAIN = (
    *("full", "weak", "mixed, 5 % of the videos", "teacher evidence"),
    *("teacher CNM-style", "teacher CPL-style", "weak, CPL-style teacher"),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", choices=("sample", "planted"))
    parser.add_argument("out", type=Path)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--annotations", type=Path, help="of Charades-STA, for planted")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rows", nargs="*", default=MAIN, help="names, or all")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--set", nargs="*", default=[], help="more settings of `bpnet train`")
    parser.add_argument("--teacher", help=argparse.SUPPRESS)  # the process of one row
    args = parser.parse_args()
    if args.teacher:
        ask_teacher(args.teacher, args.set, args.out)
        return
    shared = [f"experiment={EXPERIMENTS[args.data]}", f"data.root={args.root}"]
    if args.annotations:
        shared.append(f"data.annotations={args.annotations}")
    epochs = weak_epochs([*shared, *args.set])
    known = rows(epochs)
    chosen = list(known) if list(args.rows) == ["all"] else list(args.rows)
    if unknown := set(chosen) - set(known):
        parser.error(f"unknown rows {sorted(unknown)}: expected some of {list(known)}")
    work = [(name, seed) for seed in range(args.seeds) for name in chosen]
    found: dict[str, list[dict]] = {name: [] for name in chosen}
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        results = pool.map(lambda one: _run(args, shared, *known[one[0]], *one), work)
        for (name, _), result in zip(work, results, strict=True):
            found[name].append(result)
    report = {
        "data": args.data,
        "seeds": args.seeds,
        "threads": args.threads,
        "alone_epochs": epochs,
        "settings": args.set,
        "rows": found,
    }
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")
    _print(found)


def weak_epochs(settings: list[str]) -> int:
    """Passes over the sentences of a weak run, of its teacher and its students together."""
    from bpnet.cli.hydra_app import compose
    from bpnet.config import TrainConfig, conf_path
    from bpnet.data.annotations import read_queries
    from bpnet.settings import from_dict

    config = from_dict(TrainConfig, compose(conf_path(), "train", settings))
    data, trainer = config.data, config.trainer
    count = len(read_queries(data.dataset, data.annotations, data.train_split))
    of_student = float(trainer.max_epochs)
    if trainer.max_steps is not None:
        of_student = min(of_student, trainer.max_steps * trainer.batch_size / count)
    return config.supervision.teacher_epochs + round(config.supervision.rounds * of_student)


def _run(
    args: argparse.Namespace,
    shared: list[str],
    teacher: str | None,
    overrides: tuple[str, ...],
    name: str,
    seed: int,
) -> dict:
    """Train and score one row with one seed."""
    folder = args.out / name.replace(" ", "_").replace(",", "").replace("%", "pc") / f"seed_{seed}"
    file = folder / "result.json"
    settings = [*shared, *overrides, *args.set, f"seed={seed}"]
    if file.exists():
        return json.loads(file.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads)}

    def call(*line: str) -> None:
        with (folder / "output.log").open("ab") as log:
            subprocess.run(
                [sys.executable, *line], stdout=log, stderr=log, env=environment, check=True
            )

    began = time.monotonic()
    if teacher is None:
        run = folder / "run"
        call("-m", "bpnet.cli.main", "train", *settings, f"run_dir={run}", "resume=auto")
        seconds = time.monotonic() - began
        out = folder / "test"
        call("-m", "bpnet.cli.main", "evaluate", f"checkpoint={run}", f"out={out}")
        scores = json.loads((out / "metrics.json").read_text())
        result = {"metrics": scores["metrics"], "blind": scores["blind_best"]}
        if (run / "weak.json").exists():
            result["run"] = json.loads((run / "weak.json").read_text())
    else:
        line = [__file__, args.data, str(folder), "--root", str(args.root), "--teacher", teacher]
        call(*line, "--set", *settings)
        seconds = time.monotonic() - began
        result = json.loads((folder / "teacher.json").read_text())
    result["seconds"] = round(seconds, 1)
    file.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{name}, seed {seed}: {seconds:.0f} s", file=sys.stderr, flush=True)
    return result


def ask_teacher(name: str, settings: list[str], folder: Path) -> None:
    """Train a teacher, and score its own best spans on the test part."""
    from bpnet.cli.hydra_app import compose
    from bpnet.config import TrainConfig, conf_path
    from bpnet.data.annotations import read_annotations
    from bpnet.settings import from_dict
    from bpnet.weak.labels import Opinion
    from bpnet.weak.run import WeakRun, span_metrics
    from bpnet.weak.teach import ask

    config = from_dict(TrainConfig, compose(conf_path(), "train", settings))
    run = WeakRun(config, folder)
    teacher = run.teacher(name)
    known = run.opinions(teacher)[1]
    data = config.data
    test = run.dataset(read_annotations(data.dataset, data.annotations, "test")[0])
    opinion = Opinion(list(ask(teacher, test, config, run.device)), known.extent)
    found = {
        "metrics": span_metrics([opinion], None, test),
        "extent": known.extent,
        "labelled_validation_pairs": len(run.validation or ()),
    }
    (folder / "teacher.json").write_text(json.dumps(found, indent=1) + "\n")


def _print(found: dict[str, list[dict]]) -> None:
    print(f"{'':<32}" + "".join(f"{name.replace(',IoU=', ' '):>16}" for name in COLUMNS))
    blind = [one["blind"] for runs in found.values() for one in runs if "blind" in one]
    table = {name: [one["metrics"] for one in runs] for name, runs in found.items()}
    if blind:
        table["blind: best interval a column"] = blind[:1]
    means = {}
    for name, runs in table.items():
        values = np.array([[run[column] for column in COLUMNS] for run in runs])
        means[name] = dict(zip(COLUMNS, values.mean(axis=0), strict=True))
        cells = zip(values.mean(axis=0), values.std(axis=0), strict=True)
        print(f"{name:<32}" + "".join(f"{mean:9.2f} ± {spread:4.2f}" for mean, spread in cells))
    pairs = {
        one["run"]["labelled_validation_pairs"]
        for runs in found.values()
        for one in runs
        if "run" in one
    }
    print(f"weak rows are chosen on {sorted(pairs)} labelled validation pairs")
    for name, column in (("weak", "R@1,IoU=0.5"), ("mixed, 5 % of the videos", "mIoU")):
        if name in means and "full" in means:
            share = 100 * means[name][column] / means["full"][column]
            print(f"{name}: {share:.1f} % of full supervision's {column}")


if __name__ == "__main__":
    main()
