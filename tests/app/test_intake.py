"""Which videos browsers play as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bpnet.app.intake import playable
from bpnet_features.video import probe

av = pytest.importorskip("av")


def encode(path: Path, codec: str) -> Path:
    """Two seconds of a moving edge."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(20):
            image = np.zeros((48, 64, 3), np.uint8)
            image[:, : 3 * number] = 200
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.webm", "libvpx-vp9")])
def test_as_it_is(tmp_path: Path, name: str, codec: str) -> None:
    video = encode(tmp_path / name, codec)
    assert playable(probe(video), tmp_path) == video
    assert list(tmp_path.iterdir()) == [video]


@pytest.mark.parametrize(("name", "codec"), [("a.avi", "mpeg4"), ("a.mkv", "libx264")])
def test_as_a_copy(tmp_path: Path, name: str, codec: str) -> None:
    video = encode(tmp_path / name, codec)
    copy = playable(probe(video), tmp_path)
    assert copy == tmp_path / "player.mp4"
    assert probe(copy).duration_seconds == pytest.approx(2.0, abs=0.15)
    assert playable(probe(copy), tmp_path) == copy
