"""Exported files answer as the network does, at any size; what cannot be exported says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bpnet.build import build_from_checkpoint
from bpnet.checkpoint import Checkpoint
from bpnet.errors import CheckpointError, ConfigError
from bpnet.export.check import TOLERANCE, compare, inputs_of, random_batches
from bpnet.export.onnx_file import OnnxFile
from bpnet.export.program import Signature
from bpnet.export.run import export
from bpnet.models.bpnet import BPNet

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

Save = Callable[..., Path]

KINDS: dict[str, dict[str, Any]] = {
    "stage one alone": {"stage_two": False},
    "transformer": {"predictor": "transformer", "positions": "waves"},
    "probability": {
        "pair_dim": 0,
        "overlap_weight": 0.0,
        "proposal_order": "probability",
        "proposal_nms": None,
        "refinement_weight": 0.0,
    },
    "pooled": {"max_cells": 8},
    "blocks": {"max_clips": 70},
    "dense": {"proposer": "dense", "max_clips": 70},
    "dense, probability": {"proposer": "dense", "proposal_order": "probability"},
    "set": {"proposer": "set"},
    "windows": {"proposer": "windows"},
    "windows, stage one alone": {"proposer": "windows", "stage_two": False},
    "word frame": {"fusion": "word_frame", "span_feature": "mean", "num_relation_layers": 0},
    "no letters": {"characters": False},
    "token features": {"query_dim": 7},
    "padding counts": {"mask_pads": False, "num_context_layers": 0},
}


def _opened(path: Path) -> tuple[BPNet, Signature]:
    checkpoint = Checkpoint.load(path)
    return build_from_checkpoint(checkpoint)[0], Signature.of(checkpoint)


def _equal(path: Path, out: Path) -> None:
    model, signature = _opened(path)
    file = OnnxFile(out)
    for seed in range(1, 4):  # others than those of the command's own check
        found = compare(model, file, signature, list(random_batches(signature, seed)))
        assert found.largest <= TOLERANCE
        assert found.num_undecided <= 1
        assert found.num_queries > 5


def test_the_default_network(save: Save, tmp_path: Path) -> None:
    path, out = save(), tmp_path / "model.onnx"
    made = export(path, out, int8=True)
    assert made.files[0].difference.largest <= TOLERANCE
    _equal(path, out)

    model = onnx.load(str(out))
    onnx.checker.check_model(model)
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in [*model.graph.input, *model.graph.output]
    }
    assert shapes == {
        "video": ["videos", "clips", 5],
        "video_mask": ["videos", "clips"],
        "video_index": ["queries"],
        "query_ids": ["queries", "tokens"],
        "char_ids": ["queries", "tokens", "letters"],
        "query_mask": ["queries", "tokens"],
        "spans": ["queries", 3, 2],
        "scores": ["queries", 3],
        "mask": ["queries", 3],
    }
    told = {prop.key: prop.value for prop in model.metadata_props}
    assert (told["format"], told["version"]) == ("bpnet-onnx", "1")
    assert json.loads(told["vocabulary"])["words"][2] == "word0"
    assert json.loads(told["feature_spec"])["backbone"] == "tiny"
    assert json.loads(told["ranges"])["clips"] == [1, 24]
    assert str(Path(__file__).resolve().parents[2]).encode() not in out.read_bytes()

    small = tmp_path / "model.int8.onnx"
    weights = {tensor.data_type for tensor in onnx.load(str(small)).graph.initializer}
    assert onnx.TensorProto.INT8 in weights
    assert made.files[1].num_bytes == small.stat().st_size
    apart = made.files[1].difference
    assert apart.scores > TOLERANCE
    assert apart.num_near >= apart.num_queries / 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind(kind: str, save: Save, tmp_path: Path) -> None:
    path, out = save(**KINDS[kind]), tmp_path / "model.onnx"
    export(path, out)
    _equal(path, out)


@pytest.mark.slow
def test_padding_changes_nothing(save: Save, tmp_path: Path) -> None:
    path, out = save(), tmp_path / "model.onnx"
    export(path, out)
    _, signature = _opened(path)
    file = OnnxFile(out)
    batch = next(random_batches(signature, seed=5))
    inputs = inputs_of(batch, signature)
    spans, scores = file(inputs)
    padded = {
        name: np.pad(
            value, [(0, 0)] + [(0, 3) if axis < 2 else (0, 0) for axis in range(1, value.ndim)]
        )
        for name, value in inputs.items()
    }
    found = file(padded)
    np.testing.assert_allclose(found[0], spans, atol=1e-5)
    np.testing.assert_allclose(found[1], scores, atol=1e-5)


@pytest.mark.slow
def test_a_program(save: Save, tmp_path: Path) -> None:
    path, out = save(), tmp_path / "model.pt2"
    made = export(path, out)
    assert made.files[0].difference.largest <= TOLERANCE
    with out.open("rb") as file:
        extra = {"bpnet.json": ""}
        torch.export.load(file, extra_files=extra)
    told = json.loads(extra["bpnet.json"])
    assert told["format"] == "bpnet-program"
    assert json.loads(told["outputs"])["spans"] == ["queries", 3, 2]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"predictor": "rnn"}, "model.predictor='rnn' cannot be exported"),
        ({"attention_window": 8}, r"model.attention_window=8 cannot be exported.*at least 24"),
        ({"proposer": "dense", "mask_pads": False}, "model.mask_pads=false with .*'dense'"),
    ],
)
def test_what_has_no_graph(
    values: dict[str, Any], message: str, save: Save, tmp_path: Path
) -> None:
    out = tmp_path / "model.onnx"
    with pytest.raises(ConfigError, match=message):
        export(save(**values), out)
    assert not out.exists()


@pytest.mark.slow
def test_tracing_leaves_nothing_behind(save: Save, tmp_path: Path) -> None:
    """What the network keeps between calls must hold numbers, not what a tracer made."""
    path = save()
    model, signature = _opened(path)
    batch = next(random_batches(signature))
    before = model(batch).scores
    export(path, tmp_path / "model.pt2")
    assert torch.equal(_opened(path)[0](batch).scores, before)
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.slow
def test_a_file_that_answers_otherwise_is_not_written(
    save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bpnet.export.run.TOLERANCE", -1.0)
    out = tmp_path / "model.pt2"
    with pytest.raises(CheckpointError, match=r"model.pt2 answers otherwise .* at most -1.0"):
        export(save(stage_two=False), out)
    assert [path.name for path in tmp_path.iterdir()] == ["small.safetensors"]
