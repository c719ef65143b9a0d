"""Backend "triton": tables of who reads what, and the launches of the kernels in triton_ops.py."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
import os

import torch
from torch import Tensor

from bpnet.attention.plan import AttnPlan, Segment
from bpnet.errors import AttentionError

# A private segment from this length on is split over several programs, as a shared one is; shorter
# ones are read by the program that writes the output.
LONG_TOKENS = 1024
# Fewer keys than this are not worth a program of their own.
MIN_SPLIT_TOKENS = 256


def has_triton() -> bool:
    """Whether Triton is installed."""
    return importlib.util.find_spec("triton") is not None


@dataclasses.dataclass(frozen=True)
class Blocks:
    """Sizes of the kernels' tiles.

    Attributes:
        segment_rows: Rows of a tile in phase one: a power of two >= 16, as are the others.
        sequence_rows: Rows of a tile in phase two.
        keys: Keys of a block.
        width: The head's width, filled up.
    """

    segment_rows: int
    sequence_rows: int
    keys: int
    width: int


@dataclasses.dataclass(frozen=True)
class Tables:
    """What the kernels of one plan read and in which order; int64, good for all layers.

    A stored piece is (address of its first key in layer 0 and head 0, then in numbers, not bytes:
    the step from layer to layer, from keys to values, and from head to head; its tokens).

    Attributes:
        segment_tasks: (n, 9): a piece, the first row that sees it, the tile's begin and end
            among the pairs of row and head, and what leads from a row to its partial result.
        sequence_tasks: (n, 8): a sequence's first row, its rows, the tile's begin and end, begin
            and end of its pieces, begin and end of its partial results.
        pieces: (n, 5).
        entries: (n) what leads from a row to a partial result.
        num_slots: Rows of partial results.
    """

    segment_tasks: Tensor
    sequence_tasks: Tensor
    pieces: Tensor
    entries: Tensor
    num_slots: int


def choose_blocks(plan: AttnPlan, group: int) -> Blocks:
    """Tiles for a plan: as many rows as there are, within what a program can hold."""
    most = max((one.stop - one.start for one in map(plan.row_range, plan.shared)), default=1)
    wide = plan.layout.head_dim > 128
    return Blocks(
        segment_rows=_power(most * group, 16, 32 if wide else 64),
        sequence_rows=_power(max(plan.rows) * group, 16, 32 if wide else 64),
        keys=32 if wide else 64,
        width=_power(plan.layout.head_dim, 16, 1 << 20),
    )


def _power(number: int, least: int, most: int) -> int:
    return max(least, min(most, 1 << (number - 1).bit_length()))


def make_tables(plan: AttnPlan, group: int, blocks: Blocks, num_processors: int) -> Tables:
    """Cut the work of a plan into tiles.

    Args:
        plan: The plan.
        group: Query heads for each head of keys and values.
        blocks: Sizes of the tiles.
        num_processors: Programs that the device runs at a time; segments are split until there are
            twice as many.

    Returns:
        The tables, on the plan's device.
    """
    heads = plan.layout.num_kv_heads
    alone = [one for one in plan.segments if one.num_sequences > 1 or one.num_tokens >= LONG_TOKENS]
    tiles = sum(
        math.ceil((rows.stop - rows.start) * group / blocks.segment_rows)
        for rows in map(plan.row_range, alone)
    )
    wanted = math.ceil(2 * num_processors / max(1, tiles * heads))
    segment_tasks: list[list[int]] = []
    entries: list[list[int]] = [[] for _ in plan.order]
    num_slots = 0
    for one in alone:
        rows = plan.row_range(one)
        num_rows = rows.stop - rows.start
        num_splits = max(1, min(wanted, one.num_tokens // MIN_SPLIT_TOKENS))
        size = math.ceil(math.ceil(one.num_tokens / num_splits) / blocks.keys) * blocks.keys
        for start in range(0, one.num_tokens, size):
            slot = num_slots - rows.start
            num_slots += num_rows
            piece = _piece(one, start, min(size, one.num_tokens - start))
            for begin in range(0, num_rows * group, blocks.segment_rows):
                end = min(begin + blocks.segment_rows, num_rows * group)
                segment_tasks.append([*piece, rows.start, begin, end, slot])
            for place in range(one.first, one.last):
                entries[place].append(slot)
    sequence_tasks: list[list[int]] = []
    pieces: list[list[int]] = []
    num_entries = 0
    for place, several in enumerate(plan.private):
        own = [_piece(one, 0, one.num_tokens) for one in several if one.num_tokens < LONG_TOKENS]
        begins = [len(pieces), num_entries]
        pieces.extend(own)
        num_entries += len(entries[place])
        ranges = [begins[0], len(pieces), begins[1], num_entries]
        num_rows = plan.rows[place]
        for begin in range(0, num_rows * group, blocks.sequence_rows):
            end = min(begin + blocks.sequence_rows, num_rows * group)
            sequence_tasks.append([plan.offsets[place], num_rows, begin, end, *ranges])
    device = plan.layout.device

    def table(lines: list[list[int]], width: int) -> Tensor:
        return torch.tensor(lines or [[0] * width], dtype=torch.int64).to(device)

    flat = [slot for several in entries for slot in several]
    return Tables(
        segment_tasks=table(segment_tasks, 9)[: len(segment_tasks)],
        sequence_tasks=table(sequence_tasks, 8),
        pieces=table(pieces, 5),
        entries=table([flat or [0]], 1)[0],
        num_slots=num_slots,
    )


def _piece(segment: Segment, start: int, num_tokens: int) -> list[int]:
    data = segment.data[:, :, :, start:]
    return [data.data_ptr(), *data.stride()[:3], num_tokens]


def triton_attention(
    q: Tensor,
    plan: AttnPlan,
    layer: int,
    own_k: Tensor | None,
    own_v: Tensor | None,
    scale: float,
    causal: bool,
    num_processors: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Attention in two phases by kernels of our own.

    Args:
        q: Queries (rows, H, d) in the plan's order.
        plan: The plan.
        layer: Layer of the stored keys.
        own_k: Keys of the new tokens (rows, num_kv_heads, d), or None.
        own_v: Their values, or None.
        scale: Factor of the logits.
        causal: Whether a new token sees only those of its sequence up to itself.
        num_processors: See `make_tables`; None: those of the device.

    Returns:
        Outputs (rows, H, d) and log-sum-exp (rows, H) in single precision.

    Raises:
        AttentionError: Triton is missing, or cannot run on this device or with this type.
    """
    if not has_triton():
        raise AttentionError(
            "backend='triton': the package is not installed; `pip install triton` (Linux), or "
            "backend='torch'"
        )
    if q.device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        raise AttentionError(
            f"backend='triton' on {q.device}: it needs a CUDA device; use backend='torch', or set "
            "TRITON_INTERPRET=1 before the start to test the kernels slowly"
        )
    if q.dtype not in (torch.float16, torch.bfloat16, torch.float32):
        raise AttentionError(
            f"backend='triton' with {q.dtype}: expected float16, bfloat16 or float32; use "
            "backend='torch'"
        )
    from bpnet.attention.triton_ops import segment_kernel, sequence_kernel

    num_heads, width = q.shape[1:]
    kv_heads = plan.layout.num_kv_heads
    group = num_heads // kv_heads
    if num_processors is None:
        on_cuda = q.device.type == "cuda"
        num_processors = (
            torch.cuda.get_device_properties(q.device).multi_processor_count if on_cuda else 1
        )
    processors = num_processors
    blocks = plan.keep(("triton blocks", group), lambda: choose_blocks(plan, group))
    tables = plan.keep(
        ("triton tables", group, processors),
        lambda: make_tables(plan, group, blocks, processors),
    )
    q = q.contiguous()
    new_k = q if own_k is None else own_k.contiguous()
    new_v = q if own_v is None else own_v.contiguous()
    part_out = q.new_empty((max(1, tables.num_slots), num_heads, width), dtype=torch.float32)
    part_lse = q.new_empty((max(1, tables.num_slots), num_heads), dtype=torch.float32)
    out = torch.empty_like(q)
    lse = q.new_empty(q.shape[:2], dtype=torch.float32)
    sizes = {
        "HEADS": num_heads,
        "GROUP": group,
        "WIDTH": width,
        "ALIGN": math.gcd(width, 8),
        # Stores begin at least there; a wider load of an address that is not would be wrong.
        "ALIGN_BYTES": math.gcd(width * q.element_size(), 16),
        # The interpreter multiplies the bits of bfloat16 numbers as if they were integers.
        "SINGLE": q.device.type == "cpu" and q.dtype == torch.bfloat16,
        "BLOCK_N": blocks.keys,
        "BLOCK_D": blocks.width,
    }
    if len(tables.segment_tasks):
        segment_kernel[(len(tables.segment_tasks), kv_heads)](
            q, tables.segment_tasks, part_out, part_lse, layer, scale,
            BLOCK_M=blocks.segment_rows, **sizes,
        )  # fmt: skip
    sequence_kernel[(len(tables.sequence_tasks), kv_heads)](
        q, new_k, new_v, tables.sequence_tasks, tables.pieces, tables.entries,
        part_out, part_lse, out, lse, layer, scale,
        HAS_OWN=own_k is not None, CAUSAL=causal, BLOCK_M=blocks.sequence_rows, **sizes,
    )  # fmt: skip
    return out, lse
