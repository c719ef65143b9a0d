"""Building blocks: shapes, masks, embeddings row by row, arithmetic that can be done by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from bpnet.models.feature_encoder import ConvBlock, FeatureEncoder, SelfAttention
from bpnet.models.layers import (
    CharacterEmbedding,
    QueryPool,
    VideoQueryAttention,
    WordEmbedding,
    init_table,
    make_lstm,
    masked_softmax,
)

LENGTHS = (6, 3, 1)


def ragged(seed: int, extra: int = 0, dim: int = 8) -> tuple[Tensor, Tensor]:
    """Sequences of `LENGTHS` with zeros behind them, and their mask."""
    generator = torch.Generator().manual_seed(seed)
    full = torch.randn(len(LENGTHS), max(LENGTHS), dim, generator=generator)
    x = nn.functional.pad(full, (0, 0, 0, extra))
    mask = torch.arange(x.shape[1]) < torch.tensor(LENGTHS)[:, None]
    return x * mask[..., None], mask


def feature_encoder(**values: int) -> FeatureEncoder:
    torch.manual_seed(0)
    sizes = {"dim": 8, "num_heads": 2, "kernel_size": 5, "num_conv_layers": 2, "max_positions": 12}
    encoder = FeatureEncoder(**(sizes | values), dropout=0.2, embedding_init="normal")
    for name, parameter in encoder.named_parameters():
        if "bias" in name:
            nn.init.normal_(parameter)
    return encoder.eval()


def test_masked_softmax() -> None:
    logits = torch.tensor([[math.log(3), 0.0, 50.0], [7.0, 1e4, 1e4]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    # e^ln 3 = 3 and e^0 = 1: 3/4 and 1/4; a single place gets everything.
    torch.testing.assert_close(
        masked_softmax(logits, mask), torch.tensor([[0.75, 0.25, 0.0], [1.0, 0.0, 0.0]])
    )


@pytest.mark.parametrize("scheme", ["glorot", "normal"])
def test_init_table(scheme: str) -> None:
    torch.manual_seed(0)
    table = torch.empty(128, 128)
    init_table(table, scheme)
    # Glorot: uniform within sqrt(6 / 256) = 0.153, so a standard deviation of 0.153 / sqrt 3.
    expected = math.sqrt(6 / 256 / 3) if scheme == "glorot" else 1.0
    assert table.std().item() == pytest.approx(expected, rel=0.02)


def test_word_embedding_rows() -> None:
    words = WordEmbedding(5, 3, frozen=False)
    vectors = words(torch.tensor([[0, 1], [2, 4]]))
    assert vectors.shape == (2, 2, 3)
    assert vectors[0, 0].tolist() == [0, 0, 0]
    assert torch.equal(vectors[0, 1], words.unknown[0])
    assert torch.equal(vectors[1], words.words[[0, 2]])


@pytest.mark.parametrize("frozen", [False, True])
def test_word_embedding_that_knows_no_word(frozen: bool) -> None:
    words = WordEmbedding(2, 3, frozen)
    vectors = words(torch.tensor([[0, 1]]))
    assert vectors[0, 0].tolist() == [0, 0, 0] and torch.equal(vectors[0, 1], words.unknown[0])


@pytest.mark.parametrize("frozen", [False, True])
def test_word_embedding_trains_what_it_may(frozen: bool) -> None:
    words = WordEmbedding(5, 3, frozen)
    before = words(torch.arange(5)).detach()
    optimiser = torch.optim.SGD(words.parameters(), lr=0.5)
    words(torch.arange(5)).sum().backward()
    optimiser.step()
    # Each row is read once, so its gradient is 1 and a step takes 0.5 off.
    moved = before - words(torch.arange(5)).detach()
    rows = [0, 0.5] + [0 if frozen else 0.5] * 3
    torch.testing.assert_close(moved, torch.tensor(rows)[:, None].expand(5, 3))
    assert set(dict(words.named_parameters())) == ({"unknown"} | (set() if frozen else {"words"}))
    assert set(words.state_dict()) == {"unknown", "words"}


def character_embedding() -> CharacterEmbedding:
    torch.manual_seed(0)
    embedding = CharacterEmbedding(9, 4, dropout=0.2, embedding_init="normal").eval()
    for conv in embedding.convs:
        nn.init.normal_(conv.bias, mean=1.0)  # ReLU(bias) would win the maximum at padding
    return embedding


def test_characters_do_not_see_padding() -> None:
    embedding = character_embedding()
    # Words of 6, 4, 3, 1 and 0 letters.
    words = [[3, 4, 5, 6, 7, 8], [3, 4, 5, 6], [3, 4, 5], [3], []]
    narrow = torch.tensor([word + [0] * (6 - len(word)) for word in words])[None]
    found = embedding(narrow)
    assert found.shape == (1, 5, 100)
    for more in (1, 7):
        wider = embedding(nn.functional.pad(narrow, (0, more)))
        torch.testing.assert_close(wider, found, rtol=0, atol=1e-6)
    for place, word in enumerate(words):  # as narrow as the word allows
        alone = embedding(narrow[:, place : place + 1, : max(4, len(word))])
        torch.testing.assert_close(alone[0, 0], found[0, place], rtol=0, atol=1e-6)
    assert found[0, 4].abs().sum() == 0
    assert (found[0, :4].abs().sum(dim=1) > 0).all()


def test_characters_by_hand() -> None:
    embedding = CharacterEmbedding(5, 1, dropout=0.0, embedding_init="normal")
    with torch.no_grad():
        embedding.table.weight.copy_(torch.tensor([[0.0], [1.0], [2.0], [-3.0], [4.0]]))
        for conv in embedding.convs:
            conv.weight.fill_(1.0)
            conv.bias.fill_(-0.5)
    found = embedding(torch.tensor([[[1, 2, 3, 4, 2]]]))[0, 0]  # letters 1 2 -3 4 2
    # Largest sums of neighbouring letters, less 0.5. One letter: 4; two: 4 + 2 = 6; three:
    # -3 + 4 + 2 = 3; four: 2 - 3 + 4 + 2 = 5.
    expected = torch.cat([torch.full((n,), v) for n, v in ((10, 3.5), (20, 5.5), (30, 2.5))])
    torch.testing.assert_close(found, torch.cat([expected, torch.full((40,), 4.5)]))
    # One letter, "2": each filter has the one window at its beginning, 2 - 0.5.
    torch.testing.assert_close(
        embedding(torch.tensor([[[2, 0, 0, 0]]]))[0, 0], torch.full((100,), 1.5)
    )


def test_character_padding_row_is_not_trained() -> None:
    embedding = character_embedding().train()
    embedding(torch.tensor([[[3, 4, 0, 0]]])).sum().backward()
    gradient = embedding.table.weight.grad
    assert gradient is not None
    assert gradient[0].abs().sum() == 0 < gradient[3].abs().sum()
    assert embedding.table.weight[0].abs().sum() == 0


def test_conv_block_ignores_what_is_padded() -> None:
    torch.manual_seed(0)
    block = ConvBlock(8, 5, 0.2).eval()
    nn.init.normal_(block.norm.bias)
    nn.init.normal_(block.pointwise.bias)
    x, mask = ragged(0)
    expected = block(x, mask)
    assert expected.shape == x.shape
    dirty = torch.where(mask[..., None], x, 100.0)
    torch.testing.assert_close(block(dirty, mask)[mask], expected[mask], rtol=0, atol=1e-6)
    wide, wide_mask = ragged(0, extra=4)
    torch.testing.assert_close(block(wide, wide_mask)[wide_mask], expected[mask], rtol=0, atol=1e-6)


def test_self_attention_by_hand() -> None:
    attention = SelfAttention(4, 2, 0.0)
    with torch.no_grad():
        for layer in (attention.query, attention.key, attention.value):
            layer.weight.copy_(torch.eye(4))
            layer.bias.zero_()
    root = math.sqrt(2)
    x = torch.tensor([[[root, 0, 1, 1], [0, 0, 1, 1], [9, 9, 9, 9]]])
    y = attention(x, torch.tensor([[True, True, False]]))
    # Two heads of width 2, scale 1/sqrt 2. Head 1, first place: keys (root, 0) and (0, 0) give
    # 2/sqrt 2 = sqrt 2 and 0, so the first weight is sigmoid(sqrt 2); the second place scores both
    # 0. Head 2: both keys alike, so the mean of (1, 1) and (1, 1). The third key is masked.
    first = root / (1 + math.exp(-root))
    expected = torch.tensor([[first, 0, 1, 1], [root / 2, 0, 1, 1]])
    torch.testing.assert_close(y[0, :2], expected)


def test_feature_encoder_masks() -> None:
    encoder = feature_encoder()
    x, mask = ragged(1)
    encoded = encoder(x, mask)
    assert encoded.shape == x.shape
    assert (encoded[~mask] == 0).all()
    dirty = torch.where(mask[..., None], x, -50.0)
    torch.testing.assert_close(encoder(dirty, mask), encoded, rtol=0, atol=1e-6)
    wide, wide_mask = ragged(1, extra=6)
    torch.testing.assert_close(
        encoder(wide, wide_mask)[wide_mask], encoded[mask], rtol=0, atol=1e-6
    )
    for row, length in enumerate(LENGTHS):
        alone = encoder(x[row : row + 1, :length], mask[row : row + 1, :length])
        torch.testing.assert_close(alone[0], encoded[row, :length], rtol=0, atol=1e-6)


def test_feature_encoder_tells_positions_apart() -> None:
    encoder = feature_encoder(num_conv_layers=0)
    mask = torch.ones(1, 4, dtype=torch.bool)
    encoded = encoder(torch.ones(1, 4, 8), mask)[0]
    assert torch.cdist(encoded, encoded)[~torch.eye(4, dtype=torch.bool)].min() > 0.1


def video_query_attention(dim: int) -> VideoQueryAttention:
    torch.manual_seed(0)
    return VideoQueryAttention(dim, dropout=0.2).eval()


def test_video_query_attention_by_hand() -> None:
    attention = video_query_attention(1)
    with torch.no_grad():
        attention.video_weight.fill_(0.0)
        attention.query_weight.fill_(0.0)
        attention.product_weight.fill_(math.log(3))
        attention.linear.bias.zero_()
    video, query = torch.tensor([[[1.0], [0.0]]]), torch.tensor([[[1.0], [0.0]]])
    mask = torch.ones(1, 2, dtype=torch.bool)
    # Scores v q ln 3: clip 0 gives (ln 3, 0), clip 1 gives (0, 0). Over words: S = (3/4, 1/4) and
    # (1/2, 1/2); A = S q = 3/4 and 1/2. Over clips: word 0 has (3/4, 1/4), word 1 (1/2, 1/2), so
    # S_T' v = (3/4, 1/2) and B = S (3/4, 1/2) = 9/16 + 2/16 = 11/16 and 3/8 + 2/8 = 5/8.
    joined = [[1.0, 3 / 4, 3 / 4, 11 / 16], [0.0, 1 / 2, 0.0, 0.0]]  # V, A, V * A, V * B
    for column in range(4):
        with torch.no_grad():
            attention.linear.weight.zero_()
            attention.linear.weight[0, column] = 1.0
        found = attention(video, query, mask, mask)[0, :, 0]
        torch.testing.assert_close(found, torch.tensor([row[column] for row in joined]))


def test_video_query_attention_masks_both_sides() -> None:
    attention = video_query_attention(8)
    video, video_mask = ragged(2)
    query, query_mask = ragged(3)
    query, query_mask = query.flip(0), query_mask.flip(0)  # the longest query, the shortest video
    frames = attention(video, query, video_mask, query_mask)
    assert frames.shape == video.shape
    dirty = attention(
        torch.where(video_mask[..., None], video, 30.0),
        torch.where(query_mask[..., None], query, -30.0),
        video_mask,
        query_mask,
    )
    torch.testing.assert_close(dirty[video_mask], frames[video_mask], rtol=0, atol=1e-6)


def test_query_pool() -> None:
    pool = QueryPool(2)
    with torch.no_grad():
        pool.weight.copy_(torch.tensor([[math.log(3)], [0.0]]))
    query = torch.tensor([[[1.0, 0.0], [0.0, 4.0], [50.0, 50.0]], [[2.0, 5.0], [9, 9], [9, 9]]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    # Weights of the first: e^ln 3 : e^0 = 3/4 : 1/4, so (3/4, 4/4).
    torch.testing.assert_close(pool(query, mask), torch.tensor([[0.75, 1.0], [2.0, 5.0]]))


def test_lstm_inits() -> None:
    torch.manual_seed(0)
    lstm = make_lstm(16, "glorot_forget1")
    bound = math.sqrt(6 / (2 * 16 + 4 * 16))  # TensorFlow's kernel has 2 D rows and 4 D columns
    for name in ("weight_ih_l0", "weight_hh_l0"):
        assert 0.9 * bound < getattr(lstm, name).abs().max() <= bound
    bias = lstm.bias_ih_l0 + lstm.bias_hh_l0
    assert bias.tolist() == [0] * 16 + [1] * 16 + [0] * 32  # gates: input, forget, cell, output
    # With a forget bias of 1, zero input and cell state c: c' = sigmoid(1) c.
    with torch.no_grad():
        lstm.weight_hh_l0.zero_()
    zeros, ones = torch.zeros(1, 1, 16), torch.ones(1, 1, 16)
    _, (_, cell) = lstm(zeros, (zeros, ones))
    torch.testing.assert_close(cell, torch.full((1, 1, 16), 1 / (1 + math.exp(-1))))
    assert make_lstm(16, "torch").weight_ih_l0.abs().max() <= 1 / math.sqrt(16)
