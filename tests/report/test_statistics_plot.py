"""The picture of a dataset's statistics: written whole, in each format, whatever the data."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bpnet.data.statistics import Statistics, describe
from bpnet.errors import ConfigError
from bpnet.report.statistics_plot import MAX_PARTS, write_statistics_plot
from bpnet.types import Annotation

pytest.importorskip("matplotlib")


def part_of(split: str, number: int = 50, moments: int = 1, seed: int = 0) -> Statistics:
    rng = np.random.default_rng(seed)
    queries = []
    for index in range(number):
        duration = float(rng.uniform(10, 60))
        times = np.sort(rng.uniform(0, duration, (moments, 2))).tolist()
        words = " ".join(rng.choice("the person opens a red door and laughs".split(), 4))
        first, *others = ((start, end) for start, end in times)
        name = f"v{index % 7}"
        queries.append(Annotation(str(index), name, words, *first, duration, split, tuple(others)))
    return describe(queries, split)


def svg_texts(path: Path) -> list[str]:
    return re.findall(r"<text [^>]*>([^<]*)</text>", path.read_text(encoding="utf-8"))


def png_size(path: Path) -> tuple[int, int]:
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")


def test_each_format(tmp_path: Path) -> None:
    parts = [part_of("train")]
    starts = {".png": b"\x89PNG", ".svg": b"<?xml", ".PDF": b"%PDF"}
    for suffix, start in starts.items():
        path = tmp_path / "new" / f"picture{suffix}"
        write_statistics_plot(path, parts, title="tiny")
        assert path.read_bytes().startswith(start)
    assert len(list((tmp_path / "new").iterdir())) == 3
    assert png_size(tmp_path / "new" / "picture.png")[0] == 1600


def test_what_is_written_in_it(tmp_path: Path) -> None:
    path = tmp_path / "picture.svg"
    parts = [part_of("train", 1200), part_of("test", seed=1)]
    write_statistics_plot(path, parts, title="my data & more")
    texts = svg_texts(path)
    assert "my data &amp; more" in texts
    assert {"train  (1,200 moments)", "test  (50 moments)", "median"} <= set(texts)
    titles = ["Where moments lie: train", "Where moments lie: test", "Moment length"]
    titles += ["Relative moment length", "Video length", "Words per query"]
    assert [text for text in texts if text in titles] == titles
    assert {"door", "laughs", "opens", "person", "red"} <= set(texts)
    assert not {"the", "and", "a"} & set(texts)
    assert "Moments per query" not in texts
    write_statistics_plot(path, [part_of("train", moments=3)], title="several")
    assert "Moments per query" in svg_texts(path)


def test_the_end_of_an_axis_is_told(tmp_path: Path) -> None:
    """99 videos of 10 s and one of 500 s: at 98 percent the axis ends at 10 s."""
    queries = [
        Annotation(str(i), f"v{i}", "runs", 0, 1, 500.0 if i == 0 else 10.0, "train")
        for i in range(100)
    ]
    path = tmp_path / "picture.svg"
    write_statistics_plot(path, [describe(queries, "train")], title="tiny")
    assert "seconds (up to 1.0 % are beyond 10)" in svg_texts(path)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(1, MAX_PARTS + 1))
def test_any_number_of_parts(tmp_path: Path, number: int) -> None:
    """The width stays; all parts are named, long names cut."""
    path = tmp_path / "picture.png"
    parts = [part_of(f"part_{place}" * (place + 1), 20, seed=place) for place in range(number)]
    write_statistics_plot(path, parts, title="long " * 50)
    assert png_size(path)[0] == 1600


def test_odd_words(tmp_path: Path) -> None:
    path = tmp_path / "picture.svg"
    sentences = ("costs $5 or $6 a$x^{$b", "x" * 500, "ein Mädchen läuft")
    queries = [
        Annotation(str(number), "v", sentence, 0.0, 8.0, 8.0, "$train$")
        for number, sentence in enumerate(sentences)
    ]
    write_statistics_plot(path, [describe(queries, "$train$")], title="$\\frac{$ 100 %")
    texts = svg_texts(path)
    assert {"$\\frac{$ 100 %", "Where moments lie: $train$", "mädchen", "a$x^{$b"} <= set(texts)
    assert max(map(len, texts)) < 50


def test_a_query_without_content_words(tmp_path: Path) -> None:
    path = tmp_path / "picture.svg"
    part = describe([Annotation("1", "v", "the and of", 0.0, 8.0, 8.0, "train")], "train")
    write_statistics_plot(path, [part], title="tiny")
    assert {"train  (1 moment)", "none"} <= set(svg_texts(path))


@pytest.mark.slow
def test_the_settings_of_the_machine_change_nothing(tmp_path: Path) -> None:
    import matplotlib

    write_statistics_plot(tmp_path / "a.png", [part_of("train")], title="tiny")
    with matplotlib.rc_context({"font.size": 30, "figure.facecolor": "red"}):
        write_statistics_plot(tmp_path / "b.png", [part_of("train")], title="tiny")
        assert matplotlib.rcParams["font.size"] == 30
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"picture '.*a\.jpg': expected a name in \.png, \.svg"):
        write_statistics_plot(tmp_path / "a.jpg", [part_of("train")], title="tiny")
    with pytest.raises(ConfigError, match=r"7 parts in one picture: expected 1 to 6; choose with"):
        write_statistics_plot(tmp_path / "a.png", [part_of("train")] * 7, title="tiny")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match=r"picture '.*a\.png': cannot be written: "):
        write_statistics_plot(tmp_path / "file" / "a.png", [part_of("train")], title="tiny")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_without_matplotlib(tmp_path: Path) -> None:
    """In a process that cannot import it; the module itself can be imported there."""
    code = (
        "import sys\n"
        "sys.modules['matplotlib'] = None\n"
        "from bpnet.data.statistics import describe\n"
        "from bpnet.report.statistics_plot import write_statistics_plot\n"
        "from bpnet.types import Annotation\n"
        "part = describe([Annotation('1', 'v', 'runs', 0, 1, 2, 'train')], 'train')\n"
        "write_statistics_plot(sys.argv[1], [part], title='tiny')\n"
    )
    line = [sys.executable, "-c", code, str(tmp_path / "a.png")]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    expected = "ConfigError: this picture needs `pip install 'bpnet-nlvl[plots]'`"
    assert done.stderr.splitlines()[-1].endswith(expected)
