"""A checkpoint's network -> a graph of tensors with open sizes, by `torch.export`."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bpnet.checkpoint import Checkpoint
from bpnet.errors import ConfigError
from bpnet.model_config import ModelConfig
from bpnet.models.bpnet import BPNet
from bpnet.models.encoder import Encoded
from bpnet.settings import from_dict

OUTPUTS = ("spans", "scores", "mask")
# The widest character filter then sees two places: an axis of one would be taken for a broadcast.
MIN_LETTERS = 5

# Names of the open axes of each input, in the order of `Asked.forward`.
_AXES = {
    "video": ("videos", "clips"),
    "video_mask": ("videos", "clips"),
    "video_index": ("queries",),
    "query_mask": ("queries", "tokens"),
    "query_ids": ("queries", "tokens"),
    "char_ids": ("queries", "tokens", "letters"),
    "query_features": ("queries", "tokens"),
}


@dataclasses.dataclass(frozen=True)
class Signature:
    """What a graph reads.

    Attributes:
        feature_dim: Width of the clips.
        num_words: Words of the vocabulary; 0: the queries come as token features.
        num_characters: Its characters; 0: none are read.
        query_dim: Width of the token features; 0: words are read.
        max_clips: Most clips of a video.
        max_tokens: Most tokens of a query.
        num_proposals: Spans a query K.
    """

    feature_dim: int
    num_words: int
    num_characters: int
    query_dim: int
    max_clips: int
    max_tokens: int
    num_proposals: int

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Signature:
        """That of a checkpoint's network."""
        sizes, config = checkpoint.sizes, from_dict(ModelConfig, checkpoint.model, "model")
        query_dim = int(sizes.get("query_dim", 0))
        return cls(
            feature_dim=int(sizes["feature_dim"]),
            num_words=0 if query_dim else int(sizes["num_words"]),
            num_characters=int(sizes["num_characters"]),
            query_dim=query_dim,
            max_clips=int(checkpoint.data["max_clips"]),
            max_tokens=int(checkpoint.vocabulary["max_query_tokens"]),
            num_proposals=config.num_proposals,
        )

    @property
    def inputs(self) -> dict[str, tuple[str | int, ...]]:
        """Axes of each input in order; a name stands for an open size."""
        axes: dict[str, tuple[str | int, ...]] = dict(_AXES)
        axes["video"] += (self.feature_dim,)
        axes["query_features"] += (self.query_dim,)
        left_out = ["query_ids"] if self.query_dim else ["query_features"]
        if not self.num_characters:
            left_out.append("char_ids")
        return {name: named for name, named in axes.items() if name not in left_out}

    @property
    def outputs(self) -> dict[str, tuple[str | int, ...]]:
        """Axes of each output in order."""
        scores: tuple[str | int, ...] = ("queries", self.num_proposals)
        return dict(zip(OUTPUTS, ((*scores, 2), scores, scores), strict=True))

    @property
    def ranges(self) -> dict[str, tuple[int, int | None]]:
        """Least and largest size of each open axis; None: there is no largest."""
        return {
            "videos": (1, None),
            "clips": (1, self.max_clips),
            "queries": (1, None),
            "tokens": (1, self.max_tokens),
            "letters": (MIN_LETTERS, None),
        }


