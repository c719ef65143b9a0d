"""A folder of pictures with class names -> arrays; and boxes beside them, where there are any.

::

    FOLDER/CLASS/any-name.jpg      the class of a picture is the folder that it lies in
    FOLDER/boxes.csv               picture,left,top,right,bottom: objects, in pixels
    FOLDER/contexts.csv            the same of contexts, where these are known
"""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from bpnet.errors import AnnotationError
from bpnet.images.metrics import Corners
from bpnet.images.model import to_input
from bpnet.images.picture_files import read_picture

SUFFIXES = frozenset(".bmp .jpeg .jpg .png .webp".split())
BOXES, CONTEXTS = "boxes.csv", "contexts.csv"
COLUMNS = ("picture", "left", "top", "right", "bottom")


@dataclasses.dataclass(frozen=True, eq=False)
class PictureFolder:
    """The pictures of a folder, sorted by class and name.

    Attributes:
        root: The folder.
        classes: Names of the classes, K.
        names: Of the pictures, relative to the folder, N.
        labels: Their classes (N,) int64.
        pictures: Scaled to squares (N, 3, S, S) uint8.
        sizes: Width and height of each file, in pixels.
    """

    root: Path
    classes: tuple[str, ...]
    names: tuple[str, ...]
    labels: Tensor
    pictures: Tensor
    sizes: tuple[tuple[int, int], ...]

    def boxes(self, name: str = BOXES) -> dict[str, list[Corners]] | None:
        """Boxes of the pictures, in pixels of the scaled ones.

        Args:
            name: The file.

        Returns:
            Boxes by picture, those without any left out; None: there is no such file.

        Raises:
            AnnotationError: The file is damaged, or names a picture that is not there.
        """
        file = self.root / name
        if not file.is_file():
            return None
        side = self.pictures.shape[-1]
        sizes = dict(zip(self.names, self.sizes, strict=True))
        found: dict[str, list[Corners]] = {}
        for where, row in _rows(file):
            if row["picture"] not in sizes:
                raise AnnotationError(f"{where}: no picture {row['picture']!r} in {self.root}")
            width, height = sizes[row["picture"]]
            left, top, right, bottom = (float(row[column]) for column in COLUMNS[1:])
            box = (left / width, top / height, right / width, bottom / height)
            if not 0 <= box[0] < box[2] <= 1 or not 0 <= box[1] < box[3] <= 1:
                raise AnnotationError(
                    f"{where}: box {left:g}, {top:g}, {right:g}, {bottom:g}: expected left < right "
                    f"and top < bottom inside a picture of {width} x {height}"
                )
            scaled = (side * box[0], side * box[1], side * box[2], side * box[3])
            found.setdefault(row["picture"], []).append(scaled)
        return found


def read_folder(path: str | Path, size: int, classes: Sequence[str] | None = None) -> PictureFolder:
    """Read all pictures of a folder into memory.

    Args:
        path: The folder.
        size: Side S that they are scaled to.
        classes: Classes of a model, of which those of the folder must be some; None: those that the
            folder has.

    Returns:
        The pictures.

    Raises:
        AnnotationError: There is no picture, one cannot be read, or a class is not known.
    """
    root = Path(path)
    if not root.is_dir():
        raise AnnotationError(f"pictures {str(root)!r}: no such folder")
    files = sorted(
        file
        for folder in root.iterdir()
        if folder.is_dir()
        for file in folder.iterdir()
        if file.suffix.lower() in SUFFIXES
    )
    there = sorted({file.parent.name for file in files})
    known = tuple(there if classes is None else classes)
    strange = [name for name in there if name not in known]
    if not files or strange:
        raise AnnotationError(
            f"pictures {str(root)!r}: classes {there}: expected FOLDER/CLASS/picture.jpg"
            + (f", with classes among {list(known)}" if classes is not None else "")
        )
    read = [read_picture(file) for file in files]
    scaled = torch.cat([(255 * to_input([one], size)).round().byte() for one in read])
    return PictureFolder(
        root,
        known,
        tuple(file.relative_to(root).as_posix() for file in files),
        torch.tensor([known.index(file.parent.name) for file in files]),
        scaled,
        tuple((one.shape[1], one.shape[0]) for one in read),
    )


def _rows(file: Path) -> list[tuple[str, dict[str, str]]]:
    """Rows of a table of boxes, with their places."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as err:
        raise AnnotationError(f"boxes {str(file)!r}: cannot be read: {err}") from err
    reader = csv.DictReader(io.StringIO(text, newline=""))
    if not set(COLUMNS) <= set(reader.fieldnames or ()):
        raise AnnotationError(
            f"boxes {str(file)!r}: columns {reader.fieldnames}: expected {', '.join(COLUMNS)}"
        )
    rows = []
    for row in reader:
        where = f"boxes {str(file)!r}, line {reader.line_num}"
        try:
            sides = [float(row[column]) for column in COLUMNS[1:]]
        except (TypeError, ValueError) as err:
            raise AnnotationError(f"{where}: {err}: expected four numbers") from err
        if not all(map(math.isfinite, sides)):
            raise AnnotationError(f"{where}: {sides}: expected finite numbers")
        rows.append((where, row))
    return rows
