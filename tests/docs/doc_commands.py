"""Says whether a command of the documentation is one: its parser reads it, its files are there.

Nothing runs. Arguments go through the parsers of the commands themselves, overrides through Hydra
and the dataclasses that the command builds from them.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib
import importlib.util
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from doc_blocks import ROOT
from hydra.core.override_parser.overrides_parser import OverridesParser
from torch.distributed.run import get_args_parser

from bpnet.ablation.variants import make_variants
from bpnet.cli import hydra_app
from bpnet.cli.main import COMMANDS
from bpnet.config import EvaluateConfig, TrainConfig, conf_path
from bpnet.evaluation.compared_rows import compared_rows
from bpnet.evaluation.protocols import protocol
from bpnet.settings import from_dict

# What stands for what a reader fills in.
_STANDS_FOR = {
    "paper/NAME": "paper/charades_i3d",
    "protocol=NAME": "protocol=vslnet",
    "[...]": "[RUN]",
    ", ...]": "]",
    "=N": "=2",
    "[-": "-",
}
_ELLIPSIS = re.compile(r"\.\.\.$")
_PATH_ALONE = re.compile(r"(data\.(?:query_)?features)=(?!\{|null$)")
# Where a reader fills in which data.
_SOME_DATA = ["data=jsonl", "data.features.path=f.h5", "data.annotations=a.jsonl", "++data.root=r"]


class _Parsed(Exception):
    """A command line was read without an error; holds what it says."""


def check(words: Sequence[str]) -> None:
    """Fail where a command is none of ours, or its own parser would refuse it.

    Args:
        words: The program and its arguments.

    Raises:
        BPNetError: An override, a protocol or a part of it is unknown.
        SystemExit: The argument parser of the command refuses it.
    """
    first = words[: words.index("|")] if "|" in words else words
    match [_filled_in(word) for word in first]:
        case ["bpnet", *rest]:
            _bpnet(rest)
        case ["torchrun", *rest]:
            options = get_args_parser().parse_args(rest)
            assert options.module, rest
            module = options.training_script.rpartition(".")[2]
            _bpnet([*([] if module == "main" else [module]), *options.training_script_args])
        case ["python", "-m", module, *_]:
            assert importlib.util.find_spec(module) is not None, module
        case ["python", script, *rest]:
            _script(script, rest)
        case ["make", target]:
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target
        case ["pip", "install", *rest]:
            _install(rest)
        case ["curl", *rest]:
            (url,) = (word for word in rest if word.startswith("http://"))
            page = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
            assert re.search(rf"`(?:GET|POST) {re.escape('/' + url.split('/', 3)[3])}`", page), url
        case (
            ["git", "clone", address, *_]
            | [".", address]
            | ["(umask", "077;", "python3", "-c", address, *_]
        ):
            assert address
        case _:
            raise AssertionError(f"no check for such a command: {' '.join(words)}")


def _filled_in(word: str) -> str:
    for sign, value in _STANDS_FOR.items():
        word = word.replace(sign, value)
    return word.removesuffix("]") if word.startswith("-") else word


def _bpnet(words: list[str]) -> None:
    command, *rest = words
    assert command in COMMANDS, f"no command {command!r}"
    if command in ("train", "evaluate"):
        _overrides(command, rest)
        return
    given = [word for word in rest if not _ELLIPSIS.search(word)]
    module = importlib.import_module(f"bpnet.cli.{command.replace('-', '_')}")
    if _names_only(given):
        names = [word for word in given if not word.startswith("-")]
        told = io.StringIO()
        with pytest.raises(SystemExit) as ended, contextlib.redirect_stdout(told):
            module.main([*names, "--help"])
        assert ended.value.code == 0
        for option in set(given) - set(names):
            assert option in told.getvalue(), f"bpnet {command} has no {option}"
    else:
        with parsing(), pytest.raises(_Parsed):
            module.main(given)


def _names_only(words: list[str]) -> bool:
    """Whether prose names a command, or an option of it: `bpnet features sample --confounder`."""
    names = [word for word in words if not word.startswith("--")]
    return len(names) <= 1 and all(name.isalpha() and name.islower() for name in names)


def _overrides(name: str, words: list[str]) -> None:
    if words in ([], ["--help"]):
        return
    whole = [word for word in words if not _ELLIPSIS.search(word)]
    lines = [_PATH_ALONE.sub(r"\1.path=", line) for line in map(_one_run, whole) if line]
    if name == "evaluate":
        values = hydra_app.compose(conf_path(), name, lines)
        rows = compared_rows(values["checkpoint"], values["predictions"])
        runs = [{}] if rows is None else [run for row in rows.values() for run in row]
        for run in runs:
            protocol(from_dict(EvaluateConfig, {**values, **run}).protocol)
        return
    if len(whole) < len(words):
        known = {line.partition("=")[0] for line in lines}
        chosen = known & {"data", "experiment"}
        some = [one for one in _SOME_DATA if not (chosen and one == _SOME_DATA[0])]
        lines += [one for one in some if one.partition("=")[0] not in known]
    from_dict(TrainConfig, hydra_app.compose(conf_path(), name, lines))


def _one_run(word: str) -> str:
    """An override of the first run of a sweep; nothing for a flag, or for who starts the runs."""
    if word == "--multirun" or word.startswith("hydra"):
        return ""
    if "*" in word:  # a pattern of runs, which must be there when it is composed
        for name in re.findall(r"[\w/]+\*", word):
            Path(name.replace("*", "0")).mkdir(parents=True, exist_ok=True)
        return word
    override = OverridesParser.create().parse_override(word)
    if override.is_sweep_override():
        first = next(iter(override.sweep_string_iterator()))
        return f"{override.get_key_element()}={first}"
    return word


def _script(script: str, words: list[str]) -> None:
    if script.startswith("../shared"):
        if (ROOT.parent / "shared").is_dir():
            assert (ROOT / script).is_file(), script
        return
    path = ROOT / script
    assert path.is_file(), script
    given = [word for word in words if not _ELLIPSIS.search(word)]
    if script == "scripts/ablate.py":
        _ablate(given, ["..."] if len(given) < len(words) else [])
    elif calls := [one for one in ast.walk(ast.parse(path.read_text())) if _hands_on(one)]:
        (call,) = calls
        assert isinstance(call, ast.Call) and isinstance(call.args[0], ast.List)
        words = [str(one.value) for one in call.args[0].elts if isinstance(one, ast.Constant)]
        _overrides(words[0], [*words[1:], *given])
    else:
        options = {word for word in given if word.startswith("--")}
        assert options <= _options(path), f"{script} has no {options - _options(path)}"


def _hands_on(node: ast.AST) -> bool:
    """Whether a script calls ``main([COMMAND, ...])`` there."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args):
        return False
    return node.func.id == "main" and isinstance(node.args[0], ast.List)


