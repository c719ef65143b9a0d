"""fit(): what is learned, logged, written and refused."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import tiny_run
import torch
from hypothesis import given
from hypothesis import strategies as st

from bpnet.checkpoint import BEST, LAST, Checkpoint
from bpnet.config import TrainerConfig
from bpnet.errors import AnnotationError, ConfigError, FeatureError, MissingVideoError
from bpnet.evaluation.parts import read_parts
from bpnet.training import run, step, validation
from bpnet.training.batches import EpochBatches
from bpnet.training.loop import num_steps
from bpnet.training.metrics_log import METRICS, MetricsLog
from bpnet.training.run import train
from bpnet.training.state import STATE


def records(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / METRICS).read_text().splitlines()]


@pytest.fixture(scope="module")
def finished(dataset_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a whole run: 16 queries in batches of 5, so 4 steps an epoch, and 3 epochs."""
    run_dir = tmp_path_factory.mktemp("finished")
    train(tiny_run.config(dataset_root), run_dir)
    return run_dir


def test_overfits_four_pairs(tmp_path: Path) -> None:
    tiny_run.write_dataset(tmp_path, num_videos=2)
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    config = tiny_run.config(
        tmp_path,
        data__validation_split="train",
        model__dropout=0.0,
        model__hidden_dim=32,
        optim__lr=0.01,
        trainer__max_epochs=80,
        trainer__validate_every=1000,
        trainer__save_every_steps=1000,
    )
    metrics = train(config, run_dir)
    assert metrics is not None
    assert metrics["R@1,IoU=0.7"] == 100
    # The boundaries themselves are learned, too: the loss of a fair coin for each is far away.
    assert records(run_dir)[-2]["boundary"] < 0.5


def test_losses_are_logged_by_name(finished: Path) -> None:
    lines = [record for record in records(finished) if "validation" not in record]
    assert [line["step"] for line in lines] == [10, 12]  # every ten steps, and the last one
    assert [line["epoch"] for line in lines] == [2.5, 3.0]
    # Linear from 0.005 to 0 in 12 steps; after ten of them two twelfths are left.
    assert [line["lr"] for line in lines] == pytest.approx([0.005 * 2 / 12, 0.0])
    weights = {
        "boundary": 2,
        "highlight": 3,
        "overlap": 5,
        "contrast": 1,
        "matching": 10,
        "refinement": 5,
        "mismatch": 1,
    }
    names = {*weights, "total"}
    for line in lines:
        assert set(line) == names | {"step", "epoch", "lr", "seconds"}
        assert all(math.isfinite(line[name]) and line[name] > 0 for name in names)
        parts = sum(weight * line[name] for name, weight in weights.items())
        assert line["total"] == pytest.approx(parts, rel=1e-5)


def test_each_epoch_is_validated(finished: Path) -> None:
    lines = [record for record in records(finished) if "validation" in record]
    assert [(line["step"], line["epoch"]) for line in lines] == [(4, 1), (8, 2), (12, 3)]
    names = {f"R@{n},IoU={m}" for n in (1, 5) for m in (0.3, 0.5, 0.7)} | {"mIoU"}
    assert all(set(line["validation"]) == names for line in lines)


def test_checkpoints(finished: Path) -> None:
    assert {path.name for path in finished.iterdir()} == {BEST, LAST, METRICS, STATE}
    validations = [r["validation"]["mIoU"] for r in records(finished) if "validation" in r]
    best, last = Checkpoint.load(finished / BEST), Checkpoint.load(finished / LAST)
    assert best.training["validation"]["mIoU"] == max(validations)
    assert best.training["epoch"] == 1 + validations.index(max(validations))
    assert (last.training["step"], last.training["epoch"]) == (12, 3)
    assert last.feature_spec == tiny_run.SPEC
    assert (last.model["hidden_dim"], last.data["max_clips"]) == (16, 16)


def test_max_steps_ends_within_an_epoch(dataset_root: Path, tmp_path: Path) -> None:
    metrics = train(tiny_run.config(dataset_root, trainer__max_steps=3), tmp_path)
    assert metrics is not None  # the last step is always validated
    assert Checkpoint.load(tmp_path / LAST).training["step"] == 3
    assert records(tmp_path)[0]["lr"] == 0


def test_validation_can_be_rarer(dataset_root: Path, tmp_path: Path) -> None:
    train(tiny_run.config(dataset_root, trainer__validate_every=2), tmp_path)
    assert [r["epoch"] for r in records(tmp_path) if "validation" in r] == [2, 3]


