"""WindowBackbone: a network that looks at windows of frames, each for itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from bpnet_features.backbones.backbone import Array, Image
from bpnet_features.picture import Picture
from bpnet_features.spec import FeatureSpec

EPSILON = 1e-5  # as Moment-DETR divides by norms


class WindowBackbone:
    """Cuts a video into windows and hands them to a network, some at once.

    Args:
        spec: What comes out; ``fps``, ``clip_length_frames`` and ``clip_stride_frames`` are set.
        picture: How each frame is scaled and cut.
        embed: The network: windows (B, F, H, W, 3) uint8 -> features (B, C).
        batch_size: Windows that are handed to it at once.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        picture: Picture,
        embed: Callable[[npt.NDArray[np.uint8]], Array],
        batch_size: int,
    ) -> None:
        self.spec = spec
        self.picture = picture
        self._embed = embed
        self._batch_size = batch_size

    def clips(self, frames: Iterator[Image]) -> Iterator[Array]:
        """Features of one video, see `Backbone`; the last window is filled with the last frame."""
        length, stride = self.spec.clip_length_frames, self.spec.clip_stride_frames
        assert length is not None and stride is not None
        batch: list[npt.NDArray[np.uint8]] = []
        for window in windows(frames, length, stride):
            batch.append(window)
            if len(batch) == self._batch_size:
                yield self._features(batch)
                batch = []
        if batch:
            yield self._features(batch)

    def _features(self, batch: list[npt.NDArray[np.uint8]]) -> Array:
        features = self._embed(np.stack(batch))
        if self.spec.normalisation == "l2":
            features = features / (np.linalg.norm(features, axis=1, keepdims=True) + EPSILON)
        return features.astype(np.float32, copy=False)


def windows(frames: Iterator[Image], length: int, stride: int) -> Iterator[npt.NDArray[np.uint8]]:
    """Windows of frames that begin at frame 0, stride, 2 stride, ..., until all are covered.

    Args:
        frames: Images (H, W, 3) of one size; at least one.
        length: Frames a window, >= 1.
        stride: Frames between the beginnings of two windows, >= 1.

    Yields:
        Windows (length, H, W, 3), at least one. The last one is filled up with the last frame, and
        no window begins after the last frame, or is there for frames that one before it has seen.
    """
    held: list[Image] = []
    begin = given = 0  # where the next window begins; frames that have come
    image: Image | None = None
    for image in frames:
        if given >= begin:
            held.append(image)
        given += 1
        if len(held) == length:
            yield np.stack(held)
            begin += stride
            held = held[stride:]
    assert image is not None
    unseen = given - max(begin - stride + length, begin) if begin else given
    if unseen > 0:
        yield np.stack(held + [image] * (length - len(held)))
