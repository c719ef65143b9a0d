"""Which samples stand together in a batch, epoch by epoch."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Sampler

POOL_BATCHES = 32  # batches whose groups are sorted by length together


class EpochBatches(Sampler[list[int]]):
    """Batches of one epoch in an order that depends on the seed and the epoch only.

    Args:
        videos: The video of each sample.
        batch_size: Samples a batch; the last one may be smaller.
        seed: Seed of the run.
        queries_per_video: Samples about one video that stand side by side, so that it is read and
            encoded once for them; 1: all samples are shuffled. Every sample is in one batch of
            every epoch either way.
        lengths: A number that grows with the length of each sample's video, such as its duration:
            batches are made of videos of similar lengths, which leaves less to pad. Of
            `POOL_BATCHES` batches that chance brought together, the samples are sorted by it, and
            the batches shuffled again. None: chance alone.

    Attributes:
        videos: Number of the video of each sample: equal where the videos are.
    """

    def __init__(
        self,
        videos: Sequence[Hashable],
        batch_size: int,
        seed: int,
        queries_per_video: int = 1,
        lengths: Sequence[float] | None = None,
    ) -> None:
        numbers: dict[Hashable, int] = {}
        self.videos = np.array([numbers.setdefault(video, len(numbers)) for video in videos])
        self._lengths = None if lengths is None else np.asarray(lengths, dtype=np.float64)
        self.batch_size = batch_size
        self.seed = seed
        self.queries_per_video = queries_per_video
        self.epoch, self.first = 0, 0

    def begin(self, epoch: int, first: int) -> None:
        """Choose the epoch, and the batch of it to begin with."""
        self.epoch, self.first = epoch, first

    def __len__(self) -> int:
        return -(-len(self.videos) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        # Python's tuple hash is stable for integers; any fixed mixing of the two would do.
        generator = torch.Generator().manual_seed(hash((self.seed, self.epoch)) % 2**63)
        order = torch.randperm(len(self.videos), generator=generator).numpy()
        if self.queries_per_video > 1:
            groups = self._groups(order)
            shuffled = torch.randperm(int(groups.max()) + 1, generator=generator).numpy()
            # Where each group comes to stand; its samples keep their order.
            order = order[np.argsort(np.argsort(shuffled)[groups], kind="stable")]
        places = np.arange(len(self))
        if self._lengths is not None:
            order = self._sorted_in_pools(order, self._lengths)
            full = len(order) // self.batch_size  # a smaller one stays the last
            places[:full] = torch.randperm(full, generator=generator).numpy()
        for place in places[self.first :]:
            yield order[place * self.batch_size : (place + 1) * self.batch_size].tolist()

    def _groups(self, order: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Number of the group of each sample of ``order``: a few that are about the same video.

        The groups are numbered as their first samples come.
        """
        videos = self.videos[order]
        by_video = np.argsort(videos, kind="stable")
        firsts = np.flatnonzero(np.diff(videos[by_video], prepend=-1))
        counts = np.diff(firsts, append=len(order))
        rank = np.arange(len(order)) - np.repeat(firsts, counts)  # among those of its video
        begins = by_video[np.arange(len(order)) - rank % self.queries_per_video]
        found = np.empty(len(order), dtype=np.int64)
        found[by_video] = np.searchsorted(np.unique(begins), begins)
        return found

    def _sorted_in_pools(
        self, order: npt.NDArray[np.int64], lengths: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.int64]:
        """Sort the samples of some batches by length; equals, as of one video, keep their order."""
        pools = np.arange(len(order)) // (POOL_BATCHES * self.batch_size)
        sorted_in_pools: npt.NDArray[np.int64] = order[np.lexsort((lengths[order], pools))]
        return sorted_in_pools
