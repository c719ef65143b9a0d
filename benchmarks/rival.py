"""VSLNet's public PyTorch code, trained and asked as its own scripts do it."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from made_up import WORD_DIM, MadeUp
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from bpnet.types import Sample

NUM_STEPS = 10_000  # of the schedule, so that the rate stays above 0
OPTIMISER = {"init_lr": 1e-4, "num_train_steps": NUM_STEPS, "warmup_proportion": 0.0}
HIGHLIGHT_LAMBDA, CLIP_NORM = 5.0, 1.0  # the defaults of main_t7.py

Record = tuple[dict[str, Any], Any, list[int], list[list[int]], int, int]


def _schedule(optimizer: AdamW, warm_up: float, total: int) -> LambdaLR:
    return LambdaLR(optimizer, lambda step: max(0.0, (total - step) / max(1.0, total - warm_up)))


def open_checkout(folder: Path) -> None:
    """Make VSLNet's modules importable.

    It takes its optimiser from transformers, whose newer versions have none; torch's does the same
    work.
    """
    sys.path.insert(0, str(folder))
    names = {"AdamW": AdamW, "get_linear_schedule_with_warmup": _schedule}
    stand_in = types.ModuleType("transformers")
    vars(stand_in).update(names)
    sys.modules["transformers"] = stand_in


class Rival:
    """VSLNet with predictor ``rnn``, its optimiser, and the pairs as its loader holds them.

    Args:
        data: The pairs.
        seed: Of the weights.
        device: Where it works.
    """

    def __init__(self, data: MadeUp, seed: int = 0, device: str = "cpu") -> None:
        network = importlib.import_module("model.VSLNet_t7")
        self.loader = importlib.import_module("util.data_loader_t7")
        self.runner = importlib.import_module("util.runner_utils_t7")
        configs = types.SimpleNamespace(
            word_size=len(data.vocabulary.words),
            char_size=len(data.vocabulary.characters),
            word_dim=WORD_DIM,
            char_dim=50,
            dim=128,
            drop_rate=0.2,
            video_feature_dim=data.shape.width,
            num_heads=8,
            max_pos_len=max(data.shape.clips[1], data.vocabulary.max_query_tokens),
            predictor="rnn",
            **OPTIMISER,
        )
        torch.manual_seed(seed)
        self.device = device
        self.model = network.VSLNet(configs, data.vectors[2:].numpy()).to(device)
        built = network.build_optimizer_and_scheduler(self.model, configs)
        self.optimizer, self.schedule = built
        self.records = [_record(sample) for sample in data.samples]

    def training_batch(self, pairs: Sequence[int]) -> Any:
        """What its loader makes of some pairs."""
        return self.loader.train_collate_fn([self.records[number] for number in pairs])

    def train(self, batch: Any) -> None:
        """One step, as in main_t7.py."""
        _, *tensors = batch
        moved = (tensor.to(self.device) for tensor in tensors)
        clips, lengths, word_ids, char_ids, starts, ends, highlights = moved
        query_mask = (torch.zeros_like(word_ids) != word_ids).float()
        video_mask = self.runner.convert_length_to_mask(lengths)
        h_score, *logits = self.model(word_ids, char_ids, clips, video_mask, query_mask)
        highlight = self.model.compute_highlight_loss(h_score, highlights, video_mask)
        total = self.model.compute_loss(*logits, starts, ends) + HIGHLIGHT_LAMBDA * highlight
        self.optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP_NORM)
        self.optimizer.step()
        self.schedule.step()

    def batch(self, pairs: Sequence[int]) -> Any:
        """What its test loader makes of some pairs."""
        return self.loader.test_collate_fn([self.records[number] for number in pairs])

    def answer(self, batch: Any) -> Any:
        """First and last position of each pair's moment, as in ``eval_test``."""
        _, *tensors = batch
        clips, lengths, word_ids, char_ids = (tensor.to(self.device) for tensor in tensors)
        with torch.no_grad():
            query_mask = (torch.zeros_like(word_ids) != word_ids).float()
            video_mask = self.runner.convert_length_to_mask(lengths)
            _, *logits = self.model(word_ids, char_ids, clips, video_mask, query_mask)
            return [one.cpu().numpy() for one in self.model.extract_index(*logits)]


def _record(sample: Sample) -> Record:
    """A pair as VSLNet's dataset gives it, its sentence encoded."""
    assert sample.annotation is not None and sample.target_cells is not None
    first, end = sample.target_cells[0].tolist()
    letters = [[one for one in word if one] for word in sample.char_ids.tolist()]
    record = {"v_len": len(sample.video), "duration": sample.annotation.duration_seconds}
    return record, sample.video, sample.query_ids.tolist(), letters, first, end - 1
