"""attend: attention of new rows over shared beginnings, equal to plain attention and cheaper."""

from __future__ import annotations

import logging
from typing import Literal, NoReturn, overload

import torch
from torch import Tensor

from bpnet.attention.cost import CPU_COSTS, CUDA_COSTS, Costs, cheapest
from bpnet.attention.dense_ops import packed_attention, reference_attention
from bpnet.attention.partials import Partial, bmm_partial, tiled_partial
from bpnet.attention.plan import AttnPlan
from bpnet.attention.torch_ops import tree_attention
from bpnet.errors import AttentionError

log = logging.getLogger(__name__)

BACKENDS = ("auto", "torch", "triton", "packed", "expanded", "reference")


@overload
def attend(
    q: Tensor,
    plan: AttnPlan,
    layer: int,
    own_k: Tensor | None = ...,
    own_v: Tensor | None = ...,
    backend: str = ...,
    scale: float | None = ...,
    causal: bool = ...,
    return_lse: Literal[False] = ...,
    costs: Costs | None = ...,
) -> Tensor: ...


@overload
def attend(
    q: Tensor,
    plan: AttnPlan,
    layer: int,
    own_k: Tensor | None = ...,
    own_v: Tensor | None = ...,
    backend: str = ...,
    scale: float | None = ...,
    causal: bool = ...,
    *,
    return_lse: Literal[True],
    costs: Costs | None = ...,
) -> tuple[Tensor, Tensor]: ...


