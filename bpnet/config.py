"""Config dataclasses with units and ranges, and where the YAML files are. No Hydra here.

The network has a file of its own, `bpnet.model_config`, and so has training without timestamps,
`bpnet.supervision_config`.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

from bpnet.errors import ConfigError
from bpnet.model_config import ModelConfig
from bpnet.settings import in_range, one_of, raise_faults
from bpnet.supervision_config import SupervisionConfig

DATASETS = (
    "charades_sta",
    "charades_cd",
    "tacos_2dtan",
    "tacos_tall",
    "activitynet",
    "activitynet_cd",
    "qvhighlights",
    "didemo",
    "lighthouse",
    "jsonl",
    "csv",
)
TOKENIZERS = ("words", "basic_english", "split", "nltk", "blank")


@dataclasses.dataclass(frozen=True)
class FeaturesConfig:
    """Where the clip features are, and what they are.

    Attributes:
        path: The feature file, or the file or folder of a release as its authors publish it.
        layout: ``auto``, or the name of a layout or release (``docs/data.md`` lists them).
        streams: Files or folders below ``path`` whose vectors are joined, in this order; empty:
            ``path`` itself.
        normalise: What is done to each clip of each stream before they are joined: ``none``, or
            ``l2``: divided by its norm (Moment-DETR).
        spec: How the features were made, where the file or the release does not say.
    """

    path: str
    layout: str = "auto"
    streams: tuple[str, ...] = ()
    normalise: str = "none"
    spec: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "streams", tuple(self.streams))
        raise_faults([one_of("data.features.normalise", self.normalise, ("none", "l2"))])


@dataclasses.dataclass(frozen=True)
class QueryFeaturesConfig:
    """Token features that take the place of words; see ``bpnet_features.query_store``.

    Attributes:
        path: Folder of npz files, one a query, or an HDF5 file; null: words are read.
        key: Array to read: ``last_hidden_state`` (a vector a token) or ``pooler_output`` (one for
            the sentence).
        spec: How they were made; ``backbone`` at least.
    """

    path: str | None = None
    key: str = "last_hidden_state"
    spec: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        keys = ("last_hidden_state", "pooler_output")
        raise_faults([one_of("data.query_features.key", self.key, keys)])


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """What to train and evaluate on.

    Attributes:
        dataset: Reader of the annotations, one of `DATASETS`.
        features: The clip features.
        annotations: The annotation folder or file, as the dataset publishes it.
        name: Name of the run folder's parent.
        root: Folder that the other paths may refer to (``data=sample``).
        query_features: Precomputed token features in place of words.
        vectors: ``glove.6B.300d``, ``glove.840B.300d`` (downloaded once), a local vector file, or
            null: word embeddings are learned.
        vectors_cache: Folder for downloaded and parsed vectors; null: ``~/.cache/bpnet/vectors``.
        tokenizer: ``words`` (lower-case words with their apostrophes), ``basic_english``
            (torchtext), ``split`` (lower-case, white space; 2D-TAN), ``nltk`` (VSLNet; NLTK must be
            installed), or ``blank``: every query is the same one word, which shows how far a model
            gets without language.
        min_word_count: Occurrences in train for a learned embedding; rarer words are unknown.
        max_query_tokens: Longer queries are cut, and counted.
        max_clips: Longer videos are mean-pooled to this many positions T.
        train_split: Name of the training part.
        validation_split: Name of the validation part; null: carved from the training part by video.
        validation_fraction: Share of the training videos that is carved out, in [0, 1).
        validation_seed: Seed of that choice.
        missing: Videos without features: ``error``, or ``drop`` (counted and reported).
    """

    dataset: str
    features: FeaturesConfig
    annotations: str
    name: str = "custom"
    root: str | None = None
    query_features: QueryFeaturesConfig = QueryFeaturesConfig()
    vectors: str | None = None
    vectors_cache: str | None = None
    tokenizer: str = "words"
    min_word_count: int = 1
    max_query_tokens: int = 50
    max_clips: int = 128
    train_split: str = "train"
    validation_split: str | None = None
    validation_fraction: float = 0.05
    validation_seed: int = 0
    missing: str = "error"

    def __post_init__(self) -> None:
        faults = [
            one_of("data.dataset", self.dataset, DATASETS),
            one_of("data.tokenizer", self.tokenizer, TOKENIZERS),
            one_of("data.missing", self.missing, ("error", "drop")),
            in_range("data.min_word_count", self.min_word_count, 1),
            in_range("data.max_query_tokens", self.max_query_tokens, 1),
            in_range("data.max_clips", self.max_clips, 1),
            in_range("data.validation_fraction", self.validation_fraction, 0, 0.9),
        ]
        raise_faults(faults)


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """AdamW with a linear fall of the learning rate to 0.

    Attributes:
        lr: Learning rate at the first step, > 0.
        weight_decay: Decay of all weights but biases and layer norms.
        clip_norm: Largest norm of the gradient, > 0.
        warmup_steps: Steps in which the rate rises from 0 to ``lr``.
    """

    lr: float = 1e-3
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        raise_faults(
            [
                in_range("optim.lr", self.lr, 1e-12),
                in_range("optim.weight_decay", self.weight_decay, 0),
                in_range("optim.clip_norm", self.clip_norm, 1e-12),
                in_range("optim.warmup_steps", self.warmup_steps, 0),
            ]
        )


@dataclasses.dataclass(frozen=True)
class TrainerConfig:
    """How long and where to train.

    Attributes:
        max_epochs: Passes over the training part.
        max_steps: Optimiser steps; null: as the epochs give. The smaller of the two ends training.
        batch_size: Query-video pairs B a batch, of all processes together.
        accumulate: Batches an optimiser step, which learns from their mean loss. Steps, the
            schedule and the log count optimiser steps; the last step of an epoch takes the batches
            that are left.
        queries_per_video: Pairs about one video that stand side by side in a batch, where the video
            is then read and encoded once for them; 1: all pairs are shuffled.
        similar_lengths: Whether batches are made of videos of similar lengths, which leaves fewer
            padded places to compute where lengths differ much; otherwise of chance alone.
        ema_decay: Decay of the moving average of the weights, which is then what is validated and
            saved, in [0, 1); 0: the weights themselves are. It begins lower: (1 + n) / (10 + n)
            after n steps.
        eval_batch_size: Pairs a step in validation; changes no number.
        num_workers: Processes that load data; 0: the training process itself.
        device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto`` (bfloat16 autocast on CUDA), ``fp32``, ``bf16``, or ``fp16`` (float16
            autocast with scaled losses, on CUDA only).
        validate_every: Epochs between validations; the last step is always validated.
        save_every_steps: Steps between savings of the training state.
        select_by: Metric on the validation part by which the best checkpoint is chosen.
        tensorboard: Whether the metrics also go to TensorBoard (extra ``tensorboard``).
        figures: Number of validation queries, spread over the part, whose answers are drawn into
            TensorBoard at each validation (extra ``plots``), 0 to 20; 0: none.
        calibrate: Whether, at the end, two more passes over the validation part fit what turns the
            best checkpoint's scores into probabilities (``bpnet.evaluation.calibration``).
        profile: Whether some steps after a warm-up are traced: ``profile.json.gz`` for a browser,
            ``profile.md`` to read. It changes no number.
    """

    max_epochs: int = 100
    max_steps: int | None = None
    batch_size: int = 16
    accumulate: int = 1
    queries_per_video: int = 4
    similar_lengths: bool = False
    ema_decay: float = 0.998
    eval_batch_size: int = 64
    num_workers: int = 0
    device: str = "auto"
    precision: str = "auto"
    validate_every: int = 1
    save_every_steps: int = 500
    select_by: str = "mIoU"
    tensorboard: bool = False
    figures: int = 0
    calibrate: bool = True
    profile: bool = False

    def __post_init__(self) -> None:
        raise_faults(
            [
                in_range("trainer.max_epochs", self.max_epochs, 1),
                in_range("trainer.max_steps", self.max_steps or 1, 1)
                if self.max_steps != 0
                else "trainer.max_steps=0: expected an integer >= 1, or null",
                in_range("trainer.batch_size", self.batch_size, 1),
                in_range("trainer.accumulate", self.accumulate, 1),
                in_range("trainer.queries_per_video", self.queries_per_video, 1),
                in_range("trainer.ema_decay", self.ema_decay, 0, 0.99999),
                in_range("trainer.eval_batch_size", self.eval_batch_size, 1),
                in_range("trainer.num_workers", self.num_workers, 0),
                in_range("trainer.validate_every", self.validate_every, 1),
                in_range("trainer.figures", self.figures, 0, 20),
                f"trainer.figures={self.figures}: they are drawn into TensorBoard: give "
                "trainer.tensorboard=true too"
                if self.figures > 0 and not self.tensorboard
                else None,
                in_range("trainer.save_every_steps", self.save_every_steps, 1),
                one_of("trainer.precision", self.precision, ("auto", "fp32", "bf16", "fp16")),
                one_of(
                    "trainer.select_by",
                    self.select_by,
                    ("mIoU", "R@1,IoU=0.3", "R@1,IoU=0.5", "R@1,IoU=0.7"),
                ),
            ]
        )


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """One training run.

    Attributes:
        data: What to train on.
        model: The network.
        optim: Optimiser and schedule.
        trainer: How long and where.
        supervision: Whether the moments of the training part are known.
        seed: Seed of the weights, of dropout and of the order of the data.
        run_dir: Folder of the run.
        resume: null: a new run; ``auto``: go on where the folder holds a run, otherwise begin;
            a path: go on from that training state, or run folder.
    """

    data: DataConfig
    model: ModelConfig
    optim: OptimConfig
    trainer: TrainerConfig
    supervision: SupervisionConfig = dataclasses.field(default_factory=SupervisionConfig)
    seed: int = 0
    run_dir: str = "outputs"
    resume: str | None = None

    def __post_init__(self) -> None:
        raise_faults([in_range("seed", self.seed, 0, 2**63 - 1)])

    @property
    def max_positions(self) -> int:
        """Rows of the position table, shared by videos and queries."""
        return max(self.data.max_clips, self.data.max_query_tokens)


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """One evaluation: of a checkpoint, or of a file of predictions.

    The command takes several of both, and compares them (``bpnet.evaluation.compared_rows``).

    Attributes:
        checkpoint: Run folder, or checkpoint file.
        predictions: Anyone's predictions, see ``bpnet.evaluation.prediction_files``; no model is
            needed then, but ``data.dataset`` and ``data.annotations``.
        split: Name of the part, as the dataset has it; ``validation``: the part that the checkpoint
            was chosen on, also where it was carved from the training part.
        out: Folder for ``metrics.json`` and ``predictions.jsonl``; null: ``eval_SPLIT`` beside the
            checkpoint or the predictions.
        protocol: Name of the rules, see ``bpnet.evaluation.protocols``.
        batch_size: Pairs a step; changes no number.
        num_workers: Processes that load data.
        device: As in training.
        data: Settings of the data that replace those of the checkpoint; null: as trained.
        report: Number of queries, spread over the split, to draw in ``report.html``; 0: none.
        videos: Folder of video files, for pictures and player of the report; null: neither.
        embed: Whether the report holds the videos that have up to 20 MB, so that it plays them
            wherever it is; otherwise it finds them by their path relative to it.
        calibration: Whether a second pass asks each sentence about another video, to say how well
            the scores are probabilities; only of a checkpoint.
        bias: Whether more passes say how much of the answers is about the video, and how much about
            where moments mostly lie (``bpnet.evaluation.bias``).
        shift_seconds: How much ``bias`` puts before the videos, each > 0; empty: what the dataset
            is tested with elsewhere, or else a quarter and a half of the median video.
        other_splits: Parts that ``bias`` compares with ``split``; empty: of Charades-CD and
            ActivityNet-CD the other one of test_iid and test_ood, else none.
        confounders: Where confounders are known to be, a JSONL file for ``bias``
            (``bpnet.evaluation.confounders``); null: they are not known.
    """

    checkpoint: str | None = None
    predictions: str | None = None
    split: str = "test"
    out: str | None = None
    protocol: str = "vslnet"
    batch_size: int = 64
    num_workers: int = 0
    device: str = "auto"
    data: dict[str, Any] = dataclasses.field(default_factory=dict)
    report: int = 0
    videos: str | None = None
    embed: bool = False
    calibration: bool = False
    bias: bool = False
    shift_seconds: tuple[float, ...] = ()
    other_splits: tuple[str, ...] = ()
    confounders: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "shift_seconds", tuple(self.shift_seconds))
        object.__setattr__(self, "other_splits", tuple(self.other_splits))
        asked = {
            "shift_seconds": list(self.shift_seconds),
            "other_splits": list(self.other_splits),
            "confounders": self.confounders,
        }
        raise_faults(
            [
                *(
                    f"{name}={value!r}: it is read with bias=true only; give that too"
                    for name, value in asked.items()
                    if value and not self.bias
                ),
                *(
                    f"shift_seconds={list(self.shift_seconds)}: expected seconds > 0"
                    for value in self.shift_seconds
                    if not 0 < value < float("inf")
                ),
                f"other_splits={list(self.other_splits)}: a model is needed to ask about other "
                "parts: give checkpoint=RUN"
                if self.other_splits and self.predictions is not None
                else None,
                in_range("batch_size", self.batch_size, 1),
                in_range("num_workers", self.num_workers, 0),
                in_range("report", self.report, 0),
                None
                if (self.checkpoint is None) != (self.predictions is None)
                else f"checkpoint={self.checkpoint!r} and predictions={self.predictions!r}: "
                "expected one of the two: give checkpoint=RUN or predictions=FILE",
                f"report={self.report}: a report is drawn of a checkpoint's answers only"
                if self.report and self.predictions is not None
                else None,
                "calibration=true: a model is needed to ask about other videos: give checkpoint=RUN"
                if self.calibration and self.predictions is not None
                else None,
            ]
        )


def conf_path() -> str:
    """Where Hydra finds the YAML files: in the installed package, or in the checkout.

    Returns:
        ``"pkg://bpnet.conf"``, or the absolute path of ``conf/``.

    Raises:
        ConfigError: They are in neither place.
    """
    if importlib.util.find_spec("bpnet.conf") is not None:
        return "pkg://bpnet.conf"
    folder = Path(__file__).resolve().parent.parent / "conf"
    if (folder / "train.yaml").is_file():
        return str(folder)
    raise ConfigError(f"no config files in {folder}: install with `pip install -e .`")