def test_without_a_validation_part(dataset_root: Path, tmp_path: Path) -> None:
    config = tiny_run.config(
        dataset_root, data__validation_split=None, data__validation_fraction=0, trainer__max_steps=2
    )
    assert train(config, tmp_path) is None
    assert (tmp_path / LAST).is_file() and not (tmp_path / BEST).exists()


@pytest.mark.parametrize("split", ["val", None])
def test_the_test_part_is_never_used(
    dataset_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: str | None
) -> None:
    seen: dict[str, set[str]] = {"train": set(), "validation": set()}
    fit, predict_all = run.fit, validation.predict_all

    def watched_fit(model: Any, dataset: Any, *args: Any, **options: Any) -> Any:
        seen["train"] |= {a.video_id for a in dataset.annotations}
        return fit(model, dataset, *args, **options)

    def watched_predict(model: Any, dataset: Any, **options: Any) -> Any:
        seen["validation"] |= {a.video_id for a in dataset.annotations}
        return predict_all(model, dataset, **options)

    monkeypatch.setattr(run, "fit", watched_fit)
    monkeypatch.setattr(validation, "predict_all", watched_predict)
    config = tiny_run.config(
        dataset_root,
        data__validation_split=split,
        data__validation_fraction=0.25,
        trainer__max_steps=1,
    )
    train(config, tmp_path)
    # Videos 0 to 7 are for training, 8 and 9 for validation, 10 and 11 for the test.
    everything = {f"v{number}" for number in range(8 if split is None else 10)}
    assert seen["train"] | seen["validation"] == everything
    assert not seen["train"] & seen["validation"]
    assert len(seen["validation"]) == 2
    if split is not None:
        assert seen["validation"] == {"v8", "v9"}


