"""Encoder: shapes, padding, one encoder for both sides, the limit of the position table."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch

from bpnet.data.collate import collate
from bpnet.errors import AnnotationError
from bpnet.models.bpnet import BPNet
from bpnet.models.encoder import Encoder
from bpnet.types import Batch, Sample

MakeModel = Callable[..., tuple[BPNet, object]]


def encode(encoder: Encoder, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.no_grad():
        return (
            encoder.encode_video(batch.video, batch.video_mask).states,
            encoder.encode_query(batch.query_ids, batch.char_ids, batch.query_mask).states,
        )


@pytest.mark.parametrize("characters", [True, False])
def test_shape_and_zeros(
    make_model: MakeModel, make_batch: Callable[..., Batch], characters: bool
) -> None:
    encoder = make_model(characters=characters)[0].encoder
    batch = make_batch()
    video, query = encode(encoder, batch)
    assert video.shape == (3, 7, 8) and query.shape == (3, 5, 8)
    assert (video[~batch.video_mask] == 0).all() and (query[~batch.query_mask] == 0).all()
    assert (encoder.characters is not None) == characters


def test_padding_and_what_lies_under_it(
    make_model: MakeModel, make_batch: Callable[..., Batch], pad: Callable[..., Batch]
) -> None:
    encoder = make_model()[0].encoder
    batch = make_batch()
    video, query = encode(encoder, batch)
    wide = encode(encoder, pad(batch, clips=3, tokens=2, letters=6))
    torch.testing.assert_close(wide[0][:, :7], video, rtol=0, atol=1e-6)
    torch.testing.assert_close(wide[1][:, :5], query, rtol=0, atol=1e-6)
    dirty = dataclasses.replace(
        batch,
        video=torch.where(batch.video_mask[..., None], batch.video, 20.0),
        query_ids=torch.where(batch.query_mask, batch.query_ids, 7),
        char_ids=torch.where(batch.query_mask[..., None], batch.char_ids, 3),
    )
    for found, expected in zip(encode(encoder, dirty), (video, query), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_batched_equals_single(
    make_model: MakeModel, make_samples: Callable[..., list[Sample]]
) -> None:
    encoder = make_model()[0].encoder
    samples = make_samples()
    video, query = encode(encoder, collate(samples))
    for row, sample in enumerate(samples):
        one = encode(encoder, collate([sample]))
        num_clips, num_tokens = len(sample.video), len(sample.query_ids)
        torch.testing.assert_close(one[0][0], video[row, :num_clips], rtol=0, atol=1e-6)
        torch.testing.assert_close(one[1][0], query[row, :num_tokens], rtol=0, atol=1e-6)


def test_both_sides_share_one_encoder(
    make_model: MakeModel, make_batch: Callable[..., Batch]
) -> None:
    encoder = make_model()[0].encoder
    batch = make_batch()
    before = encode(encoder, batch)
    with torch.no_grad():
        encoder.encoder.linear.bias += 1.0
    after = encode(encoder, batch)
    masks = (batch.video_mask, batch.query_mask)
    for mask, old, new in zip(masks, before, after, strict=True):
        torch.testing.assert_close(new[mask], old[mask] + 1.0)


def test_letters_matter_only_where_they_are_read(
    make_model: MakeModel, make_batch: Callable[..., Batch]
) -> None:
    batch = make_batch()
    changed = dataclasses.replace(batch, char_ids=batch.char_ids.flip(0, 1, 2))
    for characters in (True, False):
        encoder = make_model(characters=characters)[0].encoder
        same = torch.equal(encode(encoder, batch)[1], encode(encoder, changed)[1])
        assert same != characters


def test_query_longer_than_the_position_table(
    make_model: MakeModel, make_batch: Callable[..., Batch]
) -> None:
    encoder = make_model()[0].encoder
    encode(encoder, make_batch([(2, 16, 4)]))
    with pytest.raises(AnnotationError, match="a query of 17 tokens: expected at most 16"):
        encode(encoder, make_batch([(2, 17, 4)]))
