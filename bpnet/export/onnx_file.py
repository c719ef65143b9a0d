"""A traced graph -> an ONNX file; and what answers from one."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bpnet.errors import ConfigError
from bpnet.export.program import Signature

FORMAT_NAME, FORMAT_VERSION = "bpnet-onnx", 1
PACKAGES = ("onnx", "onnxruntime", "onnxscript")

Arrays = Mapping[str, npt.NDArray[Any]]


def need_onnx() -> None:
    """Make sure that the extra is installed.

    Raises:
        ConfigError: A package of it is missing.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"ONNX files need {', '.join(missing)}: `pip install 'bpnet-nlvl[export]'`"
        )


def write_onnx(program: Any, signature: Signature, metadata: Mapping[str, str], path: Path) -> None:
    """Write a graph as one ONNX file that holds its weights.

    Args:
        program: The `torch.export.ExportedProgram`.
        signature: What it reads, and names of its axes.
        metadata: What the file tells of itself, JSON by name.
        path: Where to.
    """
    import onnx
    import torch.onnx

    loud = logging.getLogger("torch.onnx")
    level = loud.level
    loud.setLevel(logging.ERROR)  # it warns of packages that this graph does not need
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations between torch and onnxscript
            written = torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                input_names=list(signature.inputs),
                output_names=list(signature.outputs),
            )
    finally:
        loud.setLevel(level)
    assert written is not None
    model = written.model_proto
    graph = model.graph
    # Where in which source file each operation stood is nobody's business, and half of the file.
    for node in [*graph.node, *graph.initializer, *graph.input, *graph.output]:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    graph.ClearField("metadata_props")
    graph.ClearField("value_info")
    for values, axes in ((graph.input, signature.inputs), (graph.output, signature.outputs)):
        for value in values:
            for dim, axis in zip(value.type.tensor_type.shape.dim, axes[value.name], strict=True):
                if isinstance(axis, str):
                    dim.dim_param = axis
    model.ClearField("metadata_props")
    named = {"format": FORMAT_NAME, "version": str(FORMAT_VERSION), **metadata}
    onnx.helper.set_model_props(model, named)
    onnx.save(model, str(path))


class OnnxFile:
    """An exported file, ready to be asked.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, inputs: Arrays) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Spans (B, K, 2) and scores (B, K) of B queries."""
        spans, scores = self._session.run(["spans", "scores"], dict(inputs))
        return spans, scores
