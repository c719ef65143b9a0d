"""What the pages of the documentation tell a reader to type: shell commands and Python."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *(
        ROOT / name
        for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "features/README.md")
    ),
    *sorted((ROOT / "docs").glob("*.md")),
]
SHELL = ("sh", "bash")
# What stands in prose and begins with one of these is a command too.
PROGRAMS = ("bpnet", "python", "torchrun", "pip", "make", "curl")

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(rf"`((?:{'|'.join(PROGRAMS)}) [^`]+)`")


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block: its page, the line of its fence, its language and its text."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclasses.dataclass(frozen=True)
class Command:
    """One command: where it stands, its text for a shell, and the words that the shell makes."""

    where: str
    text: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.where} {' '.join(self.words)[:60]}"


def blocks(*languages: str) -> list[Block]:
    """The fenced blocks of all pages in these languages."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for fence in _FENCE.finditer(text):
            indent, language, inner = fence.groups()
            if language in languages:
                line = text.count("\n", 0, fence.start()) + 1
                lines = (one.removeprefix(indent) for one in inner.splitlines(keepends=True))
                found.append(Block(page, line, language, "".join(lines)))
    return found


def commands_of(block: Block) -> list[Command]:
    """The commands of a shell block; values of ``NAME=value`` lines stand in those below them."""
    found = []
    for text in _joined(_expanded(block.text, block.text)):
        words = shlex.split(text, comments=True)
        if not all(re.match(r"[A-Z]+=", word) for word in words):
            found.append(Command(str(block), text, tuple(words)))
    return found


def fenced_commands() -> list[Command]:
    """The commands of all shell blocks."""
    return [command for block in blocks(*SHELL) for command in commands_of(block)]


def inline_commands() -> list[Command]:
    """The commands in the prose of all pages."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in _INLINE.finditer(_FENCE.sub("", text)):
            told = _expanded(" ".join(match[1].split()), text)
            found.append(Command(str(page.relative_to(ROOT)), told, tuple(shlex.split(told))))
    return found


def _expanded(text: str, beside: str) -> str:
    """The text with the values that lines such as ``B=../bench; OUT=/tmp`` beside it set."""
    for line in re.findall(r"^(?:[A-Z]+=[^\s;]+(?:; |$))+", beside, re.MULTILINE):
        for name, value in re.findall(r"([A-Z]+)=([^\s;]+)", line):
            text = text.replace(f"${name}", value)
    return text


def _joined(text: str) -> Iterator[str]:
    """The lines of a block; what a backslash or an open quotation holds together is one."""
    waiting = ""
    for line in text.splitlines():
        waiting += line
        try:
            words = shlex.split(waiting.removesuffix("\\"), comments=True)
        except ValueError:  # within a quotation
            waiting += "\n"
            continue
        if waiting.endswith("\\"):
            waiting = waiting.removesuffix("\\") + " "
        else:
            if words:
                yield waiting
            waiting = ""
    assert not waiting, f"a command that does not end: {waiting!r}"
