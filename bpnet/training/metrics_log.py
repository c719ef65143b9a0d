"""What a run tells of itself: mean losses and validation metrics, in metrics.jsonl."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from torch import Tensor

from bpnet.errors import ConfigError
from bpnet_features.atomic import write_text_atomically

METRICS = "metrics.jsonl"


class LossMeans:
    """Means of the losses since the last line of the log.

    Attributes:
        sums: Their sums by name, and ``"count"``; kept in the training state.
    """

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}

    def add(self, losses: dict[str, Tensor], step: int) -> None:
        """Add one step.

        Args:
            losses: Scalars by name.
            step: Its number.

        Raises:
            ConfigError: A loss is not finite.
        """
        values = {name: loss.item() for name, loss in losses.items()}
        if not all(abs(value) < float("inf") for value in values.values()):
            raise ConfigError(
                f"step {step}: loss is not finite ({values}): lower optim.lr, or look for extreme "
                "values in the features; the last good state is in the run folder"
            )
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.sums["count"] = self.sums.get("count", 0.0) + 1

    def take(self) -> dict[str, float]:
        """The means, and begin anew."""
        count = self.sums.pop("count")
        means = {name: value / count for name, value in self.sums.items()}
        self.sums = {}
        return means


class MetricsLog:
    """``metrics.jsonl`` of a run, and TensorBoard where asked for.

    Args:
        run_dir: Folder of the run.
        step: Step at which the run goes on: later lines, of steps that will be done again, go.
        tensorboard: Whether to write for TensorBoard too.

    Raises:
        ConfigError: TensorBoard is asked for and not installed.
    """

    def __init__(self, run_dir: Path, step: int, tensorboard: bool) -> None:
        self.path = run_dir / METRICS
        kept = []
        if self.path.exists():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                try:
                    if json.loads(line)["step"] <= step:
                        kept.append(line)
                except ValueError:
                    pass  # half a line of a killed run; it belongs to a step that is done again
        write_text_atomically(self.path, "".join(f"{line}\n" for line in kept))
        self.began = time.monotonic()
        self.board: Any = None
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as err:
                raise ConfigError(
                    "trainer.tensorboard=true needs `pip install 'bpnet-nlvl[tensorboard]'`"
                ) from err
            self.board = SummaryWriter(run_dir, purge_step=step)

    def write(self, record: dict[str, Any]) -> None:
        """Append one record; it must hold ``step``."""
        seconds = round(time.monotonic() - self.began, 2)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**record, "seconds": seconds}) + "\n")
        if self.board is not None:
            flat = record.get("validation", record)
            part = "validation" if "validation" in record else "train"
            for name, value in flat.items():
                if name != "step":
                    self.board.add_scalar(f"{part}/{name}", value, record["step"])

    def close(self) -> None:
        """Finish TensorBoard's file."""
        if self.board is not None:
            self.board.close()
