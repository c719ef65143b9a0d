"""PrefixTree: keys and values of many sequences, what they share at their beginning stored once.

After ChunkAttention (Ye et al., ACL 2024, arXiv 2402.15220, section 3.1). Two things differ: a node
is a run of chunks in one contiguous block, because a loop over chunks of 64 tokens costs 1.4 to 2.4
times as much; and what its last user leaves stays until the room is needed.
"""

from __future__ import annotations

import dataclasses
import itertools
import threading
from collections.abc import Sequence as Items

from torch import Tensor

from bpnet.attention.cache import KVLayout
from bpnet.attention.forest import MIB, NodeForest
from bpnet.attention.node import Node, Sequence
from bpnet.attention.plan import AttnPlan, TreeState, build_plan
from bpnet.errors import AttentionError

# Two levels are asked in turn, such as queries and their proposals; more plans are kept for nobody.
NUM_KEPT_PLANS = 8


@dataclasses.dataclass(frozen=True)
class TreeStats:
    """What a tree holds, and what it has done since it was made.

    Attributes:
        bytes: Bytes of its stores, room for growth included; never above ``budget_bytes``.
        budget_bytes: The most that it may hold.
        pinned_bytes: Bytes of the tokens that cannot be evicted, because a pin or an open sequence
            needs them.
        num_nodes: Nodes.
        num_tokens: Stored tokens, each counted once.
        hits: Tokens that `match` and `insert` found.
        misses: Tokens that `insert` had to store.
        evicted: Tokens that were evicted.
        choices: How often ``attend`` with ``backend="auto"`` took which backend.
    """

    bytes: int
    budget_bytes: int
    pinned_bytes: int
    num_nodes: int
    num_tokens: int
    hits: int
    misses: int
    evicted: int
    choices: dict[str, int]


