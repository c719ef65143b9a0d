"""Activation -> the spans where it rises above its level: functions of arrays alone.

Spans are half-open pairs of clip positions, as everywhere.
"""

from __future__ import annotations

import numpy as np

from bpnet.weak.candidates import Floats

STEP = 0.1  # of the exponent, up and down: a span that it moves little is certain


def lifted(activation: Floats) -> Floats:
    """How far each clip rises above the median, which is the level of what is not meant.

    Args:
        activation: (T,).

    Returns:
        (T,), >= 0.
    """
    return np.maximum(activation - np.median(activation), 0.0)


def contrasts(activation: Floats, spans: Floats, extent: float) -> Floats:
    """How much better two levels, one inside a span and one outside, describe an activation.

    With n clips of which k are inside, this is ``(mean inside - mean outside) * (k (n - k) / n) **
    extent`` of the `lifted` activation. With the exponent 1/2 its square is what the two levels
    take from the sum of squares: the statistic of a change in the mean (Sen, Srivastava, 1975), and
    Otsu's threshold in one dimension. It needs no height at which an activation would be cut: of a
    weak sentence the levels are near each other, of a strong one they are not.

    Args:
        activation: (T,).
        spans: Real-valued (N, 2), within the video; a clip that is covered in part counts in part.
        extent: The exponent; a smaller one is for shorter spans.

    Returns:
        (N,); 0 for the whole video.
    """
    sums = np.concatenate([[0.0], np.cumsum(lifted(activation))])
    places, count = np.arange(len(sums)), len(activation)
    inside = np.interp(spans[:, 1], places, sums) - np.interp(spans[:, 0], places, sums)
    lengths = spans[:, 1] - spans[:, 0]
    outside = count - lengths
    real = (lengths > 0) & (outside > 0)
    lengths, outside = np.where(real, lengths, 1.0), np.where(real, outside, 1.0)
    means = inside / lengths - (sums[-1] - inside) / outside
    found: Floats = np.where(real, means * (lengths * outside / count) ** extent, 0.0)
    return found


def best_spans(activation: Floats, extent: float) -> tuple[Floats, Floats]:
    """The span of the largest contrast, and the largest one beside it.

    Args:
        activation: (T,), T >= 1.
        extent: See `contrasts`.

    Returns:
        One or two spans (N, 2) of whole clips, and their contrasts (N,). The whole video where no
        clip differs from the others.
    """
    starts, ends = np.triu_indices(len(activation) + 1, k=1)
    spans = np.stack([starts, ends], axis=1).astype(np.float64)
    values = contrasts(activation, spans, extent)
    best = int(values.argmax())
    if values[best] <= 0:
        return np.array([[0.0, len(activation)]]), np.zeros(1)
    beside = np.where((ends <= starts[best]) | (starts >= ends[best]), values, 0.0)
    chosen = [best, int(beside.argmax())] if beside.max() > 0 else [best]
    return spans[chosen], values[chosen]


def activation_candidates(activation: Floats, extent: float) -> tuple[Floats, Floats]:
    """The best span by three exponents, and the next one beside it.

    Args:
        activation: (T,).
        extent: See `contrasts`.

    Returns:
        Spans (N, 2) and their scores (N,): 1 for the best ones, and for the next one its contrast
        as a share of the best.
    """
    found, values = best_spans(activation, extent)
    others = [best_spans(activation, max(extent + step, 0.0))[0][0] for step in (-STEP, STEP)]
    spans = np.concatenate([found[:1], others, found[1:]])
    return spans, np.concatenate([np.ones(3), values[1:] / max(values[0], 1e-12)])


def span_support(activation: Floats, extent: float, spans: Floats) -> Floats:
    """The contrast of spans as a share of the best.

    Args:
        activation: (T,).
        extent: See `contrasts`.
        spans: Real-valued (N, 2), within the video.

    Returns:
        (N,) in [0, 1].
    """
    most = best_spans(activation, extent)[1][0]
    if most <= 0:
        return np.zeros(len(spans))
    support: Floats = np.clip(contrasts(activation, spans, extent) / most, 0, 1)
    return support


def explained(activation: Floats, span: Floats) -> float:
    """Which part of an activation's variance two levels explain, inside and outside of a span.

    Args:
        activation: (T,); it is `lifted`.
        span: (2,).

    Returns:
        In [0, 1]; 0 of an activation that is level.
    """
    high = lifted(activation)
    total = float(np.square(high - high.mean()).sum())
    if total <= 0:
        return 0.0
    return float(min(contrasts(activation, span[None], 0.5)[0] ** 2 / total, 1.0))
