"""What the kernels of triton_ops.py read and in which order, worked out once a plan."""

from __future__ import annotations

import dataclasses
import itertools
import math

import torch
from torch import Tensor

from bpnet.attention.plan import AttnPlan, Segment

# A private segment from this length on is split over several programs, as a shared one is; shorter
# ones are read by the program that writes the output.
LONG_TOKENS = 1024
# Fewer keys than this are not worth a program of their own.
MIN_SPLIT_TOKENS = 128
# Keys of a block, and values, take so much of a processor's own memory; three blocks of both are
# under way at a time, and two programs have room beside each other on an H100.
BLOCK_BYTES = 16 * 1024


@dataclasses.dataclass(frozen=True)
class Blocks:
    """Sizes of the kernels' tiles.

    Attributes:
        segment_rows: Rows of a tile in phase one: a power of two >= 16, as are the others.
        segment_keys: Keys of a block in phase one.
        segment_warps: Warps of a program in phase one.
        sequence_rows: Rows of a tile in phase two.
        sequence_keys: Keys of a block in phase two.
        width: The head's width, filled up.
    """

    segment_rows: int
    segment_keys: int
    segment_warps: int
    sequence_rows: int
    sequence_keys: int
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
        entries: (n, 1): what leads from a row to a partial result.
        num_slots: Rows of partial results.
    """

    segment_tasks: Tensor
    sequence_tasks: Tensor
    pieces: Tensor
    entries: Tensor
    num_slots: int


def choose_blocks(plan: AttnPlan, group: int) -> Blocks:
    """Tiles for a plan: as many rows as there are, within what a program can hold."""
    layout = plan.layout
    width = _power(layout.head_dim, 16, 1 << 20)
    # Rows x width are registers; single precision is three products of parts, and takes more.
    most = 16384 if layout.dtype.itemsize == 2 else 4096
    rows = max((one.stop - one.start for one in map(plan.row_range, plan.shared)), default=1)
    segment_rows = _power(rows * group, 16, max(16, min(128, most // width)))
    most_keys = 128 if layout.dtype.itemsize == 2 else 64
    keys = max(16, min(most_keys, BLOCK_BYTES // (width * layout.dtype.itemsize)))
    private = [one.num_tokens for one in itertools.chain(*plan.private)]
    longest = max((number for number in private if number < LONG_TOKENS), default=1)
    return Blocks(
        segment_rows=segment_rows,
        segment_keys=keys,
        segment_warps=8 if segment_rows == 128 else 4,
        sequence_rows=_power(max(plan.rows) * group, 16, max(16, min(64, most // width))),
        sequence_keys=_power(max(longest, *plan.rows), 16, min(64, keys)),
        width=width,
    )


def _power(number: int, least: int, most: int) -> int:
    return max(least, min(most, 1 << (number - 1).bit_length()))


def _whole(number: int, size: int) -> int:
    return math.ceil(number / size) * size


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
        size = _whole(math.ceil(one.num_tokens / num_splits), blocks.segment_keys)
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
    flat = [[slot] for several in entries for slot in several]
    parts = ((segment_tasks, 9), (sequence_tasks, 8), (pieces, 5), (flat, 1))
    # One tensor, for it takes as long to send one number to a device as to send them all.
    numbers = [number for lines, _ in parts for line in lines for number in line]
    on_device = torch.tensor(numbers, dtype=torch.int64).to(plan.layout.device)
    split = torch.split(on_device, [len(lines) * width for lines, width in parts])
    tasks, sequences, stored, flat_entries = (
        one.view(-1, width) for one, (_, width) in zip(split, parts, strict=True)
    )
    return Tables(tasks, sequences, stored, flat_entries, num_slots)


def _piece(segment: Segment, start: int, num_tokens: int) -> list[int]:
    data = segment.data[:, :, :, start:]
    return [data.data_ptr(), *data.stride()[:3], num_tokens]
