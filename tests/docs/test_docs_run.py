"""The commands and programs of the documentation run as they stand, on data of demo size."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator

import pytest
import workshop
from doc_blocks import ROOT, blocks, commands_of, fenced_commands
from workshop import Workshop

COMMANDS = fenced_commands()
# Files of three videos are no published ones: the counts differ, which status 1 says.
DIFFERS = "bpnet data check --dataset charades_sta"


def test_it_is_told_why_a_command_is_not_run() -> None:
    run = [command for command in COMMANDS if workshop.runs(command)]
    assert len(run) >= 20
    assert {command.words[1] for command in run} == {
        *("data", "evaluate", "features", "localize", "train")
    }
    for pattern, reason in workshop.NOT_RUN.items():
        assert any(re.search(pattern, command.text) for command in COMMANDS), pattern
        for path in re.findall(r"tests/\S+", reason):
            assert (ROOT / path).exists(), path


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    pytest.importorskip("av")
    if shutil.which("bash") is None:
        pytest.skip("no bash")
    return Workshop(tmp_path_factory.mktemp("workshop"))


@pytest.mark.slow
def test_commands(shop: Workshop) -> None:
    """One after the other: what a page makes is there for what follows."""
    done: dict[str, str] = {}
    for command in filter(workshop.runs, COMMANDS):
        line = command.text.split(" #")[0].strip()
        if line not in done:
            done[line] = shop.run(f"{line}; test $? -le 1" if line.startswith(DIFFERS) else line)
    said = "\n".join(done.values())
    assert "two stages" in said
    assert said.count("0:00") >= 3  # the scales above the time bars
    assert {"out.h5", "stats.png"} <= {path.name for path in shop.folder.iterdir()}
    assert (shop.folder / "runs/comparison/comparison.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_programs(shop: Workshop, page: str) -> None:
    pytest.importorskip("faiss")
    said = run_program(shop, page).split()
    start, end, score = map(float, said[:3])
    assert 0 <= start < end <= 30 and 0 <= score <= 1


@pytest.mark.slow
def test_the_program_about_reports(shop: Workshop) -> None:
    pytest.importorskip("matplotlib")
    for name in ("found.html", "found.svg"):
        (shop.folder / name).unlink(missing_ok=True)
    run_program(shop, "docs/report.md")
    assert "holiday" in (shop.folder / "found.html").read_text(encoding="utf-8").lower()
    assert "<svg" in (shop.folder / "found.svg").read_text(encoding="utf-8")


def run_program(shop: Workshop, page: str) -> str:
    """All blocks of a page are one program, as a reader would take them; what it prints."""
    programs = [block.text for block in blocks("python") if block.page == ROOT / page]
    assert programs
    (shop.folder / "program.py").write_text("\n".join(programs), encoding="utf-8")
    return shop.run("python program.py")


@pytest.mark.slow
def test_the_page_about_serving(shop: Workshop) -> None:
    """Its services, on a free port of this machine alone, are asked by its own requests."""
    pytest.importorskip("fastapi")
    if shutil.which("curl") is None:
        pytest.skip("no curl")
    (first, upload, ask, refused, last) = (
        commands_of(block) for block in blocks("sh") if block.page.name == "serving.md"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def request(line: str) -> str:
        here = line.replace(":8000", f":{port}").replace("HOST", "127.0.0.1")
        return shop.run(here.replace("curl ", "curl -sS --max-time 60 ", 1))

    with service(shop, first[1].text, port) as running:
        opened = json.loads(request(upload[0].text))
        assert opened["name"] == "holiday.mp4"
        line = re.sub(r"upload-\w+", opened["video_id"], ask[0].text)
        answers = json.loads(request(line))["answers"]
        assert [len(answer["moments"]) for answer in answers] == [1, 1]
        error = json.loads(request(refused[0].text))
        assert error["error"] == "FeatureError"
        assert "not a video file" in error["message"]
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 0

    make_token, serve, authorised = last
    shop.run(make_token.text)
    assert (shop.folder / "token").stat().st_mode & 0o077 == 0
    with service(shop, serve.text.replace("0.0.0.0", "127.0.0.1"), port):
        assert "videos" in json.loads(request(authorised.text))
        without = request(re.sub('-H "[^"]*"', "", authorised.text))
        assert json.loads(without)["error"], without


@contextlib.contextmanager
def service(shop: Workshop, line: str, port: int) -> Iterator[subprocess.Popen[str]]:
    """A ``bpnet serve`` of the page, until its block ends."""
    with subprocess.Popen(
        ["bash", "-c", f"exec {line.split(' #')[0]} --port {port} --device cpu"],
        cwd=shop.folder,
        env=shop.environment,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            assert running.stderr is not None
            told = running.stderr.readline()
            assert told.startswith("serving on"), told + running.stderr.read()
            yield running
        finally:
            running.kill()
