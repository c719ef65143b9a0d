"""`bpnet export`: the summary of a real run, and what is refused."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.slow
def test_accuracy_of_both_files(bpnet, run_dir: Path, dataset_root: Path) -> None:
    pytest.importorskip("onnxruntime")
    data = ["--features", dataset_root / "features.h5"]
    status, out, err = bpnet(
        "export", run_dir, "--out", "m.onnx", "--int8", "--split", "test", *data
    )
    assert status == 0, err
    lines = out.splitlines()
    assert re.fullmatch(r"m\.onnx: \d+\.\d\d MB; against the checkpoint: at most .*", lines[0])
    assert lines[1].startswith("m.int8.onnx: ")
    assert "  in  video          (videos, clips, 8)" in lines
    assert "  out spans          (queries, 12, 2)" in lines
    assert any("clips 1 to 16" in line and "tokens 1 to 12" in line for line in lines)
    assert "protocol vslnet, jsonl test, 4 queries, percent" in lines
    rows = {line.split()[0]: line.split()[1:] for line in lines[-3:]}
    assert rows["m.onnx"] == rows["checkpoint"]
    assert len(rows["m.int8.onnx"]) == 4


@pytest.mark.slow
def test_the_documented_use(bpnet, run_dir: Path) -> None:
    """The Python of docs/export.md, on a file that the command wrote."""
    pytest.importorskip("onnxruntime")
    status, _, err = bpnet("export", run_dir, "--out", "model.onnx")
    assert status == 0, err
    page = (Path(__file__).parents[2] / "docs" / "export.md").read_text()
    code = page.split("```python")[1].split("```")[0]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"clips \[[\d. ]+\] score 0\.\d+\n", done.stdout)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["--out", "m.bin"], "expected a name that ends in .onnx (ONNX) or .pt2 (torch.export)"),
        (["--out", "m.pt2", "--int8"], "--int8 with --out 'm.pt2'"),
        (["--out", "no/m.onnx"], "no folder 'no'"),
        (["--out", "there.onnx"], "'there.onnx' is there already"),
        (["--out", "m.onnx", "--features", "f.h5"], "--features 'f.h5' without --split"),
        (["--out", "m.onnx", "--split", "test", "--features", "f.h5"], "'f.h5': no such file"),
    ],
)
def test_refused(bpnet, run_dir: Path, line: list[str], message: str) -> None:
    Path("there.onnx").touch()
    status, _, err = bpnet("export", run_dir, *line)
    assert status == 2
    assert err.startswith("ConfigError: ")
    assert message in err


def test_no_checkpoint(bpnet) -> None:
    status, _, err = bpnet("export", "nowhere", "--out", "m.onnx")
    assert status == 2
    assert "checkpoint 'nowhere': no such file or folder" in err


def test_the_extra_is_missing(bpnet, run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec

    def without(name: str, *more: Any) -> Any:
        return None if name == "onnxscript" else find(name, *more)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    status, _, err = bpnet("export", run_dir, "--out", "m.onnx")
    assert status == 2
    assert "ONNX files need onnxscript: `pip install 'bpnet-nlvl[export]'`" in err
