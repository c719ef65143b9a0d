"""`bpnet train`: a run folder, and one clear line for what is wrong, before any heavy work."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import tiny_run
import torch
from omegaconf import OmegaConf

from bpnet.checkpoint import BEST, LAST, Checkpoint
from bpnet.config import TrainConfig
from bpnet.settings import from_dict
from bpnet.training.state import TrainingState


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def short(root: Path, run_dir: Path, **changes: Any) -> list[str]:
    """The command line of a run of three steps."""
    line = tiny_run.overrides(root, trainer__max_steps=3, **changes)
    return ["train", *line, f"run_dir={run_dir}"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_run.write_dataset(tmp_path_factory.mktemp("files"))


# Everything that can be seen before the data is read. {root} is a folder with sound data.
GOOD = "data=jsonl data.features={root}/features.h5 data.annotations={root}/annotations.jsonl"
REFUSED = {
    "a typo in a key": (
        f"{GOOD} trainer.batchsize=3",
        "ConfigError: unknown config key 'trainer.batchsize': did you mean trainer.batch_size",
    ),
    "an unknown top key": (f"{GOOD} sed=3", "ConfigError: unknown config key 'sed'.*seed"),
    "a key of another option of its group": (
        "data=jsonl data.root=here",
        r"ConfigError: unknown config key 'data.root': (?!.*data.root)",
    ),
    "an added key": (f"{GOOD} +trainer.epochs=3", "ConfigError: unknown config key 'trainer.epoch"),
    "an unknown option": (f"{GOOD} model=bpnt", "ConfigError: .*'model/bpnt'.*bpnet"),
    "an unknown group": (f"{GOOD} +modle=bpnet", "ConfigError: .*modle"),
    "nothing given": ("", "ConfigError: data.root not set: give data.root="),
    "mandatory values": (
        "data=charades_sta",
        "ConfigError: data.annotations, data.features.path not set: give data.annotations=... ",
    ),
    "a wrong type": (
        f"{GOOD} trainer.batch_size=abc",
        "ConfigError: trainer.batch_size='abc'.*int",
    ),
    "a fraction of a step": (f"{GOOD} trainer.max_steps=1.5", "ConfigError: trainer.max_steps=1.5"),
    "a null": (f"{GOOD} trainer.batch_size=null", "ConfigError: trainer.batch_size=None"),
    "a wrong type inside": (
        f"{GOOD} model.scaled_iou=[a,b]",
        r"ConfigError: model.scaled_iou\[0\]",
    ),
    "out of range": (
        f"{GOOD} trainer.batch_size=0 model.dropout=1",
        "ConfigError: model.dropout=1.0: expected a number in",
    ),
    "no steps": (f"{GOOD} trainer.max_steps=0", "ConfigError: trainer.max_steps=0"),
    "a negative seed": (f"{GOOD} seed=-1", "ConfigError: seed=-1"),
    "heads": (
        f"{GOOD} model.num_heads=7",
        "ConfigError: model.hidden_dim=.*: expected a multiple",
    ),
    "an unknown word": (
        f"{GOOD} model.fusion=concat",
        "ConfigError: model.fusion='concat'.*query_c",
    ),
    "no such dataset": (f"{GOOD} data.dataset=charades", "ConfigError: data.dataset='charades'"),
    "no such features": (
        f"{GOOD} data.features=gone.h5",
        "ConfigError: data.features='gone.h5': no such file",
    ),
    "no such annotations": (
        f"{GOOD} data.annotations=gone",
        "AnnotationError: annotations 'gone': no such file or folder",
    ),
    "no such sample": ("data.root=gone", "ConfigError: data.features='gone/features.h5'"),
    "no such vectors": (
        f"{GOOD} data.vectors=gone/glove.txt",
        "ConfigError: data.vectors='gone/glove.txt': no such file",
    ),
    "nothing to resume": (f"{GOOD} resume=gone", "CheckpointError: resume='gone': no such file"),
    "no override": (f"{GOOD} trainer", "ConfigError: .*'trainer'.*missing EQUAL"),
    "an unknown flag": (f"{GOOD} --batch-size 3", "ConfigError: "),
}


@pytest.fixture(scope="module")
def refusals(files: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """All commands of `REFUSED`, in one process of their own."""
    import subprocess
    import sys

    folder = tmp_path_factory.mktemp("refused")
    lines = {name: line.format(root=files).split() for name, (line, _) in REFUSED.items()}
    code = (
        "import contextlib, io, json, pathlib, sys\n"
        "from bpnet.cli.main import main\n"
        "for name, line in json.loads(sys.argv[1]).items():\n"
        "    out, err, status = io.StringIO(), io.StringIO(), 0\n"
        "    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):\n"
        "        try:\n"
        "            main(['train', 'run_dir=run', *line])\n"
        "        except SystemExit as end:\n"
        "            status = end.code\n"
        "    print(json.dumps({'name': name, 'status': status, 'out': out.getvalue(),\n"
        "                      'err': err.getvalue(), 'torch': 'torch' in sys.modules,\n"
        "                      'left': [str(p) for p in pathlib.Path().rglob('*')]}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(lines)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {result["name"]: result for result in found}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line_before_heavy_work(
    refusals: dict[str, dict[str, Any]], name: str
) -> None:
    result = refusals[name]
    assert result["status"] == 2
    assert result["out"] == ""
    assert re.match(REFUSED[name][1], result["err"]), result["err"]
    assert result["err"].count("\n") == 1  # one line
    assert not result["torch"]
    assert result["left"] == []  # no run folder


def test_all_values_out_of_range_are_listed(bpnet, files: Path) -> None:
    line = GOOD.format(root=files).split()
    err = bpnet("train", *line, "trainer.batch_size=0", "trainer.num_workers=-1")[2]
    assert "trainer.batch_size=0" in err and "trainer.num_workers=-1" in err


def test_a_run_folder(bpnet, files: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "some" / "where"
    status, out, _ = bpnet(*short(files, run_dir, seed=3))
    assert status == 0
    result = json.loads(out.splitlines()[-1])
    assert result["run_dir"] == str(run_dir)
    assert "mIoU" in result["validation"]
    names = {path.name for path in run_dir.iterdir()}
    assert names == {
        ".hydra",
        "config.yaml",
        "train.log",
        "metrics.jsonl",
        BEST,
        LAST,
        "state.pt",
    }
    log = (run_dir / "train.log").read_text()
    assert "16 training and 4 validation queries" in log
    assert "jsonl train: 16 of 16 pairs from 8 videos" in log
    assert "validation: R@1,IoU=0.3" in log
    # The resolved config is whole and plain, and is enough to run it again.
    text = (run_dir / "config.yaml").read_text()
    assert "${" not in text and "???" not in text
    values = OmegaConf.to_container(OmegaConf.create(text))
    assert isinstance(values, dict)
    config = from_dict(TrainConfig, {str(key): value for key, value in values.items()})
    assert (config.seed, config.run_dir, config.data.features.path) == (
        3,
        str(run_dir),
        str(files / "features.h5"),
    )


def test_a_run_is_reproduced_from_its_folder(bpnet, files: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert bpnet(*short(files, first, seed=3))[0] == 0
    line = ["--config-dir", first, "--config-name", "config", f"run_dir={second}"]
    assert bpnet("train", *line, f"hydra.run.dir={second}")[0] == 0
    mine, theirs = (Checkpoint.load(folder / LAST).tensors for folder in (first, second))
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_the_default_folder_names_dataset_and_time(bpnet, files: Path, tmp_path: Path) -> None:
    line = tiny_run.overrides(files, trainer__max_steps=1, data__name="mine")
    status, out, _ = bpnet("train", *line)
    assert status == 0
    (found,) = (tmp_path / "outputs" / "train" / "mine").iterdir()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", found.name)
    assert json.loads(out.splitlines()[-1])["run_dir"] == str(found)


def test_a_second_run_leaves_the_folder_alone(bpnet, files: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    assert bpnet(*short(files, run_dir))[0] == 0
    before = content(run_dir)
    status, out, err = bpnet(*short(files, run_dir))
    assert (status, out) == (2, "")
    assert re.match(r"ConfigError: run_dir=.*holds a run already: give resume=auto", err)
    assert content(run_dir) == before


def test_resuming_with_other_settings_leaves_the_folder_alone(
    bpnet, files: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    assert bpnet(*short(files, run_dir))[0] == 0
    before = content(run_dir)
    status, _, err = bpnet(*short(files, run_dir, optim__lr=0.25), "resume=auto")
    assert status == 2
    assert re.match(r"ConfigError: resume=auto: .*optim\.lr: 0\.005 != 0\.25", err)
    assert content(run_dir) == before


def test_resume(bpnet, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_dir = tmp_path / "run"
    save = TrainingState.save

    def save_and_die(state: TrainingState, path: Path) -> None:
        save(state, path)
        raise SystemExit(9)

    monkeypatch.setattr(TrainingState, "save", save_and_die)
    line = tiny_run.overrides(files, trainer__max_epochs=1)
    assert bpnet("train", *line, f"run_dir={run_dir}", "resume=auto")[0] == 9
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert TrainingState.load(run_dir).step == 2
    assert bpnet("train", *line, f"run_dir={run_dir}", "resume=auto")[0] == 0
    assert TrainingState.load(run_dir).step == 4
    assert "resuming at step 2" in (run_dir / "train.log").read_text()


def test_what_is_wrong_with_the_data_is_one_line_too(bpnet, files: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.h5").write_bytes((files / "features.h5").read_bytes()[:3000])
    (tmp_path / "no.h5").write_bytes(b"<html>404</html>")
    for name, match in (("broken", "truncated or damaged HDF5"), ("no", "not an HDF5 file")):
        line = short(files, tmp_path / name, data__features=str(tmp_path / f"{name}.h5"))
        status, _, err = bpnet(*line)
        assert status == 2
        assert re.fullmatch(rf"FeatureError: .*{match}.*\n", err)


def test_help_and_cfg(bpnet, tmp_path: Path) -> None:
    status, out, _ = bpnet("train", "--help")
    assert status == 0
    for group in ("data: activitynet, activitynet_cd, b", "model: bpnet", "optim: ", "trainer: "):
        assert group in out
    status, out, _ = bpnet("train", "--cfg", "job", "data.root=somewhere", "optim.lr=0.5")
    assert status == 0
    config = OmegaConf.create(out)
    assert (config.data.root, config.optim.lr) == ("somewhere", 0.5)
    status, out, _ = bpnet("train", "--cfg", "job", "--resolve", "data.root=somewhere")
    assert OmegaConf.create(out).data.features.path == "somewhere/features.h5"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_multirun(bpnet, files: Path, tmp_path: Path) -> None:
    status, _, _ = bpnet(
        *short(files, tmp_path / "runs"), "--multirun", "seed=1,2"
    )  # flags anywhere
    assert status == 0
    first, second = (Checkpoint.load(tmp_path / "runs" / name / LAST) for name in "01")
    assert [first.training["seed"], second.training["seed"]] == [1, 2]
    for name in "01":
        assert (tmp_path / "runs" / name / "config.yaml").is_file()
        assert len(list((tmp_path / "runs" / name).glob("*.log"))) == 1


@pytest.mark.slow
def test_a_sweep_in_processes(process, files: Path, tmp_path: Path) -> None:
    """Hydra's joblib launcher: two runs at a time, each with a folder and a log of its own."""
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    line = short(files, tmp_path / "runs", trainer__calibrate="false")[1:]
    sweep = ["--multirun", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "optim.lr=0.01,0.02"]
    status, out, err = process("-m", "bpnet.cli.main", "train", *line, *sweep)
    assert status == 0, err
    assert out.count('{"run_dir": ') == 2
    for name, rate in (("0", 0.01), ("1", 0.02)):
        folder = tmp_path / "runs" / name
        assert OmegaConf.load(folder / "config.yaml").optim.lr == rate
        assert (folder / "train.log").read_text().count("training and 4 validation queries") == 1
        assert Checkpoint.load(folder / LAST).training["step"] == 3


