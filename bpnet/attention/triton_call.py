"""Backend "triton": launches the kernels of `triton_ops.py` on the tables of `triton_tables.py`."""

from __future__ import annotations

import functools
import importlib.util
import math
import os
from typing import Any

import torch
from torch import Tensor

from bpnet.attention.inputs import AttnInputs
from bpnet.attention.plan import AttnPlan
from bpnet.attention.triton_tables import Blocks, Tables, choose_blocks, make_tables
from bpnet.errors import AttentionError


@functools.cache
def has_triton() -> bool:
    """Whether Triton is installed."""
    return importlib.util.find_spec("triton") is not None


def triton_attention(
    inputs: AttnInputs, num_processors: int | None = None
) -> tuple[Tensor, Tensor]:
    """Attention in two phases by kernels of our own.

    Args:
        inputs: The call.
        num_processors: See `make_tables`; None: those of the device.

    Returns:
        Outputs (rows, H, d) and log-sum-exp (rows, H) in single precision.

    Raises:
        AttentionError: Triton is missing, or cannot run on this device or with this type.
    """
    q, plan, layer = inputs.q, inputs.plan, inputs.layer
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
    group = inputs.group
    processors = num_processors or _num_processors(q.device)
    blocks, tables, sizes = plan.keep(
        ("triton", group, processors), lambda: _prepare(plan, group, processors)
    )
    q = q.contiguous()
    own_k, own_v = (q, q) if inputs.own is None else (x.contiguous() for x in inputs.own)
    part_out = q.new_empty((tables.num_slots, num_heads, width), dtype=torch.float32)
    part_lse = q.new_empty((tables.num_slots, num_heads), dtype=torch.float32)
    out = torch.empty_like(q)
    lse = q.new_empty((len(q), num_heads), dtype=torch.float32)
    scale = inputs.scale * math.log2(math.e)  # logits are to the base 2 inside
    if len(tables.segment_tasks):
        segment_kernel[(len(tables.segment_tasks), plan.layout.num_kv_heads)](
            q, tables.segment_tasks, part_out, part_lse, layer, scale,
            BLOCK_M=blocks.segment_rows, BLOCK_N=blocks.segment_keys,
            num_warps=blocks.segment_warps, **sizes,
        )  # fmt: skip
    sequence_kernel[(len(tables.sequence_tasks), plan.layout.num_kv_heads)](
        q, own_k, own_v, tables.sequence_tasks, tables.pieces, tables.entries,
        part_out, part_lse, out, lse, layer, scale,
        HAS_OWN=inputs.has_own, CAUSAL=inputs.causal,
        BLOCK_M=blocks.sequence_rows, BLOCK_N=blocks.sequence_keys, **sizes,
    )  # fmt: skip
    return out, lse


@functools.cache
def _num_processors(device: torch.device) -> int:
    if device.type != "cuda":
        return 1
    return torch.cuda.get_device_properties(device).multi_processor_count


def _prepare(
    plan: AttnPlan, group: int, num_processors: int
) -> tuple[Blocks, Tables, dict[str, Any]]:
    """What does not change from call to call."""
    layout = plan.layout
    blocks = choose_blocks(plan, group)
    sizes = {
        "HEADS": group * layout.num_kv_heads,
        "GROUP": group,
        "WIDTH": layout.head_dim,
        # Stores begin at least there; a wider load of an address that is not would be wrong.
        "ALIGN_BYTES": math.gcd(layout.head_dim * layout.dtype.itemsize, 16),
        # The interpreter multiplies the bits of bfloat16 numbers as if they were integers.
        "SINGLE": layout.device.type == "cpu" and layout.dtype == torch.bfloat16,
        # Single precision as three products on tensor cores, each of parts of the numbers, right
        # to about 1e-6; "ieee" would do without the tensor cores, and "tf32" is right to 1e-3.
        "PRECISION": "tf32x3" if layout.dtype == torch.float32 else "ieee",
        "BLOCK_D": blocks.width,
    }
    return blocks, make_tables(plan, group, blocks, num_processors), sizes
