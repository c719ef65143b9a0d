"""Those that `attention.py` compares our backends with, as callables; all give (b, l, H, d)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention as sdpa

from bpnet.attention import merge_states
from bpnet.attention.partials import bmm_partial, tiled_partial

CHUNK = 64
PAGE = 16  # tokens, of FlashInfer's cache
Call = Callable[[], Tensor]


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


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Tensors of a case.

    Attributes:
        case: The case.
        q: Queries (b, l, H, d).
        prefix: Shared keys and values (2, H, n_s, d).
        private: Those of each sequence (2, b, H, m, d).
    """

    case: Case
    q: Tensor
    prefix: Tensor
    private: Tensor

    @property
    def folded(self) -> Tensor:
        """Queries of all sequences as rows of one (1, H, b · l, d)."""
        return self.q.flatten(0, 1).transpose(0, 1)[None]

    def unfold(self, out: Tensor) -> Tensor:
        """The way back from outputs (1, H, b · l, d)."""
        return out[0].transpose(0, 1).unflatten(0, (self.case.batch, self.case.rows))

    def visible(self, row: Tensor, key: Tensor) -> Tensor:
        """Whether a row sees a key, where private ones lie behind the shared ones."""
        own = (key - self.case.shared) // max(1, self.case.private) == row // self.case.rows
        return (key < self.case.shared) | own


def contiguous_peers(inputs: Inputs) -> dict[str, Call]:
    """All keys and values once for each sequence, as without sharing."""
    q = inputs.q.transpose(1, 2)  # (b, H, l, d)
    keys, values = (
        torch.cat([inputs.prefix[side].expand(len(q), -1, -1, -1), inputs.private[side]], dim=2)
        for side in range(2)
    )
    scale = inputs.case.width**-0.5

    def naive() -> Tensor:
        weights = torch.softmax(q @ keys.transpose(2, 3) * scale, dim=-1)
        return (weights @ values).transpose(1, 2)

    return {
        "SDPA contiguous": lambda: sdpa(q, keys, values).transpose(1, 2),
        "matmul softmax": naive,
    }


def phase_peers(inputs: Inputs) -> dict[str, Call]:
    """Shared keys apart from private ones: read by each sequence again, or chunk by chunk."""
    case, scale = inputs.case, inputs.case.width**-0.5
    partial = tiled_partial(inputs.q) or bmm_partial
    q = inputs.q.transpose(1, 2)
    wide = [side.expand(case.batch, -1, -1, -1) for side in inputs.prefix]

    def expanded() -> Tensor:
        out, lse = partial(q, wide[0], wide[1], scale, None)
        if case.private:
            out, _ = merge_states(out, lse, *partial(q, *inputs.private, scale, None))
        return out.transpose(1, 2)

    def chunk_loop() -> Tensor:
        """ChunkAttention's own order: chunk by chunk, each partial result merged at once."""
        state = None
        for start in range(0, case.shared, CHUNK):
            k, v = inputs.prefix[:, None, :, start : start + CHUNK]
            more = partial(inputs.folded, k, v, scale, None)
            state = more if state is None else merge_states(*state, *more)
        assert state is not None
        size = (case.batch, case.rows)
        out, lse = (x[0].transpose(0, 1).unflatten(0, size) for x in state)
        if case.private:
            more = partial(q, *inputs.private, scale, None)
            out, _ = merge_states(out, lse, *(x.transpose(1, 2) for x in more))
        return out

    return {"SDPA expanded + merge": expanded, "loop over chunks": chunk_loop}


def side_by_side(inputs: Inputs) -> list[Tensor]:
    """Keys and values (1, H, n_s + b · m, d) of each."""
    pairs = zip(inputs.prefix, inputs.private, strict=True)
    return [torch.cat([one, own.transpose(0, 1).flatten(1, 2)], dim=1)[None] for one, own in pairs]


