"""Planted pictures as folders, as any other pictures are read."""

from __future__ import annotations

from pathlib import Path

from bpnet.images.composites import SPLITS, CompositeConfig, composites
from bpnet.images.folder import BOXES, COLUMNS, CONTEXTS
from bpnet.images.picture_files import write_picture
from bpnet_features.atomic import write_text_atomically


def write_composites(path: str | Path, config: CompositeConfig, seed: int = 0) -> None:
    """Write planted pictures as folders, one a part: ``PATH/SPLIT/CLASS/NUMBER.png`` and boxes.

    Args:
        path: Folder to write to; it is created.
        config: How they are made.
        seed: Of the random numbers.
    """
    for split in SPLITS:
        rows: dict[str, list[str]] = {BOXES: [], CONTEXTS: []}
        for number, one in enumerate(composites(config, split, seed)):
            name = f"{one.label}/{number:05d}.png"
            file = Path(path) / split / name
            file.parent.mkdir(parents=True, exist_ok=True)
            write_picture(file, one.picture)
            boxes = {BOXES: one.box if one.visible else None, CONTEXTS: one.context_box}
            for listed, box in boxes.items():
                if box is not None:
                    rows[listed].append(",".join([name, *map(str, box)]))
        for listed, lines in rows.items():
            text = "\n".join([",".join(COLUMNS), *lines]) + "\n"
            write_text_atomically(Path(path) / split / listed, text)
