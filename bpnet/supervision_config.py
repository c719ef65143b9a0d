"""What the training part tells: moments, sentences alone, or sentences and a few moments."""

from __future__ import annotations

import dataclasses
from typing import Any

from bpnet.settings import in_range, one_of, raise_faults

KINDS = ("full", "weak", "mixed")
TEACHERS = ("evidence", "mil", "gaussian")


@dataclasses.dataclass(frozen=True)
class EvidenceConfig:
    """The teacher that says for each clip how much it speaks for a sentence.

    Attributes:
        dim: Width of the space in which clips and sentences meet.
        dropout: Share of the clip features and word vectors that is dropped.
        hidden_share: Chance that one of eight pieces of a video is hidden in training
            (hide-and-seek); 0: nothing is.
        contrast_weight: Weight of the contrast of the inside and the outside of the found span.
        in_video_weight: Weight of the other sentences of the same video as negatives of each clip:
            a clip then speaks for one of them at the cost of the others. 0: they are not.
    """

    dim: int = 128
    dropout: float = 0.3
    hidden_share: float = 0.0
    contrast_weight: float = 0.0
    in_video_weight: float = 1.0

    def __post_init__(self) -> None:
        raise_faults(
            [
                in_range("supervision.evidence.dim", self.dim, 1),
                in_range("supervision.evidence.dropout", self.dropout, 0, 0.999),
                in_range("supervision.evidence.hidden_share", self.hidden_share, 0, 0.999),
                in_range("supervision.evidence.contrast_weight", self.contrast_weight, 0),
                in_range("supervision.evidence.in_video_weight", self.in_video_weight, 0, 1),
            ]
        )


@dataclasses.dataclass(frozen=True)
class GaussianConfig:
    """The teacher that proposes Gaussian masks from which a masked sentence can be rebuilt.

    One mask, and no other negatives than the whole video and what lies outside, is CNM's setting;
    eight masks that also compete with each other are CPL's.

    Attributes:
        num_masks: Gaussian masks a sentence.
        dim: Width of the network.
        num_heads: Attention heads.
        num_layers: Layers of the decoder that its two halves share.
        dropout: Share of values that is dropped.
        sharpness: A mask's standard deviation is its width divided by this.
        most_width: Largest width, as a part of the video.
        masked_share: Share of the words that is masked.
        in_video_weight: Weight of the loss that ranks the best mask before the whole video.
        outside_weight: Weight of the loss that ranks it before what lies outside.
        diversity_weight: Weight of the loss on masks that overlap.
    """

    num_masks: int = 8
    dim: int = 128
    num_heads: int = 4
    num_layers: int = 2
    dropout: float = 0.1
    sharpness: float = 9.0
    most_width: float = 1.0
    masked_share: float = 1 / 3
    in_video_weight: float = 1.0
    outside_weight: float = 1.0
    diversity_weight: float = 5.0

    def __post_init__(self) -> None:
        faults = [
            in_range("supervision.gaussian.num_masks", self.num_masks, 1),
            in_range("supervision.gaussian.dim", self.dim, 1),
            in_range("supervision.gaussian.num_heads", self.num_heads, 1),
            in_range("supervision.gaussian.num_layers", self.num_layers, 1),
            in_range("supervision.gaussian.dropout", self.dropout, 0, 0.999),
            in_range("supervision.gaussian.sharpness", self.sharpness, 0.1),
            in_range("supervision.gaussian.most_width", self.most_width, 0.02, 1),
            in_range("supervision.gaussian.masked_share", self.masked_share, 0.01, 1),
            in_range("supervision.gaussian.in_video_weight", self.in_video_weight, 0),
            in_range("supervision.gaussian.outside_weight", self.outside_weight, 0),
            in_range("supervision.gaussian.diversity_weight", self.diversity_weight, 0),
        ]
        if self.num_heads >= 1 and self.dim % self.num_heads:
            faults.append(
                f"supervision.gaussian.dim={self.dim}: expected a multiple of "
                f"supervision.gaussian.num_heads={self.num_heads}"
            )
        raise_faults(faults)


@dataclasses.dataclass(frozen=True)
class SupervisionConfig:
    """What is learned from; all but ``kind`` is read with ``weak`` and ``mixed`` only.

    Attributes:
        kind: ``full``: every training pair has its moment; ``weak``: none has, as far as the run
            knows: moments in the file are dropped when it is read; ``mixed``: those of a few videos
            are kept.
        labelled_fraction: Share of the training videos whose moments ``mixed`` keeps, in (0, 1].
        labelled_seed: Seed of that choice.
        teachers: What finds the first moments: ``evidence``, ``mil``, ``gaussian``, or several.
        teacher_epochs: Passes of each teacher over the training sentences.
        teacher_batch_size: Sentences a batch of them.
        teacher_lr: Learning rate of their first step.
        extent: Exponent that says how long a moment is for its rise above the rest of its video,
            see `bpnet.weak.contrasts.contrasts`; null: chosen on the labelled pairs, 0.5 without
            any.
        rounds: Students, each taught by the answers of the one before it, and the first by the
            teachers.
        left_out: Share of the pairs, the least certain ones, that the first student is taught no
            moment of; the next ones are.
        another_moment: Score of a further moment of a sentence, as a share of that of its first,
            from which it is taught as well; 1: never.
        evidence: The teacher ``evidence``.
        mil: The losses of the teacher ``mil``, see `bpnet.weak.mil.MilConfig`.
        pool: What ``evidence`` and ``mil`` do about contexts, see
            `bpnet.contexts.pool_config.PoolConfig`.
        gaussian: The teacher ``gaussian``.
    """

    kind: str = "full"
    labelled_fraction: float = 0.05
    labelled_seed: int = 0
    teachers: tuple[str, ...] = ("evidence",)
    teacher_epochs: int = 12
    teacher_batch_size: int = 64
    teacher_lr: float = 2e-3
    extent: float | None = None
    rounds: int = 2
    left_out: float = 0.2
    another_moment: float = 1.0
    evidence: EvidenceConfig = EvidenceConfig()
    mil: dict[str, Any] = dataclasses.field(default_factory=dict)
    pool: dict[str, Any] = dataclasses.field(default_factory=dict)
    gaussian: GaussianConfig = GaussianConfig()

    def __post_init__(self) -> None:
        object.__setattr__(self, "teachers", tuple(self.teachers))
        names = self.teachers
        raise_faults(
            [
                one_of("supervision.kind", self.kind, KINDS),
                in_range("supervision.labelled_fraction", self.labelled_fraction, 1e-6, 1),
                *(one_of("supervision.teachers", name, TEACHERS) for name in names),
                None
                if names and len(set(names)) == len(names)
                else f"supervision.teachers={list(names)}: expected at least one, each once",
                in_range("supervision.teacher_epochs", self.teacher_epochs, 1),
                in_range("supervision.teacher_batch_size", self.teacher_batch_size, 2),
                in_range("supervision.teacher_lr", self.teacher_lr, 1e-12),
                None if self.extent is None else in_range("supervision.extent", self.extent, 0, 1),
                in_range("supervision.rounds", self.rounds, 1),
                in_range("supervision.left_out", self.left_out, 0, 0.9),
                in_range("supervision.another_moment", self.another_moment, 0, 1),
            ]
        )
