"""Importing and asking open no connection and run no pickle, by what Python itself reports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import made_videos
import pytest
import tiny_run

# Heard before it happens, whoever calls: names looked up, connections, other programs, pickles
# that refer to anything.
WATCH = """
import sys
EVENTS = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto",
          "socket.sendmsg", "urllib.Request", "subprocess.Popen", "os.system", "os.exec",
          "os.posix_spawn", "os.fork", "pickle.find_class")
def hear(event, args):
    # For PyTorch, Python's own `platform` asks `uname`; its CUDA build asks where libraries lie.
    known = [("uname", ["uname", "-p"]), ("/sbin/ldconfig", ["/sbin/ldconfig", "-p"])]
    if event in EVENTS and args[:2] not in known:
        print(f"HEARD {event} {args!r:.200}", flush=True)
sys.addaudithook(hear)
"""
IMPORT_ALL = """
import importlib, pkgutil
import bpnet, bpnet_features
count = 0
for package in (bpnet, bpnet_features):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        try:
            importlib.import_module(module.name)
            count += 1
        except ModuleNotFoundError as err:  # of an extra that is not installed
            assert not err.name.startswith("bpnet"), err
assert count > 150, count
"""
LOCALIZE = """
from bpnet import Localizer
localizer = Localizer.from_pretrained({run!r}, "cpu")
video = localizer.open_video({features!r}, "v0")
print(len(video.localize("the small circle jumps", top=3)), "moments")
"""
EXTRACT = """
from pathlib import Path
from bpnet_features.extract_many import extract_videos
print(extract_videos([Path({video!r})], Path({out!r}), jobs=1).num_written, "written")
"""


def heard(code: str, tmp_path: Path) -> tuple[list[str], str]:
    """What was heard while code ran, and what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", WATCH + code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    return [line for line in lines if line.startswith("HEARD")], done.stdout


def test_importing(tmp_path: Path) -> None:
    assert heard("import bpnet, bpnet_features\nfrom bpnet import Localizer", tmp_path)[0] == []


@pytest.mark.slow
def test_importing_every_module(tmp_path: Path) -> None:
    assert heard(IMPORT_ALL, tmp_path)[0] == []


def test_localizing(tmp_path: Path) -> None:
    root, run = tiny_run.trained()
    code = LOCALIZE.format(run=str(run), features=str(root / "features.h5"))
    found, said = heard(code, tmp_path)
    assert found == []
    assert "3 moments" in said


def test_extracting(tmp_path: Path) -> None:
    video = made_videos.write_video(tmp_path / "a.mp4", made_videos.squares(range(16)))
    code = EXTRACT.format(video=str(video), out=str(tmp_path / "out.h5"))
    found, said = heard(code, tmp_path)
    assert found == []
    assert "1 written" in said


@pytest.mark.parametrize(
    ("code", "event"),
    [
        ("import socket\nsocket.socket().connect_ex(('127.0.0.1', 9))", "socket.connect"),
        ("import socket\nsocket.getaddrinfo('localhost', 9)", "socket.getaddrinfo"),
        ("import subprocess, sys\nsubprocess.run([sys.executable, '-V'])", "subprocess.Popen"),
        ("import pickle, pathlib\npickle.loads(pickle.dumps(pathlib.Path))", "pickle.find_class"),
    ],
)
def test_what_happens_is_heard(code: str, event: str, tmp_path: Path) -> None:
    found, _ = heard(code, tmp_path)
    assert found and any(event in line for line in found)
