"""A file that is called a video, but is a list of addresses: nothing is asked for.

FFmpeg reads playlists too, and would fetch what they name. A server of this test listens where they
point, and must hear nothing; what FFmpeg does is in C, where Python's own reports do not see it.
"""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from bpnet_features.errors import FeatureError

av = pytest.importorskip("av")

HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10.0,\nhttp://127.0.0.1:{port}/a.ts\n#EXT-X-ENDLIST\n"
DASH = """<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"
 mediaPresentationDuration="PT10S"><Period><AdaptationSet mimeType="video/mp4"><Representation
 id="1" bandwidth="1000"><BaseURL>http://127.0.0.1:{port}/a.mp4</BaseURL></Representation>
 </AdaptationSet></Period></MPD>"""
CONCAT = "ffconcat version 1.0\nfile http://127.0.0.1:{port}/a.mp4\n"
SDP = """v=0\no=- 0 0 IN IP4 127.0.0.1
s=a\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} TCP/RTP/AVP 96
a=rtpmap:96 H264/90000\n"""


@pytest.mark.parametrize("text", [HLS, DASH, CONCAT, SDP], ids=["hls", "dash", "concat", "sdp"])
@pytest.mark.parametrize("suffix", [".mp4", ".m3u8", ".mkv"])
def test_nothing_is_asked_for(text: str, suffix: str, tmp_path: Path) -> None:
    from bpnet_features.backbones.backbone import Extraction
    from bpnet_features.backbones.choose import load_backbone
    from bpnet_features.extract import extract_video

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        path = tmp_path / f"holiday{suffix}"
        path.write_text(text.format(port=server.getsockname()[1]), encoding="utf-8")
        with pytest.raises(FeatureError, match="holiday"):
            extract_video(path, load_backbone(Extraction("grid")))
        with pytest.raises(TimeoutError):
            server.accept()


def test_a_server_would_hear() -> None:
    """The same playlist does connect where FFmpeg is allowed to."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(av.error.FFmpegError):
            av.open(f"http://127.0.0.1:{port}/a.ts", timeout=1.0)
        server.accept()[0].close()