def packed_peers(inputs: Inputs) -> dict[str, Call]:
    """All keys side by side under a mask, put there beforehand.

    And once with the new tokens' keys and values written to their places in each call, as whoever
    uses it has to, and as our backends do.
    """
    case, folded = inputs.case, inputs.folded
    k, v = side_by_side(inputs)
    row, key = (torch.arange(n, device=k.device) for n in (folded.shape[2], k.shape[2]))
    visible = inputs.visible(row[:, None], key[None])
    hidden = torch.zeros(visible.shape, dtype=k.dtype, device=k.device)
    hidden = hidden.masked_fill_(~visible, -math.inf)[None, None]
    calls: dict[str, Call] = {
        "SDPA packed mask": lambda: inputs.unfold(sdpa(folded, k, v, attn_mask=hidden))
    }
    if case.private:
        size = (case.batch, case.private)
        places = [
            side[0, :, case.shared :].unflatten(1, size)[:, :, -case.rows :] for side in (k, v)
        ]
        new = [side[:, :, -case.rows :].transpose(0, 1).contiguous() for side in inputs.private]

        def written() -> Tensor:
            for place, keys in zip(places, new, strict=True):
                place.copy_(keys)
            return inputs.unfold(sdpa(inputs.folded, k, v, attn_mask=hidden))

        calls["packed mask, keys written"] = written
    return calls


def flex_peer(inputs: Inputs) -> Call:
    """Compiled flex_attention over all keys side by side, under the same mask."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    k, v = side_by_side(inputs)
    q = inputs.folded.contiguous()

    def seen(_: Tensor, __: Tensor, row: Tensor, key: Tensor) -> Tensor:
        return inputs.visible(row, key)

    mask = create_block_mask(seen, None, None, q.shape[2], k.shape[2], device=str(k.device))
    compiled = torch.compile(flex_attention)
    return lambda: inputs.unfold(compiled(q, k, v, block_mask=mask))


def folded_peers(inputs: Inputs) -> dict[str, Call]:
    """Nothing is private: one call with the batch folded onto the rows."""
    folded, scale = inputs.folded, inputs.case.width**-0.5
    k, v = inputs.prefix[:, None]

    def two_products() -> Tensor:
        weights = torch.softmax(torch.bmm(folded[0] * scale, k[0].transpose(1, 2)), dim=-1)
        return inputs.unfold(torch.bmm(weights, v[0])[None])

    return {
        "SDPA folded": lambda: inputs.unfold(sdpa(folded, k, v)),
        "bmm softmax bmm": two_products,
    }


def flashinfer_peer(inputs: Inputs) -> Call:
    """FlashInfer's cascade of two levels over pages of 16 tokens, its tables made beforehand."""
    import flashinfer

    case, device = inputs.case, inputs.q.device
    pages = []  # (pages, 2, PAGE, H, d)
    counts = []
    runs = [inputs.prefix, *inputs.private.unbind(1)]
    for run in runs:  # (2, H, tokens, d)
        count = -(-run.shape[2] // PAGE)
        filled = torch.nn.functional.pad(run, (0, 0, 0, count * PAGE - run.shape[2]))
        pages.append(filled.unflatten(2, (count, PAGE)).permute(2, 0, 3, 1, 4))
        counts.append(count)
    cache = torch.cat(pages).contiguous()

    def table(numbers: list[int]) -> Tensor:
        return torch.tensor(numbers, dtype=torch.int32, device=device)

    rows, batch = case.rows, case.batch
    one_private = counts[1]
    workspace = torch.empty(128 * 2**20, dtype=torch.uint8, device=device)
    wrapper = flashinfer.MultiLevelCascadeAttentionWrapper(2, workspace, "NHD")
    wrapper.plan(
        [table([0, batch * rows]), table([place * rows for place in range(batch + 1)])],
        [table([0, counts[0]]), table([place * one_private for place in range(batch + 1)])],
        [table(list(range(counts[0]))), table(list(range(counts[0], sum(counts))))],
        [
            table([case.shared - (counts[0] - 1) * PAGE]),
            table([case.private - (one_private - 1) * PAGE] * batch),
        ],
        case.heads,
        case.heads,
        case.width,
        PAGE,
        q_data_type=inputs.q.dtype,
    )
    q = inputs.q.flatten(0, 1)
    return lambda: wrapper.run(q, cache).view(inputs.q.shape)
