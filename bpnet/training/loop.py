"""fit(): steps, validation, checkpoints; continues bit for bit where it was cut off."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler
from tqdm import tqdm

from bpnet.checkpoint import BEST, LAST, Checkpoint
from bpnet.config import TrainConfig
from bpnet.data.collate import collate
from bpnet.data.dataset import MomentDataset
from bpnet.models.grounder import Grounder
from bpnet.ranks import ALONE, Ranks
from bpnet.training.batches import EpochBatches
from bpnet.training.metrics_log import MetricsLog
from bpnet.training.optim import build_optimizer, build_schedule
from bpnet.training.profile import StepProfiler, no_phase
from bpnet.training.progress import Progress
from bpnet.training.shards import Shard, ShardedBatches
from bpnet.training.state import STATE, TrainingState, random_states, restore_random_states
from bpnet.training.step import TrainStep
from bpnet.training.validation import Validation
from bpnet.types import Batch

log = logging.getLogger(__name__)

LOG_EVERY = 10  # steps whose mean losses make one line of metrics.jsonl


def num_steps(config: TrainConfig, num_samples: int) -> int:
    """Optimiser steps of a run: ``max_steps``, or ``max_epochs`` where that is less."""
    num_batches = -(-num_samples // config.trainer.batch_size)
    steps = config.trainer.max_epochs * -(-num_batches // config.trainer.accumulate)
    return steps if config.trainer.max_steps is None else min(steps, config.trainer.max_steps)


def fit(
    model: Grounder,
    dataset: MomentDataset,
    config: TrainConfig,
    run_dir: Path,
    *,
    device: torch.device,
    validate: Callable[[Grounder], Validation] | None,
    make_checkpoint: Callable[[Grounder, dict[str, Any]], Checkpoint],
    settings: dict[str, Any],
    annotations: str,
    state: TrainingState | None = None,
    ranks: Ranks = ALONE,
) -> dict[str, float] | None:
    """Train, writing metrics, checkpoints and the training state into the run folder.

    Args:
        model: The network, on ``device``.
        dataset: The training part.
        config: The run.
        run_dir: Its folder; only the first process writes.
        device: Where to train.
        validate: How a model does on the validation part; None: there is none.
        make_checkpoint: A checkpoint of a model as it is, given what to note of its training.
        settings: The settings that decide the numbers; kept in the training state.
        annotations: SHA-256 of the queries and moments; kept there too.
        state: Where an earlier run of the same settings stood, with as many processes or with
            another number of them.
        ranks: Who this process is among those that train the model together.

    Returns:
        The last validation's metrics, or None.

    Raises:
        ConfigError: A loss is not finite, or the precision is not for this device.
        CheckpointError: The state is that of another model.
    """
    total = num_steps(config, len(dataset))
    optimizer = build_optimizer(model, config.optim)
    schedule = build_schedule(optimizer, config.optim, total)
    train_step = TrainStep(model, config, optimizer, device, ranks)
    progress = Progress(model, optimizer, schedule, train_step.scaler, config.trainer.ema_decay)
    restored = False
    if state is not None:
        progress.restore(state, f"resume={config.resume}")
        restored = restore_random_states(state.random, ranks)
    if not (restored or ranks.first):
        # The first process draws what a single one would; the others other numbers than it, and
        # where they go on from a state that has none for them, other ones than before.
        torch.manual_seed(hash((config.seed, ranks.rank, progress.step)) % 2**63)
    batches = EpochBatches(
        [annotation.video_id for annotation in dataset.annotations],
        config.trainer.batch_size,
        config.seed,
        config.trainer.queries_per_video,
        [annotation.duration_seconds for annotation in dataset.annotations]
        if config.trainer.similar_lengths
        else None,
    )
    steps_per_epoch = -(-len(batches) // config.trainer.accumulate)
    sharded = ShardedBatches(batches, ranks) if ranks.size > 1 else None
    loader = _loader(dataset, batches if sharded is None else sharded, config, device)
    metrics_log = MetricsLog(run_dir, progress.step, config.trainer) if ranks.first else None

    def save_state() -> None:
        random = random_states(ranks)
        if ranks.first:
            progress.state(random, settings, annotations).save(run_dir / STATE)

    def save_checkpoint(name: str) -> None:
        if ranks.first:
            at = {"step": progress.step, "epoch": epoch, "seed": config.seed}
            note = {**at, "validation": progress.metrics}
            make_checkpoint(progress.kept, note).save(run_dir / name)

    profiler = None
    if config.trainer.profile and ranks.first and progress.step < total:
        left = total - progress.step
        profiler = StepProfiler(run_dir, device, left, _described(config, ranks))
    phase = no_phase if profiler is None else profiler.phase
    model.train()
    hidden = None if ranks.first else True  # None: where it is no terminal
    bar = tqdm(total=total, initial=progress.step, desc="train", unit="step", disable=hidden)
    while progress.step < total:
        epoch, first = divmod(progress.step, steps_per_epoch)
        batches.begin(epoch, first * config.trainer.accumulate)
        groups = _groups(loader, sharded, config.trainer.accumulate)
        for group in groups if profiler is None else profiler.loading(groups):
            progress.advance(train_step(group, phase))
            step = progress.step
            if step % LOG_EVERY == 0 or step == total:
                means = progress.running.take()
                if metrics_log is not None:
                    at = {"step": step, "epoch": step / steps_per_epoch}
                    metrics_log.write({**at, "lr": progress.learning_rate, **means})
                bar.set_postfix({name: f"{value:.3f}" for name, value in means.items()})
            bar.update()
            if profiler is not None:
                profiler.end_step()
            if step == total:
                break
            if step % config.trainer.save_every_steps == 0 and step % steps_per_epoch:
                save_state()
        epoch += 1
        last = progress.step == total
        if validate is not None and (last or epoch % config.trainer.validate_every == 0):
            found = validate(progress.kept)
            _tell(found, progress.step, total, epoch, metrics_log)
            if progress.judge(found.metrics, config.trainer.select_by):
                save_checkpoint(BEST)
        save_checkpoint(LAST)
        save_state()
    bar.close()
    if metrics_log is not None:
        metrics_log.close()
    return progress.metrics


def _tell(
    found: Validation, step: int, total: int, epoch: int, metrics_log: MetricsLog | None
) -> None:
    """Log how a model did on the validation part."""
    if metrics_log is not None:
        metrics_log.write({"step": step, "epoch": epoch, "validation": found.metrics})
        metrics_log.draw(found.shown, step)
    values = ", ".join(f"{name} {value:.2f}" for name, value in found.metrics.items())
    log.info("epoch %d, step %d/%d, validation: %s", epoch, step, total, values)


def _groups(
    loader: Iterable[Batch], sharded: ShardedBatches | None, size: int
) -> Iterator[list[tuple[Batch, Shard | None]]]:
    """The batches of each optimiser step; of several processes with this one's place in them."""
    shards = itertools.repeat(None) if sharded is None else sharded.shards()
    batches = zip(loader, shards, strict=False)
    while group := list(itertools.islice(batches, size)):
        yield group


def _described(config: TrainConfig, ranks: Ranks) -> dict[str, Any]:
    """What decides the speed of a run, for the page about it."""
    names = ("batch_size", "accumulate", "queries_per_video", "precision", "num_workers")
    settings = {f"trainer.{name}": getattr(config.trainer, name) for name in names}
    return {**settings, "processes": ranks.size}


def _loader(
    dataset: MomentDataset,
    batches: Sampler[list[int]],
    config: TrainConfig,
    device: torch.device,
) -> DataLoader[Batch]:
    return DataLoader(
        dataset,  # type: ignore[arg-type]  # collate turns samples into a batch
        batch_sampler=batches,
        collate_fn=collate,
        num_workers=config.trainer.num_workers,
        pin_memory=device.type == "cuda",
        # The loader draws seeds for its workers; a generator of its own keeps dropout's undisturbed
        # however often a run is cut off and resumed.
        generator=torch.Generator().manual_seed(config.seed),
    )
