"""Trains a teacher on sentences with their videos; goes on bit for bit where it was cut off."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from bpnet.config import OptimConfig, TrainConfig
from bpnet.data.collate import collate
from bpnet.data.vocabulary import Vocabulary
from bpnet.models.build import Sizes
from bpnet.settings import raise_faults
from bpnet.training.batches import EpochBatches
from bpnet.training.metrics_log import MetricsLog
from bpnet.training.optim import build_optimizer, build_schedule
from bpnet.training.progress import Progress
from bpnet.training.state import STATE, TrainingState, random_states, restore_random_states
from bpnet.types import Batch
from bpnet.weak.evidence import Evidence
from bpnet.weak.gaussian import GaussianProposals
from bpnet.weak.hints import Hint
from bpnet.weak.mil_teacher import MilTeacher
from bpnet.weak.pairs import QueryDataset
from bpnet.weak.query_contexts import QueryContexts, pool_config

log = logging.getLogger(__name__)

LOG_EVERY = 10  # steps whose mean losses make one line of metrics.jsonl


AnyTeacher: TypeAlias = Evidence | MilTeacher | GaussianProposals


def build_teacher(
    name: str,
    config: TrainConfig,
    sizes: Sizes,
    vectors: Tensor | None,
    vocabulary: Vocabulary,
    queries: Sequence[str],
) -> AnyTeacher:
    """A fresh teacher, with weights drawn from the run's seed.

    Args:
        name: One of `bpnet.supervision_config.TEACHERS`.
        config: The run.
        sizes: Sizes that follow from the data.
        vectors: Vectors of the words, or None: they are learned.
        vocabulary: The words by id.
        queries: The training sentences.

    Returns:
        The teacher, in training mode, on the CPU.
    """
    torch.manual_seed(config.seed)
    match name:
        case "mil":
            return MilTeacher(sizes, vectors, config.supervision, vocabulary, queries)
        case "gaussian":
            return GaussianProposals(sizes, vectors, config.supervision.gaussian)
        case _:
            pool = pool_config(config.supervision)
            contexts, intervenes = None, pool.intervention != "none"
            if intervenes and sizes.query_dim:
                log.warning("data.query_features has no words: evidence looks for no contexts")
            elif intervenes:
                contexts = QueryContexts(vocabulary, vectors, queries, pool, sizes.feature_dim)
            return Evidence(sizes, vectors, config.supervision.evidence, contexts)


def teach(
    teacher: AnyTeacher,
    pairs: QueryDataset,
    config: TrainConfig,
    run_dir: Path,
    *,
    device: torch.device,
    settings: dict[str, Any],
    digest: str,
) -> None:
    """Train a teacher, or go on with it; a finished one is read only.

    Args:
        teacher: What to train; it is on ``device`` and in evaluation mode at the end.
        pairs: The training sentences with their videos.
        config: The run.
        run_dir: The teacher's folder; it exists.
        device: Where to train.
        settings: The settings that decide the numbers; kept in the training state.
        digest: SHA-256 of the sentences; kept there too.

    Raises:
        CheckpointError: The folder holds the state of another teacher.
        ConfigError: A loss is not finite, or there is one video only.
    """
    supervision = config.supervision
    videos = [query.video_id for query in pairs.queries]
    raise_faults(
        [
            f"supervision={supervision.kind}: all {len(videos)} training sentences are about the "
            f"video {videos[0]!r}: expected two videos at least, to tell them apart by"
            if len(set(videos)) < 2
            else None
        ]
    )
    batches = EpochBatches(
        videos, supervision.teacher_batch_size, config.seed, config.trainer.queries_per_video
    )
    state = TrainingState.load(run_dir / STATE) if (run_dir / STATE).exists() else None
    if state is None:
        teacher.begin(pairs)
    teacher.to(device)
    optim = OptimConfig(lr=supervision.teacher_lr)
    total = supervision.teacher_epochs * len(batches)
    optimizer = build_optimizer(teacher, optim)
    schedule = build_schedule(optimizer, optim, total)
    progress = Progress[AnyTeacher](teacher, optimizer, schedule, scaler=None, ema_decay=0.0)
    if state is not None:
        progress.restore(state, f"teacher {str(run_dir)!r}")
        restore_random_states(state.random)
        log.info("%s: at step %d of %d", run_dir.name, progress.step, total)
    metrics_log = MetricsLog(run_dir, progress.step, config.trainer)
    loader = _loader(pairs, batches, config)
    teacher.train()
    bar = tqdm(total=total, initial=progress.step, desc=run_dir.name, unit="step", disable=None)
    while progress.step < total:
        epoch, first = divmod(progress.step, len(batches))
        batches.begin(epoch, first)
        for batch in loader:
            progress.advance(_step(teacher, batch.to(device), optimizer, optim))
            bar.update()
            step = progress.step
            if progress.running.sums and (step % LOG_EVERY == 0 or step == total):
                at = {"step": step, "epoch": step / len(batches), "lr": progress.learning_rate}
                metrics_log.write({**at, **progress.running.take()})
        if progress.step == total:
            teacher.eval()
            teacher.finish(pairs)
        progress.state(random_states(), settings, digest).save(run_dir / STATE)
    bar.close()
    metrics_log.close()
    teacher.eval()


def _step(
    teacher: AnyTeacher,
    batch: Batch,
    optimizer: torch.optim.Optimizer,
    optim: OptimConfig,
) -> dict[str, Tensor]:
    if not int(batch.video_index[-1]):  # of one video alone nothing can be told apart
        return {}
    optimizer.zero_grad(set_to_none=True)
    losses = teacher.losses(batch)
    losses["total"].backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(teacher.parameters(), optim.clip_norm)
    optimizer.step()
    return {name: loss.detach() for name, loss in losses.items()}


def ask(
    teacher: AnyTeacher,
    pairs: Any,
    config: TrainConfig,
    device: torch.device,
) -> Iterator[Hint]:
    """What a trained teacher says of pairs, in order.

    Args:
        teacher: The teacher, on ``device``, in evaluation mode.
        pairs: A `QueryDataset` or `bpnet.data.dataset.MomentDataset`; moments are not read.
        config: The run: batch size and workers of an evaluation.
        device: Where to compute.

    Yields:
        Hint: One a pair.
    """
    loader: DataLoader[Batch] = DataLoader(
        pairs,
        batch_size=config.trainer.eval_batch_size,
        collate_fn=collate,
        num_workers=config.trainer.num_workers,
        generator=torch.Generator(),
    )
    for batch in loader:
        yield from teacher.hints(batch.to(device))


def _loader(pairs: QueryDataset, batches: EpochBatches, config: TrainConfig) -> DataLoader[Batch]:
    read: Callable[[Any], Batch] = collate
    return DataLoader(
        pairs,  # type: ignore[arg-type]  # collate turns samples into a batch
        batch_sampler=batches,
        collate_fn=read,
        num_workers=config.trainer.num_workers,
        # The loader draws seeds for its workers; see `bpnet.training.loop`.
        generator=torch.Generator().manual_seed(config.seed),
    )
