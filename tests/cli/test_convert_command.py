"""`bpnet features convert`: the command line, what it prints, and its exit status."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from bpnet_features import FeatureStore

WIDTH = 4


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A folder of npy files, "AAAA0" to "AAAA3" of 2, 4, 6, 8 clips."""
    path = tmp_path / "release"
    path.mkdir()
    for number in range(4):
        np.save(path / f"AAAA{number}.npy", clips(number))
    return path


def clips(number: int) -> np.ndarray:
    values = np.random.default_rng(number).normal(size=(2 + 2 * number, WIDTH))
    return values.astype(np.float32)


def test_folder_to_store(bpnet, release: Path) -> None:
    status, out, err = bpnet("features", "convert", release, "f.h5", "--backbone", "mine")
    assert (status, err) == (0, "")
    first, *_, last, unknown = out.splitlines()
    assert re.match(r"layout npy: ", first)
    assert re.fullmatch(
        r"4 videos, 20 clips, 0\.0 MB in f\.h5; 0\.0 MB written in \d+\.\d s \(\d+ MB/s\)", last
    )
    assert unknown.startswith("4 videos of unknown length: ")
    store = FeatureStore("f.h5")
    assert (store.spec.backbone, store.spec.feature_dim) == ("mine", WIDTH)
    for number in range(4):
        assert np.array_equal(store.read(f"AAAA{number}", 10.0)[0], clips(number))
    status, out, err = bpnet("features", "inspect", "f.h5")
    assert (status, err) == (0, "")
    assert "4 videos, 20 clips (per video 2 to 8, median 5)" in out


def test_spec_on_the_command_line(bpnet, release: Path) -> None:
    line = ["--layout", "npy", "--backbone", "mine", "--seconds-per-clip", "1.5", "--dtype"]
    line += ["float16", "--max-clips", "5", "--spec", "fps=24", "layer=6", "clip_length_frames=16"]
    status, _, err = bpnet("features", "convert", release, "f.h5", *line, "--spec", "version=2")
    assert (status, err) == (0, "")
    store = FeatureStore("f.h5")
    assert store.spec.layer == "6"
    assert (store.spec.fps, store.spec.clip_length_frames, store.spec.version) == (24, 16, 2)
    assert (store.spec.seconds_per_clip, store.spec.normalisation) == (1.5, "none")
    entry = store.entry("AAAA3")
    assert (entry.num_clips, entry.resampled_from, entry.dtype) == (5, 8, "float16")


@pytest.mark.parametrize("form", ["json", "csv", "annotations", "both"])
def test_lengths(bpnet, release: Path, form: str) -> None:
    Path("a.json").write_text('{"AAAA0": 2.5, "AAAA1": 4, "BBBBB": 1}')
    Path("a.csv").write_text('id,scene,length\nAAAA0,"in, out",2.5\nAAAA1,x,4\nBBBBB,,1\n')
    with Path("a.jsonl").open("w") as file:
        for number, split in enumerate(("train", "test", "test")):
            row = {"qid": f"q{number}", "video_id": f"AAAA{number}", "query": "spins"}
            times = {"start": 0, "end": 1, "duration": 2.5 + 1.5 * number, "split": split}
            file.write(json.dumps(row | times) + "\n")
    line = {
        "json": ["--durations", "a.json"],
        "csv": ["--durations", "a.csv"],
        "annotations": ["--annotations", "a.jsonl"],
        "both": ["--annotations", "a.jsonl", "--durations", "b.json"],
    }[form]
    Path("b.json").write_text('{"AAAA2": 6.25}')
    line = ["features", "convert", release, "f.h5", "--backbone", "mine", *line]
    status, out, err = bpnet(*line)
    assert (status, err) == (0, "")
    known = {"AAAA0": 2.5, "AAAA1": 4.0}
    if form in ("annotations", "both"):
        known["AAAA2"] = 5.5 if form == "annotations" else 6.25
    assert f"lengths of {len(known)} of 4 videos given\n" in out
    assert f"\n{4 - len(known)} videos of unknown length: " in out
    store = FeatureStore("f.h5")
    for number in range(4):
        video_id = f"AAAA{number}"
        assert store.entry(video_id).duration_seconds == known.get(video_id)


def test_streams(bpnet, release: Path) -> None:
    (release.parent / "pack").mkdir()
    for name, factor in (("one", 1), ("two", 3)):
        folder = release.parent / "pack" / name
        folder.mkdir()
        for number in range(4):
            np.save(folder / f"AAAA{number}.npy", factor * clips(number))
    line = ["features", "convert", "pack", "f.h5", "--backbone", "mine"]
    status, _, err = bpnet(*line, "--streams", "two,one", "--normalise", "l2")
    assert (status, err) == (0, "")
    store = FeatureStore("f.h5")
    assert (store.spec.streams, store.spec.normalisation) == (("two", "one"), "l2")
    read = store.read("AAAA1", 3.0)[0]
    norms = np.linalg.norm(clips(1), axis=1, keepdims=True)
    np.testing.assert_allclose(read[:, :WIDTH], 3 * clips(1) / (3 * norms + 1e-5), rtol=1e-5)
    np.testing.assert_allclose(read[:, WIDTH:], clips(1) / (norms + 1e-5), rtol=1e-5)


