"""build: every choice of a model, checkpoints there and back, specs and devices that do not fit."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import paper_model
import pytest
import torch
from torch import Tensor

from bpnet.build import (
    Sizes,
    build_for_training,
    build_from_checkpoint,
    build_model,
    build_store,
    check_spec,
)
from bpnet.checkpoint import Checkpoint
from bpnet.config import (
    DataConfig,
    FeaturesConfig,
    OptimConfig,
    TrainConfig,
    TrainerConfig,
)
from bpnet.data.collate import collate
from bpnet.data.dataset import MomentDataset
from bpnet.data.vocabulary import Vocabulary, build_vocabulary
from bpnet.device import pick_device
from bpnet.errors import CheckpointError, ConfigError
from bpnet.model_config import ModelConfig
from bpnet.models.bpnet import BPNet
from bpnet.models.output import BPNetOutput
from bpnet.models.span_proposer import RnnPredictor, TransformerPredictor
from bpnet.settings import plain
from bpnet.types import Annotation, Batch
from bpnet_features import FeatureError, FeatureSpec, FeatureStore

SMALL: dict[str, Any] = {
    **paper_model.SETTINGS,  # so that nothing here moves with our defaults
    "hidden_dim": 8,
    "num_heads": 2,
    "kernel_size": 3,
    "num_conv_layers": 1,
    "word_dim": 6,
    "char_dim": 4,
    "num_proposals": 4,
}
CHOICES = {
    "predictor": ["rnn", "transformer"],
    "fusion": ["query_concat", "word_frame", "none"],
    "span_feature": ["mean", "ends"],
    "characters": [True, False],
    "frozen_words": [True, False],
}
SPEC = FeatureSpec(backbone="tiny", feature_dim=8, seconds_per_clip=0.5, normalisation="none")


def make_vocabulary(annotations: Sequence[Annotation], characters: bool = True) -> Vocabulary:
    return build_vocabulary(
        [annotation.query for annotation in annotations],
        tokenizer="words",
        characters=characters,
        max_query_tokens=12,
        min_character_count=1,
    )[0]


def train_config(seed: int = 0, **model: Any) -> TrainConfig:
    return TrainConfig(
        data=DataConfig("jsonl", "f.h5", "a.jsonl", max_clips=16, max_query_tokens=12),
        model=ModelConfig(**{**SMALL, **model}),
        optim=OptimConfig(),
        trainer=TrainerConfig(),
        seed=seed,
    )


def checkpoint(
    annotations: Sequence[Annotation], vectors: Tensor | None = None, **model: Any
) -> tuple[BPNet, Checkpoint]:
    """A model of a new run, and what would be saved of it."""
    config = train_config(**model)
    vocabulary = make_vocabulary(annotations, config.model.characters)
    built, sizes = build_for_training(config, vocabulary, vectors, SPEC)
    saved = Checkpoint(
        tensors=built.state_dict(),
        model=plain(config.model),
        sizes=plain(sizes),
        vocabulary=vocabulary.to_dict(),
        feature_spec=SPEC,
        data=plain(config.data),
        training={},
    )
    return built.eval(), saved


@pytest.fixture
def make_batch(tiny_store: Path, tiny_annotations: list[Annotation]) -> Callable[..., Batch]:
    def make(vocabulary: Vocabulary) -> Batch:
        with FeatureStore(tiny_store) as store:
            dataset = MomentDataset(tiny_annotations, store, vocabulary, max_clips=16)
            return collate([dataset[index] for index in range(len(dataset))])

    return make


def same(one: BPNetOutput, other: BPNetOutput) -> bool:
    pairs = (
        (one.scores, other.scores),
        (one.stage_one.evidence.start, other.stage_one.evidence.start),
        (one.stage_one.evidence.end, other.stage_one.evidence.end),
        (one.stage_one.highlight_logits, other.stage_one.highlight_logits),
        (one.stage_one.proposals.spans, other.stage_one.proposals.spans),
    )
    return all(torch.equal(first, second) for first, second in pairs)


@pytest.mark.parametrize(
    "values",
    [dict(zip(CHOICES, values, strict=True)) for values in itertools.product(*CHOICES.values())],
    ids=lambda values: "-".join(str(value) for value in values.values()),
)
def test_every_choice_is_built_as_asked(values: dict[str, Any]) -> None:
    config = ModelConfig(**{**SMALL, **{k: v for k, v in values.items() if k != "frozen_words"}})
    sizes = Sizes(8, 20, 10 if config.characters else 0, 6, values["frozen_words"], 16)
    model = build_model(config, sizes)
    assert model.training
    kinds = {"rnn": RnnPredictor, "transformer": TransformerPredictor}
    assert type(model.proposer.predictor) is kinds[config.predictor]
    assert (model.encoder.characters is not None) == config.characters
    assert (model.stage_two.fusion.word_frame is not None) == (config.fusion == "word_frame")
    assert (model.stage_two.fusion.query_concat is not None) == (config.fusion == "query_concat")
    assert (model.stage_two.fusion.ends is not None) == (config.span_feature == "ends")
    assert isinstance(model.encoder.words.words, torch.nn.Parameter) != values["frozen_words"]
    assert model.choice.num_proposals == 4
    assert model.encoder.encoder.positions.shape == (16, 8)


def test_settings_reach_the_parts() -> None:
    config = ModelConfig(
        **{**SMALL, "detach_stage_two": True, "score_fusion": 0.5, "dropout": 0.25}
    )
    model = build_model(config, Sizes(8, 20, 10, 6, False, 16))
    assert model.detach_stage_two and model.score_fusion == 0.5
    rates = {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)}
    assert rates == {0.25} and model.encoder.encoder.attention.dropout == 0.25


def test_number_of_parameters_as_published() -> None:
    # VSLNet with 50 characters, 1024-wide features and 128 positions has 783,471 trainable ones
    # (rnn) and 673,391 (transformer), counted in its published code. Ours adds fusion and scorer:
    # 128^2 + 128 (projection), 128 (pool), 256 * 128 + 128 (join), and 128^2 + 128, 128 + 1.
    added = 16512 + 128 + 32896 + 16512 + 129
    for predictor, expected in (("rnn", 783_471), ("transformer", 673_391)):
        model = build_model(
            ModelConfig(**{**paper_model.SETTINGS, "predictor": predictor}),
            Sizes(1024, 1000, 50, 300, True, 128),
        )
        trained = sum(p.numel() for p in model.parameters())
        assert trained - added == expected, predictor


def test_new_run_is_drawn_from_its_seed(tiny_annotations: list[Annotation]) -> None:
    vocabulary = make_vocabulary(tiny_annotations)
    states = []
    for seed in (0, 0, 1):
        torch.rand(seed + 3)  # whatever was drawn before
        model, sizes = build_for_training(train_config(seed), vocabulary, None, SPEC)
        states.append(torch.cat([value.flatten() for value in model.state_dict().values()]))
    assert torch.equal(states[0], states[1]) and not torch.equal(states[0], states[2])
    assert sizes == Sizes(
        feature_dim=8,
        num_words=len(vocabulary.words),
        num_characters=len(vocabulary.characters),
        word_dim=6,
        frozen_words=False,
        max_positions=16,
    )


def test_vectors_are_frozen_in(tiny_annotations: list[Annotation]) -> None:
    vocabulary = make_vocabulary(tiny_annotations)
    vectors = torch.randn(len(vocabulary.words), 5)
    model, sizes = build_for_training(train_config(), vocabulary, vectors, SPEC)
    assert sizes.frozen_words and sizes.word_dim == 5
    found = model.encoder.words(torch.arange(len(vocabulary.words)))
    assert torch.equal(found[2:], vectors[2:]) and (found[0] == 0).all()
    assert "encoder.words.words" not in dict(model.named_parameters())


@pytest.mark.parametrize("with_vectors", [False, True])
@pytest.mark.parametrize(
    "values",
    [
        {},
        {"predictor": "transformer", "fusion": "word_frame", "span_feature": "ends"},
        {"fusion": "none", "characters": False, "score_fusion": 0.5, "scaled_iou": (0.5, 1.0)},
    ],
)
def test_checkpoint_round_trip(
    tmp_path: Path,
    tiny_annotations: list[Annotation],
    make_batch: Callable[..., Batch],
    values: dict[str, Any],
    with_vectors: bool,
) -> None:
    num_words = len(make_vocabulary(tiny_annotations).words)
    vectors = torch.randn(num_words, 5) if with_vectors else None
    model, saved = checkpoint(tiny_annotations, vectors, **values)
    saved.save(tmp_path / "model.safetensors")
    again, vocabulary = build_from_checkpoint(Checkpoint.load(tmp_path / "model.safetensors"))
    assert not again.training
    assert vocabulary == Vocabulary.from_dict(saved.vocabulary)
    batch = make_batch(vocabulary)
    with torch.no_grad():
        assert same(again(batch), model(batch))


def test_loading_leaves_the_random_state_alone(tiny_annotations: list[Annotation]) -> None:
    _, saved = checkpoint(tiny_annotations)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    build_from_checkpoint(saved)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("part", "values", "match"),
    [
        ("model", {"hidden_dim": 16}, "size mismatch"),
        ("model", {"predictor": "transformer"}, "predictor"),
        ("model", {"fusion": "word_frame"}, "word_frame"),
        ("model", {"span_feature": "ends"}, "ends"),
        ("model", {"num_conv_layers": 2}, "convs"),
        ("model", {"fusion": "late"}, r"model\.fusion"),
        ("model", {"num_headz": 2}, r"did you mean model\.num_heads"),
        ("sizes", {"feature_dim": 9}, "video_projection"),
        ("sizes", {"num_words": 7}, "words"),
        ("sizes", {"num_characters": 0}, "characters"),
        ("sizes", {"colour": 1}, "colour"),
        ("vocabulary", None, "words"),
    ],
)
def test_checkpoint_of_another_config(
    tiny_annotations: list[Annotation], part: str, values: dict[str, Any] | None, match: str
) -> None:
    _, saved = checkpoint(tiny_annotations)
    changed = {} if values is None else {**getattr(saved, part), **values}
    with pytest.raises(CheckpointError, match=f"(?s)weights and config do not fit.*{match}"):
        build_from_checkpoint(dataclasses.replace(saved, **{part: changed}))


def test_checkpoint_lacks_a_weight(tiny_annotations: list[Annotation]) -> None:
    _, saved = checkpoint(tiny_annotations)
    tensors = dict(saved.tensors)
    tensors.pop("stage_two.scorer.out.bias")
    with pytest.raises(CheckpointError, match=r"scorer\.out\.bias"):
        build_from_checkpoint(dataclasses.replace(saved, tensors=tensors))


def test_check_spec_names_every_difference() -> None:
    other = dataclasses.replace(SPEC, backbone="i3d", seconds_per_clip=1.0, layer="fc6")
    with pytest.raises(CheckpointError) as info:
        check_spec(SPEC, other, "features.h5")
    message = str(info.value)
    assert "than features.h5" in message
    assert "backbone: 'tiny' != 'i3d'; seconds_per_clip: 0.5 != 1.0" in message
    assert "layer" not in message  # not known on one side
    check_spec(SPEC, dataclasses.replace(SPEC, layer="fc6"), "features.h5")


def test_build_store(tiny_store: Path) -> None:
    def with_spec(spec: dict[str, Any]) -> DataConfig:
        return dataclasses.replace(config, features=FeaturesConfig(str(tiny_store), spec=spec))

    config = DataConfig("jsonl", FeaturesConfig(str(tiny_store)), "a.jsonl")
    assert len(build_store(config, SPEC)) == 4
    with pytest.raises(CheckpointError, match=r"than .*tiny\.h5 .*feature_dim: 9 != 8"):
        build_store(config, dataclasses.replace(SPEC, feature_dim=9))
    given = with_spec({"backbone": "i3d", "feature_dim": 8})
    with pytest.raises(FeatureError, match="'tiny' != 'i3d'"):
        build_store(given)
    damaged = with_spec({"backbone": "i3d", "width": 8})
    with pytest.raises(FeatureError, match=r"width.*data\.features\.spec"):
        build_store(damaged)


def test_pick_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pick_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert pick_device("auto") == torch.device("cpu")
    for name in ("cuda", "cuda:0", "cuda:1"):
        with pytest.raises(ConfigError, match=f"device='{name}': 0 CUDA devices"):
            pick_device(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("auto") == pick_device("cuda") == torch.device("cuda")
    assert pick_device("cuda:1") == torch.device("cuda:1")
    for name in (
        "cuda:2",
        "cuda:200",
        "cuda:255",
        "cuda:256",
    ):  # torch keeps the number in one byte
        with pytest.raises(ConfigError, match=f"device='{name}': 2 CUDA devices"):
            pick_device(name)


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "cuda:-1", "mps", "meta", "cpu0"])
def test_pick_device_refuses(name: str) -> None:
    with pytest.raises(ConfigError, match=f"device='{name}': expected auto, cpu, cuda or cuda:N"):
        pick_device(name)