class PrefixTree:
    """Keys and values in a tree of shared beginnings, within a budget of bytes.

    One lock guards the tree. A plan and its scratch space belong to one thread at a time.

    Args:
        layout: What a token's keys and values are.
        chunk: Tokens a chunk, >= 1: sequences share whole chunks.
        budget_bytes: The most that the stores may take. While a store grows, its old block is there
            beside the new one for a moment, and is not counted.

    Raises:
        AttentionError: ``chunk`` or ``budget_bytes`` is below 1.
    """

    def __init__(self, layout: KVLayout, chunk: int = 64, budget_bytes: int = 512 * MIB) -> None:
        for name, value in (("chunk", chunk), ("budget_bytes", budget_bytes)):
            if value < 1:
                raise AttentionError(f"PrefixTree: {name}={value!r}: expected an integer >= 1")
        self.layout = layout
        self.chunk = chunk
        self.budget_bytes = budget_bytes
        self._lock = threading.RLock()
        self._sequences: set[Sequence] = set()
        self._state = TreeState()
        self._forest = NodeForest(layout, chunk, budget_bytes, self._state)
        self._hits = self._misses = 0

    # What is stored.

    @property
    def version(self) -> int:
        """Raised whenever tokens are added, moved or dropped; plans of before are stale then."""
        return self._state.version

    def match(self, keys: Items[bytes], parent: Node | None = None) -> tuple[Node | None, int]:
        """Find the longest beginning of a sequence that is stored.

        Args:
            keys: Content keys of its pieces, see `bpnet.attention.keys`.
            parent: Look below this node; None: from the beginning.

        Returns:
            The node where the match ends (``parent`` if nothing matches) and the matched tokens
            below ``parent``. Only whole pieces match.

        Raises:
            AttentionError: ``parent`` is no longer in the tree.
        """
        with self._lock:
            node, _, num_tokens = self._forest.walk(list(keys), parent)
            self._hits += num_tokens
            return node, num_tokens

    def insert(
        self,
        parent: Node | None,
        keys: Items[bytes],
        k: Tensor,
        v: Tensor,
        extend: bool = False,
    ) -> Node:
        """Store tokens below a node; what is there already is not stored again.

        Args:
            parent: The node before them; None: they begin a sequence.
            keys: Content keys: one, for tokens that are shared as a whole or not at all; or one a
                chunk, the last of which may have fewer tokens.
            k: Keys of all these tokens (num_layers, num_kv_heads, N, head_dim).
            v: Values, as ``k``.
            extend: The tokens go on with a stream: put them behind the parent's, in the same
                block, which is moved when it has to grow. One run is read faster than many.

        Returns:
            The node where the tokens end. It is not pinned.

        Raises:
            AttentionError: The tensors do not fit the layout or the keys, or ``parent`` cannot have
                nodes below it that others find.
            CacheFullError: Nothing can be evicted and there is no room.
        """
        keys = list(keys)
        num_tokens = self.layout.check(k, v)
        if len(keys) != 1 and len(keys) != -(-num_tokens // self.chunk):
            raise AttentionError(
                f"{len(keys)} keys for {num_tokens} tokens: expected one for all, or one a chunk "
                f"of {self.chunk} tokens, {-(-num_tokens // self.chunk)} in all"
            )
        with self._lock:
            if parent is not None and not parent.keys:
                raise AttentionError(
                    "the parent is the private tail of a sequence, which others cannot find: "
                    "insert below a node that has keys"
                )
            node, num_found, found = self._forest.walk(keys, parent)
            self._hits += found
            if num_found == len(keys):
                assert node is not None
                if found != num_tokens:
                    raise AttentionError(
                        f"these keys are stored with {found} tokens, and {num_tokens} were given: "
                        "content keys must differ where the content does"
                    )
                return node
            self._misses += num_tokens - found
            return self._forest.add(
                node, keys[num_found:], k[:, :, found:], v[:, :, found:], extend
            )

    # Sequences, and who keeps what.

    def join(self, node: Node | None = None) -> Sequence:
        """Open a sequence that begins with the tokens up to a node.

        Args:
            node: Where it begins to be its own; None: it has no tokens yet.

        Returns:
            The sequence; it keeps the node until it is released.
        """
        with self._lock:
            if node is not None:
                self._forest.pin(node)
            sequence = Sequence(node)
            self._sequences.add(sequence)
            return sequence

    def append(self, sequence: Sequence, k: Tensor, v: Tensor) -> None:
        """Put tokens behind a sequence, for itself alone.

        Args:
            sequence: An open sequence.
            k: Keys (num_layers, num_kv_heads, N, head_dim).
            v: Values, as ``k``.

        Raises:
            AttentionError: The tensors do not fit the layout, or the sequence was released.
            CacheFullError: Nothing can be evicted and there is no room.
        """
        num_tokens = self.layout.check(k, v)
        with self._lock:
            sequence.check_open()
            tail = sequence.node
            # A tail that a fork shares, or that other tails follow, must not grow under them.
            if tail is not None and not tail.keys and tail.pins == 1 and tail.is_leaf:
                self._forest.make_room(tail.store, num_tokens, keep=tail)
                tail.store.write(k, v)
                tail.num_tokens += num_tokens
                self._state.changed()
            else:
                node = self._forest.add(tail, [], k, v, extend=False)
                node.pins += 1
                if tail is not None:
                    self._forest.unpin(tail)
                sequence.node = node

    def fork(self, sequence: Sequence) -> Sequence:
        """Open another sequence with the same tokens; from here on both grow apart.

        Args:
            sequence: An open sequence.

        Returns:
            The new one.
        """
        with self._lock:
            sequence.check_open()
            return self.join(sequence.node)

    def release(self, sequence: Sequence) -> None:
        """Close a sequence. Its private tail is dropped; what has keys stays until evicted."""
        with self._lock:
            sequence.check_open()
            sequence.is_open = False
            self._sequences.discard(sequence)
            if sequence.node is not None:
                self._forest.unpin(sequence.node)

    def pin(self, node: Node) -> None:
        """Keep a node, and so the path to it, until it is unpinned as often."""
        with self._lock:
            self._forest.pin(node)

    def unpin(self, node: Node) -> None:
        """Take one pin away.

        Args:
            node: A node with a pin.

        Raises:
            AttentionError: The node has no pin, or is no longer in the tree.
        """
        with self._lock:
            node.check_alive()
            if node.pins < 1:
                raise AttentionError("the node has no pin: unpin() only what was pinned")
            self._forest.unpin(node)

    def evict(self, num_bytes: int) -> int:
        """Drop what was not used for longest: leaves, and then what has become a leaf.

        Args:
            num_bytes: Bytes to free, at least.

        Returns:
            Freed bytes; fewer than asked for where the rest is in use.
        """
        with self._lock:
            before = self._forest.num_bytes
            self._forest.evict_down_to(before - num_bytes)
            return before - self._forest.num_bytes

    def clear(self) -> None:
        """Drop everything, also what is in use: all nodes and sequences are invalid afterwards."""
        with self._lock:
            self._forest.clear()
            for sequence in self._sequences:
                sequence.is_open = False
            self._sequences.clear()

    # What is asked.

    def plan(
        self, sequences: Items[Sequence | Node | None], rows: int | Items[int] = 1
    ) -> AttnPlan:
        """Prepare attention of new rows over stored tokens; reused while the tree is unchanged.

        Args:
            sequences: For each sequence what it sees: a `Sequence`, or a `Node` and the path to it,
                or None for no stored tokens. The same node may come many times.
            rows: New rows of each, or of all, >= 1.

        Returns:
            The plan, for `attend`.

        Raises:
            AttentionError: There are no sequences, one is closed, or ``rows`` does not fit.
        """
        with self._lock:
            nodes: list[Node | None] = []
            for item in sequences:
                if isinstance(item, Sequence):
                    item.check_open()
                    item = item.node
                if item is not None:
                    item.check_alive()
                nodes.append(item)
            counts = [rows] * len(nodes) if isinstance(rows, int) else list(rows)
            for node in dict.fromkeys(nodes):
                self._forest.touch(node)
            key = (*nodes, *counts)
            plan = self._state.plans.get(key)
            if plan is None:
                plan = build_plan(nodes, counts, self.layout, self._state)
                while len(self._state.plans) >= NUM_KEPT_PLANS:
                    del self._state.plans[next(iter(self._state.plans))]
                self._state.plans[key] = plan
            return plan

    def stats(self) -> TreeStats:
        """What it holds and what it has done."""
        with self._lock:
            nodes = self._forest.nodes()
            kept: set[Node] = set()
            for node in nodes:
                if node.pins:
                    kept.update(
                        itertools.takewhile(lambda above: above not in kept, node.ancestry())
                    )
            pinned = sum(node.num_tokens for node in kept) * self.layout.token_bytes
            return TreeStats(
                bytes=self._forest.num_bytes,
                budget_bytes=self.budget_bytes,
                pinned_bytes=pinned,
                num_nodes=len(nodes),
                num_tokens=sum(node.num_tokens for node in nodes),
                hits=self._hits,
                misses=self._misses,
                evicted=self._forest.num_evicted,
                choices=dict(self._state.choices),
            )
