"""VideoSession: videos are opened, asked, extended and closed within a budget of bytes."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bpnet.attention import Node, TreeStats
from bpnet.data.collate import clip_seconds
from bpnet.errors import ConfigError
from bpnet.inference.encoded import Reading
from bpnet.inference.judge import Judge, Query, check_several
from bpnet.inference.kept_videos import Held, KeptVideos
from bpnet.inference.opened import OpenedVideo, Progress
from bpnet.inference.windows import cut
from bpnet.models.trunk import CHUNK
from bpnet.types import Moment
from bpnet_features import ClipGrid


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
    """

    def __init__(self, judge: Judge, reading: Reading, budget_bytes: int | None = None) -> None:
        self.judge = judge
        self.reading = reading
        self._kept = KeptVideos(judge, budget_bytes)

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
        tree, weights = self._kept.current()
        nodes: list[Node] = []
        with contextlib.ExitStack() as failed:
            for piece in pieces:
                seconds = clip_seconds(piece.grid)
                node, keys = self._kept.pinned(tree, piece.clips, seconds, [], what)
                failed.callback(tree.unpin, node)
                nodes.append(node)
            failed.pop_all()
        windows = tuple(piece.window for piece in pieces)
        grids = tuple(piece.grid for piece in pieces)
        tail = self._tail(pieces[-1].clips)
        held = Held(grid, windows, grids, nodes, tree, weights, keys, tail)
        return OpenedVideo(self._kept, held, name, file)

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
        if not self._kept.is_causal:
            raise ConfigError(
                "extend(): the model's clips see the whole video, so that all that is kept of it "
                "would change; open the longer video instead, or train model=bpnet_prefix with "
                "model.video_attention=chunk_causal"
            )
        with self._kept.lock:
            held = video.held
            self._kept.check(held)
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
            node, keys = self._kept.pinned(held.tree, last, seconds, held.keys[:done], "extend()")
            held.tree.unpin(held.nodes[0])
            held.grid, held.grids = whole, (whole,)
            held.windows = tuple(cut(whole, whole.num_clips))
            held.nodes, held.keys, held.tail = [node], keys, self._tail(last)

    def close(self, video: OpenedVideo) -> None:
        """Let a video go. What is kept of it stays until its room is needed.

        Args:
            video: A video of this session; closing it again changes nothing.
        """
        video.close()
        self._kept.settle()

    def clear(self) -> None:
        """Drop all that is kept; opened videos have to be opened again."""
        self._kept.clear()

    def stats(self) -> TreeStats:
        """What is kept, and how often it was found again; tokens are clips and words."""
        return self._kept.stats()

    def _tail(self, clips: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The clips behind the last whole chunk, of a video that may go on."""
        first = len(clips) // CHUNK * CHUNK if self._kept.is_causal else len(clips)
        return clips[first:].copy()  # not a view, which would keep the others


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
