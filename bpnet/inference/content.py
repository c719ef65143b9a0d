"""Keys of what is kept: everything that the numbers depend on, and never an id or a name."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import numpy.typing as npt
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from bpnet.attention import KVLayout, chunk_keys, content_key, fingerprint, tensor_bytes
from bpnet.models.grounder import Grounder
from bpnet.models.trunk import CHUNK
from bpnet.types import Sample

MATHEMATICS = 1  # raised when the code computes something else of the same weights


_steps = [0]  # taken by all optimisers of this process since `_count_steps`


@functools.cache
def _count_steps() -> None:
    """Notice the steps of optimisers: a fused one writes to weights without raising versions."""

    def stepped(*_: object) -> None:
        _steps[0] += 1

    register_optimizer_step_post_hook(stepped)


class Weights:
    """The fingerprint of a model, computed again where a weight was written to, or moved.

    What writes through ``tensor.data`` is not noticed.

    Args:
        model: The network.
    """

    def __init__(self, model: Grounder) -> None:
        _count_steps()
        self._model = model
        self._versions: tuple[object, ...] = ()
        self._fingerprint = b""

    def fingerprint(self) -> bytes:
        """It, of the weights as they are now."""
        model = self._model
        tensors = list(itertools.chain(model.named_parameters(), model.named_buffers()))
        # An inference tensor has no version; nothing can write to it outside of inference mode.
        versions: tuple[object, ...] = (_steps[0],)
        versions += tuple(
            (one.data_ptr(), one.dtype, None if one.is_inference() else one._version)
            for _, one in tensors
        )
        if versions != self._versions:
            self._fingerprint = fingerprint(tensors, repr(model).encode(), MATHEMATICS)
            self._versions = versions
        return self._fingerprint


def clip_keys(
    clips: npt.NDArray[np.float32],
    seconds: npt.NDArray[np.float32],
    *,
    causal: bool,
    parent: bytes | None,
    layout: KVLayout,
    weights: bytes,
) -> list[bytes]:
    """Keys of the clips of a window.

    Args:
        clips: Features (N, C).
        seconds: Where they begin and end (N, 2).
        causal: Whether a clip sees none of a later chunk: then each chunk has a key, chained to the
            one before it, and videos share what they have in common at their beginning. Else they
            share all or nothing, and there is one key.
        parent: Key of the chunk before these clips, or None.
        layout: What is kept of a clip.
        weights: The model's fingerprint.

    Returns:
        The keys.
    """
    size = CHUNK if causal else len(clips)
    firsts = range(0, len(clips), size)
    return chunk_keys(
        [tensor_bytes(torch.from_numpy(clips[first : first + size])) for first in firsts],
        level="video",
        layout=layout,
        model=weights,
        parent=parent,
        times=[seconds[first : first + size].tobytes() for first in firsts],
        video_attention="chunk_causal" if causal else "full",
    )


def query_key(sample: Sample, layout: KVLayout, weights: bytes) -> bytes:
    """Key of a query below any video: of its words and letters, or of its token features."""
    arrays = (sample.query_ids, sample.char_ids, sample.query_features)
    content = b"".join(tensor_bytes(torch.from_numpy(x)) for x in arrays if x is not None)
    return content_key(content, level="query", layout=layout, model=weights)
