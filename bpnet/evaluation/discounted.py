"""dR@n,IoU=m: recall in which a hit counts less, the further its boundaries are off; NumPy only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bpnet.errors import AnnotationError
from bpnet.evaluation.intervals import Ragged, check_lengths, overlaps, pad_targets
from bpnet.evaluation.metrics import RANKS, THRESHOLDS
from bpnet.evaluation.protocols import Protocol
from bpnet.evaluation.ranking import rank


def discounted_recall(
    predictions: Ragged,
    targets: Ragged,
    durations: npt.ArrayLike,
    protocol: Protocol,
    ranks: Sequence[int] = RANKS,
    thresholds: Sequence[float] = THRESHOLDS,
    scores: Ragged | None = None,
) -> dict[str, float]:
    """Discounted recall, as proposed with the CD splits of Charades-STA and ActivityNet.

    A hit counts ``(1 - |start error| / duration) * (1 - |end error| / duration)`` instead of 1, so
    that a long guess for a long moment no longer counts in full. For n > 1 and for several targets,
    which the proposal leaves open, a query counts the largest value among the hits of its first n
    moments: so dR@n never falls with n and never exceeds R@n.

    Args:
        predictions: As in `bpnet.evaluation.metrics.localization_metrics`.
        targets: As there.
        durations: Lengths of the videos in seconds (Q,), > 0.
        protocol: As there.
        ranks: As there.
        thresholds: As there.
        scores: As there.

    Returns:
        Percent by name: ``"dR@1,IoU=0.3"``, ... An error of more than the duration counts as all
        of it, so every value is in [0, 100].

    Raises:
        AnnotationError: As there; or there are not as many durations as queries, or one is not
            finite and > 0.
    """
    lengths = np.asarray(durations, np.float64)
    check_lengths(predictions=predictions, targets=targets, durations=lengths)
    wanted = pad_targets(targets)
    bad = ~(np.isfinite(lengths) & (lengths > 0))
    if bad.any():
        raise AnnotationError(
            f"duration of query number {np.flatnonzero(bad)[0]}: {lengths[bad][0]} s: expected a "
            f"finite number > 0 ({bad.sum()} of {len(lengths)} are not)"
        )
    found = rank(predictions, protocol, max(ranks), scores).moments
    values = overlaps(found, wanted)  # (Q, N, M)
    errors = np.abs(found.seconds[:, :, None] - wanted.seconds[:, None])  # (Q, N, M, 2)
    discounts = (1.0 - errors / lengths[:, None, None, None]).clip(min=0.0).prod(axis=-1)

    def percent(count: int, threshold: float) -> float:
        gains = np.where(protocol.hits(values, threshold), discounts, 0.0)[:, :count]
        return 100.0 * float(gains.max(axis=(1, 2)).mean())

    return {
        f"dR@{count},IoU={threshold:g}": percent(count, threshold)
        for count in ranks
        for threshold in thresholds
    }
