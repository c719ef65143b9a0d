"""ActivationHead: how much each clip speaks for a sentence, learned without any moment.

Relevance and selection of clips in the form of WSDDN (Bilen, Vedaldi, *Weakly supervised deep
detection networks*, 2016): ``score(v, q) = sum_t softmax_t(u_t) r_t``. Both read one hidden layer

    h_t = ReLU(A x_t + B q + C_z)

whose first part is additive in clip, sentence and context z. With ``backdoor`` the head is trained
with the context that each video is seen to have, and a term ``w_z . q`` lets the context itself
answer, so that the clips of the context need not. At inference it is summed over all contexts with
their rates P(z), exactly: as the first layer is additive, a context costs one more ReLU, and not
another network.
"""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bpnet.contexts.pool import ContextPool
from bpnet.models.layers import masked_softmax


@dataclasses.dataclass(frozen=True, eq=False)
class Activation:
    """What the head says of pairs of a video and a sentence; ``...`` are their dimensions.

    Attributes:
        relevance: How much each clip speaks for the sentence (..., T); 0 at padded places.
        scores: How well the video fits the sentence (...).
        plain_scores: With ``cicam``, scores (...) of the branch without maps, which is trained too.
    """

    relevance: Tensor
    scores: Tensor
    plain_scores: Tensor | None = None


class ActivationHead(nn.Module):
    """Relevance, selection and scores of pairs.

    Args:
        clip_dim: Width C of the clips.
        query_dim: Width E of the sentences.
        hidden_dim: Width D.
        pool: What it adjusts for, fitted; None: nothing (``none``).
    """

    def __init__(
        self, clip_dim: int, query_dim: int, hidden_dim: int, pool: ContextPool | None = None
    ) -> None:
        super().__init__()
        self.clip = nn.Linear(clip_dim, hidden_dim)
        self.query = nn.Linear(query_dim, hidden_dim, bias=False)
        self.relevance = nn.Linear(hidden_dim, 1)
        self.selection = nn.Linear(hidden_dim, 1)
        self.pool = pool
        mode = "none" if pool is None else pool.config.intervention
        self.context = self.answer = self.enhance = None
        if pool is not None and mode == "backdoor":
            # No context is what the others are told apart from: without any, this is `none`.
            self.context = nn.Parameter(torch.zeros(pool.num_strata - 1, hidden_dim))
            self.answer = nn.Parameter(torch.zeros(pool.num_strata - 1, query_dim))
        if pool is not None and mode == "cicam":
            self.enhance = nn.Linear(len(pool.maps.maps), hidden_dim)

    def forward(
        self,
        clips: Tensor,
        mask: Tensor,
        queries: Tensor,
        concepts: Tensor,
        strata: Tensor | None = None,
    ) -> Activation:
        """Score pairs. Dimensions ``...`` broadcast: (V, 1, T, C) and (Q, E) give all pairs.

        Args:
            clips: (..., T, C).
            mask: (..., T).
            queries: (..., E).
            concepts: The concepts of each sentence (..., K) bool; only ``cicam`` reads them.
            strata: The observed stratum of each video (...) int64, in training with ``backdoor``;
                None: summed over all of them, which is the answer at inference.

        Returns:
            The activation.
        """
        joined = self.clip(clips) + self.query(queries)[..., None, :]
        if self.context is not None and self.answer is not None:
            return self._adjusted(joined, mask, queries, strata)
        hidden = F.relu(joined)
        plain = self._read(hidden, mask)
        if self.enhance is None or self.pool is None:
            return plain
        maps = self.pool.maps(mask) * concepts[..., None, :]
        enhanced = self._read(hidden + hidden * self.enhance(maps), mask)
        return Activation(enhanced.relevance, enhanced.scores, plain.scores)

    def _adjusted(
        self, joined: Tensor, mask: Tensor, queries: Tensor, strata: Tensor | None
    ) -> Activation:
        assert self.context is not None and self.answer is not None and self.pool is not None
        context, answer = (_from_none(table) for table in (self.context, self.answer))
        if strata is not None:
            told = self._read(F.relu(joined + context[strata][..., None, :]), mask)
            direct = (answer[strata] * queries).sum(dim=-1)
            return Activation(told.relevance, told.scores + direct)
        relevance = scores = joined.new_zeros(())
        for stratum in self.pool.prior.nonzero().flatten():
            rate = self.pool.prior[stratum]
            told = self._read(F.relu(joined + context[stratum]), mask)
            relevance = relevance + rate * told.relevance
            scores = scores + rate * (told.scores + queries @ answer[stratum])
        return Activation(relevance, scores)

    def _read(self, hidden: Tensor, mask: Tensor) -> Activation:
        relevance = self.relevance(hidden).squeeze(-1)
        weights = masked_softmax(self.selection(hidden).squeeze(-1), mask)
        relevance = relevance * mask
        return Activation(relevance, (weights * relevance).sum(dim=-1))


def combinational(
    relevance: Tensor, others: Tensor, other_scores: Tensor, lowest: int = 20
) -> Tensor:
    """Take away what a video shows for any sentence: the combinational map of NL-CCAM, in time.

    Args:
        relevance: Of a sentence's clips (B, T).
        others: Of other sentences' in the same videos (B, N, T).
        other_scores: Their scores (B, N).
        lowest: How many of them, the lowest scored, stand for the background.

    Returns:
        The relevance less the mean of theirs (B, T).
    """
    count = min(lowest, other_scores.shape[1])
    chosen = other_scores.topk(count, dim=1, largest=False).indices
    index = chosen[..., None].expand(-1, -1, relevance.shape[1])
    return relevance - others.gather(1, index).mean(dim=1)


def _from_none(table: Tensor) -> Tensor:
    """Rows of contexts, behind a row of zeros for a video that has none."""
    return F.pad(table, (0, 0, 1, 0))
