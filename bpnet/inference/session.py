"""VideoSession: videos that a model has encoded, kept within a budget of bytes, asked many times.

What is kept of a video lies in a prefix tree (`bpnet.attention`), under a key made of everything
that it was computed from: a video that is opened again is found again, whatever it is called. What
no opened video needs any more stays until its room is wanted.
"""

from __future__ import annotations

import collections
import contextlib
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from bpnet.attention import Node, PrefixTree, TreeStats
from bpnet.attention.forest import MIB
from bpnet.data.collate import clip_seconds
from bpnet.errors import CacheFullError, ConfigError
from bpnet.inference.content import Weights, clip_keys, query_key
from bpnet.inference.encoded import Reading, as_input
from bpnet.inference.judge import EncodedQueries, Judge, Query, check_several
from bpnet.inference.opened import Held, OpenedVideo, Progress
from bpnet.inference.windows import cut
from bpnet.models.grounder import Grounder
from bpnet.models.kept import KeptPairs
from bpnet.models.prefix_grounder import PrefixGrounder
from bpnet.models.trunk import CHUNK, KeysValues
from bpnet.types import Moment
from bpnet_features import ClipGrid

CPU_BYTES, CUDA_BYTES = 512 * MIB, 2048 * MIB  # budgets where none is given


class VideoSession:
    """Opens videos, and answers queries about them.

    Several threads may use one; those that ask a network of shared prefixes do so in turn.

    Args:
        judge: The model.
        reading: How it reads videos.
        budget_bytes: The most that what is kept may take; None: 512 MiB, or 2 GiB on CUDA.

    Attributes:
        judge: The model.
        reading: How it reads videos.
        left: What was let go: a finaliser runs anywhere, and must take no lock.
    """

    def __init__(self, judge: Judge, reading: Reading, budget_bytes: int | None = None) -> None:
        self.judge = judge
        self.reading = reading
        on_cpu = judge.device.type == "cpu"
        self._budget = budget_bytes or (CPU_BYTES if on_cpu else CUDA_BYTES)
        self._tree = PrefixTree(judge.model.layout(), CHUNK, self._budget)
        self._weights = Weights(judge.model)
        self._lock = threading.RLock()
        self.left: collections.deque[Held] = collections.deque()

    def open(
        self,
        clips: npt.NDArray[np.floating],
        grid: ClipGrid,
        what: str = "the array",
        *,
        name: str = "video",
        file: Path | None = None,
    ) -> OpenedVideo:
        """Encode a video, or find it again.

        Args:
            clips: Features (T, C), as stored.
            grid: Where they lie in time.
            what: What messages call them.
            name: What reports call the video.
            file: The video file, where they were extracted from one.

        Returns:
            The opened video. It is kept until it is closed, or nobody refers to it any more.

        Raises:
            CheckpointError: The features are not what the checkpoint reads.
            CacheFullError: What other opened videos need leaves no room.
        """
        pieces = self.reading.pieces(clips, grid, what)
        with self._lock:
            self._settle()
            layout = self.judge.model.layout()
            if layout != self._tree.layout:  # the model was brought to another type, or device
                self._tree = PrefixTree(layout, CHUNK, self._budget)
            tree, weights = self._tree, self._weights.fingerprint()
        nodes: list[Node] = []
        with contextlib.ExitStack() as failed:
            for piece in pieces:
                seconds = clip_seconds(piece.grid)
                node, keys = self._pinned(tree, piece.clips, seconds, [], what)
                failed.callback(tree.unpin, node)
                nodes.append(node)
            failed.pop_all()
        windows = tuple(piece.window for piece in pieces)
        grids = tuple(piece.grid for piece in pieces)
        tail = self._tail(pieces[-1].clips)
        held = Held(grid, windows, grids, nodes, tree, weights, keys, tail)
        return OpenedVideo(self, held, name, file)

    def ground(
        self,
        video: OpenedVideo,
        queries: Sequence[Query],
        top: int = 5,
        min_score: float = 0.0,
        progress: Progress | None = None,
    ) -> list[list[Moment]]:
        """Find what sentences describe; `OpenedVideo.localize` of several sentences."""
        check_several(queries)
        return video.localize(list(queries), top, min_score, progress)

    def extend(self, video: OpenedVideo, clips: npt.NDArray[np.floating], grid: ClipGrid) -> None:
        """Let a video go on: what is kept of its whole chunks of 64 clips is not computed again.

        Args:
            video: A video of this session.
            clips: The clips that follow (N, C).
            grid: Where they lie in the time of the whole video; they begin where the others end.

        Raises:
            ConfigError: The model's clips see what comes after them, the video is closed, the grids
                do not join, or the video would have more clips than the model has positions.
            CheckpointError: The features are not what the checkpoint reads.
            CacheFullError: What other opened videos need leaves no room.
        """
        if not _is_causal(self.judge.model):
            raise ConfigError(
                "extend(): the model's clips see the whole video, so that all that is kept of it "
                "would change; open the longer video instead, or train model=bpnet_prefix with "
                "model.video_attention=chunk_causal"
            )
        with self._lock:
            held = video.held
            self._check(held)
            whole = _joined(held.grid, grid)
            if whole.num_clips > self.reading.max_clips:
                raise ConfigError(
                    f"extend(): {whole.num_clips} clips: expected at most the model's "
                    f"{self.reading.max_clips} positions (data.max_clips); open the clips that "
                    "follow as another video"
                )
            new = self.reading.pieces(clips, grid, "extend()")[0].clips
            done = held.grid.num_clips // CHUNK
            last = np.concatenate([held.tail, new])
            seconds = clip_seconds(whole)[done * CHUNK :]
            node, keys = self._pinned(held.tree, last, seconds, held.keys[:done], "extend()")
            held.tree.unpin(held.nodes[0])
            held.grid, held.grids = whole, (whole,)
            held.windows = tuple(cut(whole, whole.num_clips))
            held.nodes, held.keys, held.tail = [node], keys, self._tail(last)

    def close(self, video: OpenedVideo) -> None:
        """Let a video go. What is kept of it stays until its room is needed.

        Args:
            video: A video of this session; closing it again changes nothing.
        """
        with self._lock:
            video.close()
            self._settle()

    def clear(self) -> None:
        """Drop all that is kept; opened videos have to be opened again."""
        with self._lock:
            self.left.clear()
            self._tree.clear()

    @property
    def shares(self) -> bool:
        """Whether queries read a video from where it is kept, and are kept below it."""
        return isinstance(self.judge.model, PrefixGrounder)

    def stats(self) -> TreeStats:
        """What is kept, and how often it was found again; tokens are clips and words."""
        with self._lock:
            self._settle()
            return self._tree.stats()

    @contextlib.contextmanager
    def asking(self, held: Held) -> Iterator[Judge]:
        """Make sure of a video before its pairs are judged; to be left before it is let go.

        Args:
            held: What is held of it.

        Yields:
            The model.

        Raises:
            ConfigError: The weights have changed, or the session was cleared, since it was opened.
        """
        with self._lock:
            self._check(held)
        # Plain videos are only read, and may be by several threads; shared prefixes grow.
        turn = self._lock if self.shares else contextlib.nullcontext()
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

    def _pinned(
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
            causal=_is_causal(model),
            parent=before[-1] if before else None,
            layout=tree.layout,
            weights=self._weights.fingerprint(),
        )
        with contextlib.ExitStack() as done, torch.inference_mode():
            with self._lock:
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
            with self._lock:
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

    def _tail(self, clips: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The clips behind the last whole chunk, of a video that may go on."""
        first = len(clips) // CHUNK * CHUNK if _is_causal(self.judge.model) else len(clips)
        return clips[first:].copy()  # not a view, which would keep the others

    def _check(self, held: Held) -> None:
        """Make sure that what is held of a video may be read."""
        if held.weights != self._weights.fingerprint():
            raise ConfigError(
                "the model's weights have changed since the video was opened: open it again"
            )
        if not all(node.alive for node in held.nodes):
            raise ConfigError("the session was cleared since the video was opened: open it again")

    def _settle(self) -> None:
        """Unpin what was let go."""
        while self.left:
            held = self.left.popleft()
            for node in held.nodes:
                if node.alive:  # else what is kept was cleared
                    held.tree.unpin(node)


def _is_causal(model: Grounder) -> bool:
    """Whether clips do not see those of later chunks."""
    return isinstance(model, PrefixGrounder) and model.causal


def _joined(before: ClipGrid, after: ClipGrid) -> ClipGrid:
    """One grid from that of a video and that of the clips that follow."""
    end, start = before.edges_seconds[-1], after.edges_seconds[0]
    if abs(end - start) > 1e-6 * max(1.0, end):
        raise ConfigError(
            f"extend(): the clips begin at {start:g} s, and the video ends at {end:g} s: expected "
            "clips that follow without a gap, in the time of the whole video"
        )
    edges = np.concatenate([before.edges_seconds, after.edges_seconds[1:]])
    return ClipGrid(edges, after.duration_seconds)
