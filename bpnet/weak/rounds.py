"""Training without timestamps, from the files that a config names to an ordinary checkpoint.

Teachers learn which sentence belongs to which video, and hold some spans of it for its moment.
What they agree on is taught to a BPNet, the first student, by `bpnet.training` as it is. Its
answers about the training videos, weighed by how far the teachers support them, have a vote beside
theirs in what is taught to the next student. The teachers stay those of the beginning: a student
cannot confirm itself.

Each stage has a folder of its own in the run folder, and is a run that can be resumed:
``teacher_NAME``, ``student_1``, ``student_2``. The best student's checkpoint stands in the run
folder itself, and in ``weak.json`` what each round found.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bpnet.checkpoint import BEST, LAST, Checkpoint
from bpnet.config import TrainConfig
from bpnet.errors import ConfigError
from bpnet.ranks import ALONE, Ranks
from bpnet.training.run import TrainingParts, train
from bpnet.weak.labels import Opinion, read_labels, write_labels
from bpnet.weak.mil_teacher import mil_config
from bpnet.weak.query_contexts import pool_config
from bpnet.weak.run import WeakRun, run_settings
from bpnet_features.atomic import write_atomically, write_text_atomically

log = logging.getLogger(__name__)

SETTINGS = "supervision.json"  # of the run, so that it is resumed with no others
REPORT = "weak.json"
LABELS = "pseudo.jsonl"  # in the folder of the student that is taught them


def check_rounds(config: TrainConfig, run_dir: Path) -> None:
    """Refuse a folder that holds another run; changes nothing.

    Args:
        config: The run.
        run_dir: Its folder, which may be missing.

    Raises:
        ConfigError: The folder holds a run and ``resume`` is not ``auto``, or that run has other
            settings.
    """
    mil_config(config.supervision)  # a wrong setting is told before any work
    pool_config(config.supervision)
    if config.resume not in (None, "auto"):
        raise ConfigError(
            f"resume={config.resume!r} with supervision={config.supervision.kind}: expected auto: "
            "its stages lie in the run folder and go on there"
        )
    file = run_dir / SETTINGS
    if not file.exists():
        return
    if config.resume is None:
        raise ConfigError(
            f"run_dir={str(run_dir)!r} holds a run already: give resume=auto to go on with it, "
            "or another run_dir"
        )
    then, now = json.loads(file.read_text(encoding="utf-8")), run_settings(config)
    changed = sorted(key for key in then.keys() | now.keys() if then.get(key) != now.get(key))
    if changed:
        lines = [f"{key}: {then.get(key)!r} != {now.get(key)!r}" for key in changed]
        raise ConfigError(
            f"resume=auto: the run has other settings (then != now): {'; '.join(lines)}. Give the "
            "same settings, or begin a new run"
        )


def train_weakly(config: TrainConfig, run_dir: Path, ranks: Ranks = ALONE) -> dict[str, Any]:
    """Train a model on sentences and videos, and on the moments of a few videos with ``mixed``.

    Args:
        config: The run.
        run_dir: Its folder; it exists.
        ranks: Who this process is; only one process can train so.

    Returns:
        What ``weak.json`` holds: the numbers of labelled pairs; of each teacher its extent and the
        metrics of its best spans on the labelled validation part; of each round the metrics of
        its pseudo moments and of its student there; the ``chosen`` round, and its ``validation``
        metrics in percent, or None without such a part.

    Raises:
        BPNetError: A setting or a file is not what it must be, or the folder holds a run already.
    """
    kind = config.supervision.kind
    if ranks.size > 1:
        raise ConfigError(
            f"supervision={kind} in {ranks.size} processes: expected one: start it without torchrun"
        )
    if config.model.proposer != "span":
        raise ConfigError(
            f"model.proposer={config.model.proposer!r} with supervision={kind}: expected 'span': "
            "the losses of the others do not count a moment by how certain it is"
        )
    check_rounds(config, run_dir)
    write_text_atomically(run_dir / SETTINGS, json.dumps(run_settings(config), indent=1) + "\n")
    run = WeakRun(config, run_dir)
    report: dict[str, Any] = {
        "supervision": kind,
        "training_sentences": len(run.pairs),
        "labelled_training_pairs": len(run.parts.labelled),
        "labelled_validation_pairs": len(run.validation or ()),
        "teachers": {},
        "rounds": [],
        "chosen": None,
        "validation": None,
    }
    opinions = []
    for name in config.supervision.teachers:
        opinion, known = run.opinions(run.teacher(name))
        opinions.append((opinion, known))
        found = run.quality([known], None)
        report["teachers"][name] = {"extent": opinion.extent, "validation": found}
        log.info("teacher %s: extent %.2f; %s", name, opinion.extent, _shown(found, run))
    before: Path | None = None
    for number in range(1, config.supervision.rounds + 1):
        student = run_dir / f"student_{number}"
        student.mkdir(exist_ok=True)
        quality = _round(run, student, opinions, before)
        metrics = Checkpoint.load(student).training["validation"]
        report["rounds"].append({"round": number, "pseudo": quality, "student": metrics})
        worse = before is not None and _is_worse(metrics, report["validation"], config)
        if not worse:
            report |= {"chosen": number, "validation": metrics}
            for name in (BEST, LAST):
                if (student / name).is_file():
                    write_atomically(run_dir / name, partial(shutil.copyfile, student / name))
        write_text_atomically(run_dir / REPORT, json.dumps(report, indent=1) + "\n")
        log.info("round %d: student: %s", number, _shown(metrics, run))
        if worse:
            log.info("the student of round %d is worse than the one before it: stopping", number)
            break
        before = student
    return report


def _round(
    run: WeakRun,
    student: Path,
    opinions: Sequence[tuple[Opinion, Opinion]],
    before: Path | None,
) -> dict[str, float] | None:
    """Make pseudo moments, unless they are there, and teach them; gives their quality."""
    labels = student / LABELS
    if not labels.exists():
        left_out = 0.0 if before else run.config.supervision.left_out
        answers = run.answers(before, run.pairs) if before else None
        write_labels(labels, *run.labels([one for one, _ in opinions], answers, left_out))
    answers = run.answers(before, run.validation) if before and run.validation else None
    quality = run.quality([known for _, known in opinions], answers)
    log.info("%s: pseudo moments: %s", student.name, _shown(quality, run))
    pairs, weights = read_labels(labels)
    train(
        dataclasses.replace(run.config, run_dir=str(student), resume="auto"),
        student,
        parts=TrainingParts(pairs, run.parts.validation, weights, run.parts.files_digest),
    )
    return quality


def _is_worse(
    metrics: dict[str, float] | None, best: dict[str, float] | None, config: TrainConfig
) -> bool:
    select_by = config.trainer.select_by
    return metrics is not None and best is not None and metrics[select_by] < best[select_by]


def _shown(metrics: dict[str, float] | None, run: WeakRun) -> str:
    """A line of the log: the metrics, and by how many labelled pairs they are known."""
    if metrics is None or run.validation is None:
        return "there is no labelled validation part"
    values = ", ".join(f"{name} {value:.2f}" for name, value in metrics.items())
    return f"{values} (labelled validation, {len(run.validation)} pairs)"