def _ablate(words: list[str], ellipsis: list[str]) -> None:
    from bpnet.cli.ablate import main

    with parsing(), pytest.raises(_Parsed) as caught:
        main(words)
    options: argparse.Namespace = caught.value.args[0]
    for variant in make_variants(options.vary, options.variant, options.grid):
        _overrides("train", [*options.overrides, *variant.overrides, *ellipsis])


def _options(path: Path) -> set[str]:
    """The options of a benchmark, read from its text: many need much time to be imported."""
    return {
        argument.value
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr == "add_argument"
        for argument in call.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    }


def _install(words: list[str]) -> None:
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for word in words:
        found = re.fullmatch(rf"(?:{re.escape(project['name'])}|\.)\[([\w,]+)\]", word)
        if found is not None:
            extras = set(found[1].split(","))
            assert extras <= set(project["optional-dependencies"]), word
        elif word.endswith(".txt"):
            assert (ROOT / word).is_file(), word
        else:
            assert re.fullmatch(r"-[ce]|[a-z-]+", word), word


@contextlib.contextmanager
def parsing() -> Iterator[None]:
    """Inside, a command ends where it has read its command line: it raises what that says."""

    def wrapped(read: Any) -> Any:
        def parse(*arguments: Any, **keywords: Any) -> None:
            raise _Parsed(read(*arguments, **keywords))

        return parse

    with pytest.MonkeyPatch.context() as patch:
        for name in ("parse_args", "parse_intermixed_args"):
            read = getattr(argparse.ArgumentParser, name)
            patch.setattr(argparse.ArgumentParser, name, wrapped(read))
        yield
