"""What an ablation varies -> variants: named sets of overrides of ``bpnet train``."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Sequence

from bpnet.errors import ConfigError

BASE = "base"


@dataclasses.dataclass(frozen=True)
class Variant:
    """One column of settings.

    Attributes:
        name: Its name in the tables.
        overrides: What it changes, as on the command line of ``bpnet train``.
    """

    name: str
    overrides: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """The name as the name of a folder."""
        return re.sub(r"[^\w.=+-]+", "_", self.name).strip("_.") or "_"


def make_variants(vary: Sequence[str], named: Sequence[str], grid: bool) -> list[Variant]:
    """The variants of an ablation, the one that others are compared with first.

    Args:
        vary: Settings with their values, such as ``"model.num_proposals=4,8,16"``.
        named: Whole sets of overrides with a name, such as ``"one stage: model.stage_two=false"``.
        grid: Whether all combinations of the varied values are made; otherwise the settings as they
            are, called ``base``, and from there one value at a time.

    Returns:
        The variants: at least two, names and folders of their own.

    Raises:
        ConfigError: Something is not of these forms, two variants have one name, or there is
            nothing to compare.
    """
    settings = [_varied(text) for text in vary]
    if grid:
        if not settings:
            raise ConfigError("--grid without --vary: expected settings to combine")
        variants = [
            Variant(" ".join(map(_short, overrides)), overrides)
            for overrides in itertools.product(*settings)
        ]
    else:
        variants = [Variant(BASE)]
        variants += [Variant(_short(one), (one,)) for values in settings for one in values]
    variants += [_named(text) for text in named]
    if len(variants) < 2:
        raise ConfigError("nothing to vary: give --vary KEY=VALUE,VALUE or --variant 'NAME: KEY=X'")
    for kind in ("name", "folder"):
        seen: set[str] = set()
        for variant in variants:
            name = getattr(variant, kind)
            if name in seen:
                raise ConfigError(
                    f"two variants have the {kind} {name!r}: expected each value once, and names "
                    "that differ in letters or digits"
                )
            seen.add(name)
    return variants


def split_values(text: str) -> list[str]:
    """Split at commas that are in no brackets or quotes: ``"[1,2],'a,b'"`` has two values.

    Args:
        text: Values of a setting.

    Returns:
        The values, without spaces around them.
    """
    parts, depth, quote, begin = [], 0, "", 0
    for place, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
        elif letter == "," and depth == 0:
            parts.append(text[begin:place].strip())
            begin = place + 1
    return [*parts, text[begin:].strip()]


def _varied(text: str) -> list[str]:
    """One override a value."""
    key, equals, values = text.partition("=")
    if not (key.strip() and equals and all(split_values(values))):
        raise ConfigError(f"--vary {text!r}: expected KEY=VALUE,VALUE,...")
    return [f"{key.strip()}={value}" for value in split_values(values)]


def _named(text: str) -> Variant:
    name, colon, rest = text.partition(":")
    overrides = tuple(rest.split())
    if not (name.strip() and colon and overrides and all("=" in one for one in overrides)):
        raise ConfigError(f"--variant {text!r}: expected 'NAME: KEY=VALUE KEY=VALUE ...'")
    return Variant(name.strip(), overrides)


def _short(override: str) -> str:
    """An override without the group: ``model.fusion=none`` is ``fusion=none``."""
    key, _, value = override.partition("=")
    return f"{key.rpartition('.')[2]}={value}"
