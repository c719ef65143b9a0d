"""The activation head: pairs, padding, and what each intervention makes of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bpnet.contexts.pool import ContextPool
from bpnet.contexts.pool_config import PoolConfig
from bpnet.weak.activation import ActivationHead, combinational

C, E, D, K = 6, 5, 8, 3


def pool_of(mode: str, strata: tuple[float, ...] = ()) -> ContextPool:
    pool = ContextPool(PoolConfig(intervention=mode, num_prototypes=4), C, K)
    prior = torch.tensor([1 - sum(strata), *strata, *[0.0] * (4 - len(strata))])
    pool.prior.copy_(prior)
    return pool


def head_of(pool: ContextPool | None) -> ActivationHead:
    torch.manual_seed(0)
    head = ActivationHead(C, E, D, pool)
    for table in (head.context, head.answer):
        if table is not None:
            torch.nn.init.normal_(table)
    return head


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    mask = torch.arange(9) < torch.tensor([[9], [6], [4]])
    clips = torch.randn(3, 9, C, generator=generator) * mask[..., None]
    return clips, mask, torch.randn(3, E, generator=generator), torch.eye(3, K) > 0


@pytest.mark.parametrize("mode", ["none", "cicam", "backdoor", "stratified"])
def test_all_pairs_are_the_single_ones_and_padding_changes_nothing(mode, batch) -> None:
    clips, mask, queries, concepts = batch
    pool = pool_of(mode, (0.3, 0.2))
    pool.maps.maps.copy_(torch.randn(pool.maps.maps.shape))
    head = head_of(pool)
    every = head(clips[:, None], mask[:, None], queries, concepts)
    assert every.relevance.shape == (3, 3, 9) and every.scores.shape == (3, 3)
    for v, length in enumerate(mask.sum(dim=1).tolist()):
        for q in range(3):
            real = clips[v : v + 1, :length]
            alone = head(real, mask[v : v + 1, :length], queries[q : q + 1], concepts[q : q + 1])
            assert torch.allclose(alone.scores, every.scores[v, q], atol=1e-5)
            assert torch.allclose(alone.relevance[0], every.relevance[v, q, :length], atol=1e-5)
            assert not every.relevance[v, q, length:].any()


def test_the_score_is_relevance_at_the_selected_clips(batch) -> None:
    clips, mask, queries, concepts = batch
    head = head_of(None)
    found = head(clips[:1], mask[:1], queries[:1], concepts[:1])
    hidden = F.relu(clips[0] @ head.clip.weight.T + head.clip.bias + head.query(queries[0]))
    weights = torch.softmax(head.selection(hidden)[:, 0], dim=0)
    expected = (weights * head.relevance(hidden)[:, 0]).sum()
    assert torch.allclose(found.scores[0], expected, atol=1e-6)


def test_backdoor_sums_over_all_contexts_by_their_rates(batch) -> None:
    clips, mask, queries, concepts = batch
    head = head_of(pool_of("backdoor", (0.3, 0.0, 0.2)))
    adjusted = head(clips, mask, queries, concepts)
    scores, relevance = torch.zeros(3), torch.zeros(3, 9)
    for stratum, rate in {0: 0.5, 1: 0.3, 3: 0.2}.items():
        told = head(clips, mask, queries, concepts, torch.full((3,), stratum))
        scores += rate * told.scores
        relevance += rate * told.relevance
    assert torch.allclose(adjusted.scores, scores, atol=1e-5)
    assert torch.allclose(adjusted.relevance, relevance, atol=1e-5)
    different = [head(clips, mask, queries, concepts, torch.full((3,), s)).scores for s in (0, 1)]
    assert not torch.allclose(*different)


def test_without_contexts_backdoor_is_none_to_the_last_bit(batch) -> None:
    clips, mask, queries, concepts = batch
    none, backdoor = head_of(None), head_of(pool_of("backdoor"))
    backdoor.load_state_dict(none.state_dict(), strict=False)
    expected = none(clips, mask, queries, concepts)
    for strata in (None, torch.zeros(3, dtype=torch.int64)):
        found = backdoor(clips, mask, queries, concepts, strata)
        assert torch.equal(found.scores, expected.scores)
        assert torch.equal(found.relevance, expected.relevance)


def test_cicam_reads_the_map_of_the_sentences_own_concept(batch) -> None:
    clips, mask, queries, concepts = batch
    pool = pool_of("cicam")
    head = head_of(pool)
    before = head(clips, mask, queries, concepts)
    pool.maps.maps[0] = torch.linspace(-1, 1, 64)
    after = head(clips, mask, queries, concepts)
    assert not torch.allclose(before.scores[0], after.scores[0])
    assert torch.equal(before.scores[1:], after.scores[1:])
    assert torch.equal(before.plain_scores, after.plain_scores)


@pytest.mark.parametrize("mode", ["none", "cicam", "backdoor"])
def test_every_parameter_learns(mode, batch) -> None:
    clips, mask, queries, concepts = batch
    head = head_of(pool_of(mode, (0.3, 0.2, 0.1, 0.1)))
    pool = head.pool
    pool.maps.maps.copy_(torch.randn(pool.maps.maps.shape))
    found = head(clips[:, None], mask[:, None], queries, concepts, torch.tensor([[1], [2], [3]]))
    found.scores.square().sum().backward()
    for name, parameter in head.named_parameters():
        # In one batch of three contexts the row of the fourth is not read.
        rows = parameter.grad[:3] if name in ("context", "answer") else parameter.grad
        assert (rows != 0).any(), name


def test_the_combinational_map_by_hand() -> None:
    relevance = torch.tensor([[4.0, 2.0, 1.0]])
    others = torch.tensor([[[1.0, 0, 0], [9.0, 9, 9], [3.0, 2, 0]]])
    scores = torch.tensor([[0.1, 0.9, 0.2]])  # the second is no background
    assert combinational(relevance, others, scores, 2).tolist() == [[2.0, 1.0, 1.0]]
    mean = others.mean(dim=1)
    assert torch.equal(combinational(relevance, others, scores), relevance - mean)


def test_the_head_carries_its_pool() -> None:
    head = head_of(pool_of("backdoor", (0.3,)))
    assert np.isclose(head.state_dict()["pool.prior"][1], 0.3)
