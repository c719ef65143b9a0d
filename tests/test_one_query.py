"""One query, straight through: eight steps from the feature file to seconds, with numbers by hand.

The network is 2 wide. Its weights are zeros, identities and logarithms, chosen so that every number
on the way is a small fraction: with weights of zero an attention is a plain mean, and ``ln 2`` in
front of a whole number n makes an unnormalised probability of ``2^n``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import paper_model
import pytest
import torch
from torch import Tensor

from bpnet import Localizer
from bpnet.data.collate import collate
from bpnet.data.dataset import MomentDataset
from bpnet.data.vocabulary import Vocabulary, build_vocabulary
from bpnet.evaluation.predictions import read_output
from bpnet.model_config import ModelConfig
from bpnet.models.bpnet import BPNet
from bpnet.models.build import Sizes, build_model
from bpnet.types import Annotation
from bpnet_features import FeatureSpec, FeatureStore, FeatureWriter

LN2, LN3 = math.log(2), math.log(3)
CLIPS = [[-1.0, -1.0], [3.0, -1.0], [1.0, 5.0], [-1.0, -1.0]]
SPEC = FeatureSpec(backbone="hand", feature_dim=2, seconds_per_clip=2.0)
ANNOTATION = Annotation("q0", "v0", "Open the door.", 2.0, 5.5, 8.0, "train")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    """One video of 8 s: four clips of 2 s."""
    with FeatureWriter(tmp_path / "hand.h5", SPEC) as writer:
        writer.add("v0", CLIPS, duration_seconds=8.0)
    with FeatureStore(tmp_path / "hand.h5") as opened:
        yield opened


@pytest.fixture
def vocabulary() -> Vocabulary:
    """Made from two words, once each, so in the order of the alphabet: door 2, open 3."""
    return build_vocabulary(["open door"], tokenizer="words", characters=False, max_query_tokens=8)[
        0
    ]


@pytest.fixture
def model(vocabulary: Vocabulary) -> BPNet:
    """Every weight is zero but those set here."""
    small = {"hidden_dim": 2, "num_heads": 1, "num_conv_layers": 0, "word_dim": 2}
    config = ModelConfig(
        **{**paper_model.SETTINGS, **small, "characters": False, "num_proposals": 3}
    )
    sizes = Sizes(
        feature_dim=2,
        num_words=len(vocabulary.words),
        num_characters=0,
        word_dim=2,
        frozen_words=False,
        max_positions=8,
    )
    network = build_model(config, sizes)
    eye, none = torch.eye(2), torch.zeros(2, 2)
    values = {
        "encoder.words.unknown": [[0.5, 0.5]],
        "encoder.words.words": [[0.0, 1.0], [1.0, 0.0]],  # door, open
        "encoder.query_projection.weight": eye,
        "encoder.video_projection.weight": eye,
        # V + A of [V, A, V * A, V * B].
        "interaction.attention.linear.weight": torch.cat([eye, eye, none, none], dim=1),
        "interaction.query_concat.weight": torch.cat([eye, eye], dim=1),  # frame + sentence
        # The LSTMs give zeros; of [LSTM, frame] the heads read the frame: the start its first
        # number, the end its second.
        "proposer.predictor.start_head.0.weight": torch.cat([none, eye], dim=1),
        "proposer.predictor.start_head.2.weight": [[LN2, 0.0]],
        "proposer.predictor.end_head.0.weight": torch.cat([none, eye], dim=1),
        "proposer.predictor.end_head.2.weight": [[0.0, LN2]],
        "stage_two.fusion.project.weight": eye,
        # span + 2 sentence
        "stage_two.fusion.query_concat.weight": torch.cat([eye, 2 * eye], dim=1),
        # Hidden (y - x, x - 2) of a fused (x, y), then ln 3 (first + 2 second - 1).
        "stage_two.scorer.hidden.weight": [[-1.0, 1.0], [1.0, 0.0]] + [[0.0, 0.0]] * 126,
        "stage_two.scorer.hidden.bias": [0.0, -2.0] + [0.0] * 126,
        "stage_two.scorer.out.weight": [[LN3, 2 * LN3] + [0.0] * 126],
        "stage_two.scorer.out.bias": [-LN3],
    }
    parameters = dict(network.named_parameters())
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.zero_()
        for name, value in values.items():
            parameters[name].copy_(torch.as_tensor(value))
    return network.eval()


def close(found: Tensor, expected: list[object]) -> None:
    torch.testing.assert_close(found, torch.tensor(expected))


@torch.inference_mode()
def test_one_query(store: FeatureStore, vocabulary: Vocabulary, model: BPNet) -> None:
    # 1. The feature store gives the clips and the grid: four clips of 2 s.
    clips, grid = store.read("v0")
    assert clips.tolist() == CLIPS
    assert grid.edges_seconds.tolist() == [0, 2, 4, 6, 8]

    # 2. The dataset adds the query and the target. "the" is not in the vocabulary. 2 to 5.5 s lie
    # at positions 2/2 = 1 and 5.5/2 = 2.75; of whole clips, (1, 3) is 2 to 6 s, with an IoU of
    # 3.5/4, and (1, 2) is 2 to 4 s, with 2/3.5.
    sample = MomentDataset([ANNOTATION], store, vocabulary, max_clips=4)[0]
    assert sample.video.tolist() == CLIPS
    assert sample.query_ids.tolist() == [3, 1, 2]  # open, unknown, door
    assert sample.target_span is not None and sample.target_span.tolist() == [1, 2.75]
    assert sample.target_cells is not None and sample.target_cells.tolist() == [[1, 3]]

    # 3. Collated with nothing else, nothing is padded.
    batch = collate([sample])
    assert batch.video.shape == (1, 4, 2) and batch.video_mask.tolist() == [[True] * 4]
    assert batch.query_ids.shape == (1, 3) and batch.query_mask.tolist() == [[True] * 3]
    masks = (batch.video_mask, batch.query_mask)

    # 4. The encoder: projections are identities, and the positions, the attention and the linear
    # layer add zero, so clips and word vectors pass as they are.
    video = model.encoder.encode_video(batch.video, batch.video_mask)
    query = model.encoder.encode_query(batch.query_ids, batch.char_ids, batch.query_mask)
    close(video.states, [CLIPS])
    close(query.states, [[[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]])

    # 5. Stage one: interaction, proposer and choice. Each clip reads all words alike:
    # A = (1.5, 1.5)/3 = (0.5, 0.5); the pooled sentence is the same mean. V + A + sentence = V + 1,
    # times the highlight sigmoid(0) = 1/2:
    #   clip 0: (-1, -1) -> (0, 0)   1: (3, -1) -> (2, 0)   2: (1, 5) -> (1, 3)   3: as 0
    # Start logits are ln 2 times the first numbers 0 2 1 0, so P_start = 1 4 2 1 / 8; end logits
    # ln 2 times the second ones 0 0 3 0, so P_end = 1 1 8 1 / 11.
    stage_one = model.propose(video, query, *masks)
    close(stage_one.frames, [[[0.0, 0.0], [2.0, 0.0], [1.0, 3.0], [0.0, 0.0]]])
    close(stage_one.evidence.start.softmax(dim=1), [[1 / 8, 4 / 8, 2 / 8, 1 / 8]])
    close(stage_one.evidence.end.softmax(dim=1), [[1 / 11, 1 / 11, 8 / 11, 1 / 11]])
    # Products in 88ths, first clip to last clip: 1-2 has 4 * 8 = 32, 2-2 has 2 * 8 = 16, 0-2 has
    # 1 * 8 = 8; all others have 4 or less. The last clip is inside, so spans end one further.
    assert stage_one.proposals.spans.tolist() == [[[1, 3], [2, 3], [0, 3]]]
    close(stage_one.proposals.logits.exp(), [[32 / 88, 16 / 88, 8 / 88]])

    # 6. Fusion: the mean of each span's frames, plus twice the sentence, (1, 1).
    #   (1, 3): ((2, 0) + (1, 3))/2 = (1.5, 1.5)   (2, 3): (1, 3)   (0, 3): (3, 3)/3 = (1, 1)
    fused = model.stage_two.fusion(stage_one.frames, query.states, *masks, stage_one.proposals)
    close(fused, [[[2.5, 2.5], [2.0, 4.0], [2.0, 2.0]]])

    # 7. The scorer: hidden (y - x, x - 2) without negatives, then ln 3 (first + 2 second - 1).
    #   (2.5, 2.5): (0, 0.5) -> ln 3 (0 + 1 - 1) = 0       -> sigmoid 1/2
    #   (2, 4):     (2, 0)   -> ln 3 (2 + 0 - 1) = ln 3    -> 3/4
    #   (2, 2):     (0, 0)   -> ln 3 (0 + 0 - 1) = -ln 3   -> 1/4
    logits = model.stage_two.scorer(fused, stage_one.proposals)
    close(logits, [[0.0, LN3, -LN3]])
    output = model(batch)
    close(output.scores, [[1 / 2, 3 / 4, 1 / 4]])

    # 8. In seconds, by score: stage two puts the second proposal first.
    expected = [(4.0, 6.0, 3 / 4), (2.0, 6.0, 1 / 2), (0.0, 6.0, 1 / 4)]
    moments = Localizer(model, vocabulary, SPEC, max_clips=4).open_video(store, "v0")
    for answers in (moments.localize("Open the door."), read_output(output, [sample])[0].moments):
        assert [(m.start_seconds, m.end_seconds) for m in answers] == [e[:2] for e in expected]
        assert [m.score for m in answers] == pytest.approx([e[2] for e in expected])
    assert len(moments.localize("Open the door.", top=1)) == 1
