"""After training: fits the best checkpoint's calibration on the validation part, and keeps it."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import torch

from bpnet.build import build_from_checkpoint
from bpnet.checkpoint import BEST, Checkpoint
from bpnet.config import TrainerConfig
from bpnet.data.dataset import MomentDataset
from bpnet.distributed import from_first
from bpnet.evaluation.calibrate import calibration_row, fit_pairs, score_pairs
from bpnet.evaluation.predictions import Prediction
from bpnet.ranks import ALONE, Ranks
from bpnet.training.validation import answer

log = logging.getLogger(__name__)


def calibrate_best(
    run_dir: Path,
    validation: MomentDataset,
    config: TrainerConfig,
    device: torch.device,
    ranks: Ranks = ALONE,
) -> None:
    """Write the calibration into the best checkpoint, unless it has one; no weight changes.

    Args:
        run_dir: Folder of the run.
        validation: The validation part.
        config: Batch size and workers.
        device: Where to compute.
        ranks: Who this process is; the first one reads and writes the file.

    Raises:
        ConfigError: A score is not in [0, 1].
    """
    file = run_dir / BEST
    checkpoint = from_first(_uncalibrated(file) if ranks.first else None, ranks)
    if checkpoint is None:
        return
    log.info(
        "calibrating %s: two more passes over the %d validation queries, about their own videos "
        "and about others (trainer.calibrate=false leaves it out)",
        BEST,
        len(validation),
    )
    model = build_from_checkpoint(checkpoint)[0].to(device)

    def ask(queries: MomentDataset) -> list[Prediction]:
        return answer(model, queries, config, device, ranks)

    pairs = score_pairs(ask(validation), validation, ask)
    if pairs is None:
        log.warning("no calibration: there is no other video to ask the validation queries about")
        return
    if not ranks.first:
        return
    calibration = fit_pairs(pairs)
    row = calibration_row(pairs, calibration)
    dataclasses.replace(checkpoint, calibration=calibration.to_dict()).save(file)
    log.info(
        "calibration on validation: slope %.3f, intercept %.3f, error %.3f -> %.3f, AUROC %.3f; a "
        "sentence is about a video from score %.3f",
        calibration.slope,
        calibration.intercept,
        row["score"]["ece"],
        row["probability"]["ece"],
        row["auroc"],
        calibration.least_score,
    )


def _uncalibrated(file: Path) -> Checkpoint | None:
    if not file.is_file():  # the run went on in another folder, and nothing was better there
        log.warning("no calibration: there is no %s", file)
        return None
    checkpoint = Checkpoint.load(file)
    return checkpoint if checkpoint.calibration is None else None
