"""One optimiser step: of one or several batches and processes, in the precision asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from bpnet.config import TrainConfig
from bpnet.distributed import summed, synchronised
from bpnet.errors import ConfigError
from bpnet.models.grounder import Grounder
from bpnet.models.losses import bpnet_losses
from bpnet.models.output import BPNetOutput
from bpnet.ranks import Ranks
from bpnet.training.copies import with_copies
from bpnet.training.mismatches import split_lender, with_strangers
from bpnet.training.shards import Shard
from bpnet.training.shared_losses import shared_losses
from bpnet.types import Batch

Phase: TypeAlias = Callable[[str], AbstractContextManager[Any]]


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """What matrix products are computed in.

    Args:
        precision: ``trainer.precision``.
        device: Where.

    Returns:
        None: in float32, as everything else.

    Raises:
        ConfigError: float16 is asked for on a CPU.
    """
    match precision:
        case "fp16":
            if device.type != "cuda":
                raise ConfigError(
                    f"trainer.precision=fp16 on {device}: expected a CUDA device, where its "
                    "gradients are scaled; use bf16 or fp32"
                )
            return torch.float16
        case "bf16":
            return torch.bfloat16
        case "auto" if device.type == "cuda":
            return torch.bfloat16
    return None


class TrainStep:
    """Forward, backward and one step of the optimiser.

    Args:
        model: The network, on its device.
        config: The run.
        optimizer: Of its weights.
        device: Where it is.
        ranks: Who this process is.

    Attributes:
        scaler: Scales float16's losses, so that small gradients do not vanish; None: not needed.
    """

    def __init__(
        self,
        model: Grounder,
        config: TrainConfig,
        optimizer: torch.optim.Optimizer,
        device: torch.device,
        ranks: Ranks,
    ) -> None:
        self.model = synchronised(model, ranks)
        self.config = config
        self.optimizer = optimizer
        self.device = device
        self.ranks = ranks
        self.dtype = autocast_dtype(config.trainer.precision, device)
        self.scaler: torch.amp.GradScaler | None = None
        if self.dtype == torch.float16:
            self.scaler = torch.amp.GradScaler(device.type)

    def __call__(
        self, batches: Sequence[tuple[Batch, Shard | None]], phase: Phase
    ) -> dict[str, Tensor]:
        """Learn from the mean loss of the batches.

        Args:
            batches: With this process's place in each, where there are several processes. A batch
                weighs as much as it has pairs.
            phase: What measures ``"forward"``, ``"backward"`` and ``"optimiser"``.

        Returns:
            The mean losses of all processes, detached.
        """
        self.optimizer.zero_grad(set_to_none=True)
        sizes = [len(b.samples) if s is None else sum(s.sizes) for b, s in batches]
        means: dict[str, Tensor] = {}
        for place, (batch, shard) in enumerate(batches):
            with self._gradients_kept(place + 1 < len(batches)):
                with phase("forward"):
                    losses = self._losses(batch, shard)
                    if len(batches) > 1:
                        share = sizes[place] / sum(sizes)
                        losses = {name: share * loss for name, loss in losses.items()}
                with phase("backward"):
                    total = losses["total"]
                    scaled = total if self.scaler is None else self.scaler.scale(total)
                    scaled.backward()  # type: ignore[no-untyped-call]
            for name, loss in losses.items():
                means[name] = means[name] + loss.detach() if name in means else loss.detach()
        with phase("optimiser"):
            self._update()
        if self.ranks.size > 1:
            values = summed(torch.stack(list(means.values())), self.ranks) / self.ranks.size
            means = dict(zip(means, values, strict=True))
        return means

    def _losses(self, batch: Batch, shard: Shard | None) -> dict[str, Tensor]:
        lender = None
        if shard is not None and shard.samples:
            batch, lender = split_lender(batch)
            lender = lender.to(self.device)
        batch = batch.to(self.device)
        model, asked = self.config.model, batch
        if model.stage_two and model.mismatch_weight:
            begins_here = shard is None or not shard.continued
            asked = with_strangers(batch, lender, begins_here)
        # The pairs, then those with sentences of other videos, then the pairs again.
        size, known = len(batch.video_index), len(asked.video_index)
        if model.consistency_weight:
            asked = with_copies(asked, size)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
            output: BPNetOutput = self.model(asked)
        strangers = output.rows(slice(size, known)) if known > size else None
        copies = output.rows(slice(known, None)) if model.consistency_weight else None
        output = output.rows(slice(size))
        if shard is None:
            return bpnet_losses(output, batch, model, strangers, copies)
        return shared_losses(output, batch, model, strangers, copies, shard, self.ranks)

    def _gradients_kept(self, more: bool) -> AbstractContextManager[None]:
        """Gradients are exchanged once a step, with those of the last batch."""
        if more and isinstance(self.model, DistributedDataParallel):
            return self.model.no_sync()
        return contextlib.nullcontext()

    def _update(self) -> None:
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optim.clip_norm)
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)
            self.scaler.update()
