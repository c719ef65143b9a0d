"""Each batch cut into one shard a process, by video where that is even enough."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Hashable, Iterator, Sequence

from torch.utils.data import Sampler

from bpnet.ranks import Ranks
from bpnet.training.batches import EpochBatches

SLACK = 8  # a cut moves to a change of video that is at most the eighth part of a share away


@dataclasses.dataclass(frozen=True)
class Shard:
    """A process's part of a batch.

    Neighbours about one video are a run. What couples the pairs of a batch (``contrast`` and
    ``mismatch``) needs to know of the other shards what stands here.

    Attributes:
        samples: Its samples; none where the batch has fewer than there are processes.
        lender: A further sample. It lends its sentence to the last video, which is asked for a
            sentence of the next other video of the whole batch, and is not trained on.
        runs: The run of each of its samples, numbered through the whole batch.
        continued: Whether its first run begins on the process before.
        sizes: Numbers of samples of all processes.
    """

    samples: tuple[int, ...]
    lender: int
    runs: tuple[int, ...]
    continued: bool
    sizes: tuple[int, ...]


def shard(batch: Sequence[int], videos: Sequence[Hashable], rank: int, size: int) -> Shard:
    """A process's part of a batch.

    Args:
        batch: Samples.
        videos: The video of every sample of the dataset.
        rank: Number of the process.
        size: Number of processes.

    Returns:
        Together the shards are the batch, in order.
    """
    runs = [0]
    for before, after in itertools.pairwise(batch):
        runs.append(runs[-1] + (videos[before] != videos[after]))
    edges = [_edge(runs, place, size) for place in range(size + 1)]
    start, end = edges[rank], edges[rank + 1]
    last = batch[end - 1] if end > start else batch[0]
    following = [*batch[end:], *batch[:end]]
    return Shard(
        samples=tuple(batch[start:end]),
        lender=next((one for one in following if videos[one] != videos[last]), last),
        runs=tuple(runs[start:end]),
        continued=0 < start < end and runs[start - 1] == runs[start],
        sizes=tuple(edges[place + 1] - edges[place] for place in range(size)),
    )


def _edge(runs: Sequence[int], place: int, size: int) -> int:
    """Where shard number ``place`` of a batch begins."""
    even, slack = len(runs) * place // size, len(runs) // (SLACK * size)
    if place in (0, size):
        return even
    for away in range(slack + 1):
        for edge in (even - away, even + away):
            if 0 < edge < len(runs) and runs[edge - 1] != runs[edge]:
                return edge
    return even


class ShardedBatches(Sampler[list[int]]):
    """The part of one process of the batches of an epoch.

    Args:
        batches: The whole batches.
        ranks: Who the process is.
    """

    def __init__(self, batches: EpochBatches, ranks: Ranks) -> None:
        self.batches = batches
        self.ranks = ranks
        self.videos = batches.videos.tolist()

    def __len__(self) -> int:
        return len(self.batches)

    def shards(self) -> Iterator[Shard]:
        """The shards of the epoch that was begun, in step with the batches that are loaded."""
        for batch in self.batches:
            yield shard(batch, self.videos, self.ranks.rank, self.ranks.size)

    def __iter__(self) -> Iterator[list[int]]:
        for one in self.shards():
            yield [*one.samples, one.lender]
