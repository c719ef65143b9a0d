"""VideoSession: what is shared, found again, evicted and refused; its answers are the model's."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bpnet.attention import tensor_bytes
from bpnet.data.collate import collate
from bpnet.data.dataset import make_sample
from bpnet.data.vocabulary import Vocabulary
from bpnet.errors import CacheFullError, CheckpointError, ConfigError
from bpnet.inference.encoded import Reading
from bpnet.inference.judge import Judge
from bpnet.inference.opened import OpenedVideo
from bpnet.inference.session import VideoSession
from bpnet.model_config import ModelConfig
from bpnet.models.bpnet import BPNet
from bpnet.models.build import Sizes, build_model
from bpnet.models.grounder import Grounder
from bpnet.models.prefix_grounder import PrefixGrounder
from bpnet.types import Moment
from bpnet_features import ClipGrid, FeatureSpec

WIDTH, MAX_CLIPS = 5, 256
WORDS = ("a", "dog", "jumps", "over", "the", "fence", "slowly")
QUERIES = ["a dog jumps", "the fence", "slowly over the fence jumps a dog", "dog"]
VOCABULARY = Vocabulary(("<pad>", "<unk>", *WORDS), ("<pad>", "<unk>", *"abcdefghij"), "words", 12)
SMALL: dict[str, Any] = {
    "hidden_dim": 16,
    "num_heads": 2,
    "num_trunk_layers": 2,
    "num_relation_layers": 0,
    "num_conv_layers": 1,
    "num_context_layers": 1,
    "num_similarities": 2,
    "pair_dim": 4,
    "char_dim": 4,
    "num_proposals": 4,
}


def make_model(network: str = "prefix", **values: Any) -> Grounder:
    config = ModelConfig(**{"network": network, **SMALL, **values})
    torch.manual_seed(0)
    sizes = Sizes(WIDTH, len(VOCABULARY.words), len(VOCABULARY.characters), 6, False, MAX_CLIPS)
    model = build_model(config, sizes)
    for parameter in model.parameters():
        if not parameter.any() or parameter.ndim == 1:
            nn.init.normal_(parameter, std=0.3)
    return model.eval()


def make_session(model: Grounder, budget_bytes: int | None = None) -> VideoSession:
    spec = FeatureSpec("tiny", WIDTH, seconds_per_clip=1.0)
    reading = Reading(spec, MAX_CLIPS, float("inf"))
    return VideoSession(Judge(model, VOCABULARY, None, None), reading, budget_bytes)


def clips(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, WIDTH)).astype(np.float32)


def seconds(count: int, stride: float = 1.0, first: int = 0) -> ClipGrid:
    edges = stride * np.arange(first, first + count + 1)
    return ClipGrid(edges, float(edges[-1]))


def opened(session: VideoSession, video: np.ndarray) -> OpenedVideo:
    return session.open(video, seconds(len(video)))


@contextlib.contextmanager
def encodings(model: Grounder) -> Iterator[list[int]]:
    """How many clips are encoded at a time."""
    found: list[int] = []
    layer = model.encoder.video_projection
    hook = layer.register_forward_hook(lambda _, inputs, __: found.append(inputs[0].shape[1]))
    yield found
    hook.remove()


@contextlib.contextmanager
def trunk_outputs(model: Grounder) -> Iterator[list[Tensor]]:
    """What comes out of the trunk, call by call."""
    assert isinstance(model, PrefixGrounder)
    found: list[Tensor] = []
    hook = model.trunk.register_forward_hook(lambda _, __, out: found.append(out[0]))
    yield found
    hook.remove()


def kept(video: OpenedVideo) -> Tensor:
    return video.held.nodes[0].path_view().clone()


def assert_same(found: list[list[Moment]], expected: list[list[Moment]]) -> None:
    assert [len(answer) for answer in found] == [len(answer) for answer in expected]
    numbers = [
        [(m.start_seconds, m.end_seconds, m.score) for answer in one for m in answer]
        for one in (found, expected)
    ]
    np.testing.assert_allclose(*numbers, atol=1e-5, rtol=0)


@pytest.mark.parametrize("attention", ["full", "chunk_causal"])
@pytest.mark.parametrize("count", [1, 9, 150])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_a_session_equals_training(
    count: int, attention: str, dtype: torch.dtype, tolerance: float
) -> None:
    """At all three levels of the trunk: stored and ragged against padded and masked."""
    model = make_model(video_attention=attention, proposal_nms=None, num_proposal_tokens=2).to(
        dtype
    )
    video, grid = clips(count), seconds(count)
    samples = [make_sample(video, grid, query, VOCABULARY) for query in QUERIES]
    batch = collate(samples)
    batch = dataclasses.replace(batch, video=batch.video.to(dtype))
    with torch.no_grad(), trunk_outputs(model) as dense:
        out = model(batch)
    session = make_session(model)
    with trunk_outputs(model) as ragged:
        answers = session.open(video, grid).predict(QUERIES)
    assert len(dense) == len(ragged) == 3
    words = nn.functional.pad(batch.query_mask, (1, 0), value=True)
    real = out.stage_one.proposals.mask.repeat_interleave(2, dim=1)
    pairs = zip(ragged, (dense[0], dense[1][words], dense[2][real]), strict=True)
    for found, expected in pairs:
        assert found.dtype == dtype
        torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)
    for row, answer in enumerate(answers):
        scores = sorted(out.scores[row][out.scores[row] >= 0].tolist(), reverse=True)
        np.testing.assert_allclose([m.score for m in answer.moments], scores, atol=1e-5)


@pytest.mark.parametrize("network", ["prefix", "bpnet"])
def test_several_queries_equal_single_ones(network: str) -> None:
    session = make_session(make_model(network))
    video = opened(session, clips(40))
    together = session.ground(video, QUERIES, top=4)
    fresh = [make_session(make_model(network)) for _ in QUERIES]
    alone = [
        opened(one, clips(40)).localize(query, top=4)
        for one, query in zip(fresh, QUERIES, strict=True)
    ]
    assert_same(together, alone)
    assert_same(session.ground(video, QUERIES[::-1], top=4), alone[::-1])
    assert_same(session.ground(video, [QUERIES[1], *QUERIES, QUERIES[1]], top=4)[1:5], alone)
    with pytest.raises(ConfigError, match="expected a list of queries"):
        session.ground(video, "a dog jumps")  # type: ignore[arg-type]


def test_no_query_changes_what_is_kept_of_a_video() -> None:
    session = make_session(make_model())
    video = opened(session, clips(40))
    before = tensor_bytes(kept(video))
    for query in QUERIES:
        video.localize(query)
    video.localize(QUERIES * 5)
    assert tensor_bytes(kept(video)) == before


def test_a_query_that_comes_again_is_found() -> None:
    model = make_model()
    session = make_session(model)
    video = opened(session, clips(40))
    first = video.localize(QUERIES)
    stored = session.stats().num_tokens
    assert stored == 40 + sum(len(query.split()) + 1 for query in QUERIES)
    with trunk_outputs(model) as calls:
        assert_same(video.localize(QUERIES), first)
    assert len(calls) == 1  # the proposals alone
    assert session.stats().num_tokens == stored


@pytest.mark.parametrize("network", ["prefix", "bpnet"])
def test_equal_features_are_found_again(network: str) -> None:
    model = make_model(network)
    session = make_session(model)
    with encodings(model) as found:
        first = opened(session, clips(40))
        answers = first.localize(QUERIES)
        session.close(first)
        again = session.open(clips(40).astype(np.float64), seconds(40), "another name")
        assert_same(again.localize(QUERIES), answers)
        assert found == [40]
        changed = clips(40)
        changed[17, 2] += 0.5
        opened(session, changed)
        session.open(clips(40), seconds(40, stride=2.0))  # the same clips at other times
        assert found == [40, 40, 40]
    assert session.stats().hits >= 40


def test_causal_videos_share_the_chunks_before_the_first_change() -> None:
    changed = clips(200)
    changed[130] += 1.0
    for attention, encoded in (("chunk_causal", 72), ("full", 200)):
        model = make_model(video_attention=attention)
        session = make_session(model)
        with encodings(model) as found:
            one, other = opened(session, clips(200)), opened(session, changed)
            assert found == [200, encoded]
        assert session.stats().num_tokens == 200 + encoded
        fresh = opened(make_session(model), changed)
        torch.testing.assert_close(kept(other), kept(fresh), atol=1e-5, rtol=0)
        assert_same(other.localize(QUERIES), fresh.localize(QUERIES))
        shared = (kept(one) == kept(other)).all(dim=(0, 1, 2, 4)) if encoded == 72 else None
        assert shared is None or (shared[:128].all() and not shared[128:].any())


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("pieces", [(64, 64, 22), (10, 60, 1, 79), (100, 50), (149, 1)])
def test_a_video_that_grows_equals_the_whole(
    pieces: tuple[int, ...], dtype: torch.dtype, tolerance: float
) -> None:
    model = make_model(video_attention="chunk_causal").to(dtype)
    whole, session = opened(make_session(model), clips(150)), make_session(model)
    video, done = opened(session, clips(150)[: pieces[0]]), pieces[0]
    video.localize(QUERIES)  # what is kept of these saw a shorter video
    for count in pieces[1:]:
        part = clips(150)[done : done + count]
        with encodings(model) as found:
            session.extend(video, part, seconds(count, first=done))
        assert found == [done % 64 + count]
        done += count
    assert video.duration_seconds == whole.duration_seconds == 150.0
    assert video.grid.num_clips == video.windows[0].grid.num_clips == 150
    torch.testing.assert_close(kept(video), kept(whole), atol=tolerance, rtol=0)
    assert_same(video.localize(QUERIES), whole.localize(QUERIES))


def test_growing_is_refused_where_it_would_be_wrong() -> None:
    for model in (make_model(), make_model("bpnet")):
        session = make_session(model)
        video = opened(session, clips(40))
        with pytest.raises(ConfigError, match=r"extend\(\): the model's clips see the whole video"):
            session.extend(video, clips(8), seconds(8, first=40))
    session = make_session(make_model(video_attention="chunk_causal"))
    video = opened(session, clips(40))
    before = video.localize(QUERIES)
    with pytest.raises(ConfigError, match="the clips begin at 41 s, and the video ends at 40 s"):
        session.extend(video, clips(8), seconds(8, first=41))
    with pytest.raises(ConfigError, match="257 clips: expected at most the model's 256 positions"):
        session.extend(video, clips(217), seconds(217, first=40))
    with pytest.raises(CheckpointError, match=r"extend\(\): features of shape \(8, 4\)"):
        session.extend(video, clips(8)[:, :4], seconds(8, first=40))
    assert_same(video.localize(QUERIES), before)
    session.close(video)
    with pytest.raises(ConfigError, match="the video is closed: open it again"):
        session.extend(video, clips(8), seconds(8, first=40))


@pytest.mark.parametrize("network", ["prefix", "bpnet"])
@pytest.mark.parametrize("change", ["step", "fused step", "load", "copy"])
def test_changed_weights_are_not_answered_with(network: str, change: str) -> None:
    model = make_model(network)
    session = make_session(model)
    video = opened(session, clips(40))
    before = video.localize(QUERIES)
    weight = model.encoder.video_projection.weight
    if "step" in change:
        optimizer = torch.optim.AdamW([weight], lr=0.1, fused=change == "fused step")
        weight.sum().backward()
        optimizer.step()
    elif change == "load":
        model.load_state_dict({name: x * 1.1 for name, x in model.state_dict().items()})
    else:
        with torch.no_grad():
            weight[0, 0] += 1.0
    with pytest.raises(ConfigError, match="the model's weights have changed since the video was"):
        video.localize(QUERIES)
    with encodings(model) as found:
        after = opened(session, clips(40)).localize(QUERIES)
    assert found == [40]
    assert after != before
    assert_same(after, opened(make_session(model), clips(40)).localize(QUERIES))


def test_another_type_is_another_tree() -> None:
    model = make_model()
    session = make_session(model)
    video = opened(session, clips(40))
    before = video.localize(QUERIES)
    model.double()
    with pytest.raises(ConfigError, match="weights have changed"):
        video.localize(QUERIES)
    double = opened(session, clips(40))
    assert double.held.tree.layout.dtype == torch.float64
    assert_same(double.localize(QUERIES), before)
    del video
    gc.collect()
    assert session.stats().num_tokens >= 40  # what was let go belonged to the old tree


@pytest.mark.parametrize("network", ["prefix", "bpnet"])
def test_the_least_recently_used_goes_first(network: str) -> None:
    model = make_model(network)
    size = 64 * model.layout().token_bytes
    session = make_session(model, 2 * size)
    for seed in (0, 1):
        session.close(opened(session, clips(64, seed)))
    with encodings(model) as found:
        session.close(opened(session, clips(64, 0)))  # used again: the other one is older now
        assert found == []
        session.close(opened(session, clips(64, 2)))
        session.close(opened(session, clips(64, 0)))
        assert found == [64]
        session.close(opened(session, clips(64, 1)))
        assert found == [64, 64]
    stats = session.stats()
    assert stats.bytes <= stats.budget_bytes == 2 * size
    assert stats.pinned_bytes == 0 and stats.evicted == 2 * 64


@pytest.mark.parametrize("network", ["prefix", "bpnet"])
def test_opened_videos_are_never_evicted(network: str) -> None:
    model = make_model(network)
    size = 64 * model.layout().token_bytes
    session = make_session(model, 3 * size)
    videos = [opened(session, clips(64, seed)) for seed in range(3)]
    before = [kept(video) for video in videos]
    mib = size / 2**20
    message = (
        rf"video 'late': {mib:.3g} MiB are needed, and opened videos hold {3 * mib:.3g} of "
        rf"{3 * mib:.3g} MiB: close some, or raise budget_bytes"
    )
    with pytest.raises(CacheFullError, match=message):
        session.open(clips(64, 9), seconds(64), "video 'late'")
    for video, bytes_before in zip(videos, before, strict=True):
        assert torch.equal(kept(video), bytes_before)
    videos[1].close()
    session.close(videos[1])  # again: nothing
    late = session.open(clips(64, 9), seconds(64), "video 'late'")
    with pytest.raises(ConfigError, match="the video is closed: open it again"):
        videos[1].localize("a dog")
    assert torch.equal(kept(videos[0]), before[0])
    del videos, video, late
    gc.collect()
    assert session.stats().pinned_bytes == 0


def test_a_failed_opening_holds_nothing() -> None:
    """A long video of several windows, of which the budget holds only the first."""
    model = make_model("bpnet")
    spec = FeatureSpec("tiny", WIDTH, seconds_per_clip=1.0)
    judge = Judge(model, VOCABULARY, None, None)
    size = 32 * model.layout().token_bytes
    session = VideoSession(judge, Reading(spec, 32, 32.0), 2 * size)
    with pytest.raises(CacheFullError, match="close some, or raise budget_bytes"):
        opened(session, clips(100))
    assert session.stats().pinned_bytes == 0
    assert len(opened(session, clips(48)).windows) == 1  # pooled: less than twice 32 s


@pytest.mark.parametrize("network", ["prefix", "bpnet"])
def test_windows_of_a_long_video(network: str) -> None:
    """Each window is a video of its own: its keys, its answers."""
    model = make_model(network)
    spec = FeatureSpec("tiny", WIDTH, seconds_per_clip=1.0)
    judge = Judge(model, VOCABULARY, None, None)
    session = VideoSession(judge, Reading(spec, 32, 32.0))
    with encodings(model) as found:
        video = opened(session, clips(100))
        assert len(video.windows) == 6 and found == [32] * 6
        window = session.open(clips(100)[16:48], seconds(32))
        assert len(found) == 6  # the second one, found again
    several = video.localize(QUERIES, top=3)
    assert_same([video.localize(query, top=3) for query in QUERIES], several)
    assert isinstance(window.localize("dog"), list)


def test_threads_may_ask() -> None:
    session = make_session(make_model())
    videos = [opened(session, clips(40, seed)) for seed in (0, 1)]
    asked = [(video, query) for video in videos for query in QUERIES] * 4
    alone = [opened(make_session(make_model()), clips(40, i)).localize(QUERIES) for i in (0, 1)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda one: one[0].localize(one[1]), asked))
    assert_same(together, [answer for answers in alone for answer in answers] * 4)


@pytest.mark.parametrize("values", [{}, {"video_attention": "chunk_causal"}, {"network": "bpnet"}])
def test_threads_may_open_the_same_video(values: dict[str, str]) -> None:
    session = make_session(make_model(**values))
    with ThreadPoolExecutor(4) as pool:
        videos = list(pool.map(lambda seed: opened(session, clips(90, seed % 2)), range(8)))
    assert session.stats().num_tokens == 180
    alone = [
        opened(make_session(make_model(**values)), clips(90, i)).localize("dog") for i in (0, 1)
    ]
    assert_same([video.localize("dog") for video in videos], alone * 4)
    del videos
    gc.collect()
    assert session.stats().pinned_bytes == 0


def test_a_gradient_is_not_kept() -> None:
    model = make_model()
    assert isinstance(model, PrefixGrounder) and not isinstance(model, BPNet)
    video = opened(make_session(model), clips(20))
    assert not kept(video).requires_grad
    video.localize(QUERIES)
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("network", ["prefix", "bpnet"])
def test_a_cleared_session_is_empty(network: str) -> None:
    model = make_model(network)
    session = make_session(model)
    video, gone = opened(session, clips(40)), opened(session, clips(40, 1))
    del gone
    session.clear()
    assert session.stats().bytes == 0
    with pytest.raises(ConfigError, match="the session was cleared since the video was opened"):
        video.localize("dog")
    with encodings(model) as found:
        assert opened(session, clips(40)).localize("dog")
    assert found == [40]
    video.close()
    assert session.stats().pinned_bytes == 0
