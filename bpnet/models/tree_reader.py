"""Queries and proposals read videos that lie in a prefix tree: without gradients or padding."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from types import TracebackType

import torch
import torch.nn.functional as F
from torch import Tensor

from bpnet.attention import AttnPlan, Node, PrefixTree, attend
from bpnet.models.trunk import Attention, Trunk


class TreeReader:
    """A level of queries below videos, and of proposals below those; see `bpnet.models.trunk`.

    A query that was asked about the same video before is found again. As a context manager it keeps
    the queries in the tree until it is left.

    Args:
        trunk: The trunk.
        tree: Holds the videos: a trunk's keys and values, and behind its layers what came out.
        videos: Where each pair's video ends in it (B).
        query_keys: Content key of each pair's query (B).
    """

    def __init__(
        self,
        trunk: Trunk,
        tree: PrefixTree,
        videos: Sequence[Node],
        query_keys: Sequence[bytes],
    ) -> None:
        self._trunk = trunk
        self._tree = tree
        self._videos = videos
        self._query_keys = query_keys
        self._queries: list[Node] = []
        self._pins = contextlib.ExitStack()

    def __enter__(self) -> TreeReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pins.close()

    def queries(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """See `bpnet.models.readers.Reader`."""
        asked = list(zip(self._videos, self._query_keys, strict=True))
        nodes: dict[tuple[Node, bytes], Node] = {}
        new: dict[tuple[Node, bytes], int] = {}  # its first pair: the same may be asked twice
        for pair, (video, key) in enumerate(asked):
            node, num_tokens = self._tree.match([key], video)
            if num_tokens and node is not None:
                self._keep(node)
                nodes[video, key] = node
            else:
                new.setdefault((video, key), pair)
        if new:
            added = self._add(list(new.values()), tokens, mask)
            nodes.update(zip(new, added, strict=True))
        self._queries = [nodes[pair] for pair in asked]
        last = len(self._trunk.blocks)
        states = [node.view()[last, 0].transpose(0, 1).flatten(1) for node in self._queries]
        out = tokens.new_zeros(tokens.shape)
        out[mask] = torch.cat(states)
        return out

    def proposals(self, tokens: Tensor, seconds: Tensor, mask: Tensor) -> Tensor:
        """See `bpnet.models.readers.Reader`."""
        count = tokens.shape[1] // mask.shape[1]
        each = mask.sum(dim=1).tolist()
        below = [node for node, n in zip(self._queries, each, strict=True) for _ in range(n)]
        plan = self._tree.plan(below, count)
        real = mask.repeat_interleave(count, dim=1)
        out = tokens.new_zeros(tokens.shape)
        out[real] = self._trunk(tokens[real], seconds[real], tree_attention(plan))[0]
        return out

    def _add(self, new: Sequence[int], tokens: Tensor, mask: Tensor) -> list[Node]:
        """Send queries that are not there yet through the trunk, and store them."""
        which = torch.tensor(new, device=mask.device)
        lengths = mask[which].sum(dim=1).tolist()
        rows = tokens[which][mask[which]]
        plan = self._tree.plan([self._videos[i] for i in new], lengths)
        read, kept = self._trunk(rows, rows.new_zeros(len(rows)), tree_attention(plan))
        kept.append(
            (torch.unflatten(read, 1, (self._trunk.num_heads, -1)), torch.zeros_like(kept[0][1]))
        )
        spare = self._tree.layout.num_layers - len(kept)  # which only clips have a use for
        sides = (F.pad(torch.stack(side), (0,) * 7 + (spare,)) for side in zip(*kept, strict=True))
        keys, values = (torch.split(side.transpose(1, 2), lengths, dim=2) for side in sides)
        nodes = []
        for pair, k, v in zip(new, keys, values, strict=True):
            nodes.append(self._tree.insert(self._videos[pair], [self._query_keys[pair]], k, v))
            self._keep(nodes[-1])
        return nodes

    def _keep(self, node: Node) -> None:
        self._tree.pin(node)
        self._pins.callback(self._tree.unpin, node)


def tree_attention(plan: AttnPlan) -> Attention:
    """New tokens see what is stored above them, and those of their own sequence.

    Args:
        plan: Who they are.

    Returns:
        The attention of a `Trunk`, of tokens (N, D).
    """
    return lambda layer, query, key, value: attend(query, plan, layer, key, value)
