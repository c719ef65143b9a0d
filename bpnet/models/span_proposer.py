"""Stage one, span: every clip gets a probability of being the first and of being the last one.

Source: VSLNet's published code; the joint choice of both ends follows the code of BPNet's first
author. The pair scores are ours: they say which start goes with which end.
"""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bpnet.models.cells import pool_cells
from bpnet.models.feature_encoder import FeatureEncoder
from bpnet.models.layers import NEGATIVE
from bpnet.models.sizes import is_open, possibly
from bpnet.types import Proposals


@dataclasses.dataclass(frozen=True, eq=False)
class BoundaryLogits:
    """How probable each clip is as a boundary.

    Of a long video it is cells of several clips, in place of clips.

    Attributes:
        start: Logits of the first clip (B, T), -1e30 at padded places; with pair scores the
            logarithms of the probabilities that the pairs sum up to.
        end: The same of the last clip *inside* the moment (B, T).
        pairs: Log-probability of every first and last clip together (B, T, T), -inf where the last
            comes before the first or either is padding.
        mask: Which clips, or cells, are real (B, T).
        widths: Clips in each of them (B,), >= 1.
        overlaps: Logits of the temporal IoU of the same spans with the moment (B, T, T), in
            training; None: they are not predicted.
        shares: The ``probabilities``, where they have been computed already; else None.
    """

    start: Tensor
    end: Tensor
    pairs: Tensor
    mask: Tensor
    widths: Tensor
    overlaps: Tensor | None = None
    shares: Tensor | None = None

    @property
    def probabilities(self) -> Tensor:
        """Of the spans of ``pairs``, 0 where there is none (B, T, T); without gradient.

        They sum to 1, which those of independent boundaries do not by themselves.
        """
        return (_softmax(self.pairs) if self.shares is None else self.shares).detach()