def test_carving_depends_on_the_stated_seed_alone(dataset_root: Path) -> None:
    def carved(seed: int, run_seed: int) -> set[str]:
        config = tiny_run.config(
            dataset_root,
            data__validation_split=None,
            data__validation_fraction=0.25,
            data__validation_seed=seed,
            seed=run_seed,
        )
        return {a.video_id for a in read_parts(config.data)[1]}

    assert carved(0, 0) == carved(0, 7)
    assert len({frozenset(carved(seed, 0)) for seed in range(5)}) > 1


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_names_the_step(
    dataset_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    losses, calls = step.bpnet_losses, [0]

    def spoiled(*args: Any) -> dict[str, torch.Tensor]:
        found = losses(*args)
        calls[0] += 1
        if calls[0] == 3:
            found["matching"] = found["matching"] * value
        return found

    monkeypatch.setattr(step, "bpnet_losses", spoiled)
    with pytest.raises(ConfigError, match=r"step 3: loss is not finite .*matching.*optim\.lr"):
        train(tiny_run.config(dataset_root), tmp_path)
    assert torch.load(tmp_path / STATE, weights_only=True)["step"] == 2


@pytest.mark.parametrize("proposer", ["span", "dense", "set", "windows"])
def test_a_learning_rate_that_breaks_the_weights(
    dataset_root: Path, tmp_path: Path, proposer: str
) -> None:
    config = tiny_run.config(dataset_root, optim__lr=1e30, model__proposer=proposer)
    with pytest.raises(ConfigError, match=r"not finite.*lower optim\.lr"):
        train(config, tmp_path)


def test_every_pair_may_be_asked_twice(dataset_root: Path, tmp_path: Path) -> None:
    config = tiny_run.config(dataset_root, model__dropout=0.5, model__consistency_weight=1.0)
    train(config, tmp_path)
    steps = [line for line in records(tmp_path) if "total" in line]
    assert steps and min(line["consistency"] for line in steps) > 0
    assert all(line["mismatch"] > 0 for line in steps)


@pytest.mark.parametrize(
    ("epochs", "steps", "samples", "expected"),
    [
        (3, None, 16, 12),  # ceil(16 / 5) = 4 steps an epoch
        (3, 100, 16, 12),
        (3, 7, 16, 7),
        (1, None, 5, 1),
        (2, None, 4, 2),
        (2, None, 6, 4),
    ],
)
def test_num_steps(epochs: int, steps: int | None, samples: int, expected: int) -> None:
    config = tiny_run.config(Path(), trainer__max_epochs=epochs, trainer__max_steps=steps)
    assert num_steps(config, samples) == expected


@given(
    videos=st.lists(st.sampled_from("abcdef"), min_size=1, max_size=60),
    batch_size=st.integers(1, 20),
    seed=st.integers(0, 2**40),
    epoch=st.integers(0, 1000),
    per_video=st.integers(1, 5),
)
def test_an_epoch_has_every_sample_once(
    videos: list[str], batch_size: int, seed: int, epoch: int, per_video: int
) -> None:
    num_samples = len(videos)
    batches = EpochBatches(videos, batch_size, seed, per_video)
    batches.begin(epoch, 0)
    found = list(batches)
    assert sorted(index for batch in found for index in batch) == list(range(num_samples))
    # The last batch is kept however small it is.
    assert [len(batch) for batch in found[:-1]] == [batch_size] * (len(found) - 1)
    assert len(found) == len(batches) == math.ceil(num_samples / batch_size)
    middle = len(found) // 2
    batches.begin(epoch, middle)
    assert list(batches) == found[middle:]


@given(
    videos=st.lists(st.sampled_from("abcdef"), min_size=1, max_size=60),
    seed=st.integers(0, 2**40),
    per_video=st.integers(2, 5),
)
def test_samples_about_a_video_stand_together(videos: list[str], seed: int, per_video: int) -> None:
    batches = EpochBatches(videos, 10**6, seed, per_video)
    order = [videos[sample] for batch in batches for sample in batch]
    # As many groups as that takes, though groups of one video may come to stand side by side.
    groups = sum(math.ceil(count / per_video) for count in Counter(videos).values())
    assert sum(one != other for one, other in itertools.pairwise(order)) < groups


def test_the_order_depends_on_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        batches = EpochBatches(range(50), 7, seed)
        batches.begin(epoch, 0)
        return list(batches)

    assert order(0, 0) == order(0, 0)
    orders = [order(seed, epoch) for seed in range(4) for epoch in range(4)]
    assert all(one != other for i, one in enumerate(orders) for other in orders[:i])


def test_the_seed_decides_the_run(dataset_root: Path, tmp_path: Path) -> None:
    weights = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        (tmp_path / name).mkdir()
        train(tiny_run.config(dataset_root, seed=seed, trainer__max_steps=2), tmp_path / name)
        weights.append(Checkpoint.load(tmp_path / name / LAST).tensors)
    first, same, other = weights
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_metrics_of_steps_that_are_done_again_go(tmp_path: Path) -> None:
    lines = [
        '{"step": 10, "total": 1.0}',
        '{"step": 20, "total": 0.5}',
        '{"step": 30, "validation": {"mIoU": 3}',  # half a line, though it ends with a brace
    ]
    (tmp_path / METRICS).write_text("\n".join(lines))
    metrics_log = MetricsLog(tmp_path, 15, TrainerConfig())
    metrics_log.write({"step": 20, "total": 0.25})
    metrics_log.close()
    found = [(record["step"], record["total"]) for record in records(tmp_path)]
    assert found == [(10, 1.0), (20, 0.25)]
    assert list(tmp_path.iterdir()) == [tmp_path / METRICS]


def test_missing_features_are_named_or_dropped(dataset_root: Path, tmp_path: Path) -> None:
    text = (dataset_root / "annotations.jsonl").read_text().replace('"v1"', '"gone"')
    (tmp_path / "annotations.jsonl").write_text(text)
    changes = {
        "data__annotations": str(tmp_path / "annotations.jsonl"),
        "trainer__max_steps": 1,
    }
    with pytest.raises(MissingVideoError, match=r"1 of the videos are not in .*: gone; .*=drop"):
        train(tiny_run.config(dataset_root, **changes), tmp_path)
    train(tiny_run.config(dataset_root, data__missing="drop", **changes), tmp_path)
    assert (tmp_path / LAST).is_file()


def test_a_split_that_is_not_there(dataset_root: Path, tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"'training': it has .*'train': 16"):
        train(tiny_run.config(dataset_root, data__train_split="training"), tmp_path)


def test_a_feature_spec_that_is_not_the_files(dataset_root: Path, tmp_path: Path) -> None:
    spec = {"backbone": "i3d", "feature_dim": 8}
    with pytest.raises(FeatureError, match="backbone: 'tiny' != 'i3d'"):
        train(tiny_run.config(dataset_root, data__features__spec=spec), tmp_path)


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there(dataset_root: Path, tmp_path: Path, device: str) -> None:
    with pytest.raises(ConfigError, match=f"device='{device}'"):
        train(tiny_run.config(dataset_root, trainer__device=device), tmp_path)
