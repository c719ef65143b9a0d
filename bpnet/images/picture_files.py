"""Picture files, with Pillow, which is an optional extra."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bpnet.errors import AnnotationError, ConfigError
from bpnet.images.model import Picture
from bpnet_features.atomic import write_atomically


def read_picture(file: Path) -> Picture:
    """Read a picture file.

    Args:
        file: The file.

    Returns:
        RGB (height, width, 3) uint8, upright.

    Raises:
        AnnotationError: It cannot be read.
        ConfigError: Pillow is not installed.
    """
    pillow = load_pillow()
    try:
        with pillow.Image.open(file) as opened:
            return np.array(pillow.ImageOps.exif_transpose(opened).convert("RGB"))
    except (OSError, ValueError, pillow.Image.DecompressionBombError) as err:
        raise AnnotationError(f"picture {str(file)!r}: cannot be read: {err}") from err


def write_picture(file: Path, picture: Picture) -> None:
    """Write a picture as PNG; the file appears whole or not at all.

    Args:
        file: Where to.
        picture: RGB (height, width, 3) uint8.
    """
    image = load_pillow().Image.fromarray(picture)
    write_atomically(file, lambda part: image.save(part, format="PNG"))


def load_pillow() -> Any:
    """Pillow, which is an optional extra.

    Returns:
        The package, with ``Image``, ``ImageDraw`` and ``ImageOps``.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import PIL
        import PIL.Image
        import PIL.ImageDraw
        import PIL.ImageOps
    except ImportError as err:
        raise ConfigError(
            "picture files need Pillow, which is not installed; run: "
            "pip install 'bpnet-nlvl[video]'"
        ) from err
    return PIL
