"""A small set of real pictures: faces in photographs of grass, gravel and brick.

    pip install scikit-image
    python benchmarks/face_pictures.py FOLDER
    bpnet images train FOLDER/train --validation FOLDER/val --out faces.safetensors
    bpnet images evaluate faces.safetensors FOLDER/test

scikit-image ships 100 faces and 100 pieces of other photographs of 25 x 25 pixels (a part of
Labeled Faces in the Wild: `skimage.data.lfw_subset`) and three large photographs.
Each small picture is put somewhere into a piece of a large one. No small picture, and no piece of
a photograph, is in two parts.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 64
PARTS = {"train": (0, 70), "val": (70, 80), "test": (80, 100)}  # of the 100 of each class
COPIES = 8  # of each small picture, in other places
# Columns of the photographs of 512 x 512 pixels, by part.
STRIPS = {"train": (0, 320), "val": (320, 416), "test": (416, 512)}


def main() -> None:
    """Write the pictures and their boxes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder")
    root = Path(parser.parse_args().folder)
    from skimage import data

    small = data.lfw_subset()
    classes = {"face": small[:100], "other": small[100:]}
    photographs = [data.grass(), data.gravel(), data.brick()]
    for part, (first, last) in PARTS.items():
        rng = np.random.default_rng(first)
        rows = []
        for name, pictures in classes.items():
            (root / part / name).mkdir(parents=True, exist_ok=True)
            for number in range(COPIES * (last - first)):
                low, high = STRIPS[part]
                left, top = rng.integers(low, high - SIDE + 1), rng.integers(0, 512 - SIDE + 1)
                photograph = photographs[int(rng.integers(len(photographs)))]
                canvas = photograph[top : top + SIDE, left : left + SIDE].copy()
                side = int(rng.integers(22, 33))
                picture = np.round(255 * pictures[first + number // COPIES]).astype(np.uint8)
                pasted = Image.fromarray(picture).resize((side, side), Image.Resampling.BILINEAR)
                left, top = rng.integers(0, SIDE - side + 1, 2).tolist()
                canvas[top : top + side, left : left + side] = np.asarray(pasted)
                file = f"{name}/{number:04d}.png"
                Image.fromarray(canvas).save(root / part / file)
                rows.append([file, left, top, left + side, top + side])
        with (root / part / "boxes.csv").open("w", newline="", encoding="utf-8") as table:
            csv.writer(table).writerows([["picture", "left", "top", "right", "bottom"], *rows])


if __name__ == "__main__":
    main()
