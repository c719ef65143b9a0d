"""Softmax attention over one block of keys that also gives the log-sum-exp.

The backends "torch", "expanded" and "packed" end here. Which of the kernels a call gets says
`shared.choose_partial`.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable

import torch
from torch import Tensor

log = logging.getLogger(__name__)

# PyTorch's kernels are called by torch._name: torch.ops.aten._name looks for the right overload in
# every call, which takes a tenth of what a short call takes.

# (queries (B, H, M, d), keys (B, H, N, d), values (B, H, N, d), scale, additive mask or None,
# broadcastable to (B, H, M, N)) -> (out (B, H, M, d), lse (B, H, M))
Partial = Callable[[Tensor, Tensor, Tensor, float, Tensor | None], tuple[Tensor, Tensor]]


def bmm_partial(
    q: Tensor, k: Tensor, v: Tensor, scale: float, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Two matrix products and a softmax, on any device.

    Args:
        q: Queries (B, H, M, d).
        k: Keys (B, H, N, d).
        v: Values (B, H, N, d).
        scale: Factor of the logits.
        mask: Added to the logits, broadcastable to (B, H, M, N); a row has a finite entry.

    Returns:
        Outputs (B, H, M, d) and log-sum-exp (B, H, M), at least in single precision.
    """
    logits = torch.matmul(q * scale, k.transpose(-1, -2))
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    if mask is not None:
        logits = logits + mask
    weights = torch.softmax(logits, dim=-1)
    # The largest weight is exp(largest logit - lse), and at least 1 / N: its logarithm is safe,
    # and two maxima are cheaper than another sum of exponentials.
    lse = logits.amax(dim=-1) - weights.amax(dim=-1).log()
    return torch.matmul(weights.to(v.dtype), v), lse


def flash_partial(
    q: Tensor, k: Tensor, v: Tensor, scale: float, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """PyTorch's tiled kernel for CPUs, which never has the logits in memory; as `bmm_partial`."""
    out, lse = torch._scaled_dot_product_flash_attention_for_cpu(
        q, k, v, 0.0, False, attn_mask=mask, scale=scale
    )
    return out, lse


def cuda_flash_partial(
    q: Tensor, k: Tensor, v: Tensor, scale: float, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """PyTorch's tiled kernel for CUDA; what is masked, short blocks, is left to `bmm_partial`."""
    if mask is not None:
        return bmm_partial(q, k, v, scale, mask)
    found = torch._scaled_dot_product_flash_attention(q, k, v, scale=scale)
    return found[0], found[1]


@functools.cache
def flash_is_right(device: str = "cpu") -> bool:
    """Whether the kernel is there and does what we use it for; it is private to PyTorch.

    Args:
        device: Type of device, ``"cpu"`` or ``"cuda"``.

    Returns:
        Whether it may be used.
    """
    generator = torch.Generator().manual_seed(0)
    flash = flash_partial if device == "cpu" else cuda_flash_partial
    dtype, limit = (torch.float32, 1e-5) if device == "cpu" else (torch.float16, 1e-2)
    with torch.no_grad(), torch.inference_mode(False):
        q, k, v = (
            torch.randn(2, 3, n, 8, generator=generator).to(device, dtype) for n in (5, 7, 7)
        )
        mask = torch.zeros(2, 1, 1, 7, device=device)
        mask[1, ..., 4:] = -math.inf
        try:
            for one in (None, mask):
                pairs = zip(flash(q, k, v, 0.3, one), bmm_partial(q, k, v, 0.3, one), strict=True)
                if not all(torch.allclose(a, b, atol=limit) for a, b in pairs):
                    log.debug("PyTorch's flash kernel (%s) disagrees with matmul: not used", device)
                    return False
        except (AttributeError, RuntimeError, TypeError) as err:
            log.debug("no flash kernel (%s) that we know how to call: %s", device, err)
            return False
    return True


def tiled_partial(q: Tensor) -> Partial | None:
    """PyTorch's tiled kernel for tensors like this one, of width d; None where there is none."""
    if q.device.type == "cpu":
        return flash_partial if flash_is_right() else None
    half = q.dtype in (torch.float16, torch.bfloat16)
    fits = half and q.shape[-1] % 8 == 0 and q.shape[-1] <= 256
    is_right = q.device.type == "cuda" and fits and flash_is_right("cuda")
    return cuda_flash_partial if is_right else None


def fold_heads(q: Tensor, group: int) -> Tensor:
    """Queries (rows, H, d) to (H / group, rows · group, d): heads of one group become rows."""
    if group == 1:
        return q.transpose(0, 1)
    grouped = torch.unflatten(q, 1, (-1, group))  # (rows, num_kv_heads, group, d)
    return grouped.transpose(0, 1).flatten(1, 2)


def unfold_heads(rows: Tensor, group: int) -> Tensor:
    """The way back, of (num_kv_heads, rows · group, ...), outputs or their log-sum-exp."""
    if group == 1:
        return rows.transpose(0, 1)
    return torch.unflatten(rows, 1, (-1, group)).transpose(0, 1).flatten(1, 2)
