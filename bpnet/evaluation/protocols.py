"""Named evaluation protocols: the rules that decide boundary cases, as frozen values."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
import numpy.typing as npt

from bpnet.errors import ConfigError

HitRule = Literal[">=", ">"]


@dataclasses.dataclass(frozen=True)
class Protocol:
    """The rules by which ranked moments are counted; its name is printed with every number.

    The rules that all protocols share: temporal IoU is computed in seconds with the hull in the
    denominator; R@n,IoU=m is the share of queries of which at least one of the first n moments,
    after suppression, hits the target; mIoU is the mean temporal IoU of the first moment; no query
    is dropped, and one without an answer counts as missed.

    - ``"vslnet"`` (VSLNet, SeqPAN, BPNet; the house default): a hit is tIoU >= m, no suppression.
    - ``"tan"`` (2D-TAN): a hit is tIoU > m, and before counting, a moment goes that overlaps a
      better one by strictly more than 0.5. (2D-TAN's "mIoU" averages the last three of the sorted
      overlaps of the first moment; with one target a query that is the overlap itself.) It drops
      queries with start >= end; the annotation readers have repaired or dropped these before.

    Attributes:
        name: What ``protocol`` finds it by.
        hit: How a temporal IoU is compared with m.
        nms_threshold: Temporal IoU in [0, 1] that must be exceeded strictly for a worse moment to
            be suppressed; None keeps all.
    """

    name: str
    hit: HitRule
    nms_threshold: float | None

    def hits(self, overlaps: npt.NDArray[np.float64], threshold: float) -> npt.NDArray[np.bool_]:
        """Which temporal IoUs (...) reach a threshold, as bool (...)."""
        return overlaps >= threshold if self.hit == ">=" else overlaps > threshold


VSLNET = Protocol(name="vslnet", hit=">=", nms_threshold=None)
TAN = Protocol(name="tan", hit=">", nms_threshold=0.5)
PROTOCOLS = (VSLNET, TAN)


def protocol(name: str) -> Protocol:
    """The protocol of a name.

    Args:
        name: ``"vslnet"`` or ``"tan"``.

    Returns:
        Its rules.

    Raises:
        ConfigError: There is no such protocol; the message lists those that there are.
    """
    for preset in PROTOCOLS:
        if preset.name == name:
            return preset
    known = ", ".join(preset.name for preset in PROTOCOLS)
    raise ConfigError(f"protocol {name!r} is unknown: expected one of {known}")
