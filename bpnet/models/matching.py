"""Stage two behind a trunk: what became of the tokens of each proposal -> its score."""

from __future__ import annotations

from torch import Tensor, nn

from bpnet.models.proposal_tokens import ProposalTokens
from bpnet.models.scorer import Refiner, Scorer
from bpnet.types import Proposals


class Matching(nn.Module):
    """Stage two: tokens of each proposal go through the trunk, and are scored.

    Args:
        tokens: Makes them.
        scorer: Rates what comes out.
        refiner: Moves the boundaries; None: they stay.
    """

    def __init__(self, tokens: ProposalTokens, scorer: Scorer, refiner: Refiner | None) -> None:
        super().__init__()
        self.tokens = tokens
        self.scorer = scorer
        self.refiner = refiner

    def forward(
        self, read: Tensor, proposals: Proposals, video_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Judge proposals.

        Args:
            read: What came out of the trunk (B, K n, D).
            proposals: Spans (B, K, 2).
            video_mask: (B, T).

        Returns:
            Spans (B, K, 2), refined where there is a refiner, and logits of their scores (B, K).
        """
        fused = self.tokens.joined(read)
        spans = proposals.spans
        if self.refiner is not None:
            spans = self.refiner(fused, proposals, video_mask)
        return spans, self.scorer(fused, proposals)
