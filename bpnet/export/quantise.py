"""An ONNX file -> one whose matrices are int8 (ONNX Runtime's dynamic quantisation)."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

QUANTISED = ["MatMul", "Gemm"]


def quantise(path: Path, out: Path) -> None:
    """Write the same graph with int8 weights; what they multiply is rounded as it comes.

    Args:
        path: The float file.
        out: Where to.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(str(path))
    _fold_transposes(model.graph)
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it advises a preparation that this graph has had
    try:
        quantize_dynamic(
            model,
            out,
            op_types_to_quantize=QUANTISED,
            per_channel=True,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )
    finally:
        root.setLevel(level)


def _fold_transposes(graph: Any) -> None:
    """Replace transposed weights by weights that lie so: only these are quantised."""
    from onnx import numpy_helper

    weights = {tensor.name: tensor for tensor in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "Transpose"]:
        tensor = weights.get(node.input[0])
        if tensor is None:
            continue
        axes = next((list(a.ints) for a in node.attribute if a.name == "perm"), None)
        turned = numpy_helper.to_array(tensor).transpose(axes).copy()
        graph.initializer.append(numpy_helper.from_array(turned, node.output[0]))
        graph.node.remove(node)
    read = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)
