"""The checkpoint: one safetensors file with weights and plain JSON; knows no model class."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bpnet.errors import CheckpointError
from bpnet_features import FeatureError, FeatureSpec
from bpnet_features.atomic import write_atomically

FORMAT_NAME = "bpnet-checkpoint"
FORMAT_VERSION = 1
BEST, LAST = "best.safetensors", "last.safetensors"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Everything that inference needs.

    Attributes:
        tensors: Weights by name.
        model: The model config as plain values.
        sizes: Numbers that follow from the data, such as ``feature_dim`` and ``num_words``.
        vocabulary: The vocabulary as plain values.
        feature_spec: How the clip features were made that it was trained on.
        data: The data config as plain values; what evaluation reads unless told otherwise.
        training: Where it comes from: step, epoch, seed, validation metrics.
        query_spec: How the token features were made that it was trained on; None: it reads words.
        calibration: What turns its scores into probabilities, as plain values; None: not fitted.
    """

    tensors: dict[str, Tensor]
    model: dict[str, Any]
    sizes: dict[str, Any]
    vocabulary: dict[str, Any]
    feature_spec: FeatureSpec
    data: dict[str, Any]
    training: dict[str, Any]
    query_spec: FeatureSpec | None = None
    calibration: dict[str, Any] | None = None

    def metadata(self) -> dict[str, str]:
        """Everything but the weights, as JSON by name."""
        names = ("model", "sizes", "vocabulary", "data", "training")
        metadata = {name: json.dumps(getattr(self, name)) for name in names}
        metadata["feature_spec"] = self.feature_spec.to_json()
        if self.query_spec is not None:
            metadata["query_spec"] = self.query_spec.to_json()
        if self.calibration is not None:
            metadata["calibration"] = json.dumps(self.calibration)
        return metadata

    def save(self, path: Path) -> None:
        """Write the file; it appears whole or not at all.

        Args:
            path: Where to; its folder must exist.
        """
        metadata = {"format": FORMAT_NAME, "version": str(FORMAT_VERSION), **self.metadata()}
        tensors = {name: value.detach().cpu().contiguous() for name, value in self.tensors.items()}
        write_atomically(path, lambda part: save_file(tensors, part, metadata=metadata))

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Read the file.

        Args:
            path: The safetensors file, or the folder of a run: its best checkpoint, or its last.

        Returns:
            The checkpoint, on the CPU.

        Raises:
            CheckpointError: There is none, it is truncated, or not one of ours.
        """
        file = find(path)
        try:
            with safe_open(file, framework="pt") as opened:
                metadata: Mapping[str, str] = opened.metadata() or {}
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}
        except (SafetensorError, OSError) as err:
            raise CheckpointError(
                f"checkpoint {str(file)!r} ({file.stat().st_size} bytes): truncated or not a "
                f"safetensors file ({err}); copy it again, or train again"
            ) from err
        if metadata.get("format") != FORMAT_NAME or metadata.get("version") != str(FORMAT_VERSION):
            raise CheckpointError(
                f"checkpoint {str(file)!r} has format {metadata.get('format')!r} version "
                f"{metadata.get('version')!r}: expected {FORMAT_NAME!r} version {FORMAT_VERSION}"
            )
        try:
            values = {
                name: json.loads(metadata[name])
                for name in ("model", "sizes", "vocabulary", "data", "training")
            }
            spec = FeatureSpec.from_json(metadata["feature_spec"], str(file))
            query_spec = None
            if "query_spec" in metadata:
                query_spec = FeatureSpec.from_json(metadata["query_spec"], str(file))
            calibration = json.loads(metadata.get("calibration", "null"))
        except (KeyError, json.JSONDecodeError, FeatureError) as err:
            raise CheckpointError(f"checkpoint {str(file)!r}: damaged metadata ({err})") from err
        return cls(
            tensors, feature_spec=spec, query_spec=query_spec, calibration=calibration, **values
        )


def find(path: Path) -> Path:
    """The checkpoint file that a path means.

    Args:
        path: A file, or the folder of a run.

    Returns:
        The file: in a folder ``best.safetensors``, or ``last.safetensors``.

    Raises:
        CheckpointError: There is none.
    """
    candidates = [path / BEST, path / LAST] if path.is_dir() else [path]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    expected = f"expected {BEST} or {LAST} in this folder" if path.is_dir() else "no such file"
    raise CheckpointError(f"checkpoint {str(path)!r}: {expected}")
