"""Windows of clips, and the threshold from which a video has a prototype."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from bpnet.contexts.presence import thresholds, window_directions


def test_a_window_is_the_mean_of_its_clips() -> None:
    video = torch.tensor([[[1.0, 0], [0, 1.0], [1.0, 0], [3.0, 4.0]]])
    directions, whole = window_directions(video, torch.ones(1, 4, dtype=torch.bool), 2, 0.0)
    half = 0.5**0.5
    expected = [[half, half], [half, half], [4 / 32**0.5, 4 / 32**0.5]]
    assert torch.allclose(directions[0, :3], torch.tensor(expected))
    assert whole.tolist() == [[True, True, True, False]]


def test_padding_changes_nothing_and_a_share_widens_the_window() -> None:
    video = torch.randn(1, 40, 5)
    alone, _ = window_directions(video, torch.ones(1, 40, dtype=torch.bool), 3, 0.1)
    padded = F.pad(video, (0, 0, 0, 7), value=9.0)
    mask = torch.arange(47)[None] < 40
    beside, whole = window_directions(padded, mask, 3, 0.1)
    assert int(whole.sum()) == 37  # windows of 4 clips
    assert torch.allclose(beside[:, :37], alone[:, :37], atol=1e-6)
    expected = F.normalize(video[0, 5:9].mean(dim=0), dim=0)
    assert torch.allclose(beside[0, 5], expected, atol=1e-5)


def test_a_video_shorter_than_a_window_is_one() -> None:
    video = torch.randn(1, 2, 5)
    directions, whole = window_directions(video, torch.ones(1, 2, dtype=torch.bool), 4, 0.0)
    assert whole.tolist() == [[True, False]]
    assert torch.allclose(directions[0, 0], F.normalize(video[0].mean(dim=0), dim=0))


def test_two_groups_are_told_apart_whatever_their_share() -> None:
    generator = torch.Generator().manual_seed(0)
    columns, truths = [], []
    for share in (0.03, 0.12, 0.5, 0.8):
        has = torch.rand(2000, generator=generator) < share
        noise = torch.randn(2000, generator=generator)
        columns.append(torch.where(has, 0.65 + 0.07 * noise, 0.25 + 0.05 * noise))
        truths.append(has)
    best, truth = torch.stack(columns, dim=1), torch.stack(truths, dim=1)
    found, apart = thresholds(best)
    assert (((best >= found) == truth).float().mean(dim=0) > 0.995).all()
    assert ((best >= found) | ~truth).float().mean() > 0.998  # who has it is hardly missed
    assert (apart > 5).all()


def test_one_group_is_not_two() -> None:
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(2000, 3, generator=generator)
    highest = torch.randn(2000, 30, 3, generator=generator).amax(dim=1)  # skewed
    for values in (normal, highest, torch.zeros(2000, 3)):
        assert (thresholds(0.1 * values)[1] < 3).all()
