"""Localizer: checkpoint + features + sentence -> moments in seconds."""

from __future__ import annotations

import functools
import hashlib
import logging
import math
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bpnet.build import build_from_checkpoint, check_spec
from bpnet.checkpoint import Checkpoint
from bpnet.data.vocabulary import Vocabulary
from bpnet.device import pick_device
from bpnet.errors import ConfigError
from bpnet.evaluation.calibration import Calibration
from bpnet.inference.encoded import Reading
from bpnet.inference.judge import Judge, Query, check_several
from bpnet.inference.opened import OpenedVideo, Progress, SecondsProgress
from bpnet.inference.session import VideoSession
from bpnet.models.grounder import Grounder
from bpnet.types import Moment
from bpnet_features import ClipGrid, FeatureSource, FeatureSpec, open_features
from bpnet_features.backbones.backbone import Backbone

log = logging.getLogger(__name__)


class Localizer:
    """A trained model, ready to be asked.

    Example:
        >>> localizer = Localizer.from_pretrained("runs/demo")
        >>> video = localizer.open_video("features.h5", "AO8RW")
        >>> video.localize("person puts a book on a shelf", top=5)

    Args:
        model: The network, in evaluation mode, on its device.
        vocabulary: What it knows of words.
        feature_spec: Clip features that it reads.
        max_clips: Its number of positions.
        query_spec: Token features that it reads in place of words; None: words.
        calibration: What turns its scores into probabilities; None: moments have none.
        window_seconds: Longest video that it was trained on. One that is more than twice as long,
            and has more clips than the model positions, is read in windows of this length.
        backbone_weights: Weights of the extractor that made its features; needed only to open video
            files, and only for extractors that do not bring them along.
        budget_bytes: The most that what is kept of videos may take; None: 512 MiB, or 2 GiB on
            CUDA.

    Attributes:
        judge: The model, with what its input and output mean.
        reading: How it reads videos.
        session: Keeps what is computed of videos.
    """

    def __init__(
        self,
        model: Grounder,
        vocabulary: Vocabulary,
        feature_spec: FeatureSpec,
        max_clips: int,
        query_spec: FeatureSpec | None = None,
        calibration: Calibration | None = None,
        window_seconds: float = math.inf,
        backbone_weights: str | os.PathLike[str] | None = None,
        budget_bytes: int | None = None,
    ) -> None:
        self.judge = Judge(model, vocabulary, query_spec, calibration)
        self.reading = Reading(feature_spec, max_clips, window_seconds)
        self.session = VideoSession(self.judge, self.reading, budget_bytes)
        self.query_spec = query_spec
        self._backbone_weights = None if backbone_weights is None else os.fspath(backbone_weights)
        self._backbone: Backbone | None = None
        self._extracting = threading.Lock()

    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike[str],
        device: str = "auto",
        backbone_weights: str | os.PathLike[str] | None = None,
        budget_bytes: int | None = None,
    ) -> Localizer:
        """Load a checkpoint.

        Args:
            path: The checkpoint file, or the folder of a run (its best checkpoint).
            device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:N``.
            backbone_weights: Weights of the extractor that made the features it was trained on;
                needed to open video files, where the extractor does not bring them along.
            budget_bytes: The most that what is kept of videos may take; None: 512 MiB, or 2 GiB on
                CUDA.

        Returns:
            The localizer.

        Raises:
            CheckpointError: There is none, it is truncated, or not one of ours.
            ConfigError: There is no such device.
        """
        chosen = pick_device(device)
        checkpoint = Checkpoint.load(Path(path))
        model, vocabulary = build_from_checkpoint(checkpoint)
        return cls(
            model.to(chosen),
            vocabulary,
            checkpoint.feature_spec,
            int(checkpoint.data["max_clips"]),
            checkpoint.query_spec,
            Calibration.from_dict(checkpoint.calibration),
            float(checkpoint.training.get("longest_seconds", math.inf)),
            backbone_weights,
            budget_bytes,
        )

    @property
    def feature_spec(self) -> FeatureSpec:
        """Clip features that the model reads."""
        return self.reading.feature_spec

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of what decides how a video is encoded: the weights, and how it is cut."""
        reading = self.reading
        digest = hashlib.sha256(f"{reading.max_clips} {reading.window_seconds}".encode())
        for name, tensor in sorted(self.judge.model.state_dict().items()):
            digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    @property
    def least_score(self) -> float | None:
        """Best score from which a sentence is probably about a video; None: it was not fitted."""
        calibration = self.judge.calibration
        return None if calibration is None else calibration.least_score

    def open_video(
        self,
        source: FeatureSource | npt.NDArray[np.floating] | str | os.PathLike[str],
        video_id: str | None = None,
        *,
        grid: ClipGrid | None = None,
        duration_seconds: float | None = None,
        progress: SecondsProgress | None = None,
    ) -> OpenedVideo:
        """Read a video and compute what does not depend on a query, unless that is kept already.

        Args:
            source: Features that `bpnet_features.open_features` opened, or their path, together
                with ``video_id``; an array (T, C) together with ``grid``; or, alone, a video file,
                whose features are extracted as the checkpoint's spec says, with the same weights.
            video_id: Id of a video of them.
            grid: Where the clips of an array lie in time.
            duration_seconds: Length of the video, for features that do not say.
            progress: Told, now and then, how many seconds of a video file are extracted, and of how
                many. What it raises ends the work, and comes back to the caller.

        Returns:
            The opened video.

        Raises:
            MissingVideoError: The video is not among the features.
            FeatureError: A file or its features are not what they must be.
            CheckpointError: The features are of another kind than the checkpoint was trained on.
            ConfigError: An array comes without its grid, or the source is nothing of these.
            CacheFullError: What other opened videos need leaves no room.
        """
        if isinstance(source, np.ndarray):
            if grid is None:
                raise ConfigError("an array of features needs grid=ClipGrid(...), to tell seconds")
            return self.session.open(source, grid)
        if video_id is None:
            return self._open_file(source, progress)
        if isinstance(source, (str, os.PathLike)):
            store = open_features(source, default_spec=self.feature_spec)
        else:
            store = source
        check_spec(self.feature_spec, store.spec, str(store.path))
        clips, grid = store.read(video_id, duration_seconds)
        return self.session.open(clips, grid, f"video {video_id!r}", name=video_id)

    def localize_many(
        self,
        asked: Sequence[tuple[OpenedVideo, Sequence[Query]]],
        top: int = 5,
        min_score: float = 0.0,
        progress: Progress | None = None,
    ) -> list[list[list[Moment]]]:
        """Find what sentences describe, in several videos.

        Args:
            asked: Opened videos, each with the queries about it.
            top: Largest number of moments a sentence, >= 1.
            min_score: Moments with a lower score are left out.
            progress: Told, now and then, how many sentences are answered, and of how many. What it
                raises ends the work, and comes back to the caller.

        Returns:
            For each video, for each of its sentences, the moments, best first.

        Raises:
            AnnotationError: A query has no words.
            ConfigError: ``top`` is out of range, or the model does not read such queries.
        """
        for _, queries in asked:
            check_several(queries)
        total = sum(len(queries) for _, queries in asked)
        answers: list[list[list[Moment]]] = []
        before = 0
        for video, queries in asked:

            def told(count: int, _: int, before: int = before) -> None:
                if progress is not None:
                    progress(before + count, total)

            answers.append(video.localize(list(queries), top, min_score, told))
            before += len(queries)
        return answers

    def _open_file(
        self, source: FeatureSource | str | os.PathLike[str], progress: SecondsProgress | None
    ) -> OpenedVideo:
        if isinstance(source, (str, os.PathLike)):
            file = Path(source)
            clips, grid = self.extract(file, progress)
            return self.session.open(clips, grid, str(source), name=file.stem, file=file)
        path = getattr(source, "path", None)
        if path is None:
            raise ConfigError(f"{source!r}: expected a video file, features, or an array")
        raise ConfigError(f"{path} holds features: give the id of a video of it too")

    def extract(
        self, video: str | os.PathLike[str], progress: SecondsProgress | None = None
    ) -> tuple[npt.NDArray[np.float32], ClipGrid]:
        """Features of a video file, made as those that the checkpoint was trained on.

        Args:
            video: The file.
            progress: See `open_video`.

        Returns:
            Features (T, C), and where they lie in time.

        Raises:
            FeatureError: The file cannot be read, or the extractor or its weights are not there.
        """
        from bpnet_features.backbones.choose import load_for_spec
        from bpnet_features.extract import extract_video

        with self._extracting:  # one network, one video at a time
            if self._backbone is None:
                self._backbone = load_for_spec(
                    self.feature_spec, self._backbone_weights, str(self.judge.device)
                )
            found = extract_video(Path(video), self._backbone, progress)
        if found.num_corrupt:
            log.warning("%s: %d corrupt frames were skipped", video, found.num_corrupt)
        stride = self._backbone.spec.stride_seconds
        grid = ClipGrid.uniform(len(found.clips), found.duration_seconds, stride)
        return found.clips, grid
