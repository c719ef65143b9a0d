"""Stage one behind a trunk: clips that know no query meet the tokens that have read the video."""

from __future__ import annotations

import dataclasses

from torch import Tensor, nn

from bpnet.models.encoder import Encoded
from bpnet.models.interaction import Interaction
from bpnet.models.places import NUM_WAVES, place_waves
from bpnet.models.span_proposer import SpanProposer
from bpnet.models.stage_one import Choice, StageOne, propose


class BoundaryHead(nn.Module):
    """BPNet's interaction and span proposer at a smaller width: all that a further query costs.

    Only here do neighbouring clips meet in convolutions: it runs anew for each query, so they
    change nothing that is kept of a video.

    Args:
        dim: Width D of the trunk.
        width: Width of the head.
        interaction: Clips read the query.
        proposer: Boundary probabilities.
    """

    def __init__(
        self, dim: int, width: int, interaction: Interaction, proposer: SpanProposer
    ) -> None:
        super().__init__()
        self.width = width
        self.video = nn.Linear(dim, width)
        self.query = nn.Linear(dim, width)
        self.place = nn.Linear(4 * NUM_WAVES, width)
        self.interaction = interaction
        self.proposer = proposer

    def placed(self, clips: Tensor, video_mask: Tensor) -> Tensor:
        """Clips that know where in their video they lie.

        Args:
            clips: Clips that came out of the trunk, by the layer ``video`` (V, T, width).
            video_mask: (V, T).

        Returns:
            (V, T, width); padded places are zero.
        """
        places: Tensor = self.place(place_waves(video_mask).to(clips.dtype))
        return (clips + places) * video_mask[..., None]

    def narrowed(self, query: Encoded, query_mask: Tensor) -> Encoded:
        """Tokens as the head reads them.

        Args:
            query: Tokens that came out of the trunk (B, L, D).
            query_mask: (B, L).

        Returns:
            (B, L, width); padded places are zero.
        """
        return dataclasses.replace(query, states=self.query(query.states) * query_mask[..., None])

    def forward(
        self,
        video: Encoded,
        query: Encoded,
        video_mask: Tensor,
        query_mask: Tensor,
        choice: Choice,
    ) -> StageOne:
        """Propose spans.

        Args:
            video: Clips, from `placed` (B, T, width).
            query: Tokens, from `narrowed` (B, L, width).
            video_mask: (B, T).
            query_mask: (B, L).
            choice: How proposals are chosen.

        Returns:
            Frames, the proposer's predictions, and the proposals.
        """
        read = self.interaction(video, query, video_mask, query_mask)
        evidence = self.proposer(read.frames, video_mask)
        proposals = propose(evidence, video_mask, choice)
        return StageOne(
            read.frames, read.highlight_logits, evidence, proposals, video.keys, query.keys
        )
