"""How many queries and videos each part of a published dataset has, and who says so.

Status: ``P``, published by the authors of the dataset; ``M``, counted in their files, apart from
the readers of this package. Queries are sentences; in all but QVHighlights each has one moment.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class PublishedCount:
    """What a part has.

    Attributes:
        dataset: Name of the dataset.
        part: Name of the part.
        num_queries: Queries.
        num_videos: Videos that they are about.
        status: ``"P"`` or ``"M"``, see the module.
        source: Who published it, or which files were counted.
    """

    dataset: str
    part: str
    num_queries: int
    num_videos: int
    status: str
    source: str


_CD = "README of yytzsy/grounding_changing_distribution, table 1"
_TALL = "TALL; videos: files of yytzsy/SCDM, data/TACOS/datasplit_info"
_VSLNET = "files of 26hzhang/VSLNet, data/dataset"
_QVHIGHLIGHTS = "files of jayleicn/moment_detr, data"
_DIDEMO = "files of LisaAnne/LocalizingMoments, data"

# Of several for one part, any counts as equal.
PUBLISHED = (
    PublishedCount("charades_sta", "train", 12408, 5338, "M", _VSLNET),
    PublishedCount(
        "charades_sta",
        "train",
        12404,
        5336,
        "M",
        "files of microsoft/VideoX, 2D-TAN/data, without their 4 reversed pairs",
    ),
    PublishedCount("charades_sta", "test", 3720, 1334, "M", _VSLNET),
    PublishedCount("charades_cd", "train", 11071, 4564, "P", _CD),
    PublishedCount("charades_cd", "val", 859, 333, "P", _CD),
    PublishedCount("charades_cd", "test_iid", 823, 333, "P", _CD),
    PublishedCount("charades_cd", "test_ood", 3375, 1442, "P", _CD),
    PublishedCount("tacos_2dtan", "train", 9790, 75, "M", _VSLNET),
    PublishedCount("tacos_2dtan", "val", 4436, 27, "M", _VSLNET),
    PublishedCount("tacos_2dtan", "test", 4001, 25, "M", _VSLNET),
    PublishedCount("tacos_tall", "train", 10146, 75, "P", _TALL),
    PublishedCount("tacos_tall", "val", 4589, 27, "P", _TALL),
    PublishedCount("tacos_tall", "test", 4083, 25, "P", _TALL),
    PublishedCount("activitynet", "train", 37421, 10009, "M", _VSLNET),
    PublishedCount("activitynet", "val_1", 17505, 4917, "M", _VSLNET),
    PublishedCount("activitynet", "val_2", 17031, 4885, "M", _VSLNET),
    PublishedCount("activitynet", "val_merged", 34536, 4917, "M", _VSLNET),
    PublishedCount("activitynet_cd", "train", 51415, 10984, "P", _CD),
    PublishedCount("activitynet_cd", "val", 3521, 746, "P", _CD),
    PublishedCount("activitynet_cd", "test_iid", 3443, 746, "P", _CD),
    PublishedCount("activitynet_cd", "test_ood", 13578, 2450, "P", _CD),
    PublishedCount("qvhighlights", "train", 7218, 7100, "M", _QVHIGHLIGHTS),
    PublishedCount("qvhighlights", "val", 1550, 1519, "M", _QVHIGHLIGHTS),
    PublishedCount("qvhighlights", "test", 1542, 1529, "M", _QVHIGHLIGHTS),
    # The training part was not at hand.
    PublishedCount("didemo", "val", 4180, 1065, "M", f"{_DIDEMO}; also its utils/eval.py"),
    PublishedCount("didemo", "test", 4021, 1004, "M", _DIDEMO),
)
# 2D-TAN's names for ActivityNet's parts.
_OTHER_NAMES = {("activitynet", "val"): "val_1", ("activitynet", "test"): "val_2"}


def published_counts(dataset: str, part: str) -> tuple[PublishedCount, ...]:
    """The published counts of a part.

    Args:
        dataset: Name of the dataset.
        part: Name of the part.

    Returns:
        The counts, the usual one first; none where nobody published any.
    """
    part = _OTHER_NAMES.get((dataset, part), part)
    return tuple(count for count in PUBLISHED if (count.dataset, count.part) == (dataset, part))


def counts_table() -> str:
    """All counts as a Markdown table, as the documentation holds it."""
    rows = [
        "| dataset | part | queries | videos | status | source |",
        "|---|---|---:|---:|---|---|",
    ]
    rows += [
        f"| `{count.dataset}` | `{count.part}` | {count.num_queries:,} | {count.num_videos:,} | "
        f"{count.status} | {count.source} |"
        for count in PUBLISHED
    ]
    return "\n".join(rows)
