"""Weights, a padded batch and data made by a recipe, on which VSLNet was run; see README.md."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bpnet.models.bpnet import BPNet
from bpnet.models.output import BPNetOutput
from bpnet.models.vslnet_weights import PADDING, table
from bpnet.types import Batch

SEED = 20261123
PREDICTORS = ("rnn", "transformer")
NUM_HEADS, NUM_CONV_LAYERS = 4, 4
# The letters of the table of names; small, so that what is stored stays small.
SIZES = {"D": 16, "C": 9, "N": 20, "V": 10, "A": 12, "E": 6, "Q": 110, "P": 24, "K": 7}
VIDEO_LENGTHS, QUERY_LENGTHS, NUM_LETTERS = (11, 7, 4), (6, 3, 5), 7
# First and last clip of the targets; of the first, a tenth rounds to one more clip on each side.
FIRST, LAST = (2, 0, 3), (8, 4, 3)
GLOVE_DIM = 300  # what its reader of vector files insists on


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What VSLNet's forward takes: arrays, padded with zeros."""

    video: np.ndarray
    video_mask: np.ndarray
    word_ids: np.ndarray
    char_ids: np.ndarray
    query_mask: np.ndarray

    def batch(self) -> Batch:
        """The same as one of our batches, with its targets."""
        cells = np.stack([FIRST, np.array(LAST) + 1], axis=1)[:, None]
        known = len(cells) == len(self.video)
        return Batch(
            video=torch.from_numpy(self.video),
            clip_seconds=torch.zeros(*self.video.shape[:2], 2),  # VSLNet knows no seconds
            video_index=torch.arange(len(self.video)),
            video_mask=torch.from_numpy(self.video_mask),
            query_ids=torch.from_numpy(self.word_ids),
            char_ids=torch.from_numpy(self.char_ids),
            query_mask=torch.from_numpy(self.query_mask),
            target_spans=torch.from_numpy(cells[:, 0]).float() if known else None,
            target_cells=torch.from_numpy(cells) if known else None,
        )

    def alone(self, row: int) -> Inputs:
        """One pair without any padding but that of its shorter words."""
        clips, tokens = self.video_mask[row].sum(), self.query_mask[row].sum()
        letters = max(4, int((self.char_ids[row] != 0).sum(axis=1).max()))
        one = slice(row, row + 1)
        return Inputs(
            self.video[one, :clips],
            self.video_mask[one, :clips],
            self.word_ids[one, :tokens],
            self.char_ids[one, :tokens, :letters],
            self.query_mask[one, :tokens],
        )


def weights(predictor: str) -> dict[str, Tensor]:
    """A state dict of VSLNet, every number of it from NumPy's generator."""
    state = {}
    for number, entry in enumerate(table(predictor, NUM_CONV_LAYERS)):
        shape = [_size(axis) for axis in entry.shape.split()]
        rng = np.random.default_rng([SEED, PREDICTORS.index(predictor), number])
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 16
        value = 0.7 * rng.standard_normal(shape) / np.sqrt(fan_in)
        if "layer_norm" in entry.theirs and entry.theirs.endswith("weight"):
            value += 1
        if entry.theirs == PADDING:
            value[:] = 0
        elif entry.theirs.endswith("char_emb.weight"):
            value[0] = 0
        state[entry.theirs] = torch.from_numpy(value.astype(np.float32))
    return state


def inputs() -> Inputs:
    """Three pairs of different lengths, with the unknown word and a word of one letter."""
    rng = np.random.default_rng([SEED, 2])
    video_mask = np.arange(max(VIDEO_LENGTHS)) < np.array(VIDEO_LENGTHS)[:, None]
    query_mask = np.arange(max(QUERY_LENGTHS)) < np.array(QUERY_LENGTHS)[:, None]
    video = rng.standard_normal((*video_mask.shape, SIZES["C"])).astype(np.float32)
    words = rng.integers(1, SIZES["N"] + 2, query_mask.shape)
    words[0, 0] = 1
    lengths = rng.integers(1, NUM_LETTERS + 1, query_mask.shape)
    lengths[0, :2] = 1, NUM_LETTERS
    letters = rng.integers(1, SIZES["A"], (*query_mask.shape, NUM_LETTERS))
    real = (np.arange(NUM_LETTERS) < lengths[..., None]) & query_mask[..., None]
    return Inputs(
        video * video_mask[..., None], video_mask, words * query_mask, letters * real, query_mask
    )


def pooled_lengths() -> list[int]:
    """Lengths of videos that are pooled to 16 positions."""
    return list(range(1, 70))


def pooled_video(length: int) -> np.ndarray:
    """Features (length, 2) of which every mean tells which clips were averaged."""
    clips = np.arange(length, dtype=np.float32)
    return np.stack([clips, clips**2], axis=1)


