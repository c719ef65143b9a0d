"""The root of all errors, and those that a feature file can cause.

BPNetError
├── ConfigError        (also ValueError; bpnet.errors)
├── AnnotationError    (also ValueError; bpnet.errors)
├── CheckpointError    (also ValueError; bpnet.errors)
└── FeatureError       (also ValueError)
    └── MissingVideoError  (also LookupError)
"""


class BPNetError(Exception):
    """Anything that a user, a file or a setting can cause."""


class FeatureError(BPNetError, ValueError):
    """A feature file, a video file or a feature spec is not what it must be."""


class MissingVideoError(FeatureError, LookupError):
    """A video is not in the feature file."""
