"""All names of a video find it, and nothing else does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpnet_features import FeatureError
from bpnet_features.ids import VideoIndex, plain_id, shared_id

# No plain id ends like what releases append; all others may be anything.
IDS = st.text(min_size=1, max_size=12).filter(lambda name: name == plain_id(name))
APPENDED = ("", ".avi", "-cam-002", "-cam-002.avi", ".avi-cam-002")


@given(IDS, st.sampled_from(APPENDED), st.sampled_from(APPENDED))
def test_every_name_finds_the_video(video_id: str, stored: str, asked: str) -> None:
    index = VideoIndex([video_id + stored, f"{video_id}-other"], "here")
    assert plain_id(video_id + stored) == video_id
    assert index.find(video_id + asked) == video_id + stored
    assert video_id in index.ids()
    assert len(index) == 2


@given(IDS, st.booleans())
def test_the_prefix_may_be_left_out(video_id: str, prefixed: bool) -> None:
    stored = f"v_{video_id}" if prefixed else video_id
    index = VideoIndex([stored], "here")
    assert index.find(stored) == stored
    assert index.find(f"v_{video_id}") == stored
    assert index.find(video_id) == stored
    assert index.ids() == [stored]


@pytest.mark.parametrize(
    ("name", "plain", "shared"),
    [
        ("s17-d69.avi", "s17-d69", "s17-d69"),
        ("s17-d69-cam-002", "s17-d69", "s17-d69"),
        ("v_0dkIbKXXFzI", "v_0dkIbKXXFzI", "0dkIbKXXFzI"),
        ("3MSZA", "3MSZA", "3MSZA"),
        (".avi", ".avi", ".avi"),
        ("v_", "v_", "v_"),
    ],
)
def test_names(name: str, plain: str, shared: str) -> None:
    assert (plain_id(name), shared_id(name)) == (plain, shared)


def test_names_of_one_video() -> None:
    names = [f"{number}{end}" for number in range(7) for end in ("", ".avi")]
    with pytest.raises(FeatureError, match=r"7 videos .* '0' and '0\.avi', .* and 2 more; remove"):
        VideoIndex(names, "here")
    index = VideoIndex(names, "here", exact=True)
    assert len(index) == 14
    assert index.find("3.avi") == "3.avi"
    assert index.find("3-cam-002") is None
