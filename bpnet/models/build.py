"""Config -> network; the only place that chooses among its parts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from bpnet.model_config import ModelConfig
from bpnet.models.bpnet import BPNet
from bpnet.models.dense_proposer import DenseProposer
from bpnet.models.encoder import Encoder
from bpnet.models.feature_encoder import ConvBlock, FeatureEncoder
from bpnet.models.fusion import Fusion
from bpnet.models.interaction import Interaction
from bpnet.models.layers import (
    CharacterEmbedding,
    QueryPool,
    VideoQueryAttention,
    WordEmbedding,
    make_lstm,
)
from bpnet.models.relations import Relations
from bpnet.models.scorer import Refiner, Scorer
from bpnet.models.set_proposer import SetProposer
from bpnet.models.similarity import Similarity
from bpnet.models.span_proposer import (
    LinearPredictor,
    PairScores,
    RnnPredictor,
    SpanProposer,
    TransformerPredictor,
)
from bpnet.models.stage_one import Choice
from bpnet.models.stage_two import StageTwo
from bpnet.models.window_proposer import WindowProposer

CONTEXT_KERNEL = 5  # clips that a context block sees; the blocks are dilated by 1, 2, 4, ...


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Sizes of a network that follow from the data.

    Attributes:
        feature_dim: Width C of the clip features.
        num_words: Words of the vocabulary, with the two special ones.
        num_characters: Characters of the vocabulary, with the two special ones; 0: none are read.
        word_dim: Width of the word embedding.
        frozen_words: Whether the words have given vectors that are not trained.
        max_positions: Longest video or query, in positions.
        query_dim: Width of the token features that take the place of words; 0: words are read.
    """

    feature_dim: int
    num_words: int
    num_characters: int
    word_dim: int
    frozen_words: bool
    max_positions: int
    query_dim: int = 0


def build_model(config: ModelConfig, sizes: Sizes) -> BPNet:
    """The network, with fresh weights from torch's global random state.

    Args:
        config: Its config.
        sizes: What follows from the data.

    Returns:
        The model, in training mode, on the CPU.
    """

    def feature_encoder() -> FeatureEncoder:
        return FeatureEncoder(
            dim=config.hidden_dim,
            num_heads=config.num_heads,
            kernel_size=config.kernel_size,
            num_conv_layers=config.num_conv_layers,
            max_positions=sizes.max_positions if config.positions == "table" else None,
            dropout=config.dropout,
            embedding_init=config.embedding_init,
            mask_pads=config.mask_pads,
            window=config.attention_window,
        )

    dim = config.hidden_dim
    characters = None
    if sizes.num_characters:
        characters = CharacterEmbedding(
            sizes.num_characters,
            config.char_dim,
            config.dropout,
            config.embedding_init,
            config.mask_pads,
        )
    words = None
    if not sizes.query_dim:
        words = WordEmbedding(sizes.num_words, sizes.word_dim, sizes.frozen_words)
    similarity = None
    query_dim = sizes.query_dim or sizes.word_dim
    if config.num_similarities:
        similarity = Similarity(sizes.feature_dim, query_dim, dim, config.num_similarities)
    encoder = Encoder(
        feature_dim=sizes.feature_dim,
        words=words,
        query_dim=query_dim,
        characters=characters,
        encoder=feature_encoder(),
        hidden_dim=dim,
        dropout=config.dropout,
        similarity=similarity,
    )
    boundaries = _predictor(config, dim, feature_encoder)
    interaction = Interaction(
        attention=VideoQueryAttention(dim, config.dropout),
        query_pool=QueryPool(dim),
        context=[
            ConvBlock(dim, CONTEXT_KERNEL, config.dropout, dilation=2**layer)
            for layer in range(config.num_context_layers)
        ],
        dim=dim,
        num_similarities=config.num_similarities,
    )
    proposer: SpanProposer | DenseProposer | SetProposer | WindowProposer
    if boundaries is not None:
        pairs = overlaps = None
        if config.pair_dim:
            pairs = PairScores(dim, config.pair_dim)
            overlaps = PairScores(dim, config.pair_dim) if config.overlap_weight else None
        proposer = SpanProposer(boundaries, config.max_cells, pairs, overlaps)
    elif config.proposer == "dense":
        proposer = DenseProposer(dim)
    elif config.proposer == "set":
        proposer = SetProposer(dim, config.num_heads, config.num_proposals, config.dropout)
    else:
        proposer = WindowProposer(dim)
    choice = Choice(config.num_proposals, config.proposal_order, config.proposal_nms)
    return BPNet(
        encoder,
        interaction,
        proposer,
        choice,
        _stage_two(config, dim) if config.stage_two else None,
        detach_stage_two=config.detach_stage_two,
        score_fusion=config.score_fusion,
    )


def _stage_two(config: ModelConfig, dim: int) -> StageTwo:
    fusion = Fusion(config.fusion, config.span_feature, dim)
    relations = None
    if config.num_relation_layers:
        layers = config.num_relation_layers
        relations = Relations(dim, config.num_heads, layers, config.dropout)
    scorer = Scorer(dim, residual=config.score_residual)
    return StageTwo(fusion, relations, scorer, Refiner(dim) if config.refinement_weight else None)


def _predictor(
    config: ModelConfig, dim: int, feature_encoder: Callable[[], FeatureEncoder]
) -> RnnPredictor | TransformerPredictor | LinearPredictor | None:
    """What predicts boundaries, for the proposer that reads such."""
    if config.proposer != "span":
        return None
    match config.predictor:
        case "rnn":
            lstms = make_lstm(dim, config.lstm_init), make_lstm(dim, config.lstm_init)
            return RnnPredictor(*lstms, dim)
        case "transformer":
            return TransformerPredictor(feature_encoder(), dim)
        case _:
            return LinearPredictor(dim)
