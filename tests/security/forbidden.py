"""Finds in source text what would run what a file or a stranger says."""

from __future__ import annotations

import ast
from collections.abc import Iterator

# Whatever they are given.
FORBIDDEN = {
    *("eval", "exec", "compile", "__import__", "breakpoint"),
    *("builtins.eval", "builtins.exec"),
    *("os.system", "os.popen", "os.startfile", "pty.spawn"),
    *("subprocess.getoutput", "subprocess.getstatusoutput"),
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "_pickle.load", "_pickle.loads"),
    *("marshal.load", "marshal.loads", "shelve.open", "pandas.read_pickle", "joblib.load"),
    *("dill.load", "dill.loads", "cloudpickle.load", "cloudpickle.loads"),
    *("yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load"),
    *("torch.jit.load", "torch.hub.load", "torch.package.PackageImporter"),
    *("hydra.utils.instantiate", "hydra.utils.call"),
    "torch.serialization.add_safe_globals",
}
# Loaders that must be told to run nothing.
MUST_SAY = {"torch.load": ("weights_only", True)}
# What no call may be told.
MUST_NOT_SAY = {"shell": True, "allow_pickle": True, "trust_remote_code": True}


def faults(source: str, where: str) -> Iterator[str]:
    """What is forbidden in a module, a line each.

    Args:
        source: Its text.
        where: How to call it.

    Yields:
        File, line and call.
    """
    tree = ast.parse(source, where)
    names = _imported(tree)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Name, ast.Attribute)):
            name = _dotted(node, names)
            if name in FORBIDDEN and isinstance(node.ctx, ast.Load):
                yield f"{where}:{node.lineno}: {name}"
        if isinstance(node, ast.Call):
            name = _dotted(node.func, names)
            said = {one.arg: one.value for one in node.keywords}
            for key, value in MUST_NOT_SAY.items():
                if key in said and not _is(said[key], not value):
                    yield f"{where}:{node.lineno}: {name}({key}=...)"
            if name in MUST_SAY:
                key, value = MUST_SAY[name]
                if key not in said or not _is(said[key], value):
                    yield f"{where}:{node.lineno}: {name} without {key}={value}"


def imports(source: str) -> set[str]:
    """The modules that a module imports, anywhere in it."""
    return set(_modules(ast.parse(source)))


def _modules(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def _imported(tree: ast.AST) -> dict[str, str]:
    """Names in a module -> what they were imported as: ``np`` -> ``numpy``."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {one.asname: one.name for one in node.names if one.asname}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
    return found


def _dotted(node: ast.AST, names: dict[str, str]) -> str:
    """``p.load`` -> ``pickle.load`` where ``p`` is pickle; nothing for other expressions."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value, names)}.{node.attr}"
    return ""


def _is(node: ast.AST, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value
