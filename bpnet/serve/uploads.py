"""Uploads: a stranger's file -> an opened video; the file is gone when this is done."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path
from typing import BinaryIO

from bpnet.errors import FeatureError
from bpnet.inference.localizer import Localizer
from bpnet.inference.opened import OpenedVideo, SecondsProgress
from bpnet.web.uploads import check_upload
from bpnet_features.video import probe


def open_upload(
    localizer: Localizer,
    file: BinaryIO,
    folder: Path,
    max_duration_seconds: float,
    progress: SecondsProgress,
) -> OpenedVideo:
    """Open an uploaded video.

    Args:
        localizer: Extracts its features, and encodes them.
        file: The upload, at its beginning.
        folder: Where a copy lies meanwhile, under a name of ours.
        max_duration_seconds: Longest video that is taken.
        progress: See `Localizer.open_video`.

    Returns:
        The opened video.

    Raises:
        FeatureError: It is no video, too long or too large, or the checkpoint's features cannot be
            extracted here.
    """
    path = folder / f"upload-{secrets.token_hex(8)}"
    try:
        with path.open("xb") as copy:
            shutil.copyfileobj(file, copy, 2**20)
        check_upload(path)
        duration = probe(path).duration_seconds
        if duration > max_duration_seconds:
            raise FeatureError(
                f"the video lasts {duration:.0f} s: expected at most {max_duration_seconds:g} s, "
                "the limit of this service"
            )
        return localizer.open_video(path, progress=progress)
    except FeatureError as err:
        raise FeatureError(str(err).replace(str(path), "the upload")) from err
    finally:
        path.unlink(missing_ok=True)
