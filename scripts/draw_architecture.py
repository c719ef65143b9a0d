"""Draw who imports whom, from the code, as docs/architecture.svg.

python scripts/draw_architecture.py

An arrow points to what is imported; one is left out where a longer way says the same. A box is a
folder, or a file beside the folders. A test draws it anew, and fails where it is no longer true.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import grimp

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "architecture.svg"
LEFT_OUT = {"bpnet", "bpnet.version"}  # the public names, and a number
WIDTH, HEIGHT = 148, 30  # of a box
ACROSS, DOWN = 172, 64  # from box to box
ROUNDS = 8  # of ordering the boxes of each row by their neighbours

Graph = dict[str, set[str]]


def rooms() -> Graph:
    """Who imports whom, by folder, and by file where there is no folder."""
    code = grimp.build_graph("bpnet", "bpnet_features", cache_dir=None)
    graph: Graph = defaultdict(set)
    for module in code.modules:
        for imported in code.find_modules_directly_imported_by(module):
            one, other = _room(module), _room(imported)
            if one != other and not LEFT_OUT & {one, other}:
                graph[one].add(other)
                graph[other] |= set()
    return dict(graph)


def _room(module: str) -> str:
    package, *inner = module.split(".")
    return package if package == "bpnet_features" or not inner else f"{package}.{inner[0]}"


def reduced(graph: Mapping[str, set[str]]) -> Graph:
    """The same without each arrow that a longer way stands for; the graph has no circle."""

    def reached(name: str) -> set[str]:
        return graph[name].union(*map(reached, graph[name]))

    return {name: below - set().union(*map(reached, below)) for name, below in graph.items()}


def rows(graph: Mapping[str, set[str]]) -> tuple[list[list[str]], list[tuple[str, str]]]:
    """Rows of boxes, the highest first, and lines from row to row.

    An arrow that passes a row gets a place in it, a name with ``->``, so that it meets no box.
    """

    def depth(name: str) -> int:
        return 1 + max((depth(one) for one in graph if name in graph[one]), default=-1)

    found: dict[int, list[str]] = defaultdict(list)
    lines = []
    for name in sorted(graph):
        found[depth(name)].append(name)
        for below in sorted(graph[name]):
            passed = range(depth(name) + 1, depth(below))
            way = [name, *(f"{name}->{below}@{one}" for one in passed), below]
            for one, place in zip(passed, way[1:-1], strict=True):
                found[one].append(place)
            lines += list(itertools.pairwise(way))
    ordered = [found[one] for one in range(len(found))]
    for turn in range(ROUNDS):
        order = range(1, len(ordered)) if turn % 2 == 0 else range(len(ordered) - 2, -1, -1)
        for one in order:
            beside = ordered[one - 1 if turn % 2 == 0 else one + 1]
            ordered[one].sort(key=lambda name: (_middle(name, beside, lines), name))
    return ordered, lines


def _middle(name: str, beside: list[str], lines: list[tuple[str, str]]) -> float:
    """Where the neighbours of a box stand in the next row, on average."""
    places = {other: (place + 0.5) / len(beside) for place, other in enumerate(beside)}
    near = [
        places[b if a == name else a]
        for a, b in lines
        if name in (a, b) and (b if a == name else a) in places
    ]
    return sum(near) / len(near) if near else 0.5


def picture(graph: Mapping[str, set[str]]) -> str:
    """The drawing, as SVG."""
    ordered, lines = rows(reduced(graph))
    wide = max(map(len, ordered)) * ACROSS
    tall = len(ordered) * DOWN + 20
    at = {}
    for number, row in enumerate(ordered):
        for place, name in enumerate(row):
            x = wide / 2 + (place - (len(row) - 1) / 2) * ACROSS
            at[name] = (x, 10 + (number + 0.5) * DOWN)
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {tall}" role="img" '
        'font-family="system-ui, sans-serif" font-size="13">',
        "<title>Who imports whom: an arrow points to what is imported</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="#64748b"/></marker></defs>',
        f'<rect width="{wide}" height="{tall}" rx="8" fill="#f8fafc"/>',
    ]
    for one, other in lines:
        (x, y), (to_x, to_y) = at[one], at[other]
        y += 0 if "->" in one else HEIGHT / 2
        to_y -= 0 if "->" in other else HEIGHT / 2
        tip = "" if "->" in other else ' marker-end="url(#tip)"'
        middle = (y + to_y) / 2
        drawn.append(
            f'<path d="M{x:g} {y:g}C{x:g} {middle:g} {to_x:g} {middle:g} {to_x:g} {to_y:g}" '
            f'fill="none" stroke="#64748b"{tip}/>'
        )
    for name in sorted(graph):
        x, y = at[name]
        text = name.removeprefix("bpnet.")
        drawn.append(
            f'<rect x="{x - WIDTH / 2:g}" y="{y - HEIGHT / 2:g}" width="{WIDTH}" '
            f'height="{HEIGHT}" rx="6" fill="#e0e7ff" stroke="#4338ca"/>'
            f'<text x="{x:g}" y="{y + 4.5:g}" text-anchor="middle" fill="#1e1b4b">{text}</text>'
        )
    return "\n".join([*drawn, "</svg>"]) + "\n"


if __name__ == "__main__":
    PICTURE.write_text(picture(rooms()), encoding="utf-8")
