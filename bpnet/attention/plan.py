"""AttnPlan: which new rows see which stored tokens, as segments over contiguous sequences."""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Callable, Hashable
from collections.abc import Sequence as Items
from typing import TypeVar

import torch
from torch import Tensor

from bpnet.attention.cache import KVLayout, Store
from bpnet.attention.node import Node
from bpnet.errors import AttentionError

T = TypeVar("T")


@dataclasses.dataclass
class TreeState:
    """What a tree and its plans tell each other.

    Attributes:
        version: Raised with every change of the tree; plans remember it.
        choices: How often ``backend="auto"`` took which backend.
        plans: Plans that may be used again. They are let go with every change, for they hold on to
            the memory of what they see.
    """

    version: int = 0
    choices: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    plans: dict[tuple[object, ...], AttnPlan] = dataclasses.field(default_factory=dict)

    def changed(self) -> None:
        """Tokens were added, moved or dropped."""
        self.version += 1
        self.plans.clear()


@dataclasses.dataclass(frozen=True, eq=False)
class Segment:
    """Stored tokens that a contiguous range of sequences sees.

    Attributes:
        data: Their keys and values (num_layers, 2, num_kv_heads, N, head_dim), a view of a store.
        first: First of the sequences, in the plan's order.
        last: The sequence behind the last one.
    """

    data: Tensor
    first: int
    last: int

    @property
    def num_tokens(self) -> int:
        """Its tokens N."""
        return self.data.shape[3]

    @property
    def num_sequences(self) -> int:
        """Sequences that see it."""
        return self.last - self.first


class AttnPlan:
    """Attention of new rows over the tokens of a tree; made by `PrefixTree.plan`.

    Sequences stand in the order of the tree, depth first, so that those below one node are a
    range; `order` leads back to the caller's. The plan is good for all layers, until the tree
    changes.

    Args:
        layout: The tree's layout.
        segments: Segments, each behind those above it.
        order: See the attribute.
        rows: See the attribute.
        state: The tree's state; its version is remembered.

    Attributes:
        layout: The tree's layout.
        segments: All segments, each behind those above it.
        shared: Those that several sequences see.
        private: For each sequence, in the plan's order, those that it alone sees.
        order: For each sequence, in the plan's order, its place in the caller's.
        rows: New rows of each sequence, in the plan's order.
        offsets: First row of each sequence in the plan's order, and at the end the number of rows.
        num_sequences: Sequences b.
        num_rows: New rows of all sequences together.
        state: The tree's state.
        version: The tree's version that the plan was made for.
        seen_layers: Layers for which ``backend="auto"`` has used the plan.
    """

    def __init__(
        self,
        layout: KVLayout,
        segments: Items[Segment],
        order: Items[int],
        rows: Items[int],
        state: TreeState,
    ) -> None:
        self.layout = layout
        self.segments = tuple(segments)
        self.shared = tuple(one for one in segments if one.num_sequences > 1)
        private: list[list[Segment]] = [[] for _ in order]
        for one in segments:
            if one.num_sequences == 1:
                private[one.first].append(one)
        self.private = tuple(tuple(several) for several in private)
        self.order = tuple(order)
        self.rows = tuple(rows)
        self.offsets = (0, *itertools.accumulate(rows))
        self.num_sequences = len(self.order)
        self.num_rows = self.offsets[-1]
        self.version = state.version
        self.state = state
        self.seen_layers: set[int] = set()
        self._kept: dict[Hashable, object] = {}

    @property
    def is_current(self) -> bool:
        """Whether the tree is as it was when the plan was made."""
        return self.version == self.state.version

    @property
    def sees_tokens(self) -> bool:
        """Whether each sequence sees a stored token."""
        # Those that see none stand first, so the first one tells.
        return any(one.first == 0 for one in self.segments)

    def row_range(self, segment: Segment) -> slice:
        """The rows that see a segment, in the plan's order."""
        return slice(self.offsets[segment.first], self.offsets[segment.last])

    def keep(self, name: Hashable, make: Callable[[], T]) -> T:
        """What is worked out once a plan, such as a table of places.

        Args:
            name: Under which it is kept.
            make: Works it out.

        Returns:
            What ``make`` gave at the first call with this name.
        """
        if name not in self._kept:
            # In inference mode too it must be a tensor that may be written to later.
            with torch.inference_mode(False), torch.no_grad():
                self._kept[name] = make()
        return self._kept[name]  # type: ignore[return-value]

    def caller_rows(self) -> Tensor | None:
        """Places of the plan's rows among the caller's (rows) int64; None where they are equal."""

        def make() -> Tensor | None:
            if self.order == tuple(range(self.num_sequences)):
                return None
            count = dict(zip(self.order, self.rows, strict=True))
            begins = [0, *itertools.accumulate(count[i] for i in range(self.num_sequences))]
            places = [
                begins[place] + row
                for place, num_rows in zip(self.order, self.rows, strict=True)
                for row in range(num_rows)
            ]
            return torch.tensor(places, device=self.layout.device)

        return self.keep("caller_rows", make)

    def row_sequences(self) -> Tensor:
        """For each row, in the plan's order, its sequence (rows) int64."""

        def make() -> Tensor:
            counts = torch.tensor(self.rows)
            return torch.arange(self.num_sequences).repeat_interleave(counts).to(self.layout.device)

        return self.keep("row_sequences", make)


