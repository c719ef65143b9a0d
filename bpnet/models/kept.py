"""Videos of which a network keeps what it computes, in a prefix tree, and queries about them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from bpnet.attention import Node, PrefixTree


@dataclasses.dataclass(frozen=True, eq=False)
class KeptPairs:
    """Pairs of a video that lies in a tree, and a query.

    Attributes:
        tree: The tree, of the network's ``layout``.
        videos: Where each pair's video ends in it (B); all have T clips.
        seconds: Where their clips begin and end (B, T, 2).
        query_keys: Content key of each pair's query (B).
    """

    tree: PrefixTree
    videos: Sequence[Node]
    seconds: Tensor
    query_keys: Sequence[bytes]

    def distinct_videos(self) -> tuple[list[Node], Tensor]:
        """Each video once, and the place of each pair's video among them (B) int64."""
        places = {node: place for place, node in enumerate(dict.fromkeys(self.videos))}
        index = torch.tensor([places[node] for node in self.videos], device=self.seconds.device)
        return list(places), index