def test_under_torchrun(
    bpnet, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is answered before the processes meet: nothing is left, and nothing is waited for."""
    line = short(files, tmp_path / "run")
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        for flag in ("-m", "--multirun"):
            status, out, err = bpnet(*line, flag, "seed=1,2")
            assert (status, out) == (2, "")
            assert re.fullmatch(r"ConfigError: --multirun in 2 processes: .*torchrun\n", err)
        status, out, _ = bpnet("train", "--cfg", "job", "data.root=somewhere")
        assert (status, bool(out)) == (0, rank == "0")  # the first one answers
    monkeypatch.setenv("RANK", "2")
    status, _, err = bpnet(*line)
    assert status == 2
    assert err.startswith("ConfigError: environment RANK=2, WORLD_SIZE=2: expected 0 <= RANK")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["script", "module", "console"])
def test_other_ways_to_start(
    process, checkout: Path, files: Path, tmp_path: Path, how: str
) -> None:
    script = checkout / "scripts" / "train.py"
    starts: dict[str, list[str | Path]] = {
        "script": [script],
        "module": ["-m", "bpnet.cli.train"],
        "console": ["-m", "bpnet.cli.main", "train"],
    }
    line = short(files, tmp_path / "run")[1:]
    status, out, err = process(*starts[how], *line)
    assert status == 0, err
    assert json.loads(out.splitlines()[-1])["run_dir"] == str(tmp_path / "run")
    status, out, err = process(*starts[how], "trainer.batchsize=3")
    assert (status, out) == (2, "")
    assert re.fullmatch(r"ConfigError: unknown config key 'trainer\.batchsize'.*\n", err)


def test_the_script_passes_on(process, checkout: Path) -> None:
    status, out, err = process(checkout / "scripts" / "train.py", "trainer.batchsize=3")
    assert (status, out) == (2, "")
    assert err.startswith("ConfigError: unknown config key 'trainer.batchsize'")
