"""BPNet: encoder, proposer, fusion and scorer, in this order (AAAI 2021, arXiv 2103.08109).

Without fusion and scorer it is stage one alone, which is VSLNet.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from bpnet.models.encoder import Encoder
from bpnet.models.fusion import Fusion
from bpnet.models.proposer import Proposer, StageOne
from bpnet.models.scorer import Scorer
from bpnet.types import Batch


@dataclasses.dataclass(frozen=True, eq=False)
class BPNetOutput:
    """What the stages give.

    Attributes:
        stage_one: Boundary logits, and the proposals, most probable first.
        score_logits: Stage two's logits (B, K) for those proposals; None: stage one alone.
        scores: What the answers are ranked by (B, K): the matching score, weighted with the
            boundary probabilities where ``score_fusion`` asks for it; of stage one alone
            P_start * P_end; -1 where there is no proposal.
    """

    stage_one: StageOne
    score_logits: Tensor | None
    scores: Tensor


class BPNet(nn.Module):
    """Two-stage localization: anchor-free proposals, then a score for each.

    Args:
        encoder: Both sides to the shared width.
        proposer: Stage one.
        fusion: Joins each proposal with the query; None: there is no stage two.
        scorer: Rates the result; None with it.
        detach_stage_two: Whether stage two sends no gradient to the parts before it.
        score_fusion: Exponent a in ``score * (P_start * P_end) ** a``.
    """

    def __init__(
        self,
        encoder: Encoder,
        proposer: Proposer,
        fusion: Fusion | None,
        scorer: Scorer | None,
        *,
        detach_stage_two: bool = False,
        score_fusion: float = 0.0,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.proposer = proposer
        self.fusion = fusion
        self.scorer = scorer
        self.detach_stage_two = detach_stage_two
        self.score_fusion = score_fusion

    def forward(self, batch: Batch) -> BPNetOutput:
        """Localize every query of a batch in its video.

        Args:
            batch: Padded pairs.

        Returns:
            The output of the stages.
        """
        video = self.encode_video(batch.video, batch.video_mask)
        return self.localize(video, batch)

    def encode_video(self, video: Tensor, video_mask: Tensor) -> Tensor:
        """The part that does not depend on a query: (B, T, C) to (B, T, D)."""
        return self.encoder.encode_video(video, video_mask)

    def localize(self, video: Tensor, batch: Batch) -> BPNetOutput:
        """The part that does.

        Args:
            video: Encoded clips (B, T, D), from `encode_video`.
            batch: The queries and the masks; its raw clips are not read.

        Returns:
            The output of the stages.
        """
        masks = (batch.video_mask, batch.query_mask)
        query = self.encoder.encode_query(
            batch.query_ids, batch.char_ids, batch.query_mask, batch.query_features
        )
        stage_one = self.proposer(video, query, *masks)
        proposals, frames = stage_one.proposals, stage_one.frames
        if self.fusion is None or self.scorer is None:
            probabilities = proposals.logits.exp().masked_fill(~proposals.mask, -1.0)
            return BPNetOutput(stage_one, None, probabilities)
        if self.detach_stage_two:
            frames, query = frames.detach(), query.detach()
        fused = self.fusion(frames, query, *masks, proposals)
        logits = self.scorer(fused)
        scores = torch.sigmoid(logits)
        if self.score_fusion:
            scores = scores * (self.score_fusion * proposals.logits).exp()
        return BPNetOutput(stage_one, logits, scores.masked_fill(~proposals.mask, -1.0))
