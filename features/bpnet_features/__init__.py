"""Clip features of videos on disk: what they are, where they lie in time, in and out of HDF5.

Needs NumPy and h5py only; PyTorch is never imported here.
"""

from bpnet_features.errors import BPNetError, FeatureError, MissingVideoError
from bpnet_features.grid import ClipGrid
from bpnet_features.open import open_features
from bpnet_features.query_store import QueryFeatureStore
from bpnet_features.source import FeatureSource
from bpnet_features.spec import FeatureSpec
from bpnet_features.store import FeatureStore
from bpnet_features.writer import FeatureWriter

__all__ = [
    "BPNetError",
    "ClipGrid",
    "FeatureError",
    "FeatureSource",
    "FeatureSpec",
    "FeatureStore",
    "FeatureWriter",
    "MissingVideoError",
    "QueryFeatureStore",
    "open_features",
]
