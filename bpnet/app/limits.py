"""How much the page takes on."""

from __future__ import annotations

import dataclasses

from bpnet.errors import AnnotationError, ConfigError, FeatureError
from bpnet.report.times import clock


@dataclasses.dataclass(frozen=True)
class Limits:
    """Largest sizes; what is larger is refused with a message.

    Attributes:
        megabytes: Of a video file, 10^6 bytes.
        minutes: Of a video.
        sentences: About one video at a time.
        visits: Opened videos that are kept; the one that was used longest ago makes room.
        waiting: Requests that wait for their turn.
    """

    megabytes: float = 500
    minutes: float = 60
    sentences: int = 50
    visits: int = 8
    waiting: int = 20

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if not value > 0:
                raise ConfigError(f"{name}={value}: expected a number > 0")

    @property
    def max_bytes(self) -> int:
        """Of a video file."""
        return int(self.megabytes * 1e6)

    def check_bytes(self, num_bytes: int) -> None:
        """Refuse a file that is too large.

        Args:
            num_bytes: Its size.

        Raises:
            FeatureError: It is too large.
        """
        if num_bytes > self.max_bytes:
            raise FeatureError(
                f"the video has {num_bytes / 1e6:.1f} MB: at most {self.megabytes:g} MB are taken "
                "here; cut it, or ask `bpnet localize`, which has no limit"
            )

    def check_seconds(self, seconds: float) -> None:
        """Refuse a video that is too long.

        Args:
            seconds: Its duration.

        Raises:
            FeatureError: It is too long.
        """
        if seconds > 60 * self.minutes:
            raise FeatureError(
                f"the video lasts {clock(seconds)}: at most {self.minutes:g} minutes are taken "
                "here; cut it, or ask `bpnet localize`, which has no limit"
            )

    def sentences_of(self, text: str) -> list[str]:
        """The sentences of a text.

        Args:
            text: One sentence a line; empty lines are none.

        Returns:
            The sentences.

        Raises:
            AnnotationError: There are none, or too many.
        """
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if not lines:
            raise AnnotationError("no sentence: type at least one, such as `a dog jumps`")
        if len(lines) > self.sentences:
            raise AnnotationError(
                f"{len(lines)} sentences: at most {self.sentences} are answered at a time"
            )
        return lines
