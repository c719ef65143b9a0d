"""The example of docs/attention.md runs as it stands there, and its names are the public ones."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import torch

import bpnet.attention

PAGE = Path(__file__).resolve().parents[2] / "docs" / "attention.md"


def test_the_example() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    exec(code, names)
    out = names["out"]
    assert isinstance(out, torch.Tensor)
    assert out.shape == (32, 16, 64)


def test_the_backends() -> None:
    table = PAGE.read_text(encoding="utf-8").split("\n| `backend` |")[1].split("\n\n")[0]
    named = [line.split("|")[1].strip(" `") for line in table.splitlines()[2:]]
    assert sorted(named) == sorted(bpnet.attention.BACKENDS)


def test_figures_are_those_of_the_files() -> None:
    """`python benchmarks/attention_page.py` writes them."""
    code = "import attention_page as a; page = a.PAGE.read_text(); assert a.filled(page) == page"
    benchmarks = PAGE.parents[1] / "benchmarks"
    subprocess.run([sys.executable, "-c", code], cwd=benchmarks, check=True)
