"""The nodes of a prefix tree and the memory they take: finding, splitting, adding, evicting."""

from __future__ import annotations

import heapq

from torch import Tensor

from bpnet.attention.cache import KVLayout, Store, grown, whole_chunks
from bpnet.attention.node import Node
from bpnet.attention.plan import TreeState
from bpnet.errors import CacheFullError

MIB = 1024**2


class NodeForest:
    """Nodes below any number of roots, within a budget of bytes. `PrefixTree` holds the lock.

    Args:
        layout: What a token's keys and values are.
        chunk: Tokens a chunk.
        budget_bytes: The most that the stores may take.
        state: Told of every change.

    Attributes:
        roots: Nodes with keys that begin a sequence, by their first key.
        root_tails: Nodes without keys that begin a sequence.
        num_bytes: Bytes of all stores.
        num_evicted: Tokens that were evicted so far.
    """

    def __init__(self, layout: KVLayout, chunk: int, budget_bytes: int, state: TreeState) -> None:
        self.layout = layout
        self.chunk = chunk
        self.budget_bytes = budget_bytes
        self.state = state
        self.roots: dict[bytes, Node] = {}
        self.root_tails: set[Node] = set()
        self.num_bytes = 0
        self.num_evicted = 0
        self._queue: list[tuple[int, int, Node]] = []  # (last_used, serial, node), may be outdated
        self._clock = 0

    def nodes(self) -> list[Node]:
        """All nodes, each behind its parent."""
        nodes = [*self.roots.values(), *self.root_tails]
        for node in nodes:  # the list grows while it is read
            nodes.extend(node.children.values())
            nodes.extend(node.tails)
        return nodes

    def _children(self, node: Node | None) -> dict[bytes, Node]:
        return self.roots if node is None else node.children

    def walk(self, keys: list[bytes], parent: Node | None) -> tuple[Node | None, int, int]:
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
        self.touch(node)
        return node, num_found, num_tokens

    def _split(self, node: Node, num_keys: int) -> Node:
        """Put the first chunks of a run into a new parent; nothing is copied, no handle moves."""
        cut = num_keys * self.chunk
        upper = Node(node.parent, node.keys[:num_keys], node.store, node.start, cut)
        self._children(node.parent)[upper.keys[0]] = upper
        node.keys = node.keys[num_keys:]
        node.parent = upper
        node.start += cut
        node.num_tokens -= cut
        upper.children[node.keys[0]] = node
        return upper

    def add(
        self, parent: Node | None, keys: list[bytes], k: Tensor, v: Tensor, extend: bool
    ) -> Node:
        """Store new tokens in a node of their own; see `PrefixTree.insert`."""
        num_tokens = k.shape[2]
        if extend and parent is not None and parent.ends_store:
            store = parent.store
            self.make_room(store, num_tokens, keep=parent)
        else:
            # What is found by its key has the length that it has; a tail is going to grow.
            capacity = num_tokens if keys else whole_chunks(num_tokens, self.chunk)
            self._reserve(capacity * self.layout.token_bytes, keep=parent)
            store = Store(self.layout, capacity)
            self.num_bytes += store.num_bytes
        node = Node(parent, keys, store, store.used, num_tokens)
        store.write(k, v)
        if keys:
            self._children(parent)[keys[0]] = node
        else:
            (self.root_tails if parent is None else parent.tails).add(node)
        self.touch(node)
        self.state.changed()
        self._enqueue(node)
        return node

    def make_room(self, store: Store, num_tokens: int, keep: Node) -> None:
        """Let a store have room for more tokens."""
        capacity = grown(store.used + num_tokens, store.capacity, self.chunk)
        if capacity > store.capacity:
            self._reserve((capacity - store.capacity) * self.layout.token_bytes, keep)
            self._resize(store, capacity)

    def _resize(self, store: Store, capacity: int) -> None:
        self.num_bytes -= store.num_bytes
        store.resize(capacity)
        self.num_bytes += store.num_bytes
        self.state.changed()

    def _reserve(self, num_bytes: int, keep: Node | None) -> None:
        """Evict until so many bytes are free; ``keep`` and the path to it stay."""
        if self.num_bytes + num_bytes <= self.budget_bytes:
            return
        if num_bytes <= self.budget_bytes:  # else what is there would be dropped for nothing
            if keep is not None:
                keep.pins += 1
            self.evict_down_to(self.budget_bytes - num_bytes)
            if keep is not None:
                keep.pins -= 1
                self._enqueue(keep)
        if self.num_bytes + num_bytes > self.budget_bytes:
            users = sum(1 for node in self.nodes() if node.pins)
            raise CacheFullError(
                f"{num_bytes / MIB:.3g} MiB are needed, and {self.num_bytes / MIB:.3g} of "
                f"{self.budget_bytes / MIB:.3g} MiB are in use by {users} pinned nodes and open "
                "sequences: release some, or raise budget_bytes"
            )

    def evict_down_to(self, num_bytes: int) -> None:
        """Drop leaves that nobody uses, least recently used first, until so many bytes are left."""
        trimmed: set[Store] = set()
        to_come = 0  # bytes that trimming is going to free
        while self.num_bytes - to_come > num_bytes and self._queue:
            last_used, _, node = heapq.heappop(self._queue)
            node.queued = False
            if node.pins or not node.is_leaf:
                continue  # it is put back when it may be evicted again
            if last_used != node.last_used:
                self._enqueue(node)
                continue
            store = node.store
            if store in trimmed:
                trimmed.remove(store)
                to_come -= self._spare(store)
            self.num_evicted += node.num_tokens
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
            (self.root_tails if parent is None else parent.tails).discard(node)
        store.num_views -= 1
        if not store.num_views:
            self.num_bytes -= store.num_bytes
        else:
            # The nodes of a store follow each other down one path, so what is left is its start.
            assert node.ends_store
            store.used = node.start
        self.state.changed()
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

    def pin(self, node: Node) -> None:
        """Add a user."""
        node.check_alive()
        node.pins += 1
        self.touch(node)

    def unpin(self, node: Node) -> None:
        """Take a user away."""
        assert node.pins > 0
        node.pins -= 1
        self._settle(node)

    def _enqueue(self, node: Node) -> None:
        """Let a node be found by eviction; only one entry a node, so the queue stays small."""
        if node.keys and not node.queued and not node.pins and node.is_leaf:
            node.queued = True
            heapq.heappush(self._queue, (node.last_used, node.serial, node))

    def touch(self, node: Node | None) -> None:
        """A node and the path to it are used now."""
        self._clock += 1
        if node is not None:
            for above in node.ancestry():
                above.last_used = self._clock

    def clear(self) -> None:
        """Drop every node, used or not."""
        for node in self.nodes():
            node.alive = False
        self.roots.clear()
        self.root_tails.clear()
        self._queue.clear()
        self.num_bytes = 0
        self.state.changed()
