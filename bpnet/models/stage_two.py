"""Stage two: proposals x query -> a matching score for each, and better boundaries."""

from __future__ import annotations

from torch import Tensor, nn

from bpnet.models.fusion import Fusion
from bpnet.models.relations import Relations
from bpnet.models.scorer import Refiner, Scorer
from bpnet.types import Proposals


class StageTwo(nn.Module):
    """Fusion and scorer, with what may stand between and beside them.

    Args:
        fusion: Joins each proposal with the query.
        relations: Lets proposals read one another; None: each is judged alone.
        scorer: Rates the result.
        refiner: Moves the boundaries; None: they stay.
    """

    def __init__(
        self, fusion: Fusion, relations: Relations | None, scorer: Scorer, refiner: Refiner | None
    ) -> None:
        super().__init__()
        self.fusion = fusion
        self.relations = relations
        self.scorer = scorer
        self.refiner = refiner

    def forward(
        self,
        frames: Tensor,
        query: Tensor,
        video_mask: Tensor,
        query_mask: Tensor,
        proposals: Proposals,
    ) -> tuple[Tensor, Tensor]:
        """Judge proposals.

        Args:
            frames: Clips of stage one (B, T, D).
            query: Encoded tokens (B, L, D).
            video_mask: (B, T).
            query_mask: (B, L).
            proposals: Spans (B, K, 2).

        Returns:
            Spans (B, K, 2), refined where there is a refiner, and logits of their scores (B, K).
        """
        fused = self.fusion(frames, query, video_mask, query_mask, proposals)
        if self.relations is not None:
            fused = self.relations(fused, proposals, video_mask)
        spans = proposals.spans
        if self.refiner is not None:
            spans = self.refiner(fused, proposals, video_mask)
        return spans, self.scorer(fused, proposals)
