"""A checkpoint -> an exported file that has been asked, and what is to be told of it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from bpnet.build import build_from_checkpoint
from bpnet.checkpoint import Checkpoint
from bpnet.config import EvaluateConfig
from bpnet.errors import CheckpointError, ConfigError
from bpnet.export.accuracy import Accuracy, accuracy
from bpnet.export.check import TOLERANCE, Answerer, Difference, compare, random_batches
from bpnet.export.onnx_file import OnnxFile, need_onnx, write_onnx
from bpnet.export.program import Signature, trace
from bpnet.export.program_file import ProgramFile, write_program
from bpnet.export.quantise import quantise
from bpnet.model_config import ModelConfig
from bpnet.models.bpnet import BPNet
from bpnet.settings import from_dict
from bpnet_features.atomic import part_of, put_in_place

SUFFIXES = (".onnx", ".pt2")


@dataclasses.dataclass(frozen=True)
class Written:
    """A file, and how near its answers are.

    Attributes:
        path: The file.
        num_bytes: Its size.
        difference: From the checkpoint's answers to random queries.
    """

    path: Path
    num_bytes: int
    difference: Difference


@dataclasses.dataclass(frozen=True)
class Exported:
    """What an export made.

    Attributes:
        signature: What the files read.
        files: The float file, and the int8 one where it was asked for.
        accuracy: Metrics on a part of the data; None: they were not asked for.
    """

    signature: Signature
    files: tuple[Written, ...]
    accuracy: Accuracy | None


def int8_path(out: Path) -> Path:
    """Where the int8 file goes: ``model.int8.onnx`` beside ``model.onnx``."""
    return out.with_name(f"{out.stem}.int8{out.suffix}")


def check_outputs(out: Path, int8: bool) -> None:
    """Make sure that the files can be written.

    Args:
        out: The float file.
        int8: Whether there is to be an int8 one.

    Raises:
        ConfigError: Their name or folder is none, or they are there already.
    """
    if out.suffix not in SUFFIXES:
        raise ConfigError(
            f"--out {str(out)!r}: expected a name that ends in .onnx (ONNX) or .pt2 (torch.export)"
        )
    if int8 and out.suffix != ".onnx":
        raise ConfigError(f"--int8 with --out {str(out)!r}: expected a name that ends in .onnx")
    if not out.parent.is_dir():
        raise ConfigError(f"--out {str(out)!r}: no folder {str(out.parent)!r}")
    for path in [out, int8_path(out)] if int8 else [out]:
        if path.exists():
            raise ConfigError(f"{str(path)!r} is there already: give another name, or remove it")


def export(
    path: Path, out: Path, *, int8: bool = False, evaluation: EvaluateConfig | None = None
) -> Exported:
    """Write the network of a checkpoint as a graph, and ask the file that was written.

    Args:
        path: The checkpoint, or the folder of a run.
        out: The file to write; ``.onnx`` or ``.pt2``.
        int8: Whether to write an int8 file beside it.
        evaluation: What to measure the accuracy on; None: it is not.

    Returns:
        What was made.

    Raises:
        ConfigError: A part of the network has no such graph, or a package is missing.
        CheckpointError: There is no such checkpoint, or the file answers otherwise than it; nothing
            is written then.
        BPNetError: The data of the evaluation cannot be read.
    """
    check_outputs(out, int8)
    if out.suffix == ".onnx":
        need_onnx()
    checkpoint = Checkpoint.load(path)
    signature = Signature.of(checkpoint)
    model, _ = build_from_checkpoint(checkpoint)
    if not isinstance(model, BPNet):
        raise ConfigError(
            f"checkpoint {str(path)!r}: model.network='prefix' cannot be exported: a graph keeps "
            "nothing between two calls, which is what that network is for; ask it in Python, or "
            "train model=bpnet"
        )
    program = trace(model, from_dict(ModelConfig, checkpoint.model, "model"), signature)
    metadata = checkpoint.metadata() | _description(signature)
    part, small = part_of(out), part_of(int8_path(out))
    try:
        if out.suffix == ".onnx":
            write_onnx(program, signature, metadata, part)
        else:
            write_program(program, metadata, part)
        answerer: Answerer = OnnxFile(part) if out.suffix == ".onnx" else ProgramFile(part)
        asked = {out.name: answerer}
        files = [Written(out, part.stat().st_size, _checked(model, answerer, signature, out))]
        if int8:
            quantise(part, small)
            asked[int8_path(out).name] = answerer = OnnxFile(small)
            apart = compare(model, answerer, signature, list(random_batches(signature)))
            files.append(Written(int8_path(out), small.stat().st_size, apart))
        measured = None if evaluation is None else accuracy(evaluation, asked, signature)
        put_in_place(part, out)
        if int8:
            put_in_place(small, int8_path(out))
    finally:
        part.unlink(missing_ok=True)
        small.unlink(missing_ok=True)
    return Exported(signature, tuple(files), measured)


def _checked(model: BPNet, file: Answerer, signature: Signature, out: Path) -> Difference:
    apart = compare(model, file, signature, list(random_batches(signature)))
    if not apart.largest <= TOLERANCE:
        raise CheckpointError(
            f"{out.name} answers otherwise than the checkpoint: by {apart.spans:.2g} clips and "
            f"{apart.scores:.2g} in score on {apart.num_queries} random queries: expected at most "
            f"{TOLERANCE}; nothing is written: please report it with your versions of torch and "
            "onnxruntime"
        )
    return apart


def _description(signature: Signature) -> dict[str, str]:
    """Names, axes and ranges of what goes in and comes out, as JSON by name."""
    described: dict[str, Any] = {
        "inputs": signature.inputs,
        "outputs": signature.outputs,
        "ranges": signature.ranges,
    }
    return {name: json.dumps(value) for name, value in described.items()}
