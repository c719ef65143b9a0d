"""What the stages of a network give: spans, and the scores that answers are ranked by."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

import torch
from torch import Tensor

from bpnet.models.proposals import without_repeats
from bpnet.models.stage_one import StageOne

Output = TypeVar("Output")


@dataclasses.dataclass(frozen=True, eq=False)
class BPNetOutput:
    """What the stages give.

    Attributes:
        stage_one: Frames, the proposer's predictions, and the proposals, best first.
        spans: The proposals with their boundaries refined, where they are, and as they are
            otherwise (B, K, 2).
        score_logits: Stage two's logits (B, K) for those spans; None: stage one alone.
        scores: What the answers are ranked by (B, K): the matching score, weighted with the
            confidence of stage one where ``score_fusion`` asks for it; of stage one alone that
            confidence; -1 where there is no proposal, or a moved one lies on a better one.
    """

    stage_one: StageOne
    spans: Tensor
    score_logits: Tensor | None
    scores: Tensor

    def rows(self, which: slice) -> BPNetOutput:
        """The same of some pairs."""
        return _rows(self, which)


def of_stage_one(stage_one: StageOne) -> BPNetOutput:
    """What stage one gives alone: its proposals, ranked by their confidence."""
    proposals = stage_one.proposals
    confidence = proposals.logits.exp().masked_fill(~proposals.mask, -1.0)
    return BPNetOutput(stage_one, proposals.spans, None, confidence)


def of_both_stages(
    stage_one: StageOne, spans: Tensor, logits: Tensor, score_fusion: float, nms: float | None
) -> BPNetOutput:
    """What both stages give.

    Args:
        stage_one: With its proposals.
        spans: The proposals, perhaps moved (B, K, 2).
        logits: Stage two's, of their scores (B, K).
        score_fusion: Exponent a in ``score * confidence ** a``.
        nms: A span that overlaps a better one by more than this temporal IoU repeats it. None: none
            does; where no span is moved, the choice has seen to it, and no loss reads scores.

    Returns:
        The output.
    """
    proposals = stage_one.proposals
    scores = torch.sigmoid(logits)
    if score_fusion:
        scores = scores * (score_fusion * proposals.logits).exp()
    scores = scores.masked_fill(~proposals.mask, -1.0)
    if nms is not None:
        scores = without_repeats(spans.detach(), scores.detach(), nms)
    return BPNetOutput(stage_one, spans, logits, scores)


def _rows(output: Output, which: slice) -> Output:
    """Some pairs of a dataclass whose tensors, and whose dataclasses' tensors, are (B, ...)."""
    picked: dict[str, Any] = {}
    for field in dataclasses.fields(output):  # type: ignore[arg-type]  # a dataclass
        value = getattr(output, field.name)
        if isinstance(value, Tensor):
            picked[field.name] = value[which]
        elif dataclasses.is_dataclass(value):
            picked[field.name] = _rows(value, which)
    return dataclasses.replace(output, **picked)  # type: ignore[type-var]
