"""Every command of the documentation is one: a parser, or Hydra, reads it as it stands there."""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
from pathlib import Path

import doc_commands
import pytest
from doc_blocks import SHELL, Block, Command, blocks, fenced_commands, inline_commands

from bpnet.errors import ConfigError

# Read elsewhere, where what they name is there.
ELSEWHERE = {
    "bpnet train --config-dir conf data=mine run_dir=runs/mine": "tests/cli/test_own_dataset.py",
}
# Prose that names several commands at once.
ALTERNATIVES = {"bpnet features inspect | check | convert": ("inspect", "check", "convert")}

FENCED, INLINE = fenced_commands(), inline_commands()


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_pages_are_read() -> None:
    assert len(FENCED) > 50
    assert len(INLINE) > 40
    told = {" ".join(command.words) for command in [*FENCED, *INLINE]}
    assert told >= {*ELSEWHERE, *ALTERNATIVES}


@pytest.mark.parametrize("command", [*FENCED, *INLINE], ids=str)
def test_commands_are_read_by_their_parsers(command: Command) -> None:
    line = " ".join(command.words)
    if line in ELSEWHERE:
        assert (doc_commands.ROOT / ELSEWHERE[line]).is_file()
    elif line in ALTERNATIVES:
        for name in ALTERNATIVES[line]:
            doc_commands.check([*command.words[:2], name])
    else:
        doc_commands.check(command.words)


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize("block", blocks(*SHELL), ids=str)
def test_blocks_are_shell(block: Block) -> None:
    done = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("line", "error", "message"),
    [
        ("bpnet localise a.mp4", AssertionError, "no command 'localise'"),
        ("bpnet localize a.mp4 b --checkpoint RUN --tops 3", SystemExit, "2"),
        ("bpnet features extrakt a", SystemExit, "2"),
        ("bpnet train data=sample data.root=a optim.learning_rate=1", ConfigError, "learning_rate"),
        ("bpnet train experiment=paper/charades", ConfigError, "paper/charades"),
        ("bpnet evaluate checkpoint=RUN protocol=vslnets", ConfigError, "vslnets"),
        ("torchrun --nproc-per-node=2 -m bpnet.cli.trian data=...", AssertionError, "trian"),
        ("python benchmarks/loader.py --quik", AssertionError, "--quik"),
        ("python benchmarks/loaders.py", AssertionError, "loaders"),
        ("python scripts/evaluate_tacos.py checkpoint=a splitt=b", ConfigError, "splitt"),
        ("make demos", AssertionError, "demos"),
        ("pip install 'bpnet-nlvl[videos]'", AssertionError, "videos"),
        ("curl http://127.0.0.1:8000/video", AssertionError, "/video"),
        ("rm -r /", AssertionError, "no check"),
    ],
)
def test_a_wrong_command_is_found(line: str, error: type[BaseException], message: str) -> None:
    with pytest.raises(error, match=message):
        doc_commands.check(shlex.split(line))


def test_parsers_are_put_back() -> None:
    before = argparse.ArgumentParser.parse_args
    with doc_commands.parsing():
        assert argparse.ArgumentParser.parse_args is not before
    assert argparse.ArgumentParser.parse_args is before
