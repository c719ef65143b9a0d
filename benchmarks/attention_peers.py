"""One case of `attention.py`: its tensors, our backends and the peers, all giving (b, l, H, d)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention as sdpa

from bpnet.attention import KVLayout, PrefixTree, attend, merge_states
from bpnet.attention.partials import bmm_partial, can_flash, flash_partial
from bpnet.attention.plan import TreeState, build_plan
from bpnet.attention.triton_call import has_triton

CHUNK = 64
BACKENDS = ("auto", "torch", "packed", "expanded")


@dataclasses.dataclass(frozen=True)
class Case:
    """Sequences that begin with the same tokens.

    Attributes:
        heads: Heads.
        width: Width of a head.
        shared: Shared tokens.
        batch: Sequences.
        rows: New rows of each.
        private: Tokens that only one sequence sees, its new ones among them; 0: not even those.
    """

    heads: int
    width: int
    shared: int
    batch: int
    rows: int
    private: int

    def unique_bytes(self, itemsize: int) -> int:
        """Bytes of all keys and values, shared ones once."""
        tokens = self.shared + self.batch * self.private
        return 2 * self.heads * self.width * tokens * itemsize

    def __str__(self) -> str:
        return ",".join(str(number) for number in dataclasses.astuple(self))


def make_peers(
    case: Case, dtype: torch.dtype, device: str, max_bytes: float, flex: bool
) -> tuple[dict[str, Callable[[], Tensor]], list[str], PrefixTree]:
    """What is compared.

    Args:
        case: The case.
        dtype: Type of all tensors.
        device: Where they are.
        max_bytes: Peers whose own copies need more are left out.
        flex: Whether to compile flex_attention too, which takes half a minute a case.

    Returns:
        Callables by name, names of those left out with the reason, and the tree.
    """
    torch.manual_seed(0)
    heads, width, batch, rows = case.heads, case.width, case.batch, case.rows
    where = {"dtype": dtype, "device": device}
    q = torch.randn(batch, rows, heads, width, **where)
    prefix = torch.randn(2, heads, case.shared, width, **where)
    private = torch.randn(2, batch, heads, case.private, width, **where)
    scale = width**-0.5
    has_own = case.private > 0
    stored = max(0, case.private - rows)

    tree = PrefixTree(
        KVLayout(1, heads, width, dtype, torch.device(device)), CHUNK, budget_bytes=1 << 40
    )
    node = tree.insert(None, [b"shared"], *prefix[:, None]) if case.shared else None
    sequences = [tree.join(node) for _ in range(batch)]
    if stored:
        for place, sequence in enumerate(sequences):
            tree.append(sequence, *private[:, None, place, :, :stored])
    packed_q = q.view(batch * rows, heads, width)
    own: tuple[Tensor, ...] = ()
    if has_own:
        own = tuple(private[:, :, :, stored:].transpose(2, 3).reshape(2, -1, heads, width))
    plan = tree.plan(sequences, rows)
    nodes = [sequence.node for sequence in sequences]

    def ours(backend: str) -> Callable[[], Tensor]:
        return lambda: attend(packed_q, plan, 0, *own, backend=backend).view(q.shape)

    def new_plan() -> Tensor:
        fresh = build_plan(nodes, [rows] * batch, tree.layout, TreeState())
        return attend(packed_q, fresh, 0, *own, backend="torch").view(q.shape)

    token = 2 * heads * width * q.element_size()
    contiguous_bytes = token * batch * (case.shared + case.private)
    packed_keys = case.shared + batch * case.private
    packed_bytes = token * packed_keys + 4 * batch * rows * packed_keys
    peers: dict[str, Callable[[], Tensor]] = {}
    left_out: list[str] = []
    for backend in BACKENDS:
        if backend == "packed" and packed_bytes > max_bytes:
            left_out.append(f"{backend}: copies of {packed_bytes / 2**30:.1f} GiB")
        else:
            peers[backend] = ours(backend)
    peers["torch, new plan"] = new_plan
    if device != "cpu" and has_triton():
        peers["triton"] = ours("triton")

    swapped = q.transpose(1, 2)  # (b, H, l, d)
    if contiguous_bytes <= max_bytes:
        keys, values = (
            torch.cat([prefix[side].expand(batch, -1, -1, -1), private[side]], dim=2)
            for side in range(2)
        )
        peers["SDPA contiguous"] = lambda: sdpa(swapped, keys, values).transpose(1, 2)

        def naive() -> Tensor:
            weights = torch.softmax(swapped @ keys.transpose(2, 3) * scale, dim=-1)
            return (weights @ values).transpose(1, 2)

        peers["matmul softmax"] = naive
    else:
        left_out.append(f"SDPA contiguous, matmul softmax: {contiguous_bytes / 2**30:.1f} GiB")

    partial = flash_partial if can_flash(q) else bmm_partial
    folded = packed_q.transpose(0, 1)[None]  # (1, H, b l, d)
    if case.shared:
        wide = [prefix[side].expand(batch, -1, -1, -1) for side in range(2)]

        def expanded() -> Tensor:
            out, lse = partial(swapped, wide[0], wide[1], scale, None)
            if has_own:
                more = partial(swapped, private[0], private[1], scale, None)
                out, _ = merge_states(out, lse, *more)
            return out.transpose(1, 2)

        def chunk_loop() -> Tensor:
            """ChunkAttention's own order: chunk by chunk, each partial result merged at once."""
            state = None
            for start in range(0, case.shared, CHUNK):
                k, v = prefix[:, None, :, start : start + CHUNK]
                more = partial(folded, k, v, scale, None)
                state = more if state is None else merge_states(*state, *more)
            assert state is not None
            out, lse = (x[0].transpose(0, 1).unflatten(0, (batch, rows)) for x in state)
            if has_own:
                more = partial(swapped, private[0], private[1], scale, None)
                out, _ = merge_states(out, lse, *(x.transpose(1, 2) for x in more))
            return out

        peers["SDPA expanded + merge"] = expanded
        peers["loop over chunks"] = chunk_loop

    sequence_of_row = torch.arange(batch, device=device).repeat_interleave(rows)
    if packed_bytes <= max_bytes:
        side_by_side = [
            torch.cat([prefix[side], private[side].transpose(0, 1).flatten(1, 2)], dim=1)
            for side in range(2)
        ]
        owner = torch.arange(batch, device=device).repeat_interleave(case.private)
        visible = torch.cat(
            [
                torch.ones(batch * rows, case.shared, dtype=torch.bool, device=device),
                sequence_of_row[:, None] == owner[None],
            ],
            dim=1,
        )
        hidden = torch.zeros(visible.shape, **where).masked_fill_(~visible, -math.inf)[None, None]
        one_k, one_v = (side[None] for side in side_by_side)
        peers["SDPA packed mask"] = lambda: back(sdpa(folded, one_k, one_v, attn_mask=hidden))
        if flex:
            peers["flex_attention"] = make_flex(case, folded, one_k, one_v, device)
    else:
        left_out.append(f"SDPA packed mask: {packed_bytes / 2**30:.1f} GiB")

    def back(out: Tensor) -> Tensor:
        return out[0].transpose(0, 1).unflatten(0, (batch, rows))

    if not has_own:
        k, v = prefix[:, None]
        peers["SDPA folded"] = lambda: back(sdpa(folded, k, v))

        def two_products() -> Tensor:
            weights = torch.softmax(torch.bmm(folded[0] * scale, k[0].transpose(1, 2)), dim=-1)
            return back(torch.bmm(weights, v[0])[None])

        peers["bmm softmax bmm"] = two_products
    return peers, left_out, tree


def make_flex(case: Case, q: Tensor, k: Tensor, v: Tensor, device: str) -> Callable[[], Tensor]:
    """Compiled flex_attention under the packed mask; compiled before it is timed."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    def visible(_: Tensor, __: Tensor, row: Tensor, key: Tensor) -> Tensor:
        own = (key - case.shared) // max(1, case.private) == row // case.rows
        return (key < case.shared) | own

    mask = create_block_mask(visible, None, None, q.shape[2], k.shape[2], device=device)
    compiled = torch.compile(flex_attention)
    q = q.contiguous()

    def run() -> Tensor:
        out = compiled(q, k, v, block_mask=mask)
        return out[0].transpose(0, 1).unflatten(0, (case.batch, case.rows))

    run()
    return run
