"""Stage two behind a trunk: what became of the tokens of each proposal, and its clips -> its score.

The tokens alone know where in the whole video a proposal lies, and with few training videos learn
its moments by heart: their moves of the boundaries then do harm (docs/prefix.md).
"""

from __future__ import annotations

from torch import Tensor, nn

from bpnet.models.fusion import Fusion
from bpnet.models.proposal_tokens import ProposalTokens
from bpnet.models.scorer import Refiner, Scorer
from bpnet.types import Proposals


class Matching(nn.Module):
    """Stage two: tokens of each proposal go through the trunk, and are scored with its clips.

    Args:
        tokens: Makes them.
        fusion: Sums up the clips of stage one, which have read the query, in and around a span.
        evidence: Brings that to the width of the tokens.
        scorer: Rates what comes out.
        refiner: Moves the boundaries; None: they stay.
    """

    def __init__(
        self,
        tokens: ProposalTokens,
        fusion: Fusion,
        evidence: nn.Linear,
        scorer: Scorer,
        refiner: Refiner | None,
    ) -> None:
        super().__init__()
        self.tokens = tokens
        self.fusion = fusion
        self.evidence = evidence
        self.scorer = scorer
        self.refiner = refiner

    def forward(
        self,
        read: Tensor,
        frames: Tensor,
        query: Tensor,
        video_mask: Tensor,
        query_mask: Tensor,
        proposals: Proposals,
    ) -> tuple[Tensor, Tensor]:
        """Judge proposals.

        Args:
            read: What came out of the trunk (B, K n, D).
            frames: Clips of stage one (B, T, width).
            query: Tokens of the query that stage one read (B, L, width).
            video_mask: (B, T).
            query_mask: (B, L).
            proposals: Spans (B, K, 2).

        Returns:
            Spans (B, K, 2), refined where there is a refiner, and logits of their scores (B, K).
        """
        fused = self.fusion(frames, query, video_mask, query_mask, proposals)
        fused = self.tokens.joined(read) + self.evidence(fused)
        spans = proposals.spans
        if self.refiner is not None:
            spans = self.refiner(fused, proposals, video_mask)
        return spans, self.scorer(fused, proposals)
