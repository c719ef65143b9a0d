"""A node of the prefix tree, a run of tokens in a store; and a sequence, which ends at a node."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from bpnet.attention.cache import Store
from bpnet.errors import AttentionError

_serial = itertools.count()


class Node:
    """A run of tokens that are used together; the path from the root to it is a sequence.

    Made by a `PrefixTree` only. It stays valid, and stands for the same tokens, until it is
    evicted or the tree is cleared; splitting it for another sequence puts its first part into a
    new parent.

    Args:
        parent: See the attributes.
        keys: See the attributes.
        store: See the attributes.
        start: See the attributes.
        num_tokens: See the attributes.

    Attributes:
        parent: The node before it; None at a root.
        keys: A content key for each of its pieces: one for all tokens, or one a chunk. Empty for
            the private tail of a sequence, which cannot be found by others.
        store: Where its tokens lie.
        start: Its first token in the store.
        num_tokens: Its tokens, >= 1.
        children: Nodes below it that have keys, by their first key.
        tails: Nodes below it that have none.
        pins: Sequences and open handles that end here; a node with any is not evicted.
        last_used: Time of the tree's clock at which it was last used.
        alive: Whether it is still in the tree.
        queued: Whether it stands in the tree's queue for eviction.
        serial: Distinct for each node.
    """

    __slots__ = (
        "alive",
        "children",
        "keys",
        "last_used",
        "num_tokens",
        "parent",
        "pins",
        "queued",
        "serial",
        "start",
        "store",
        "tails",
    )

    def __init__(
        self, parent: Node | None, keys: list[bytes], store: Store, start: int, num_tokens: int
    ) -> None:
        self.parent = parent
        self.keys = keys
        self.store = store
        self.start = start
        self.num_tokens = num_tokens
        self.children: dict[bytes, Node] = {}
        self.tails: set[Node] = set()
        self.pins = 0
        self.last_used = 0
        self.alive = True
        self.queued = False
        self.serial = next(_serial)
        store.num_views += 1

    @property
    def is_leaf(self) -> bool:
        """Whether nothing hangs below it."""
        return not self.children and not self.tails

    @property
    def end(self) -> int:
        """The token behind its last one in the store."""
        return self.start + self.num_tokens

    @property
    def ends_store(self) -> bool:
        """Whether its last token is the last used one of its store."""
        return self.end == self.store.used

    @property
    def path_tokens(self) -> int:
        """Tokens from the root to its end."""
        return sum(node.num_tokens for node in self.ancestry())

    def ancestry(self) -> Iterator[Node]:
        """The node itself, its parent, and so on up to the root."""
        node: Node | None = self
        while node is not None:
            yield node
            node = node.parent

    def view(self) -> Tensor:
        """Its keys and values (num_layers, 2, num_kv_heads, N, head_dim), not copied."""
        return self.store.data[:, :, :, self.start : self.end]

    def path_view(self) -> Tensor:
        """Keys and values of all tokens from the root to its end; a copy unless it is a root."""
        if self.parent is None:
            return self.view()
        return torch.cat([node.view() for node in reversed(list(self.ancestry()))], dim=3)

    def check_alive(self) -> None:
        """Raise `AttentionError` if the node is no longer in its tree."""
        if not self.alive:
            raise AttentionError(
                f"a node of {self.num_tokens} tokens is no longer in the tree (evicted, or "
                "cleared): pin nodes that are kept, and look others up again with match()"
            )


class Sequence:
    """A user's place in the tree: the tokens from the root to its node. Made by `PrefixTree.join`.

    Its node is kept while the sequence is open. Appending moves it on.

    Args:
        node: Where it begins.

    Attributes:
        node: Where it ends; None while it has no tokens.
        is_open: False once it was released, or the tree cleared.
    """

    __slots__ = ("is_open", "node")

    def __init__(self, node: Node | None) -> None:
        self.node = node
        self.is_open = True

    @property
    def num_tokens(self) -> int:
        """Its tokens."""
        return 0 if self.node is None else self.node.path_tokens

    def check_open(self) -> None:
        """Raise `AttentionError` if the sequence was released."""
        if not self.is_open:
            raise AttentionError(
                "the sequence was released, or its tree cleared: join() or fork() another"
            )
