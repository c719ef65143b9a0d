"""Random forests of shared beginnings, for the tests of this folder."""

from __future__ import annotations

import dataclasses
import math

import torch
from hypothesis import strategies as st
from torch import Tensor

from bpnet.attention import AttnPlan, KVLayout, Node, PrefixTree, Sequence


@dataclasses.dataclass(frozen=True)
class Case:
    """What a forest is drawn from.

    Attributes:
        parents: For each inserted node, the node above it, or -1.
        tokens: Tokens of each.
        ends: For each sequence the node where it ends, or -1 for none.
        tails: Private tokens of each sequence, appended in two parts where there are several.
        rows: New rows of each sequence.
        heads: (num_kv_heads, group, head_dim).
        has_own: Whether the new tokens are among the keys.
        causal: Whether they are seen causally.
    """

    parents: list[int]
    tokens: list[int]
    ends: list[int]
    tails: list[int]
    rows: list[int]
    heads: tuple[int, int, int]
    has_own: bool
    causal: bool


@st.composite
def cases(draw: st.DrawFn, max_tokens: int = 40, max_sequences: int = 6) -> Case:
    num_nodes = draw(st.integers(0, 5))
    parents = [draw(st.integers(-1, node - 1)) for node in range(num_nodes)]
    tokens = [draw(st.integers(1, max_tokens)) for _ in range(num_nodes)]
    num = draw(st.integers(1, max_sequences))
    ends = [draw(st.integers(-1, num_nodes - 1)) for _ in range(num)]
    tails = [draw(st.sampled_from([0, 0, 1, 5, 130])) for _ in range(num)]
    ragged = draw(st.booleans())
    rows = [draw(st.integers(1, 4)) for _ in range(num)] if ragged else [draw(st.integers(1, 3))]
    sees = all(end >= 0 or tail for end, tail in zip(ends, tails, strict=True))
    return Case(
        parents=parents,
        tokens=tokens,
        ends=ends,
        tails=tails,
        rows=rows if ragged else rows * num,
        heads=draw(st.sampled_from([(1, 1, 8), (2, 1, 5), (2, 3, 16), (1, 4, 20)])),
        has_own=draw(st.booleans()) or not sees,
        causal=draw(st.booleans()),
    )


@dataclasses.dataclass
class Forest:
    """A tree, its sequences, and what each sequence must see, kept apart from the tree.

    Attributes:
        tree: The tree.
        plan: Plan of all sequences.
        sequences: The sequences, in the caller's order.
        seen: For each sequence its stored keys and values (layers, 2, heads, N, d).
        q: Queries.
        own_k: Keys of the new tokens, or None.
        own_v: Their values, or None.
        case: What it was made from.
    """

    tree: PrefixTree
    plan: AttnPlan
    sequences: list[Sequence]
    seen: list[Tensor]
    q: Tensor
    own_k: Tensor | None
    own_v: Tensor | None
    case: Case

    @property
    def own(self) -> tuple[Tensor | None, Tensor | None]:
        return self.own_k, self.own_v


def plant(
    case: Case,
    dtype: torch.dtype = torch.float32,
    chunk: int = 8,
    seed: int = 0,
    device: str = "cpu",
) -> Forest:
    """Make the forest; the same numbers for every ``chunk``, and rounded from them for a type."""
    kv_heads, group, width = case.heads
    layout = KVLayout(2, kv_heads, width, dtype, torch.device(device))
    generator = torch.Generator().manual_seed(seed)

    def block(num_tokens: int) -> Tensor:
        shape = (2, 2, kv_heads, num_tokens, width)
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(device, dtype)

    tree = PrefixTree(layout, chunk=chunk)
    nodes: list[Node] = []
    paths: list[Tensor] = []
    for number, (parent, tokens) in enumerate(zip(case.parents, case.tokens, strict=True)):
        data = block(tokens)
        names = [f"{number}/{piece}".encode() for piece in range(-(-tokens // chunk))]
        above = None if parent < 0 else nodes[parent]
        nodes.append(tree.insert(above, names, data[:, 0], data[:, 1]))
        paths.append(data if parent < 0 else torch.cat([paths[parent], data], dim=3))
    sequences: list[Sequence] = []
    seen: list[Tensor] = []
    for end, tail in zip(case.ends, case.tails, strict=True):
        sequence = tree.join(None if end < 0 else nodes[end])
        data = block(tail)
        for part in (data[..., : tail // 2, :], data[..., tail // 2 :, :]):
            if part.shape[3]:
                tree.append(sequence, part[:, 0], part[:, 1])
        sequences.append(sequence)
        seen.append(data if end < 0 else torch.cat([paths[end], data], dim=3))
    num_rows = sum(case.rows)

    def rows(heads: int) -> Tensor:
        shape = (num_rows, heads, width)
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(device, dtype)

    q, own_k, own_v = rows(kv_heads * group), rows(kv_heads), rows(kv_heads)
    plan = tree.plan(sequences, case.rows)
    if not case.has_own:
        return Forest(tree, plan, sequences, seen, q, None, None, case)
    return Forest(tree, plan, sequences, seen, q, own_k, own_v, case)


def plain(forest: Forest, layer: int) -> tuple[Tensor, Tensor]:
    """Ordinary attention, one sequence and one head at a time, in double precision."""
    outs, lses = [], []
    at = 0
    group = forest.case.heads[1]
    for seen, num_rows in zip(forest.seen, forest.case.rows, strict=True):
        rows = slice(at, at + num_rows)
        at += num_rows
        out, lse = [], []
        for head in range(forest.q.shape[1]):
            q = forest.q[rows, head].double()
            k, v = seen[layer, 0, head // group].double(), seen[layer, 1, head // group].double()
            logits = q @ k.T
            if forest.own_k is not None and forest.own_v is not None:
                own = q @ forest.own_k[rows, head // group].double().T
                if forest.case.causal:
                    own = own.masked_fill(torch.ones_like(own).triu(1) > 0, -math.inf)
                logits = torch.cat([logits, own], dim=1)
                v = torch.cat([v, forest.own_v[rows, head // group].double()])
            logits = logits / math.sqrt(q.shape[1])
            out.append(torch.softmax(logits, dim=1) @ v)
            lse.append(torch.logsumexp(logits, dim=1))
        outs.append(torch.stack(out, dim=1))
        lses.append(torch.stack(lse, dim=1))
    return torch.cat(outs), torch.cat(lses)
