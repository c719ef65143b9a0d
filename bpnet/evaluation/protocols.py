"""Named evaluation protocols: the rules that decide boundary cases, as frozen values.

The rules that all protocols share here: temporal IoU is computed in seconds with the hull in the
denominator; of several targets of a query the one with the highest temporal IoU counts; R@n,IoU=m
is the share of queries of which at least one of the first n moments, after suppression, hits; mIoU
is the mean temporal IoU of the first moment; no query is dropped, and one without an answer counts
as missed.

=========== =========== === ================================= ==== =====================
name        ActivityNet hit suppression                       kept authors report
=========== =========== === ================================= ==== =====================
vslnet      val_1       >=  none                              all  R@1, mIoU
tan         val_2       >   NMS .45 Charades, .5 ActivityNet, all  R@1, R@5, mIoU
                            .4 TACoS, .5 else
ms-tan      val_2       >   NMS .49                           all  R@1, R@5, mIoU
mmn         val_2       >=  NMS .4 TACoS, .5 else             all  R@1, R@5
lgi         val_merged  >=  none                              all  R@1, mIoU
snag        val_2       >=  soft-NMS sigma .9, voting .95,    5    R@1, R@5
                            scores below .001 dropped
moment-detr val_1       >=  none, but times are rounded       10   R@1, mAP, saliency
=========== =========== === ================================= ==== =====================

Columns that a family does not report are computed all the same, because the blind rows beside them
need a common measure; `Protocol.notes` says so, and the note is printed with the table.

- ``vslnet`` (VSLNet, SeqPAN, BPNet) is the house default. One answer a query.
- ``tan`` (2D-TAN): its config files have one threshold for the pooled and one for the convolutional
  model; ours are those of the pooled one, whose results are the ones usually cited. (Convolutional:
  .5 everywhere; ``dataclasses.replace(protocol("tan"), nms_threshold=0.5)``.) Its code keeps the
  best five after suppression, the largest n that it counts; keeping more changes none of its
  numbers. Its "mIoU" averages the last three of the sorted overlaps of the first moment; with one
  target a query that is the overlap itself.
- ``ms-tan`` (MS-2D-TAN): as ``tan``, suppressed at .49 for all datasets.
- ``mmn``: as ``tan`` with ``>=``. Its code fails where fewer than n > 1 moments are left after
  suppression; here these count as they are.
- ``lgi``: the mIoU of its code is that of the best of the first five moments. Its model gives one
  answer, so its published mIoU is that of the first moment, and so is ours.
- ``snag``: its parts are those of its own json files. Scores must be given, and be >= 0. Its model
  also drops candidates before suppression (scores <= .001, more than 2,000 of them, lengths <= .1
  positions); that is no part of this.
- ``moment-detr``: times are rounded to 4 decimals, moved into 0 to 150 s (QVHighlights and Charades
  only), and rounded to a multiple of the clip length, half to even. Clip lengths of other datasets
  than QVHighlights are those of its followers (CG-DETR, Lighthouse): 1 s for Charades, 2 s for
  TACoS and ActivityNet; others are not rounded. AP takes ten moments a query.

Targets with start >= end: all but ``vslnet``, ``lgi`` and ``moment-detr`` drop them when loading.
`bpnet.data` drops them for all, and says how many; no test part has any.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal

from bpnet.config import DATASETS
from bpnet.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

HitRule = Literal[">=", ">"]

# Which publication's numbers a dataset's thresholds come from: a re-split keeps its parent's.
_PARENTS = {
    "charades_cd": "charades_sta",
    "activitynet_cd": "activitynet",
    "tacos_tall": "tacos_2dtan",
}
_NMS = {
    "tan": {"charades_sta": 0.45, "activitynet": 0.5, "tacos_2dtan": 0.4},
    "mmn": {"charades_sta": 0.5, "activitynet": 0.5, "tacos_2dtan": 0.4},
}
# The parts on which the authors' numbers were measured, in the names of our readers.
_TAN_PARTS: dict[str, tuple[str, ...]] = {
    "charades_sta": ("test",),
    "activitynet": ("val_2",),
    "tacos_2dtan": ("test",),
}
_TEST_PARTS: dict[str, dict[str, tuple[str, ...]]] = {
    "vslnet": {
        "charades_sta": ("test",),
        "activitynet": ("val_1",),
        "tacos_2dtan": ("test",),
        "tacos_tall": ("test",),
    },
    "tan": _TAN_PARTS,
    "ms-tan": _TAN_PARTS,
    "mmn": _TAN_PARTS,
    "lgi": {"charades_sta": ("test",), "activitynet": ("val_merged",)},
    "snag": _TAN_PARTS,
    "moment-detr": {
        "qvhighlights": ("val", "test"),
        "charades_sta": ("test",),
        "activitynet": ("val_1",),
        "tacos_2dtan": ("test",),
    },
}
# 2D-TAN renames val_1 to val and val_2 to test; our reader knows both names.
_ALIASES = {"activitynet": {"val": "val_1", "test": "val_2"}}


@dataclasses.dataclass(frozen=True)
class SoftNMS:
    """SnAG's Gaussian soft-NMS with voting.

    Attributes:
        sigma: A worse moment's score is multiplied by exp(-tIoU^2 / sigma); > 0.
        min_score: A moment goes when its score falls below this.
        voting_threshold: Each moment that is kept becomes the mean, weighted by their scores, of
            all moments whose temporal IoU with it is at least this.
    """

    sigma: float = 0.9
    min_score: float = 0.001
    voting_threshold: float = 0.95


@dataclasses.dataclass(frozen=True)
class Rounding:
    """How times are rounded before anything is counted.

    Attributes:
        clip_seconds: They become multiples of this, half to even.
        latest_seconds: Before that they are moved into 0 to this; None: they are not.
    """

    clip_seconds: float
    latest_seconds: float | None


_ROUNDING = {
    "qvhighlights": Rounding(2.0, 150.0),
    "charades_sta": Rounding(1.0, 150.0),
    "activitynet": Rounding(2.0, None),
    "tacos_2dtan": Rounding(2.0, None),
}


@dataclasses.dataclass(frozen=True)
class Protocol:
    """The rules by which ranked moments are counted; its name is printed with every number.

    Attributes:
        name: What ``protocol`` finds it by.
        hit: How a temporal IoU is compared with m.
        text: How its authors prepare queries; a fact for the reader, used by nothing.
        reported: What its authors report, of ``"R@1"``, ``"R@5"``, ``"mIoU"``, ``"mAP"`` and
            ``"saliency"``.
        drops_reversed: Whether its authors drop targets with start >= end; a fact, as ``text``.
        nms_threshold: Temporal IoU in [0, 1] that must be exceeded strictly for a worse moment to
            be suppressed; None keeps all.
        soft_nms: Suppression by decaying scores, or None.
        kept: Moments a query that are left after suppression; None: all.
        rounding: Rounding of times, or None.
    """

    name: str
    hit: HitRule
    text: str
    reported: tuple[str, ...]
    drops_reversed: bool
    nms_threshold: float | None = None
    soft_nms: SoftNMS | None = None
    kept: int | None = None
    rounding: Rounding | None = None

    def hits(self, overlaps: npt.NDArray[np.float64], threshold: float) -> npt.NDArray[np.bool_]:
        """Which temporal IoUs (...) reach a threshold, as bool (...)."""
        return overlaps >= threshold if self.hit == ">=" else overlaps > threshold

    def without_suppression(self) -> Protocol:
        """The same rules where every moment counts."""
        return dataclasses.replace(self, nms_threshold=None, soft_nms=None, kept=None)

    def notes(self) -> list[str]:
        """Sentences that stand below a table of these rules: how it counts, what is no part."""
        rules = [f"a hit is tIoU {self.hit} m"]
        if self.nms_threshold is not None:
            rules.append(f"NMS at tIoU > {self.nms_threshold:g}")
        if self.soft_nms is not None:
            rules.append(
                f"soft-NMS with sigma {self.soft_nms.sigma:g}, voting at tIoU >= "
                f"{self.soft_nms.voting_threshold:g}, scores below {self.soft_nms.min_score:g} "
                "dropped"
            )
        if self.rounding is not None:
            rules.append(f"times rounded to multiples of {self.rounding.clip_seconds:g} s")
        if self.kept is not None:
            rules.append(f"at most {self.kept} moments a query")
        notes = [f"{self.name}: {', '.join(rules)}"]
        missing = [name for name in ("R@1", "R@5", "mIoU") if name not in self.reported]
        if missing:
            notes.append(
                f"{' and '.join(missing)}: not reported by the authors of {self.name}, computed "
                "here by the rules that all protocols share"
            )
        return notes


VSLNET = Protocol(
    name="vslnet",
    hit=">=",
    text="lower-case, NLTK words, at most 128 of them; GloVe 840B and characters",
    reported=("R@1", "mIoU"),
    drops_reversed=False,
)
TAN = Protocol(
    name="tan",
    hit=">",
    text="lower-case, split at white space; GloVe 6B",
    reported=("R@1", "R@5", "mIoU"),
    drops_reversed=True,
    nms_threshold=0.5,
)
MS_TAN = Protocol(
    name="ms-tan",
    hit=">",
    text="NLTK words for ActivityNet and TACoS; GloVe",
    reported=("R@1", "R@5", "mIoU"),
    drops_reversed=True,
    nms_threshold=0.49,
)
MMN = Protocol(
    name="mmn",
    hit=">=",
    text="DistilBERT",
    reported=("R@1", "R@5"),
    drops_reversed=True,
    nms_threshold=0.5,
)
LGI = Protocol(
    name="lgi",
    hit=">=",
    text="punctuation stripped, own vocabulary",
    reported=("R@1", "mIoU"),
    drops_reversed=False,
)
SNAG = Protocol(
    name="snag",
    hit=">=",
    text="torchtext's basic_english; GloVe 6B",
    reported=("R@1", "R@5"),
    drops_reversed=True,
    soft_nms=SoftNMS(),
    kept=5,
)
MOMENT_DETR = Protocol(
    name="moment-detr",
    hit=">=",
    text="CLIP tokens",
    reported=("R@1", "mAP", "saliency"),
    drops_reversed=False,
    kept=10,
    rounding=Rounding(2.0, 150.0),
)
PROTOCOLS = (VSLNET, TAN, MS_TAN, MMN, LGI, SNAG, MOMENT_DETR)


def protocol(name: str, dataset: str | None = None) -> Protocol:
    """The protocol of a name, as it is for a dataset.

    Args:
        name: One of ``"vslnet"``, ``"tan"``, ``"ms-tan"``, ``"mmn"``, ``"lgi"``, ``"snag"`` and
            ``"moment-detr"``.
        dataset: One of `bpnet.config.DATASETS`, whose thresholds and rounding are taken (for a
            re-split those of the dataset that it re-splits); None: those that the preset has.

    Returns:
        Its rules.

    Raises:
        ConfigError: There is no such protocol or dataset; the message lists those that there are.
    """
    for preset in PROTOCOLS:
        if preset.name == name:
            break
    else:
        known = ", ".join(preset.name for preset in PROTOCOLS)
        raise ConfigError(f"protocol {name!r} is unknown: expected one of {known}")
    if dataset is None:
        return preset
    if dataset not in DATASETS:
        raise ConfigError(f"dataset {dataset!r} is unknown: expected one of {', '.join(DATASETS)}")
    parent = _PARENTS.get(dataset, dataset)
    if name in _NMS:
        threshold = _NMS[name].get(parent, preset.nms_threshold)
        return dataclasses.replace(preset, nms_threshold=threshold)
    if preset.rounding is not None:
        return dataclasses.replace(preset, rounding=_ROUNDING.get(parent))
    return preset


def part_note(name: str, dataset: str, split: str) -> str | None:
    """What to say where a part is not the one that a protocol's authors test on.

    Args:
        name: Name of the protocol.
        dataset: Name of the dataset.
        split: Name of the part that is evaluated.

    Returns:
        A sentence, or None where it is their part, or where they have no numbers on the dataset.
    """
    parts = _TEST_PARTS.get(name, {})
    if dataset not in parts:
        parent = _PARENTS.get(dataset)
        if parent in parts:
            return f"{name} has numbers on {parent}; this is {dataset}: they do not compare"
        return None
    part = _ALIASES.get(dataset, {}).get(split, split)
    if part in parts[dataset]:
        return None
    return (
        f"{name} tests on {' and '.join(parts[dataset])}; this is {part}: numbers of the two parts "
        "do not compare"
    )
