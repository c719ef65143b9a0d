"""Weights of VSLNet's PyTorch code -> stage one of BPNet: one table of names and shapes."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bpnet.errors import CheckpointError
from bpnet.model_config import ModelConfig
from bpnet.models.layers import CharacterEmbedding

# Row 0 of VSLNet's word table. Ours is always zero and not stored.
PADDING = "embedding_net.word_emb.pad_vec"


@dataclasses.dataclass(frozen=True)
class Entry:
    """One tensor.

    Attributes:
        theirs: VSLNet's name.
        ours: Our name; None: we do not store it.
        shape: VSLNet's axes: D hidden width, C features, N words with vectors, V width of these,
            A characters, E width of these, Q word and characters together, P positions, K kernel;
            or numbers, or multiples such as ``2D``.
        drop: The axis of length 1 that ours lacks, as a linear layer lacks that of a convolution.
    """

    theirs: str
    ours: str | None
    shape: str
    drop: int | None = None


def table(predictor: str, num_conv_layers: int) -> Iterator[Entry]:
    """All tensors of a VSLNet.

    Args:
        predictor: ``rnn`` or ``transformer``.
        num_conv_layers: Convolution layers of a feature encoder.

    Yields:
        Entry: The ones that tell the sizes first.
    """
    yield from _linear("video_affine.linear.conv1d", "encoder.video_projection", "D", "C")
    word = "embedding_net.word_emb"
    yield Entry(PADDING, None, "1 V")
    yield Entry(f"{word}.unk_vec", "encoder.words.unknown", "1 V")
    yield Entry(f"{word}.glove_vec", "encoder.words.words", "N V")
    letters = "embedding_net.char_emb"
    yield Entry(f"{letters}.char_emb.weight", "encoder.characters.table.weight", "A E")
    for i, (width, filters) in enumerate(CharacterEmbedding.WIDTHS):
        theirs, ours = f"{letters}.char_convs.{i}.0", f"encoder.characters.convs.{i}"
        yield Entry(f"{theirs}.weight", f"{ours}.weight", f"{filters} E 1 {width}", drop=2)
        yield Entry(f"{theirs}.bias", f"{ours}.bias", f"{filters}")
    yield from _linear("embedding_net.linear.conv1d", "encoder.query_projection", "D", "Q")
    yield from _encoder("feature_encoder", "encoder.encoder", num_conv_layers)
    yield Entry("cq_attention.w4C", "interaction.attention.video_weight", "D 1")
    yield Entry("cq_attention.w4Q", "interaction.attention.query_weight", "D 1")
    yield Entry("cq_attention.w4mlu", "interaction.attention.product_weight", "1 1 D")
    yield from _linear("cq_attention.cqa_linear.conv1d", "interaction.attention.linear", "D", "4D")
    yield Entry("cq_concat.weighted_pool.weight", "interaction.query_pool.weight", "D 1")
    yield from _linear("cq_concat.conv1d.conv1d", "interaction.query_concat", "D", "2D")
    yield from _linear("highlight_layer.conv1d.conv1d", "interaction.highlight", "1", "D")
    ours = "proposer.predictor"
    if predictor == "transformer":
        yield from _encoder("predictor.encoder", f"{ours}.encoder", num_conv_layers)
    for side in ("start", "end"):
        if predictor == "rnn":  # both are torch's LSTM: the same names, the same order of gates
            for gates in ("ih", "hh"):
                lstm = (f"predictor.{side}_encoder.lstm", f"{ours}.{side}_lstm")
                yield Entry(f"{lstm[0]}.weight_{gates}_l0", f"{lstm[1]}.weight_{gates}_l0", "4D D")
                yield Entry(f"{lstm[0]}.bias_{gates}_l0", f"{lstm[1]}.bias_{gates}_l0", "4D")
        else:
            yield from _norm(f"predictor.{side}_layer_norm", f"{ours}.{side}_norm")
        head = (f"predictor.{side}_block", f"{ours}.{side}_head")
        yield from _linear(f"{head[0]}.0.conv1d", f"{head[1]}.0", "D", "2D")
        yield from _linear(f"{head[0]}.2.conv1d", f"{head[1]}.2", "1", "D")


def _encoder(theirs: str, ours: str, num_conv_layers: int) -> Iterator[Entry]:
    yield Entry(f"{theirs}.pos_embedding.position_embeddings.weight", f"{ours}.positions", "P D")
    for i in range(num_conv_layers):
        conv, block = f"{theirs}.conv_block.depthwise_separable_conv.{i}", f"{ours}.convs.{i}"
        yield Entry(f"{conv}.0.weight", f"{block}.depthwise.weight", "D 1 K")
        yield from _linear(f"{conv}.1", f"{block}.pointwise", "D", "D")
        yield from _norm(f"{theirs}.conv_block.layer_norms.{i}", f"{block}.norm")
    attention = f"{theirs}.attention_block"
    for name in ("query", "key", "value"):
        yield from _linear(f"{attention}.{name}.conv1d", f"{ours}.attention.{name}", "D", "D")
    yield from _norm(f"{attention}.layer_norm1", f"{ours}.attention_norm")
    yield from _norm(f"{attention}.layer_norm2", f"{ours}.linear_norm")
    yield from _linear(f"{attention}.out_layer.conv1d", f"{ours}.linear", "D", "D")


def _linear(theirs: str, ours: str, out: str, into: str) -> Iterator[Entry]:
    yield Entry(f"{theirs}.weight", f"{ours}.weight", f"{out} {into} 1", drop=2)
    yield Entry(f"{theirs}.bias", f"{ours}.bias", out)


def _norm(theirs: str, ours: str) -> Iterator[Entry]:
    yield Entry(f"{theirs}.weight", f"{ours}.weight", "D")
    yield Entry(f"{theirs}.bias", f"{ours}.bias", "D")


@dataclasses.dataclass(frozen=True, eq=False)
class VslnetWeights:
    """A VSLNet in our names.

    Attributes:
        config: Its network.
        sizes: The numbers of `bpnet.build.Sizes`, by name.
        tensors: Its weights, by our names.
    """

    config: ModelConfig
    sizes: dict[str, Any]
    tensors: dict[str, Tensor]


def read_state(path: Path) -> dict[str, Tensor]:
    """Read what ``torch.save(model.state_dict(), path)`` wrote; runs no code that the file holds.

    Args:
        path: The file (``.t7`` in VSLNet's folders).

    Returns:
        Tensors by name, on the CPU.

    Raises:
        CheckpointError: There is no such file, or it holds something else.
    """
    if not path.is_file():
        raise CheckpointError(f"VSLNet weights {str(path)!r}: no such file")
    wanted = "expected what torch.save(model.state_dict(), ...) writes"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as err:  # of the archive, its pickle or its tensors: they have no common root
        reason = str(err).strip().split("\n", 1)[0][:200]
        raise CheckpointError(
            f"VSLNet weights {str(path)!r}: not a file of tensors ({reason}): {wanted}"
        ) from err
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointError(
            f"VSLNet weights {str(path)!r}: holds a {type(state).__name__} of other things than "
            f"tensors: {wanted}"
        )
    return {str(name): value for name, value in state.items()}


def from_vslnet(state: Mapping[str, Tensor], num_heads: int = 8) -> VslnetWeights:
    """Translate a state dict of VSLNet's PyTorch code, with either predictor.

    Args:
        state: Its tensors by name.
        num_heads: Attention heads, the one size that the weights do not tell (8 in its code).

    Returns:
        The same network as stage one of BPNet, in compat mode.

    Raises:
        CheckpointError: Tensors are missing, unknown, misshapen or not finite; they are named.
        ConfigError: The width is no multiple of ``num_heads``.
    """
    layers = {re.match(r"feature_encoder\.conv_block\.layer_norms\.(\d+)\.", n) for n in state}
    num_conv_layers = len({found[1] for found in layers if found is not None})
    recurrent = any(name.startswith("predictor.start_encoder.") for name in state)
    predictor = "rnn" if recurrent else "transformer"
    tensors: dict[str, Tensor] = {}
    sizes: dict[str, int] = {}
    faults: list[str] = []
    entries = list(table(predictor, num_conv_layers))
    for entry in entries:
        value = state.get(entry.theirs)
        if value is None:
            faults.append(f"{entry.theirs} is missing")
        elif not _fits(tuple(value.shape), entry.shape, sizes):
            expected = _spelled(entry, sizes)
            faults.append(f"{entry.theirs} has shape {tuple(value.shape)}, expected ({expected})")
        elif not value.isfinite().all():
            faults.append(f"{entry.theirs} holds NaN or infinite values")
        elif entry.ours is not None:
            value = value.float()
            tensors[entry.ours] = value if entry.drop is None else value.squeeze(entry.drop)
    unknown = sorted(set(state) - {entry.theirs for entry in entries})
    faults += [f"{name} is unknown" for name in unknown]
    if PADDING in state and state[PADDING].count_nonzero():
        faults.append(f"{PADDING} is not zero")
    if faults:
        more = f" and {len(faults) - 5} more faults" if len(faults) > 5 else ""
        raise CheckpointError(
            f"VSLNet weights: {'; '.join(faults[:5])}{more}. Expected the "
            f"state dict of VSLNet's PyTorch code (predictor {predictor}) with word vectors"
        )
    config = ModelConfig(
        hidden_dim=sizes["D"],
        num_heads=num_heads,
        kernel_size=sizes.get("K", 1),  # without convolutions there is no kernel
        num_conv_layers=num_conv_layers,
        char_dim=sizes["E"],
        num_similarities=0,
        num_context_layers=0,
        predictor=predictor,
        pair_dim=0,
        overlap_weight=0.0,
        contrast_weight=0.0,
        proposal_order="probability",
        proposal_nms=None,
        mask_pads=False,
        stage_two=False,
        # No answer depends on these: they say how it was trained, for whoever trains on.
        dropout=0.2,
        embedding_init="normal",
        lstm_init="torch",
    )
    return VslnetWeights(
        config,
        {
            "feature_dim": sizes["C"],
            "num_words": sizes["N"] + 2,
            "num_characters": sizes["A"],
            "word_dim": sizes["V"],
            "frozen_words": True,
            "max_positions": sizes["P"],
        },
        tensors,
    )


def _axes(shape: str) -> list[tuple[int, str]]:
    """Number and letter of each axis: ``"4D 1"`` is [(4, "D"), (1, "")]."""
    parts = [re.fullmatch(r"(\d*)([A-Z]?)", axis) for axis in shape.split()]
    return [(int(part[1] or 1), part[2]) for part in parts if part is not None]


def _fits(shape: tuple[int, ...], expected: str, sizes: dict[str, int]) -> bool:
    """Whether a shape is the expected one; sizes that were not known are read from it."""
    axes = _axes(expected)
    if len(shape) != len(axes):
        return False
    for size, (times, letter) in zip(shape, axes, strict=True):
        if letter == "Q" and "V" in sizes:
            sizes["Q"] = sizes["V"] + CharacterEmbedding.OUT_DIM
        one = sizes.setdefault(letter, size // times) if letter else 1
        if size != times * one:
            return False
    return True


def _spelled(entry: Entry, sizes: dict[str, int]) -> str:
    axes = _axes(entry.shape)
    return ", ".join(str(n * sizes.get(a, 1)) if a in sizes or not a else a for n, a in axes)
