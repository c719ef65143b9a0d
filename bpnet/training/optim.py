"""Optimiser and schedule: AdamW, the learning rate falling linearly to 0 (VSLNet)."""

from __future__ import annotations

from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from bpnet.config import OptimConfig


def build_optimizer(model: nn.Module, config: OptimConfig) -> AdamW:
    """AdamW; biases, layer norms and the unknown word's vector are not decayed.

    Args:
        model: What to train.
        config: Learning rate and decay.

    Returns:
        The optimiser.
    """
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        is_free = name.endswith("bias") or "bias_" in name or "norm" in name or "unknown" in name
        (free if is_free else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    return AdamW(groups, lr=config.lr, fused=True)


def build_schedule(optimizer: AdamW, config: OptimConfig, total_steps: int) -> LambdaLR:
    """Linear rise over the warm-up, then a linear fall to 0 at the last step.

    Args:
        optimizer: Whose rate it sets.
        config: Length of the warm-up.
        total_steps: Steps of the whole run.

    Returns:
        The schedule; call ``step()`` once after each optimiser step.
    """

    def factor(step: int) -> float:
        if step < config.warmup_steps:
            return (step + 1) / config.warmup_steps
        return max(0.0, (total_steps - step) / max(1, total_steps - config.warmup_steps))

    return LambdaLR(optimizer, factor)
