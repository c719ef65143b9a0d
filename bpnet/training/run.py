"""train(): a whole run, from the files that a config names to a folder of checkpoints."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bpnet.build import build_for_training, build_query_features, build_store
from bpnet.checkpoint import Checkpoint
from bpnet.config import DataConfig, TrainConfig
from bpnet.data.annotations import read_annotations
from bpnet.data.dataset import MomentDataset, one_a_moment
from bpnet.data.inspection import found_parts
from bpnet.data.vocabulary import Vocabulary, build_vocabulary, load_vectors
from bpnet.device import pick_rank_device
from bpnet.distributed import first_alone, from_first
from bpnet.errors import AnnotationError, ConfigError
from bpnet.evaluation.ceiling import grid_ceiling
from bpnet.evaluation.parts import parts_digest, read_parts
from bpnet.evaluation.protocols import VSLNET
from bpnet.models.grounder import Grounder
from bpnet.ranks import ALONE, Ranks
from bpnet.report import spread
from bpnet.settings import plain
from bpnet.training.calibrate import calibrate_best
from bpnet.training.loop import fit, num_steps
from bpnet.training.repeatable import repeatable
from bpnet.training.state import TrainingState, deciding_settings, find_state, keep_best
from bpnet.training.step import autocast_dtype
from bpnet.training.validation import Validation, answer, validation_metrics
from bpnet.types import Annotation
from bpnet.version import __version__

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingParts:
    """What a run learns from and is chosen on, where that is not what its files say.

    Attributes:
        train: The training part.
        validation: The validation part; empty: there is none.
        weights: How much the moments of some training queries count, by qid; others count 1.
        files_digest: `parts_digest` of the parts as the files have them, by which an evaluation
            finds a validation part again that was carved out of them.
    """

    train: list[Annotation]
    validation: list[Annotation]
    weights: Mapping[str, float]
    files_digest: str


def train(
    config: TrainConfig, run_dir: Path, ranks: Ranks = ALONE, parts: TrainingParts | None = None
) -> dict[str, float] | None:
    """Train a model.

    Args:
        config: The run.
        run_dir: Its folder; it exists. Of several processes only the first reads or writes it.
        ranks: Who this process is; of several, within `bpnet.distributed.process_group`.
        parts: What to learn from in place of what ``config.data`` names; None: that.

    Returns:
        Metrics of the last validation in percent, or None without a validation part.

    Raises:
        BPNetError: A setting or a file is not what it must be, or the folder holds a run already.
    """
    if config.trainer.batch_size < ranks.size:
        raise ConfigError(
            f"trainer.batch_size={config.trainer.batch_size}: expected at least one pair for each "
            f"of the {ranks.size} processes that share a batch; start fewer"
        )
    state = from_first(_begin(config, run_dir) if ranks.first else None, ranks)
    device = pick_rank_device(config.trainer.device, ranks)
    autocast_dtype(config.trainer.precision, device)  # a wrong one is told before any work
    data = config.data
    if parts is None:
        train_part, validation_part = read_parts(data)
        weights: Mapping[str, float] = {}
        digest = files_digest = parts_digest(train_part, validation_part)
    else:
        train_part, validation_part, weights = parts.train, parts.validation, parts.weights
        digest = parts_digest(train_part, validation_part, weights)
        files_digest = parts.files_digest
    train_part = one_a_moment(train_part)
    if state is not None and state.annotations != digest:
        raise ConfigError(
            f"resume={config.resume}: data.annotations={data.annotations!r} holds other queries or "
            "moments than the run began with; give the same, or begin a new run"
        )
    query_features = build_query_features(data)
    vocabulary, table = known_words(
        config,
        [a.query for a in train_part],
        [a.query for a in validation_part],
        reads_words=query_features is None,
        ranks=ranks,
    )
    store = build_store(data)

    def make_dataset(part: list[Annotation]) -> MomentDataset:
        return MomentDataset(
            part, store, vocabulary, data.max_clips, data.missing, query_features, weights
        )

    dataset = make_dataset(train_part)
    validation = make_dataset(validation_part) if validation_part else None
    if ranks.first:
        rows = grid_ceiling(dataset, VSLNET, most=2000).items()
        log.info("ceiling of whole clips: %s", ", ".join(f"{k} {v:.1f}" for k, v in rows))
    query_spec = None if query_features is None else query_features.spec
    model, sizes = build_for_training(config, vocabulary, table, store.spec, query_spec)
    model.to(device)
    log.info(
        "%d training and %d validation queries, %d words, %d parameters, %d steps on %s%s",
        len(dataset),
        len(validation) if validation else 0,
        len(vocabulary.words),
        sum(p.numel() for p in model.parameters()),
        num_steps(config, len(dataset)),
        device,
        "" if ranks.size == 1 else f", {ranks.size} processes, {torch.get_num_threads()} threads",
    )

    def validate(trained: Grounder) -> Validation:
        assert validation is not None
        found = answer(trained, validation, config.trainer, device, ranks)
        shown = spread(found, config.trainer.figures)
        return Validation(validation_metrics(found, VSLNET), shown)

    def make_checkpoint(trained: Grounder, note: dict[str, Any]) -> Checkpoint:
        return Checkpoint(
            tensors=trained.state_dict(),
            model=plain(config.model),
            sizes=dataclasses.asdict(sizes),
            vocabulary=vocabulary.to_dict(),
            feature_spec=store.spec,
            data=plain(data),
            training={
                **note,
                "annotations_sha256": files_digest,
                "bpnet": __version__,
                "longest_seconds": max(one.duration_seconds for one in train_part),
            },
            query_spec=query_spec,
        )

    with repeatable(device):
        metrics = fit(
            model,
            dataset,
            config,
            run_dir,
            device=device,
            validate=validate if validation is not None else None,
            make_checkpoint=make_checkpoint,
            settings=deciding_settings(config),
            annotations=digest,
            state=state,
            ranks=ranks,
        )
    if config.trainer.calibrate and validation is not None:
        calibrate_best(run_dir, validation, config.trainer, device, ranks)
    return metrics


def known_words(
    config: TrainConfig,
    train_queries: list[str],
    validation_queries: list[str],
    *,
    reads_words: bool = True,
    ranks: Ranks = ALONE,
) -> tuple[Vocabulary, Tensor | None]:
    """What a run knows of words.

    Args:
        config: The run.
        train_queries: Sentences of the training part.
        validation_queries: Sentences of the validation part.
        reads_words: False: the queries come as token features, and no word is known.
        ranks: Who this process is.

    Returns:
        The vocabulary, and its vectors or None: they are learned.
    """
    data, vectors = config.data, None
    if data.vectors and reads_words:
        with first_alone(ranks):
            vectors = load_vectors(data.vectors, data.vectors_cache)
    # With given vectors a word costs nothing to know, so words of other parts are known too; only
    # their vectors are looked up. Learned embeddings exist for what was trained.
    queries = train_queries if reads_words else []
    if vectors is not None:
        queries = queries + validation_queries + _other_queries(data)
    return build_vocabulary(
        queries,
        tokenizer=data.tokenizer,
        characters=config.model.characters and reads_words,
        max_query_tokens=data.max_query_tokens,
        vectors=vectors,
        min_word_count=data.min_word_count,
    )


def _begin(config: TrainConfig, run_dir: Path) -> TrainingState | None:
    """Where to go on, if anywhere, and the folder ready for it."""
    state = find_state(config, run_dir)
    if state is not None:
        log.info("resuming at step %d", state.step)
        keep_best(config, run_dir)
    for part in run_dir.glob(".*.part"):  # what a killed run was writing
        part.unlink()
    return state


def _other_queries(data: DataConfig) -> list[str]:
    """Sentences of the other parts, where they can be read."""
    found: list[str] = []
    for split in found_parts(data.dataset, data.annotations)[0]:
        if split in (data.train_split, "val_merged"):
            continue
        try:
            found += [a.query for a in read_annotations(data.dataset, data.annotations, split)[0]]
        except AnnotationError as err:
            log.warning("words of part %r may have no vector: %s", split, err)
    return found
