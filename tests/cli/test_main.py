"""The console script: help without heavy imports, subcommands, one line for an error."""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import bpnet as package
from bpnet.cli.main import COMMANDS
from bpnet.cli.output import READER_GONE

HEAVY = ("torch", "torchtext", "hydra", "omegaconf", "safetensors", "av", "matplotlib")


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["--version"]])
def test_help_imports_nothing_heavy(process, arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from bpnet.cli.main import main\n"
        f"main({arguments!r})\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    status, out, err = process("-c", code)
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == "[]"


def test_help_names_every_command(bpnet) -> None:
    status, out, err = bpnet("--help")
    assert (status, err) == (0, "")
    assert "usage: bpnet" in out
    for command in COMMANDS:
        assert f"  {command} " in out
    assert bpnet() == (status, out, err)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(bpnet, command: str) -> None:
    assert callable(importlib.import_module(f"bpnet.cli.{command.replace('-', '_')}").main)
    status, out, _ = bpnet(command, "--help")
    assert status == 0
    assert command in out


def test_version(bpnet) -> None:
    assert bpnet("--version") == (0, f"bpnet {package.__version__}\n", "")


def test_no_such_command(bpnet) -> None:
    status, out, err = bpnet("trian", "x=1")
    assert (status, out) == (2, "")
    assert err.startswith("bpnet: no command 'trian'")
    assert "train" in err


def test_an_error_is_one_line(bpnet) -> None:
    status, out, err = bpnet("features", "inspect", "gone.h5")
    assert (status, out) == (2, "")
    assert err == "FeatureError: feature file 'gone.h5': no such file or folder\n"


@pytest.mark.parametrize(
    ("line", "expected", "absent"),
    [
        ("bpnet tra", {"train", "localize", "features"}, set()),
        ("bpnet train ", {"data=", "model.", "optim.", "seed="}, {"train"}),
        ("bpnet train data=ch", {"data=charades_sta"}, {"data=tacos_tall"}),
        ("bpnet train data=tacos_tall optim.l", {"optim.lr="}, {"optim.weight_decay="}),
        ("bpnet evaluate sp", {"split="}, {"seed="}),
        ("bpnet localize vid", set(), {"train"}),
    ],
)
def test_shell_completion(
    bpnet, monkeypatch: pytest.MonkeyPatch, line: str, expected: set[str], absent: set[str]
) -> None:
    monkeypatch.setenv("COMP_LINE", line)
    status, out, err = bpnet("-sc", "query=bash")
    assert (status, err) == (0, "")
    assert expected <= set(out.split())
    assert not absent & set(out.split())


def test_completion_is_installed_for_the_program(bpnet) -> None:
    status, out, err = bpnet("train", "--shell-completion", "install=bash")
    assert (status, err) == (0, "")
    assert out.splitlines()[-1].endswith(
        " complete -o nospace -o default -F hydra_bash_completion bpnet"
    )


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_completion_in_a_real_shell(tmp_path: Path) -> None:
    program = tmp_path / "bpnet"
    program.write_text(f"#!{sys.executable}\nfrom bpnet.cli.main import main\nmain()\n")
    program.chmod(0o755)
    script = """
        eval "$(bpnet train -sc install=bash)"
        for COMP_LINE in "bpnet eva" "bpnet train data=tacos_t"; do
            words=($COMP_LINE); COMP_CWORD=$((${#words[@]} - 1)); COMP_POINT=${#COMP_LINE}
            COMPREPLY=(); hydra_bash_completion; echo "${COMPREPLY[@]}"
        done
    """
    done = subprocess.run(
        ["bash", "-c", script],
        env={**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.stdout.split(), done.stderr) == (["evaluate", "data=tacos_tall"], "")


def test_ctrl_c(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bpnet.cli.main", "features", "sample", str(tmp_path / "s")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while not list(tmp_path.rglob("*.mp4")) and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        error = process.communicate(timeout=60)[1].decode()
    assert (process.returncode, error.splitlines()[-1]) == (130, "interrupted")


@pytest.mark.parametrize(
    "arguments", [["data", "download", "--list"], ["localize", "--help"], ["train", "--cfg", "job"]]
)
def test_a_reader_that_goes_away(arguments: list[str]) -> None:
    """As in ``bpnet ... | head``: argparse, Hydra and our own lines end alike, without a word."""
    command = [sys.executable, "-m", "bpnet.cli.main", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert (process.stderr.read(), process.wait(60)) == (b"", READER_GONE)


def test_an_evaluation_that_nobody_reads(
    bpnet, monkeypatch: pytest.MonkeyPatch, run_dir: Path, tmp_path: Path
) -> None:
    """It logs to where it prints, so that not even its logging may complain."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        status, _, err = bpnet("evaluate", f"checkpoint={run_dir}", "split=test", f"out={tmp_path}")
        assert sys.stdout is pipe
    assert (status, err) == (READER_GONE, "")


def test_without_standard_output(process) -> None:
    """As in ``bpnet ... >&-``."""
    code = "import sys; sys.stdout = None; from bpnet.cli.main import main; main(['--version'])"
    assert process("-c", code) == (0, "", "")
