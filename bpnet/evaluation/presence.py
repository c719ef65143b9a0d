"""Is a sentence about this video at all? The score from which it counts as answered; NumPy only.

It is the one of the best F1 (harmonic mean of precision and recall) on the validation part, where
every sentence is asked about its own video and about another one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bpnet.errors import ConfigError


def fit_least_score(true: npt.ArrayLike, mismatched: npt.ArrayLike) -> float:
    """Choose the score that tells sentences about a video from others best.

    Args:
        true: Best scores of sentences about their own videos (N,), N >= 1.
        mismatched: Best scores of sentences about other videos (M,).

    Returns:
        The threshold; it lies half-way to the next score below, and of equally good ones it is the
        lowest, which answers most.

    Raises:
        ConfigError: There are no true scores.
    """
    own = np.asarray(true, dtype=np.float64)
    if not len(own):
        raise ConfigError("no score of a sentence about its own video to fit a threshold to")
    every = np.unique(np.concatenate([own, np.asarray(mismatched, dtype=np.float64)]))
    values = [presence(own, mismatched, score)["f1"] for score in every]
    best = int(np.argmax(values))
    return float(every[best] + every[best - 1]) / 2 if best else float(every[0])


def presence(
    true: npt.ArrayLike, mismatched: npt.ArrayLike, least_score: float
) -> dict[str, float]:
    """How well a threshold tells sentences about a video from others.

    Args:
        true: Best scores of sentences about their own videos (N,), N >= 1.
        mismatched: Best scores of sentences about other videos (M,).
        least_score: From which a sentence counts as answered.

    Returns:
        ``precision``: share of the answered sentences that are about their video; 1 where none is
        answered. ``recall``: share of the sentences about their videos that are answered. ``f1``.
    """
    found = int((np.asarray(true) >= least_score).sum())
    wrong = int((np.asarray(mismatched) >= least_score).sum())
    precision = found / (found + wrong) if found + wrong else 1.0
    recall = found / len(np.asarray(true))
    f1 = 2 * precision * recall / (precision + recall) if found else 0.0
    return {"precision": precision, "recall": recall, "f1": f1}
