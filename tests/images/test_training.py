"""Training learns classes and, from these alone, places; files keep it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from square_pictures import COLOURS, SIDE, config, squares, tensors

from bpnet.contexts.pool_config import PoolConfig
from bpnet.errors import AnnotationError, CheckpointError, ConfigError
from bpnet.images.boxes import box_iou
from bpnet.images.model import ImageModel, to_input
from bpnet.images.settings import ImageConfig
from bpnet.images.train import train_images


def test_places_are_learned_from_classes(model: ImageModel) -> None:
    made = squares(40, seed=1)
    found = model.locate([picture for _, picture, _ in made])
    assert [one.name for one in found] == [name for name, _, _ in made]
    overlaps = [
        box_iou(one.boxes[0].corners, box) for one, (_, _, box) in zip(found, made, strict=True)
    ]
    assert min(overlaps) > 0  # each box touches its square
    assert np.mean(overlaps) > 0.4  # boxes anywhere: below 0.1


@pytest.mark.parametrize("intervention", ["cicam", "backdoor", "stratified"])
def test_every_intervention_learns(intervention: str) -> None:
    settings = config(intervention=intervention, first_epochs=2)
    trained = train_images(
        *tensors(64, 0), list(COLOURS), settings, PoolConfig(num_prototypes=8, min_videos=10)
    )
    found = trained.locate([picture for _, picture, _ in squares(20, 1)])
    assert [one.name for one in found] == [name for name, _, _ in squares(20, 1)]


def test_the_same_seed_gives_the_same_model() -> None:
    short = config(epochs=1)
    first, again = (train_images(*tensors(16, 0), list(COLOURS), short) for _ in range(2))
    other = train_images(*tensors(16, 0), list(COLOURS), dataclasses.replace(short, seed=1))
    for name, one in first.network.state_dict().items():
        torch.testing.assert_close(one, again.network.state_dict()[name], rtol=0, atol=0)
    weights = "head.classifier.weight"
    assert not torch.equal(first.network.state_dict()[weights], other.network.state_dict()[weights])


@pytest.mark.parametrize("intervention", ["none", "cicam", "backdoor"])
def test_a_file_keeps_all_of_it(tmp_path: Path, intervention: str) -> None:
    trained = train_images(
        *tensors(32, 0),
        list(COLOURS),
        config(intervention=intervention, epochs=1, first_epochs=1),
        PoolConfig(num_prototypes=8, min_videos=5),
    )
    trained.threshold, trained.weighting = 0.35, "quadratic"
    trained.save(tmp_path / "m.safetensors")
    loaded = ImageModel.load(tmp_path / "m.safetensors")
    assert (loaded.classes, loaded.config) == (trained.classes, trained.config)
    picture = squares(1, 5)[0][1]
    assert loaded.locate([picture]) == trained.locate([picture])


def test_batched_equals_single_and_boxes_fit_the_picture(model: ImageModel) -> None:
    pictures = [picture for _, picture, _ in squares(3, 2)]
    large = np.repeat(np.repeat(pictures[0], 2, axis=0), 3, axis=1)  # 64 high, 96 wide
    found = model.locate([*pictures, large])
    assert found[:3] == [model.locate([one])[0] for one in pictures]
    box, larger = found[0].boxes[0], found[3].boxes[0]
    np.testing.assert_allclose(np.array(larger.corners) / (3, 2, 3, 2), box.corners, atol=SIDE / 8)


def test_a_class_may_be_asked_for(model: ImageModel) -> None:
    picture = squares(1, 3)[0][1]
    assert model.locate([picture], "red")[0].name == "red"
    assert model.locate([picture], "red")[0].probability < 0.5
    with pytest.raises(ConfigError, match="class 'blue': the model knows green, red"):
        model.locate([picture], "blue")


def test_sizes_of_pictures() -> None:
    picture = squares(1, 0)[0][1]
    np.testing.assert_allclose(
        (255 * to_input([picture], SIDE))[0].permute(1, 2, 0), picture, atol=1e-4
    )
    flat = np.full((50, 20, 3), 100, np.uint8)
    assert torch.allclose(to_input([flat], 16), torch.tensor(100 / 255))


def test_what_cannot_be_trained() -> None:
    pictures, labels = tensors(8, 0)
    with pytest.raises(AnnotationError, match="8 pictures of 1 classes: expected two classes"):
        train_images(pictures, labels * 0, ["red"], config())
    with pytest.raises(ConfigError, match="intervention='magic': expected one of none, cicam"):
        ImageConfig(intervention="magic")


@pytest.mark.parametrize("content", [b"", b"no file of ours", b"x" * 5000])
def test_damaged_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"m\.safetensors.*bpnet images train"):
        ImageModel.load(tmp_path / "m.safetensors")
    with pytest.raises(CheckpointError, match="missing, damaged"):
        ImageModel.load(tmp_path / "gone.safetensors")
