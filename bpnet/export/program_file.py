"""A traced graph -> a file of `torch.export`; and what answers from one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bpnet.export.onnx_file import Arrays

METADATA = "bpnet.json"  # the file in the archive that holds it
FORMAT_NAME, FORMAT_VERSION = "bpnet-program", 1


def write_program(program: Any, metadata: Mapping[str, str], path: Path) -> None:
    """Write a graph as torch keeps it.

    Args:
        program: The `torch.export.ExportedProgram`.
        metadata: What the file tells of itself, JSON by name.
        path: Where to, ``*.pt2``.
    """
    named = {"format": FORMAT_NAME, "version": str(FORMAT_VERSION), **metadata}
    with path.open("wb") as file:
        torch.export.save(program, file, extra_files={METADATA: json.dumps(named)})


class ProgramFile:
    """An exported file, ready to be asked.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._module = torch.export.load(file).module()

    def __call__(self, inputs: Arrays) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Spans (B, K, 2) and scores (B, K) of B queries."""
        tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
        with torch.inference_mode():
            spans, scores, _ = self._module(**tensors)
        return spans.numpy(), scores.numpy()
