"""Stage one, anchor-free: encoded pair -> boundary probabilities -> the most probable spans.

Source: VSLNet's published code (span predictor and query-guided highlighting); the joint choice of
the spans follows the code of BPNet's first author.
"""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bpnet.models.layers import NEGATIVE, FeatureEncoder, QueryPool, VideoQueryAttention
from bpnet.types import Proposals


@dataclasses.dataclass(frozen=True, eq=False)
class StageOne:
    """What stage one gives.

    Attributes:
        frames: Clips that have read the query, weighted by the highlight score (B, T, D).
        start_logits: (B, T); -1e30 at padded places.
        end_logits: (B, T), of the last clip *inside* the moment.
        highlight_logits: (B, T); the highlight score is their sigmoid.
        proposals: The K most probable spans.
    """

    frames: Tensor
    start_logits: Tensor
    end_logits: Tensor
    highlight_logits: Tensor
    proposals: Proposals


class RnnPredictor(nn.Module):
    """Start and end logits by two LSTMs, of which the second reads the first.

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


class Proposer(nn.Module):
    """Joins video and query, marks what the query is about, and proposes spans.

    Args:
        attention: Clips read the words.
        query_pool: The query as one vector, given to every clip.
        predictor: Start and end logits.
        dim: Width D.
        num_proposals: Spans K a pair.
    """

    def __init__(
        self,
        attention: VideoQueryAttention,
        query_pool: QueryPool,
        predictor: RnnPredictor | TransformerPredictor,
        dim: int,
        num_proposals: int,
    ) -> None:
        super().__init__()
        self.attention = attention
        self.query_pool = query_pool
        self.query_concat = nn.Linear(2 * dim, dim)
        self.highlight = nn.Linear(dim, 1)
        self.predictor = predictor
        self.num_proposals = num_proposals

    def forward(
        self, video: Tensor, query: Tensor, video_mask: Tensor, query_mask: Tensor
    ) -> StageOne:
        """Propose spans.

        Args:
            video: Encoded clips (B, T, D).
            query: Encoded tokens (B, L, D).
            video_mask: (B, T).
            query_mask: (B, L).

        Returns:
            Logits, frames and proposals.
        """
        frames = self.attention(video, query, video_mask, query_mask)
        sentence = self.query_pool(query, query_mask)[:, None].expand(-1, frames.shape[1], -1)
        frames = self.query_concat(torch.cat([frames, sentence], dim=-1))
        highlight = self.highlight(frames).squeeze(-1).masked_fill(~video_mask, NEGATIVE)
        frames = frames * torch.sigmoid(highlight)[..., None] * video_mask[..., None]
        start, end = self.predictor(frames, video_mask)
        start = start.float().masked_fill(~video_mask, NEGATIVE)
        end = end.float().masked_fill(~video_mask, NEGATIVE)
        proposals = top_spans(start, end, video_mask, self.num_proposals)
        return StageOne(frames, start, end, highlight, proposals)


def top_spans(
    start_logits: Tensor, end_logits: Tensor, video_mask: Tensor, num_proposals: int
) -> Proposals:
    """The spans with the highest ``P_start(s) * P_end(e)`` among all s <= e.

    The last clip ``e`` is inside the moment, so the half-open span is ``(s, e + 1)``.

    Args:
        start_logits: (B, T).
        end_logits: (B, T).
        video_mask: (B, T).
        num_proposals: Spans K a pair.

    Returns:
        min(K, T (T + 1) / 2) proposals a pair, most probable first; a pair whose video has fewer
        spans is filled up with the whole video, marked False in the mask.
    """
    num_clips = start_logits.shape[1]
    with torch.no_grad():
        start = F.log_softmax(start_logits, dim=1)
        end = F.log_softmax(end_logits, dim=1)
        joint = start[:, :, None] + end[:, None, :]  # (B, T, T)
        real = video_mask[:, :, None] & video_mask[:, None, :]
        joint = joint.masked_fill(~(real.triu()), -torch.inf).flatten(1)
        count = min(num_proposals, num_clips * (num_clips + 1) // 2)
        logits, index = joint.topk(count, dim=1)
        mask = logits > -torch.inf
        spans = torch.stack([index // num_clips, index % num_clips + 1], dim=-1).to(logits.dtype)
        lengths = video_mask.sum(dim=1)
        whole = torch.stack([torch.zeros_like(lengths), lengths], dim=-1).to(spans.dtype)
        spans = torch.where(mask[..., None], spans, whole[:, None])
    return Proposals(spans, logits.masked_fill(~mask, NEGATIVE), mask)
