"""Evidence: how much more a clip speaks for a sentence than for the other sentences.

A clip x and a sentence q meet as a bilinear form ``f(x, q)``. By Bayes' rule

    s_t(q) = f(x_t, q) - log mean_q' exp f(x_t, q')

estimates log p(q | x_t) / p(q): above 0 the clip speaks for the sentence. A video with T clips, of
which any may be meant, speaks for it with ``log mean_t exp s_t``, and these scores are trained to
tell which sentence belongs to which video (InfoNCE, both ways).

Two things let it find how far a moment extends, where attention finds its most telling clip alone.
A clip is judged by itself, so that all clips of a moment that look alike are as high as the best
one. And what is common to all sentences falls out, so that idle clips are at 0.

With a context pool a video is trained to speak for a sentence by its contexts z as well,

    log p(q | v, z) / p(q) = log p(q | z) / p(q) + log mean_t exp s_t

whose first term is counted beforehand, and not learned: what the contexts tell is told from the
first step on, and a clip that shows a context has nothing to add. Asked without z, the factor
p(q | z) / p(q) is summed over all z with their rates P(z), and is 1, as sum_z P(z) p(q | z) = p(q):
the activation of the clips is the answer as it stands.
"""

from __future__ import annotations

import logging
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bpnet.data.collate import collate
from bpnet.models.build import Sizes
from bpnet.models.dropout import Dropout
from bpnet.models.layers import NEGATIVE, masked_softmax
from bpnet.supervision_config import EvidenceConfig
from bpnet.types import Batch
from bpnet.weak.contrasts import best_spans
from bpnet.weak.hide_and_seek import hide_pieces
from bpnet.weak.hints import ActivationHint
from bpnet.weak.pairs import QueryDataset, VideoClips
from bpnet.weak.query_contexts import QueryContexts
from bpnet.weak.sentences import Tokens
from bpnet.weak.standard import Standardised, spread

log = logging.getLogger(__name__)

SCALE = 4.0  # of the forms at the start: so that they tell something from the first step on
NUM_RIVALS = 512  # sentences of the training part that a clip is compared with at the end
NUM_PIECES = 8  # of a video, for hide-and-seek
MARGIN = 0.25  # of its length, on both sides of a span: its outside
EXTENT = 0.5  # while it is trained, for the contrast


