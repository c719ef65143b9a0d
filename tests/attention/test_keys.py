"""Content keys: equal content is found again, and any difference is a miss."""

from __future__ import annotations

import pytest
import torch

from bpnet.attention import (
    KVLayout,
    PrefixTree,
    chunk_keys,
    content_key,
    fingerprint,
    tensor_bytes,
)
from bpnet.errors import AttentionError

LAYOUT = KVLayout(1, 1, 4)
MODEL = b"model"


def test_every_part_counts() -> None:
    """Weights, configuration, type, layout, times, level, parent, content, who sees whom."""
    features = torch.arange(8.0).view(4, 2)
    weights = {"w": torch.ones(2), "b": torch.zeros(1)}
    base = {
        "content": tensor_bytes(features),
        "level": "video",
        "layout": LAYOUT,
        "model": fingerprint(weights.items(), b"config", 1),
        "parent": None,
        "times": b"0 1 2 3",
        "video_attention": "full",
    }
    others = [
        {"content": tensor_bytes(features + 1e-6)},
        {"content": tensor_bytes(features.view(2, 4))},
        {"content": tensor_bytes(features.double())},
        {"level": "query"},
        {"layout": KVLayout(1, 1, 4, torch.bfloat16)},
        {"layout": KVLayout(1, 2, 4)},
        {"layout": KVLayout(2, 1, 4)},
        {"layout": KVLayout(1, 1, 8)},
        {"model": fingerprint({**weights, "w": torch.full((2,), 1.0001)}.items(), b"config", 1)},
        {"model": fingerprint({**weights, "b": torch.zeros(2)}.items(), b"config", 1)},
        {"model": fingerprint(weights.items(), b"other", 1)},
        {"model": fingerprint(weights.items(), b"config", 2)},
        {"parent": b"x" * 16},
        {"parent": b"y" * 16},
        {"times": b"0 2 4 6"},
        {"video_attention": "chunk_causal"},
    ]
    keys = [content_key(**{**base, **change}) for change in [{}, *others]]
    assert len(set(keys)) == len(keys)
    assert all(len(key) == 16 for key in keys)
    assert content_key(**base) == keys[0]
    swapped = fingerprint(reversed(weights.items()), b"config", 1)
    assert content_key(**{**base, "model": swapped}) == keys[0]


def test_parts_do_not_run_into_each_other() -> None:
    first = content_key(b"ab", level="c", layout=LAYOUT, model=MODEL)
    assert first != content_key(b"a", level="bc", layout=LAYOUT, model=MODEL)


def test_half_precision_has_bytes_too() -> None:
    numbers = torch.tensor([1.5, -2.0], dtype=torch.bfloat16)
    assert tensor_bytes(numbers) != tensor_bytes(numbers.half())
    assert tensor_bytes(numbers).startswith(b"torch.bfloat16 (2,) ")


@pytest.mark.parametrize("changed", range(5))
def test_one_changed_clip(changed: int) -> None:
    """chunk_causal: exactly the chunks before it are shared. full: nothing is."""
    clips = torch.arange(18.0).view(18, 1)  # four chunks of four clips, and one of two
    others = clips.clone()
    others[min(4 * changed + 1, 17)] += 0.5

    def keys(video: torch.Tensor) -> list[bytes]:
        pieces = [tensor_bytes(piece) for piece in video.split(4)]
        return chunk_keys(pieces, level="video", layout=LAYOUT, model=MODEL)

    # Chained: none of the later keys is that of the same chunk behind another beginning.
    assert [a == b for a, b in zip(keys(clips), keys(others), strict=True)] == [
        place < changed for place in range(5)
    ]
    tree = PrefixTree(LAYOUT, chunk=4)
    k = torch.randn(1, 1, 18, 4)
    tree.insert(None, keys(clips), k, k)
    assert tree.match(keys(others))[1] == 4 * changed
    # A part-chunk is found only by an equal one.
    assert tree.match(keys(clips))[1] == 18
    assert tree.match(keys(clips[:17]))[1] == 16

    def key(video: torch.Tensor) -> list[bytes]:
        return [content_key(tensor_bytes(video), level="video", layout=LAYOUT, model=MODEL)]

    tree.insert(None, key(clips), k, k)
    assert tree.match(key(clips))[1] == 18
    assert tree.match(key(others))[1] == 0


def test_nothing_is_no_content() -> None:
    with pytest.raises(AttentionError, match="content=b'': expected the bytes"):
        content_key(b"", level="video", layout=LAYOUT, model=MODEL)
