"""ContextPool: what comes with a concept in the training videos, and is not the concept.

CI-CAM (Shao et al., *Improving Weakly-Supervised Object Localization via Causal Intervention*,
2021) keeps a map of activations for each class. In time such a map is the prior over places in a
video, and holds nothing of how a context looks. This pool keeps appearances: prototypes of the
input clips, how often each is in the videos of a concept and in the others, and, for each concept,
its *strata*: prototypes that come with it far more often than without it. What is in nearly every
video of the concept is no stratum, as it may be the concept itself.

Prototypes and tables are fitted once, before training, to frozen input features: centres that
moved would change the strata under the model. All state is in buffers. Fitting is a pure function
of the training part and the seed: processes that train together each get the same pool.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bpnet.contexts.class_maps import ClassMaps
from bpnet.contexts.clusters import merged, spherical_kmeans
from bpnet.contexts.pool_config import PoolConfig
from bpnet.contexts.presence import thresholds, window_directions, window_width
from bpnet.errors import ConfigError

SAMPLED_WINDOWS = 16_384  # of all videos together, to which the prototypes are fitted
RATES = (0.02, 0.98)  # to which `stratified` brings the rate of a stratum, at most

Clips = npt.NDArray[np.float32]

# What the pool does about a concept.
ADJUSTED, NO_CONTEXT, FEW_VIDEOS, NOT_IDENTIFIABLE, FEW_EFFECTIVE = range(5)


@dataclasses.dataclass(frozen=True, eq=False)
class Context:
    """What the pool sees in some videos.

    Attributes:
        strata: The observed stratum of each video (V,) int64: 0 none, otherwise 1 + the number of
            the prototype, of all strata that are present the one that most clips show.
        present: Which prototypes each video has (V, M) bool.
    """

    strata: Tensor
    present: Tensor


class ContextPool(nn.Module):
    """Prototypes, tables and strata, in buffers.

    Args:
        config: What to do with them.
        feature_dim: Width C of the clip features.
        num_concepts: Number of concepts K.
    """

    mean: Tensor
    prototypes: Tensor
    thresholds: Tensor
    num_videos: Tensor
    concept_videos: Tensor
    present_videos: Tensor
    pair_videos: Tensor
    strata: Tensor
    status: Tensor
    prior: Tensor
    strongest: Tensor
    weights: Tensor
    effective: Tensor
    log_lift: Tensor

    def __init__(self, config: PoolConfig, feature_dim: int, num_concepts: int) -> None:
        super().__init__()
        self.config = config
        size = config.num_prototypes
        self.register_buffer("mean", torch.zeros(feature_dim))
        self.register_buffer("prototypes", torch.zeros(size, feature_dim))
        # Cosine from which a video has a prototype; infinite for one that is not used.
        self.register_buffer("thresholds", torch.full((size,), torch.inf))
        # Counts of videos: all, with a concept, with a prototype, with both.
        self.register_buffer("num_videos", torch.zeros((), dtype=torch.int64))
        self.register_buffer("concept_videos", torch.zeros(num_concepts, dtype=torch.int64))
        self.register_buffer("present_videos", torch.zeros(size, dtype=torch.int64))
        self.register_buffer("pair_videos", torch.zeros(num_concepts, size, dtype=torch.int64))
        # Which prototypes are strata of which concept, and why a concept has none.
        self.register_buffer("strata", torch.zeros(num_concepts, size, dtype=torch.bool))
        self.register_buffer("status", torch.full((num_concepts,), NO_CONTEXT))
        # P(z) of the observed strata, none first.
        self.register_buffer("prior", torch.eye(1, size + 1)[0])
        # `stratified`: each concept's strongest stratum, and the weights without and with it.
        self.register_buffer("strongest", torch.zeros(num_concepts, dtype=torch.int64))
        self.register_buffer("weights", torch.ones(num_concepts, 2))
        self.register_buffer("effective", torch.zeros(num_concepts))
        # log P(k | z) / P(k) of each concept, where a video has none of its strata and where one; 0
        # where the concept itself is not seen.
        self.register_buffer("log_lift", torch.zeros(num_concepts, 2))
        self.maps = ClassMaps(num_concepts, config.cicam_bins, config.cicam_rate)

    @property
    def num_strata(self) -> int:
        """Rows of a table by observed stratum: 1 + M."""
        return len(self.prior)

    @torch.no_grad()
    def fit(
        self,
        videos: Sequence[Clips],
        concepts: Sequence[Collection[int]],
        seed: int = 0,
        prototypes: Tensor | None = None,
    ) -> ContextPool:
        """Find prototypes and strata in the training part; reads each video four times.

        Args:
            videos: Input features (T, C) of each video; may read them from a file when asked.
            concepts: The concepts of each video's sentences.
            seed: Of the clips that are sampled, and of the first centres.
            prototypes: Unit vectors (M', C), M' <= M, in place of fitted ones; for ablations.

        Returns:
            The pool itself.

        Raises:
            ConfigError: There are no videos.
        """
        if len(videos) == 0 or len(videos) != len(concepts):
            raise ConfigError(
                f"context pool: {len(videos)} videos with concepts of {len(concepts)}: expected at "
                "least one video, and concepts for each"
            )
        self._fit_mean(videos)
        centres = self._fit_prototypes(videos, seed) if prototypes is None else prototypes
        self.prototypes.zero_()
        self.prototypes[: len(centres)] = centres
        best = [self._cosines(*_alone(clips))[0].amax(dim=0) for clips in videos]
        self._fit_thresholds(torch.stack(best))
        shown = torch.cat([self._shown(*_alone(clips)) for clips in videos])
        self._fit_strata(shown, concept_table(concepts, len(self.concept_videos)))
        return self

    def forward(self, video: Tensor, video_mask: Tensor) -> Context:
        """Look for prototypes.

        Args:
            video: Input features (V, T, C).
            video_mask: (V, T).

        Returns:
            What each video shows.
        """
        shown = self._shown(video, video_mask)
        return Context(self._observed(shown), shown > 0)

    def pair_weights(self, present: Tensor, concepts: Tensor) -> Tensor:
        """What `stratified` weights each pair of a sentence and its video with.

        Args:
            present: Which prototypes the video of each pair has (B, M).
            concepts: The concepts of each sentence (B, K) bool.

        Returns:
            The product of the weights of its concepts (B,); 1 where none is adjusted.
        """
        with_it = present[:, self.strongest]  # (B, K)
        weights = torch.where(with_it, self.weights[:, 1], self.weights[:, 0])
        return torch.where(concepts, weights, 1.0).prod(dim=1)

    @property
    def tells(self) -> bool:
        """Whether `told` tells anything."""
        return bool(self.log_lift.any())

    def told(self, present: Tensor, concepts: Tensor) -> Tensor:
        """How much the contexts of videos alone speak for sentences.

        Args:
            present: Which prototypes each video has (V, M).
            concepts: The concepts of each sentence (B, K) bool.

        Returns:
            log P(q | z) / P(q) (V, B), as if the concepts of a sentence, each with the contexts of
            its own, were independent. A concept of which no prototype is in nearly all of its
            videos tells nothing: what comes and goes may then be its own looks.
        """
        lift = torch.where(self._has_stratum(present), self.log_lift[:, 1], self.log_lift[:, 0])
        return lift @ concepts.to(lift.dtype).T

    def windows_of(self, clips: Clips) -> tuple[Tensor, int]:
        """How like each prototype the windows of one video are.

        Args:
            clips: Its input features (T, C).

        Returns:
            Cosines (windows, M), a window by its first clip, and the number of clips of a window.
        """
        config = self.config
        width = window_width(torch.tensor([len(clips)]), config.min_clips, config.min_share)
        cosines = self._cosines(*_alone(clips))[0, : len(clips) - int(width) + 1]
        return cosines, int(width)

    def _cosines(self, video: Tensor, mask: Tensor) -> Tensor:
        """Cosine of each window with each prototype (V, T, M); -inf where there is no window."""
        directions, whole = self._windows(video, mask)
        return (directions @ self.prototypes.T).masked_fill(~whole[..., None], -torch.inf)

    def _shown(self, video: Tensor, mask: Tensor) -> Tensor:
        """How many windows of each video show each prototype (V, M)."""
        return (self._cosines(video, mask) >= self.thresholds).sum(dim=1)

    def _windows(self, video: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        config = self.config
        return window_directions(video - self.mean, mask, config.min_clips, config.min_share)

    def _observed(self, shown: Tensor) -> Tensor:
        """The stratum that most windows show, from their numbers (V, M): (V,)."""
        most, place = torch.where(self.strata.any(dim=0), shown, 0).max(dim=1)
        return torch.where(most > 0, place + 1, 0)

    def _fit_mean(self, videos: Sequence[Clips]) -> None:
        total, count = np.zeros(len(self.mean)), 0
        for clips in videos:
            total += clips.sum(axis=0, dtype=np.float64)
            count += len(clips)
        self.mean.copy_(torch.from_numpy(total / count))

    def _fit_prototypes(self, videos: Sequence[Clips], seed: int) -> Tensor:
        rng = np.random.default_rng(seed)
        share = -(-SAMPLED_WINDOWS // len(videos))
        sampled = []
        for clips in videos:
            directions, whole = self._windows(*_alone(clips))
            windows = directions[whole]
            sampled.append(windows[torch.from_numpy(rng.permutation(len(windows))[:share])])
        points = torch.cat(sampled)
        centres = spherical_kmeans(points, len(self.prototypes), seed)
        return merged(centres, points, self.config.merge_cosine)

    def _fit_thresholds(self, best: Tensor) -> None:
        found, apart = thresholds(best)
        used = (apart >= self.config.separation) & (self.prototypes != 0).any(dim=1)
        self.thresholds.copy_(torch.where(used, found, torch.inf))

    def _fit_strata(self, shown: Tensor, concepts: Tensor) -> None:
        config = self.config
        present = shown > 0
        with_concept, with_prototype = concepts.double(), present.double()
        self.num_videos.fill_(len(present))
        self.concept_videos.copy_(concepts.sum(dim=0))
        self.present_videos.copy_(present.sum(dim=0))
        self.pair_videos.copy_((with_concept.T @ with_prototype).round())
        given, otherwise = self.rates()
        strong = given - otherwise > config.stratum_gap
        without = self.concept_videos[:, None] - self.pair_videos
        usable = strong & (given < config.necessary_presence) & (without >= config.min_without)
        enough = self.concept_videos >= config.min_videos
        self.strata.copy_(usable & enough[:, None])
        self.status.fill_(ADJUSTED)
        self.status[~usable.any(dim=1)] = NOT_IDENTIFIABLE
        self.status[~strong.any(dim=1)] = NO_CONTEXT
        self.status[~enough] = FEW_VIDEOS
        self._fit_weights(given, otherwise)
        itself = (strong & (given >= config.necessary_presence)).any(dim=1)
        self._fit_lift(present, concepts, self.strata.any(dim=1) & itself)
        observed = self._observed(shown)
        self.prior.copy_(torch.bincount(observed, minlength=self.num_strata) / len(observed))

    def rates(self) -> tuple[Tensor, Tensor]:
        """How often each prototype is in the videos of each concept, and in the others.

        Returns:
            ``P(z | k)`` and ``P(z | not k)`` (K, M); 0 where there is no such video.
        """
        others = self.num_videos - self.concept_videos
        given = self.pair_videos / self.concept_videos.clamp(min=1)[:, None]
        rest = (self.present_videos - self.pair_videos) / others.clamp(min=1)[:, None]
        return given, rest

    def _has_stratum(self, present: Tensor) -> Tensor:
        """Whether videos (V, M) have a stratum of each concept: (V, K) bool."""
        return present.float() @ self.strata.T.float() > 0

    def _fit_lift(self, present: Tensor, concepts: Tensor, used: Tensor) -> None:
        """Rates as if one more video had been seen, with each concept at its own rate P(k)."""
        has = self._has_stratum(present)
        rate = concepts.double().mean(dim=0)
        for place, where in enumerate((~has, has)):
            given = ((where & concepts).sum(dim=0) + rate) / (where.sum(dim=0) + 1)
            self.log_lift[:, place] = (given / rate).log()
        self.log_lift[~used] = 0.0

    def _fit_weights(self, given: Tensor, otherwise: Tensor) -> None:
        """Weights that make the strongest stratum of a concept as frequent as without it."""
        self.weights.fill_(1.0)
        self.effective.copy_(self.concept_videos)
        gap = torch.where(self.strata, given - otherwise, -1.0)
        self.strongest.copy_(gap.argmax(dim=1))
        for concept in self.strata.any(dim=1).nonzero().flatten().tolist():
            place = self.strongest[concept]
            count = self.concept_videos[concept]
            rate = given[concept, place]
            wanted = otherwise[concept, place].clamp(*RATES)
            # Their mean over the concept's videos is 1 as it stands.
            pair = torch.stack([(1 - wanted) / (1 - rate), wanted / rate])
            spread = (1 - rate) * pair[0] ** 2 + rate * pair[1] ** 2
            self.effective[concept] = count / spread
            if self.config.intervention != "stratified":
                continue
            if count / spread < self.config.min_effective:
                self.status[concept] = FEW_EFFECTIVE
            else:
                self.weights[concept] = pair


def concept_table(concepts: Sequence[Collection[int]], count: int) -> torch.Tensor:
    """Sets of concepts as rows of marks.

    Args:
        concepts: Per query, or per video, its concepts.
        count: Number of concepts K.

    Returns:
        (N, K) bool.
    """
    table = torch.zeros(len(concepts), count, dtype=torch.bool)
    for row, found in zip(table, concepts, strict=True):
        row[list(found)] = True
    return table


def _alone(clips: Clips) -> tuple[Tensor, Tensor]:
    """A video as a batch of one."""
    return torch.from_numpy(clips)[None], torch.ones(1, len(clips), dtype=torch.bool)
