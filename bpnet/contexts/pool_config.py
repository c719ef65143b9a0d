"""What the context pool does, and from when it counts something as a context."""

from __future__ import annotations

import dataclasses

from bpnet.settings import in_range, one_of, raise_faults

INTERVENTIONS = ("none", "cicam", "backdoor", "stratified")


@dataclasses.dataclass(frozen=True)
class PoolConfig:
    """The pool.

    Attributes:
        intervention: ``none``: there is no pool. ``cicam``: CI-CAM's maps, in time, a negative
            control. ``backdoor``: the network is told the context of each training video, and is
            asked without it: all contexts, by their rates. ``stratified``: videos are weighted so
            that the context of a concept is as frequent with it as without it. The teacher
            ``evidence`` knows ``none`` and ``backdoor``.
        num_prototypes: Prototypes M.
        merge_cosine: Cosine from which two prototypes are one.
        min_clips: Neighbouring clips whose mean is compared with a prototype: one clip is noise.
        min_share: The same as a share of the video's clips; the larger of the two counts.
        separation: Standard deviations that must lie between the videos with a prototype and those
            without; one that splits them less clearly is not used.
        stratum_gap: Least ``P(z | k) - P(z | not k)`` of a stratum z of the concept k.
        necessary_presence: ``P(z | k)`` from which a prototype counts as the concept itself.
        min_videos: A concept with fewer videos is left as it is.
        min_without: So is one with fewer videos without the stratum.
        min_effective: So is, with ``stratified``, one whose weights leave fewer effective samples.
        context_negatives: Whether the negatives of a pair are those of its own context, where the
            batch has any; not read with ``none``, refused with ``evidence``.
        cicam_rate: Share lambda that a batch adds to the maps of ``cicam``.
        cicam_bins: Bins of relative time of those maps.
    """

    intervention: str = "backdoor"
    num_prototypes: int = 128
    merge_cosine: float = 0.5
    min_clips: int = 3
    min_share: float = 0.05
    separation: float = 4.0
    stratum_gap: float = 0.3
    necessary_presence: float = 0.98
    min_videos: int = 50
    min_without: int = 10
    min_effective: int = 10
    context_negatives: bool = False
    cicam_rate: float = 0.01
    cicam_bins: int = 64

    def __post_init__(self) -> None:
        raise_faults(
            [
                one_of("pool.intervention", self.intervention, INTERVENTIONS),
                in_range("pool.num_prototypes", self.num_prototypes, 1),
                in_range("pool.merge_cosine", self.merge_cosine, -1, 1),
                in_range("pool.min_clips", self.min_clips, 1),
                in_range("pool.min_share", self.min_share, 0, 1),
                in_range("pool.separation", self.separation, 0),
                in_range("pool.stratum_gap", self.stratum_gap, 0, 1),
                in_range("pool.necessary_presence", self.necessary_presence, 0, 1),
                in_range("pool.min_videos", self.min_videos, 0),
                in_range("pool.min_without", self.min_without, 0),
                in_range("pool.min_effective", self.min_effective, 0),
                in_range("pool.cicam_rate", self.cicam_rate, 0, 1),
                in_range("pool.cicam_bins", self.cicam_bins, 1),
            ]
        )
