"""Folders of pictures and tables of boxes: what is read, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from square_pictures import SIDE, squares, write_squares

from bpnet.errors import AnnotationError
from bpnet.images.composites import CompositeConfig, composites
from bpnet.images.evaluate import evaluate_images, fit_threshold, image_table
from bpnet.images.folder import CONTEXTS, read_folder
from bpnet.images.model import ImageModel
from bpnet.images.planted_files import write_composites


def test_pictures_labels_and_boxes(tmp_path: Path) -> None:
    root = write_squares(tmp_path / "squares", 6, seed=0)
    (root / "red" / "notes.txt").write_text("no picture")
    folder = read_folder(root, SIDE)
    assert folder.classes == ("green", "red")
    assert folder.names == tuple(
        f"{name}/{n:03d}.png"
        for name, n in [
            ("green", 0),
            ("green", 2),
            ("green", 4),
            ("red", 1),
            ("red", 3),
            ("red", 5),
        ]
    )
    assert folder.labels.tolist() == [0, 0, 0, 1, 1, 1]
    made = squares(6, 0)
    for place, number in enumerate((0, 2, 4, 1, 3, 5)):
        picture = torch.from_numpy(made[number][1]).permute(2, 0, 1)
        torch.testing.assert_close(folder.pictures[place], picture)
    boxes = folder.boxes()
    assert boxes is not None
    assert boxes["red/001.png"] == [tuple(map(float, made[1][2]))]
    assert folder.boxes(CONTEXTS) is None


def test_boxes_are_scaled_with_their_pictures(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    PIL.Image.fromarray(np.zeros((50, 200, 3), np.uint8)).save(tmp_path / "a" / "wide.jpg")
    (tmp_path / "boxes.csv").write_text("picture,left,top,right,bottom\na/wide.jpg,100,0,200,25\n")
    folder = read_folder(tmp_path, 40)
    assert folder.boxes() == {"a/wide.jpg": [(20.0, 0.0, 40.0, 20.0)]}
    assert folder.sizes == ((200, 50),)


def test_composites_come_back_as_they_were_made(tmp_path: Path) -> None:
    config = CompositeConfig(num_train=4, num_val=2, num_test=5, num_classes=3)
    write_composites(tmp_path, config, seed=1)
    folder = read_folder(tmp_path / "iid", config.size)
    boxes, contexts = folder.boxes(), folder.boxes(CONTEXTS)
    assert boxes is not None and contexts is not None
    for number, one in enumerate(composites(config, "iid", 1)):
        name = f"{one.label}/{number:05d}.png"
        picture = folder.pictures[folder.names.index(name)].permute(1, 2, 0)
        np.testing.assert_array_equal(picture, one.picture)
        assert boxes[name] == [tuple(map(float, one.box))]
        if one.context_box is not None:
            assert contexts[name] == [tuple(map(float, one.context_box))]
    assert read_folder(tmp_path / "context_only", config.size).boxes() == {}


def test_metrics_of_a_folder(tmp_path: Path, model: ImageModel) -> None:
    root = write_squares(tmp_path / "test", 30, seed=2)
    validation = read_folder(write_squares(tmp_path / "val", 20, seed=3), SIDE, model.classes)
    before = model.threshold
    try:
        assert fit_threshold(model, validation) == 20
        results = evaluate_images(model, read_folder(root, SIDE, model.classes))
    finally:
        model.threshold = before
    assert results["num_pictures"] == 30 and results["num_without_box"] == 0
    metrics = results["metrics"]
    assert metrics["accuracy"] == metrics["Top-5 Loc"] / metrics["GT-known"] * 100 == 100
    assert metrics["Top-1 Loc"] == metrics["GT-known"] > 40
    assert metrics["pointing"] > 90
    assert results["oracle"]["MaxBoxAcc"] >= metrics["GT-known"]
    assert "confounder pointing" not in metrics
    assert "Top-1 Loc" in image_table(results)


def test_pictures_without_boxes_are_counted(tmp_path: Path, model: ImageModel) -> None:
    root = write_squares(tmp_path / "test", 6, seed=2)
    lines = (root / "boxes.csv").read_text().splitlines()
    (root / "boxes.csv").write_text("\n".join(lines[:-2]) + "\n")
    (root / "contexts.csv").write_text(f"{lines[0]}\n{lines[1]}\n")
    results = evaluate_images(model, read_folder(root, SIDE, model.classes))
    assert (results["num_pictures"], results["num_without_box"]) == (4, 2)
    # The object of the first picture is called its context here.
    assert results["metrics"]["confounder pointing"] == 25
    assert "left out: 2 pictures without a box" in image_table(results)


@pytest.mark.parametrize(
    ("table", "match"),
    [
        ("picture,left\n", r"columns \['picture', 'left'\]: expected picture, left, top, right, b"),
        ("", "columns None"),
        ("picture,left,top,right,bottom\nred/9.png,0,0,1,1\n", "line 2: no picture 'red/9.png'"),
        ("picture,left,top,right,bottom\nred/001.png,0,0,x,1\n", "line 2: .*'x'.*four numbers"),
        ("picture,left,top,right,bottom\nred/001.png,0,0,1\n", "line 2: .*expected four numbers"),
        ("picture,left,top,right,bottom\nred/001.png,0,0,nan,1\n", "expected finite numbers"),
        ("picture,left,top,right,bottom\nred/001.png,5,0,3,9\n", "box 5, 0, 3, 9: expected left <"),
        ("picture,left,top,right,bottom\nred/001.png,0,0,33,9\n", "a picture of 32 x 32"),
    ],
)
def test_damaged_tables(tmp_path: Path, table: str, match: str) -> None:
    root = write_squares(tmp_path / "squares", 2, seed=0)
    (root / "boxes.csv").write_text(table)
    with pytest.raises(AnnotationError, match=match):
        read_folder(root, SIDE).boxes()


def test_what_is_no_folder_of_pictures(tmp_path: Path, model: ImageModel) -> None:
    with pytest.raises(AnnotationError, match="'gone': no such folder"):
        read_folder("gone", SIDE)
    with pytest.raises(AnnotationError, match=re.escape("classes []: expected FOLDER/CLASS/pict")):
        read_folder(tmp_path, SIDE)
    root = write_squares(tmp_path / "squares", 2, seed=0)
    with pytest.raises(AnnotationError, match=r"with classes among \['blue', 'red'\]"):
        read_folder(root, SIDE, ("blue", "red"))
    (root / "boxes.csv").unlink()
    with pytest.raises(AnnotationError, match=r"boxes\.csv is missing"):
        evaluate_images(model, read_folder(root, SIDE))
    (root / "red" / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(AnnotationError, match=r"broken\.jpg': cannot be read"):
        read_folder(root, SIDE)
