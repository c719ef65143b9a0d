"""What makes an HDF5 file a store: the name and version of the format, and the feature spec."""

from __future__ import annotations

import h5py

from bpnet_features.errors import FeatureError
from bpnet_features.hdf5 import HDF5File, attribute
from bpnet_features.spec import FeatureSpec

FORMAT_NAME = "bpnet-features"
# Version 1 has a dataset a video (`apart`); version 2, which is written, one for all (`packed`).
APART, PACKED = 1, 2


def write_header(file: h5py.File, spec: FeatureSpec, version: int = PACKED) -> None:
    """Write what makes a file a store.

    Args:
        file: The file, open for writing.
        spec: How the features were made.
        version: Version of the format.
    """
    file.attrs["format"] = FORMAT_NAME
    file.attrs["format_version"] = version
    file.attrs["spec"] = spec.to_json()


def read_header(file: HDF5File, given: FeatureSpec | None) -> tuple[FeatureSpec, int]:
    """Read what `write_header` wrote.

    Args:
        file: The file.
        given: What the file must agree with, or None.

    Returns:
        How the features were made, and the version of the format.

    Raises:
        FeatureError: It is in another format, of an unknown version, or does not agree.
    """
    where = f"feature file {str(file.path)!r}"
    name = attribute(file.root, "format", where)
    version = attribute(file.root, "format_version", where)
    if name is None:
        raise FeatureError(
            f"{where} is not in our own format: it carries no feature spec; open it as "
            "another layout (data.features.layout, --layout)"
        )
    if name != FORMAT_NAME or version not in (APART, PACKED):
        raise FeatureError(
            f"{where} has format {name!r} version {version}: expected {FORMAT_NAME!r} "
            f"version {APART} or {PACKED}; update bpnet, or write the file anew"
        )
    text = attribute(file.root, "spec", where)
    stored = FeatureSpec.from_json(str(text or ""), str(file.path))
    differences = stored.differences(given) if given is not None else []
    if differences:
        raise FeatureError(
            f"{where} does not fit the given feature spec (file != given): {'; '.join(differences)}"
        )
    return stored, int(version)


def check_dtype(dtype: str) -> None:
    """Raise a `FeatureError` where a store cannot hold numbers of this type."""
    if dtype not in ("float16", "float32"):
        raise FeatureError(f"dtype={dtype!r}: expected 'float16' or 'float32'")
