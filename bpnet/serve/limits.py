"""Limits: what one client, and all of them together, may ask of the service."""

from __future__ import annotations

import dataclasses

from bpnet.errors import ConfigError

MAX_TOP = 100  # moments a sentence; models give far fewer
MAX_ID_CHARS = 500
# The longest that JSON makes of one character: two escaped halves of a surrogate pair.
_JSON_BYTES_A_CHAR = 12


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds of memory, disk and time, each >= 1.

    Attributes:
        max_videos: Opened videos that are kept, as long as they take up to half of what the
            localizer may keep; the one that was not used for longest goes first.
        max_upload_mb: Largest upload, in megabytes (10^6 bytes).
        max_duration_seconds: Longest uploaded video.
        max_queries: Largest number of sentences of a request.
        max_query_chars: Longest sentence, in characters.
        max_requests: Requests that are worked on, or wait, at once.
        max_uploads: Uploads among them that are received, or decoded, at once; others wait.
        body_seconds: Longest silence of a client that has not sent its whole request.
    """

    max_videos: int = 32
    max_upload_mb: int = 512
    max_duration_seconds: float = 3 * 3600.0
    max_queries: int = 256
    max_query_chars: int = 1000
    max_requests: int = 128
    max_uploads: int = 4
    body_seconds: float = 30.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not value >= 1:  # nan is not either
                raise ConfigError(f"{field.name}={value}: expected a number >= 1")

    @property
    def upload_bytes(self) -> int:
        """Largest body of an upload: the file, and some room for the form around it."""
        return self.max_upload_mb * 10**6 + 2**16

    @property
    def json_bytes(self) -> int:
        """Largest JSON body: all sentences at their longest, however they are escaped."""
        return self.max_queries * (self.max_query_chars * _JSON_BYTES_A_CHAR + 8) + 2**16
