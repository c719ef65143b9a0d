"""Stage one, set: learned slots each predict one span; the nearest to the target is trained to it
and the others to silence (Moment-DETR's set prediction).
"""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bpnet.spans import paired_tiou

# Moment-DETR's weights of the L1 distance, of the generalised IoU and of the class, in the matching
# and in the loss, and the weight of an empty slot's class.
NUM_LAYERS = 2  # of the decoder, as Moment-DETR's
L1_WEIGHT, GIOU_WEIGHT, CLASS_WEIGHT, EMPTY_WEIGHT = 10.0, 1.0, 4.0, 0.1


@dataclasses.dataclass(frozen=True, eq=False)
class SlotPredictions:
    """One span a slot.

    Attributes:
        spans: (B, N, 2), within the video.
        logits: (B, N); their sigmoid is the probability that the slot holds a moment.
        lengths: Lengths of the videos in clips (B,).
    """

    spans: Tensor
    logits: Tensor
    lengths: Tensor


class SetProposer(nn.Module):
    """Learned slots that read the frames through a transformer decoder.

    Args:
        dim: Width D.
        num_heads: Attention heads.
        num_slots: Slots N.
        dropout: Share that is dropped.
    """

    def __init__(self, dim: int, num_heads: int, num_slots: int, dropout: float) -> None:
        super().__init__()
        self.slots = nn.Parameter(torch.randn(num_slots, dim))
        layer = nn.TransformerDecoderLayer(
            dim, num_heads, 4 * dim, dropout, batch_first=True, norm_first=True
        )
        self.decoder = nn.TransformerDecoder(layer, NUM_LAYERS, norm=nn.LayerNorm(dim))
        self.span = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, 2))
        self.foreground = nn.Linear(dim, 1)

    def forward(self, frames: Tensor, video_mask: Tensor) -> SlotPredictions:
        """Predict a span for every slot.

        Args:
            frames: (B, T, D).
            video_mask: (B, T).

        Returns:
            The predictions.
        """
        slots = self.slots[None].expand(frames.shape[0], -1, -1)
        read = self.decoder(slots, frames, memory_key_padding_mask=~video_mask)
        centre, width = torch.sigmoid(self.span(read).float()).unbind(dim=-1)
        lengths = video_mask.sum(dim=1)
        relative = torch.stack([centre - width / 2, centre + width / 2], dim=-1).clamp(0, 1)
        spans = relative * lengths[:, None, None]
        return SlotPredictions(spans, self.foreground(read).squeeze(-1).float(), lengths)


def match(slots: SlotPredictions, targets: Tensor) -> Tensor:
    """A slot for each target, the cheapest first; none is given twice.

    With one target a query, as nearly all datasets have it, this is the optimal assignment.

    Args:
        slots: Predictions of N slots.
        targets: (B, M, 2) in clip positions; repetitions of the first stand for nothing.

    Returns:
        Indices of the slots (B, M) int64; -1 for repetitions, and where the slots run out.
    """
    with torch.no_grad():
        overlap, distance = _compare(slots, targets)
        presence = torch.sigmoid(slots.logits)[:, :, None]
        cost = L1_WEIGHT * distance - GIOU_WEIGHT * overlap - CLASS_WEIGHT * presence  # (B, N, M)
        repeated = (targets == targets[:, :1]).all(dim=-1)
        repeated[:, 0] = False
        cost = cost.masked_fill(repeated[:, None], torch.inf)
        size, num_slots, num_targets = cost.shape
        matched = torch.full((size, num_targets), -1, device=cost.device)
        rows = torch.arange(size, device=cost.device)
        for _ in range(min(num_slots, num_targets)):
            least, flat = cost.flatten(1).min(dim=1)
            slot, target = flat // num_targets, flat % num_targets
            matched[rows, target] = torch.where(least < torch.inf, slot, matched[rows, target])
            cost[rows, slot] = torch.inf
            cost[rows, :, target] = torch.inf
    return matched


def set_loss(slots: SlotPredictions, targets: Tensor) -> Tensor:
    """L1 distance and generalised IoU of the matched slots, and the presence of all.

    Args:
        slots: Predictions of N slots.
        targets: (B, M, 2) in clip positions; repetitions of the first stand for nothing.

    Returns:
        Scalar, mean over the batch.
    """
    matched = match(slots, targets)
    real = matched >= 0
    index = matched.clamp(min=0)
    overlap, distance = (
        value.gather(1, index[:, None])[:, 0][real] for value in _compare(slots, targets)
    )
    labels = torch.zeros_like(slots.logits).scatter_add(1, index, real.to(slots.logits.dtype))
    weights = torch.where(labels > 0, 1.0, EMPTY_WEIGHT)
    presence = F.binary_cross_entropy_with_logits(slots.logits, labels, weights, reduction="none")
    spans = L1_WEIGHT * distance.mean() + GIOU_WEIGHT * (1 - overlap).mean()
    loss: Tensor = spans + CLASS_WEIGHT * presence.sum() / weights.sum()
    return loss


def _compare(slots: SlotPredictions, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Generalised IoU and L1 distance (in shares of the video) of slots and targets (B, N, M)."""
    spans, others = slots.spans[:, :, None], targets[:, None].to(slots.spans.dtype)
    hull = torch.maximum(spans[..., 1], others[..., 1]) - torch.minimum(
        spans[..., 0], others[..., 0]
    )
    gap = torch.maximum(spans[..., 0], others[..., 0]) - torch.minimum(
        spans[..., 1], others[..., 1]
    )
    overlap = paired_tiou(spans, others) - gap.clamp(min=0) / hull.clamp(min=1e-6)
    distance = (spans - others).abs().sum(dim=-1) / slots.lengths[:, None, None]
    return overlap, distance
