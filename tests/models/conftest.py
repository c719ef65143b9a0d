"""Small networks with weights that hide nothing, and ragged batches for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import paper_model
import pytest
import torch
from torch import nn

from bpnet.data.collate import collate
from bpnet.model_config import ModelConfig
from bpnet.models.bpnet import BPNet
from bpnet.models.build import Sizes, build_model
from bpnet.types import Batch, Sample
from bpnet_features import ClipGrid

FEATURE_DIM, NUM_WORDS, NUM_CHARACTERS, MAX_POSITIONS = 5, 12, 9, 16

# (clips, tokens, letters) of a pair.
Shape = tuple[int, int, int]
SHAPES: tuple[Shape, ...] = ((7, 3, 5), (4, 5, 9), (1, 1, 4))


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """These tensors are too small for threads to be worth their start."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def give_biases(module: nn.Module) -> None:
    """Make every bias count: most leaks through padding are a bias that reaches a real place."""
    for name, parameter in module.named_parameters():
        if "bias" in name:
            nn.init.normal_(parameter, std=0.3)


@pytest.fixture(scope="session")
def make_model() -> Callable[..., tuple[BPNet, ModelConfig]]:
    """Function: config values -> a small model with biases, in evaluation mode, and its config."""

    def make(frozen_words: bool = False, **values: Any) -> tuple[BPNet, ModelConfig]:
        small = {
            **paper_model.SETTINGS,  # so that a test of one choice does not move with our defaults
            "hidden_dim": 8,
            "num_heads": 2,
            "kernel_size": 3,
            "num_conv_layers": 2,
            "char_dim": 4,
            "num_proposals": 4,
            "matching_weight": 10.0,
        }
        config = ModelConfig(**{**small, **values})
        sizes = Sizes(
            feature_dim=FEATURE_DIM,
            num_words=NUM_WORDS,
            num_characters=NUM_CHARACTERS if config.characters else 0,
            word_dim=6,
            frozen_words=frozen_words,
            max_positions=MAX_POSITIONS,
        )
        torch.manual_seed(0)
        model = build_model(config, sizes)
        give_biases(model)
        return model.eval(), config

    return make


@pytest.fixture(scope="session")
def make_samples() -> Callable[..., list[Sample]]:
    """Function: shapes of pairs -> samples with targets; a seed gives the same pair anywhere."""

    def make(shapes: Sequence[Shape] = SHAPES, seed: int = 0) -> list[Sample]:
        samples = []
        for index, (clips, tokens, letters) in enumerate(shapes):
            rng = np.random.default_rng([seed, index])
            lengths = rng.integers(1, letters + 1, size=(tokens, 1))
            characters = rng.integers(1, NUM_CHARACTERS, size=(tokens, letters))
            start = int(rng.integers(clips))
            end = int(rng.integers(start, clips)) + 1
            samples.append(
                Sample(
                    video=rng.normal(size=(clips, FEATURE_DIM)).astype(np.float32),
                    grid=ClipGrid.uniform(clips, float(clips)),
                    query_ids=rng.integers(1, NUM_WORDS, size=tokens),
                    char_ids=np.where(np.arange(letters) < lengths, characters, 0),
                    target_span=np.array([start, end], dtype=np.float32),
                    target_cells=np.array([[start, end]]),
                )
            )
        return samples

    return make


@pytest.fixture(scope="session")
def make_batch(make_samples: Callable[..., list[Sample]]) -> Callable[..., Batch]:
    """Function: as ``make_samples``, but a batch."""
    return lambda *args, **kwargs: collate(make_samples(*args, **kwargs))


@pytest.fixture(scope="session")
def pad() -> Callable[..., Batch]:
    """Function: a batch with more padding than it needs."""

    def more(batch: Batch, clips: int = 0, tokens: int = 0, letters: int = 0) -> Batch:
        def padded(value: torch.Tensor, *sizes: int) -> torch.Tensor:
            # `pad` counts from the last axis, two numbers an axis.
            return nn.functional.pad(value, [n for size in reversed(sizes) for n in (0, size)])

        return dataclasses.replace(
            batch,
            video=padded(batch.video, clips, 0),
            clip_seconds=padded(batch.clip_seconds, clips, 0),
            video_mask=padded(batch.video_mask, clips),
            query_ids=padded(batch.query_ids, tokens),
            char_ids=padded(batch.char_ids, tokens, letters),
            query_mask=padded(batch.query_mask, tokens),
        )

    return more
