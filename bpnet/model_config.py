"""What the network is: its parts, their sizes, and the weights of its losses."""

from __future__ import annotations

import dataclasses

from bpnet.settings import in_range, one_of, raise_faults

_FUSIONS = ("query_concat", "query_product", "word_frame", "none")


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The network; ``docs/model.md`` says where each default comes from.

    Attributes:
        network: ``bpnet``, or ``prefix``: BPNet's stages on a trunk that reads a video once for all
            its queries (``docs/attention.md``). It reads the settings that ``model=bpnet_prefix``
            lists.
        hidden_dim: Width D, a multiple of ``num_heads``; of four times that with ``prefix``.
        num_heads: Attention heads H.
        kernel_size: Width of the depthwise convolutions in positions, odd.
        num_conv_layers: Convolution layers of the feature encoder.
        num_trunk_layers: Layers of the trunk of ``prefix``.
        num_proposal_tokens: Tokens of each proposal in it, from its start to its end.
        video_attention: What a clip sees in it: ``full``, the whole video; or ``chunk_causal``, its
            own chunk of 64 clips and all before it, so that a stream may grow.
        dropout: Share of values that is dropped in training, in [0, 1).
        word_dim: Width of learned word embeddings; with vectors, theirs is taken.
        characters: Whether words are also read letter by letter.
        char_dim: Width of a character's embedding.
        num_similarities: Weighted means of the words that are compared with every clip before
            either side is encoded; 0: none is.
        num_context_layers: Dilated convolution layers behind the interaction of video and query.
        proposer: Stage one: ``span`` (boundary probabilities), ``dense`` (every clip, at several
            scales, gives its distances to the boundaries), ``set`` (learned slots) or ``windows``
            (sliding windows, the anchor-based control).
        predictor: Boundary predictor of ``span``: ``rnn`` (two LSTMs), ``transformer``, or
            ``linear``, for frames that have seen their context.
        max_cells: Cells to which ``span`` pools longer videos, so that all spans can be listed;
            stage two reads the clips again.
        pair_dim: Rank of the scores of start and end together, with ``span``; 0: both are
            independent.
        positions: How places are told: ``table``, learned, or ``waves``, for any length.
        attention_window: Distance in positions up to which attention reaches; null: any.
        embedding_init: Position and character tables: ``glorot`` (as TensorFlow) or ``normal``
            (N(0, 1), as PyTorch).
        lstm_init: ``glorot_forget1`` (as TensorFlow) or ``torch``.
        num_proposals: Proposals K of stage one.
        proposal_order: What the choice is ordered by: ``probability``, or ``expected_iou``: the
            mean overlap with all candidates, weighted with their probabilities.
        proposal_nms: Temporal IoU with a better proposal above which a candidate is passed over, in
            [0, 1), and so is an answer whose boundaries stage two has moved; null: none is.
        mask_pads: Whether padding changes nothing; false: it reaches real places, as in VSLNet's
            PyTorch code, so that an answer depends on its batch: for weights trained there.
        stage_two: Whether candidates are scored by stage two; false: stage one alone, ranked by
            ``proposal_order``. The settings below that are about stage two are then not read.
        fusion: What joins candidate and query: ``query_concat``, ``query_product``, ``word_frame``
            or ``none``.
        span_feature: How a candidate is summed up: ``mean`` of its positions; ``ends``: also the
            positions at and just outside both boundaries; ``aligned``: these, and its quarters.
        num_relation_layers: Attention layers among the candidates, which then also know where they
            lie; 0: each is judged alone.
        score_residual: Whether the matching score begins as the confidence of stage one.
        detach_stage_two: Whether stage two sends no gradient to the encoder.
        matching_loss: ``mse`` on the IoU, ``bce`` on the IoU, or ``scaled_iou_bce`` (2D-TAN).
        scaled_iou: IoU that counts as 0 and as 1 with ``scaled_iou_bce``.
        boundary_targets: ``hard``, or ``soft``: half the weight on the two neighbours (LPNet).
        boundary_weight: Weight of the loss ``boundary``.
        highlight_weight: Weight of the loss ``highlight``.
        highlight_extend: Share of its length by which a target is lengthened on both sides for the
            highlight loss.
        overlap_weight: Weight of the loss ``overlap``, with ``pair_dim``: the IoU of every span
            with the target, which only training predicts; 0: it is not.
        contrast_weight: Weight of the loss ``contrast``, with ``num_similarities``: each query is
            more alike to its own moment than to the others of the batch; 0: it is not trained.
        consistency_weight: Weight of the loss ``consistency``, with ``span``: every pair is asked
            twice, with other units dropped, and both answers must agree (R-Drop); 0: it is asked
            once. For moments that people disagree about; a step takes nearly twice as long.
        matching_weight: Weight of the loss ``matching``.
        mismatch_weight: Weight of the loss ``mismatch``: each video of a batch is also asked about
            with a sentence of another one, and the matching scores must be low; 0: it is not.
        refinement_weight: Weight of the loss ``refinement``, of the boundaries that stage two
            moves; 0: it moves none.
        score_fusion: Exponent a in ``score * confidence ** a``, the confidence being that of stage
            one, which ``proposal_order`` names; 0: the score alone.
    """

    network: str = "bpnet"
    hidden_dim: int = 128
    num_heads: int = 8
    kernel_size: int = 7
    num_conv_layers: int = 4
    num_trunk_layers: int = 4
    num_proposal_tokens: int = 1
    video_attention: str = "full"
    dropout: float = 0.15
    word_dim: int = 300
    characters: bool = True
    char_dim: int = 50
    num_similarities: int = 8
    num_context_layers: int = 4
    proposer: str = "span"
    predictor: str = "linear"
    max_cells: int = 512
    pair_dim: int = 32
    positions: str = "table"
    attention_window: int | None = None
    embedding_init: str = "glorot"
    lstm_init: str = "glorot_forget1"
    num_proposals: int = 16
    proposal_order: str = "expected_iou"
    proposal_nms: float | None = 0.7
    mask_pads: bool = True
    stage_two: bool = True
    fusion: str = "query_product"
    span_feature: str = "aligned"
    num_relation_layers: int = 1
    score_residual: bool = True
    detach_stage_two: bool = False
    matching_loss: str = "bce"
    scaled_iou: tuple[float, float] = (0.3, 0.7)
    boundary_targets: str = "hard"
    boundary_weight: float = 1.0
    highlight_weight: float = 5.0
    highlight_extend: float = 0.1
    overlap_weight: float = 5.0
    contrast_weight: float = 1.0
    consistency_weight: float = 0.0
    matching_weight: float = 5.0
    mismatch_weight: float = 1.0
    refinement_weight: float = 5.0
    score_fusion: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "scaled_iou", tuple(self.scaled_iou))
        faults = [
            one_of("model.network", self.network, ("bpnet", "prefix")),
            in_range("model.num_trunk_layers", self.num_trunk_layers, 1),
            in_range("model.num_proposal_tokens", self.num_proposal_tokens, 1),
            one_of("model.video_attention", self.video_attention, ("full", "chunk_causal")),
            in_range("model.hidden_dim", self.hidden_dim, 1),
            in_range("model.num_heads", self.num_heads, 1),
            in_range("model.kernel_size", self.kernel_size, 1),
            in_range("model.num_conv_layers", self.num_conv_layers, 0),
            in_range("model.dropout", self.dropout, 0, 0.999),
            in_range("model.word_dim", self.word_dim, 1),
            in_range("model.char_dim", self.char_dim, 1),
            in_range("model.num_proposals", self.num_proposals, 1),
            in_range("model.num_similarities", self.num_similarities, 0),
            in_range("model.num_context_layers", self.num_context_layers, 0),
            one_of("model.proposer", self.proposer, ("span", "dense", "set", "windows")),
            one_of("model.predictor", self.predictor, ("rnn", "transformer", "linear")),
            in_range("model.max_cells", self.max_cells, 1),
            in_range("model.pair_dim", self.pair_dim, 0),
            one_of("model.proposal_order", self.proposal_order, ("probability", "expected_iou")),
            in_range("model.proposal_nms", self.proposal_nms or 0, 0, 0.999),
            one_of("model.positions", self.positions, ("table", "waves")),
            in_range("model.attention_window", self.attention_window or 1, 1)
            if self.attention_window != 0
            else "model.attention_window=0: expected an integer >= 1, or null",
            one_of("model.embedding_init", self.embedding_init, ("glorot", "normal")),
            one_of("model.lstm_init", self.lstm_init, ("glorot_forget1", "torch")),
            one_of("model.fusion", self.fusion, _FUSIONS),
            one_of("model.span_feature", self.span_feature, ("mean", "ends", "aligned")),
            in_range("model.num_relation_layers", self.num_relation_layers, 0),
            one_of("model.matching_loss", self.matching_loss, ("mse", "bce", "scaled_iou_bce")),
            one_of("model.boundary_targets", self.boundary_targets, ("hard", "soft")),
            in_range("model.boundary_weight", self.boundary_weight, 0),
            in_range("model.highlight_weight", self.highlight_weight, 0),
            in_range("model.highlight_extend", self.highlight_extend, 0),
            in_range("model.overlap_weight", self.overlap_weight, 0),
            in_range("model.contrast_weight", self.contrast_weight, 0),
            in_range("model.consistency_weight", self.consistency_weight, 0),
            in_range("model.matching_weight", self.matching_weight, 0),
            in_range("model.mismatch_weight", self.mismatch_weight, 0),
            in_range("model.refinement_weight", self.refinement_weight, 0),
            in_range("model.score_fusion", self.score_fusion, 0),
        ]
        if self.num_heads >= 1 and self.hidden_dim % self.num_heads:
            faults.append(
                f"model.hidden_dim={self.hidden_dim}: expected a multiple of "
                f"model.num_heads={self.num_heads}"
            )
        if self.boundary_targets == "soft" and self.pair_dim and self.proposer == "span":
            faults.append(
                f"model.boundary_targets='soft' with model.pair_dim={self.pair_dim}: expected hard "
                "targets, or pair_dim=0: start and end are one target then"
            )
        if self.consistency_weight and self.proposer != "span":
            faults.append(
                f"model.consistency_weight={self.consistency_weight:g} with "
                f"model.proposer={self.proposer!r}: expected 0, or model.proposer=span: the others "
                "give no probabilities of all spans to compare"
            )
        if self.network == "prefix":
            faults += self._prefix_faults()
        if self.kernel_size % 2 == 0:
            faults.append(f"model.kernel_size={self.kernel_size}: expected an odd number")
        if len(self.scaled_iou) != 2 or not 0 <= self.scaled_iou[0] < self.scaled_iou[1] <= 1:
            faults.append(f"model.scaled_iou={self.scaled_iou}: expected 0 <= low < high <= 1")
        raise_faults(faults)

    def _prefix_faults(self) -> list[str]:
        """What does not go with a trunk that is shared."""
        wanted = {"proposer": "span", "num_relation_layers": 0, "mask_pads": True}
        faults = [
            f"model.{name}={getattr(self, name)!r} with model.network='prefix': expected {value!r}"
            for name, value in wanted.items()
            if getattr(self, name) != value
        ]
        if self.num_heads >= 1 and self.hidden_dim % (4 * self.num_heads):
            faults.append(
                f"model.hidden_dim={self.hidden_dim} with model.network='prefix': expected a "
                f"multiple of 4 * model.num_heads={4 * self.num_heads}: a quarter of each head is "
                "turned against another by time"
            )
        return faults
