"""What stage one gives, whichever proposer it has: frames, evidence, and the proposals from it."""

from __future__ import annotations

import dataclasses
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from bpnet.models.dense_proposer import PointPredictions
from bpnet.models.layers import NEGATIVE, negative
from bpnet.models.proposals import choose, expected_iou, expected_spans
from bpnet.models.set_proposer import SlotPredictions
from bpnet.models.span_proposer import BoundaryLogits, top_spans
from bpnet.models.window_proposer import WindowScores
from bpnet.types import Proposals

MOST = 256  # candidates a pair, where all spans would be too many

Evidence: TypeAlias = BoundaryLogits | PointPredictions | SlotPredictions | WindowScores


@dataclasses.dataclass(frozen=True)
class Choice:
    """How proposals are chosen.

    Attributes:
        num_proposals: Proposals K a pair.
        order: What they are ordered by: ``"probability"`` or ``"expected_iou"``.
        nms: Temporal IoU with a better one above which a span is passed over; None: none is.
    """

    num_proposals: int
    order: str
    nms: float | None


@dataclasses.dataclass(frozen=True, eq=False)
class StageOne:
    """What stage one gives.

    Attributes:
        frames: Clips that have read the query (B, T, D).
        highlight_logits: (B, T), -1e30 at padded places; the highlight score is their sigmoid.
        evidence: What the proposer predicts, and is trained by.
        proposals: The K spans that stage two scores, best first.
        clip_keys: What tells how alike clips and query are (B, T, M), or None.
        query_keys: The same of the query (B, heads, M), or None.
    """

    frames: Tensor
    highlight_logits: Tensor
    evidence: Evidence
    proposals: Proposals
    clip_keys: Tensor | None = None
    query_keys: Tensor | None = None


def propose(evidence: Evidence, video_mask: Tensor, choice: Choice) -> Proposals:
    """Choose the spans that the evidence speaks for.

    Args:
        evidence: What the proposer predicts.
        video_mask: (B, T).
        choice: How many of them, and which.

    Returns:
        At most K proposals a pair, best first; logits are the logarithms of the probability, or of
        the expected IoU.
    """
    if isinstance(evidence, BoundaryLogits):
        if choice.order == "expected_iou":
            found = expected_spans(evidence.pairs, evidence.probabilities, evidence.mask)
        else:
            most = choice.num_proposals if choice.nms is None else MOST
            found = top_spans(evidence.pairs, evidence.mask, most)
        chosen = choose(found, choice.num_proposals, choice.nms)
        # Cells of the last kind end with the video, whatever rounding makes of them.
        lengths = video_mask.sum(dim=1)[:, None, None]
        spans = torch.minimum(chosen.spans * evidence.widths[:, None, None], lengths)
        return dataclasses.replace(chosen, spans=spans)
    found = _predicted(evidence)
    if choice.order == "expected_iou":
        found = choose(found, MOST, None)
        expected = expected_iou(found).clamp(min=1e-6).log()
        least = negative(expected.dtype)
        found = dataclasses.replace(found, logits=expected.masked_fill(~found.mask, least))
    return choose(found, choice.num_proposals, choice.nms)


def _predicted(evidence: PointPredictions | SlotPredictions | WindowScores) -> Proposals:
    """Spans that are predicted as such; logits are the logarithms of their probabilities."""
    mask = torch.ones_like(evidence.logits, dtype=torch.bool)
    if not isinstance(evidence, SlotPredictions):
        mask = evidence.mask
    logits = F.logsigmoid(evidence.logits).masked_fill(~mask, NEGATIVE)
    return Proposals(evidence.spans.detach(), logits.detach(), mask)


def boundary_probabilities(evidence: Evidence, num_clips: int) -> Tensor | None:
    """How probable each clip is as the first and as the last of the moment, to be drawn.

    Args:
        evidence: What the proposer predicts.
        num_clips: Number of clips T.

    Returns:
        (B, 2, T), each row sums to 1; None: the proposer predicts spans, and nothing of the kind.
    """
    if not isinstance(evidence, BoundaryLogits):
        return None
    cells = torch.softmax(torch.stack([evidence.start, evidence.end], dim=1), dim=2)
    if cells.shape[2] == num_clips:
        return cells
    # Each clip gets its share of its cell.
    clips = torch.arange(num_clips, device=cells.device) + 0.5
    index = (clips / evidence.widths[:, None]).long().clamp(max=cells.shape[2] - 1)
    spread = cells.gather(2, index[:, None].expand(-1, 2, -1)) / evidence.widths[:, None, None]
    return spread / spread.sum(dim=2, keepdim=True)
