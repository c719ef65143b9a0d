"""`bpnet import-vslnet`: the same answers as the network that it came from; errors."""

from __future__ import annotations

import dataclasses
import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import paper_model
import pytest
import tiny_run
import torch
from torch import Tensor

from bpnet import Localizer
from bpnet.checkpoint import Checkpoint
from bpnet.data.collate import collate
from bpnet.data.dataset import make_sample
from bpnet.data.vslnet_words import read_vslnet_words
from bpnet.model_config import ModelConfig
from bpnet.models.bpnet import BPNet
from bpnet.models.build import Sizes, build_model
from bpnet.models.vslnet_weights import PADDING, table
from bpnet_features import FeatureStore

WORDS = ["<PAD>", "<UNK>", "the", "small", "circle", *tiny_run.WORDS]
CHARACTERS = ["<PAD>", "<UNK>", *"abcdefghijklmnopqrs"]
SIZES = Sizes(
    feature_dim=8,
    num_words=len(WORDS),
    num_characters=len(CHARACTERS),
    word_dim=10,
    frozen_words=True,
    max_positions=16,
)
SPLIT = ["--tokenizer", "split", "--backbone", "tiny"]


@dataclasses.dataclass(frozen=True)
class Theirs:
    """Files of a VSLNet, and the network that they hold."""

    state: Path
    words: Path
    model: BPNet
    tensors: dict[str, Tensor]


def write(folder: Path, predictor: str) -> Theirs:
    """A network of ours under VSLNet's names; tests/golden holds these to its own code."""
    small = {"hidden_dim": 16, "num_heads": 2, "char_dim": 4, "predictor": predictor}
    config = ModelConfig(
        **{**paper_model.SETTINGS, **small, "mask_pads": False, "stage_two": False}
    )
    torch.manual_seed(0)
    model = build_model(config, SIZES).eval()
    own = model.state_dict()
    state = {PADDING: torch.zeros(1, 10)}
    for entry in table(predictor, 4):
        if entry.ours is not None:
            value = own[entry.ours]
            state[entry.theirs] = value if entry.drop is None else value.unsqueeze(entry.drop)
    torch.save(state, folder / "vslnet_8.t7")
    words = {
        "word_dict": {word: number for number, word in enumerate(WORDS)},
        "char_dict": {letter: number for number, letter in enumerate(CHARACTERS)},
    }
    (folder / "words.json").write_text(json.dumps(words))
    return Theirs(folder / "vslnet_8.t7", folder / "words.json", model, state)


@pytest.fixture
def theirs(tmp_path: Path) -> Theirs:
    return write(tmp_path, "rnn")


@pytest.mark.parametrize("predictor", ["rnn", "transformer"])
def test_imported_weights_answer_as_before(
    bpnet, tmp_path: Path, dataset_root: Path, predictor: str
) -> None:
    source = write(tmp_path, predictor)
    line = ["import-vslnet", source.state, source.words, "out.safetensors", "--heads", "2"]
    status, out, _ = bpnet(*line, *SPLIT, "--spec", "seconds_per_clip=0.5")
    assert status == 0
    assert out == (
        f"out.safetensors: predictor {predictor}, width 16, 9 words, 21 characters, at most 16 "
        "clips of width 8 (tiny)\n"
    )
    features = dataset_root / "features.h5"
    status, out, err = bpnet(
        "evaluate",
        "checkpoint=out.safetensors",
        "batch_size=1",
        "device=cpu",
        "data.dataset=jsonl",
        f"data.annotations={dataset_root / 'annotations.jsonl'}",
        f"data.features={features}",
    )
    assert status == 0, err
    lines = Path("eval_test/predictions.jsonl").read_text().splitlines()
    predictions = [json.loads(line) for line in lines]
    metrics = json.loads(Path("eval_test/metrics.json").read_text())
    assert metrics["checkpoint"]["imported"] == "VSLNet, vslnet_8.t7"
    assert metrics["metrics"] == metrics["stage_one"]
    vocabulary = read_vslnet_words(source.words, "split", 16)
    localizer = Localizer.from_pretrained("out.safetensors", "cpu")
    for one in predictions:
        clips, grid = FeatureStore(features).read(one["video_id"])
        with torch.inference_mode():
            output = source.model(collate([make_sample(clips, grid, one["query"], vocabulary)]))
        best = output.stage_one.proposals
        seconds = grid.to_seconds(best.spans[0, 0].numpy())
        found = one["moments"][0]
        assert [found["start_seconds"], found["end_seconds"]] == pytest.approx(seconds.tolist())
        assert found["score"] == pytest.approx(best.logits[0, 0].exp().item(), rel=1e-5)
        video = localizer.open_video(features, one["video_id"])
        asked = [moment.to_dict() for moment in video.localize(one["query"], top=99)]
        assert len(asked) == len(one["moments"]) == 16
        for moment, stored in zip(asked, one["moments"], strict=True):
            assert moment == pytest.approx(stored, rel=1e-5)


def test_the_checkpoint_says_what_it_is(bpnet, theirs: Theirs) -> None:
    line = ["import-vslnet", theirs.state, theirs.words, "out.safetensors", "--heads", "2"]
    assert bpnet(*line, *SPLIT)[0] == 0
    checkpoint = Checkpoint.load(Path("out.safetensors"))
    assert (checkpoint.model["mask_pads"], checkpoint.model["stage_two"]) == (False, False)
    assert checkpoint.vocabulary["words"] == ["<pad>", "<unk>", *WORDS[2:]]
    assert checkpoint.data["max_query_tokens"] == checkpoint.data["max_clips"] == 16
    assert len(checkpoint.training["sha256"]) == 64
    status, _, err = bpnet("evaluate", "checkpoint=out.safetensors")
    assert status == 2
    assert "data.dataset is not set" in err
    status, _, err = bpnet(*line, *SPLIT)
    assert status == 2
    assert "'out.safetensors' is there already" in err