class Evidence(nn.Module):
    """The bilinear form, and its losses.

    Args:
        sizes: Sizes that follow from the data.
        vectors: Vectors of the words, or None: they are learned.
        config: Width, dropout and options.
        contexts: The concepts of the sentences and the pool; None: nothing is adjusted.
    """

    rivals: Tensor

    def __init__(
        self,
        sizes: Sizes,
        vectors: Tensor | None,
        config: EvidenceConfig,
        contexts: QueryContexts | None = None,
    ) -> None:
        super().__init__()
        self.config, self.contexts = config, contexts
        self.tokens = Tokens(sizes, vectors)
        self.standard = Standardised(sizes.feature_dim)
        self.clip = nn.Linear(sizes.feature_dim, config.dim)
        self.salience = nn.Linear(self.tokens.dim, 1)
        self.sentence = nn.Linear(self.tokens.dim, config.dim)
        self.dropout = Dropout(config.dropout)
        self.register_buffer("rivals", torch.zeros(NUM_RIVALS, config.dim))

    def begin(self, pairs: QueryDataset) -> None:
        """Take the mean and the deviation of the clip features, and fit the pool.

        Args:
            pairs: The training sentences with their videos.
        """
        self.standard.fit(VideoClips(pairs))
        if self.contexts is not None:
            self.contexts.fit(pairs)
            log.info("evidence is told of the contexts of: %s", self.contexts.named_as_told())

    def finish(self, pairs: QueryDataset) -> None:
        """Keep the sentences that a clip is compared with from now on.

        Args:
            pairs: The training sentences.
        """
        # Of fewer sentences than there are rows some are taken twice: the mean stays nearly that.
        chosen = spread(len(pairs), NUM_RIVALS)
        with torch.inference_mode():
            batch = collate([pairs[place] for place in chosen]).to(self.rivals.device)
            sentences = self._sentences(batch)
        repeats = torch.arange(NUM_RIVALS, device=sentences.device) % len(sentences)
        self.rivals.copy_(sentences[repeats])

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """How well sentences and videos find each other.

        Args:
            batch: Pairs about two videos at least; targets are not read.

        Returns:
            ``matching``, ``contrast`` where it has a weight, and ``total``.
        """
        mask, index = batch.clip_mask(), batch.video_index
        own = F.one_hot(index, len(mask)).T.bool()  # (V, B)
        video = batch.video
        if self.config.hidden_share and self.training:
            share = self.config.hidden_share
            video = hide_pieces(video, mask, self.standard.mean, share, NUM_PIECES)
        forms = self._forms(video, self._sentences(batch))  # (V, B, T)
        evidence = forms - self._rivalry(forms, own)
        evidence = evidence.masked_fill(~mask[:, None], NEGATIVE)
        counts = mask.sum(dim=1).to(forms.dtype)
        scores = evidence.logsumexp(dim=2) - counts.log()[:, None]
        if self.contexts is not None:
            scores = scores + self.contexts.told(batch)
        pairs = torch.arange(len(index), device=index.device)
        positive = scores[index, pairs]
        others = scores.masked_fill(own, NEGATIVE)
        rivals = others.logsumexp(dim=1)[index]  # sentences of other videos
        losses = {
            "matching": F.cross_entropy(scores.T, index) + F.softplus(rivals - positive).mean()
        }
        total = losses["matching"]
        if self.config.contrast_weight:
            losses["contrast"] = self._contrast(evidence[index, pairs], mask[index])
            total = total + self.config.contrast_weight * losses["contrast"]
        return {**losses, "total": total}

    def hints(self, batch: Batch) -> list[ActivationHint]:
        """The activation of each pair.

        Args:
            batch: Pairs.

        Returns:
            A hint a pair.
        """
        with torch.inference_mode():
            sentences = self._sentences(batch)
            clips = self._clips(batch.video)
            scale = math.sqrt(clips.shape[-1])
            rivalry = (clips @ self.rivals.T / scale).logsumexp(dim=2) - math.log(NUM_RIVALS)
            own = torch.einsum("btd,bd->bt", clips[batch.video_index], sentences) / scale
            found = (own - rivalry[batch.video_index]).double().cpu().numpy()
        lengths = batch.video_mask.sum(dim=1).tolist()
        return [ActivationHint(row[:length]) for row, length in zip(found, lengths, strict=True)]

    def _clips(self, video: Tensor) -> Tensor:
        clips: Tensor = self.clip(self.dropout(self.standard(video)))
        return clips

    def _sentences(self, batch: Batch) -> Tensor:
        tokens = self.dropout(self.tokens(batch))
        weights = masked_softmax(self.salience(tokens).squeeze(-1), batch.query_mask)
        sentences: Tensor = SCALE * self.sentence((weights[:, None] @ tokens).squeeze(1))
        return sentences

    def _forms(self, video: Tensor, sentences: Tensor) -> Tensor:
        """Clips (V, T, C) and sentences (B, D) to (V, B, T)."""
        clips = self._clips(video)
        return torch.einsum("vtd,bd->vbt", clips, sentences) / math.sqrt(clips.shape[-1])

    def _rivalry(self, forms: Tensor, own: Tensor) -> Tensor:
        """log mean_q' exp f(x_t, q'), over the batch: (V, 1 or B, T)."""
        weight = self.config.in_video_weight
        size = math.log(forms.shape[1])
        if weight == 1:
            return forms.logsumexp(dim=1, keepdim=True) - size
        # The other sentences about the same video count less; a sentence itself counts fully.
        fewer = math.log(max(weight, 1e-9)) * own[..., None]
        common = (forms + fewer).logsumexp(dim=1, keepdim=True)
        itself = torch.logaddexp(common, forms + math.log1p(-weight) if weight < 1 else forms)
        return torch.where(own[..., None], itself, common) - size

    def _contrast(self, activation: Tensor, mask: Tensor) -> Tensor:
        """How far the margins of the found span rise towards its inside (OICR's kin), in [0, 1]."""
        scaled = torch.sigmoid(activation)
        inside, outside = torch.zeros_like(mask), torch.zeros_like(mask)
        for row, real, near, far in zip(activation, mask, inside, outside, strict=True):
            values = row[real].detach().double().cpu().numpy()
            start, end = best_spans(values, EXTENT)[0][0].astype(int)
            margin = max(math.ceil(MARGIN * (end - start)), 1)
            near[start:end] = True
            far[max(start - margin, 0) : end + margin] = True
        outside = outside & ~inside & mask
        means = [
            (scaled * part).sum(dim=1) / part.sum(dim=1).clamp(min=1) for part in (outside, inside)
        ]
        return torch.where(outside.any(dim=1), 1 + means[0] - means[1], 0.0).mean()
