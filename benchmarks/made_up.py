"""Made-up videos and sentences of the datasets' real shapes, and models to run on them."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bpnet.build import build_for_training
from bpnet.cli.hydra_app import compose
from bpnet.config import TrainConfig, conf_path
from bpnet.data.dataset import make_sample
from bpnet.data.vocabulary import Vocabulary
from bpnet.models.grounder import Grounder
from bpnet.settings import from_dict
from bpnet.types import Annotation, Sample
from bpnet_features import ClipGrid, FeatureSpec

LETTERS = "abcdefghijklmnopqrstuvwxyz"
NUM_WORDS, WORD_DIM = 1300, 300  # as Charades-STA with GloVe
QUERY_WORDS = (4, 12)
BACKBONE = "made-up"


@dataclasses.dataclass(frozen=True)
class Shape:
    """How large a dataset's videos are, and how they are asked about.

    Attributes:
        name: What is printed.
        width: Width C of the clip features.
        clips: Fewest and most clips of a video, as the model reads them.
        queries: Sentences about each video; a fraction is a share of videos with one more.
        queries_per_video: ``trainer.queries_per_video``.
        num_videos: Videos that are made up.
    """

    name: str
    width: int
    clips: tuple[int, int]
    queries: float
    queries_per_video: int
    num_videos: int


CHARADES = Shape("Charades-like", 1024, (64, 64), 2.3, 4, 56)
TACOS = Shape("TACoS-like", 4096, (128, 256), 77, 16, 2)


class MadeUp:
    """Videos in memory, and encoded sentences about them.

    Args:
        shape: How large.
        seed: Of the random numbers.

    Attributes:
        samples: A sample a sentence.
        videos: Features and grid of each video.
        vocabulary: All words.
        vectors: Of the words.
    """

    def __init__(self, shape: Shape, seed: int = 0) -> None:
        self.shape = shape
        self.rng = random.Random(seed)
        numbers = np.random.default_rng(seed)
        words = {self._word() for _ in range(NUM_WORDS)}
        self.words = sorted(words)
        self.vocabulary = Vocabulary(
            ("<pad>", "<unk>", *self.words), ("<pad>", "<unk>", *LETTERS), "words", 50
        )
        self.vectors = torch.from_numpy(
            numbers.standard_normal((len(words) + 2, WORD_DIM), np.float32) * 0.3
        )
        self.videos: list[tuple[np.ndarray, ClipGrid]] = []
        self.samples: list[Sample] = []
        for _ in range(shape.num_videos):
            count = self.rng.randint(*shape.clips)
            clips = numbers.standard_normal((count, shape.width), np.float32)
            self.videos.append((clips, ClipGrid.uniform(count, float(count))))
        for number in range(shape.num_videos):
            due = round(shape.queries * (number + 1)) - round(shape.queries * number)
            self.samples += [self._sample(number) for _ in range(due)]

    def _word(self) -> str:
        return "".join(self.rng.choices(LETTERS, k=self.rng.randint(2, 9)))

    def sentence(self) -> str:
        """Some words."""
        return " ".join(self.rng.choices(self.words, k=self.rng.randint(*QUERY_WORDS)))

    def _sample(self, number: int) -> Sample:
        clips, grid = self.videos[number]
        duration = grid.duration_seconds
        start = self.rng.uniform(0, duration / 2)
        times = (start, start + duration / 3, duration)
        annotation = Annotation("q", f"v{number}", self.sentence(), *times, "train")
        return make_sample(clips, grid, annotation.query, self.vocabulary, annotation)

    @property
    def video_ids(self) -> list[str]:
        """The video of each sample."""
        return [sample.annotation.video_id for sample in self.samples if sample.annotation]

    @property
    def spec(self) -> FeatureSpec:
        """What the features are said to be."""
        return FeatureSpec(BACKBONE, self.shape.width, seconds_per_clip=1.0)

    def model(self, config: TrainConfig) -> Grounder:
        """A fresh one, with weights from the config's seed."""
        vectors: Tensor = self.vectors
        return build_for_training(config, self.vocabulary, vectors, self.spec)[0]


def train_config(shape: Shape, *overrides: str) -> TrainConfig:
    """The config of ``bpnet train`` with these settings, for videos of this shape."""
    given = ("data=jsonl", "data.features.path=none", "data.annotations=none")
    longest = f"data.max_clips={shape.clips[1]}"
    sharing = f"trainer.queries_per_video={shape.queries_per_video}"
    values: dict[str, Any] = compose(
        conf_path(), "train", [*given, longest, sharing, "trainer.device=cpu", *overrides]
    )
    return from_dict(TrainConfig, values)
