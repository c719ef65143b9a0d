"""Config -> network; the only place that chooses among its parts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TypeAlias

from torch import nn

from bpnet.model_config import ModelConfig
from bpnet.models.boundary_head import BoundaryHead
from bpnet.models.bpnet import BPNet
from bpnet.models.dense_proposer import DenseProposer
from bpnet.models.encoder import Encoder, Unmixed
from bpnet.models.feature_encoder import ConvBlock, FeatureEncoder
from bpnet.models.fusion import Fusion
from bpnet.models.grounder import Grounder
from bpnet.models.interaction import Interaction
from bpnet.models.layers import (
    CharacterEmbedding,
    QueryPool,
    VideoQueryAttention,
    WordEmbedding,
    make_lstm,
)
from bpnet.models.matching import Matching
from bpnet.models.prefix_grounder import PrefixGrounder
from bpnet.models.proposal_tokens import ProposalTokens
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
from bpnet.models.trunk import Trunk
from bpnet.models.window_proposer import WindowProposer

Predictor: TypeAlias = RnnPredictor | TransformerPredictor | LinearPredictor

HEAD_SHARE = 2  # times as narrow as its trunk is the head of a `PrefixGrounder`
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


def build_model(config: ModelConfig, sizes: Sizes) -> Grounder:
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

    if config.network == "prefix":
        return _prefix_grounder(config, sizes)
    dim = config.hidden_dim
    encoder = _encoder(config, sizes, feature_encoder)
    boundaries = _predictor(config, dim, feature_encoder)
    interaction = _interaction(config, dim)
    proposer: SpanProposer | DenseProposer | SetProposer | WindowProposer
    if boundaries is not None:
        proposer = _span_proposer(config, boundaries, dim)
    elif config.proposer == "dense":
        proposer = DenseProposer(dim)
    elif config.proposer == "set":
        proposer = SetProposer(dim, config.num_heads, config.num_proposals, config.dropout)
    else:
        proposer = WindowProposer(dim)
    return BPNet(
        encoder,
        interaction,
        proposer,
        _choice(config),
        _stage_two(config, dim) if config.stage_two else None,
        detach_stage_two=config.detach_stage_two,
        score_fusion=config.score_fusion,
    )


def _prefix_grounder(config: ModelConfig, sizes: Sizes) -> PrefixGrounder:
    dim = config.hidden_dim
    width = dim // HEAD_SHARE
    head = BoundaryHead(
        dim,
        width,
        _interaction(config, width),
        _span_proposer(config, LinearPredictor(width), width),
    )
    matching = None
    if config.stage_two:
        scorer = Scorer(dim, residual=config.score_residual)
        refiner = Refiner(dim) if config.refinement_weight else None
        matching = Matching(
            ProposalTokens(dim, config.num_proposal_tokens),
            Fusion(config.fusion, config.span_feature, width),
            nn.Linear(width, dim),
            scorer,
            refiner,
        )
    return PrefixGrounder(
        _encoder(config, sizes, lambda: Unmixed(dim)),
        Trunk(dim, config.num_heads, config.num_trunk_layers, config.dropout),
        head,
        _choice(config),
        matching,
        causal=config.video_attention == "chunk_causal",
        detach_stage_two=config.detach_stage_two,
        score_fusion=config.score_fusion,
    )


def _choice(config: ModelConfig) -> Choice:
    return Choice(config.num_proposals, config.proposal_order, config.proposal_nms)


def _encoder(
    config: ModelConfig, sizes: Sizes, make_encoder: Callable[[], FeatureEncoder | Unmixed]
) -> Encoder:
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
    return Encoder(
        feature_dim=sizes.feature_dim,
        words=words,
        query_dim=query_dim,
        characters=characters,
        encoder=make_encoder(),  # here: a seed gives the same weights for ever
        hidden_dim=dim,
        dropout=config.dropout,
        similarity=similarity,
    )


def _interaction(config: ModelConfig, dim: int) -> Interaction:
    return Interaction(
        attention=VideoQueryAttention(dim, config.dropout),
        query_pool=QueryPool(dim),
        context=[
            ConvBlock(dim, CONTEXT_KERNEL, config.dropout, dilation=2**layer)
            for layer in range(config.num_context_layers)
        ],
        dim=dim,
        num_similarities=config.num_similarities,
    )


def _span_proposer(config: ModelConfig, predictor: Predictor, dim: int) -> SpanProposer:
    pairs = overlaps = None
    if config.pair_dim:
        pairs = PairScores(dim, config.pair_dim)
        overlaps = PairScores(dim, config.pair_dim) if config.overlap_weight else None
    return SpanProposer(predictor, config.max_cells, pairs, overlaps)


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
) -> Predictor | None:
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
