"""train(): a whole run, from the files that a config names to a folder of checkpoints."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import bpnet
from bpnet.build import build_for_training, build_store, pick_device, plain
from bpnet.checkpoint import Checkpoint
from bpnet.config import DataConfig, TrainConfig
from bpnet.data.annotations import carve_validation, read_annotations
from bpnet.data.dataset import MomentDataset
from bpnet.data.vocabulary import build_vocabulary, load_vectors
from bpnet.errors import ConfigError
from bpnet.evaluation.evaluate import predict, validation_metrics
from bpnet.evaluation.metrics import localization_metrics
from bpnet.evaluation.protocols import VSLNET
from bpnet.training.loop import fit, num_steps
from bpnet.training.state import STATE, TrainingState
from bpnet.types import Annotation
from bpnet_features import FeatureStore

log = logging.getLogger(__name__)

# Settings that may differ when a run is resumed: they change no number.
FREE = {
    "data": ("features", "annotations", "root", "name", "vectors", "vectors_cache"),
    "trainer": ("eval_batch_size", "num_workers", "device", "save_every_steps", "tensorboard"),
}


def train(config: TrainConfig, run_dir: Path) -> dict[str, float] | None:
    """Train a model.

    Args:
        config: The run.
        run_dir: Its folder; it exists.

    Returns:
        Metrics of the last validation in percent, or None without a validation part.

    Raises:
        BPNetError: A setting or a file is not what it must be, or the folder holds a run already.
    """
    settings = _deciding_settings(config)
    state = find_state(config, run_dir)
    if state is not None:
        log.info("resuming at step %d", state.step)
    for part in run_dir.glob(".*.part"):  # what a killed run was writing
        part.unlink()
    device = pick_device(config.trainer.device)
    data = config.data
    train_part, validation_part = read_parts(data)
    vectors = load_vectors(data.vectors, data.vectors_cache) if data.vectors else None
    # With given vectors a word costs nothing to know, so words of other parts are known too; only
    # their vectors are looked up. Learned embeddings exist for what was trained.
    queries = [a.query for a in [*train_part, *validation_part]]
    vocabulary, table = build_vocabulary(
        queries if vectors is None else [*queries, *_other_queries(data)],
        tokenizer=data.tokenizer,
        characters=config.model.characters,
        max_query_tokens=data.max_query_tokens,
        vectors=vectors,
        min_word_count=data.min_word_count,
    )
    store = build_store(data)
    dataset = MomentDataset(train_part, store, vocabulary, data.max_clips, data.missing)
    validation = None
    if validation_part:
        validation = MomentDataset(validation_part, store, vocabulary, data.max_clips, data.missing)
    _log_ceiling(dataset.annotations, store, data.max_clips)
    model, sizes = build_for_training(config, vocabulary, table, store.spec)
    model.to(device)
    log.info(
        "%d training and %d validation queries, %d words, %d parameters, %d steps on %s",
        len(dataset),
        len(validation) if validation else 0,
        len(vocabulary.words),
        sum(p.numel() for p in model.parameters()),
        num_steps(config, len(dataset)),
        device,
    )

    def validate() -> dict[str, float]:
        assert validation is not None
        predictions = predict(
            model,
            validation,
            batch_size=config.trainer.eval_batch_size,
            num_workers=config.trainer.num_workers,
            device=device,
        )
        return validation_metrics(list(predictions), VSLNET)

    def make_checkpoint(note: dict[str, Any]) -> Checkpoint:
        return Checkpoint(
            tensors=model.state_dict(),
            model=plain(config.model),
            sizes=dataclasses.asdict(sizes),
            vocabulary=vocabulary.to_dict(),
            feature_spec=store.spec,
            data=plain(data),
            training={**note, "bpnet": bpnet.__version__},
        )

    return fit(
        model,
        dataset,
        config,
        run_dir,
        device=device,
        validate=validate if validation is not None else None,
        make_checkpoint=make_checkpoint,
        settings=settings,
        state=state,
    )


def read_parts(data: DataConfig) -> tuple[list[Annotation], list[Annotation]]:
    """The training and the validation part; the second comes from the first, unless it is named.

    Args:
        data: Which dataset.

    Returns:
        Both parts; no video is in both unless the dataset's own parts share it.

    Raises:
        AnnotationError: A file is missing or not what it must be.
    """
    train_part, report = read_annotations(data.dataset, data.annotations, data.train_split)
    log.info("%s", report.summary())
    if data.validation_split is not None:
        validation, report = read_annotations(data.dataset, data.annotations, data.validation_split)
        log.info("%s", report.summary())
        return train_part, validation
    if data.validation_fraction == 0:
        return train_part, []
    return carve_validation(train_part, data.validation_fraction, data.validation_seed)


def _other_queries(data: DataConfig) -> list[str]:
    """Sentences of the other parts, where they can be read."""
    found: list[str] = []
    for split in ("val", "val_1", "val_2", "test"):
        try:
            found += [a.query for a in read_annotations(data.dataset, data.annotations, split)[0]]
        except ValueError:
            log.debug("no part %r", split)
    return found


def _log_ceiling(annotations: Sequence[Annotation], store: FeatureStore, max_clips: int) -> None:
    """What answers made of whole clips can reach at best on this grid (a sample of 2,000)."""
    step = max(1, len(annotations) // 2000)
    sample = annotations[::step][:2000]
    snapped = []
    for a in sample:
        grid = store.grid(a.video_id, a.duration_seconds)
        if grid.num_clips > max_clips:
            grid = grid.coarsen(max_clips)
        cells = grid.nearest_cells(a.start_seconds, a.end_seconds)
        snapped.append(grid.to_seconds(np.array([cells])))
    best = localization_metrics(
        snapped, [(a.start_seconds, a.end_seconds) for a in sample], VSLNET, ranks=(1,)
    )
    log.info(
        "ceiling of this grid: %s", ", ".join(f"{name} {value:.1f}" for name, value in best.items())
    )


def _deciding_settings(config: TrainConfig) -> dict[str, Any]:
    values = plain(config)
    settings: dict[str, Any] = {
        name: dict(values[name]) for name in ("data", "model", "optim", "trainer")
    }
    for group, names in FREE.items():
        for name in names:
            settings[group].pop(name)
    # As JSON has it, so that the comparison does not see tuples and lists as different.
    settings["model"]["scaled_iou"] = list(settings["model"]["scaled_iou"])
    settings["seed"] = config.seed
    return settings


def find_state(config: TrainConfig, run_dir: Path) -> TrainingState | None:
    """The state to go on from; changes nothing.

    Args:
        config: The run.
        run_dir: Its folder, which may be missing.

    Returns:
        The state, or None for a run that begins.

    Raises:
        ConfigError: The folder holds a run and ``resume`` is not set, or that run has other
            settings.
        CheckpointError: There is no state to resume, or it is damaged.
    """
    own = run_dir / STATE
    if config.resume is None:
        if own.exists():
            raise ConfigError(
                f"run_dir={str(run_dir)!r} holds a run already: give resume=auto to go on with it, "
                "or another run_dir"
            )
        return None
    source = run_dir if config.resume == "auto" else Path(config.resume)
    if config.resume == "auto" and not own.exists():
        return None
    state = TrainingState.load(source)
    changed = _differences(state.config, _deciding_settings(config))
    if changed:
        raise ConfigError(
            f"resume={config.resume}: the run has other settings (then != now): "
            f"{'; '.join(changed)}. Give the same settings, or begin a new run"
        )
    return state


def _differences(then: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    lines = []
    for key in sorted(then.keys() | now.keys()):
        old, new = then.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            lines += _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            lines.append(f"{prefix}{key}: {old!r} != {new!r}")
    return lines