@dataclasses.dataclass
class _Run:
    """Tokens of one or several nodes that lie together in a store and are seen by the same."""

    store: Store
    start: int
    end: int
    first: int
    last: int


def build_plan(
    nodes: Items[Node | None],
    rows: Items[int],
    layout: KVLayout,
    state: TreeState,
    merge: bool = True,
) -> AttnPlan:
    """Order sequences depth first, and find who sees which run.

    Args:
        nodes: Where each sequence ends; None: it has no stored tokens.
        rows: New rows of each, >= 1.
        layout: The tree's layout.
        state: The tree's state; its version is remembered.
        merge: Join runs that lie together and are seen by the same; False only to compare.

    Returns:
        The plan.

    Raises:
        AttentionError: There is no sequence, or ``rows`` does not fit.
    """
    if not nodes:
        raise AttentionError("a plan of no sequences: expected at least one")
    if len(rows) != len(nodes):
        raise AttentionError(
            f"rows of {len(rows)} sequences: expected one number for {len(nodes)} each"
        )
    if min(rows) < 1:
        raise AttentionError(f"rows={min(rows)}: each sequence must have at least one new row")

    # The part of the tree that is used; below each node in the order in which callers come.
    own: dict[Node | None, list[int]] = {None: []}
    below: dict[Node | None, dict[Node, None]] = {None: {}}
    for place, node in enumerate(nodes):
        above = node
        while above is not None and above not in own:
            own[above] = []
            below[above] = {}
            above = above.parent
        above = node  # again from below: parents are listed only now
        while above is not None and above not in below[above.parent]:
            below[above.parent][above] = None
            above = above.parent
        own[node].append(place)

    order: list[int] = []
    runs: dict[Node | None, _Run] = {}
    ordered: list[_Run] = []
    # No recursion: a stream that grew often is a deep tree.
    stack: list[tuple[Node | None, bool]] = [(None, False)]
    while stack:
        node, is_done = stack.pop()
        if is_done:
            runs[node].last = len(order)
            continue
        if node is not None:
            run = _Run(node.store, node.start, node.end, len(order), 0)
            runs[node] = run
            ordered.append(run)
            stack.append((node, True))
        order.extend(own[node])
        stack.extend((child, False) for child in reversed(below[node]))

    kept: list[_Run] = []
    into: dict[int, _Run] = {}  # the run that a run was joined to
    parents = {id(runs[node]): runs.get(node.parent) for node in runs if node is not None}
    for run in ordered:
        parent = parents[id(run)]
        target = into.get(id(parent), parent)
        if (
            merge
            and target is not None
            and target.store is run.store
            and (target.first, target.last) == (run.first, run.last)
        ):
            assert target.end == run.start  # nodes of one store follow each other down a path
            target.end = run.end
            into[id(run)] = target
        else:
            kept.append(run)
    segments = [
        Segment(run.store.data[:, :, :, run.start : run.end], run.first, run.last) for run in kept
    ]
    return AttnPlan(layout, segments, order, [rows[place] for place in order], state)
