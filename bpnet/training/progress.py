"""How far a run is: all that changes from step to step, put into a training state and back."""

from __future__ import annotations

from typing import Any, Generic, TypeVar, cast

from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from bpnet.errors import CheckpointError
from bpnet.training.metrics_log import LossMeans
from bpnet.training.state import TrainingState

Network = TypeVar("Network", bound=nn.Module)


class Progress(Generic[Network]):
    """A run between two steps.

    Args:
        model: The network that is trained.
        optimizer: Of its weights.
        schedule: Of the optimiser's learning rate.
        scaler: Of float16's losses, or None.
        ema_decay: Of the moving average of the weights, in [0, 1); 0: there is none.

    Attributes:
        step: Optimiser steps done.
        best: Best value of the validation metric so far, or None.
        metrics: The last validation's, or None.
        running: Losses since the last line of the log.
    """

    def __init__(
        self,
        model: Network,
        optimizer: Optimizer,
        schedule: LRScheduler,
        scaler: GradScaler | None,
        ema_decay: float,
    ) -> None:
        self._model, self._optimizer = model, optimizer
        self._schedule, self._scaler = schedule, scaler
        self.step = 0
        self.best: float | None = None
        self.metrics: dict[str, float] | None = None
        self.running = LossMeans()
        self._averaged = None
        if ema_decay:

            def decay() -> float:
                # The first weights are random: an average that remembers them long says little
                # early on.
                return min(ema_decay, (1 + self.step) / (10 + self.step))

            self._averaged = AveragedModel(
                model, avg_fn=lambda old, new, _: old.lerp(new, 1 - decay())
            )

    @property
    def kept(self) -> Network:
        """The network that is validated and kept: the average where there is one."""
        if self._averaged is None:
            return self._model
        return cast(Network, self._averaged.module)

    @property
    def learning_rate(self) -> float:
        """That of the next step."""
        return float(self._schedule.get_last_lr()[0])

    def advance(self, losses: dict[str, Tensor]) -> None:
        """Note that the optimiser has stepped.

        Args:
            losses: Scalars of that step by name; none: there was nothing to learn from.

        Raises:
            ConfigError: A loss is not finite.
        """
        if self._averaged is not None:
            self._averaged.update_parameters(self._model)
        self._schedule.step()
        self.step += 1
        self.running.add(losses, self.step)

    def judge(self, metrics: dict[str, float], select_by: str) -> bool:
        """Note how the network does on the validation part.

        Args:
            metrics: Percent by name.
            select_by: The one that chooses among checkpoints.

        Returns:
            Whether it is the best so far.
        """
        self.metrics = metrics
        value = metrics[select_by]
        best = self.best is None or value > self.best
        if best:
            self.best = value
        return best

    def state(
        self, random: dict[str, Any], settings: dict[str, Any], annotations: str
    ) -> TrainingState:
        """All of it, to be saved.

        Args:
            random: Random states of all processes.
            settings: The settings that decide the numbers.
            annotations: SHA-256 of the queries and moments.

        Returns:
            The state.
        """
        return TrainingState(
            step=self.step,
            weights=self._model.state_dict(),
            averaged={} if self._averaged is None else self._averaged.state_dict(),
            optimizer=self._optimizer.state_dict(),
            schedule=self._schedule.state_dict(),
            random=random,
            best=self.best,
            config=settings,
            running=self.running.sums,
            metrics=self.metrics,
            annotations=annotations,
            scaler={} if self._scaler is None else self._scaler.state_dict(),
        )

    def restore(self, state: TrainingState, named: str) -> None:
        """Go on from a state, but for its random states.

        Args:
            state: Of a run of the same settings.
            named: How the user named it, for an error.

        Raises:
            CheckpointError: It is that of another model.
        """
        self.step, self.best, self.metrics = state.step, state.best, state.metrics
        try:
            self._model.load_state_dict(state.weights)
            if self._averaged is not None:
                self._averaged.load_state_dict(state.averaged)
        except RuntimeError as err:
            raise CheckpointError(
                f"{named}: the state does not fit the model: the features, vectors or annotations "
                f"are others than those that the run began with ({' '.join(str(err).split())})"
            ) from err
        self._optimizer.load_state_dict(state.optimizer)
        self._schedule.load_state_dict(state.schedule)
        self.running.sums = dict(state.running)
        if self._scaler is not None:
            self._scaler.load_state_dict(state.scaler)
