"""Planted pictures: what is where, and the rates at which it is."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from bpnet.errors import ConfigError
from bpnet.images.composites import CompositeConfig, composites

SMALL = CompositeConfig(num_train=300, num_val=10, num_test=60)


def apart(one, other) -> bool:
    return one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


def test_the_same_again_and_another_seed() -> None:
    first, again, other = (list(composites(SMALL, "iid", seed)) for seed in (0, 0, 1))
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.picture, two.picture)
        assert (one.label, one.box, one.context_box) == (two.label, two.box, two.context_box)
    assert any(one.box != two.box for one, two in zip(first, other, strict=True))


def test_boxes_lie_inside_and_apart() -> None:
    for one in composites(SMALL, "train"):
        assert one.picture.shape == (64, 64, 3) and one.picture.dtype == np.uint8
        for box in filter(None, (one.box, one.context_box)):
            assert 0 <= box[0] < box[2] <= 64 and 0 <= box[1] < box[3] <= 64
        assert max(one.box[2] - one.box[0], one.box[3] - one.box[1]) <= 28
        if one.context_box is not None:
            assert apart(one.box, one.context_box)


def test_objects_and_contexts_are_where_the_boxes_say() -> None:
    quiet = dataclasses.replace(SMALL, noise=0.0)
    for one in composites(quiet, "iid"):
        painted = (one.picture != 128).any(axis=2)
        inside = np.zeros((64, 64), bool)
        for left, top, right, bottom in filter(None, (one.box, one.context_box)):
            inside[top:bottom, left:right] = True
        assert not (painted & ~inside).any()
        left, top, right, bottom = one.box
        digit = painted[top:bottom, left:right]
        # The box is tight: the digit touches all of its sides.
        assert all(side.any() for side in (digit[0], digit[-1], digit[:, 0], digit[:, -1]))


def test_rates_of_the_contexts() -> None:
    many = dataclasses.replace(SMALL, num_train=1000, size=16, shortest=7, longest=7)
    made = list(composites(many, "train"))
    own = np.mean([one.context == one.label for one in made])
    none = np.mean([one.context is None for one in made])
    # rho + (1 - rho) / (2 N), and (1 - rho) / 2; standard errors of 0.9 and 0.7 percent.
    assert own == pytest.approx(0.9 + 0.1 / 20, abs=0.03)
    assert none == pytest.approx(0.05, abs=0.025)


def test_the_test_parts_differ_in_the_context_alone() -> None:
    parts = {split: list(composites(SMALL, split)) for split in ("iid", "absent", "swapped")}
    alone = list(composites(SMALL, "context_only"))
    for iid, absent, swapped, only in zip(*parts.values(), alone, strict=True):
        assert iid.label == absent.label == swapped.label == only.label
        assert iid.box == absent.box == swapped.box
        assert absent.context is None and absent.context_box is None
        assert swapped.context not in (None, swapped.label)
        assert only.context == only.label and not only.visible


def test_knobs() -> None:
    left = dataclasses.replace(SMALL, location_bias=True)
    for one in composites(left, "iid"):
        assert one.box[2] <= 32
        assert one.context_box is None or one.context_box[0] >= 32
    covered = dataclasses.replace(SMALL, overlap=1.0)
    assert all(one.context_box in (None, one.box) for one in composites(covered, "iid"))
    hidden = dataclasses.replace(SMALL, object_dropout=0.5)
    assert 0.3 < np.mean([one.visible for one in composites(hidden, "train")]) < 0.7
    # Turning one knob changes nothing else.
    for one, two in zip(composites(SMALL, "iid"), composites(hidden, "iid"), strict=True):
        assert (one.label, one.box, one.context) == (two.label, two.box, two.context)


def test_other_glyphs() -> None:
    bar = np.zeros((1, 8, 8))
    bar[0, :, 3:5] = 1.0
    quiet = dataclasses.replace(SMALL, noise=0.0, num_classes=2)
    for one in composites(quiet, "absent", glyphs=[bar, bar]):
        assert one.box[3] - one.box[1] > 1.5 * (one.box[2] - one.box[0])


@pytest.mark.parametrize(
    ("knobs", "match"),
    [
        (["rho=2"], "rho=2.0: expected 0 to 1"),
        (["rho=x"], "'rho=x': expected a value such as rho=0.9"),
        (["rhos=1"], "'rhos=1': expected one of rho, salience"),
        (["location_bias=1"], "'location_bias=1': expected a value such as location_bias=False"),
        (["longest=40"], "longest=40: expected 7 to 28"),
    ],
)
def test_wrong_knobs(knobs: list[str], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        CompositeConfig.from_texts(knobs)


def test_knobs_as_texts() -> None:
    found = CompositeConfig.from_texts(["rho=0.5", "location_bias=true", "num_train=7"])
    assert found == CompositeConfig(rho=0.5, location_bias=True, num_train=7)
    with pytest.raises(ConfigError, match="split 'test': expected one of train, val_labelled, iid"):
        next(composites(found, "test"))
