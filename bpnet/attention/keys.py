"""Content keys: what was computed from the same bytes by the same model has the same key.

A key is BLAKE2b-128 over everything that the cached numbers depend on. Ids and placeholder tokens
are no content: two videos behind equal placeholders would be taken for one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from bpnet.attention.cache import KVLayout
from bpnet.errors import AttentionError

KEY_BYTES = 16


def digest(*parts: bytes) -> bytes:
    """BLAKE2b-128 of several byte strings; where one ends and the next begins counts too."""
    state = hashlib.blake2b(digest_size=KEY_BYTES)
    for part in parts:
        state.update(len(part).to_bytes(8, "little"))
        state.update(part)
    return state.digest()


def tensor_bytes(tensor: Tensor) -> bytes:
    """A tensor as bytes: its type, its shape and its numbers."""
    flat = tensor.detach().cpu().contiguous().view(-1)
    head = f"{tensor.dtype} {tuple(tensor.shape)} ".encode()
    return head + (flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"")


def fingerprint(
    tensors: Iterable[tuple[str, Tensor]], config: bytes = b"", mathematics: int = 0
) -> bytes:
    """What a model computes, as 16 bytes. Compute it anew whenever the weights have changed.

    Args:
        tensors: Names and values of all weights and buffers, as in ``module.state_dict().items()``.
        config: The settings that the weights do not show.
        mathematics: A number that is raised when the code computes something else than before.

    Returns:
        The fingerprint; the order of ``tensors`` does not matter.
    """
    parts = [digest(name.encode(), tensor_bytes(tensor)) for name, tensor in tensors]
    return digest(config, str(mathematics).encode(), *sorted(parts))


def content_key(
    content: bytes,
    *,
    level: str,
    layout: KVLayout,
    model: bytes,
    parent: bytes | None = None,
    times: bytes = b"",
    video_attention: str = "",
) -> bytes:
    """Key of one piece of a sequence below its parent.

    Args:
        content: What the piece was computed from: feature bytes (see `tensor_bytes`), token ids.
        level: What the piece is, such as ``"video"`` or ``"query"``.
        layout: Layout of its keys and values.
        model: The model's `fingerprint`.
        parent: Key of the piece before it; None at the beginning.
        times: Times of its tokens, where positions are computed from them.
        video_attention: Who sees whom inside the piece, such as ``"full"``.

    Returns:
        16 bytes.

    Raises:
        AttentionError: There is no content; an empty piece would match any other.
    """
    if not content:
        raise AttentionError(
            "content=b'': expected the bytes that the piece was computed from, not an empty string"
        )
    beginning = b"root" if parent is None else b"node" + parent
    others = (level.encode(), times, layout.describe(), model, video_attention.encode())
    return digest(beginning, content, *others)


def chunk_keys(
    contents: Sequence[bytes],
    *,
    level: str,
    layout: KVLayout,
    model: bytes,
    parent: bytes | None = None,
    times: Sequence[bytes] | None = None,
    video_attention: str = "",
) -> list[bytes]:
    """Keys of consecutive chunks, each chained to the one before it.

    A sequence that differs in one chunk shares the keys of all chunks before it, and none after.

    Args:
        contents: Content of each chunk; the last may be of a part-chunk.
        level: See `content_key`.
        layout: See `content_key`.
        model: See `content_key`.
        parent: Key of what comes before the first chunk.
        times: Times of each chunk's tokens, or None.
        video_attention: See `content_key`.

    Returns:
        A key a chunk.
    """
    keys: list[bytes] = []
    for content, when in zip(contents, times or [b""] * len(contents), strict=True):
        parent = content_key(
            content,
            level=level,
            layout=layout,
            model=model,
            parent=parent,
            times=when,
            video_attention=video_attention,
        )
        keys.append(parent)
    return keys
