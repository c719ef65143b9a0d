"""All errors of the toolkit; ``except BPNetError`` catches every one.

BPNetError
├── ConfigError        (also ValueError)
├── AnnotationError    (also ValueError)
├── CheckpointError    (also ValueError)
├── AttentionError     (also ValueError)
│   └── CacheFullError
└── FeatureError       (also ValueError)
    └── MissingVideoError  (also LookupError; not KeyError, which prints its message in quotes)
"""

from bpnet_features.errors import BPNetError, FeatureError, MissingVideoError

__all__ = [
    "AnnotationError",
    "AttentionError",
    "BPNetError",
    "CacheFullError",
    "CheckpointError",
    "ConfigError",
    "FeatureError",
    "MissingVideoError",
]


class ConfigError(BPNetError, ValueError):
    """A setting is unknown, missing or out of range."""


class AnnotationError(BPNetError, ValueError):
    """An annotation file, or a query, is not what it must be."""


class CheckpointError(BPNetError, ValueError):
    """A checkpoint cannot be read, or does not fit what it is used with."""


class AttentionError(BPNetError, ValueError):
    """Keys, values or queries do not fit the prefix tree or the plan that they are used with."""


class CacheFullError(AttentionError):
    """What is in use leaves no room in the budget of a prefix tree."""
