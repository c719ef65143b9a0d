"""The teachers: padding changes nothing, batched equals single, and what each one learns by."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_rounds import config

from bpnet.config import TrainConfig
from bpnet.data.collate import collate
from bpnet.errors import ConfigError
from bpnet.supervision_config import TEACHERS
from bpnet.types import Batch, Sample
from bpnet.weak.evidence import Evidence
from bpnet.weak.gaussian import GaussianProposals, _alike, gaussian_masks
from bpnet.weak.run import WeakRun, span_metrics
from bpnet.weak.teach import AnyTeacher, build_teacher
from bpnet_features import ClipGrid

SMALL = {
    "supervision__gaussian": {"num_masks": 3, "dim": 16, "num_heads": 2, "num_layers": 1},
    "supervision__pool": {"min_videos": 4, "min_without": 1, "num_prototypes": 8},
}


@pytest.fixture(scope="module")
def weak_run(weak_root: Path, tmp_path_factory: pytest.TempPathFactory) -> WeakRun:
    return WeakRun(config(weak_root, **SMALL), tmp_path_factory.mktemp("teachers"))


def fresh(run: WeakRun, name: str, settings: TrainConfig | None = None) -> AnyTeacher:
    from bpnet.build import sizes_for_training

    config = settings or run.config
    sizes = sizes_for_training(config, run._vocabulary, None, run._store.spec)
    queries = [query.query for query in run.parts.queries]
    teacher = build_teacher(name, config, sizes, None, run._vocabulary, queries)
    teacher.begin(run.pairs)
    return teacher.eval()


def shortened(sample: Sample, num_clips: int) -> Sample:
    edges = sample.grid.edges_seconds[: num_clips + 1]
    grid = ClipGrid(edges, float(edges[-1]))
    return dataclasses.replace(sample, video=sample.video[:num_clips], grid=grid)


def samples(run: WeakRun) -> list[Sample]:
    """Pairs about five videos of different lengths."""
    lengths = {"v1": 24, "v2": 20, "v3": 11, "v4": 24, "v6": 5}
    return [
        shortened(run.pairs[place], lengths[query.video_id])
        for place, query in enumerate(run.pairs.queries[:15])
    ]


def hints(teacher: AnyTeacher, chosen: Sequence[Sample]) -> list[Any]:
    return list(teacher.hints(collate(chosen)))


@pytest.mark.parametrize("name", TEACHERS)
def test_a_pair_is_answered_alike_alone_and_in_a_batch(weak_run: WeakRun, name: str) -> None:
    teacher = fresh(weak_run, name)
    teacher.finish(weak_run.pairs)
    chosen = samples(weak_run)
    for sample, together in zip(chosen, hints(teacher, chosen), strict=True):
        (alone,) = hints(teacher, [sample])
        ours, theirs = (one.candidates(0.5) for one in (alone, together))
        np.testing.assert_allclose(ours.spans[0], theirs.spans[0], atol=1e-4)
        np.testing.assert_allclose(ours.scores[0], theirs.scores[0], atol=1e-4)
        assert ours.spans[0][1] <= len(sample.video) + 1e-4
        assert alone.support(ours.spans[:1], 0.5) == pytest.approx(
            together.support(ours.spans[:1], 0.5), abs=1e-3
        )


@pytest.mark.parametrize("name", TEACHERS)
def test_every_parameter_gets_a_gradient(weak_run: WeakRun, name: str) -> None:
    teacher = fresh(weak_run, name).train()
    losses = teacher.losses(collate(samples(weak_run)))
    losses["total"].backward()
    assert all(math.isfinite(loss.item()) for loss in losses.values())
    without = {
        name
        for name, weight in teacher.named_parameters()
        if weight.grad is None or not bool(weight.grad.any())
    }
    assert without <= {"tokens.unknown", "tokens.words.unknown"}, without


def padded(batch: Batch, more: int) -> Batch:
    """The same with clips and tokens of nothing behind it."""
    pad = torch.nn.functional.pad
    return dataclasses.replace(
        batch,
        video=pad(batch.video, (0, 0, 0, more)),
        clip_seconds=pad(batch.clip_seconds, (0, 0, 0, more)),
        video_mask=pad(batch.video_mask, (0, more)),
    )


def test_padding_changes_no_loss(weak_run: WeakRun) -> None:
    teacher = fresh(weak_run, "evidence")
    batch = collate(samples(weak_run))
    ours, theirs = teacher.losses(batch), teacher.losses(padded(batch, 7))
    assert ours["total"].item() == pytest.approx(theirs["total"].item(), abs=1e-5)


def test_evidence_is_an_estimate_by_bayes(weak_run: WeakRun) -> None:
    """Of the sentences of a batch, the mean of exp s at each clip is 1."""
    teacher = fresh(weak_run, "evidence")
    assert isinstance(teacher, Evidence)
    batch = collate(samples(weak_run))
    forms = teacher._forms(batch.video, teacher._sentences(batch))
    own = torch.nn.functional.one_hot(batch.video_index).T.bool()
    evidence = forms - teacher._rivalry(forms, own)
    torch.testing.assert_close(evidence.exp().mean(dim=1), torch.ones(len(own), forms.shape[2]))


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_sentences_of_the_same_video_may_count_less(
    weak_run: WeakRun, weak_root: Path, weight: float
) -> None:
    settings = config(weak_root, supervision__evidence={"in_video_weight": weight})
    teacher = fresh(weak_run, "evidence", settings)
    assert isinstance(teacher, Evidence)
    batch = collate(samples(weak_run))
    forms = teacher._forms(batch.video, teacher._sentences(batch)).double()
    own = torch.nn.functional.one_hot(batch.video_index).T.bool()
    found = teacher._rivalry(forms, own)
    for video, pair, clip in ((0, 0, 3), (1, 4, 2), (2, 0, 1)):
        counts = torch.where(own[video], weight, 1.0).double()
        if own[video, pair]:
            counts[pair] = 1.0
        expected = (counts * forms[video, :, clip].exp()).sum().log() - math.log(len(counts))
        assert found[video, pair, clip].item() == pytest.approx(expected.item(), abs=1e-5)


def test_hidden_pieces_and_the_contrast_are_options(weak_run: WeakRun, weak_root: Path) -> None:
    options = {"hidden_share": 0.5, "contrast_weight": 1.0}
    settings = config(weak_root, supervision__evidence=options)
    batch = collate(samples(weak_run))
    teacher = fresh(weak_run, "evidence", settings)
    losses = teacher.losses(batch)
    assert 0 <= losses["contrast"].item() <= 2
    assert losses["total"].item() == pytest.approx(
        losses["matching"].item() + losses["contrast"].item()
    )
    torch.manual_seed(0)
    teacher.train()
    assert teacher.losses(batch)["matching"].item() != losses["matching"].item()


def test_gaussian_masks_by_hand() -> None:
    mask = torch.tensor([[True] * 4 + [False]])
    found = gaussian_masks(torch.tensor([[0.375]]), torch.tensor([[0.5]]), mask, sharpness=2.0)
    # Clips are at 1/8, 3/8, 5/8, 7/8 of the video; the deviation is a quarter of it.
    expected = [math.exp(-0.5), 1, math.exp(-0.5), math.exp(-2), 0]
    torch.testing.assert_close(found, torch.tensor([[expected]]))


@pytest.mark.parametrize(
    ("place", "hides", "seen"), [(1, True, False), (1, False, True), (3, False, False)]
)
def test_words_are_told_from_those_before_that_are_not_hidden(
    weak_run: WeakRun, place: int, hides: bool, seen: bool
) -> None:
    """What stands in a hidden or in the last place changes no reconstruction, only its target."""
    teacher = fresh(weak_run, "gaussian")
    assert isinstance(teacher, GaussianProposals)
    batch = collate(samples(weak_run))
    assert batch.query_mask.shape[1] == 4
    video, query = teacher._read(batch)
    hidden = torch.zeros_like(batch.query_mask)
    hidden[:, place] = hides
    masks = batch.video_mask[:, None].float()
    other = query.clone()
    other[:, place] = 7.0
    with torch.no_grad():
        ours, theirs = (
            teacher._rebuild(video, one, batch, masks, hidden) for one in (query, other)
        )
    assert torch.allclose(ours, theirs) != seen


def test_masks_that_differ_as_they_should_cost_nothing() -> None:
    """A mask's product with itself is CPL's 0.146 in 50 places, whatever the length."""
    for length in (50, 200):
        mask = torch.ones(1, length, dtype=torch.bool)
        # Of a normal distribution the product with itself is 1 / (2 d sqrt(pi)) for deviation d.
        deviation = 1 / (2 * math.sqrt(math.pi) * 50 * 0.146)
        widths = torch.full((1, 2), 9 * deviation)
        far, near = (
            _alike(gaussian_masks(torch.tensor([centres]), widths, mask, 9.0), mask).item()
            for centres in ([0.25, 0.75], [0.5, 0.5])
        )
        assert far == pytest.approx(0, abs=1e-6)
        assert near == pytest.approx(2 * 0.146**2, rel=1e-3)


def test_one_mask_is_trained_without_diversity(weak_run: WeakRun, weak_root: Path) -> None:
    one = {**SMALL["supervision__gaussian"], "num_masks": 1}
    teacher = fresh(weak_run, "gaussian", config(weak_root, supervision__gaussian=one))
    losses = teacher.losses(collate(samples(weak_run)))
    assert set(losses) == {"rebuild", "whole", "outside", "total"}
    several = fresh(weak_run, "gaussian").losses(collate(samples(weak_run)))
    assert set(several) == {*losses, "diversity"}


@pytest.mark.parametrize(
    ("name", "epochs", "least"),
    [
        ("evidence", 25, 65),
        ("mil", 25, 40),
        pytest.param("gaussian", 40, 50, marks=pytest.mark.slow),
    ],
)
def test_finds_moments_from_sentences_alone(
    weak_root: Path, tmp_path: Path, name: str, epochs: int, least: float
) -> None:
    settings = config(
        weak_root,
        supervision__teacher_epochs=epochs,
        supervision__gaussian={"dim": 32, "num_heads": 2, "num_layers": 1},
    )
    run = WeakRun(settings, tmp_path)
    assert run.validation is not None
    _, known = run.opinions(run.teacher(name))
    found = span_metrics([known], None, run.validation)
    assert found["mIoU"] >= least, found


def test_token_features_have_no_words(
    weak_run: WeakRun, weak_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from bpnet.build import sizes_for_training

    spec = weak_run._store.spec
    sizes = sizes_for_training(weak_run.config, weak_run._vocabulary, None, spec, spec)
    for name in ("gaussian", "mil"):
        with pytest.raises(ConfigError, match=r"data.query_features.*use teachers=\[evidence\]"):
            build_teacher(name, weak_run.config, sizes, None, weak_run._vocabulary, [])
    for intervention, warned in (("backdoor", True), ("none", False)):
        caplog.clear()
        asked = config(weak_root, supervision__pool={"intervention": intervention})
        evidence = build_teacher("evidence", asked, sizes, None, weak_run._vocabulary, [])
        assert isinstance(evidence, Evidence) and evidence.contexts is None
        assert ("evidence looks for no contexts" in caplog.text) == warned