def timed_moments(count: int = 400) -> list[tuple[float, float, int, float]]:
    """Start, end, number of clips and duration, in hundredths of a second."""
    rng = np.random.default_rng([SEED, 3])
    moments = []
    while len(moments) < count:
        duration = int(rng.integers(300, 20000))
        start, end = sorted(rng.integers(0, duration + 1, 2).tolist())
        if start < end:
            clips = int(rng.integers(1, 129))
            moments.append((start / 100, end / 100, clips, duration / 100))
    return moments


def highlighted_cells(num_clips: int = 48) -> list[tuple[int, int]]:
    """First and last clip of every span of a video."""
    first, last = np.triu_indices(num_clips)
    return list(zip(first.tolist(), last.tolist(), strict=True))


def tokens() -> dict[str, list[list[str]]]:
    """Sentences as tokens: ties in frequency, words without a vector, rare letters."""
    train = [
        "a person opens the door .",
        "the person ran to a quincy door",
        "person 's cup , a cup",
    ]
    test = ["zebra opens the cup .", "xylophone person ran", "!"]
    return {"train": [s.split() for s in train], "test": [s.split() for s in test]}


def words_with_vectors() -> list[str]:
    """In the order of the vector file, which is not that of the vocabulary."""
    return [
        "zebra",
        "the",
        ".",
        "a",
        ",",
        "to",
        "ran",
        "cup",
        "door",
        "'s",
        "opens",
        "person",
        "of",
    ]


def vector(word: str) -> list[float]:
    """The vector of a word: short decimals that float32 reads the same from any text."""
    first = words_with_vectors().index(word)
    return [first / 4] + [0.5] * (GLOVE_DIM - 1)


def digest(arrays: Mapping[str, Any]) -> str:
    """A SHA-256 that changes with the recipe, or with NumPy's generators."""
    found = hashlib.sha256()
    for name, value in arrays.items():
        array = np.ascontiguousarray(value)
        found.update(f"{name} {array.shape} {array.dtype}".encode() + array.tobytes())
    return found.hexdigest()


def our_outputs(model: BPNet, batch: Batch) -> tuple[BPNetOutput, dict[str, np.ndarray]]:
    """Run our stage one, and look at what each of its modules gives.

    Args:
        model: The network.
        batch: What it reads.

    Returns:
        Its output, and arrays by the name of the module, in the order in which they are reached.
    """
    encoder, predictor = model.encoder, model.proposer.predictor
    assert encoder.words is not None and encoder.characters is not None
    watched: list[tuple[nn.Module, list[str]]] = [
        (encoder.words, ["word embedding"]),
        (encoder.characters, ["character convolutions"]),
        (encoder.query_projection, ["query projection"]),
        (encoder.video_projection, ["video projection"]),
        (encoder.encoder, ["encoder, video", "encoder, query"]),
        (model.interaction.attention, ["video-query attention"]),
        (model.interaction.query_concat, ["query concatenation"]),
    ]
    if hasattr(predictor, "start_lstm"):
        watched += [
            (predictor.start_lstm, ["start LSTM"]),
            (predictor.end_lstm, ["end LSTM"]),
        ]
    else:
        watched.append((predictor.encoder, ["start encoder", "end encoder"]))
    seen, output = watch(watched, lambda: model(batch))
    one = output.stage_one
    for name in ("start LSTM", "end LSTM"):
        if name in seen:  # ours masks after the layer that is watched, theirs inside it
            seen[name] = seen[name] * batch.video_mask[..., None].numpy()
    seen["highlight score"] = one.highlight_logits.sigmoid().detach().numpy()
    seen["start logits"] = one.evidence.start.detach().numpy()
    seen["end logits"] = one.evidence.end.detach().numpy()
    return output, seen


def watch(modules: list[tuple[nn.Module, list[str]]], run: Any) -> tuple[dict[str, Any], Any]:
    """Run something, and keep what modules give.

    Args:
        modules: Each with a name for its first call, its second ...
        run: What to run.

    Returns:
        Arrays by name, and what ``run`` gave.
    """
    seen: dict[str, np.ndarray] = {}

    def keep(names: list[str]) -> Any:
        left = list(names)

        def hook(_: nn.Module, __: Any, value: Any) -> None:
            value = value[0] if isinstance(value, tuple) else value
            seen[left.pop(0)] = value.detach().numpy()

        return hook

    handles = [module.register_forward_hook(keep(names)) for module, names in modules]
    try:
        result = run()
    finally:
        for handle in handles:
            handle.remove()
    return seen, result


def _size(axis: str) -> int:
    number, letter = axis.rstrip("ABCDEKNPQV"), axis.lstrip("0123456789")
    return int(number or 1) * SIZES.get(letter, 1)