def attend(
    q: Tensor,
    plan: AttnPlan,
    layer: int,
    own_k: Tensor | None = None,
    own_v: Tensor | None = None,
    backend: str = "auto",
    scale: float | None = None,
    causal: bool = False,
    return_lse: bool = False,
    costs: Costs | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Softmax attention of the new rows of several sequences; without gradients.

    A row sees the stored tokens of its sequence and, where ``own_k`` is given, the new tokens of
    its sequence. All backends compute the same numbers, summed in another order.

    Args:
        q: Queries (rows, H, d): the rows of the first sequence, then of the second, and so on, in
            the order in which the plan's caller named them. H is a multiple of the layout's
            num_kv_heads; neighbouring heads share one of keys and values.
        plan: From `PrefixTree.plan`, of the tree as it is now.
        layer: Layer of the stored keys, from 0.
        own_k: Keys of the new tokens (rows, num_kv_heads, d), or None.
        own_v: Their values, given if and only if ``own_k`` is.
        backend: ``"torch"``: two phases. ``"triton"``: the same as kernels of our own, on CUDA.
            ``"packed"``: all keys under a block mask. ``"expanded"``: shared keys are read again
            for each sequence. ``"reference"``: written out, to compare with. ``"auto"``: Triton on
            CUDA where it is installed, else what is expected to be fastest.
        scale: Factor of the logits; None: d ** -0.5.
        causal: Whether a new token sees only those of its sequence up to itself.
        return_lse: Whether to return the log-sum-exp of the logits too, for `merge_states`.
        costs: What ``"auto"`` goes by; None: defaults for the device.

    Returns:
        Outputs (rows, H, d) in the caller's order, of the type of ``q``; with ``return_lse`` also
        the natural log-sum-exp (rows, H), at least in single precision.

    Raises:
        AttentionError: The tensors do not fit the plan, a row would see nothing, a gradient is
            asked for, the plan is stale, or the backend is unknown or not available.
    """
    if not _fits(q, plan, layer, own_k, own_v):
        _refuse(q, plan, layer, own_k, own_v)
    if backend == "auto":
        # What a plan keeps, such as copies of short tails, is there from the second call on.
        kept = layer in plan.seen_layers
        plan.seen_layers.add(layer)
        backend = plan.keep(
            ("auto", costs, q.shape[1], own_k is None, kept),
            lambda: _choose(q, plan, own_k is not None, costs, kept),
        )
        plan.state.choices[backend] += 1
    elif backend not in BACKENDS:
        raise AttentionError(f"backend={backend!r}: expected one of {', '.join(BACKENDS)}")
    if scale is None:
        scale = plan.layout.head_dim**-0.5
    places = plan.caller_rows()
    if places is not None:
        q = q.index_select(0, places)
        own_k = None if own_k is None else own_k.index_select(0, places)
        own_v = None if own_v is None else own_v.index_select(0, places)
    call = (backend, q, plan, layer, own_k, own_v, scale, causal, costs, return_lse)
    if torch.is_grad_enabled():
        with torch.no_grad():
            out, lse = _run(*call)
    else:
        out, lse = _run(*call)
    if places is not None:
        out = torch.empty_like(out).index_copy_(0, places, out)
    if not return_lse:
        return out
    assert lse is not None
    return out, lse if places is None else torch.empty_like(lse).index_copy_(0, places, lse)


def _run(
    backend: str,
    q: Tensor,
    plan: AttnPlan,
    layer: int,
    own_k: Tensor | None,
    own_v: Tensor | None,
    scale: float,
    causal: bool,
    costs: Costs | None,
    needs_lse: bool,
) -> tuple[Tensor, Tensor | None]:
    if backend == "reference":
        return reference_attention(q, plan, layer, own_k, own_v, scale, causal)
    if backend == "triton":
        from bpnet.attention.triton_call import triton_attention

        return triton_attention(q, plan, layer, own_k, own_v, scale, causal)
    partial = plan.keep(("partial", costs), lambda: choose_partial(q, costs))
    call = (q, plan, layer, own_k, own_v, scale, causal, partial, needs_lse)
    if backend == "packed":
        return packed_attention(*call)
    return tree_attention(*call, expand=backend == "expanded")


def choose_partial(q: Tensor, costs: Costs | None = None) -> Partial:
    """The kernel for one block of keys: the tiled one where there is one and it is the faster."""
    costs = costs or (CPU_COSTS if q.device.type == "cpu" else CUDA_COSTS)
    faster = costs.flash_flops_per_second >= costs.bmm_flops_per_second
    return (tiled_partial(q) if faster else None) or bmm_partial


def _choose(q: Tensor, plan: AttnPlan, has_own: bool, costs: Costs | None, kept: bool) -> str:
    costs = costs or (CPU_COSTS if q.device.type == "cpu" else CUDA_COSTS)
    if q.device.type == "cuda":
        from bpnet.attention.triton_call import has_triton

        if has_triton():  # the fastest of ours in every case of the published grid
            return "triton"
    chosen = cheapest(plan, q.shape[1], has_own, costs, kept)
    log.debug("%d sequences, %d rows: backend %s", plan.num_sequences, plan.num_rows, chosen)
    return chosen


def _fits(
    q: Tensor, plan: AttnPlan, layer: int, own_k: Tensor | None, own_v: Tensor | None
) -> bool:
    """Whether a call is right; quick, for it is asked in every layer. `_refuse` says why not."""
    layout = plan.layout
    dtype, device, grad = layout.dtype, layout.device, torch.is_grad_enabled()
    num_heads = q.shape[1] if q.ndim == 3 else 0
    if (
        plan.version != plan.state.version
        or not 0 <= layer < layout.num_layers
        or num_heads < 1
        or num_heads % layout.num_kv_heads
        or q.shape != (plan.num_rows, num_heads, layout.head_dim)
        or q.dtype != dtype
        or q.device != device
        or (grad and q.requires_grad)
    ):
        return False
    if own_k is None or own_v is None:
        return own_k is own_v and plan.sees_tokens
    size = (plan.num_rows, layout.num_kv_heads, layout.head_dim)
    return (
        own_k.shape == size
        and own_v.shape == size
        and own_k.dtype == own_v.dtype == dtype
        and own_k.device == own_v.device == device
        and not (grad and (own_k.requires_grad or own_v.requires_grad))
    )


def _refuse(
    q: Tensor, plan: AttnPlan, layer: int, own_k: Tensor | None, own_v: Tensor | None
) -> NoReturn:
    layout = plan.layout
    if not plan.is_current:
        raise AttentionError(
            f"the plan is stale: made for version {plan.version} of the tree, which is at "
            f"{plan.state.version}; call tree.plan() again after storing, growing or dropping"
        )
    if not 0 <= layer < layout.num_layers:
        raise AttentionError(f"layer={layer!r}: expected 0 to {layout.num_layers - 1}")
    num_heads = q.shape[1] if q.ndim == 3 else 0
    expected = (plan.num_rows, num_heads, layout.head_dim)
    if num_heads < 1 or num_heads % layout.num_kv_heads or q.shape != expected:
        raise AttentionError(
            f"q has shape {tuple(q.shape)}: expected ({plan.num_rows} rows, a multiple of "
            f"{layout.num_kv_heads} heads, width {layout.head_dim}), as the plan says"
        )
    if (own_k is None) != (own_v is None):
        raise AttentionError("own_k or own_v is missing: expected both or none")
    size = (plan.num_rows, layout.num_kv_heads, layout.head_dim)
    for name, tensor in (("q", q), ("own_k", own_k), ("own_v", own_v)):
        if tensor is None:
            continue
        if name != "q" and tensor.shape != size:
            raise AttentionError(f"{name} has shape {tuple(tensor.shape)}: expected {size}")
        if tensor.dtype != layout.dtype or tensor.device != layout.device:
            raise AttentionError(
                f"{name} is {tensor.dtype} on {tensor.device}: expected {layout.dtype} on "
                f"{layout.device}, as the tree's layout says"
            )
        if tensor.requires_grad and torch.is_grad_enabled():
            raise AttentionError(
                f"{name} requires a gradient, and attend() has none: call it under "
                "torch.no_grad(), or train with plain masked attention, which gives the same"
            )
    assert own_k is None
    raise AttentionError(
        "a sequence has no stored tokens, so its rows see nothing: give own_k and own_v"
    )
