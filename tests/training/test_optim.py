"""The optimiser's groups, and the learning rate worked by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bpnet.config import OptimConfig
from bpnet.model_config import ModelConfig
from bpnet.models.build import Sizes, build_model
from bpnet.training.optim import build_optimizer, build_schedule


def rates(total: int, steps: int, **changes: float) -> list[float]:
    """The learning rate of each step."""
    config = OptimConfig(**{"lr": 8.0, **changes})  # type: ignore[arg-type]
    optimizer = build_optimizer(nn.Linear(1, 1), config)
    schedule = build_schedule(optimizer, config, total)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_linear_fall() -> None:
    assert rates(total=4, steps=6) == [8, 6, 4, 2, 0, 0]


def test_linear_rise_then_fall() -> None:
    # 1/4 to 4/4 of 8 in four steps, then 4/4 to 0 in the other four.
    assert rates(total=8, steps=9, warmup_steps=4) == [2, 4, 6, 8, 8, 6, 4, 2, 0]


def test_a_run_shorter_than_its_warm_up() -> None:
    assert rates(total=2, steps=2, warmup_steps=4) == [2, 4]
    assert rates(total=4, steps=5, warmup_steps=4) == [2, 4, 6, 8, 0]


@pytest.mark.parametrize("predictor", ["rnn", "transformer"])
@pytest.mark.parametrize("frozen", [True, False])
def test_biases_and_norms_are_not_decayed(predictor: str, frozen: bool) -> None:
    config = ModelConfig(hidden_dim=8, num_heads=2, num_conv_layers=1, predictor=predictor)
    sizes = Sizes(
        feature_dim=3,
        num_words=6,
        num_characters=5,
        word_dim=4,
        frozen_words=frozen,
        max_positions=4,
    )
    model = build_model(config, sizes)
    optimizer = build_optimizer(model, OptimConfig(weight_decay=0.25))
    decay = {
        id(parameter): group["weight_decay"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert len(decay) == sum(len(g["params"]) for g in optimizer.param_groups)  # each once
    norms = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, nn.LayerNorm)
        for parameter in module.parameters()
    }
    for name, parameter in model.named_parameters():
        last = name.rpartition(".")[2]
        free = id(parameter) in norms or "bias" in last or last == "unknown"
        assert decay.pop(id(parameter)) == (0.0 if free else 0.25), name
    assert not decay


def test_decay_is_that_of_adamw() -> None:
    """Decoupled: with no gradient a weight shrinks by lr * decay a step, a bias not at all."""
    layer = nn.Linear(1, 1)
    nn.init.ones_(layer.weight)
    nn.init.ones_(layer.bias)
    optimizer = build_optimizer(layer, OptimConfig(lr=0.5, weight_decay=0.1))
    for parameter in layer.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert layer.weight.item() == pytest.approx(0.95)
    assert layer.bias.item() == 1
