"""Picture: how a frame is scaled and cut before an extractor sees it."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import numpy.typing as npt

from bpnet_features.errors import FeatureError

Image = npt.NDArray[np.uint8]

MAX_SIDE = 16384  # more is a strip, and memory for nothing
INTERPOLATIONS = ("area", "bilinear", "bicubic")
_TEXT = re.compile(
    rf"(?:short side (\d+)|(\d+)x(\d+))(?:, centre (\d+))?, ({'|'.join(INTERPOLATIONS)})"
)


@dataclasses.dataclass(frozen=True)
class Picture:
    """Scale, then cut a square out of the middle.

    Attributes:
        size: Width and height to scale to, whatever the aspect ratio; or one number, the length of
            the shorter side, and the aspect ratio is kept.
        crop: Side of the square that is kept; None: all of it.
        interpolation: One of `INTERPOLATIONS`, as libswscale computes them.

    Raises:
        FeatureError: A value is out of range, or the square does not fit.
    """

    size: tuple[int, int] | int
    crop: int | None
    interpolation: str

    def __post_init__(self) -> None:
        sides = (self.size,) if isinstance(self.size, int) else self.size
        if min(sides) < 1 or max(sides) > 4096 or self.interpolation not in INTERPOLATIONS:
            raise FeatureError(f"picture={self!s:.100}: expected sides from 1 to 4096")
        if self.crop is not None and not 1 <= self.crop <= min(sides):
            raise FeatureError(f"picture={self!s:.100}: the square does not fit into the picture")

    @classmethod
    def parse(cls, text: str) -> Picture:
        """Read what ``str(picture)`` writes.

        Args:
            text: Such as ``"short side 256, centre 224, bilinear"`` or ``"64x64, area"``.

        Returns:
            The picture.

        Raises:
            FeatureError: It is not of that form.
        """
        found = _TEXT.fullmatch(text)
        if found is None:
            raise FeatureError(
                f"picture={text[:100]!r}: expected such as 'short side 256, centre 224, bilinear' "
                f"or '171x128, centre 112, bilinear' (or {' or '.join(INTERPOLATIONS[:1])}, "
                f"{INTERPOLATIONS[2]})"
            )
        short, width, height, crop, interpolation = found.groups()
        size = int(short) if short else (int(width), int(height))
        return cls(size, int(crop) if crop else None, interpolation)

    def __str__(self) -> str:
        if isinstance(self.size, int):
            size = f"short side {self.size}"
        else:
            size = f"{self.size[0]}x{self.size[1]}"
        crop = "" if self.crop is None else f", centre {self.crop}"
        return f"{size}{crop}, {self.interpolation}"

    def scaled(self, width: int, height: int) -> tuple[int, int]:
        """Width and height to scale a frame to.

        Args:
            width: Its width.
            height: Its height.

        Returns:
            The new ones.

        Raises:
            FeatureError: It is so long and thin that it would become too large.
        """
        if not isinstance(self.size, int):
            return self.size
        factor = self.size / min(width, height)
        if factor * max(width, height) > MAX_SIDE:
            raise FeatureError(
                f"frames of {width} x {height} pixels, scaled to a shorter side of {self.size}, "
                f"are longer than {MAX_SIDE}; cut the video, or give a picture such as "
                "'256x256, area'"
            )
        return round(width * factor), round(height * factor)

    def cut(self, image: Image) -> Image:
        """The part that is kept, (crop, crop, 3), of a scaled frame (H, W, 3)."""
        if self.crop is None:
            return image
        top, left = (round((side - self.crop) / 2) for side in image.shape[:2])
        return image[top : top + self.crop, left : left + self.crop]
