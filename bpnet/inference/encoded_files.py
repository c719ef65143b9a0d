"""Encoded videos in files, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from bpnet.inference.encoded import EncodedVideo
from bpnet.inference.windows import cut
from bpnet.models.encoder import Encoded
from bpnet_features import ClipGrid
from bpnet_features.atomic import write_atomically

_OPTIONAL = ("keys", "seconds")  # of `Encoded`


def save_encoded(video: EncodedVideo, file: Path) -> None:
    """Write a file.

    Args:
        video: The video.
        file: The file; its folder exists.
    """
    tensors = {
        "states": video.states.states.cpu(),
        "edges_seconds": torch.from_numpy(video.grid.edges_seconds),
        "duration_seconds": torch.tensor(video.grid.duration_seconds, dtype=torch.float64),
        "window_clips": torch.tensor(video.windows[0].grid.num_clips),
    }
    for name in _OPTIONAL:
        value = getattr(video.states, name)
        if value is not None:
            tensors[name] = value.cpu()
    write_atomically(file, lambda part: save_file(tensors, part))


def load_encoded(file: Path, device: torch.device) -> EncodedVideo:
    """Read what `save_encoded` wrote.

    Args:
        file: The file.
        device: Where the model is.

    Returns:
        The same video.

    Raises:
        SafetensorError: The file is damaged.
        OSError: It cannot be read.
        KeyError: A tensor is missing.
    """
    tensors = load_file(file)
    states = tensors["states"].to(device)
    grid = ClipGrid(tensors["edges_seconds"].numpy(), float(tensors["duration_seconds"]))
    windows = cut(grid, int(tensors["window_clips"]))
    positions = states.shape[1]
    grids = [
        one.grid if one.grid.num_clips <= positions else one.grid.coarsen(positions)
        for one in windows
    ]
    found = [tensors.get(name) for name in _OPTIONAL]
    encoded = Encoded(states, *(None if one is None else one.to(device) for one in found))
    return EncodedVideo(grid, tuple(windows), tuple(grids), encoded)
