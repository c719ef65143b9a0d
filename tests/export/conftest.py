"""Small networks of every kind, as checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bpnet.checkpoint import Checkpoint
from bpnet.model_config import ModelConfig
from bpnet.models.build import Sizes, build_model
from bpnet.settings import plain
from bpnet_features import FeatureSpec

SMALL = {
    "hidden_dim": 8,
    "num_heads": 2,
    "kernel_size": 3,
    "num_conv_layers": 1,
    "char_dim": 4,
    "num_similarities": 2,
    "num_context_layers": 1,
    "num_proposals": 3,
    "pair_dim": 4,
}


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """These tensors are too small for threads to be worth their start."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Function: config values -> the file of a small network with random weights."""

    def save(max_clips: int = 24, query_dim: int = 0, **values: Any) -> Path:
        config = ModelConfig(**{**SMALL, "characters": not query_dim, **values})
        characters = ["<pad>", "<unk>", *"abcdefg"] if config.characters else []
        sizes = Sizes(
            feature_dim=5,
            num_words=12,
            num_characters=len(characters),
            word_dim=6,
            frozen_words=True,
            max_positions=max(max_clips, 10),
            query_dim=query_dim,
        )
        torch.manual_seed(0)
        model = build_model(config, sizes)
        for name, parameter in model.named_parameters():
            if "bias" in name or "out.weight" in name:  # the refiner begins at zero
                nn.init.normal_(parameter, std=0.3)
        words = ["<pad>", "<unk>", *(f"word{n}" for n in range(10))]
        checkpoint = Checkpoint(
            tensors=model.state_dict(),
            model=plain(config),
            sizes=plain(sizes),
            vocabulary={
                "words": words,
                "characters": characters,
                "tokenizer": "words",
                "max_query_tokens": 10,
            },
            feature_spec=FeatureSpec(backbone="tiny", feature_dim=5, seconds_per_clip=0.5),
            data={"max_clips": max_clips},
            training={},
            query_spec=FeatureSpec(backbone="text", feature_dim=query_dim) if query_dim else None,
        )
        path = tmp_path / "small.safetensors"
        checkpoint.save(path)
        return path

    return save
