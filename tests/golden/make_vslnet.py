"""Runs VSLNet's PyTorch code beside ours, and writes the numbers that the tests hold ours to.

    python tests/golden/make_vslnet.py CHECKOUT                # writes vslnet_*.npz and *.json
    python tests/golden/make_vslnet.py CHECKOUT --differences  # prints them, at its real size too

CHECKOUT is a clone of github.com/26hzhang/VSLNet at the commit of README.md. It needs NLTK, tqdm
and a transformers that still has AdamW (< 4.50).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch
import vslnet_recipe as recipe
from torch import Tensor

from bpnet.models.bpnet import BPNet
from bpnet.models.build import Sizes, build_model
from bpnet.models.vslnet_weights import from_vslnet, table

HERE = Path(__file__).parent
OPTIMISER = {"init_lr": 1e-4, "num_train_steps": 1000, "warmup_proportion": 0.0}  # its defaults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", help="folder of VSLNet's code")
    parser.add_argument("--differences", action="store_true", help="print differences")
    args = parser.parse_args()
    sys.path.insert(0, args.checkout)
    torch.set_num_threads(1)
    if args.differences:
        for predictor in recipe.PREDICTORS:
            _small_differences(predictor)
            _real_size(predictor)
        return
    digests = {"inputs": recipe.digest(vars(recipe.inputs()))}
    for predictor in recipe.PREDICTORS:
        state = recipe.weights(predictor)
        digests[predictor] = recipe.digest(state)
        stored = _small_size(predictor, state)
        np.savez_compressed(HERE / f"vslnet_{predictor}.npz", **stored)
    data = {"digests": digests, **_data_parity()}
    (HERE / "vslnet_data.json").write_text(json.dumps(data) + "\n")


def _reference(predictor: str, sizes: dict[str, int], heads: int, vectors: np.ndarray) -> Any:
    from model.VSLNet_t7 import VSLNet

    configs = types.SimpleNamespace(
        word_size=sizes["N"] + 2,
        char_size=sizes["A"],
        word_dim=sizes["V"],
        char_dim=sizes["E"],
        dim=sizes["D"],
        drop_rate=0.2,
        video_feature_dim=sizes["C"],
        num_heads=heads,
        max_pos_len=sizes["P"],
        predictor=predictor,
    )
    return VSLNet(configs, vectors).eval()


def _reference_outputs(model: Any, inputs: recipe.Inputs) -> tuple[Any, dict[str, Any]]:
    embedding = model.embedding_net
    watched = [
        (embedding.word_emb, ["word embedding"]),
        (embedding.char_emb, ["character convolutions"]),
        (embedding, ["query projection"]),
        (model.video_affine, ["video projection"]),
        (model.feature_encoder, ["encoder, video", "encoder, query"]),
        (model.cq_attention, ["video-query attention"]),
        (model.cq_concat, ["query concatenation"]),
    ]
    if model.predictor.predictor == "rnn":
        watched += [
            (model.predictor.start_encoder, ["start LSTM"]),
            (model.predictor.end_encoder, ["end LSTM"]),
        ]
    else:
        watched.append((model.predictor.encoder, ["start encoder", "end encoder"]))
    masks = [torch.from_numpy(m).float() for m in (inputs.video_mask, inputs.query_mask)]
    arrays = [torch.from_numpy(a) for a in (inputs.word_ids, inputs.char_ids, inputs.video)]
    seen, result = recipe.watch(watched, lambda: model(*arrays, *masks))
    names = ("highlight score", "start logits", "end logits")
    for name, value in zip(names, result, strict=True):
        seen[name] = value.detach().numpy()
    return result, seen


def _small_size(predictor: str, state: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """Outputs, losses, gradient norms and the parameters after one step, all of the reference."""
    from model.VSLNet_t7 import build_optimizer_and_scheduler
    from util.data_loader_t7 import train_collate_fn

    inputs = recipe.inputs()
    vectors = state["embedding_net.word_emb.glove_vec"].numpy()
    model = _reference(predictor, recipe.SIZES, recipe.NUM_HEADS, vectors)
    model.load_state_dict(state)
    (h_score, start, end), seen = _reference_outputs(model, inputs)
    stored = {f"output/{name}": value for name, value in seen.items()}
    stored["top span"] = torch.stack(model.extract_index(start, end), dim=1).numpy()

    lengths = inputs.video_mask.sum(axis=1)
    records = [
        ({}, video[:n], [1], [[1]], first, last)
        for video, n, first, last in zip(
            inputs.video, lengths, recipe.FIRST, recipe.LAST, strict=True
        )
    ]
    *_, s_labels, e_labels, h_labels = train_collate_fn(records)
    mask = torch.from_numpy(inputs.video_mask).float()
    highlight = model.compute_highlight_loss(h_score, h_labels, mask)
    boundary = model.compute_loss(start, end, s_labels, e_labels)
    stored["losses"] = np.array([boundary.item(), highlight.item()])
    (boundary + 5.0 * highlight).backward()
    parameters = dict(model.named_parameters())
    names = [entry.theirs for entry in table(predictor, recipe.NUM_CONV_LAYERS)]
    trained = [name for name in names if parameters[name].requires_grad]
    stored["gradient norms"] = np.array([parameters[n].grad.norm().item() for n in trained])
    optimiser, _ = build_optimizer_and_scheduler(model, types.SimpleNamespace(**OPTIMISER))
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    after = [parameters[name].detach().numpy().ravel() for name in trained]
    stored["after one step"] = np.concatenate(after)
    return stored


def _data_parity() -> dict[str, Any]:
    from util import data_gen
    from util.data_loader_t7 import train_collate_fn
    from util.data_util import index_to_time, time_to_index, visual_feature_sampling

    cells, seconds = [], []
    for start, end, clips, duration in recipe.timed_moments():
        first, last, _ = time_to_index(start, end, clips, duration)
        cells.append([int(first), int(last)])
        seconds.append([float(t) for t in index_to_time(first, last, clips, duration)])
    spans = recipe.highlighted_cells()
    clips = max(last for _, last in spans) + 1
    video = np.zeros((clips, 1), np.float32)
    labels = train_collate_fn([({}, video, [1], [[1]], *span) for span in spans])[-1].numpy()
    highlighted = [[int(np.flatnonzero(one)[i]) for i in (0, -1)] for one in labels]

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vectors.txt"
        lines = [" ".join([w, *map(str, recipe.vector(w))]) for w in recipe.words_with_vectors()]
        path.write_text("\n".join(lines) + "\n")
        parts = {
            name: [
                {"sample_id": 0, "vid": "v", "s_time": 0.0, "e_time": 1.0, "duration": 2.0}
                | {"words": words}
                for words in sentences
            ]
            for name, sentences in recipe.tokens().items()
        }
        word_dict, char_dict, vectors = data_gen.vocab_emb_gen(list(parts.values()), str(path))
    encoded = [
        record
        for part in parts.values()
        for record in data_gen.dataset_gen(part, {"v": 2}, word_dict, char_dict, 5, "part")
    ]
    return {
        "pooled": [
            visual_feature_sampling(recipe.pooled_video(n), 16).tolist()
            for n in recipe.pooled_lengths()
        ],
        "cells": cells,
        "seconds": seconds,
        "highlighted": highlighted,
        "word_dict": word_dict,
        "char_dict": char_dict,
        "first column of the vectors": vectors[:, 0].tolist(),
        "ids": [[one["w_ids"], one["c_ids"]] for one in encoded],
    }


def _real_size(predictor: str) -> None:
    """VSLNet as it begins its training, 4 pairs, and the same weights in ours."""
    sizes = {"D": 128, "C": 1024, "N": 1000, "V": 300, "A": 50, "E": 50, "P": 128}
    torch.manual_seed(recipe.SEED)
    rng = np.random.default_rng(recipe.SEED)
    vectors = rng.standard_normal((sizes["N"], sizes["V"])) * 0.3
    theirs = _reference(predictor, sizes, 8, vectors)
    weights = from_vslnet(theirs.state_dict(), num_heads=8)
    ours: BPNet = build_model(weights.config, Sizes(**weights.sizes)).eval()
    ours.load_state_dict(weights.tensors)
    video_mask = np.arange(128) < np.array([128, 90, 64, 17])[:, None]
    query_mask = np.arange(20) < np.array([20, 13, 8, 3])[:, None]
    real = (np.arange(12) < rng.integers(1, 13, (4, 20))[..., None]) & query_mask[..., None]
    inputs = recipe.Inputs(
        rng.standard_normal((4, 128, 1024)).astype(np.float32) * video_mask[..., None],
        video_mask,
        rng.integers(1, 1002, (4, 20)) * query_mask,
        rng.integers(1, 50, (4, 20, 12)) * real,
        query_mask,
    )
    print(f"\npredictor {predictor}: {sum(p.numel() for p in ours.parameters())} parameters")
    for precision in (np.float32, np.float64):
        print(f" {precision.__name__}")
        dtype = torch.from_numpy(np.zeros(0, precision)).dtype
        theirs, ours = theirs.to(dtype), ours.to(dtype)
        fed = dataclasses.replace(inputs, video=inputs.video.astype(precision))
        _compare(theirs, ours, fed)


def _small_differences(predictor: str) -> None:
    state = recipe.weights(predictor)
    vectors = state["embedding_net.word_emb.glove_vec"].numpy()
    theirs = _reference(predictor, recipe.SIZES, recipe.NUM_HEADS, vectors)
    theirs.load_state_dict(state)
    weights = from_vslnet(state, recipe.NUM_HEADS)
    ours = build_model(weights.config, Sizes(**weights.sizes)).eval()
    ours.load_state_dict(weights.tensors)
    print(f"\npredictor {predictor}, width 16\n float32")
    _compare(theirs, ours, recipe.inputs())


def _compare(theirs: Any, ours: BPNet, inputs: recipe.Inputs) -> None:
    with torch.no_grad():
        (_, start, end), expected = _reference_outputs(theirs, inputs)
        output, found = recipe.our_outputs(ours, inputs.batch())
    for name, value in expected.items():
        difference = np.abs(found[name] - value).max()
        size = np.abs(value[value > -1e29]).max()
        print(f"  {name:<24} {difference:.1e}   (largest value {size:.2g})")
    spans = output.stage_one.proposals.spans[:, 0].numpy().astype(int)
    independent = torch.stack(theirs.extract_index(start, end), dim=1).numpy()
    equal = (spans == independent + np.array([0, 1])).all(axis=1).sum()
    print(f"  equal top spans: {equal} of {len(spans)}")


if __name__ == "__main__":
    main()
