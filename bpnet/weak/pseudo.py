"""What several sources hold for a moment -> pseudo moments with a confidence, and their weights.

Functions of arrays alone. Spans are half-open pairs of clip positions, as everywhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from bpnet.evaluation.intervals import tiou
from bpnet.weak.candidates import Candidates, Floats

SAME_IOU = 0.5  # from which two spans are of one cluster


@dataclasses.dataclass(frozen=True, eq=False)
class PseudoMoments:
    """What a student is taught of one sentence.

    Attributes:
        spans: Its moment, and further ones (N, 2), N >= 1.
        confidence: In [0, 1].
    """

    spans: Floats
    confidence: float


def clusters(spans: Floats, scores: Floats) -> tuple[Floats, Floats]:
    """Gather spans that overlap: each cluster is led by the best one that is in none yet.

    Args:
        spans: (N, 2).
        scores: (N,), >= 0.

    Returns:
        The score-weighted mean span of each cluster (M, 2), and its score (M,), the sum of its
        members'; best first.
    """
    left = np.argsort(-scores, kind="stable")
    means, sums = [], []
    while len(left):
        near = tiou(spans[left[:1]], spans[left])  # (n,)
        members = left[near >= SAME_IOU]
        if not len(members):  # a span without a length overlaps nothing, not even itself
            members = left[:1]
        weights = scores[members]
        weights = weights if weights.sum() > 0 else np.ones_like(weights)
        means.append((weights[:, None] * spans[members]).sum(axis=0) / weights.sum())
        sums.append(float(scores[members].sum()))
        left = left[~np.isin(left, members)]
    order = np.argsort(-np.array(sums), kind="stable")
    return np.array(means)[order], np.array(sums)[order]


def fuse(sources: Sequence[Candidates], another_moment: float) -> PseudoMoments:
    """What several sources together hold for the moment.

    Each source has one vote, shared among its spans by their scores.

    Args:
        sources: The spans of each.
        another_moment: Score of a further cluster, as a share of the best, from which it is a
            moment as well; 1: never.

    Returns:
        The moments, and their confidence: the share of the votes that the best cluster has, times
        the mean overlap of the sources' own best spans, times their mean certainty.
    """
    votes = [one.scores / one.scores.sum() for one in sources]
    spans = np.concatenate([one.spans for one in sources])
    means, sums = clusters(spans, np.concatenate(votes))
    share = sums[0] / sums.sum()
    certainty = float(np.mean([one.certainty for one in sources]))
    firsts = np.array([one.spans[0] for one in sources])
    overlaps = tiou(firsts[:, None], firsts[None])[np.triu_indices(len(firsts), k=1)]
    agreement = float(overlaps.mean()) if len(overlaps) else 1.0
    more = (sums >= another_moment * sums[0]) if another_moment < 1 else np.zeros(len(sums), bool)
    more[0] = True
    return PseudoMoments(means[more], float(np.clip(share * agreement * certainty, 0, 1)))


def weights_of(confidences: Floats, left_out: float) -> Floats:
    """How much each pseudo moment counts: its confidence, and 0 for the least certain ones.

    Args:
        confidences: (N,) in [0, 1].
        left_out: Share of them that count nothing, in [0, 1).

    Returns:
        (N,) of mean 1; all 1 where no confidence is above 0.
    """
    weights = confidences.copy()
    if left_out:
        order = np.argsort(weights, kind="stable")
        weights[order[: int(left_out * len(weights))]] = 0
    mean = weights.mean()
    return weights / mean if mean > 0 else np.ones_like(weights)
