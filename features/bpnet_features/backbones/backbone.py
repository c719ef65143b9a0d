"""Backbone: what every extractor offers. Extraction: which one, with what; a plain record."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

from bpnet_features.errors import FeatureError
from bpnet_features.picture import Picture
from bpnet_features.spec import FeatureSpec

Array = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class Extraction:
    """Which backbone to load, and how it is to be used; can be handed to another process.

    Entries that are None take the default of the backbone.

    Attributes:
        backbone: Its name, as the command line and a feature spec write it.
        weights: File or folder of its weights (for ``clip`` a name on the Hugging Face hub, too).
        device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        fps: Frames a second at which the video is sampled.
        clip_length_frames: Frames that a clip sees.
        clip_stride_frames: Frames between the beginnings of neighbouring clips.
        picture: How a frame is scaled and cut, as `Picture` writes it.
        normalisation: ``"none"``, or ``"l2"``: each vector is divided by its norm + 1e-5.
        batch_size: Clips that are computed at once; has no influence on the features.
    """

    backbone: str = "grid"
    weights: str | None = None
    device: str = "auto"
    fps: float | None = None
    clip_length_frames: int | None = None
    clip_stride_frames: int | None = None
    picture: str | None = None
    normalisation: str | None = None
    batch_size: int | None = None

    def __post_init__(self) -> None:
        for name in ("clip_length_frames", "clip_stride_frames", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise FeatureError(f"{name}={value}: expected an integer >= 1")
        if self.fps is not None and not 1e-3 <= self.fps <= 1000:
            raise FeatureError(f"fps={self.fps}: expected a number from 0.001 to 1000")
        if self.normalisation not in (None, "none", "l2"):
            raise FeatureError(f"normalisation={self.normalisation!r}: expected 'none' or 'l2'")


class Backbone(Protocol):
    """An extractor with its weights, ready to be used, in one process at a time."""

    @property
    def spec(self) -> FeatureSpec:
        """What it makes, in full; ``fps`` is set."""
        ...

    @property
    def picture(self) -> Picture:
        """How each frame is to be scaled and cut."""
        ...

    def clips(self, frames: Iterator[Image]) -> Iterator[Array]:
        """Features of one video.

        Args:
            frames: At ``spec.fps``, each as ``picture`` says, RGB (H, W, 3); at least one.

        Returns:
            Features of the next clips (n, C), n >= 1, again and again until the video ends.
        """
        ...
