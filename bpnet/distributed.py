"""What differs under torchrun: the group of processes, and what they tell each other.

One process takes none of these ways: every function gives its argument back.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from bpnet.errors import BPNetError
from bpnet.ranks import Ranks

# How long a process waits for another one before it gives up: longer than the first download and
# parsing of word vectors, which the first process does while the others wait.
PATIENCE = datetime.timedelta(minutes=30)

Value = TypeVar("Value")


@contextlib.contextmanager
def process_group(ranks: Ranks, patience: datetime.timedelta = PATIENCE) -> Iterator[None]:
    """Join the other processes, and leave them at the end.

    Args:
        ranks: Who this process is; alone, nothing is joined.
        patience: How long to wait for the others, each time.

    Yields:
        None: While they work together: gloo on a CPU, NCCL on CUDA.

    Raises:
        BPNetError: Another process has ended, or was not heard of for as long as ``patience``.
    """
    if ranks.size == 1:
        yield
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        dist.init_process_group(backend, rank=ranks.rank, world_size=ranks.size, timeout=patience)
        yield
    except (dist.DistError, RuntimeError, ValueError) as err:
        if isinstance(err, BPNetError) or not _is_of_the_group(err):
            raise
        raise BPNetError(
            f"process {ranks.rank} of {ranks.size}: another process has ended, or was not heard of "
            f"for {patience.total_seconds():.0f} s ({' '.join(str(err).split())[:300]}): its own "
            "message says why; `resume=auto` goes on from the last saved step"
        ) from err
    dist.destroy_process_group()


def _is_of_the_group(err: Exception) -> bool:
    """Whether an error is of the connection; gloo's are plain errors with telling messages."""
    text = str(err).lower()
    signs = ("gloo", "nccl", "connection", "timed out", "timeout", "socket", "tcpstore", "rendezv")
    return isinstance(err, dist.DistError) or any(sign in text for sign in signs)


def share_threads(ranks: Ranks) -> None:
    """Give each process its share of the cores, unless ``OMP_NUM_THREADS`` says how many.

    ``torchrun`` itself sets ``OMP_NUM_THREADS=1`` where it is not set. To be called once: each call
    divides what the process has.

    Args:
        ranks: Who this process is.
    """
    if ranks.size > 1 and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // ranks.local_size))


def synchronised(model: nn.Module, ranks: Ranks) -> nn.Module:
    """A module whose gradients are those of all processes, averaged while they are computed.

    Args:
        model: The network, on its device.
        ranks: Who this process is.

    Returns:
        It in torch's ``DistributedDataParallel``; alone, itself.
    """
    if ranks.size == 1:
        return model
    # Every weight gets a gradient in every step, so no time is spent on finding those that do not.
    wrapped = DistributedDataParallel(model, gradient_as_bucket_view=True)
    # The only buffers are given word vectors, and they never change. torch 2.13 wants the argument
    # under another name than the versions before it; the attribute is the same.
    wrapped.broadcast_buffers = False
    return wrapped


@contextlib.contextmanager
def first_alone(ranks: Ranks) -> Iterator[None]:
    """The first process does this before the others, who then find it done (a download).

    Args:
        ranks: Who this process is.

    Yields:
        None: When it is this process's turn.
    """
    if ranks.size > 1 and not ranks.first:
        dist.barrier()
    yield
    if ranks.size > 1 and ranks.first:
        dist.barrier()


def from_first(value: Value, ranks: Ranks) -> Value:
    """The first process's value, in all processes; it must be one that can be pickled."""
    if ranks.size == 1:
        return value
    holder = [value]
    dist.broadcast_object_list(holder, src=0)
    return holder[0]


def from_all(value: Value, ranks: Ranks) -> list[Value]:
    """Every process's value, in the order of ranks, in all processes."""
    if ranks.size == 1:
        return [value]
    found: list[Any] = [None] * ranks.size
    dist.all_gather_object(found, value)
    return found


def summed(values: Tensor, ranks: Ranks) -> Tensor:
    """The sum of a tensor over the processes; it has no gradient."""
    if ranks.size == 1:
        return values
    total = values.detach().clone()
    dist.all_reduce(total)
    return total


def rows_of_all(rows: Tensor, sizes: Sequence[int], ranks: Ranks) -> Tensor:
    """The rows of all processes, of which only this one's have a gradient.

    Args:
        rows: This process's (n, D).
        sizes: The numbers of rows of all processes.
        ranks: Who it is.

    Returns:
        (sum of ``sizes``, D), in the order of ranks.
    """
    padded = rows.new_zeros(max(sizes), rows.shape[1])
    padded[: len(rows)] = rows.detach()
    found = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(found, padded)
    parts = [part[:size] for part, size in zip(found, sizes, strict=True)]
    parts[ranks.rank] = rows
    return torch.cat(parts)
