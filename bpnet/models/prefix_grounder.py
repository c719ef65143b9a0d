"""PrefixGrounder: BPNet's two stages on a trunk that reads a video once for all its queries.

Information flows one way, from video to query to proposal (`bpnet.models.trunk`), so what is
computed of a video does not depend on the query, and is kept; a proposal sees no other one, so its
score does not depend on how many there are. Inputs, outputs and losses are those of BPNet.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bpnet.attention import KVLayout, Node
from bpnet.models.boundary_head import BoundaryHead
from bpnet.models.encoder import Encoded, Encoder
from bpnet.models.kept import KeptPairs
from bpnet.models.matching import Matching
from bpnet.models.output import BPNetOutput, of_both_stages, of_stage_one
from bpnet.models.places import NUM_WAVES, place_waves
from bpnet.models.readers import DenseReader, Reader
from bpnet.models.span_means import Summed
from bpnet.models.stage_one import Choice
from bpnet.models.tree_reader import TreeReader
from bpnet.models.trunk import KeysValues, Trunk, dense_attention, video_visible
from bpnet.types import Batch

VIDEO, QUERY, PROPOSAL = 0, 1, 2  # levels


@dataclasses.dataclass(frozen=True, eq=False)
class TrunkVideo:
    """What is kept of clips, apart.

    Attributes:
        past: Keys and values (B, T, H, d) in each layer.
        stem: What went into the trunk (B, T, D).
        clips: What came out of it, as the head reads it (B, T, width).
    """

    past: list[KeysValues]
    stem: Tensor
    clips: Tensor


class PrefixGrounder(nn.Module):
    """Two-stage localization on a shared trunk.

    Args:
        encoder: Clips and words to the shared width, each by itself.
        trunk: What all tokens go through.
        head: Stage one.
        choice: How its proposals are chosen.
        stage_two: What scores its proposals; None: there is no stage two.
        causal: Whether a clip sees its own chunk and those before it only, so that a video can
            grow; else it sees the whole video.
        detach_stage_two: Whether stage two sends no gradient to the parts before it.
        score_fusion: Exponent a in ``score * confidence ** a``.
    """

    def __init__(
        self,
        encoder: Encoder,
        trunk: Trunk,
        head: BoundaryHead,
        choice: Choice,
        stage_two: Matching | None,
        *,
        causal: bool = False,
        detach_stage_two: bool = False,
        score_fusion: float = 0.0,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.trunk = trunk
        self.head = head
        self.choice = choice
        self.stage_two = stage_two
        self.causal = causal
        self.detach_stage_two = detach_stage_two
        self.score_fusion = score_fusion
        dim = trunk.dim
        self.levels = nn.Parameter(torch.randn(3, dim) * 0.02)
        self.summary = nn.Parameter(torch.randn(dim) * 0.02)
        self.word_place = nn.Linear(4 * NUM_WAVES, dim)

    def forward(self, batch: Batch) -> BPNetOutput:
        """Localize every query of a batch in its video.

        Args:
            batch: Padded pairs.

        Returns:
            The output of the stages.
        """
        video = self.encode_video(batch.video, batch.clip_mask(), batch.clip_seconds)
        if len(video.states) < len(batch.video_index):
            video = video.pick(batch.video_index)
        query = self.encoder.encode_query(
            batch.query_ids, batch.char_ids, batch.query_mask, batch.query_features
        )
        return self.judge(video, query, batch.video_mask, batch.query_mask)

    def encode_video(
        self,
        video: Tensor,
        video_mask: Tensor,
        clip_seconds: Tensor,
        past: Sequence[KeysValues] = (),
    ) -> Encoded:
        """The part that does not depend on a query.

        Args:
            video: Clip features (B, T, C).
            video_mask: (B, T).
            clip_seconds: Where the clips begin and end (B, T, 2).
            past: Keys and values (B, P, H, d) in each layer of the whole chunks before these clips,
                where ``causal``; empty: they begin the video.

        Returns:
            For each clip, side by side: its keys and values in all layers, what went into the
            trunk, and what came out of it, as the head reads it (B, T, (2 layers + 1) D + width).
        """
        stem = self.encoder.encode_video(video, video_mask)
        assert self.causal or not past, "clips that see the whole video have no past"
        visible = video_visible(video_mask, self.causal)
        if past:
            before = past[0][0].shape[1]
            visible = F.pad(visible, (before, 0), value=True)
        attention = dense_attention(visible, past)
        middles = clip_seconds.mean(dim=2)
        states, kept = self.trunk(stem.states + self.levels[VIDEO], middles, attention)
        clips = self.head.video(states) * video_mask[..., None]
        flat = [side.flatten(2) for layer in kept for side in layer]
        return Encoded(torch.cat([*flat, stem.states, clips], dim=2), stem.keys, clip_seconds)

    def layout(self) -> KVLayout:
        """What `keep` makes of a clip: keys and values, and behind the layers what else is kept."""
        trunk = self.trunk
        weight = self.encoder.video_projection.weight
        keys = 0 if self.encoder.similarity is None else trunk.dim
        layers = len(trunk.blocks) + -(-(trunk.dim + self.head.width + keys) // (2 * trunk.dim))
        return KVLayout(layers, trunk.num_heads, trunk.head_dim, weight.dtype, weight.device)

    def keep(self, video: Encoded) -> tuple[Tensor, Tensor]:
        """An encoded video as a tree keeps it.

        Args:
            video: Of one video, from `encode_video`.

        Returns:
            Keys and values (layers, H, T, d), without a gradient. The layers behind the trunk's
            hold what else is kept of a clip, side by side.
        """
        rows = video.states if video.keys is None else torch.cat([video.states, video.keys], dim=2)
        layout = self.layout()
        size = (layout.num_layers, 2, layout.num_kv_heads, layout.head_dim)
        rows = F.pad(rows[0].detach(), (0, math.prod(size) - rows.shape[2]))
        k, v = torch.unflatten(rows, 1, size).permute(2, 1, 3, 0, 4).unbind(0)
        return k, v

    def past(self, node: Node) -> list[KeysValues]:
        """Keys and values (1, T, H, d) in each layer, of a video that a tree keeps."""
        layers = node.path_view()[: len(self.trunk.blocks)].transpose(2, 3)[:, :, None]
        return [(keys, values) for keys, values in layers]

    def judge_kept(self, pairs: KeptPairs, query: Encoded, query_mask: Tensor) -> BPNetOutput:
        """Both stages, of videos that a tree keeps; without gradients.

        Args:
            pairs: The videos.
            query: The tokens of each pair (B, L, D).
            query_mask: (B, L).

        Returns:
            The output of the stages.
        """
        videos, which = pairs.distinct_videos()
        layers = [node.path_view()[len(self.trunk.blocks) :] for node in videos]  # (n, 2, H, T, d)
        rows = torch.stack([one.permute(3, 0, 1, 2, 4).flatten(1) for one in layers])
        dim, width = self.trunk.dim, self.head.width
        stem, clips, keys = rows[..., :dim], rows[..., dim : dim + width], rows[..., dim + width :]
        mask = query_mask.new_ones(rows.shape[:2])

        def each(x: Tensor) -> Tensor:
            # All about one video, they read the same numbers where they lie.
            return x.expand(len(which), -1, -1) if len(x) == 1 else x[which]

        has_keys = self.encoder.similarity is not None
        video = Encoded(
            each(self.head.placed(clips, mask)),
            each(keys[..., :dim]) if has_keys else None,
            pairs.seconds,
        )
        mask = mask[:1].expand(len(which), -1)
        with TreeReader(self.trunk, pairs.tree, pairs.videos, pairs.query_keys) as reader:
            return self.read(reader, video, Summed.of(stem).each(each), query, mask, query_mask)

    def apart(self, states: Tensor) -> TrunkVideo:
        """What `encode_video` put side by side."""
        *flat, stem, clips = torch.split(states, self.trunk.dim, dim=2)
        sides = [torch.unflatten(side, 2, (self.trunk.num_heads, -1)) for side in flat]
        return TrunkVideo(list(zip(sides[::2], sides[1::2], strict=True)), stem, clips)

    def judge(
        self, video: Encoded, query: Encoded, video_mask: Tensor, query_mask: Tensor
    ) -> BPNetOutput:
        """Both stages.

        Args:
            video: The clips of each pair, from `encode_video`.
            query: The tokens (B, L, D), from ``encoder.encode_query``.
            video_mask: (B, T).
            query_mask: (B, L).

        Returns:
            The output of the stages.
        """
        kept = self.apart(video.states)
        reader = DenseReader(self.trunk, kept.past, video_mask, self.detach_stage_two)
        clips = Encoded(self.head.placed(kept.clips, video_mask), video.keys, video.seconds)
        return self.read(reader, clips, Summed.of(kept.stem), query, video_mask, query_mask)

    def read(
        self,
        reader: Reader,
        video: Encoded,
        stem: Summed,
        query: Encoded,
        video_mask: Tensor,
        query_mask: Tensor,
    ) -> BPNetOutput:
        """Both stages, whichever way the tokens go through the trunk.

        Args:
            reader: That way.
            video: What came out of the trunk, as the head reads it (B, T, width), with keys and
                seconds.
            stem: What went into it (B, T, D).
            query: The tokens (B, L, D).
            video_mask: (B, T).
            query_mask: (B, L).

        Returns:
            The output of the stages.
        """
        mask = F.pad(query_mask, (1, 0), value=True)
        read = reader.queries(self.query_tokens(query.states, query_mask), mask)
        words = self.head.narrowed(Encoded(read, query.keys), mask)
        stage_one = self.head(video, words, video_mask, mask, self.choice)
        proposals = stage_one.proposals
        if self.stage_two is None:
            return of_stage_one(stage_one)
        assert video.seconds is not None
        frames, states = stage_one.frames, words.states
        if self.detach_stage_two:
            stem = stem.each(Tensor.detach)
            frames, states = frames.detach(), states.detach()
        made = self.stage_two.tokens(stem, video.seconds, video_mask, proposals)
        tokens, seconds = made[0] + self.levels[PROPOSAL], made[1]
        read = reader.proposals(tokens, seconds, proposals.mask)
        spans, logits = self.stage_two(read, frames, states, video_mask, mask, proposals)
        moves = self.stage_two.refiner is not None
        nms = self.choice.nms if moves and not self.training else None
        return of_both_stages(stage_one, spans, logits, self.score_fusion, nms)

    def query_tokens(self, words: Tensor, query_mask: Tensor) -> Tensor:
        """Words (B, L, D) with their places, behind the summary token (B, L + 1, D)."""
        places = self.word_place(place_waves(query_mask).to(words.dtype))
        summary = self.summary.to(words.dtype).expand(len(words), 1, -1)
        return torch.cat([summary, words + places], dim=1) + self.levels[QUERY]
