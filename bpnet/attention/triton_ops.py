"""Triton kernels of the two phases; `triton_tables.py` says what is in their tables.

Phase one reads each large segment once for all its rows, in tiles of rows and blocks of keys, and
writes partial results in single precision. Phase two takes a tile of one sequence's rows, merges
the partial results of the segments above it, and goes on over the keys that it alone sees, so that
nothing of the second phase is ever written but the output. Softmax is the online one (Milakov and
Gimelshein, arXiv 1805.02867); the split into phases is ChunkAttention's (arXiv 2402.15220).

Rows of a tile are pairs of a new row and a query head of one group of heads: row m of a tile is
new row m // GROUP, head m % GROUP of the group.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _over_keys(
    acc, top, total, q, k, v, token_stride, num_keys, row, scale,
    CAUSAL: tl.constexpr, WIDTH: tl.constexpr, SINGLE: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Go on with a tile's online softmax over keys that lie token_stride apart."""
    place = tl.arange(0, BLOCK_D)
    column = tl.arange(0, BLOCK_N)
    for start in range(0, num_keys, BLOCK_N):
        key = start + column
        real = key < num_keys
        inside = real[:, None] & (place[None, :] < WIDTH)
        offset = key.to(tl.int64)[:, None] * token_stride + place[None, :]
        keys = tl.load(k + offset, mask=inside, other=0.0)
        values = tl.load(v + offset, mask=inside, other=0.0)
        if SINGLE:
            keys = keys.to(tl.float32)
            values = values.to(tl.float32)
        logits = tl.dot(q, tl.trans(keys), input_precision=PRECISION) * scale
        visible = real[None, :]
        if CAUSAL:
            visible = visible & (key[None, :] <= row[:, None])
        logits = tl.where(visible, logits, float("-inf"))
        # The first block has a visible key for every row, so the new maximum is finite.
        new_top = tl.maximum(top, tl.max(logits, 1))
        weight = tl.exp2(logits - new_top[:, None])
        fade = tl.exp2(top - new_top)
        total = total * fade + tl.sum(weight, 1)
        acc = acc * fade[:, None]
        acc += tl.dot(weight.to(values.dtype), values, input_precision=PRECISION)
        top = new_top
    return acc, top, total


@triton.jit
def _load_piece(table, at, layer, head, like, ALIGN_BYTES: tl.constexpr):
    """Start of a head's keys and values of a stored piece, and its number of tokens."""
    address = tl.load(table + at).to(tl.pointer_type(like.dtype.element_ty))
    k = address + tl.load(table + at + 1) * layer + tl.load(table + at + 3) * head
    v = k + tl.load(table + at + 2)
    # Without this the compiler must take every number for itself: 2 bytes a load, not 16.
    k = tl.multiple_of(k, ALIGN_BYTES)
    v = tl.multiple_of(v, ALIGN_BYTES)
    return k, v, tl.load(table + at + 4)


