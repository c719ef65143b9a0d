"""PrefixGrounder: who sees whom, in one packed call and cut by level; padding, gradients, K."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import prefix_model
import pytest
import torch
from prefix_model import make, make_batch, make_samples
from torch import Tensor

from bpnet.data.collate import collate
from bpnet.errors import ConfigError
from bpnet.model_config import ModelConfig
from bpnet.models.losses import bpnet_losses
from bpnet.models.prefix_grounder import PROPOSAL, QUERY, VIDEO, PrefixGrounder
from bpnet.models.readers import DenseReader
from bpnet.models.span_means import Summed
from bpnet.models.trunk import CHUNK, dense_attention, rotations, turned
from bpnet.types import Batch, Proposals

LEVELS = ("video", "query", "proposal")


def who_sees_whom(rows: Sequence[tuple[int, int, int, int]], causal: bool) -> Tensor:
    """The table of the design, token by token: (level, query, proposal, place) of each row."""
    mask = torch.zeros(len(rows), len(rows), dtype=torch.bool)
    for i, (level, query, proposal, place) in enumerate(rows):
        for j, (other_level, other_query, other_proposal, other_place) in enumerate(rows):
            if other_level == VIDEO:
                mask[i, j] = level != VIDEO or not causal or other_place // CHUNK <= place // CHUNK
            elif other_level == QUERY:
                mask[i, j] = level in (QUERY, PROPOSAL) and other_query == query
            else:
                mask[i, j] = (level, query, proposal) == (PROPOSAL, other_query, other_proposal)
    return mask


def inputs(model: PrefixGrounder, batch: Batch, proposals: Proposals) -> dict[str, Any]:
    """What goes into the trunk at each level."""
    assert model.stage_two is not None
    stem = model.encoder.encode_video(batch.video, batch.clip_mask()).states
    words = model.encoder.encode_query(batch.query_ids, batch.char_ids, batch.query_mask)
    index = batch.video_index
    seconds = batch.clip_seconds.to(stem.dtype)
    tokens, times = model.stage_two.tokens(
        Summed.of(stem[index]), seconds[index], batch.video_mask, proposals
    )
    return {
        "video": (stem + model.levels[VIDEO], seconds.mean(dim=2)),
        "query": model.query_tokens(words.states, batch.query_mask),
        "proposal": (tokens + model.levels[PROPOSAL], times),
    }


def packed(
    model: PrefixGrounder,
    batch: Batch,
    proposals: Proposals,
    sees: Callable[..., Tensor] = who_sees_whom,
) -> dict[str, list[Tensor]]:
    """One call a video with all its queries and their proposals side by side, nothing padded."""
    made = inputs(model, batch, proposals)
    count = proposals.mask.shape[1]
    per = made["proposal"][0].shape[1] // count
    out: dict[str, list[Tensor]] = {name: [] for name in LEVELS}
    for video in range(len(batch.video)):
        pairs = (batch.video_index == video).nonzero()[:, 0].tolist()
        clips = int(batch.clip_mask()[video].sum())
        tokens, seconds = [made["video"][0][video, :clips]], [made["video"][1][video, :clips]]
        rows = [(VIDEO, -1, -1, place) for place in range(clips)]
        lengths = [int(batch.query_mask[pair].sum()) + 1 for pair in pairs]
        for pair, length in zip(pairs, lengths, strict=True):
            tokens.append(made["query"][pair, :length])
            seconds.append(tokens[-1].new_zeros(length))
            rows += [(QUERY, pair, -1, 0)] * length
        real = [int(proposals.mask[pair].sum()) for pair in pairs]
        for pair, n in zip(pairs, real, strict=True):
            tokens.append(made["proposal"][0][pair, : n * per])
            seconds.append(made["proposal"][1][pair, : n * per].to(tokens[-1].dtype))
            rows += [(PROPOSAL, pair, k, 0) for k in range(n) for _ in range(per)]
        mask = sees(rows, model.causal)
        attention = dense_attention(mask[None])
        read = model.trunk(torch.cat(tokens)[None], torch.cat(seconds)[None], attention)[0][0]
        parts = read.split([clips, *lengths, *(n * per for n in real)])
        out["video"].append(parts[0])
        out["query"] += parts[1 : 1 + len(pairs)]
        out["proposal"] += parts[1 + len(pairs) :]
    return out


def cut(model: PrefixGrounder, batch: Batch, proposals: Proposals) -> dict[str, list[Tensor]]:
    """The three calls of training."""
    made = inputs(model, batch, proposals)
    outputs: list[Tensor] = []
    hook = model.trunk.register_forward_hook(lambda _, __, out: outputs.append(out[0]))
    video = model.encode_video(batch.video, batch.clip_mask(), batch.clip_seconds.to(batch.video))
    hook.remove()
    kept = model.apart(video.pick(batch.video_index).states)
    reader = DenseReader(model.trunk, kept.past, batch.video_mask, False)
    mask = torch.nn.functional.pad(batch.query_mask, (1, 0), value=True)
    read = reader.queries(made["query"], mask)
    judged = reader.proposals(*made["proposal"], proposals.mask)
    per = judged.shape[1] // proposals.mask.shape[1]
    clips = batch.clip_mask().sum(dim=1).tolist()
    real = proposals.mask.sum(dim=1).tolist()
    return {
        "video": [row[:n] for row, n in zip(outputs[0], clips, strict=True)],
        "query": [row[:n] for row, n in zip(read, mask.sum(dim=1).tolist(), strict=True)],
        "proposal": [row[: n * per] for row, n in zip(judged, real, strict=True)],
    }


def as_double(batch: Batch) -> Batch:
    return dataclasses.replace(batch, video=batch.video.double())


@pytest.mark.parametrize("num_tokens", [1, 2, 4])
@pytest.mark.parametrize("attention", ["full", "chunk_causal"])
def test_packed_equals_cut_with_gradients(
    pad: Callable[..., Batch], attention: str, num_tokens: int
) -> None:
    model, _ = make(video_attention=attention, num_proposal_tokens=num_tokens)
    longer = ((7, (3, 5)), (4, (2,)), (70, (1, 4, 6))) if attention != "full" else None
    batch = make_batch(longer or prefix_model.VIDEOS)
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
        model = model.to(dtype)
        given = batch if dtype == torch.float32 else as_double(batch)
        with torch.no_grad():
            proposals = model(given).stage_one.proposals
        found = []
        for run, asked in (
            (packed, given),
            (cut, given),
            (cut, pad(given, clips=3, tokens=2, letters=1)),
        ):
            model.zero_grad()
            out = run(model, asked, proposals)
            generator = torch.Generator().manual_seed(0)
            flat = [torch.cat(out[name]) for name in LEVELS]
            weights = [torch.randn(x.shape, generator=generator).to(x.dtype) for x in flat]
            sum((x * w).mean() for x, w in zip(flat, weights, strict=True)).backward()
            found.append((flat, {n: p.grad for n, p in model.named_parameters()}))
        for flat, grads in found[1:]:
            for level, one, other in zip(LEVELS, flat, found[0][0], strict=True):
                assert one.abs().max() > 0.5
                torch.testing.assert_close(
                    one, other, atol=tolerance, rtol=0, msg=f"{level} {dtype}"
                )
            for name, grad in grads.items():
                other = found[0][1][name]
                if grad is None or other is None:  # the head, which neither reads
                    assert all(one is None or not one.any() for one in (grad, other)), name
                else:
                    torch.testing.assert_close(grad, other, atol=tolerance, rtol=tolerance)


def test_the_mask_matters() -> None:
    """The comparison above can fail: where all see all, clips come out otherwise."""
    model, _ = make()
    batch = make_batch()
    with torch.no_grad():
        proposals = model(batch).stage_one.proposals
        expected = packed(model, batch, proposals)
        everyone = packed(model, batch, proposals, lambda rows, _: torch.ones(2 * [len(rows)]) > 0)
    for level in LEVELS:
        assert (everyone[level][0] - expected[level][0]).abs().max() > 1e-3, level


def test_shape_padding_and_single(pad: Callable[..., Batch]) -> None:
    model, _ = make()
    samples = make_samples()
    with torch.no_grad():
        out = model(collate(samples))
        wide = model(pad(collate(samples), clips=4, tokens=2, letters=3))
        singles = [model(collate([sample])) for sample in samples]
    real = out.stage_one.proposals.mask
    assert out.score_logits is not None and out.scores.shape == (6, 4)
    assert (out.scores[~real] == -1).all() and (out.scores[real] >= 0).all()
    for row, single in enumerate(singles):
        count = int(real[row].sum())
        for other, at in ((wide, row), (single, 0)):
            assert torch.equal(
                other.stage_one.proposals.spans[at, :count],
                out.stage_one.proposals.spans[row, :count],
            )
            for name in ("score_logits", "spans"):
                torch.testing.assert_close(
                    getattr(other, name)[at, :count],
                    getattr(out, name)[row, :count],
                    rtol=0,
                    atol=1e-5,
                )


def test_a_score_does_not_depend_on_how_many_there_are() -> None:
    model, _ = make(num_proposals=8)
    batch = make_batch()
    with torch.no_grad():
        many = model(batch)
        model.choice = dataclasses.replace(model.choice, num_proposals=3)
        few = model(batch)
    assert many.score_logits is not None and few.score_logits is not None
    assert torch.equal(few.stage_one.proposals.spans, many.stage_one.proposals.spans[:, :3])
    torch.testing.assert_close(few.score_logits, many.score_logits[:, :3], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"num_proposal_tokens": 1},
        {"num_proposal_tokens": 4, "video_attention": "chunk_causal"},
        {"characters": True, "num_similarities": 0, "contrast_weight": 0.0},
        {"score_residual": False, "pair_dim": 0, "overlap_weight": 0.0},
        {"stage_two": False},
    ],
    ids=str,
)
def test_every_parameter_gets_a_gradient(values: dict[str, Any]) -> None:
    model, config = make(dropout=0.0, **values)
    batch = make_batch()
    batch.query_ids[0, 0] = 1  # the unknown word
    losses = bpnet_losses(model.train()(batch), batch, config)
    losses["total"].backward()
    for name, parameter in model.named_parameters():
        gradient = parameter.grad
        assert gradient is not None and gradient.isfinite().all(), name
        # A softmax does not see what is added to all its places alike.
        if not name.endswith(("heads.bias", "pair_scores.start.bias", "similarity.weights.bias")):
            assert gradient.abs().max() > 1e-9, name


def test_detached_stage_two_trains_only_itself() -> None:
    model, config = make(dropout=0.0, detach_stage_two=True)
    batch = make_batch()
    losses = bpnet_losses(model.train()(batch), batch, config)
    (losses["matching"] + losses["refinement"]).backward()
    for name, parameter in model.named_parameters():
        # The trunk and the level vectors are stage two's own as well.
        if not name.startswith(("stage_two", "trunk", "levels")):
            assert parameter.grad is None or not parameter.grad.any(), name
    assert model.stage_two is not None and model.stage_two.tokens.means.weight.grad.any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_answers_as_full(dtype: torch.dtype) -> None:
    model, config = make(dropout=0.0)
    batch = make_batch()
    with torch.autocast("cpu", dtype):
        out = model.train()(batch)
    full = bpnet_losses(model(batch), batch, config)
    half = bpnet_losses(out, batch, config)
    assert half.keys() == full.keys()
    for name, loss in half.items():
        assert loss.item() == pytest.approx(full[name].item(), rel=0.1, abs=0.05), name
    half["total"].backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_causal_clips_do_not_see_later_chunks() -> None:
    batch = make_batch(((150, (3,)),))
    changed = dataclasses.replace(batch, video=batch.video.clone())
    changed.video[0, 130] += 1.0  # in the third chunk of 64
    for attention, unchanged in (("chunk_causal", 128), ("full", 0)):
        model, _ = make(video_attention=attention)
        with torch.no_grad():
            rows = [
                model.apart(model.encode_video(b.video, b.clip_mask(), b.clip_seconds).states)
                for b in (batch, changed)
            ]
        same = (rows[0].clips == rows[1].clips).all(dim=-1)[0]
        assert same[:unchanged].all() and not same[unchanged:].any()


def test_angles_are_of_differences_in_seconds() -> None:
    torch.manual_seed(0)
    query, key = torch.randn(2, 1, 1, 16, dtype=torch.float64)

    def product(one: float, other: float) -> Tensor:
        turn = [rotations(torch.tensor([at], dtype=torch.float64), 16) for at in (one, other)]
        return (turned(query, *turn[0]) * turned(key, *turn[1])).sum()

    torch.testing.assert_close(product(3.0, 10.5), product(1003.0, 1010.5))
    assert (product(3.0, 10.5) - product(3.0, 11.0)).abs() > 1e-3
    # The second half of a head compares content alone.
    later = turned(key, *rotations(torch.tensor([77.0]), 16))
    assert torch.equal(later[..., 8:], key[..., 8:]) and not torch.equal(later, key)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"network": "shared"}, "model.network='shared': expected one of bpnet, prefix"),
        ({"num_relation_layers": 1}, "model.num_relation_layers=1 with model.network='prefix'"),
        ({"proposer": "dense"}, "model.proposer='dense' with model.network='prefix'"),
        ({"mask_pads": False}, "model.mask_pads=False with model.network='prefix'"),
        ({"hidden_dim": 12}, "expected a multiple of 4 . model.num_heads=8"),
        ({"num_trunk_layers": 0}, "model.num_trunk_layers=0"),
        ({"num_proposal_tokens": 0}, "model.num_proposal_tokens=0"),
        ({"video_attention": "some"}, "model.video_attention='some'"),
    ],
    ids=str,
)
def test_settings_that_do_not_fit(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ModelConfig(**{**prefix_model.SMALL, **values})
