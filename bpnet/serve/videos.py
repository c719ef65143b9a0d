"""Videos: those that are open, by id; of too many, the least recently used is closed."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import secrets
import threading
from collections import OrderedDict
from concurrent.futures import Executor
from pathlib import Path
from typing import BinaryIO

from bpnet.errors import FeatureError, MissingVideoError
from bpnet.inference.localizer import Localizer
from bpnet.inference.opened import OpenedVideo
from bpnet.serve.uploads import open_upload
from bpnet_features import FeatureSource

STORE, UPLOAD = "store", "upload"


@dataclasses.dataclass(frozen=True, eq=False)
class KnownVideo:
    """An opened video with what clients call it.

    Attributes:
        video_id: Its id at this service.
        name: Name of the uploaded file, for people alone; of a video of the store, its id.
        source: `STORE` or `UPLOAD`.
        opened: The video.
    """

    video_id: str
    name: str
    source: str
    opened: OpenedVideo


class Videos:
    """Opened videos; used from one event loop.

    Args:
        localizer: Opens them.
        store: Features whose videos are opened when they are asked about; None: uploads alone.
        max_videos: How many are kept, >= 1.
        model_thread: Reads and encodes videos of the store.
        upload_thread: Extracts features of uploads, which takes long.
    """

    def __init__(
        self,
        localizer: Localizer,
        store: FeatureSource | None,
        max_videos: int,
        model_thread: Executor,
        upload_thread: Executor,
    ) -> None:
        self._localizer = localizer
        self._store = store
        self._max_videos = max_videos
        self._model_thread = model_thread
        self._upload_thread = upload_thread
        self._open: OrderedDict[str, KnownVideo] = OrderedDict()  # least recently used first
        self._opening: dict[str, asyncio.Task[KnownVideo]] = {}
        self._ending = threading.Event()

    def __len__(self) -> int:
        """Number of open videos."""
        return len(self._open)

    def newest_first(self) -> list[KnownVideo]:
        """The open videos, the most recently used ones first."""
        return [*reversed(self._open.values())]

    async def get(self, video_id: str) -> KnownVideo:
        """A video that is open, or that the store has.

        Args:
            video_id: Its id.

        Returns:
            The video.

        Raises:
            MissingVideoError: It is neither.
            FeatureError: What the store has of it is damaged.
            CheckpointError: The features do not fit the checkpoint.
        """
        if video_id in self._open:
            self._open.move_to_end(video_id)
            return self._open[video_id]
        if self._store is None or video_id not in self._store:
            stored = "" if self._store is None else f", nor among the {len(self._store)} stored"
            raise MissingVideoError(
                f"video {video_id!r} is not open{stored}: POST /videos first; at most "
                f"{self._max_videos} are kept open, an upload that was closed must be sent again"
            )
        # Several requests may want it at once: it is opened for all of them.
        if video_id not in self._opening:
            task = asyncio.create_task(self._open_stored(self._store, video_id))
            self._opening[video_id] = task
            task.add_done_callback(lambda _: self._opening.pop(video_id))
        return await asyncio.shield(self._opening[video_id])

    async def upload(
        self, file: BinaryIO, name: str, folder: Path, max_duration_seconds: float
    ) -> KnownVideo:
        """Open an uploaded video.

        Args:
            file: The upload.
            name: What its sender calls it; only ever shown.
            folder: Where a copy may lie meanwhile.
            max_duration_seconds: Longest video that is taken.

        Returns:
            The video.

        Raises:
            FeatureError: As `open_upload`, or the service ends.
        """
        work = functools.partial(
            open_upload, self._localizer, file, folder, max_duration_seconds, self._check_going_on
        )
        opened = await asyncio.get_running_loop().run_in_executor(self._upload_thread, work)
        return self._keep(KnownVideo(f"upload-{secrets.token_hex(16)}", name, UPLOAD, opened))

    def end(self) -> None:
        """Give up what is being decoded."""
        self._ending.set()

    def _check_going_on(self, *_: float) -> None:
        if self._ending.is_set():
            raise FeatureError("the service ended before the video was open")

    def close(self, video_id: str) -> None:
        """Forget an open video.

        Args:
            video_id: Its id.

        Raises:
            MissingVideoError: It is not open.
        """
        if self._open.pop(video_id, None) is None:
            raise MissingVideoError(f"video {video_id!r} is not open")

    async def _open_stored(self, store: FeatureSource, video_id: str) -> KnownVideo:
        loop = asyncio.get_running_loop()
        work = functools.partial(self._localizer.open_video, store, video_id)
        opened = await loop.run_in_executor(self._model_thread, work)
        return self._keep(KnownVideo(video_id, video_id, STORE, opened))

    def _keep(self, video: KnownVideo) -> KnownVideo:
        self._open[video.video_id] = video
        while len(self._open) > self._max_videos or (len(self._open) > 1 and self._is_tight()):
            self._open.popitem(last=False)
        return video

    def _is_tight(self) -> bool:
        """Whether open videos leave less room for the next one than they take themselves."""
        stats = self._localizer.session.stats()
        return 2 * stats.pinned_bytes > stats.budget_bytes
