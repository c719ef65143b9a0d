"""Gaussian masks over a video from which a masked sentence can be rebuilt (CNM, CPL).

Zheng et al., *Weakly supervised temporal sentence grounding with Gaussian-based contrastive
proposal learning*, CVPR 2022 (CPL); the same, *Weakly supervised video moment localization with
contrastive negative sample mining*, AAAI 2022 (CNM). Written after them;
none of their code is here.

One half reads sentence and video and gives the centre and the width of one (CNM) or several (CPL)
Gaussian masks. The other half rebuilds the sentence, a part of whose words is masked, word by word
from the words before it and the video under such a mask; a mask is as good as its loss is small.
The best mask of each sentence is trained to be good, and to be better, by a margin, than the whole
video (a hard negative) and than what lies outside of it (an easy one); several masks are trained
not to be the same.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bpnet.errors import ConfigError
from bpnet.evaluation.intervals import tiou
from bpnet.models.build import Sizes
from bpnet.models.places import NUM_WAVES, place_waves
from bpnet.supervision_config import GaussianConfig
from bpnet.types import Batch
from bpnet.weak.candidates import Candidates, Floats
from bpnet.weak.pairs import QueryDataset
from bpnet.weak.sentences import Tokens

WHOLE_MARGIN, OUTSIDE_MARGIN = 0.1, 0.15  # CPL's
OVERLAP = 0.146  # CPL's lambda: the product of a mask with itself,
PLACES = 50  # in a video of so many places
LEAST_WIDTH = 0.02  # of the video
FAINT = 1e-6  # a clip whose mask is less is as good as hidden
TEMPERATURE = 0.1  # of the losses of one sentence's masks, where they become scores


@dataclasses.dataclass(frozen=True, eq=False)
class MaskHint:
    """The masks of one sentence.

    Attributes:
        spans: Centre minus and plus half the width, in clip positions (N, 2), best first.
        scores: (N,), softmax of their negative losses.
    """

    spans: Floats
    scores: Floats

    def candidates(self, extent: float) -> Candidates:
        """See `bpnet.weak.hints.Hint`; a mask says its extent itself."""
        return Candidates(self.spans, self.scores)

    def support(self, spans: Floats, extent: float) -> Floats:
        """How much of the masks' scores lies on masks like these spans."""
        shares: Floats = (tiou(spans[:, None], self.spans[None]) * self.scores).sum(axis=1)
        support: Floats = np.clip(shares / self.scores.sum(), 0, 1)
        return support


