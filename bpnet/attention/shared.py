"""attend: attention of new rows over shared beginnings, equal to plain attention and cheaper.

Checks, chooses a backend, and keeps the caller's order; the numbers come from the backends.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Literal, overload

import torch
from torch import Tensor

from bpnet.attention.cost import Costs, cheapest, default_costs
from bpnet.attention.inputs import AttnInputs
from bpnet.attention.packed import packed_attention
from bpnet.attention.partials import Partial, bmm_partial, tiled_partial
from bpnet.attention.plan import AttnPlan
from bpnet.attention.reference import reference_attention
from bpnet.attention.torch_phases import torch_attention
from bpnet.attention.triton_call import has_triton, triton_attention
from bpnet.errors import AttentionError

log = logging.getLogger(__name__)

# Outputs (rows, H, d) and log-sum-exp (rows, H), which may be None if it was not asked for.
Backend = Callable[[AttnInputs], tuple[Tensor, Tensor | None]]

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
    if (own_k is None) != (own_v is None):
        raise AttentionError("own_k or own_v is missing: expected both or none")
    own = None if own_k is None or own_v is None else (own_k, own_v)
    if scale is None:
        scale = plan.layout.head_dim**-0.5
    inputs = AttnInputs(q, plan, layer, own, scale, causal, return_lse)
    if not inputs.fit():
        inputs.refuse()
    is_auto = backend == "auto"
    # What a plan keeps, such as copies of short tails, is there from the second call on.
    kept = is_auto and layer in plan.seen_layers
    name, run = plan.keep(
        ("backend", backend, costs, q.shape[1], own is None, kept),
        lambda: _choose(backend, inputs, costs, kept),
    )
    if is_auto:
        plan.seen_layers.add(layer)
        plan.state.choices[name] += 1
    places = plan.caller_rows()
    if places is not None:
        inputs = inputs.reordered(places)
    if torch.is_grad_enabled():
        with torch.no_grad():
            out, lse = run(inputs)
    else:
        out, lse = run(inputs)
    if places is not None:
        out = torch.empty_like(out).index_copy_(0, places, out)
    if not return_lse:
        return out
    assert lse is not None
    return out, lse if places is None else torch.empty_like(lse).index_copy_(0, places, lse)


def _choose(
    backend: str, inputs: AttnInputs, costs: Costs | None, kept: bool
) -> tuple[str, Backend]:
    """The backend of this name, or the one that ``"auto"`` takes, and its name."""
    q, plan = inputs.q, inputs.plan
    if backend not in BACKENDS:
        raise AttentionError(f"backend={backend!r}: expected one of {', '.join(BACKENDS)}")
    if backend == "auto":
        if q.device.type == "cuda" and has_triton():
            backend = "triton"  # the fastest of ours in every case of the published grid
        else:
            used = costs or default_costs(q.device)
            backend = cheapest(plan, q.shape[1], inputs.has_own, used, kept)
        log.debug("%d sequences, %d rows: backend %s", plan.num_sequences, plan.num_rows, backend)
    if backend == "reference":
        return backend, reference_attention
    if backend == "triton":
        return backend, triton_attention
    partial = choose_partial(q, costs)
    if backend == "packed":
        return backend, functools.partial(packed_attention, partial=partial)
    expand = backend == "expanded"
    return backend, functools.partial(torch_attention, partial=partial, expand=expand)


def choose_partial(q: Tensor, costs: Costs | None = None) -> Partial:
    """The kernel for one block of keys: the tiled one where there is one and it is the faster."""
    costs = costs or default_costs(q.device)
    faster = costs.flash_flops_per_second >= costs.bmm_flops_per_second
    return (tiled_partial(q) if faster else None) or bmm_partial
