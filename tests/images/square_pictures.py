"""Squares of two colours on noise, as arrays and as a folder."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import torch

from bpnet.images.picture_files import write_picture
from bpnet.images.settings import ImageConfig

COLOURS = {"green": (40, 190, 60), "red": (220, 40, 40)}
SIDE = 32


def squares(count: int, seed: int) -> list[tuple[str, np.ndarray, tuple[int, int, int, int]]]:
    """Colour, picture and box, in turn."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        name = list(COLOURS)[number % 2]
        picture = rng.integers(20, 60, (SIDE, SIDE, 3)).astype(np.uint8)
        side = int(rng.integers(10, 15))
        left, top = (int(one) for one in rng.integers(0, SIDE - side, 2))
        picture[top : top + side, left : left + side] = COLOURS[name]
        found.append((name, picture, (left, top, left + side, top + side)))
    return found


def write_squares(root: Path, count: int, seed: int) -> Path:
    """The same as a folder with ``boxes.csv``."""
    rows = []
    for number, (name, picture, box) in enumerate(squares(count, seed)):
        (root / name).mkdir(parents=True, exist_ok=True)
        write_picture(root / name / f"{number:03d}.png", picture)
        rows.append([f"{name}/{number:03d}.png", *box])
    with (root / "boxes.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["picture", "left", "top", "right", "bottom"], *rows])
    return root


def tensors(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    made = squares(count, seed)
    pictures = torch.from_numpy(np.stack([picture for _, picture, _ in made]))
    labels = torch.tensor([list(COLOURS).index(name) for name, _, _ in made])
    return pictures.permute(0, 3, 1, 2), labels


def config(**settings) -> ImageConfig:
    small = {"intervention": "none", "size": SIDE, "width": 4, "epochs": 6, "batch_size": 8}
    return ImageConfig(**{**small, **settings})
