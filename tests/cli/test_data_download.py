"""`bpnet data download`: what it prints, and its exit status, with a server on this machine."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bpnet.data.sources import SOURCES

# The real files of QVHighlights lie in the development data under their own names.
QVHIGHLIGHTS = SOURCES["qvhighlights"]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str]]:
    """A folder, and the address at which a server gives what is in it."""
    monkeypatch.setenv("NO_PROXY", "*")
    root = tmp_path / "mirror"
    root.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=root)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield root, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.shared
def test_the_real_files(bpnet, shared_dir: Path, mirror: tuple[Path, str], tmp_path: Path) -> None:
    """From a mirror that holds them where GitHub does; then they pass the check."""
    root, url = mirror
    for file in QVHIGHLIGHTS.files:
        path = root / urlsplit(file.url).path.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        real = shared_dir / "data" / "annotations" / "qvhighlights" / file.name
        path.write_bytes(real.read_bytes())
    status, out, err = bpnet("data", "download", "qvhighlights", "--url-base", url)
    assert (status, err) == (0, "")
    folder = "annotations/qvhighlights"
    lines = out.splitlines()
    assert lines[0] == (
        f"fetched {folder}/highlight_train_release.jsonl (3,956,580 bytes, checksum right)"
    )
    assert lines[5:7] == [
        "terms of use: CC BY-NC-SA 4.0 (see LICENSE beside the files)",
        f"next: bpnet data check --dataset qvhighlights {folder}",
    ]
    assert "  Moment-DETR: moment_detr_features.tar.gz (8 GB)" in lines
    assert "    to   features/qvhighlights/moment-detr" in lines
    assert lines[-1] == "then: bpnet features convert FOLDER OUT.h5 --layout auto"
    # The next command, as it was printed; and once more, which fetches nothing.
    assert bpnet(*lines[6].split()[2:])[0] == 0
    status, out, err = bpnet("data", "download", "qvhighlights", "--url-base", url)
    assert (status, err) == (0, "")
    kept = f"kept    {folder}/highlight_train_release.jsonl (there already, checksum right)"
    assert out.splitlines()[0] == kept
    assert "\nfetched" not in out


def test_a_page_in_place_of_a_file(bpnet, mirror: tuple[Path, str], tmp_path: Path) -> None:
    status, out, err = bpnet("data", "download", "didemo", "there", "--url-base", mirror[1])
    assert (status, out) == (2, "")
    first, *_, last = err.splitlines()
    assert first.startswith("AnnotationError: download of 'didemo': 3 faults: 'train_data.json': ")
    assert "answered 404 File not found: expected 200" in first
    home = "https://raw.githubusercontent.com/LisaAnne/LocalizingMoments/"
    assert len(re.findall(rf"(?m)^  {home}[0-9a-f]{{40}}/data/\w+\.json\n    to there/", err)) == 3
    assert last.startswith("then run it again, which looks at their checksums, and count with: ")
    assert last.endswith("bpnet data check --dataset didemo there")
    assert list((tmp_path / "there").iterdir()) == []


def test_list(bpnet) -> None:
    status, out, err = bpnet("data", "download", "--list")
    assert (status, err) == (0, "")
    for name, source in SOURCES.items():
        assert f"{name}: {source.title}\n  terms of use: {source.licence}\n" in out
        for file in source.files:
            size = "size not known" if file.size is None else f"{file.size:,} bytes"
            assert re.search(rf"(?m)^  {re.escape(file.name)} +{size}  {file.url}$", out)
    status, out, _ = bpnet("data", "download", "didemo", "--list")
    assert (status, out.count("terms of use"), out.count("https://")) == (0, 1, 3)


def test_errors(bpnet) -> None:
    for line in (["tacos"], ["tacos", "--list"]):
        status, out, err = bpnet("data", "download", *line)
        assert (status, out) == (2, "")
        assert err.startswith("ConfigError: dataset 'tacos': expected one of charades_sta, ")
    status, out, err = bpnet("data", "download")
    assert (status, out) == (2, "")
    assert "bpnet data download: error: give the NAME of a dataset, or --list" in err


def test_it_needs_no_torch(process) -> None:
    code = (
        "import sys\n"
        "import bpnet.cli.main, bpnet.cli.data, bpnet.data.download\n"
        "bpnet.cli.main.main(['data', 'download', '--list'])\n"
        "print(sorted({'torch', 'hydra', 'matplotlib'} & set(sys.modules)))\n"
    )
    status, out, err = process("-c", code)
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == "[]"
