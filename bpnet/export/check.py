"""Whether an exported file answers as the network does, on random videos and queries."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bpnet.data.collate import collate
from bpnet.export.program import MIN_LETTERS, Signature
from bpnet.models.bpnet import BPNet
from bpnet.spans import paired_tiou
from bpnet.types import Batch, Sample
from bpnet_features import ClipGrid

TOLERANCE = 1e-4  # of spans in clips, and of scores
NEAR = 0.9  # temporal IoU from which two best answers count as the same
NOISE, NUM_NOISES = 1e-5, 8  # see `_undecided`

Floats = npt.NDArray[np.float32]
Answerer = Callable[[dict[str, npt.NDArray[Any]]], tuple[Floats, Floats]]


@dataclasses.dataclass(frozen=True)
class Difference:
    """How far the answers of a file are from the network's.

    Attributes:
        spans: Largest difference of a boundary, in clips.
        scores: Largest difference of a score.
        num_queries: Queries that were asked.
        num_undecided: Those of them that are left out: rounding decides which spans they get.
        num_near: Queries whose best answers overlap by `NEAR` or more.
    """

    spans: float
    scores: float
    num_queries: int
    num_undecided: int
    num_near: int

    @property
    def largest(self) -> float:
        """The larger of both."""
        return max(self.spans, self.scores)


def inputs_of(batch: Batch, signature: Signature) -> dict[str, npt.NDArray[Any]]:
    """A batch as an exported file reads it.

    Args:
        batch: Padded pairs.
        signature: What the file reads.

    Returns:
        Arrays by name.
    """
    tensors: dict[str, Any] = {name: getattr(batch, name, None) for name in signature.inputs}
    tensors["video_mask"] = batch.clip_mask()
    arrays = {name: np.ascontiguousarray(tensor.numpy()) for name, tensor in tensors.items()}
    if "char_ids" in arrays:
        spare = max(0, MIN_LETTERS - arrays["char_ids"].shape[2])
        arrays["char_ids"] = np.pad(arrays["char_ids"], ((0, 0), (0, 0), (0, spare)))
    return arrays


def compare(
    model: BPNet, file: Answerer, signature: Signature, batches: Sequence[Batch]
) -> Difference:
    """Ask both the same.

    Args:
        model: The network, in evaluation mode, on the CPU.
        file: The exported file.
        signature: What it reads.
        batches: What is asked.

    Returns:
        How far they are apart.
    """
    spans, scores = [0.0], [0.0]
    num_queries = num_undecided = num_near = 0
    for batch in batches:
        ours = _answers(model, batch)
        theirs = file(inputs_of(batch, signature))
        apart = _apart(ours, theirs)
        undecided = np.zeros(len(apart), dtype=bool)
        if (apart.max(axis=1) > TOLERANCE).any():
            undecided = _undecided(model, batch, ours)
        kept = apart[~undecided]
        spans += kept[:, 0].tolist()
        scores += kept[:, 1].tolist()
        num_queries += len(apart)
        num_undecided += int(undecided.sum())
        num_near += int((_best_overlap(ours, theirs) >= NEAR).sum())
    return Difference(max(spans), max(scores), num_queries, num_undecided, num_near)


def random_batches(signature: Signature, seed: int = 0) -> Iterator[Batch]:
    """Videos and queries of other numbers and lengths than the graph was traced with.

    Args:
        signature: What is read.
        seed: Seed of what is drawn.

    Yields:
        Batch: One of a single short pair, a ragged one, and one of the longest.
    """
    clips, tokens = signature.max_clips, signature.max_tokens
    shapes = (
        [(1, 1, 1)],
        [(max(1, clips // n), min(tokens, 3 * n), 2 + n % 2) for n in range(2, 6)],
        [(clips, tokens, 1)],
    )
    rng = np.random.default_rng(seed)
    for videos in shapes:
        samples = []
        for num_clips, num_tokens, num_queries in videos:
            video = rng.normal(size=(num_clips, signature.feature_dim)).astype(np.float32)
            grid = ClipGrid.uniform(num_clips, float(num_clips))
            samples += [
                _sample(signature, video, grid, num_tokens, rng) for _ in range(num_queries)
            ]
        yield collate(samples)


def _sample(
    signature: Signature, video: Floats, grid: ClipGrid, num_tokens: int, rng: np.random.Generator
) -> Sample:
    num_letters = 12 if signature.num_characters else 0
    ids = np.zeros(num_tokens, dtype=np.int64)
    letters = np.zeros((num_tokens, num_letters), dtype=np.int64)
    features = None
    if signature.query_dim:
        features = rng.normal(size=(num_tokens, signature.query_dim)).astype(np.float32)
    else:
        ids = rng.integers(1, signature.num_words, size=num_tokens)
    if num_letters:
        letters = rng.integers(1, signature.num_characters, size=letters.shape)
        lengths = rng.integers(1, num_letters + 1, size=(num_tokens, 1))
        letters = np.where(np.arange(num_letters) < lengths, letters, 0)
    return Sample(video, grid, ids, letters, query_features=features)


def _answers(model: BPNet, batch: Batch) -> tuple[Floats, Floats]:
    with torch.inference_mode():
        output = model(batch)
    return output.spans.numpy(), output.scores.float().numpy()


def _apart(
    answers: tuple[Floats, Floats], others: tuple[Floats, Floats]
) -> npt.NDArray[np.float64]:
    """Largest differences of spans and of scores, a query (B, 2)."""
    count = answers[0].shape[1]  # a file has as many for a short video as for a long one
    there = answers[1] >= 0
    scores = np.abs(answers[1] - others[1][:, :count]).max(axis=1)
    spare = others[1][:, count:].max(axis=1, initial=-1.0) + 1  # these must be no answers
    gaps = np.abs(answers[0] - others[0][:, :count]).max(axis=2)
    return np.stack([np.where(there, gaps, 0).max(axis=1), np.maximum(scores, spare)], axis=1)


def _undecided(model: BPNet, batch: Batch, answers: tuple[Floats, Floats]) -> npt.NDArray[np.bool_]:
    """Queries that the network itself answers otherwise where a feature changes by a 100,000th.

    Two candidates are then as good as equal, and which comes first is a matter of rounding.
    """
    generator = torch.Generator().manual_seed(0)
    found = np.zeros(len(answers[0]), dtype=bool)
    for _ in range(NUM_NOISES):
        noise = torch.randn(batch.video.shape, generator=generator) * NOISE
        moved = dataclasses.replace(batch, video=batch.video * (1 + noise))
        # Far more than such a change makes: another span.
        found |= _apart(answers, _answers(model, moved)).max(axis=1) > 10 * TOLERANCE
    return found


def _best_overlap(
    answers: tuple[Floats, Floats], others: tuple[Floats, Floats]
) -> npt.NDArray[np.float32]:
    best = [
        torch.from_numpy(np.take_along_axis(spans, scores.argmax(axis=1)[:, None, None], axis=1))
        for spans, scores in (answers, others)
    ]
    overlaps: npt.NDArray[np.float32] = paired_tiou(*best)[:, 0].numpy()
    return overlaps
