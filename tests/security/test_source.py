"""SECURITY.md's word on the source: nothing in it runs what a file says, a few modules do more."""

from __future__ import annotations

from pathlib import Path

import forbidden
import pytest

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted(
    file
    for folder in ("bpnet", "features/bpnet_features", "conf", "scripts")
    for file in (ROOT / folder).rglob("*.py")
)
# Who may speak over the network, and who may start programs (this toolkit's own, by list).
NETWORK = {"requests", "urllib.request", "http.client", "socket", "ftplib", "huggingface_hub"}
SPEAK = {
    "bpnet/web/listen.py",  # where the page and the service listen
    "bpnet/serve/server.py",  # answers there
    "bpnet/data/download.py",  # `bpnet data download`
}
PROGRAMS = {"subprocess", "pty", "pexpect"}
START = {
    "bpnet/cli/sample_model.py",  # `bpnet train`
    "bpnet/ablation/runs.py",  # `bpnet train`
}


def test_nothing_runs_what_a_file_says() -> None:
    assert len(SHIPPED) > 150
    found = [
        fault
        for file in SHIPPED
        for fault in forbidden.faults(file.read_text(encoding="utf-8"), str(file.relative_to(ROOT)))
    ]
    assert not found


@pytest.mark.parametrize(("modules", "allowed"), [(NETWORK, SPEAK), (PROGRAMS, START)])
def test_few_reach_out(modules: set[str], allowed: set[str]) -> None:
    found = {
        file.relative_to(ROOT).as_posix()
        for file in SHIPPED
        if forbidden.imports(file.read_text(encoding="utf-8")) & modules
    }
    assert found == allowed


@pytest.mark.parametrize(
    "line",
    [
        "eval('1')",
        "run = exec",
        "import builtins; builtins.eval('1')",
        "import os; os.system('ls')",
        "import pickle; pickle.load(file)",
        "import pickle as p; p.loads(b'')",
        "from pickle import load as read; read(file)",
        "from pickle import Unpickler; class_ = Unpickler",
        "import subprocess; subprocess.run('ls', shell=True)",
        "import subprocess; subprocess.run('ls', shell=flag)",
        "import numpy as np; np.load(file, allow_pickle=True)",
        "import yaml; yaml.load(text, yaml.Loader)",
        "import torch; torch.load(file)",
        "import torch; torch.load(file, weights_only=False)",
        "import torch; torch.load(file, weights_only=flag)",
        "from torch import load; load(file)",
        "import torch; torch.jit.load(file)",
        "from hydra.utils import instantiate; instantiate(config)",
        "model = AutoModel.from_pretrained(name, trust_remote_code=True)",
    ],
)
def test_what_is_forbidden_is_found(line: str) -> None:
    assert list(forbidden.faults(line.replace("; ", "\n"), "module.py"))


@pytest.mark.parametrize(
    "line",
    [
        "model.eval()",
        "import torch; torch.load(file, map_location='cpu', weights_only=True)",
        "import numpy as np; np.load(file, allow_pickle=False)",
        "import subprocess; subprocess.run([a, b])",
        "import yaml; yaml.safe_load(text)",
        "import pickle; error = pickle.UnpicklingError",
        "import re; re.compile('a')",
    ],
)
def test_what_is_allowed_is_not(line: str) -> None:
    assert not list(forbidden.faults(line.replace("; ", "\n"), "module.py"))
