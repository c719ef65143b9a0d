"""A prefix tree beside a plain account of what it must hold; random operations on both."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter

import torch

from bpnet.attention import KVLayout, Node, PrefixTree, Sequence
from bpnet.errors import CacheFullError

CHUNK = 4
LAYOUT = KVLayout(1, 1, 1, torch.float64)


def token_values(key: bytes, count: int) -> list[float]:
    """Numbers that stand for the tokens of a piece, distinct for every key and place."""
    begin = int.from_bytes(key[:5], "little") * 1024
    return [float(begin + place) for place in range(count)]


def stored_values(node: Node | None) -> list[float]:
    """What the tree holds from the root to a node; values must be the negated keys."""
    if node is None:
        return []
    views = [above.view() for above in node.ancestry()][::-1]
    data = torch.cat(views, dim=3)[0, :, 0, :, 0]
    assert torch.equal(data[0], -data[1])
    return data[0].tolist()


class TreeModel:
    """Operations, each with what it must do. Arguments are any integers >= 0.

    Attributes:
        tree: The tree.
        nodes: Nodes that were returned, with the values up to their end and our pins; those that
            nobody pinned may be evicted.
        sequences: Open sequences with their values.
    """

    def __init__(self, budget_tokens: int) -> None:
        self.tree = PrefixTree(LAYOUT, chunk=CHUNK, budget_bytes=budget_tokens * LAYOUT.token_bytes)
        self.nodes: dict[Node, list[float]] = {}
        self.pins: Counter[Node] = Counter()
        self.sequences: dict[Sequence, list[float]] = {}
        self.num_full = 0
        self._fresh = 0

    def _pick(self, choice: int) -> Node | None:
        alive = [node for node in self.nodes if node.alive]
        kept = {*alive[-40:], *self.pins}  # older ones are forgotten, as by a caller
        self.nodes = {node: self.nodes[node] for node in alive if node in kept}
        choice %= len(self.nodes) + 1
        return None if choice == len(self.nodes) else list(self.nodes)[choice]

    def insert(self, where: int, labels: int, length: int, whole: bool, extend: bool) -> None:
        parent = self._pick(where)
        num_tokens = 1 + length % (3 * CHUNK)
        num_keys = 1 if whole else -(-num_tokens // CHUNK)
        values: list[float] = []
        keys: list[bytes] = []
        key = b"" if parent is None else parent.keys[-1]
        for place in range(num_keys):
            count = num_tokens if whole else min(CHUNK, num_tokens - place * CHUNK)
            label = (labels >> place) & 1
            key = hashlib.blake2b(key + bytes([label, count]), digest_size=16).digest()
            keys.append(key)
            values += token_values(key, count)
        k = torch.tensor(values, dtype=torch.float64)[None, None, :, None]
        version = self.tree.version
        matched, found = self.tree.match(keys, parent)
        assert self.tree.version == version  # nothing was moved
        before = [] if parent is None else self.nodes[parent]
        if labels & 8:  # reading takes longer than the operations do
            assert stored_values(matched) == before + values[:found]
        try:
            node = self.tree.insert(parent, keys, k, -k, extend=extend)
        except CacheFullError:
            self._was_full(parent if found == 0 else matched)
            return
        assert (self.tree.version == version) == (found == num_tokens)
        self.nodes[node] = before + values

    def join(self, where: int) -> None:
        node = self._pick(where)
        self.sequences[self.tree.join(node)] = [] if node is None else list(self.nodes[node])

    def append(self, which: int, length: int) -> None:
        if not self.sequences:
            return
        sequence = list(self.sequences)[which % len(self.sequences)]
        values = [float(-1 - self._fresh - place) for place in range(1 + length % 6)]
        self._fresh += len(values)
        k = torch.tensor(values, dtype=torch.float64)[None, None, :, None]
        try:
            self.tree.append(sequence, k, -k)
        except CacheFullError:
            self._was_full(sequence.node)
            return
        self.sequences[sequence] = self.sequences[sequence] + values

    def fork(self, which: int) -> None:
        if self.sequences:
            sequence = list(self.sequences)[which % len(self.sequences)]
            self.sequences[self.tree.fork(sequence)] = self.sequences[sequence]

    def release(self, which: int) -> None:
        if self.sequences:
            sequence = list(self.sequences)[which % len(self.sequences)]
            del self.sequences[sequence]
            self.tree.release(sequence)

    def pin(self, where: int) -> None:
        node = self._pick(where)
        if node is not None:
            self.tree.pin(node)
            self.pins[node] += 1

    def unpin(self, which: int) -> None:
        if self.pins:
            node = list(self.pins)[which % len(self.pins)]
            self.tree.unpin(node)
            self.pins[node] -= 1
            if not self.pins[node]:
                del self.pins[node]

    def evict(self, num_tokens: int) -> None:
        before = self.tree._forest.num_bytes
        asked = num_tokens % 64 * LAYOUT.token_bytes
        freed = self.tree.evict(asked)
        assert freed == before - self.tree._forest.num_bytes
        if freed < asked:  # all that is left is in use
            assert not [node for node in all_nodes(self.tree) if node.is_leaf and not node.pins]

    def clear(self) -> None:
        self.tree.clear()
        assert self.tree.stats().bytes == self.tree.stats().num_nodes == 0
        assert not any(node.alive for node in self.nodes)
        assert not any(sequence.is_open for sequence in self.sequences)
        self.nodes.clear()
        self.pins.clear()
        self.sequences.clear()

    def plan(self, choices: int) -> None:
        """Covers are ranges, and what each sequence sees is what it holds."""
        items: list[Sequence | Node | None] = []
        expected: list[list[float]] = []
        everything: list[tuple[Sequence | Node, list[float]]] = list(self.sequences.items())
        everything += [(node, values) for node, values in self.nodes.items() if node.alive]
        for place, (item, values) in enumerate(everything[:12]):
            for _ in range((choices >> 2 * place) & 3):
                items.append(item)
                expected.append(values)
        if not items:
            return
        plan = self.tree.plan(items)
        assert self.tree.plan(items) is plan
        assert sorted(plan.order) == list(range(len(items)))
        seen: list[list[float]] = [[] for _ in items]
        for segment in plan.segments:
            assert 0 <= segment.first < segment.last <= len(items)
            for place in range(segment.first, segment.last):
                seen[plan.order[place]] += segment.data[0, 0, 0, :, 0].tolist()
        assert seen == expected

    def _was_full(self, keep: Node | None) -> None:
        """Only what is in use was left, or the request was larger than the whole budget."""
        self.num_full += 1
        stats = self.tree.stats()
        free = [n for n in all_nodes(self.tree) if n.is_leaf and not n.pins and n is not keep]
        assert not free or stats.bytes < stats.budget_bytes

    def check(self) -> None:
        """All that must hold at any time."""
        nodes = all_nodes(self.tree)
        stats = self.tree.stats()
        stores = {node.store for node in nodes}
        assert stats.bytes == sum(store.data.nbytes for store in stores) <= stats.budget_bytes
        assert stats.num_nodes == len(nodes)
        assert stats.num_tokens == sum(node.num_tokens for node in nodes)
        views = Counter(node.store for node in nodes)
        for store in stores:
            assert store.num_views == views[store]
            inside = sorted((n for n in nodes if n.store is store), key=lambda n: n.start)
            assert inside[0].start == 0
            assert inside[-1].end == store.used <= store.capacity
            for upper, lower in itertools.pairwise(inside):
                assert lower.parent is upper
                assert lower.start == upper.end
        users = Counter(s.node for s in self.sequences if s.node is not None)
        for node in nodes:
            assert node.alive
            assert node.num_tokens >= 1
            assert node.pins == users[node] + self.pins[node]
            assert node.keys or not node.is_leaf or node.pins  # nobody's tail is gone
            assert node.keys or not node.children
        # Room for growth: a quarter and a chunk a store, once it has grown.
        used = sum(store.used for store in stores)
        room = sum(max(CHUNK, store.used // 4 + CHUNK) for store in stores)
        assert stats.bytes <= (used + room) * LAYOUT.token_bytes
        for pinned in self.pins:
            assert pinned.alive
        for node, values in self.nodes.items():
            if node.alive:
                assert stored_values(node) == values
        for sequence, values in self.sequences.items():
            assert stored_values(sequence.node) == values
            assert sequence.num_tokens == len(values)


def all_nodes(tree: PrefixTree) -> list[Node]:
    """Every node, found through its parent's tables."""
    nodes = [*tree._forest.roots.values(), *tree._forest.root_tails]
    for node in nodes:
        for child in [*node.children.values(), *node.tails]:
            assert child.parent is node
            nodes.append(child)
        for key, child in node.children.items():
            assert child.keys[0] == key
    return nodes