def test_faults_and_going_on(bpnet, release: Path) -> None:
    np.save(release / "AAAA2.npy", clips(2) * np.nan)
    line = ["features", "convert", release, "f.h5", "--backbone", "mine"]
    status, out, err = bpnet(*line)
    assert status == 2
    first, second = err.splitlines()
    assert first.startswith("FeatureError: 1 of 4 videos cannot be converted, 'f.h5' was not writ")
    assert second.startswith(f"  video 'AAAA2' in {release}: NaN or infinite values in 6 of 6 cl")
    assert not Path("f.h5").exists()

    status, out, err = bpnet(*line, "--faulty", "drop")
    assert status == 0
    assert err == ""
    assert "\n0.0 MB were there from an interrupted run\n" in out
    *_, title, dropped = out.splitlines()
    assert title == "1 faulty videos dropped:"
    assert dropped == second
    assert FeatureStore("f.h5").video_ids() == ["AAAA0", "AAAA1", "AAAA3"]

    status, out, err = bpnet(*line)
    assert (status, err.count("\n")) == (2, 1)
    assert err.startswith("FeatureError: 'f.h5' is there already; give another name, or remove it")


@pytest.mark.parametrize(
    ("line", "match"),
    [
        (["--layout", "vslne"], r"layout 'vslne': expected .*did you mean 'vslnet'"),
        (["--spec", "fps=fast"], r"--spec fps='fast': expected a number"),
        (["--spec", "fps=true"], r"--spec fps='true': expected a number"),
        (["--spec", "fps"], r"--spec 'fps': expected KEY=VALUE"),
        (["--spec", "colour=1"], r"colour"),
        (["--max-clips", "0"], r"max_clips=0: expected an integer >= 1"),
        (["--jobs", "0"], r"jobs=0: expected an integer >= 1"),
        (["--durations", "gone.json"], r"durations 'gone\.json': cannot be read"),
        (["--annotations", "gone"], r"annotations 'gone': no such file"),
    ],
    ids=str,
)
def test_errors(bpnet, release: Path, line: list[str], match: str) -> None:
    status, _, err = bpnet("features", "convert", release, "f.h5", "--backbone", "mine", *line)
    assert status == 2
    assert re.match(rf"(Feature|Annotation)Error: .*{match}", err)
    assert err.count("\n") == 1
    assert not Path("f.h5").exists()


def test_a_source_that_is_not_there(bpnet) -> None:
    status, out, err = bpnet("features", "convert", "gone", "f.h5")
    assert (status, out) == (2, "")
    assert re.match("FeatureError: .*'gone': no such file or folder", err)


def test_a_hostile_name_stays_inside(bpnet, release: Path, tmp_path: Path) -> None:
    """Names that mean something to a file system mean nothing to a store."""
    np.save(release / "~.npy", clips(0))
    with h5py.File("hostile.h5", "w") as file:
        file["AAAA0"] = clips(0)
        file[".."] = clips(1)
    before = set(tmp_path.parent.rglob("*"))
    assert bpnet("features", "convert", release, "a.h5", "--backbone", "mine")[0] == 0
    assert bpnet("features", "convert", "hostile.h5", "b.h5", "--backbone", "mine")[0] == 0
    after = set(tmp_path.parent.rglob("*"))
    assert {path.name for path in after - before} == {"a.h5", "b.h5"}
    assert FeatureStore("b.h5").video_ids() == ["..", "AAAA0"]


def test_what_argparse_refuses(bpnet, release: Path) -> None:
    for line in ([], [release], [release, "f.h5", "--dtype", "float64"]):
        status, out, err = bpnet("features", "convert", *line)
        assert (status, out) == (2, "")
        assert "usage: bpnet features convert" in err


def test_converting_does_not_import_torch(process, release: Path) -> None:
    code = (
        "import sys\n"
        "from bpnet.cli.main import main\n"
        "main(['features', 'convert', sys.argv[1], 'f.h5', '--backbone', 'mine'])\n"
        "print(sorted({'torch', 'hydra', 'av'} & set(sys.modules)))\n"
    )
    status, out, err = process("-c", code, release)
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == "[]"


def test_interrupted_by_the_user(tmp_path: Path) -> None:
    """Ctrl-C keeps what is done; the same command goes on."""
    folder = tmp_path / "csv"
    folder.mkdir()
    rows = np.random.default_rng(0).normal(size=(300, 400)).round(4)
    header = ",".join(f"f{column}" for column in range(400))
    text = "\n".join(",".join(map(str, row)) for row in rows.tolist())
    for number in range(40):
        (folder / f"v_{number:011d}.csv").write_text(f"{header}\n{text}")
    line = [sys.executable, "-m", "bpnet.cli.main", "features", "convert", "csv", "f.h5"]
    line += ["--backbone", "tsn", "--jobs", "1"]
    process = subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )
    part, journal = tmp_path / ".f.h5.convert.part", tmp_path / ".f.h5.convert.journal"
    size = 300 * 400 * 4
    while not journal.exists() or part.stat().st_blocks * 512 < 12 * size:
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out.splitlines()[-1] == "interrupted; what is done is kept, the same command goes on"
    assert "Traceback" not in err
    assert not (tmp_path / "f.h5").exists()
    done = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert re.search(r"(?m)^[1-9]\d*\.\d MB were there from an interrupted run$", done.stdout)
    assert len(FeatureStore(tmp_path / "f.h5")) == 40