def test_loading_warns_of_padding(theirs: Theirs, bpnet, caplog) -> None:
    line = ["import-vslnet", theirs.state, theirs.words, "out.safetensors", "--heads", "2"]
    bpnet(*line, *SPLIT)
    caplog.clear()
    Localizer.from_pretrained("out.safetensors", "cpu")
    assert "depend on the padding of a batch" in caplog.text


def without(part: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda state: {name: value for name, value in state.items() if part not in name}


def put(name: str, value: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda state: {**state, name: value}


LSTM = "predictor.end_encoder.lstm.weight_hh_l0"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without(LSTM), f": {LSTM} is missing. Expected"),
        (put("module.x", torch.ones(1)), ": module.x is unknown. Expected"),
        (put(LSTM, torch.ones(63, 16)), rf"{LSTM} has shape \(63, 16\), expected \(64, 16\)"),
        (put(LSTM, torch.ones(64)), rf"{LSTM} has shape \(64,\), expected \(64, 16\)"),
        (put(PADDING, torch.ones(1, 10)), f"{PADDING} is not zero"),
        (put(LSTM, torch.full((64, 16), torch.nan)), f"{LSTM} holds NaN or infinite values"),
        (put("more", [1]), "a dict of other things than tensors"),
        (put("embedding_net.linear.conv1d.weight", torch.ones(16, 111, 1)), r"\(16, 110, 1\)"),
        (without("lstm"), "predictor transformer"),
        (without("conv1d"), r": video_affine.* and 21 more faults\. Expected"),
    ],
)
def test_other_weights(bpnet, theirs: Theirs, change, message: str) -> None:
    torch.save(change(theirs.tensors), theirs.state)
    status, _, err = bpnet(
        "import-vslnet", theirs.state, theirs.words, "out.safetensors", "--heads", "2", *SPLIT
    )
    assert status == 2
    assert err.startswith("CheckpointError: VSLNet weights")
    assert re.search(message, err), err
    assert not Path("out.safetensors").exists()


def words(**changes: Any) -> str:
    values = {
        "word_dict": {word: number for number, word in enumerate(WORDS)},
        "char_dict": {letter: number for number, letter in enumerate(CHARACTERS)},
    }
    return json.dumps({**values, **changes})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "word_dict is missing"),
        (words(char_dict=None), "char_dict is missing"),
        (words(word_dict={"<PAD>": 0, "<UNK>": 1, "a": 3}), "expected the ids 0 to 2"),
        (words(word_dict={"<PAD>": 0, "<UNK>": 1, "a": 1}), "see equal ids"),
        (words(word_dict={"a": 0, "<UNK>": 1}), r"begins with \['a', '<UNK>'\]"),
        (words(word_dict={"<PAD>": 0, "<UNK>": 1}), "word_dict has 2 entries, the weights 9"),
    ],
)
def test_other_words(bpnet, theirs: Theirs, text: str, message: str) -> None:
    theirs.words.write_text(text)
    status, _, err = bpnet(
        "import-vslnet", theirs.state, theirs.words, "out.safetensors", "--heads", "2", *SPLIT
    )
    assert status == 2
    assert err.startswith("CheckpointError: words ")
    assert re.search(message, err), err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.t7", "words.json", "o.safetensors"], "'missing.t7': no such file"),
        (["vslnet_8.t7", "w.json", "o.safetensors"], "'w.json': no such file"),
        (["vslnet_8.t7", "words.json", "no/o.safetensors"], "'no': no such folder"),
        (["words.json", "words.json", "o.safetensors"], "not a file of tensors"),
        (["vslnet_8.t7", "words.json", "o.safetensors", "--heads", "3"], "multiple of"),
        (
            ["vslnet_8.t7", "words.json", "o.safetensors", "--spec", "feature_dim=9"],
            "feature_dim=9: the weights read 8",
        ),
    ],
)
def test_other_arguments(bpnet, theirs: Theirs, arguments: list[str], message: str) -> None:
    heads = [] if "--heads" in arguments else ["--heads", "2"]
    status, _, err = bpnet("import-vslnet", *arguments, *heads, *SPLIT)
    assert status == 2
    assert message in err


def test_the_backbone_must_be_said(bpnet, theirs: Theirs) -> None:
    line = ["import-vslnet", theirs.state, theirs.words, "o.safetensors", "--heads", "2"]
    status, _, err = bpnet(*line, "--tokenizer", "split")
    assert status == 2
    assert "['backbone'] missing" in err


def test_a_pickle_is_not_run(bpnet, theirs: Theirs) -> None:
    torch.save({"x": np.random.default_rng}, theirs.state)
    line = ["import-vslnet", theirs.state, theirs.words, "o.safetensors", "--heads", "2"]
    status, _, err = bpnet(*line, *SPLIT)
    assert status == 2
    assert "not a file of tensors (Weights only load failed" in err


def test_the_help_says_how_to_write_the_words(bpnet, process, tmp_path: Path) -> None:
    _, text, _ = bpnet("import-vslnet", "--help")
    code = text.split('python -c "')[1].split('"\n')[0]
    dataset = {"word_dict": {"<PAD>": 0}, "char_dict": {"<PAD>": 0}, "word_vector": np.zeros(1)}
    (tmp_path / "datasets_t7").mkdir()
    (tmp_path / "datasets_t7" / "charades_new_128.pkl").write_bytes(pickle.dumps(dataset))
    assert process("-c", code) == (0, "", "")
    assert json.loads(Path("words.json").read_text()) == {
        "word_dict": {"<PAD>": 0},
        "char_dict": {"<PAD>": 0},
    }
