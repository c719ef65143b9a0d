"""Student's t interval of the mean of a few independent numbers, such as runs; NumPy only."""

from __future__ import annotations

import math

import numpy as np

from bpnet.evaluation.intervals import Array


def half_width(values: Array, level: float = 0.95) -> Array:
    """Half the length of the t interval of a mean.

    ``t * s / sqrt(n)`` with s the standard deviation (n - 1) and t the quantile of Student's
    distribution with n - 1 degrees of freedom: 12.7 for two values, 4.30 for three, 2.78 for five.

    Args:
        values: Independent numbers, n in each column (n, C), n >= 2.
        level: Chance that the interval holds the expectation, in (0, 1), if the numbers are normal.

    Returns:
        Half widths (C,).
    """
    num = len(values)
    assert num >= 2, num
    spread: Array = np.std(values, axis=0, ddof=1)
    return quantile(level, num - 1) * spread / math.sqrt(num)


def quantile(level: float, degrees: int) -> float:
    """The t that |T| exceeds with the chance ``1 - level``.

    Args:
        level: In (0, 1).
        degrees: Degrees of freedom, >= 1.

    Returns:
        The quantile.
    """
    low, high = 0.0, 1.0
    while _inside(high, degrees) < level:
        high *= 2
    for _ in range(200):  # halves the interval down to neighbouring floats
        middle = (low + high) / 2
        if _inside(middle, degrees) < level:
            low = middle
        else:
            high = middle
    return high


def _inside(t: float, degrees: int) -> float:
    """P(|T| <= t), from the finite sums of Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    angle = math.atan(t / math.sqrt(degrees))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2
    term = total = 0.0
    if degrees > 1:
        term = total = sine * cosine if odd else sine
    for number in range(2 + odd, degrees, 2):
        # The next term has the factors (number - 1) / number and cos^2.
        term *= (number - 1) / number * cosine**2
        total += term
    return 2 / math.pi * (angle + total) if odd else total
