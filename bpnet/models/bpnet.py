"""BPNet: encoder, interaction, proposer and stage two (AAAI 2021, arXiv 2103.08109).

Without stage two, and with the proposer ``span``, it is VSLNet.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bpnet.attention import KVLayout
from bpnet.models.dense_proposer import DenseProposer
from bpnet.models.encoder import Encoded, Encoder
from bpnet.models.interaction import Interaction
from bpnet.models.kept import KeptPairs
from bpnet.models.output import BPNetOutput, of_both_stages, of_stage_one
from bpnet.models.set_proposer import SetProposer
from bpnet.models.span_proposer import SpanProposer
from bpnet.models.stage_one import Choice, StageOne, propose
from bpnet.models.stage_two import StageTwo
from bpnet.models.trunk import KeysValues
from bpnet.models.window_proposer import WindowProposer
from bpnet.types import Batch


class BPNet(nn.Module):
    """Two-stage localization: anchor-free proposals, then a score for each.

    Args:
        encoder: Both sides to the shared width.
        interaction: Clips read the query.
        proposer: Stage one.
        choice: How its proposals are chosen.
        stage_two: What scores its proposals; None: there is no stage two.
        detach_stage_two: Whether stage two sends no gradient to the parts before it.
        score_fusion: Exponent a in ``score * confidence ** a``.
    """

    def __init__(
        self,
        encoder: Encoder,
        interaction: Interaction,
        proposer: SpanProposer | DenseProposer | SetProposer | WindowProposer,
        choice: Choice,
        stage_two: StageTwo | None,
        *,
        detach_stage_two: bool = False,
        score_fusion: float = 0.0,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.interaction = interaction
        self.proposer = proposer
        self.choice = choice
        self.stage_two = stage_two
        self.detach_stage_two = detach_stage_two
        self.score_fusion = score_fusion

    def forward(self, batch: Batch) -> BPNetOutput:
        """Localize every query of a batch in its video.

        Args:
            batch: Padded pairs.

        Returns:
            The output of the stages.
        """
        video = self.encode_video(batch.video, batch.clip_mask())
        if len(video.states) < len(batch.video_index):
            video = video.pick(batch.video_index)
        return self.localize(video, batch)

    def encode_video(
        self,
        video: Tensor,
        video_mask: Tensor,
        clip_seconds: Tensor | None = None,
        past: Sequence[KeysValues] = (),
    ) -> Encoded:
        """The part that does not depend on a query.

        Args:
            video: Clip features (B, T, C).
            video_mask: (B, T).
            clip_seconds: Not read: places are counted in clips.
            past: Always empty: a clip sees the whole video.

        Returns:
            The clips.
        """
        assert not past, "clips that see the whole video have no past"
        return self.encoder.encode_video(video, video_mask)

    def layout(self) -> KVLayout:
        """What `keep` makes of a clip: its state in the place of a key, its own key as a value."""
        weight = self.encoder.video_projection.weight
        return KVLayout(1, 1, len(weight), weight.dtype, weight.device)

    def keep(self, video: Encoded) -> tuple[Tensor, Tensor]:
        """An encoded video as a tree keeps it.

        Args:
            video: Of one video, from `encode_video`.

        Returns:
            Two of (1, 1, T, D), without a gradient.
        """
        states = video.states.detach()[None]
        keys = torch.zeros_like(states) if video.keys is None else video.keys.detach()[None]
        return states, keys

    def judge_kept(self, pairs: KeptPairs, query: Encoded, query_mask: Tensor) -> BPNetOutput:
        """Both stages, of videos that a tree keeps; without gradients.

        Args:
            pairs: The videos.
            query: The tokens of each pair (B, L, D).
            query_mask: (B, L).

        Returns:
            The output of the stages.
        """
        videos, index = pairs.distinct_videos()
        views = [node.path_view() for node in videos]
        states, keys = (torch.stack([view[0, side, 0] for view in views]) for side in (0, 1))
        has_keys = self.encoder.similarity is not None
        video = Encoded(states, keys if has_keys else None).pick(index)
        mask = query_mask.new_ones(video.states.shape[:2])
        return self.judge(video, query, mask, query_mask)

    def localize(self, video: Encoded, batch: Batch) -> BPNetOutput:
        """The part that does.

        Args:
            video: The clips, from `encode_video`, a row a pair.
            batch: The queries and the masks; its raw clips are not read.

        Returns:
            The output of the stages.
        """
        query = self.encoder.encode_query(
            batch.query_ids, batch.char_ids, batch.query_mask, batch.query_features
        )
        return self.judge(video, query, batch.video_mask, batch.query_mask)

    def judge(
        self, video: Encoded, query: Encoded, video_mask: Tensor, query_mask: Tensor
    ) -> BPNetOutput:
        """Both stages, of sides that are encoded.

        Args:
            video: The clips (B, T, D).
            query: The tokens (B, L, D).
            video_mask: (B, T).
            query_mask: (B, L).

        Returns:
            The output of the stages.
        """
        masks = (video_mask, query_mask)
        stage_one = self.propose(video, query, *masks)
        proposals, frames, tokens = stage_one.proposals, stage_one.frames, query.states
        if self.stage_two is None:
            return of_stage_one(stage_one)
        if self.detach_stage_two:
            frames, tokens = frames.detach(), tokens.detach()
        spans, logits = self.stage_two(frames, tokens, *masks, proposals)
        moves = self.stage_two.refiner is not None
        nms = self.choice.nms if moves and not self.training else None
        return of_both_stages(stage_one, spans, logits, self.score_fusion, nms)

    def propose(
        self, video: Encoded, query: Encoded, video_mask: Tensor, query_mask: Tensor
    ) -> StageOne:
        """Stage one.

        Args:
            video: The clips (B, T, D).
            query: The tokens (B, L, D).
            video_mask: (B, T).
            query_mask: (B, L).

        Returns:
            Frames, the proposer's predictions, and the proposals.
        """
        read = self.interaction(video, query, video_mask, query_mask)
        evidence = self.proposer(read.frames, video_mask)
        proposals = propose(evidence, video_mask, self.choice)
        return StageOne(
            read.frames,
            read.highlight_logits,
            evidence,
            proposals,
            video.keys,
            query.keys,
        )
