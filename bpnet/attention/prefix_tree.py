"""PrefixTree: keys and values of many sequences, what they share at their beginning stored once.

After ChunkAttention (Ye et al., ACL 2024, arXiv 2402.15220, section 3.1). Two things differ: a node
is a run of chunks in one contiguous block, because a loop over chunks of 64 tokens costs 1.4 to 2.4
times as much; and what its last user leaves stays until the room is needed.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import threading
from collections.abc import Sequence as Items

from torch import Tensor

from bpnet.attention.cache import KVLayout, Store, grown, whole_chunks
from bpnet.attention.node import Node, Sequence
from bpnet.attention.plan import AttnPlan, TreeState, build_plan
from bpnet.errors import AttentionError, CacheFullError

MIB = 1024**2
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
        self._roots: dict[bytes, Node] = {}
        self._root_tails: set[Node] = set()
        self._sequences: set[Sequence] = set()
        self._state = TreeState()
        self._plans: dict[tuple[object, ...], AttnPlan] = {}
        self._queue: list[tuple[int, int, Node]] = []  # (last_used, serial, node), may be outdated
        self._clock = 0
        self._bytes = self._hits = self._misses = self._evicted = 0

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
            node, _, num_tokens = self._walk(list(keys), parent)
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
            node, num_found, found = self._walk(keys, parent)
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
            return self._add(node, keys[num_found:], k[:, :, found:], v[:, :, found:], extend)

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
                self._pin(node)
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
                self._make_room(tail.store, num_tokens, keep=tail)
                tail.store.write(k, v)
                tail.num_tokens += num_tokens
                self._changed()
            else:
                node = self._add(tail, [], k, v, extend=False)
                node.pins += 1
                if tail is not None:
                    self._unpin(tail)
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
                self._unpin(sequence.node)

    def pin(self, node: Node) -> None:
        """Keep a node, and so the path to it, until it is unpinned as often."""
        with self._lock:
            self._pin(node)

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
            self._unpin(node)

    def evict(self, num_bytes: int) -> int:
        """Drop what was not used for longest: leaves, and then what has become a leaf.

        Args:
            num_bytes: Bytes to free, at least.

        Returns:
            Freed bytes; fewer than asked for where the rest is in use.
        """
        with self._lock:
            before = self._bytes
            self._evict_down_to(before - num_bytes)
            return before - self._bytes

    def clear(self) -> None:
        """Drop everything, also what is in use: all nodes and sequences are invalid afterwards."""
        with self._lock:
            for node in self._nodes():
                node.alive = False
            for sequence in self._sequences:
                sequence.is_open = False
            for container in (self._roots, self._root_tails, self._sequences, self._queue):
                container.clear()
            self._bytes = 0
            self._changed()

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
                self._touch(node)
            key = (*nodes, *counts)
            plan = self._plans.get(key)
            if plan is None:
                plan = build_plan(nodes, counts, self.layout, self._state)
                while len(self._plans) >= NUM_KEPT_PLANS:
                    del self._plans[next(iter(self._plans))]
                self._plans[key] = plan
            return plan

    def stats(self) -> TreeStats:
        """What it holds and what it has done."""
        with self._lock:
            nodes = self._nodes()
            kept: set[Node] = set()
            for node in nodes:
                if node.pins:
                    kept.update(
                        itertools.takewhile(lambda above: above not in kept, node.ancestry())
                    )
            pinned = sum(node.num_tokens for node in kept) * self.layout.token_bytes
            return TreeStats(
                bytes=self._bytes,
                budget_bytes=self.budget_bytes,
                pinned_bytes=pinned,
                num_nodes=len(nodes),
                num_tokens=sum(node.num_tokens for node in nodes),
                hits=self._hits,
                misses=self._misses,
                evicted=self._evicted,
                choices=dict(self._state.choices),
            )

    # Inside; the lock is held.

    def _nodes(self) -> list[Node]:
        nodes = [*self._roots.values(), *self._root_tails]
        for node in nodes:  # the list grows while it is read
            nodes.extend(node.children.values())
            nodes.extend(node.tails)
        return nodes

    def _children(self, node: Node | None) -> dict[bytes, Node]:
        return self._roots if node is None else node.children

    def _walk(self, keys: list[bytes], parent: Node | None) -> tuple[Node | None, int, int]:
        """The node where the match ends, the keys and the tokens that matched."""
        if parent is not None:
            parent.check_alive()
        node, num_found, num_tokens = parent, 0, 0
        while num_found < len(keys):
            child = self._children(node).get(keys[num_found])
            if child is None:
                break
            pairs = zip(child.keys, keys[num_found:], strict=False)
            same = next((i for i, (own, key) in enumerate(pairs) if own != key), None)
            if same is None:
                same = min(len(child.keys), len(keys) - num_found)
            if same < len(child.keys):
                child = self._split(child, same)
            node = child
            num_found += same
            num_tokens += child.num_tokens
        self._touch(node)
        return node, num_found, num_tokens

    def _split(self, node: Node, num_keys: int) -> Node:
        """Put the first chunks of a run into a new parent; nothing is copied, no handle moves."""
        cut = num_keys * self.chunk
        upper = Node(node.parent, node.keys[:num_keys], node.store, node.start, cut)
        upper.last_used = node.last_used
        self._children(node.parent)[upper.keys[0]] = upper
        node.keys = node.keys[num_keys:]
        node.parent = upper
        node.start += cut
        node.num_tokens -= cut
        upper.children[node.keys[0]] = node
        return upper

    def _add(
        self, parent: Node | None, keys: list[bytes], k: Tensor, v: Tensor, extend: bool
    ) -> Node:
        num_tokens = k.shape[2]
        if extend and parent is not None and parent.ends_store:
            store = parent.store
            self._make_room(store, num_tokens, keep=parent)
        else:
            # What is found by its key has the length that it has; a tail is going to grow.
            capacity = num_tokens if keys else whole_chunks(num_tokens, self.chunk)
            self._reserve(capacity * self.layout.token_bytes, keep=parent)
            store = Store(self.layout, capacity)
            self._bytes += store.num_bytes
        node = Node(parent, keys, store, store.used, num_tokens)
        store.write(k, v)
        if keys:
            self._children(parent)[keys[0]] = node
        else:
            (self._root_tails if parent is None else parent.tails).add(node)
        self._touch(node)
        self._changed()
        self._enqueue(node)
        return node

    def _make_room(self, store: Store, num_tokens: int, keep: Node) -> None:
        """Let a store have room for more tokens."""
        capacity = grown(store.used + num_tokens, store.capacity, self.chunk)
        if capacity > store.capacity:
            self._reserve((capacity - store.capacity) * self.layout.token_bytes, keep)
            self._resize(store, capacity)

    def _resize(self, store: Store, capacity: int) -> None:
        self._bytes -= store.num_bytes
        store.resize(capacity)
        self._bytes += store.num_bytes
        self._changed()

    def _reserve(self, num_bytes: int, keep: Node | None) -> None:
        """Evict until so many bytes are free; ``keep`` and the path to it stay."""
        if self._bytes + num_bytes <= self.budget_bytes:
            return
        if num_bytes <= self.budget_bytes:  # else what is there would be dropped for nothing
            if keep is not None:
                keep.pins += 1
            self._evict_down_to(self.budget_bytes - num_bytes)
            if keep is not None:
                keep.pins -= 1
                self._enqueue(keep)
        if self._bytes + num_bytes > self.budget_bytes:
            users = sum(1 for node in self._nodes() if node.pins)
            raise CacheFullError(
                f"{num_bytes / MIB:.3g} MiB are needed, and {self._bytes / MIB:.3g} of "
                f"{self.budget_bytes / MIB:.3g} MiB are in use by {users} pinned nodes and open "
                "sequences: release some, or raise budget_bytes"
            )

    def _evict_down_to(self, num_bytes: int) -> None:
        trimmed: set[Store] = set()
        to_come = 0  # bytes that trimming is going to free
        while self._bytes - to_come > num_bytes and self._queue:
            last_used, _, node = heapq.heappop(self._queue)
            node.queued = False
            if not node.alive or node.pins or not node.is_leaf:
                continue  # it is put back when it may be evicted again
            if last_used != node.last_used:
                self._enqueue(node)
                continue
            store = node.store
            if store in trimmed:
                trimmed.remove(store)
                to_come -= self._spare(store)
            self._evicted += node.num_tokens
            self._drop(node)
            if store.num_views:
                trimmed.add(store)
                to_come += self._spare(store)
        for store in trimmed:
            self._resize(store, store.used)

    def _spare(self, store: Store) -> int:
        return (store.capacity - store.used) * self.layout.token_bytes

    def _drop(self, node: Node) -> None:
        """Take a leaf out of the tree, and its store with it if nothing else is in there."""
        assert node.is_leaf and not node.pins
        node.alive = False
        parent, store = node.parent, node.store
        if node.keys:
            del self._children(parent)[node.keys[0]]
        else:
            (self._root_tails if parent is None else parent.tails).discard(node)
        store.num_views -= 1
        if not store.num_views:
            self._bytes -= store.num_bytes
        else:
            # The nodes of a store follow each other down one path, so what is left is its start.
            assert node.ends_store
            store.used = node.start
        self._changed()
        if parent is not None:
            self._settle(parent)

    def _settle(self, node: Node) -> None:
        """Something above or below has gone: a tail that nobody can reach goes too."""
        if node.pins or not node.is_leaf:
            return
        if node.keys:
            self._enqueue(node)
        else:
            self._drop(node)

    def _pin(self, node: Node) -> None:
        node.check_alive()
        node.pins += 1
        self._touch(node)

    def _unpin(self, node: Node) -> None:
        assert node.pins > 0
        node.pins -= 1
        self._settle(node)

    def _enqueue(self, node: Node) -> None:
        """Let a node be found by eviction; only one entry a node, so the queue stays small."""
        if node.keys and node.alive and not node.queued and not node.pins and node.is_leaf:
            node.queued = True
            heapq.heappush(self._queue, (node.last_used, node.serial, node))

    def _touch(self, node: Node | None) -> None:
        self._clock += 1
        if node is not None:
            for above in node.ancestry():
                above.last_used = self._clock

    def _changed(self) -> None:
        self._state.version += 1
        self._plans.clear()
