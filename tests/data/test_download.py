"""Downloads from a real HTTP server on this machine: whole, resumed, refused, and by hand."""

from __future__ import annotations

import gzip
import hashlib
import re
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from answering_server import CONTENT, Answer, Handler, Server, body, cut, running_server, status
from hypothesis import given, settings
from hypothesis import strategies as st

from bpnet.data import download as module
from bpnet.data.download import TRIES, Downloaded, download
from bpnet.data.sources import RemoteFile, Source
from bpnet.errors import AnnotationError, ConfigError

PIECE = 8192  # what has come is kept in pieces of so many bytes
HOME = "https://home.invalid/owner/repo/"  # no host has this name (RFC 6761)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "*")
    yield from running_server()


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def source_of(**contents: bytes) -> dict[str, Source]:
    """A dataset "tiny" of files such as ``train_json`` (called ``train.json``)."""
    files = []
    for key, content in contents.items():
        name = key.replace("_", ".")
        files.append(RemoteFile(name, f"{HOME}{name}", sha256(content), len(content)))
    return {"tiny": Source("Tiny", tuple(files), "free", ())}


def get(server: Server, folder: Path, sources: dict[str, Source], **options: float) -> Downloaded:
    options = {"wait_seconds": 0.0, "timeout_seconds": 5.0} | options
    for file in sources["tiny"].files:
        server.files.setdefault(f"/owner/repo/{file.name}", CONTENT)
    return download(
        "tiny", folder, sources=sources, url_base=server.base, progress=False, **options
    )


ONE = source_of(train_json=CONTENT)
PATH = "/owner/repo/train.json"


def test_whole(server: Server, tmp_path: Path) -> None:
    """Folders are made; names may have folders; a second call asks for nothing."""
    test = b"short"
    server.files["/owner/repo/original/test.json"] = test
    [train] = ONE["tiny"].files
    name = "original/test.json"
    other = RemoteFile(name, HOME + name, sha256(test), len(test))
    sources = {"tiny": Source("Tiny", (train, other), "free", ())}
    folder = tmp_path / "a" / "b"
    done = get(server, folder, sources)
    files = (folder / "train.json", folder / "original" / "test.json")
    assert done == Downloaded(folder, files, ())
    assert [file.read_bytes() for file in files] == [CONTENT, test]
    assert sorted(path for path in folder.rglob("*") if path.is_file()) == sorted(files)
    assert get(server, folder, sources) == Downloaded(folder, (), files)
    assert len(server.asked) == 2


