"""Config -> objects; the only place that does it."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bpnet.checkpoint import Checkpoint
from bpnet.config import DataConfig, TrainConfig
from bpnet.data.vocabulary import Vocabulary, tokenize
from bpnet.data.vslnet_words import read_vslnet_words
from bpnet.errors import CheckpointError, ConfigError
from bpnet.model_config import ModelConfig
from bpnet.models.build import Sizes, build_model
from bpnet.models.grounder import Grounder
from bpnet.models.vslnet_weights import from_vslnet, read_state
from bpnet.settings import from_dict, plain
from bpnet.version import __version__
from bpnet_features import FeatureSource, FeatureSpec, QueryFeatureStore, open_features

log = logging.getLogger(__name__)


def build_for_training(
    config: TrainConfig,
    vocabulary: Vocabulary,
    vectors: Tensor | None,
    spec: FeatureSpec,
    query_spec: FeatureSpec | None = None,
) -> tuple[Grounder, Sizes]:
    """The network of a new run.

    Args:
        config: The run.
        vocabulary: Its vocabulary.
        vectors: Vectors of the vocabulary's words, or None: they are learned.
        spec: The clip features that it will read.
        query_spec: The token features that it will read, or None: words.

    Returns:
        The model with weights drawn from ``config.seed``, and its sizes.
    """
    torch.manual_seed(config.seed)
    sizes = sizes_for_training(config, vocabulary, vectors, spec, query_spec)
    model = build_model(config.model, sizes)
    if vectors is not None:
        assert model.encoder.words is not None
        model.encoder.words.words.copy_(vectors[2:])
    return model, sizes


def sizes_for_training(
    config: TrainConfig,
    vocabulary: Vocabulary,
    vectors: Tensor | None,
    spec: FeatureSpec,
    query_spec: FeatureSpec | None = None,
) -> Sizes:
    """The sizes of the networks of a run, of the same arguments as `build_for_training`."""
    return Sizes(
        feature_dim=spec.feature_dim,
        num_words=len(vocabulary.words),
        num_characters=len(vocabulary.characters),
        word_dim=config.model.word_dim if vectors is None else vectors.shape[1],
        frozen_words=vectors is not None,
        max_positions=config.max_positions,
        query_dim=0 if query_spec is None else query_spec.feature_dim,
    )


def build_from_checkpoint(checkpoint: Checkpoint) -> tuple[Grounder, Vocabulary]:
    """The network of a checkpoint.

    Args:
        checkpoint: The loaded file.

    Returns:
        The model in evaluation mode, on the CPU, and its vocabulary.

    Raises:
        CheckpointError: The weights do not fit the config beside them.
    """
    try:
        config = from_dict(ModelConfig, checkpoint.model, "model")
        sizes = Sizes(**checkpoint.sizes)
        vocabulary = Vocabulary.from_dict(checkpoint.vocabulary)
        with torch.random.fork_rng(devices=[]):  # loading must not disturb the caller's seed
            model = build_model(config, sizes)
        model.load_state_dict(checkpoint.tensors)
    except (ConfigError, TypeError, KeyError, RuntimeError) as err:
        raise CheckpointError(f"checkpoint: weights and config do not fit: {err}") from err
    if not config.mask_pads:
        log.warning(
            "the checkpoint has model.mask_pads=false: its answers depend on the padding of a "
            "batch, as VSLNet's do; ask one query at a time (batch_size=1) for definite ones"
        )
    return model.eval(), vocabulary


def checkpoint_from_vslnet(
    state: Path,
    words: Path,
    spec: Mapping[str, Any],
    *,
    tokenizer: str = "nltk",
    num_heads: int = 8,
) -> Checkpoint:
    """A trained VSLNet (PyTorch) as a checkpoint: stage one alone, in compat mode.

    Args:
        state: Its state dict, as ``torch.save`` wrote it.
        words: Its words and characters, see `bpnet.data.vslnet_words`.
        spec: Entries of the spec of the clip features on which it was trained; ``backbone`` at
            least, the width is known.
        tokenizer: What splits sentences, see `bpnet.config.DataConfig`; ``nltk`` is VSLNet's.
        num_heads: Attention heads, which the weights do not tell.

    Returns:
        The checkpoint. Its data settings name no dataset: an evaluation must.

    Raises:
        CheckpointError: The files are not what they must be, or do not belong together.
        ConfigError: The width is no multiple of ``num_heads``, or NLTK is not installed.
        FeatureError: The spec is not one.
    """
    tokenize("is it installed?", tokenizer)  # a missing NLTK is told now, not at the first query
    weights = from_vslnet(read_state(state), num_heads)
    sizes, length = weights.sizes, weights.sizes["max_positions"]
    vocabulary = read_vslnet_words(words, tokenizer, length)
    counted = (
        ("word_dict", len(vocabulary.words), sizes["num_words"]),
        ("char_dict", len(vocabulary.characters), sizes["num_characters"]),
    )
    faults = [f"{name} has {n} entries, the weights {m}" for name, n, m in counted if n != m]
    if faults:
        raise CheckpointError(
            f"words {str(words)!r}: {'; '.join(faults)}: expected those of the dataset on which "
            "these weights were trained"
        )
    width = sizes["feature_dim"]
    feature_spec = FeatureSpec.from_dict({"feature_dim": width, **spec}, "--backbone, --spec")
    if feature_spec.feature_dim != width:
        raise CheckpointError(
            f"feature spec: feature_dim={feature_spec.feature_dim}: the weights read {width}"
        )
    settings = {
        field.name: plain(field.default) if field.name == "query_features" else field.default
        for field in dataclasses.fields(DataConfig)
        if field.default is not dataclasses.MISSING
    }
    data = {"tokenizer": tokenizer, "max_query_tokens": length, "max_clips": length}
    checkpoint = Checkpoint(
        tensors=weights.tensors,
        model=plain(weights.config),
        sizes=sizes,
        vocabulary=vocabulary.to_dict(),
        feature_spec=feature_spec,
        data={**settings, **data, "name": "vslnet"},
        training={
            "imported": f"VSLNet, {state.name}",
            "sha256": hashlib.sha256(state.read_bytes()).hexdigest(),
            "bpnet": __version__,
        },
    )
    build_from_checkpoint(checkpoint)  # what is written must open
    return checkpoint


def build_store(config: DataConfig, trained_on: FeatureSpec | None = None) -> FeatureSource:
    """The features of a data config.

    Args:
        config: The data config.
        trained_on: The spec of a checkpoint that will read it.

    Returns:
        The store.

    Raises:
        FeatureError: They cannot be read, or it is not known how they were made.
        CheckpointError: The checkpoint was trained on features of another spec.
    """
    features = config.features
    store = open_features(
        features.path,
        layout=features.layout,
        streams=features.streams,
        normalise=features.normalise,
        spec=features.spec,
        default_spec=trained_on,
    )
    if trained_on is not None:
        check_spec(trained_on, store.spec, str(store.path))
    return store


def build_query_features(
    config: DataConfig, trained_on: FeatureSpec | None = None
) -> QueryFeatureStore | None:
    """The token features of a data config.

    Args:
        config: The data config.
        trained_on: The query spec of a checkpoint that will read them, or None.

    Returns:
        The store, or None where words are read.

    Raises:
        FeatureError: They cannot be read, or it is not known how they were made.
        CheckpointError: The checkpoint was trained on token features of another spec.
    """
    settings = config.query_features
    if settings.path is None:
        return None
    store = QueryFeatureStore(settings.path, settings.key, settings.spec)
    if trained_on is not None:
        check_spec(trained_on, store.spec, str(store.path))
    return store


def check_spec(trained_on: FeatureSpec, found: FeatureSpec, where: str) -> None:
    """Refuse features of another kind than a checkpoint was trained on.

    Args:
        trained_on: The checkpoint's spec.
        found: The spec of the features.
        where: What they come from, for the message.

    Raises:
        CheckpointError: The two differ; names every entry.
    """
    differences = trained_on.differences(found)
    if differences:
        raise CheckpointError(
            f"the checkpoint was trained on other features than {where} (checkpoint != features): "
            f"{'; '.join(differences)}. Extract the videos as the checkpoint's spec says"
        )