class GaussianProposals(nn.Module):
    """Both halves.

    Args:
        sizes: Sizes that follow from the data.
        vectors: Vectors of the words, or None: they are learned.
        config: Masks, widths and weights of the losses.

    Raises:
        ConfigError: Queries come as token features: there are no words to rebuild.
    """

    def __init__(self, sizes: Sizes, vectors: Tensor | None, config: GaussianConfig) -> None:
        super().__init__()
        if sizes.query_dim:
            raise ConfigError(
                "supervision.teachers=[gaussian] with data.query_features: its loss rebuilds "
                "words, and token features are none; use teachers=[evidence]"
            )
        self.config = config
        dim = config.dim
        self.tokens = Tokens(sizes, vectors)
        self.video = nn.Linear(sizes.feature_dim, dim)
        self.query = nn.Linear(self.tokens.dim, dim)
        self.places = nn.Linear(4 * NUM_WAVES, dim)
        self.masked = nn.Parameter(torch.zeros(dim))
        self.start = nn.Parameter(torch.zeros(dim))
        self.summary = nn.Parameter(torch.zeros(dim))
        # Both halves share it (CNM, CPL): what tells words from clips also tells clips by words.
        self.decoder = _decoder(config)
        self.masks = nn.Linear(dim, 2 * config.num_masks)
        self.word = nn.Linear(dim, sizes.num_words)

    def begin(self, pairs: QueryDataset) -> None:
        """There is nothing to take."""

    def finish(self, pairs: QueryDataset) -> None:
        """There is nothing to take."""

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """How well sentences are rebuilt from their masks, and worse from other parts.

        Args:
            batch: Pairs; targets are not read.

        Returns:
            ``rebuild``, ``whole``, ``outside``, ``diversity`` with several masks, and ``total``.
        """
        config = self.config
        video, query = self._read(batch)
        centres, widths = self._locate(video, query, batch)
        masks = gaussian_masks(centres, widths, batch.video_mask, config.sharpness)
        real = batch.video_mask[:, None].to(masks.dtype)
        hidden = self._hide(batch.query_mask)
        weights = torch.cat([masks, real], dim=1)
        found = self._rebuild(video, query, batch, weights, hidden)  # (B, N + 1)
        of_masks, of_whole = found[:, :-1], found[:, -1]
        best = of_masks.argmin(dim=1, keepdim=True)
        outside = real - masks.gather(1, best[..., None].expand(-1, -1, masks.shape[2]))
        of_outside = self._rebuild(video, query, batch, outside, hidden)[:, 0]
        good = of_masks.gather(1, best)[:, 0]
        losses = {
            # The whole video and what lies outside are rebuilt from as well, so that the second
            # half knows what they look like.
            "rebuild": (good + of_whole).mean(),
            "whole": F.relu(good - of_whole + WHOLE_MARGIN).mean(),
            "outside": F.relu(good - of_outside + OUTSIDE_MARGIN).mean(),
        }
        total = losses["rebuild"] + config.in_video_weight * losses["whole"]
        total = total + config.outside_weight * losses["outside"]
        if config.num_masks > 1:
            losses["diversity"] = _alike(masks, batch.video_mask)
            total = total + config.diversity_weight * losses["diversity"]
        return {**losses, "total": total}

    def hints(self, batch: Batch) -> list[MaskHint]:
        """The masks of each pair, and how well each rebuilds every content of its sentence.

        Args:
            batch: Pairs.

        Returns:
            A hint a pair.
        """
        with torch.inference_mode():
            video, query = self._read(batch)
            centres, widths = self._locate(video, query, batch)
            masks = gaussian_masks(centres, widths, batch.video_mask, self.config.sharpness)
            losses = torch.zeros_like(centres)
            places = torch.arange(batch.query_mask.shape[1], device=centres.device)
            turns = max(round(1 / self.config.masked_share), 1)
            for turn in range(turns):  # each word is masked once
                hidden = (places % turns == turn) & batch.query_mask
                losses += self._rebuild(video, query, batch, masks, hidden)
            scores = torch.softmax(-losses / (turns * TEMPERATURE), dim=1).double().cpu().numpy()
            lengths = batch.video_mask.sum(dim=1, keepdim=True)
            ends = torch.stack([centres - widths / 2, centres + widths / 2], dim=-1).clamp(0, 1)
            spans = (ends * lengths[..., None]).double().cpu().numpy()
        hints = []
        for row, its in zip(spans, scores, strict=True):
            order = np.argsort(-its, kind="stable")
            hints.append(MaskHint(row[order], np.maximum(its[order], 1e-12)))
        return hints

    def _read(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Clips (B, T, D) and tokens (B, L, D), without their places."""
        dropout = self.config.dropout
        clips = self.video(F.dropout(batch.video, dropout, self.training))[batch.video_index]
        tokens = self.query(F.dropout(self.tokens(batch), dropout, self.training))
        return clips, tokens

    def _locate(self, video: Tensor, query: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Centres and widths of the masks (B, N), as parts of the video."""
        query = query + self.places(place_waves(batch.query_mask).to(query.dtype))
        # Clips read the words, and one another in order: told their places outright, they learn
        # where moments mostly are, and a single mask stays there.
        length = video.shape[1] + 1
        read = self.decoder(
            torch.cat([video, self.summary.expand(len(video), 1, -1)], dim=1),
            query,
            tgt_mask=torch.ones(length, length, dtype=torch.bool, device=video.device).triu(1),
            tgt_key_padding_mask=~F.pad(batch.video_mask, (0, 1), value=True),
            memory_key_padding_mask=~batch.query_mask,
        )
        found = torch.sigmoid(self.masks(read[:, -1])).view(len(video), -1, 2)
        widths = found[..., 1] * self.config.most_width
        return found[..., 0], widths.clamp(min=LEAST_WIDTH)

    def _hide(self, query_mask: Tensor) -> Tensor:
        """The words to rebuild (B, L) bool: a share of each sentence's, at least one."""
        chance = torch.rand(query_mask.shape, device=query_mask.device).masked_fill(~query_mask, 2)
        counts = (query_mask.sum(dim=1, keepdim=True) * self.config.masked_share).ceil()
        return (chance.argsort(dim=1).argsort(dim=1) < counts) & query_mask

    def _rebuild(
        self, video: Tensor, query: Tensor, batch: Batch, masks: Tensor, hidden: Tensor
    ) -> Tensor:
        """Mean loss of a sentence's words, from the video under masks (B, N, T): (B, N).

        Each word is told from the words before it, of which some are hidden (B, L).
        """
        size, count, length = *masks.shape[:2], query.shape[1]
        known = torch.where(hidden[..., None], self.masked, query)
        known = torch.cat([self.start.expand(size, 1, -1), known[:, :-1]], dim=1)
        known = known + self.places(place_waves(batch.query_mask).to(known.dtype))
        # The sentences of all masks stand behind one another, so that the video is read once for
        # them; none sees the words of another one, and none its own next words.
        place = torch.arange(count * length, device=query.device)
        sentence = place // length
        unseen = (sentence[:, None] != sentence) | (place[:, None] < place)
        # The logarithm of a mask, added to the logits of attention, multiplies its weights.
        faded = masks.clamp(min=FAINT).log().masked_fill(~batch.video_mask[:, None], -torch.inf)
        faded = faded.repeat_interleave(length, dim=1)  # (B, N L, T)
        read = self.decoder(
            known.repeat(1, count, 1),
            video,
            tgt_mask=unseen,
            memory_mask=faded.repeat_interleave(self.config.num_heads, dim=0),
        )
        real = batch.query_mask[:, None].expand(-1, count, -1)
        words = batch.query_ids[:, None].expand(-1, count, -1)
        told = self.word(read.view(size, count, length, -1)[real])  # (real words, words)
        losses = torch.zeros(real.shape, dtype=told.dtype, device=told.device)
        losses = losses.masked_scatter(real, F.cross_entropy(told, words[real], reduction="none"))
        return losses.sum(dim=2) / real.sum(dim=2).clamp(min=1)


def gaussian_masks(centres: Tensor, widths: Tensor, video_mask: Tensor, sharpness: float) -> Tensor:
    """Masks over clips, 1 at their centres.

    Args:
        centres: (B, N), as parts of the video.
        widths: (B, N), likewise, > 0.
        video_mask: (B, T).
        sharpness: The standard deviation is the width divided by it.

    Returns:
        (B, N, T) in [0, 1]; 0 at padded places.
    """
    lengths = video_mask.sum(dim=1)[:, None, None]
    clips = torch.arange(video_mask.shape[1], device=centres.device)
    places = (clips + 0.5) / lengths
    deviations = (widths / sharpness)[..., None]
    masks: Tensor = torch.exp(-((places - centres[..., None]) ** 2) / (2 * deviations**2))
    return masks * video_mask[:, None]


def _alike(masks: Tensor, video_mask: Tensor) -> Tensor:
    """CPL's diversity: how far the masks' products are from `OVERLAP` times the identity.

    A mask's product with itself grows as it narrows, so that this also says how wide it is.
    """
    lengths = video_mask.sum(dim=1)[:, None, None]
    densities = masks / masks.sum(dim=2, keepdim=True) * lengths
    products = densities @ densities.transpose(1, 2) / lengths / PLACES
    wanted = OVERLAP * torch.eye(masks.shape[1], device=masks.device)
    return (products - wanted).square().sum(dim=(1, 2)).mean()


def _decoder(config: GaussianConfig) -> nn.TransformerDecoder:
    layer = nn.TransformerDecoderLayer(
        config.dim,
        config.num_heads,
        2 * config.dim,
        config.dropout,
        batch_first=True,
        norm_first=True,
    )
    return nn.TransformerDecoder(layer, config.num_layers, nn.LayerNorm(config.dim))
