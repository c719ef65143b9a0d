"""fit(): steps, validation, checkpoints; continues bit for bit where it was cut off."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader
from tqdm import tqdm

from bpnet.checkpoint import BEST, LAST, Checkpoint
from bpnet.config import TrainConfig
from bpnet.data.collate import collate
from bpnet.data.dataset import MomentDataset
from bpnet.errors import CheckpointError
from bpnet.models.bpnet import BPNet
from bpnet.models.losses import bpnet_losses
from bpnet.training.batches import EpochBatches
from bpnet.training.metrics_log import LossMeans, MetricsLog
from bpnet.training.mismatches import with_strangers
from bpnet.training.optim import build_optimizer, build_schedule
from bpnet.training.state import STATE, TrainingState, random_states, restore_random_states
from bpnet.types import Batch

log = logging.getLogger(__name__)

LOG_EVERY = 10  # steps whose mean losses make one line of metrics.jsonl


def num_steps(config: TrainConfig, num_samples: int) -> int:
    """Optimiser steps of a run: ``max_steps``, or ``max_epochs`` where that is less."""
    steps = config.trainer.max_epochs * -(-num_samples // config.trainer.batch_size)
    return steps if config.trainer.max_steps is None else min(steps, config.trainer.max_steps)


def fit(
    model: BPNet,
    dataset: MomentDataset,
    config: TrainConfig,
    run_dir: Path,
    *,
    device: torch.device,
    validate: Callable[[BPNet], dict[str, float]] | None,
    make_checkpoint: Callable[[BPNet, dict[str, Any]], Checkpoint],
    settings: dict[str, Any],
    annotations: str,
    state: TrainingState | None = None,
) -> dict[str, float] | None:
    """Train, writing metrics, checkpoints and the training state into the run folder.

    Args:
        model: The network, on ``device``.
        dataset: The training part.
        config: The run.
        run_dir: Its folder.
        device: Where to train.
        validate: Metrics of a model on the validation part; None: there is none.
        make_checkpoint: A checkpoint of a model as it is, given what to note of its training.
        settings: The settings that decide the numbers; kept in the training state.
        annotations: SHA-256 of the queries and moments; kept there too.
        state: Where an earlier run of the same settings stood.

    Returns:
        The last validation's metrics, or None.

    Raises:
        ConfigError: A loss is not finite.
        CheckpointError: The state is that of another model.
    """
    total = num_steps(config, len(dataset))
    optimizer = build_optimizer(model, config.optim)
    schedule = build_schedule(optimizer, config.optim, total)

    def decay() -> float:
        # The first weights are random: an average that remembers them long says little early on.
        return min(config.trainer.ema_decay, (1 + step) / (10 + step))

    averaged = None
    if config.trainer.ema_decay:
        averaged = AveragedModel(model, avg_fn=lambda old, new, _: old.lerp(new, 1 - decay()))
    kept = model if averaged is None else cast(BPNet, averaged.module)
    step, best = 0, None
    metrics: dict[str, float] | None = None
    running = LossMeans()
    if state is not None:
        step, best, metrics = state.step, state.best, state.metrics
        try:
            model.load_state_dict(state.weights)
            if averaged is not None:
                averaged.load_state_dict(state.averaged)
        except RuntimeError as err:
            raise CheckpointError(
                f"resume={config.resume}: the state does not fit the model: the features, vectors "
                "or annotations are others than those that the run began with "
                f"({' '.join(str(err).split())})"
            ) from err
        optimizer.load_state_dict(state.optimizer)
        schedule.load_state_dict(state.schedule)
        running.sums = dict(state.running)
        restore_random_states(state.random)
    batches = EpochBatches(
        [annotation.video_id for annotation in dataset.annotations],
        config.trainer.batch_size,
        config.seed,
        config.trainer.queries_per_video,
    )
    loader = _loader(dataset, batches, config, device)
    metrics_log = MetricsLog(run_dir, step, config.trainer.tensorboard)
    bf16 = config.trainer.precision == "bf16" or (
        config.trainer.precision == "auto" and device.type == "cuda"
    )

    def save_state() -> None:
        TrainingState(
            step=step,
            weights=model.state_dict(),
            averaged={} if averaged is None else averaged.state_dict(),
            optimizer=optimizer.state_dict(),
            schedule=schedule.state_dict(),
            random=random_states(),
            best=best,
            config=settings,
            running=running.sums,
            metrics=metrics,
            annotations=annotations,
        ).save(run_dir / STATE)

    model.train()
    bar = tqdm(total=total, initial=step, desc="train", unit="step", disable=None)
    while step < total:
        epoch, first = divmod(step, len(batches))
        batches.begin(epoch, first)
        for batch in loader:
            losses = _train_step(model, batch.to(device), config, optimizer, bf16)
            if averaged is not None:
                averaged.update_parameters(model)
            schedule.step()
            step += 1
            running.add(losses, step)
            if step % LOG_EVERY == 0 or step == total:
                means = running.take()
                lr = schedule.get_last_lr()[0]
                metrics_log.write({"step": step, "epoch": step / len(batches), "lr": lr, **means})
                bar.set_postfix({name: f"{value:.3f}" for name, value in means.items()})
            bar.update()
            if step == total:
                break
            if step % config.trainer.save_every_steps == 0 and step % len(batches):
                save_state()
        epoch += 1
        if validate is not None and (step == total or epoch % config.trainer.validate_every == 0):
            metrics = validate(kept)
            metrics_log.write({"step": step, "epoch": epoch, "validation": metrics})
            log.info(
                "epoch %d, step %d/%d, validation: %s",
                epoch,
                step,
                total,
                ", ".join(f"{name} {value:.2f}" for name, value in metrics.items()),
            )
            value = metrics[config.trainer.select_by]
            if best is None or value > best:
                best = value
                make_checkpoint(kept, _note(step, epoch, config, metrics)).save(run_dir / BEST)
        make_checkpoint(kept, _note(step, epoch, config, metrics)).save(run_dir / LAST)
        save_state()
    bar.close()
    metrics_log.close()
    return metrics


def _train_step(
    model: BPNet,
    batch: Batch,
    config: TrainConfig,
    optimizer: torch.optim.Optimizer,
    bf16: bool,
) -> dict[str, Tensor]:
    """One forward, backward and optimiser step; gives the losses, detached."""
    strangers = None
    with torch.autocast(batch.video.device.type, torch.bfloat16, enabled=bf16):
        if config.model.stage_two and config.model.mismatch_weight:
            output = model(with_strangers(batch))
            size = len(batch.video_index)
            if len(output.scores) > size:
                strangers = output.rows(slice(size, None))
            output = output.rows(slice(size))
        else:
            output = model(batch)
    losses = bpnet_losses(output, batch, config.model, strangers)
    optimizer.zero_grad(set_to_none=True)
    losses["total"].backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), config.optim.clip_norm)
    optimizer.step()
    return {name: loss.detach() for name, loss in losses.items()}


def _loader(
    dataset: MomentDataset, batches: EpochBatches, config: TrainConfig, device: torch.device
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


def _note(
    step: int, epoch: int, config: TrainConfig, metrics: dict[str, float] | None
) -> dict[str, Any]:
    return {"step": step, "epoch": epoch, "seed": config.seed, "validation": metrics}
