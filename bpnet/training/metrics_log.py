"""What a run tells of itself: mean losses and validation metrics, in metrics.jsonl."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from bpnet.config import TrainerConfig
from bpnet.errors import ConfigError
from bpnet.evaluation.predictions import Prediction
from bpnet.report import answer_of
from bpnet.report.figure_file import check_matplotlib
from bpnet.report.plot import plot_image
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
            losses: Scalars by name; a step without any is none of those that are averaged.
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
        if values:
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
        config: Whether to write for TensorBoard too, and to draw.

    Raises:
        ConfigError: TensorBoard, or matplotlib, is asked for and not installed.
    """

    def __init__(self, run_dir: Path, step: int, config: TrainerConfig) -> None:
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
        if config.tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as err:
                raise ConfigError(
                    "trainer.tensorboard=true needs `pip install 'bpnet-nlvl[tensorboard]'`"
                ) from err
            self.board = SummaryWriter(run_dir, purge_step=step)
        if config.figures:
            check_matplotlib()

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

    def draw(self, predictions: Sequence[Prediction], step: int) -> None:
        """Put figures of answers beside the metrics, where there is TensorBoard.

        Args:
            predictions: With their annotations.
            step: The step of the model that gave them.
        """
        for prediction in predictions if self.board is not None else ():
            truth = prediction.annotation
            assert truth is not None
            drawn = answer_of(prediction, truth.query, truth.video_id, truth.duration_seconds)
            image = plot_image([drawn])
            self.board.add_image(f"answers/{truth.qid}", image, step, dataformats="HWC")

    def close(self) -> None:
        """Finish TensorBoard's file."""
        if self.board is not None:
            self.board.close()
