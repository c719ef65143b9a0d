"""Library: many videos that are asked at once; a vector index finds those worth a closer look.

Each video is encoded once and kept on disk, under a name made of what it holds, so a library opens
quickly again, and a changed video is encoded anew. Of every window of a video the index holds a
vector for each of some pieces: the mean of their similarity keys, which training pulls towards
those of the sentences about them (`bpnet.models.contrast.contrast_loss`). The pieces nearest to a
query name the windows that the model then judges, so a further video costs next to nothing.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from safetensors import SafetensorError

from bpnet.errors import BPNetError, ConfigError
from bpnet.evaluation.predictions import Prediction
from bpnet.inference.collection import Collection
from bpnet.inference.encoded import EncodedVideo, encode_pieces
from bpnet.inference.encoded_files import load_encoded, save_encoded
from bpnet.inference.judge import EncodedQueries, Query
from bpnet.inference.localizer import Localizer
from bpnet.inference.opened import POSITIONS_AT_ONCE, Progress, check_wanted
from bpnet.inference.windows import Window, best_moments
from bpnet.models.contrast import TEMPERATURE
from bpnet.models.encoder import joined
from bpnet.models.fusion import span_weights
from bpnet.types import FoundMoment

log = logging.getLogger(__name__)

PIECES = (1, 2, 4, 8)  # of a window: what is looked for may fill all of it, or an eighth
NEAREST = 8  # pieces that are looked up for each window that is wanted: many are of one window
WINDOWS = 32  # that are judged for a query


class Library:
    """Encoded videos and an index of them; made by `open_library`.

    Args:
        localizer: The model.
        files: The file of each encoded video, by id.
        pieces: Vectors (N, M) float32, of length 1.
        owners: Number of the video, and of its window, of each vector (N, 2).
    """

    def __init__(
        self,
        localizer: Localizer,
        files: dict[str, Path],
        pieces: npt.NDArray[np.float32],
        owners: npt.NDArray[np.int64],
    ) -> None:
        self._localizer = localizer
        self._judge = localizer.judge
        self._files = files
        self._ids = list(files)
        self._owners = owners
        self._index = _load_faiss().IndexFlatIP(pieces.shape[1])
        self._index.add(pieces)

    @property
    def video_ids(self) -> list[str]:
        """Ids of the videos."""
        return list(self._ids)

    def localize(
        self,
        queries: Sequence[Query],
        top: int = 10,
        min_score: float = 0.0,
        windows: int | None = WINDOWS,
        progress: Progress | None = None,
    ) -> list[list[FoundMoment]]:
        """Find what sentences describe, wherever it is.

        Args:
            queries: Sentences, or arrays of token features (L, C').
            top: Largest number of moments a sentence, >= 1.
            min_score: Moments with a lower score are left out.
            windows: Windows that the model judges for each query; None: all of all videos.
            progress: Told how many sentences are answered, and of how many.

        Returns:
            For each sentence its moments, best first: by the product of the matching score and of
            the likelihood that it is this video's.

        Raises:
            AnnotationError: A query has no words.
            ConfigError: A number is out of range, or the model does not read such queries.
        """
        check_wanted(top, min_score)
        if windows is not None and windows < 1:
            raise ConfigError(f"windows={windows}: expected an integer >= 1, or None for all")
        self._judge.check(queries)
        answers = []
        for query in queries:
            encoded = self._judge.encode([query])
            found = self._found(encoded, self._wanted(encoded, windows))
            found.sort(key=_rank, reverse=True)
            answers.append([one for one in found[:top] if one.moment.score >= min_score])
            if progress is not None:
                progress(len(answers), len(queries))
        return answers

    def _wanted(self, query: EncodedQueries, windows: int | None) -> dict[int, dict[int, float]]:
        """The windows of each video that are judged, by number, with their similarities."""
        keys = query.states.keys
        assert keys is not None
        vector = F.normalize(keys.float().mean(dim=1), dim=-1).cpu().numpy()
        wanted: dict[int, dict[int, float]] = {}
        for (video, window), similarity in self._nearest(vector, windows):
            wanted.setdefault(video, {})[window] = similarity
        return wanted

    def _nearest(
        self, vector: npt.NDArray[np.float32], windows: int | None
    ) -> list[tuple[tuple[int, int], float]]:
        """The windows whose best pieces are nearest to a query (1, M), nearest first."""
        total = len(self._owners)
        count = total if windows is None else NEAREST * windows
        while True:
            cosines, places = self._index.search(vector, min(count, total))
            found: dict[tuple[int, int], float] = {}
            for owner, cosine in zip(
                self._owners[places[0]].tolist(), cosines[0].tolist(), strict=True
            ):
                found.setdefault((owner[0], owner[1]), cosine)  # the first piece is the nearest
            if count >= total or (windows is not None and len(found) >= windows):
                return list(found.items())[:windows]
            count *= 4

    def _found(
        self, query: EncodedQueries, wanted: dict[int, dict[int, float]]
    ) -> list[FoundMoment]:
        """The moments of some windows."""
        videos = {number: self._load(number) for number in wanted}
        rows = [(number, window) for number, places in wanted.items() for window in sorted(places)]
        rows.sort(key=lambda row: videos[row[0]].num_positions)  # so that little is padded
        by_row = dict(zip(rows, self._judged(query, videos, rows), strict=True))
        found = []
        for number, places in wanted.items():
            answers = [
                (
                    by_row[number, place].moments,
                    _alone(videos[number].windows[place], place, places),
                )
                for place in sorted(places)
            ]
            moments = answers[0][0]
            if len(answers) > 1:
                moments = best_moments(answers, self._judge.nms)
            similarity = max(places.values())
            found += [FoundMoment(self._ids[number], one, similarity) for one in moments]
        return found

    def _judged(
        self,
        query: EncodedQueries,
        videos: dict[int, EncodedVideo],
        rows: Sequence[tuple[int, int]],
    ) -> list[Prediction]:
        """What the model says of one query and some windows, padded to one length."""
        answers: list[Prediction] = []
        while len(answers) < len(rows):
            some, most = _that_fit(rows[len(answers) :], videos)
            device = self._judge.device
            parts = [
                videos[number].states.pick(torch.tensor([window], device=device)).padded(most)
                for number, window in some
            ]
            grids = [videos[number].grids[window] for number, window in some]
            lengths = torch.tensor([grid.num_clips for grid in grids], device=device)
            mask = torch.arange(most, device=device) < lengths[:, None]
            answers += self._judge.answer(joined(parts), mask, grids, query, [0] * len(some))
        return answers

    def _load(self, number: int) -> EncodedVideo:
        return load_encoded(self._files[self._ids[number]], self._judge.device)


def _that_fit(
    rows: Sequence[tuple[int, int]], videos: Mapping[int, EncodedVideo]
) -> tuple[Sequence[tuple[int, int]], int]:
    """The first windows that can be judged at once, padded to the longest, and its length."""
    most = count = 0
    for number, _ in rows:
        longest = max(most, videos[number].num_positions)
        if count > 0 and longest * (count + 1) > POSITIONS_AT_ONCE:
            break
        most, count = longest, count + 1
    return rows[:count], most


def _rank(found: FoundMoment) -> float:
    """What moments of different videos are ordered by.

    The matching score tells the moments of one video apart; which video it is, the contrast between
    the sentences and moments of a batch has taught. Its logits are the similarities divided by its
    temperature.
    """
    return math.log(max(found.moment.score, 1e-9)) + found.similarity / TEMPERATURE


def _alone(window: Window, place: int, places: Container[int]) -> Window:
    """A window with no other behind its edges where its neighbours are not judged."""
    return dataclasses.replace(
        window,
        is_first=window.is_first or place - 1 not in places,
        is_last=window.is_last or place + 1 not in places,
    )


def open_library(
    localizer: Localizer,
    videos: Collection,
    cache: Path,
    progress: Progress | None = None,
) -> Library:
    """Encode the videos that are not in the cache yet, and index them all.

    Args:
        localizer: The model.
        videos: The videos, such as `bpnet.inference.collection.open_collection` finds at a path.
        cache: Folder that keeps what is computed; made where it is missing. Another checkpoint has
            a folder of its own in it.
        progress: Told how many videos are ready, and of how many. What it raises ends the work;
            what was encoded stays.

    Returns:
        The library. A video that cannot be read is left out, with a warning that says why.

    Raises:
        ConfigError: The model has no similarity keys, or the index's library is not installed.
        BPNetError: No video is left.
    """
    if localizer.judge.model.encoder.similarity is None:
        raise ConfigError(
            "the checkpoint was trained with model.num_similarities=0: it has no vectors to find "
            "videos by; ask each video by itself"
        )
    _load_faiss()
    folder = cache / localizer.digest[:16]
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, Path] = {}
    vectors: list[npt.NDArray[np.float32]] = []
    owners: list[tuple[int, int]] = []
    ids = videos.video_ids()
    for count, video_id in enumerate(ids, start=1):
        try:
            file, video = _cached(localizer, videos, video_id, folder)
        except BPNetError as err:
            log.warning("video %r is left out: %s", video_id, err)
        else:
            for window, found in enumerate(piece_vectors(video)):
                vectors.append(found)
                owners += [(len(files), window)] * len(found)
            files[video_id] = file
        if progress is not None:
            progress(count, len(ids))
    if not files:
        raise BPNetError(f"library {videos.path}: none of {len(ids)} videos can be read")
    return Library(localizer, files, np.concatenate(vectors), np.array(owners, dtype=np.int64))


def piece_vectors(video: EncodedVideo) -> list[npt.NDArray[np.float32]]:
    """Vectors of the pieces of each window.

    Args:
        video: The encoded video, with keys.

    Returns:
        For each window (N, M), of length 1: the mean keys of all of it, of its halves, quarters
        and eighths, and of as many pieces between each two of these.
    """
    keys = video.states.keys
    assert keys is not None
    positions = keys.shape[1]
    spans = []
    for count in PIECES:
        length = positions / count
        starts = np.arange(2 * count - 1) * length / 2
        spans += [(start, start + length) for start in starts.tolist()]
    bounds = torch.tensor(spans, dtype=keys.dtype, device=keys.device)
    pieces = span_weights(bounds[None], positions) @ keys  # (W, N, M)
    found: npt.NDArray[np.float32] = F.normalize(pieces.float(), dim=-1).cpu().numpy()
    return list(found)


def _cached(
    localizer: Localizer, videos: Collection, video_id: str, folder: Path
) -> tuple[Path, EncodedVideo]:
    """A video from the cache, or encoded and put there."""
    file = folder / f"{videos.content(video_id)[:32]}.safetensors"
    if file.is_file():
        try:
            return file, load_encoded(file, localizer.judge.device)
        except (SafetensorError, OSError, KeyError) as err:
            log.warning("%s is damaged (%s): the video is encoded again", file, err)
    clips, grid = videos.read(video_id)
    pieces = localizer.reading.pieces(clips, grid, f"video {video_id!r}")
    video = encode_pieces(localizer.judge.model, pieces, grid)
    save_encoded(video, file)
    return file, video


def _load_faiss() -> Any:
    try:
        import faiss
    except ImportError as err:
        raise ConfigError(
            "a library of videos needs faiss, which is not installed; run: "
            "pip install 'bpnet-nlvl[library]'"
        ) from err
    return faiss
