"""`bpnet serve`: what it refuses before anything is served."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bpnet.web.listen import listen
from bpnet_features import FeatureSpec, FeatureWriter


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--checkpoint", "gone"], "CheckpointError: checkpoint 'gone': no such file or folder"),
        (["--features", "gone"], "FeatureError: features 'gone': no such file or folder"),
        (["--max-videos", "0"], "ConfigError: max_videos=0: expected a number >= 1"),
        (["--token-file", "gone"], "ConfigError: token file 'gone': cannot be read"),
        (["--host", "192.0.2.1"], "ConfigError: cannot listen on 192.0.2.1 port 8000"),
        (["--port", "70000"], "ConfigError: port=70000: expected 0 to 65535"),
    ],
)
def test_what_is_refused_at_the_start(
    bpnet, run_dir: Path, options: list[str], message: str
) -> None:
    status, out, err = bpnet("serve", "--checkpoint", run_dir, *options)
    assert (status, out) == (2, "")
    assert err.splitlines()[-1].startswith(message), err


def test_features_of_another_kind(bpnet, run_dir: Path, tmp_path: Path) -> None:
    with FeatureWriter(tmp_path / "other.h5", FeatureSpec("c3d", 9)) as writer:
        writer.add("a", np.zeros((4, 9)), 4.0)
    status, _, err = bpnet(
        "serve", "--checkpoint", run_dir, "--port", "0", "--features", tmp_path / "other.h5"
    )
    assert status == 2
    assert err.startswith("CheckpointError: ") and "backbone: 'tiny' != 'c3d'" in err


def test_a_port_that_is_taken(bpnet, run_dir: Path) -> None:
    with listen("127.0.0.1", 0) as taken:
        port = str(taken.getsockname()[1])
        status, _, err = bpnet("serve", "--checkpoint", run_dir, "--port", port)
    assert status == 2
    assert err.startswith(f"ConfigError: cannot listen on 127.0.0.1 port {port} (")


def test_without_the_extra(process) -> None:
    code = (
        "import sys\n"
        "sys.modules['fastapi'] = None\n"  # as if it were not installed
        "from bpnet.cli.main import main\n"
        "main(['serve', '--checkpoint', 'x'])\n"
    )
    error = "ConfigError: bpnet serve needs fastapi: run: pip install 'bpnet-nlvl[serve]'\n"
    assert process("-c", code) == (2, "", error)


def test_whoever_listens_to_others_without_a_token_is_warned(bpnet, run_dir: Path) -> None:
    options = ["--host", "0.0.0.0", "--port", "70000"]
    err = bpnet("serve", "--checkpoint", run_dir, *options)[2]
    assert "WARNING: whoever reaches 0.0.0.0 may ask and upload: give --token-file" in err
