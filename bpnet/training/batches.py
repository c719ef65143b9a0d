"""Which samples stand together in a batch, epoch by epoch."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

import torch
from torch.utils.data import Sampler


class EpochBatches(Sampler[list[int]]):
    """Batches of one epoch in an order that depends on the seed and the epoch only.

    Args:
        videos: The video of each sample.
        batch_size: Samples a batch; the last one may be smaller.
        seed: Seed of the run.
        queries_per_video: Samples about one video that stand side by side, so that it is read and
            encoded once for them; 1: all samples are shuffled. Every sample is in one batch of
            every epoch either way.
    """

    def __init__(
        self, videos: Sequence[Hashable], batch_size: int, seed: int, queries_per_video: int = 1
    ) -> None:
        self.videos = videos
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
        order = torch.randperm(len(self.videos), generator=generator).tolist()
        if self.queries_per_video > 1:
            groups = self._groups(order)
            shuffled = torch.randperm(len(groups), generator=generator).tolist()
            order = [sample for place in shuffled for sample in groups[place]]
        for batch in range(self.first, len(self)):
            yield order[batch * self.batch_size : (batch + 1) * self.batch_size]

    def _groups(self, order: Sequence[int]) -> list[list[int]]:
        """Samples about the same video, a few at a time."""
        open_groups: dict[Hashable, list[int]] = {}
        groups = []
        for sample in order:
            group = open_groups.get(self.videos[sample])
            if group is None or len(group) == self.queries_per_video:
                group = open_groups[self.videos[sample]] = []
                groups.append(group)
            group.append(sample)
        return groups
