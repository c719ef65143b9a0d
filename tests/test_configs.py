"""Every YAML file composes and builds its dataclass, and says what the dataclass says."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path
from typing import Any

import pytest

from bpnet.cli import hydra_app
from bpnet.config import (
    DATASETS,
    DataConfig,
    EvaluateConfig,
    FeaturesConfig,
    OptimConfig,
    QueryFeaturesConfig,
    TrainConfig,
    TrainerConfig,
    conf_path,
)
from bpnet.contexts.pool_config import PoolConfig
from bpnet.errors import ConfigError
from bpnet.model_config import ModelConfig
from bpnet.settings import from_dict
from bpnet.supervision_config import EvidenceConfig, GaussianConfig, SupervisionConfig
from bpnet.weak.mil import MilConfig

CONF = Path(__file__).resolve().parents[1] / "conf"
FILES = sorted(path.relative_to(CONF) for path in CONF.rglob("*.yaml"))
GROUPS = {"data", "model", "optim", "trainer", "supervision", "experiment"}
# What every dataset needs or ignores, so that each file can be composed.
PLACES = ["++data.root=root", "data.features.path=f.h5", "data.annotations=a"]


def compose(name: str, *overrides: str) -> dict[str, Any]:
    return hydra_app.compose(conf_path(), name, list(overrides))


def grouped(group: str) -> list[str]:
    """The options of a group: `demo`, `paper/charades_i3d`."""
    files = (path.relative_to(group) for path in FILES if path.is_relative_to(group))
    return [path.with_suffix("").as_posix() for path in files]


def choice(path: Path) -> list[str]:
    """What chooses a file on the command line; nothing for a main file."""
    if path.parent == Path():
        return []
    return [f"{path.parts[0]}={path.relative_to(path.parts[0]).with_suffix('').as_posix()}"]


def test_every_group_is_reached() -> None:
    assert len(FILES) >= 11
    assert {path.parent.as_posix() for path in FILES} == GROUPS | {
        ".",
        "experiment/bench",
        "experiment/paper",
    }
    assert {path.stem for path in FILES if path.parent == Path()} == {"train", "evaluate"}


@pytest.mark.parametrize("path", FILES, ids=str)
def test_every_file_composes_and_builds(path: Path) -> None:
    if path == Path("evaluate.yaml"):
        assert from_dict(EvaluateConfig, compose("evaluate", "checkpoint=run")).checkpoint == "run"
        return
    extra = ["data.dataset=jsonl"] if path == Path("data/base.yaml") else []
    config = from_dict(TrainConfig, compose("train", *choice(path), *extra, *PLACES))
    assert dataclasses.replace(config.data.features, spec=None) == FeaturesConfig("f.h5")


@pytest.mark.parametrize("path", [p for p in FILES if p.parent.name != "paper"], ids=str)
def test_an_unknown_key_is_refused(path: Path) -> None:
    name, line = "train", [*choice(path), *PLACES, "data.dataset=jsonl"]
    if path.parent == Path():
        name, line = path.stem, ["checkpoint=run"] if path.stem == "evaluate" else PLACES
    with pytest.raises(ConfigError, match="unknown config key 'sed'"):
        compose(name, *line, "sed=1")
    values = compose(name, *line, "+unknown_key=1")
    kind: type = EvaluateConfig if name == "evaluate" else TrainConfig
    with pytest.raises(ConfigError, match="unknown config key 'unknown_key'"):
        from_dict(kind, values)


@pytest.mark.parametrize("group", ["data", "model", "optim", "trainer"])
def test_an_unknown_key_of_a_group_is_refused(group: str) -> None:
    with pytest.raises(ConfigError, match=rf"unknown config key '{group}\.unknown_key'"):
        compose("train", *PLACES, f"{group}.unknown_key=1")
    with pytest.raises(ConfigError, match=rf"unknown config key '{group}\.unknown_key'"):
        from_dict(TrainConfig, compose("train", *PLACES, f"+{group}.unknown_key=1"))


@pytest.mark.parametrize(
    ("group", "name", "kind"),
    [
        ("model", "bpnet", ModelConfig),
        ("optim", "adamw", OptimConfig),
        ("trainer", "default", TrainerConfig),
    ],
)
def test_files_hold_the_defaults(group: str, name: str, kind: type) -> None:
    values = compose("train", f"{group}={name}", *PLACES)[group]
    assert from_dict(kind, values, group) == kind()
    assert list(values) == [field.name for field in dataclasses.fields(kind)]


def test_a_model_may_say_how_it_is_trained() -> None:
    prefix = from_dict(TrainConfig, compose("train", "model=bpnet_prefix", *PLACES))
    assert prefix.optim == OptimConfig(lr=0.0005)
    assert prefix.model.network == "prefix"
    asked = compose("train", "optim.lr=0.002", "model=bpnet_prefix", *PLACES)
    assert asked["optim"]["lr"] == 0.002
    assert from_dict(TrainConfig, compose("train", *PLACES)).optim == OptimConfig()


def test_supervision_defaults() -> None:
    values = compose("train", *PLACES)["supervision"]
    assert from_dict(SupervisionConfig, values, "supervision") == SupervisionConfig()
    for kind in ("weak", "mixed"):
        values = compose("train", f"supervision={kind}", *PLACES)["supervision"]
        found = from_dict(SupervisionConfig, values, "supervision")
        pools = {"mil": dataclasses.asdict(MilConfig()), "pool": dataclasses.asdict(PoolConfig())}
        assert found == SupervisionConfig(kind, **pools)
        assert set(values) == {field.name for field in dataclasses.fields(SupervisionConfig)}
    with pytest.raises(
        ConfigError, match=r"supervision.teachers='cam': .*supervision.left_out=1: "
    ):
        SupervisionConfig(left_out=1, teachers=("cam",))
    with pytest.raises(ConfigError, match=r"supervision.teachers=\['mil', 'mil'\]: .* each once"):
        SupervisionConfig(teachers=("mil", "mil"))
    with pytest.raises(ConfigError, match=r"supervision.gaussian.dim=10: .*num_heads=4"):
        GaussianConfig(dim=10)


# Where a dataset differs from the defaults.
NAMED_VALIDATION: dict[str, Any] = {"validation_split": "val", "validation_fraction": 0.0}
DIFFERENT: dict[str, dict[str, Any]] = {
    "base": {},
    "sample": {"max_clips": 64, **NAMED_VALIDATION},
    "charades_sta": {},
    "charades_cd": NAMED_VALIDATION,
    "tacos_2dtan": {"max_clips": 256, **NAMED_VALIDATION},
    "tacos_tall": {"max_clips": 256, **NAMED_VALIDATION},
    "activitynet": {},
    "activitynet_cd": NAMED_VALIDATION,
    "qvhighlights": NAMED_VALIDATION,
    "didemo": NAMED_VALIDATION,
    "lighthouse": NAMED_VALIDATION,
    "jsonl": {},
    "csv": {},
}


@pytest.mark.parametrize("name", grouped("data"))
def test_datasets_differ_where_they_say(name: str) -> None:
    values = compose("train", f"data={name}", "data.dataset=csv", *PLACES)["data"]
    assert set(values) == {field.name for field in dataclasses.fields(DataConfig)}
    expected = DataConfig(
        dataset="csv",
        features=FeaturesConfig("f.h5"),
        annotations="a",
        name=values["name"],
        root="root",
        **DIFFERENT[name],
    )
    assert from_dict(DataConfig, values, "data") == expected


@pytest.mark.parametrize("name", sorted(set(grouped("data")) - {"base", "sample"}))
def test_datasets_are_named_as_their_readers(name: str) -> None:
    values = compose("train", f"data={name}", *PLACES)["data"]
    assert values["dataset"] == name
    assert {path.stem for path in (CONF / "data").iterdir()} - {"base", "sample"} == set(DATASETS)


def test_evaluation_keeps_to_its_dataclass() -> None:
    values = compose("evaluate", "checkpoint=run")
    assert list(values) == [
        field.name for field in dataclasses.fields(EvaluateConfig) if field.name != "data"
    ] + ["data"]
    assert set(values["data"]) <= {field.name for field in dataclasses.fields(DataConfig)}
    for group in (values["data"], values["data"]["features"], values["data"]["query_features"]):
        assert {value for value in group.values() if not isinstance(value, dict)} == {None}
    config = from_dict(EvaluateConfig, values)
    assert dataclasses.replace(config, data={}) == EvaluateConfig(checkpoint="run")


@pytest.mark.parametrize("name", grouped("experiment"))
def test_experiments_are_settings_of_a_run(name: str) -> None:
    plain = compose("train", *PLACES)
    assert from_dict(TrainConfig, compose("train", f"experiment={name}", *PLACES)) != from_dict(
        TrainConfig, {**plain, "run_dir": "elsewhere"}
    )


def test_options_in_folders_are_listed_too() -> None:
    for wrong in ("charades_i3d", "paper/charades", "paper"):
        with pytest.raises(
            ConfigError, match=r"options in 'experiment': .*demo.*, paper/tacos_i3d"
        ):
            compose("train", f"experiment={wrong}")
    with pytest.raises(ConfigError, match=r"options in 'model': bpnet, bpnet_paper"):
        compose("train", "model=bpnt")


def test_only_probabilities_of_all_spans_can_agree() -> None:
    with pytest.raises(ConfigError, match=r"consistency_weight=1 with model.proposer='dense'"):
        ModelConfig(proposer="dense", consistency_weight=1.0)


def test_every_attribute_is_described() -> None:
    """``--help`` names no meanings: the docstrings do, and each field has its line."""
    kinds = (DataConfig, FeaturesConfig, QueryFeaturesConfig, ModelConfig, OptimConfig)
    weak = (SupervisionConfig, EvidenceConfig, GaussianConfig, MilConfig, PoolConfig)
    for kind in (*kinds, *weak, TrainerConfig, TrainConfig, EvaluateConfig):
        described = inspect.getdoc(kind) or ""  # from Python 3.13 on `__doc__` is dedented
        for field in dataclasses.fields(kind):
            assert f"\n    {field.name}: " in described, (kind, field.name)