# Compiled once, and not again for layer 0, layer 1, or tables that begin at a multiple of 16 bytes.
@triton.jit(do_not_specialize=["layer", "tasks"])
def segment_kernel(
    q, tasks, part_out, part_lse, layer, scale,
    HEADS: tl.constexpr, GROUP: tl.constexpr, WIDTH: tl.constexpr,
    ALIGN_BYTES: tl.constexpr, SINGLE: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Phase one: a tile of rows over a part of a segment, for one head of keys and values."""
    at = tl.program_id(0) * 9
    head = tl.program_id(1)
    first_row = tl.load(tasks + at + 5)
    m = tl.load(tasks + at + 6) + tl.arange(0, BLOCK_M)
    real = m < tl.load(tasks + at + 7)
    slot = tl.load(tasks + at + 8)
    row = m // GROUP
    query_head = head * GROUP + m % GROUP
    place = tl.arange(0, BLOCK_D)
    inside = real[:, None] & (place[None, :] < WIDTH)
    where = ((first_row + row) * HEADS + query_head)[:, None] * WIDTH + place[None, :]
    tile = tl.load(q + where, mask=inside, other=0.0)
    if SINGLE:
        tile = tile.to(tl.float32)
    k, v, num_keys = _load_piece(tasks, at, layer, head, q, ALIGN_BYTES)
    acc = tl.zeros([BLOCK_M, BLOCK_D], dtype=tl.float32)
    top = tl.full([BLOCK_M], float("-inf"), dtype=tl.float32)
    total = tl.zeros([BLOCK_M], dtype=tl.float32)
    acc, top, total = _over_keys(
        acc, top, total, tile, k, v, WIDTH, num_keys, row, scale,
        False, WIDTH, SINGLE, PRECISION, BLOCK_N, BLOCK_D,
    )  # fmt: skip
    state = (slot + first_row + row) * HEADS + query_head
    tl.store(part_out + state[:, None] * WIDTH + place[None, :], acc / total[:, None], mask=inside)
    tl.store(part_lse + state, top + tl.log2(total), mask=real)


@triton.jit(do_not_specialize=["layer", "tasks", "pieces", "entries"])
def sequence_kernel(
    q, own_k, own_v, tasks, pieces, entries, part_out, part_lse, out, lse, layer, scale,
    HAS_OWN: tl.constexpr, CAUSAL: tl.constexpr,
    HEADS: tl.constexpr, GROUP: tl.constexpr, WIDTH: tl.constexpr,
    ALIGN_BYTES: tl.constexpr, SINGLE: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Phase two: a tile of one sequence's rows: partial results, its stored keys, its new ones."""
    at = tl.program_id(0) * 8
    head = tl.program_id(1)
    first_row = tl.load(tasks + at)
    num_rows = tl.load(tasks + at + 1)
    m = tl.load(tasks + at + 2) + tl.arange(0, BLOCK_M)
    real = m < tl.load(tasks + at + 3)
    row = m // GROUP
    query_head = head * GROUP + m % GROUP
    place = tl.arange(0, BLOCK_D)
    inside = real[:, None] & (place[None, :] < WIDTH)
    state = (first_row + row) * HEADS + query_head
    where = state[:, None] * WIDTH + place[None, :]
    tile = tl.load(q + where, mask=inside, other=0.0)
    if SINGLE:
        tile = tile.to(tl.float32)
    acc = tl.zeros([BLOCK_M, BLOCK_D], dtype=tl.float32)
    top = tl.full([BLOCK_M], float("-inf"), dtype=tl.float32)
    total = tl.zeros([BLOCK_M], dtype=tl.float32)

    last_entry = tl.load(tasks + at + 7)
    for start in range(tl.load(tasks + at + 6), last_entry, 4):
        # Four without a branch between them, so that their loads are under way together.
        for entry in tl.static_range(4):
            there = start + entry < last_entry  # always so for the first
            slot = tl.load(entries + start + entry, mask=there, other=0)
            part = (slot + first_row + row) * HEADS + query_head
            at_part = part[:, None] * WIDTH + place[None, :]
            some = tl.load(part_out + at_part, mask=inside & there, other=0.0)
            some_lse = tl.load(part_lse + part, mask=real & there, other=float("-inf"))
            # Rows that are not real have no partial result; a finite one keeps them numbers.
            some_lse = tl.where(real, some_lse, 0.0)
            new_top = tl.maximum(top, some_lse)
            fade = tl.exp2(top - new_top)
            weight = tl.exp2(some_lse - new_top)
            acc = acc * fade[:, None] + some * weight[:, None]
            total = total * fade + weight
            top = new_top

    for piece in range(tl.load(tasks + at + 4), tl.load(tasks + at + 5)):
        k, v, num_keys = _load_piece(pieces, piece * 5, layer, head, q, ALIGN_BYTES)
        acc, top, total = _over_keys(
            acc, top, total, tile, k, v, WIDTH, num_keys, row, scale,
            False, WIDTH, SINGLE, PRECISION, BLOCK_N, BLOCK_D,
        )  # fmt: skip

    if HAS_OWN:
        stride = (HEADS // GROUP) * WIDTH
        skip = first_row * stride + head * WIDTH
        acc, top, total = _over_keys(
            acc, top, total, tile, own_k + skip, own_v + skip, stride, num_rows, row, scale,
            CAUSAL, WIDTH, SINGLE, PRECISION, BLOCK_N, BLOCK_D,
        )  # fmt: skip

    result = acc / total[:, None]
    tl.store(out + where, result.to(out.dtype.element_ty), mask=inside)
    # Logits are to the base 2 inside, because that is the exponential that processors have.
    tl.store(lse + state, (top + tl.log2(total)) * 0.6931471805599453, mask=real)
