"""How far probabilities are from what happens: reliability curve, calibration error, AUROC; NumPy.

The expected calibration error is ``sum_b n_b / N |mean probability - share that is right|`` over
bins of probabilities (Naeini, Cooper, Hauskrecht, AAAI 2015; Guo et al., ICML 2017). Our bins hold
equally many answers, not equally wide pieces of [0, 1], of which most would be nearly empty.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from bpnet.evaluation.intervals import Array

NUM_BINS = 10


@dataclasses.dataclass(frozen=True)
class Bin:
    """Answers of neighbouring probabilities.

    Attributes:
        probability: Their mean probability.
        right: Share of them that is right.
        count: Their number, >= 1.
    """

    probability: float
    right: float
    count: int


def reliability_curve(
    probabilities: npt.ArrayLike, right: npt.ArrayLike, num_bins: int = NUM_BINS
) -> list[Bin]:
    """Bins of equally many answers, by ascending probability.

    Args:
        probabilities: Of the answers (N,), N >= 1.
        right: Whether each is right (N,) bool.
        num_bins: Largest number of bins, >= 1. Equal probabilities stay in one bin, so that the
            order of the answers does not matter; there are fewer bins then.

    Returns:
        The bins, none empty.
    """
    values = np.asarray(probabilities, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    ascending, hits = values[order], np.asarray(right, dtype=np.float64)[order]
    wanted = [round(len(values) * place / num_bins) for place in range(1, num_bins + 1)]
    # An end among equal probabilities moves behind the last of them.
    ends = sorted(
        {int(np.searchsorted(ascending, ascending[end - 1], "right")) for end in wanted if end}
    )
    return [
        Bin(float(ascending[first:end].mean()), float(hits[first:end].mean()), end - first)
        for first, end in zip([0, *ends], ends, strict=False)
    ]


def calibration_error(curve: list[Bin]) -> float:
    """The expected calibration error, in [0, 1].

    Args:
        curve: What `reliability_curve` gave.

    Returns:
        The error.
    """
    total = sum(one.count for one in curve)
    return sum(one.count * abs(one.probability - one.right) for one in curve) / total


def auroc(positives: npt.ArrayLike, negatives: npt.ArrayLike) -> float:
    """Chance that one of the first scores higher than one of the second; a tie is half.

    Args:
        positives: Scores (N,), N >= 1.
        negatives: Scores (M,), M >= 1.

    Returns:
        The area under the ROC curve, in [0, 1]; 0.5 where the scores tell nothing.
    """
    ascending: Array = np.sort(np.asarray(negatives, dtype=np.float64))
    scores = np.asarray(positives, dtype=np.float64)
    below = np.searchsorted(ascending, scores, "left")
    up_to = np.searchsorted(ascending, scores, "right")
    return float((below + up_to).sum() / (2 * len(scores) * len(ascending)))
