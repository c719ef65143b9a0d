"""What an ablation varies: one at a time, a grid, named sets; what is refused."""

from __future__ import annotations

import pytest

from bpnet.ablation.variants import Variant, make_variants, split_values
from bpnet.errors import ConfigError


def pairs(variants: list[Variant]) -> dict[str, tuple[str, ...]]:
    return {variant.name: variant.overrides for variant in variants}


def test_one_at_a_time() -> None:
    found = make_variants(["model.fusion=none,query_concat", "optim.lr=0.1"], [], grid=False)
    assert pairs(found) == {
        "base": (),
        "fusion=none": ("model.fusion=none",),
        "fusion=query_concat": ("model.fusion=query_concat",),
        "lr=0.1": ("optim.lr=0.1",),
    }


def test_a_grid() -> None:
    found = make_variants(["model.fusion=none,mean", "model.k=4,8"], ["x: a=1 b=2"], grid=True)
    assert list(pairs(found)) == [
        "fusion=none k=4",
        "fusion=none k=8",
        "fusion=mean k=4",
        "fusion=mean k=8",
        "x",
    ]
    assert found[1].overrides == ("model.fusion=none", "model.k=8")
    assert found[1].folder == "fusion=none_k=8"
    assert found[-1].overrides == ("a=1", "b=2")


def test_named_sets_alone() -> None:
    found = make_variants([], ["one stage: model.stage_two=false", "a/b: x='y:z'"], grid=False)
    assert pairs(found) == {
        "base": (),
        "one stage": ("model.stage_two=false",),
        "a/b": ("x='y:z'",),
    }
    assert [variant.folder for variant in found] == ["base", "one_stage", "a_b"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,2", ["1", "2"]),
        ("[0.3,0.7], [0.5,1]", ["[0.3,0.7]", "[0.5,1]"]),
        ("'a,b',{c: 1,d: 2},\"e,'\"", ["'a,b'", "{c: 1,d: 2}", '"e,\'"']),
        ("", [""]),
        ("a,", ["a", ""]),
    ],
)
def test_values(text: str, expected: list[str]) -> None:
    assert split_values(text) == expected


@pytest.mark.parametrize(
    ("vary", "named", "grid", "match"),
    [
        (["model.fusion"], [], False, r"--vary 'model\.fusion': expected KEY=VALUE"),
        (["model.fusion=a,"], [], False, r"--vary 'model\.fusion=a,': expected KEY=VALUE"),
        (["=a"], [], False, r"--vary '=a': expected KEY=VALUE"),
        ([], ["one stage"], False, r"--variant 'one stage': expected 'NAME: KEY=VALUE"),
        ([], ["one stage: yes"], False, r"--variant 'one stage: yes': expected"),
        ([], [": a=1"], False, r"--variant ': a=1': expected"),
        ([], [], False, r"nothing to vary: give --vary"),
        (["a=1"], [], True, r"nothing to vary: give --vary"),
        ([], ["x: a=1"], True, r"--grid without --vary"),
        (["a=1,1"], [], False, r"two variants have the name 'a=1'"),
        ([], ["a b: x=1", "a_b: x=2"], False, r"two variants have the folder 'a_b'"),
    ],
)
def test_refused(vary: list[str], named: list[str], grid: bool, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        make_variants(vary, named, grid)
