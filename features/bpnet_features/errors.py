"""The root of all errors, and those that a feature file can cause.

BPNetError
├── ConfigError        (also ValueError; bpnet.errors)
├── AnnotationError    (also ValueError; bpnet.errors)
├── CheckpointError    (also ValueError; bpnet.errors)
└── FeatureError       (also ValueError)
    └── MissingVideoError  (also LookupError)
"""

# Far more than any message of ours; a name or value from a damaged file can be of any length.
MAX_MESSAGE = 4000


class BPNetError(Exception):
    """Anything that a user, a file or a setting can cause.

    Args:
        message: What is wrong, with the value seen, and what to do; its middle is left out where it
            is longer than `MAX_MESSAGE`.
    """

    def __init__(self, message: str = "") -> None:
        if len(message) > MAX_MESSAGE:
            half = MAX_MESSAGE // 2
            message = f"{message[:half]} [...] {message[-half:]}"
        super().__init__(message)


class FeatureError(BPNetError, ValueError):
    """A feature file, a video file or a feature spec is not what it must be.

    Args:
        message: What is wrong, with the value seen, and what to do.
        kind: Short name of the fault; reports gather faults of one kind.
    """

    def __init__(self, message: str = "", kind: str = "unreadable") -> None:
        super().__init__(message)
        self.kind = kind


class MissingVideoError(FeatureError, LookupError):
    """A video is not in the feature file."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message, kind="missing")
