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
from bpnet.evaluation.calibrate import calibration_row, fit_pairs, score_pairs
from bpnet.evaluation.predictions import Prediction
from bpnet.training.validation import answer

log = logging.getLogger(__name__)


def calibrate_best(
    run_dir: Path, validation: MomentDataset, config: TrainerConfig, device: torch.device
) -> None:
    """Write the calibration into the best checkpoint, unless it has one; no weight changes.

    Args:
        run_dir: Folder of the run.
        validation: The validation part.
        config: Batch size and workers.
        device: Where to compute.

    Raises:
        ConfigError: A score is not in [0, 1].
    """
    file = run_dir / BEST
    if not file.is_file():  # the run went on in another folder, and nothing was better there
        log.warning("no calibration: there is no %s", file)
        return
    checkpoint = Checkpoint.load(file)
    if checkpoint.calibration is not None:
        return
    log.info(
        "calibrating %s: two more passes over the %d validation queries, about their own videos "
        "and about others (trainer.calibrate=false leaves it out)",
        BEST,
        len(validation),
    )
    model = build_from_checkpoint(checkpoint)[0].to(device)

    def ask(queries: MomentDataset) -> list[Prediction]:
        return answer(model, queries, config, device)

    pairs = score_pairs(ask(validation), validation, ask)
    if pairs is None:
        log.warning("no calibration: there is no other video to ask the validation queries about")
        return
    calibration = fit_pairs(pairs)
    row = calibration_row(pairs, calibration)
    dataclasses.replace(checkpoint, calibration=calibration.to_dict()).save(file)
    log.info(
        "calibration on validation: slope %.3f, intercept %.3f, error %.3f -> %.3f, AUROC %.3f",
        calibration.slope,
        calibration.intercept,
        row["score"]["ece"],
        row["probability"]["ece"],
        row["auroc"],
    )