class RnnPredictor(nn.Module):
    """Features and logits of start and end by two LSTMs, of which the second reads the first.

    Args:
        start_lstm: LSTM that gives the features of the start.
        end_lstm: LSTM that reads those.
        dim: Width D.
    """

    def __init__(self, start_lstm: nn.LSTM, end_lstm: nn.LSTM, dim: int) -> None:
        super().__init__()
        self.start_lstm, self.end_lstm = start_lstm, end_lstm
        self.start_head, self.end_head = _boundary_head(dim), _boundary_head(dim)

    def forward(self, frames: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (B, T, D) with mask (B, T) to two logits (B, T)."""
        # The LSTMs read forwards and padding comes last, so it reaches no real place.
        started = self.start_lstm(frames)[0] * mask[..., None]
        ended = self.end_lstm(started)[0] * mask[..., None]
        start = self.start_head(torch.cat([started, frames], dim=-1)).squeeze(-1)
        end = self.end_head(torch.cat([ended, frames], dim=-1)).squeeze(-1)
        return start, end


class TransformerPredictor(nn.Module):
    """Start and end logits by a feature encoder that both share; the end reads the start.

    Args:
        encoder: The shared encoder.
        dim: Width D.
    """

    def __init__(self, encoder: FeatureEncoder, dim: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.start_norm = nn.LayerNorm(dim, eps=1e-6)
        self.end_norm = nn.LayerNorm(dim, eps=1e-6)
        self.start_head, self.end_head = _boundary_head(dim), _boundary_head(dim)

    def forward(self, frames: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (B, T, D) with mask (B, T) to two logits (B, T)."""
        started = self.encoder(frames, mask)
        ended = self.encoder(started, mask)
        start = self.start_head(torch.cat([self.start_norm(started), frames], dim=-1)).squeeze(-1)
        end = self.end_head(torch.cat([self.end_norm(ended), frames], dim=-1)).squeeze(-1)
        return start, end


def _boundary_head(dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(2 * dim, dim), nn.ReLU(), nn.Linear(dim, 1))


class LinearPredictor(nn.Module):
    """Start and end logits straight from the frames, which have seen their context already.

    Args:
        dim: Width D.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.heads = nn.Linear(dim, 2)

    def forward(self, frames: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (B, T, D) with mask (B, T) to two logits (B, T)."""
        start, end = self.heads(frames).unbind(dim=-1)
        return start, end


class PairScores(nn.Module):
    """Which start goes with which end: a low-rank bilinear form of the two clips.

    Independent boundaries make spans of one possible moment's start and another's end probable,
    and cannot tell two short moments from one long one.

    Args:
        dim: Width D.
        pair_dim: Rank of the form.
    """

    def __init__(self, dim: int, pair_dim: int) -> None:
        super().__init__()
        # One more column each, for what a start or an end is worth by itself.
        self.start = nn.Linear(dim, pair_dim + 1)
        self.end = nn.Linear(dim, pair_dim + 1)

    def forward(self, frames: Tensor) -> Tensor:
        """Frames (B, T, D) to scores of every start with every end (B, T, T)."""
        start, end = self.start(frames), self.end(frames)
        # One product sums everything up: each further pass over a table of all pairs takes longer.
        one, scale = torch.ones_like(start[..., :1]), 1 / math.sqrt(start.shape[-1] - 1)
        starts = torch.cat([start[..., 1:] * scale, start[..., :1], one], dim=-1)
        ends = torch.cat([end[..., 1:], one, end[..., :1]], dim=-1)
        return starts @ ends.transpose(1, 2)


class SpanProposer(nn.Module):
    """Boundary probabilities, and the most probable spans.

    Args:
        predictor: Start and end logits.
        max_cells: Longer videos are pooled to so many cells.
        pair_scores: What joins start and end; None: they are independent, as in VSLNet.
        overlap_scores: What predicts the IoU of every span in training, with pair scores: one label
            for each span says more than one for all of them. None: nothing does.
    """

    def __init__(
        self,
        predictor: RnnPredictor | TransformerPredictor | LinearPredictor,
        max_cells: int,
        pair_scores: PairScores | None,
        overlap_scores: PairScores | None = None,
    ) -> None:
        super().__init__()
        self.predictor = predictor
        self.max_cells = max_cells
        self.pair_scores = pair_scores
        self.overlap_scores = overlap_scores

    def forward(self, frames: Tensor, video_mask: Tensor) -> BoundaryLogits:
        """Predict the boundaries.

        Args:
            frames: (B, T, D).
            video_mask: (B, T).

        Returns:
            The logits.
        """
        mask, widths = video_mask, frames.new_ones(frames.shape[0])
        if possibly(frames.shape[1] > self.max_cells):
            frames, mask, widths = pool_cells(frames, video_mask, self.max_cells)
        start, end = self.predictor(frames, mask)
        # Finite in training, where rows of padding would have gradients that are no numbers.
        least = NEGATIVE if self.training or self.pair_scores is None else -torch.inf
        start = start.float().masked_fill(~mask, least)
        end = end.float().masked_fill(~mask, least)
        num_clips = mask.shape[1]
        before = mask.new_ones(num_clips, num_clips).tril(-1)  # the last clip before the first
        if self.pair_scores is None:
            pairs = F.log_softmax(start, dim=1)[:, :, None] + F.log_softmax(end, dim=1)[:, None]
            pairs = pairs.masked_fill(before | (pairs < NEGATIVE / 2), -torch.inf)
            return BoundaryLogits(start, end, pairs, mask, widths)
        pairs = self.pair_scores(frames).float()
        pairs = pairs.add_(start[:, :, None]).add_(end[:, None]).masked_fill_(before, least)
        overlaps = shares = None
        if self.training:
            pairs = F.log_softmax(pairs.flatten(1), dim=1).view_as(pairs)
            start, end = pairs.logsumexp(dim=2), pairs.logsumexp(dim=1)
            pairs = pairs.masked_fill(pairs < NEGATIVE / 2, -torch.inf)
            if self.overlap_scores is not None:
                overlaps = self.overlap_scores(frames).float()
        else:
            shares = _softmax(pairs)
            # The sum of the exponentials is that of the best span over its probability.
            total = pairs.amax((1, 2), keepdim=True) - shares.amax((1, 2), keepdim=True).log()
            # A gradient needs what was there; a new table takes longer.
            pairs = pairs - total if pairs.requires_grad else pairs.sub_(total)
            # To be drawn only: the smallest probabilities may become 0.
            start, end = (shares.sum(dim=one).log() for one in (2, 1))
            start, end = (x.clamp(min=NEGATIVE) for x in (start, end))
        return BoundaryLogits(start, end, pairs, mask, widths, overlaps, shares)


def _softmax(pairs: Tensor) -> Tensor:
    """Over all spans of a video (B, T, T); not exp(): of minus infinity it takes far longer."""
    return torch.softmax(pairs.flatten(1), dim=1).view_as(pairs)


def top_spans(pairs: Tensor, video_mask: Tensor, count: int) -> Proposals:
    """The most probable spans.

    The last clip ``e`` is inside the moment, so the half-open span is ``(s, e + 1)``.

    Args:
        pairs: Log-probability of each first and last clip (B, T, T), see `BoundaryLogits`.
        video_mask: (B, T).
        count: Spans a pair.

    Returns:
        min(count, T (T + 1) / 2) spans a pair, most probable first; a pair whose video has fewer
        is filled up with the whole video, False in the mask.
    """
    num_clips = pairs.shape[1]
    with torch.no_grad():
        joint = pairs.flatten(1)
        if is_open(num_clips):
            joint = F.pad(joint, (0, count), value=-torch.inf)
        else:
            count = min(count, num_clips * (num_clips + 1) // 2)
        logits, index = joint.topk(count, dim=1)
        mask = logits > -torch.inf
        first = index // num_clips
        last = index - first * num_clips  # not a remainder: ONNX has none of an open size
        spans = torch.stack([first, last + 1], dim=-1).to(logits.dtype)
        lengths = video_mask.sum(dim=1)
        whole = torch.stack([torch.zeros_like(lengths), lengths], dim=-1).to(spans.dtype)
        spans = torch.where(mask[..., None], spans, whole[:, None])
    return Proposals(spans, logits.masked_fill(~mask, NEGATIVE), mask)
