"""Service: model, threads, videos and temporary files; the part of the work that is not HTTP's."""

from __future__ import annotations

import asyncio
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from bpnet.errors import ConfigError
from bpnet.inference.localizer import Localizer
from bpnet.serve.batches import Batches
from bpnet.serve.limits import Limits
from bpnet.serve.messages import LocalizeRequest
from bpnet.serve.videos import KnownVideo, Videos
from bpnet_features import FeatureSource

MAX_NAME_CHARS = 200  # of an upload's name that are shown


class Service:
    """What the routes work on.

    Args:
        localizer: The model.
        store: Features that are served; None: uploads alone.
        limits: Bounds of requests.
    """

    def __init__(self, localizer: Localizer, store: FeatureSource | None, limits: Limits) -> None:
        self.localizer = localizer
        self.limits = limits
        # One thread for the model: two passes at once would only take cores from each other.
        # Uploads have their own, so that nobody waits for the decoding of a stranger's video.
        self._threads = (
            ThreadPoolExecutor(1, "bpnet-model"),
            ThreadPoolExecutor(1, "bpnet-upload"),
        )
        self.videos = Videos(localizer, store, limits.max_videos, *self._threads)
        self.batches = Batches(self._threads[0])
        self._holder = tempfile.TemporaryDirectory(prefix="bpnet-serve-")
        self._uploading = asyncio.Semaphore(limits.max_uploads)
        self.hidden = {} if store is None else {str(store.path): store.path.name}

    def close(self) -> None:
        """End the threads and remove temporary files; what is still decoded is given up."""
        self.videos.end()
        for thread in self._threads:
            thread.shutdown()
        self._holder.cleanup()

    async def upload(self, request: Request) -> KnownVideo:
        """Open the video of a form.

        Args:
            request: Its body has not been read.

        Returns:
            The video.

        Raises:
            HTTPException: 422 for a form without a file.
            FeatureError: As `uploads.open_upload`.
        """
        # Further ones wait with their bodies unread, which then are neither in memory nor on disk.
        async with self._uploading, request.form(max_files=1, max_fields=8) as form:
            file = form.get("file")
            if not isinstance(file, UploadFile):
                raise HTTPException(422, "file: expected a video file in this field of a form")
            return await self.videos.upload(
                file.file,
                (file.filename or "")[:MAX_NAME_CHARS],
                Path(self._holder.name),
                self.limits.max_duration_seconds,
            )

    def check(self, asked: LocalizeRequest) -> tuple[list[str], float]:
        """What only a running service knows of a request: its limits, and the fitted score.

        Args:
            asked: The request.

        Returns:
            Its sentences, and its least score.

        Raises:
            HTTPException: 422: there are none, too many, or one is too long.
            ConfigError: The score is ``auto``, and the checkpoint has none.
        """
        queries = [asked.queries] if isinstance(asked.queries, str) else asked.queries
        if not 1 <= len(queries) <= self.limits.max_queries:
            raise HTTPException(
                422, f"queries: {len(queries)}: expected 1 to {self.limits.max_queries} sentences"
            )
        longest = max(map(len, queries))
        if longest > self.limits.max_query_chars:
            raise HTTPException(
                422,
                f"queries: a sentence of {longest} characters: expected at most "
                f"{self.limits.max_query_chars}",
            )
        if asked.min_score != "auto":
            return queries, asked.min_score
        if self.localizer.least_score is None:
            raise ConfigError("min_score 'auto': the checkpoint has no fitted score; give a number")
        return queries, self.localizer.least_score
