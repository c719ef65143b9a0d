"""What a model has computed of videos, kept within a budget of bytes, and read when they are asked.

It lies in a prefix tree (`bpnet.attention`), under a key made of everything that it was computed
from: a video that comes again is found again, whatever it is called. What no opened video needs any
more stays until its room is wanted.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import threading
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch

from bpnet.attention import Node, PrefixTree, TreeStats
from bpnet.attention.forest import MIB
from bpnet.data.collate import clip_seconds
from bpnet.errors import CacheFullError, ConfigError
from bpnet.inference.content import Weights, clip_keys, query_key
from bpnet.inference.encoded import as_input
from bpnet.inference.judge import EncodedQueries, Judge
from bpnet.inference.windows import Window
from bpnet.models.kept import KeptPairs
from bpnet.models.prefix_grounder import PrefixGrounder
from bpnet.models.trunk import CHUNK, KeysValues
from bpnet_features import ClipGrid

CPU_BYTES, CUDA_BYTES = 512 * MIB, 2048 * MIB  # budgets where none is given


@dataclasses.dataclass(eq=False)
class Held:
    """What is held for an opened video.

    Attributes:
        grid: Where its stored clips lie in time.
        windows: What is read at once.
        grids: Where the positions of each window lie in time.
        nodes: Where each of them ends in the tree; pinned.
        tree: The tree that those are in.
        weights: Fingerprint of the model that encoded it.
        keys: Of its last window: content keys, and ...
        tail: ... the clips behind its last whole chunk, for a video that may go on.
    """

    grid: ClipGrid
    windows: tuple[Window, ...]
    grids: tuple[ClipGrid, ...]
    nodes: list[Node]
    tree: PrefixTree
    weights: bytes
    keys: list[bytes]
    tail: npt.NDArray[np.float32]


class KeptVideos:
    """Finds what is kept of videos, or computes it.

    Several threads may use it; those that ask a network of shared prefixes do so in turn.

    Args:
        judge: The model.
        budget_bytes: The most that what is kept may take; None: 512 MiB, or 2 GiB on CUDA.

    Attributes:
        judge: The model.
        lock: Whoever changes what is held of a video has it.
    """

    def __init__(self, judge: Judge, budget_bytes: int | None = None) -> None:
        self.judge = judge
        on_cpu = judge.device.type == "cpu"
        self._budget = budget_bytes or (CPU_BYTES if on_cpu else CUDA_BYTES)
        self._tree = PrefixTree(judge.model.layout(), CHUNK, self._budget)
        self._weights = Weights(judge.model)
        self.lock = threading.RLock()
        self._left: collections.deque[Held] = collections.deque()

    @property
    def is_causal(self) -> bool:
        """Whether clips do not see those of later chunks."""
        model = self.judge.model
        return isinstance(model, PrefixGrounder) and model.causal

    @property
    def shares(self) -> bool:
        """Whether queries read a video from where it is kept, and are kept below it."""
        return isinstance(self.judge.model, PrefixGrounder)

    def current(self) -> tuple[PrefixTree, bytes]:
        """The tree for the model as it is now, and the fingerprint of its weights."""
        with self.lock:
            self.settle()
            layout = self.judge.model.layout()
            if layout != self._tree.layout:  # the model was brought to another type, or device
                self._tree = PrefixTree(layout, CHUNK, self._budget)
            return self._tree, self._weights.fingerprint()

    def pinned(
        self,
        tree: PrefixTree,
        clips: npt.NDArray[np.float32],
        seconds: npt.NDArray[np.float32],
        before: list[bytes],
        what: str,
    ) -> tuple[Node, list[bytes]]:
        """Find a window in a tree; what is not there yet of it is computed, without the lock.

        Args:
            tree: The tree.
            clips: Features of its clips, or of those behind some whole chunks (N, C).
            seconds: Where they begin and end (N, 2).
            before: Keys of those chunks, which are there.
            what: What messages call it.

        Returns:
            Where it ends, pinned, and its keys.
        """
        model = self.judge.model
        keys = before + clip_keys(
            clips,
            seconds,
            causal=self.is_causal,
            parent=before[-1] if before else None,
            layout=tree.layout,
            weights=self._weights.fingerprint(),
        )
        with contextlib.ExitStack() as done, torch.inference_mode():
            with self.lock:
                node, found = tree.match(keys)
                if node is not None:
                    tree.pin(node)
                there = found - len(before) * CHUNK  # of these clips
                assert there >= 0, "what an opened video needs is pinned"
                if node is not None and there == len(clips):
                    return node, keys
                video = as_input(model, clips[there:], seconds[there:])
                past: list[KeysValues] = []
                if node is not None:
                    done.callback(tree.unpin, node)
                    assert isinstance(model, PrefixGrounder)
                    past = model.past(node)
            k, v = model.keep(model.encode_video(*video, past))
            with self.lock:
                try:
                    last = tree.insert(node, keys[found // CHUNK :], k, v, extend=True)
                except CacheFullError as err:
                    needed, pinned = k.shape[2] * tree.layout.token_bytes, tree.stats().pinned_bytes
                    raise CacheFullError(
                        f"{what}: {needed / MIB:.3g} MiB are needed, and opened videos hold "
                        f"{pinned / MIB:.3g} of {self._budget / MIB:.3g} MiB: close some, or raise "
                        "budget_bytes"
                    ) from err
                tree.pin(last)
        return last, keys

    def let_go(self, held: Held) -> None:
        """Need no longer what was held of a video; takes no lock, as finalisers run anywhere."""
        self._left.append(held)

    def settle(self) -> None:
        """Unpin what was let go."""
        with self.lock:
            while self._left:
                held = self._left.popleft()
                for node in held.nodes:
                    if node.alive:  # else what is kept was cleared
                        held.tree.unpin(node)

    def clear(self) -> None:
        """Drop all that is kept."""
        with self.lock:
            self._left.clear()
            self._tree.clear()

    def stats(self) -> TreeStats:
        """What is kept, and how often it was found again; tokens are clips and words."""
        with self.lock:
            self.settle()
            return self._tree.stats()

    def check(self, held: Held) -> None:
        """Make sure that what is held of a video may be read.

        Args:
            held: What is held of it.

        Raises:
            ConfigError: The weights have changed, or all was dropped, since it was opened.
        """
        if held.weights != self._weights.fingerprint():
            raise ConfigError(
                "the model's weights have changed since the video was opened: open it again"
            )
        if not all(node.alive for node in held.nodes):
            raise ConfigError("the session was cleared since the video was opened: open it again")

    @contextlib.contextmanager
    def asking(self, held: Held) -> Iterator[Judge]:
        """Make sure of a video before its pairs are judged; to be left before it is let go.

        Args:
            held: What is held of it.

        Yields:
            The model.

        Raises:
            ConfigError: The weights have changed, or all was dropped, since it was opened.
        """
        with self.lock:
            self.check(held)
        # Plain videos are only read, and may be by several threads; shared prefixes grow.
        turn = self.lock if self.shares else contextlib.nullcontext()
        with turn, torch.inference_mode():
            yield self.judge

    def pairs(
        self, held: Held, queries: EncodedQueries, which: Sequence[int], windows: Sequence[int]
    ) -> KeptPairs:
        """Pairs of a query and a window of a video.

        Args:
            held: The video.
            queries: Encoded queries.
            which: The query of each pair.
            windows: The window of each pair.

        Returns:
            The pairs.
        """
        weight = self.judge.model.encoder.video_projection.weight
        seconds = np.stack([clip_seconds(grid) for grid in held.grids])
        keys = [query_key(one, held.tree.layout, held.weights) for one in queries.samples]
        return KeptPairs(
            held.tree,
            [held.nodes[place] for place in windows],
            torch.from_numpy(seconds).to(weight)[list(windows)],
            [keys[query] for query in which],
        )
