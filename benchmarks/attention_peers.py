"""One case of `attention.py`: our backends, and the rivals that fit into memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from attention_rivals import (
    CHUNK,
    Call,
    Case,
    Inputs,
    contiguous_peers,
    flashinfer_peer,
    flex_peer,
    folded_peers,
    packed_peers,
    phase_peers,
)
from torch import Tensor

from bpnet.attention import AttnPlan, Costs, KVLayout, PrefixTree, attend
from bpnet.attention.plan import TreeState, build_plan
from bpnet.attention.triton_call import has_triton

BACKENDS = ("reference", "auto", "torch", "packed", "expanded")


@dataclasses.dataclass
class Peers:
    """Who is compared.

    Attributes:
        tree: The tree.
        plan: Its plan, made beforehand.
        calls: By name.
        left_out: Names of those left out, with the reason.
        not_captured: Names of those that cannot be in a CUDA graph.
    """

    tree: PrefixTree
    plan: AttnPlan
    calls: dict[str, Call]
    left_out: list[str]
    not_captured: set[str]


def make_peers(
    case: Case, dtype: torch.dtype, device: str, max_bytes: float, flex: bool, costs: Costs | None
) -> Peers:
    """What is compared.

    Args:
        case: The case.
        dtype: Type of all tensors.
        device: Where they are.
        max_bytes: Peers whose own copies need more are left out.
        flex: Whether to compile flex_attention too, which takes half a minute a case.
        costs: What ``auto`` goes by; None: the defaults.

    Returns:
        The peers; the first to be called is ``"reference"``.
    """
    torch.manual_seed(0)
    heads, width, batch, rows = case.heads, case.width, case.batch, case.rows
    where = {"dtype": dtype, "device": device}
    q = torch.randn(batch, rows, heads, width, **where)
    prefix = torch.randn(2, heads, case.shared, width, **where)
    private = torch.randn(2, batch, heads, case.private, width, **where)
    inputs = Inputs(case, q, prefix, private)
    token = 2 * heads * width * q.element_size()
    contiguous_bytes = token * batch * (case.shared + case.private)
    packed_keys = case.shared + batch * case.private
    packed_bytes = token * packed_keys + 4 * batch * rows * packed_keys

    peers = our_peers(inputs, costs)
    if packed_bytes > max_bytes:
        del peers.calls["packed"]
        peers.left_out.append(f"packed, SDPA packed mask: {packed_bytes / 2**30:.1f} GiB")
    else:
        peers.calls.update(packed_peers(inputs))
    if contiguous_bytes > max_bytes:
        peers.left_out.append(
            f"SDPA contiguous, matmul softmax: {contiguous_bytes / 2**30:.1f} GiB"
        )
    else:
        peers.calls.update(contiguous_peers(inputs))
    if case.shared:
        peers.calls.update(phase_peers(inputs))
    if not case.private:
        peers.calls.update(folded_peers(inputs))
    others: dict[str, Callable[[Inputs], Call]] = {}
    if flex and packed_bytes <= max_bytes:
        others["flex_attention"] = flex_peer
    if device != "cpu" and case.shared and case.private:
        others["FlashInfer cascade"] = flashinfer_peer
        peers.not_captured.add("FlashInfer cascade")
    for name, make in others.items():
        try:
            call = make(inputs)
            call()  # compiles
        except Exception as err:  # not installed, or not for this machine or these sizes
            peers.left_out.append(f"{name}: {type(err).__name__}: {str(err)[:200]}")
        else:
            peers.calls[name] = call
    return peers


def our_peers(inputs: Inputs, costs: Costs | None) -> Peers:
    """Our backends, with a plan made beforehand, and with a new one in every call."""
    case, q = inputs.case, inputs.q
    layout = KVLayout(1, case.heads, case.width, q.dtype, q.device)
    tree = PrefixTree(layout, CHUNK, budget_bytes=1 << 40)
    node = tree.insert(None, [b"shared"], *inputs.prefix[:, None]) if case.shared else None
    sequences = [tree.join(node) for _ in range(case.batch)]
    stored = max(0, case.private - case.rows)
    if stored:
        for place, sequence in enumerate(sequences):
            tree.append(sequence, *inputs.private[:, None, place, :, :stored])
    packed_q = q.flatten(0, 1)
    own: tuple[Tensor, ...] = ()
    if case.private:
        new = inputs.private[:, :, :, stored:].transpose(2, 3)
        own = tuple(new.reshape(2, -1, case.heads, case.width))
    plan = tree.plan(sequences, case.rows)
    nodes = [sequence.node for sequence in sequences]

    def ours(backend: str) -> Call:
        return lambda: attend(packed_q, plan, 0, *own, backend=backend, costs=costs).view(q.shape)

    def new_plan() -> Tensor:
        fresh = build_plan(nodes, [case.rows] * case.batch, layout, TreeState())
        return attend(packed_q, fresh, 0, *own, costs=costs).view(q.shape)

    calls = {backend: ours(backend) for backend in BACKENDS}
    if q.device.type != "cpu" and has_triton():
        calls["triton"] = ours("triton")
    calls["auto, new plan"] = new_plan
    return Peers(tree, plan, calls, [], {"auto, new plan"})
