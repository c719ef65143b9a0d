"""Stage one is VSLNet: our numbers against those of its PyTorch code; see README.md."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import vslnet_recipe as recipe

from bpnet.config import OptimConfig
from bpnet.data.vocabulary import build_vocabulary, load_vectors
from bpnet.data.vslnet_words import read_vslnet_words
from bpnet.model_config import ModelConfig
from bpnet.models.bpnet import BPNet
from bpnet.models.build import Sizes, build_model
from bpnet.models.losses import bpnet_losses
from bpnet.models.stage_one_losses import highlight_targets
from bpnet.models.vslnet_weights import from_vslnet, table
from bpnet.training.optim import build_optimizer
from bpnet_features import ClipGrid

HERE = Path(__file__).parent
DATA = json.loads((HERE / "vslnet_data.json").read_text())
TOLERANCE = 1e-5
MODULES = {
    "word embedding",
    "character convolutions",
    "query projection",
    "video projection",
    "encoder, video",
    "encoder, query",
    "video-query attention",
    "query concatenation",
    "highlight score",
    "start logits",
    "end logits",
}
OF_PREDICTOR = {
    "rnn": {"start LSTM", "end LSTM"},
    "transformer": {"start encoder", "end encoder"},
}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=recipe.PREDICTORS)
def predictor(request) -> str:
    return request.param


@pytest.fixture
def stored(predictor: str) -> dict[str, np.ndarray]:
    with np.load(HERE / f"vslnet_{predictor}.npz") as file:
        return dict(file)


def make(predictor: str, mask_pads: bool = False) -> tuple[BPNet, ModelConfig]:
    weights = from_vslnet(recipe.weights(predictor), recipe.NUM_HEADS)
    config = dataclasses.replace(weights.config, mask_pads=mask_pads)
    model = build_model(config, Sizes(**weights.sizes)).eval()
    model.load_state_dict(weights.tensors)
    return model, config


def test_the_recipe_still_makes_the_same_inputs(predictor: str):
    assert recipe.digest(vars(recipe.inputs())) == DATA["digests"]["inputs"]
    assert recipe.digest(recipe.weights(predictor)) == DATA["digests"][predictor]


def test_every_module_on_a_padded_batch(predictor: str, stored):
    """What lies in padded places is compared too: it reaches real ones, there as here."""
    output, found = recipe.our_outputs(make(predictor)[0], recipe.inputs().batch())
    expected = {n.removeprefix("output/"): v for n, v in stored.items() if n.startswith("output/")}
    assert set(expected) == set(found) == MODULES | OF_PREDICTOR[predictor]
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=0, atol=TOLERANCE, err_msg=name)
    spans = output.stage_one.proposals.spans[:, 0].numpy()
    np.testing.assert_array_equal(spans, stored["top span"] + [0, 1])  # our end is exclusive
    assert output.score_logits is None


def test_answers_depend_on_padding_as_theirs_do_and_not_when_masked(predictor: str):
    inputs = recipe.inputs()
    starts = {}
    for mask_pads in (False, True):
        model, _ = make(predictor, mask_pads)
        with torch.no_grad():
            together = model(inputs.batch()).stage_one.evidence.start
            alone = [
                model(inputs.alone(row).batch()).stage_one.evidence.start[0] for row in range(3)
            ]
        starts[mask_pads] = max(
            (together[row, : len(one)] - one).abs().max().item() for row, one in enumerate(alone)
        )
    assert starts[False] > 1e-2
    assert starts[True] < TOLERANCE


def test_without_padding_the_modes_are_one(predictor: str):
    inputs = recipe.inputs().alone(0)
    letters = np.where(inputs.char_ids == 0, 1, inputs.char_ids)  # words of one length
    batch = dataclasses.replace(inputs, char_ids=letters).batch()
    with torch.no_grad():
        compat, masked = (make(predictor, mode)[0](batch).stage_one for mode in (False, True))
    assert torch.equal(compat.evidence.start, masked.evidence.start)
    assert torch.equal(compat.evidence.end, masked.evidence.end)


def test_losses_gradients_and_one_step(predictor: str, stored):
    model, config = make(predictor)
    batch = recipe.inputs().batch()
    losses = bpnet_losses(model(batch), batch, config)
    assert set(losses) == {"boundary", "highlight", "total"}
    found = [losses["boundary"].item(), losses["highlight"].item()]
    np.testing.assert_allclose(found, stored["losses"], rtol=0, atol=TOLERANCE)

    losses["total"].backward()
    parameters = dict(model.named_parameters())
    trained = [e for e in table(predictor, recipe.NUM_CONV_LAYERS) if e.ours in parameters]
    assert {entry.ours for entry in trained} == set(parameters)
    norms = [parameters[entry.ours].grad.norm().item() for entry in trained]
    np.testing.assert_allclose(norms, stored["gradient norms"], rtol=1e-4, atol=TOLERANCE)

    before = {name: value.detach().clone() for name, value in parameters.items()}
    optimizer = build_optimizer(model, OptimConfig(lr=1e-4))
    for group in optimizer.param_groups:
        # Their AdamW adds 1e-6 before it corrects the second moment for its bias, torch's after.
        group["eps"] = 1e-6 / np.sqrt(1 - 0.999)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    first = 0
    for entry in trained:
        after = parameters[entry.ours].detach().numpy().ravel()
        expected = stored["after one step"][first : first + after.size]
        first += after.size
        if "unknown" in entry.ours:  # theirs decays it: by lr 1e-4 x 0.01 of its value
            expected = expected + 1e-6 * before[entry.ours].numpy().ravel()
        np.testing.assert_allclose(after, expected, rtol=0, atol=1e-6, err_msg=entry.theirs)
        moved = np.abs(after - before[entry.ours].numpy().ravel()).max()
        # A step moves a weight by up to 1e-4, but for biases that a softmax cancels.
        assert moved > 3e-5 or entry.ours.endswith(("key.bias", "_head.2.bias")), entry.theirs
    assert first == len(stored["after one step"])


def test_pooling():
    for length, expected in zip(recipe.pooled_lengths(), DATA["pooled"], strict=True):
        if length <= 16:  # kept as it is by the dataset, not by the grid
            assert len(expected) == length
            continue
        grid = ClipGrid.uniform(length, 10.0)
        pooled, coarse = grid.resample(recipe.pooled_video(length), 16)
        np.testing.assert_allclose(pooled, expected, rtol=1e-6, err_msg=str(length))
        assert coarse.num_clips == 16


def test_seconds_to_cells_and_back():
    for (start, end, clips, duration), cells, seconds in zip(
        recipe.timed_moments(), DATA["cells"], DATA["seconds"], strict=True
    ):
        grid = ClipGrid.uniform(clips, duration)
        found = grid.nearest_cells(start, end)
        assert found == (cells[0], cells[1] + 1), (start, end, clips, duration)
        np.testing.assert_allclose(grid.to_seconds(found), seconds, rtol=1e-6)


def test_highlight_extension():
    spans = torch.tensor(recipe.highlighted_cells())
    num_clips = int(spans.max()) + 1
    targets = highlight_targets(spans + torch.tensor([0, 1]), num_clips, 0.1).numpy()
    found = [[np.flatnonzero(one)[0], np.flatnonzero(one)[-1]] for one in targets]
    np.testing.assert_array_equal(found, DATA["highlighted"])
    np.testing.assert_array_equal(targets.sum(axis=1), np.diff(found, axis=1)[:, 0] + 1)


def test_vocabulary(tmp_path: Path):
    path = tmp_path / "words.json"
    path.write_text(json.dumps({name: DATA[name] for name in ("word_dict", "char_dict")}))
    vocabulary = read_vslnet_words(path, "split", 5)
    sentences = [" ".join(words) for part in recipe.tokens().values() for words in part]
    for sentence, (word_ids, char_ids) in zip(sentences, DATA["ids"], strict=True):
        found_words, found_chars = vocabulary.encode(sentence)
        assert found_words.tolist() == word_ids
        padded = [row + [0] * (found_chars.shape[1] - len(row)) for row in char_ids]
        assert found_chars.tolist() == padded

    # One that we build ourselves knows the same words and letters, in another order of equals.
    lines = [" ".join([w, *map(str, recipe.vector(w))]) for w in recipe.words_with_vectors()]
    (tmp_path / "vectors.txt").write_text("\n".join(lines) + "\n")
    vectors = load_vectors(str(tmp_path / "vectors.txt"), str(tmp_path / "cache"))
    ours, table_of_ours = build_vocabulary(
        sentences, tokenizer="split", characters=True, max_query_tokens=5, vectors=vectors
    )
    assert set(ours.words) == set(vocabulary.words)
    assert set(ours.characters) == set(vocabulary.characters)
    assert table_of_ours is not None
    column = dict(zip(ours.words, table_of_ours[:, 0].tolist(), strict=True))
    expected = DATA["first column of the vectors"]
    assert [column[word] for word in vocabulary.words[2:]] == expected