class Asked(nn.Module):
    """The network with tensors in place of a batch.

    Args:
        model: The network.
        num_clips: Encoded clips are padded to this number; None: they are not.
    """

    def __init__(self, model: BPNet, num_clips: int | None) -> None:
        super().__init__()
        self.model = model
        self.num_clips = num_clips

    def forward(
        self,
        video: Tensor,
        video_mask: Tensor,
        video_index: Tensor,
        query_mask: Tensor,
        query_ids: Tensor | None = None,
        char_ids: Tensor | None = None,
        query_features: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Localize queries in their videos.

        Args:
            video: Clips (V, T, C).
            video_mask: (V, T).
            video_index: Each query's video (B,) int64.
            query_mask: (B, L).
            query_ids: (B, L) int64, where words are read.
            char_ids: (B, L, W) int64, where letters are.
            query_features: (B, L, C'), where these are read in place of words.

        Returns:
            Spans in clip positions (B, K, 2), their scores (B, K), and which of them are answers
            (B, K) bool.
        """
        if query_ids is None:  # read for their number alone
            query_ids = torch.zeros_like(query_mask, dtype=torch.int64)
        if char_ids is None:
            char_ids = query_ids[..., None]
        encoded = self.model.encode_video(video, video_mask)
        if self.num_clips is not None:
            encoded, video_mask = _padded(encoded, video_mask, self.num_clips)
        encoded = encoded.pick(video_index)
        query = self.model.encoder.encode_query(query_ids, char_ids, query_mask, query_features)
        output = self.model.judge(encoded, query, video_mask[video_index], query_mask)
        return output.spans, output.scores.float(), output.scores >= 0


def _padded(encoded: Encoded, mask: Tensor, num_clips: int) -> tuple[Encoded, Tensor]:
    """Encoded clips, with padding behind them, and their mask."""
    return encoded.padded(num_clips), F.pad(mask, (0, num_clips - mask.shape[1]))


def trace(model: BPNet, config: ModelConfig, signature: Signature) -> Any:
    """The graph of a network.

    Args:
        model: The network, in evaluation mode, on the CPU.
        config: What it is.
        signature: What it reads.

    Returns:
        The `torch.export.ExportedProgram`.

    Raises:
        ConfigError: A part of the network cannot be a graph of open sizes.
    """
    asked = Asked(model, _padded_clips(config, signature))
    dims = {
        name: torch.export.Dim(name, min=least, max=most)
        for name, (least, most) in signature.ranges.items()
    }
    axes = {
        name: {i: dims[axis] for i, axis in enumerate(named) if isinstance(axis, str)}
        for name, named in signature.inputs.items()
    }
    with torch.no_grad(), _without_fused_layers():
        return torch.export.export(
            asked, (), _example(signature), dynamic_shapes=axes, strict=False
        )


def _padded_clips(config: ModelConfig, signature: Signature) -> int | None:
    """The number of clips that a network needs, where a graph cannot leave it open."""
    if config.proposer == "span" and config.predictor == "rnn":
        raise ConfigError(
            "model.predictor='rnn' cannot be exported: its LSTMs take a step a clip, and a graph "
            "whose number of clips is open has no such loop; train with model.predictor=linear or "
            "transformer"
        )
    longest = max(signature.max_clips, signature.max_tokens)
    if config.attention_window is not None and config.attention_window < longest:
        raise ConfigError(
            f"model.attention_window={config.attention_window} cannot be exported: a graph of an "
            f"open number of clips cannot cut them in blocks; expected null, or at least {longest} "
            "(the longest video or query)"
        )
    if config.proposer != "dense":
        return None
    if not config.mask_pads:
        raise ConfigError(
            "model.mask_pads=false with model.proposer='dense' cannot be exported: the graph pads "
            "clips, and its answers would depend on that"
        )
    return signature.max_clips  # the sizes of the pyramid are halves, rounded


def _example(signature: Signature) -> dict[str, Tensor]:
    """Inputs whose sizes all differ, so that no axis is taken for another, or for a broadcast."""
    sizes = {"videos": 2, "clips": min(20, signature.max_clips), "queries": 3}
    sizes |= {"tokens": min(7, signature.max_tokens), "letters": 9}
    example = {}
    for name, named in signature.inputs.items():
        shape = [sizes[axis] if isinstance(axis, str) else axis for axis in named]
        dtype = {"mask": torch.bool, "ids": torch.int64, "index": torch.int64}
        example[name] = torch.ones(shape, dtype=dtype.get(name.split("_")[-1], torch.float32))
    return example


@contextlib.contextmanager
def _without_fused_layers() -> Iterator[None]:
    """Attention layers as the operations that they are made of, not as one that only torch has."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
