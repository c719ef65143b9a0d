"""Small networks of shared prefixes with weights that hide nothing, and videos for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from bpnet.data.collate import collate
from bpnet.model_config import ModelConfig
from bpnet.models.build import Sizes, build_model
from bpnet.models.prefix_grounder import PrefixGrounder
from bpnet.types import Batch, Sample
from bpnet_features import ClipGrid

FEATURE_DIM, NUM_WORDS, NUM_CHARACTERS = 5, 12, 9
SMALL: dict[str, Any] = {
    "network": "prefix",
    "hidden_dim": 16,
    "num_heads": 2,
    "num_trunk_layers": 2,
    "num_relation_layers": 0,
    "num_context_layers": 2,
    "num_similarities": 2,
    "pair_dim": 4,
    "char_dim": 4,
    "num_proposals": 4,
    "proposal_nms": None,
}

# Clips of each video, and tokens of each query about it.
VIDEOS = ((7, (3, 5)), (4, (2,)), (11, (1, 4, 6)))


def make(**values: Any) -> tuple[PrefixGrounder, ModelConfig]:
    """A model in evaluation mode in which no part is zero, and its config."""
    config = ModelConfig(**{**SMALL, **values})
    sizes = Sizes(
        feature_dim=FEATURE_DIM,
        num_words=NUM_WORDS,
        num_characters=NUM_CHARACTERS,
        word_dim=6,
        frozen_words=False,
        max_positions=16,
    )
    torch.manual_seed(0)
    model = build_model(config, sizes)
    assert isinstance(model, PrefixGrounder)
    for parameter in model.parameters():
        if not parameter.any() or parameter.ndim == 1:
            nn.init.normal_(parameter, std=0.3)
    return model.eval(), config


def make_samples(videos: tuple[tuple[int, tuple[int, ...]], ...] = VIDEOS) -> list[Sample]:
    """A sample a query; those about one video share its array, as the loader's do."""
    samples = []
    for number, (num_clips, queries) in enumerate(videos):
        rng = np.random.default_rng(number)
        video = rng.normal(size=(num_clips, FEATURE_DIM)).astype(np.float32)
        grid = ClipGrid.uniform(num_clips, 1.7 * num_clips)
        for num_tokens in queries:
            start = int(rng.integers(num_clips))
            end = int(rng.integers(start, num_clips)) + 1
            samples.append(
                Sample(
                    video=video,
                    grid=grid,
                    query_ids=rng.integers(1, NUM_WORDS, size=num_tokens),
                    char_ids=rng.integers(1, NUM_CHARACTERS, size=(num_tokens, 5)),
                    target_span=np.array([start, end], dtype=np.float32),
                    target_cells=np.array([[start, end]]),
                )
            )
    return samples


def make_batch(videos: tuple[tuple[int, tuple[int, ...]], ...] = VIDEOS) -> Batch:
    """The samples of `make_samples` as a batch."""
    return collate(make_samples(videos))