def test_the_default_folder(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    server.files[PATH] = CONTENT
    download("tiny", sources=ONE, url_base=server.base, progress=False)
    assert (tmp_path / "annotations" / "tiny" / "train.json").read_bytes() == CONTENT


def test_a_mirror_in_a_folder(server: Server, tmp_path: Path) -> None:
    server.files["/mirror" + PATH] = CONTENT
    base = f"{server.base}/mirror/"
    download("tiny", tmp_path, sources=ONE, url_base=base, progress=False)
    assert server.asked == [("/mirror" + PATH, None)]


def test_a_git_id_of_unknown_size(server: Server, tmp_path: Path) -> None:
    """``printf hello | git hash-object --stdin`` prints this."""
    name = "hello"
    hello = RemoteFile(name, HOME + name, "git:b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0", None)
    git_id = hashlib.sha1(b"blob 300000\0" + CONTENT).hexdigest()
    train = RemoteFile("train.json", HOME + "train.json", f"git:{git_id}", None)
    sources = {"tiny": Source("Tiny", (hello, train), "free", ())}
    server.files["/owner/repo/hello"] = b"hello"
    server.answers[PATH] = [cut(PIECE)]
    get(server, tmp_path, sources)
    assert (tmp_path / name).read_bytes() == b"hello"
    assert (tmp_path / "train.json").read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == [None, None, "bytes=8192-"]
    (tmp_path / name).write_bytes(b"hullo")
    match = r"1 of 2 files are in '.*' with another content: 'hello'"
    with pytest.raises(AnnotationError, match=match):
        get(server, tmp_path, sources)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_connection(server: Server, tmp_path: Path, ranges: bool) -> None:
    """With ranges, only the rest is asked for; without, the answer is the whole file again."""
    server.answers[PATH] = [cut(10 * PIECE), cut(None, ranges)]
    get(server, tmp_path, ONE)
    assert (tmp_path / "train.json").read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == [None, "bytes=81920-"]
    assert [path.name for path in tmp_path.iterdir()] == ["train.json"]


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.integers(0, len(CONTENT)), st.booleans()), min_size=0, max_size=TRIES - 1)
)
def test_any_breaks(breaks: list[tuple[int, bool]]) -> None:
    """Wherever a server hangs up, and whether or not it can go on: the file is right."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setenv("NO_PROXY", "*")
        for running in running_server():
            running.answers[PATH] = [cut(after, ranges) for after, ranges in breaks]
            get(running, Path(folder), ONE)
        assert [path.name for path in Path(folder).iterdir()] == ["train.json"]
        assert (Path(folder) / "train.json").read_bytes() == CONTENT


def test_killed_and_started_again(server: Server, tmp_path: Path) -> None:
    """A process is killed while the server is slow; the next one asks for the rest only."""
    go_on = threading.Event()

    def slow(handler: Handler) -> None:
        handler.head(200, Content_Length=len(CONTENT))
        handler.wfile.write(CONTENT[:200_000])
        handler.wfile.flush()
        go_on.wait(60)

    server.files[PATH] = CONTENT
    server.answers[PATH] = [slow]
    code = (
        "import sys\n"
        "from bpnet.data.download import download\n"
        "from bpnet.data.sources import RemoteFile, Source\n"
        "base, folder, url, digest, size = sys.argv[1:]\n"
        "file = RemoteFile('train.json', url, digest, int(size))\n"
        "sources = {'tiny': Source('Tiny', (file,), 'free', ())}\n"
        "download('tiny', folder, sources=sources, url_base=base)\n"
    )
    line = [server.base, str(tmp_path), f"{HOME}train.json", sha256(CONTENT), str(len(CONTENT))]
    part = tmp_path / ".train.json.download.part"
    with subprocess.Popen([sys.executable, "-c", code, *line]) as process:
        end = time.monotonic() + 60
        while not (part.exists() and part.stat().st_size > 100_000):
            assert time.monotonic() < end and process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    go_on.set()
    assert process.returncode == -signal.SIGKILL
    have = part.stat().st_size
    assert 100_000 < have <= 200_000
    assert [path.name for path in tmp_path.iterdir()] == [part.name]
    get(server, tmp_path, ONE)
    assert [asked for _, asked in server.asked] == [None, f"bytes={have}-"]
    assert (tmp_path / "train.json").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["train.json"]


def test_several_at_once(server: Server, tmp_path: Path) -> None:
    """They may disturb one another, which is an error; the file is never a wrong one."""
    for number in range(10):
        folder = tmp_path / str(number)
        server.answers[PATH] = [cut(9 * PIECE), cut(20 * PIECE, ranges=False)]
        faults: list[str] = []

        def run(folder: Path = folder, faults: list[str] = faults) -> None:
            try:
                get(server, folder, ONE)
            except AnnotationError as err:
                faults.append(str(err))

        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        file = folder / "train.json"
        assert file.exists() or len(faults) == 4
        assert not file.exists() or file.read_bytes() == CONTENT
        assert all("download of 'tiny': 1 fault: 'train.json': " in fault for fault in faults)


def test_the_part_is_taken_away(server: Server, tmp_path: Path) -> None:
    """At every try, as if by another process."""
    part = tmp_path / ".train.json.download.part"

    def taken(handler: Handler) -> None:
        handler.head(200, Content_Length=len(CONTENT))
        handler.wfile.write(CONTENT[:-1])
        handler.wfile.flush()
        while not part.exists():
            time.sleep(0.001)
        part.unlink()
        handler.wfile.write(CONTENT[-1:])

    server.answers[PATH] = [taken] * TRIES
    match = r"train\.json\.download\.part' is gone; does another process download to there\? \(4"
    with pytest.raises(AnnotationError, match=match):
        get(server, tmp_path, ONE)
    assert list(tmp_path.iterdir()) == []


def test_what_an_earlier_process_left(server: Server, tmp_path: Path) -> None:
    part = tmp_path / ".train.json.download.part"
    # All had come: nothing is asked for.
    part.write_bytes(CONTENT)
    get(server, tmp_path, ONE)
    assert server.asked == []
    # Bytes of something else, fewer, as many, and more: once more from the beginning.
    for wrong, asked in ((b"x" * 10, ["bytes=10-", None]), (b"x" * 300_000, [None])):
        (tmp_path / "train.json").unlink()
        part.write_bytes(wrong)
        server.asked.clear()
        get(server, tmp_path, ONE)
        assert [one for _, one in server.asked] == asked
        assert (tmp_path / "train.json").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "answer",
    [
        status(416, Content_Range="bytes */300000"),
        status(206, CONTENT[9:], Content_Range="bytes 9-299999/300000"),
        status(206, CONTENT[PIECE:], Content_Range="bytes 8192-299999/5"),
        status(206, b"x", Content_Range="bytes 8192-299999/300000", Content_Encoding="gzip"),
        status(206, CONTENT[PIECE:]),
    ],
)
def test_a_wrong_range_starts_anew(server: Server, tmp_path: Path, answer: Answer) -> None:
    server.answers[PATH] = [cut(PIECE), answer]
    get(server, tmp_path, ONE)
    assert [asked for _, asked in server.asked] == [None, "bytes=8192-", None]
    assert (tmp_path / "train.json").read_bytes() == CONTENT


def test_passing_faults_of_the_server(server: Server, tmp_path: Path) -> None:
    server.answers[PATH] = [status(500), status(503)]
    get(server, tmp_path, ONE)
    assert len(server.asked) == 3
    (tmp_path / "train.json").unlink()
    server.answers[PATH] = [status(429, Retry_After=1)]
    began = time.monotonic()
    get(server, tmp_path, ONE)
    assert time.monotonic() - began >= 1


def test_a_connection_that_breaks_every_time(server: Server, tmp_path: Path) -> None:
    """The message is a sentence; what came stays for the next call."""
    server.answers[PATH] = [cut(PIECE)] * TRIES
    with pytest.raises(AnnotationError) as caught:
        get(server, tmp_path, ONE)
    line = str(caught.value).splitlines()[0]
    assert line.startswith("download of 'tiny': 1 fault: 'train.json': ")
    # urllib3 2 notices it by itself.
    noticed = r"or it broke: Connection broken: IncompleteRead\([\w ]+, [\w ]+\) \(4 tries\)$"
    assert re.search(rf"{noticed}|ended after 32768 of 300000 bytes \(4 tries\)$", line)
    assert [path.name for path in tmp_path.iterdir()] == [".train.json.download.part"]
    get(server, tmp_path, ONE)
    assert server.asked[-1] == (PATH, "bytes=32768-")


def test_tries_end(server: Server, tmp_path: Path) -> None:
    server.answers[PATH] = [status(500)] * 100
    with pytest.raises(AnnotationError, match=r"answered 500 Internal Server Error \(4 tries\)"):
        get(server, tmp_path, ONE)
    assert len(server.asked) == TRIES == 4


def test_pauses_double(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(module.time, "sleep", pauses.append)
    server.answers[PATH] = [status(500), status(500), status(503, Retry_After=10**9)]
    get(server, tmp_path, ONE, wait_seconds=1.5)
    assert pauses == [1.5, 3.0, 60.0]


def test_a_silent_server(server: Server, tmp_path: Path) -> None:
    go_on = threading.Event()

    def silent(handler: Handler) -> None:
        handler.head(200, Content_Length=len(CONTENT))
        handler.wfile.write(CONTENT[:PIECE])
        handler.wfile.flush()
        go_on.wait(60)

    server.answers[PATH] = [silent]
    get(server, tmp_path, ONE, timeout_seconds=0.2)
    go_on.set()
    assert [asked for _, asked in server.asked] == [None, "bytes=8192-"]


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        (status(404), "answered 404 Not Found: expected 200"),
        (status(403), "answered 403 Forbidden"),
        (status(200), "offers 15 bytes: expected 300000"),
        (body(b"<html>Sign in to this network</html>"), "ended after 36 of 300000 bytes"),
        (body(CONTENT[:-1] + b"x"), rf"has 300000 bytes and checksum sha256:(?!{sha256(CONTENT)})"),
        (body(CONTENT + b"x"), "sends more than 300000 bytes; it was cut off"),
        (body(b"x" * 50_000_000), "sends more than 300000 bytes"),
        (status(206, CONTENT), "answered 206"),
        (status(302, Location="file:///etc/passwd"), "No connection adapters .* 'file:///"),
        (status(302, Location="http://["), "IPv6|[Ii]nvalid"),
        (status(302, Location=PATH), "Exceeded 5 redirects"),
        (
            body(b"no gzip", Content_Encoding="gzip"),
            "content-encoding: gzip, but failed to decode it",
        ),
    ],
)
def test_what_is_refused(server: Server, tmp_path: Path, answer: Answer, match: str) -> None:
    """Nothing stands under the final name; the message says what to fetch by hand."""
    server.answers[PATH] = [answer] * 20
    with pytest.raises(AnnotationError, match=match) as caught:
        get(server, tmp_path, ONE)
    assert not (tmp_path / "train.json").exists()
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("download of 'tiny': 1 fault: 'train.json': ")
    assert lines[1:] == [
        "run the same command again to go on, or fetch what is missing by hand:",
        f"  {HOME}train.json",
        f"    to {tmp_path}/train.json (300000 bytes, {sha256(CONTENT)})",
        "then run it again, which looks at their checksums, and count with: bpnet data check "
        f"--dataset tiny {tmp_path}",
    ]
    server.answers.clear()
    get(server, tmp_path, ONE)
    assert (tmp_path / "train.json").read_bytes() == CONTENT


def test_unknown_sizes_end_as_well(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LARGEST_BYTES", 1000)
    file = RemoteFile("train.json", HOME + "train.json", "git:" + "0" * 40, None)
    sources = {"tiny": Source("Tiny", (file,), "free", ())}
    with pytest.raises(AnnotationError, match="offers 300000 bytes: expected at most 1000"):
        get(server, tmp_path, sources)
    server.answers[PATH] = [body(b"x" * 1001)]
    with pytest.raises(AnnotationError, match="sends more than 1000 bytes; it was cut off"):
        get(server, tmp_path, sources)
    assert list(tmp_path.iterdir()) == []


def test_compressed_though_not_asked_for(server: Server, tmp_path: Path) -> None:
    """Some proxies do; what counts is the content."""
    text = b"a sentence " * 100
    packed = gzip.compress(text)
    server.answers["/owner/repo/a.txt"] = [status(200, packed, Content_Encoding="gzip")]
    get(server, tmp_path, source_of(a_txt=text))
    assert (tmp_path / "a.txt").read_bytes() == text


def test_a_redirect(server: Server, tmp_path: Path) -> None:
    server.files["/elsewhere"] = CONTENT
    server.answers[PATH] = [status(301, Location=f"{server.base}/elsewhere")]
    get(server, tmp_path, ONE)
    assert [path for path, _ in server.asked] == [PATH, "/elsewhere"]


def test_other_content_is_never_overwritten(server: Server, tmp_path: Path) -> None:
    """Nor is anything else fetched then; and a folder in place of a file is other content."""
    sources = source_of(a_json=CONTENT, b_json=CONTENT, c_json=CONTENT)
    (tmp_path / "b.json").write_bytes(b"mine")
    (tmp_path / "c.json").mkdir()
    match = (
        r"2 of 3 files are in '.*' with another content: 'b\.json', 'c\.json': expected none, or"
    )
    with pytest.raises(AnnotationError, match=match):
        get(server, tmp_path, sources)
    assert server.asked == []
    assert (tmp_path / "b.json").read_bytes() == b"mine"


def test_faults_are_collected(server: Server, tmp_path: Path) -> None:
    """A file that is missing there does not keep the others back; the first five are named."""
    names = [f"f{number}" for number in range(7)]
    sources = source_of(**{f"{name}_json": CONTENT for name in names})
    for name in names[:-1]:
        server.answers[f"/owner/repo/{name}.json"] = [status(404)]
    with pytest.raises(
        AnnotationError, match=r"6 faults: 'f0\.json'.*'f4\.json'.*; and 1 more"
    ) as e:
        get(server, tmp_path, sources)
    assert [path.name for path in tmp_path.iterdir()] == ["f6.json"]
    assert str(e.value).count("    to ") == 6


def test_offline(server: Server, tmp_path: Path) -> None:
    """Nobody listens: after one file, all are named with their homes."""
    base = server.base
    server.server_close()
    sources = source_of(a_json=CONTENT, b_json=CONTENT)
    with pytest.raises(AnnotationError) as caught:
        download("tiny", tmp_path, sources=sources, url_base=base, progress=False, wait_seconds=0)
    text = str(caught.value)
    host = base.removeprefix("http://")
    assert f"1 fault: 'a.json': no connection to {host}, or it broke: " in text
    assert text.splitlines()[0].endswith("Connection refused (4 tries)")
    assert text.count(HOME) == 2
    assert list(tmp_path.iterdir()) == []


def test_certificates_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    monkeypatch.setenv("NO_PROXY", "*")
    line = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-days", "2"]
    extra = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(["openssl", *line, *extra], cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    for running in running_server():
        running.socket = context.wrap_socket(
            running.socket, server_side=True, do_handshake_on_connect=False
        )
        running.handle_error = lambda *_: None  # type: ignore[method-assign]  # it sees a hang-up
        running.files[PATH] = CONTENT
        base = f"https://127.0.0.1:{running.server_port}"
        with pytest.raises(AnnotationError, match=r"no trusted connection to .*REQUESTS_CA_BUNDLE"):
            download("tiny", tmp_path / "a", sources=ONE, url_base=base, progress=False)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "cert.pem"))
        download("tiny", tmp_path / "a", sources=ONE, url_base=base, progress=False)
    assert (tmp_path / "a" / "train.json").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "base", ["", "home", "ftp://home", "file:///tmp", "http://", "http://[", "http://home:x", "//h"]
)
def test_a_base_that_is_none(tmp_path: Path, base: str) -> None:
    with pytest.raises(ConfigError, match=r"url_base=.*: expected http://HOST or https://HOST"):
        download("tiny", tmp_path, sources=ONE, url_base=base)


def test_no_such_dataset(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"dataset 'tacos': expected one of .*tacos_2dtan, tacos_"
    ):
        download("tacos", tmp_path)


def test_a_folder_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(AnnotationError, match=r"download of 'tiny': '.*file.*': (File|Not a)"):
        get(server, tmp_path / "file", ONE)
