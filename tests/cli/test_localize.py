"""`bpnet localize`: text and JSON, equal to the library's answers; errors."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest

from bpnet import Localizer
from bpnet.checkpoint import BEST, Checkpoint
from bpnet.inference.collection import StoredVideos
from bpnet.inference.library import open_library
from bpnet_features import FeatureStore

QUERIES = ["the small circle spins", "the small circle jumps"]


def test_json(bpnet, dataset_root: Path, run_dir: Path) -> None:
    features = dataset_root / "features.h5"
    status, out, err = bpnet(
        "localize", "v11", *QUERIES, "--checkpoint", run_dir, "--features", features, "--json"
    )
    assert (status, err) == (0, "")
    answers = json.loads(out)
    expected = Localizer.from_pretrained(run_dir).open_video(features, "v11").localize(QUERIES)
    assert answers == [[moment.to_dict() for moment in moments] for moments in expected]
    assert all(1 <= len(answer) <= 5 for answer in answers)
    assert set(answers[0][0]) == {"start_seconds", "end_seconds", "score", "probability"}


def test_one_query_is_a_list_of_one_list(bpnet, dataset_root: Path, run_dir: Path) -> None:
    line = ["--checkpoint", run_dir / BEST, "--features", dataset_root / "features.h5"]
    status, out, _ = bpnet("localize", "v11", QUERIES[0], *line, "--json", "--top", "2")
    assert status == 0
    assert [len(answer) for answer in json.loads(out)] == [2]


def test_a_table(bpnet, dataset_root: Path, run_dir: Path) -> None:
    features = dataset_root / "features.h5"
    line = ["--checkpoint", run_dir, "--features", features, "--top", "3"]
    status, out, err = bpnet("localize", "v11", *QUERIES, *line)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert [lines[0], lines[5]] == QUERIES
    assert len(lines) == 10
    video = Localizer.from_pretrained(run_dir).open_video(features, "v11")
    first = video.localize(QUERIES[1])[0]
    found = re.match(r" *1 +0:(\S+) +0:(\S+) +(\S+) +(\S+) +(\S+)$", lines[7])
    assert found is not None, lines[7]
    numbers = [float(found[place]) for place in (1, 2, 4, 5)]
    times = [first.start_seconds, first.end_seconds]
    assert numbers[:2] == pytest.approx(times, abs=0.051)
    assert numbers[2:] == pytest.approx([first.score, first.probability], abs=0.0051)
    bar = [mark != "\N{MIDDLE DOT}" for mark in found[3]]
    assert len(bar) == 30
    shown = (bar.index(True) / 30, 1 - bar[::-1].index(True) / 30)
    assert [8 * place for place in shown] == pytest.approx(times, abs=0.3)


def test_sentences_of_a_file_and_of_standard_input(
    bpnet, dataset_root: Path, run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ["--checkpoint", run_dir, "--features", dataset_root / "features.h5", "--json"]
    expected = bpnet("localize", "v11", *QUERIES, *line)[1]
    (tmp_path / "asked.txt").write_text("\n".join(["", QUERIES[1], "  "]))
    assert bpnet("localize", "v11", QUERIES[0], *line, "--list", "asked.txt")[1] == expected
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(QUERIES) + "\n"))
    assert bpnet("localize", "v11", *line, "--list", "-")[1] == expected


def test_nothing_found_is_an_exit_status(bpnet, dataset_root: Path, run_dir: Path) -> None:
    line = ["--checkpoint", run_dir, "--features", dataset_root / "features.h5"]
    status, out, err = bpnet("localize", "v11", *QUERIES, *line, "--min-score", "1.5")
    assert (status, err) == (1, "")
    assert out.splitlines() == [
        *(QUERIES[0], "  not in this video"),
        *(QUERIES[1], "  not in this video"),
    ]
    status, out, err = bpnet("localize", "v11", *QUERIES, *line, "--min-score", "1.5", "--json")
    assert (status, json.loads(out), err) == (1, [[], []], "")
    status, out, _ = bpnet("localize", "v11", QUERIES[0], *line, "--min-score", "auto", "--json")
    least = Localizer.from_pretrained(run_dir).least_score
    assert least is not None
    assert status == 0 and all(one["score"] >= least for one in json.loads(out)[0])


def test_subtitles(bpnet, dataset_root: Path, run_dir: Path, tmp_path: Path) -> None:
    line = ["--checkpoint", run_dir, "--features", dataset_root / "features.h5", "--top", "2"]
    status, _, err = bpnet("localize", "v11", *QUERIES, *line, "--srt", "found.srt")
    assert (status, err) == (0, "")
    entries = (tmp_path / "found.srt").read_text().split("\n\n")
    assert [entry.split("\n")[0] for entry in entries] == ["1", "2", "3", "4"]
    assert {entry.split("\n")[2][: len(QUERIES[0])] for entry in entries} == {
        query[: len(QUERIES[0])] for query in QUERIES
    }
    starts = [entry.split("\n")[1].split(" --> ")[0] for entry in entries]
    assert starts == sorted(starts)


def test_a_plain_file_with_a_duration(
    bpnet, dataset_root: Path, run_dir: Path, tmp_path: Path
) -> None:
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["v0"] = FeatureStore(dataset_root / "features.h5").read("v0")[0]
    line = ["--checkpoint", run_dir, "--features", "plain.h5", "--json", "--top", "100"]
    status, out, _ = bpnet("localize", "v0", QUERIES[0], *line, "--duration", "7.75")
    assert status == 0
    assert max(moment["end_seconds"] for moment in json.loads(out)[0]) <= 7.75


def test_a_folder_of_another_project(
    bpnet, dataset_root: Path, run_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "npy").mkdir()
    np.save(tmp_path / "npy" / "v0.npy", FeatureStore(dataset_root / "features.h5").read("v0")[0])
    answers = []
    for features in (tmp_path / "npy", dataset_root / "features.h5"):
        line = ["--checkpoint", run_dir, "--features", features, "--json"]
        status, out, err = bpnet("localize", "v0", QUERIES[0], *line)
        assert status == 0, err
        answers.append(out)
    assert answers[0] == answers[1]


def test_a_report(bpnet, dataset_root: Path, run_dir: Path, tmp_path: Path) -> None:
    line = ["--checkpoint", run_dir, "--features", dataset_root / "features.h5"]
    status, _, err = bpnet("localize", "v11", *QUERIES, *line, "--report", "answers.html")
    assert (status, err) == (0, "")
    page = (tmp_path / "answers.html").read_text()
    assert all(query in page for query in QUERIES)
    assert "<video" not in page


def test_a_report_and_a_figure_show_what_is_printed(
    bpnet, dataset_root: Path, run_dir: Path, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    line = ["--checkpoint", run_dir, "--features", dataset_root / "features.h5", "--json"]
    scores = [
        one["score"] for (one, *_) in json.loads(bpnet("localize", "v11", *QUERIES, *line)[1])
    ]
    least = str(max(scores))  # the other sentence is not in the video
    drawn = ["--report", "a.html", "--plot", "a.svg", "--top", "2", "--min-score", least]
    status, out, err = bpnet("localize", "v11", *QUERIES, *line, *drawn)
    assert (status, err) == (0, "")
    printed = json.loads(out)
    assert printed == json.loads(bpnet("localize", "v11", *QUERIES, *line, *drawn[4:])[1])
    page = (tmp_path / "a.html").read_text()
    assert page.count("<article ") == 2 and page.count("Not in this video") == 1
    assert page.count('class="mark moment"') == 1
    assert (tmp_path / "a.svg").read_text().count(">not in this video<") == 1


def test_what_cannot_be_drawn(bpnet, dataset_root: Path, run_dir: Path) -> None:
    line = ["--checkpoint", run_dir, "--features", dataset_root / "features.h5"]
    status, _, err = bpnet("localize", "v11", QUERIES[0], *line, "--plot", "a.gif")
    assert status == 2 and "'a.gif': expected a name in .png, .svg, .pdf" in err
    status, _, err = bpnet("localize", "v11", *QUERIES * 7, *line, "--plot", "a.png")
    assert status == 2 and "14 sentences in one figure: expected 1 to 12" in err
    for more in ([], ["--report", "a.html"]):
        status, _, err = bpnet("localize", "v11", QUERIES[0], *line, "--embed", *more)
        assert status == 2 and "--embed: expected a video file and --report" in err


@pytest.mark.parametrize("encoding", ["ascii", "utf-8:strict"])
def test_a_terminal_that_cannot_show_a_letter(
    process, dataset_root: Path, run_dir: Path, encoding: str
) -> None:
    """Such as half of a surrogate pair, which stands for a byte that is not UTF-8."""
    line = ["v11", "the small é spins", b"the \xff circle", "--checkpoint", run_dir]
    line += ["--features", dataset_root / "features.h5", "--srt", "found.srt", "--report", "r.html"]
    shown = [
        part.decode(errors="surrogateescape") if isinstance(part, bytes) else part for part in line
    ]
    status, out, err = process(
        *["-m", "bpnet.cli.main", "localize", *shown], PYTHONIOENCODING=encoding
    )
    assert (status, err) == (0, "")
    assert "the ? circle" in out and out.count("0:0") > 10
    assert ("the small ? spins" in out) == (encoding == "ascii")
    assert "the \\udcff circle" in Path("found.srt").read_text(encoding="utf-8")


def test_long_queries_are_cut_with_a_warning(bpnet, dataset_root: Path, run_dir: Path) -> None:
    line = ["--checkpoint", run_dir, "--features", dataset_root / "features.h5", "--json"]
    status, out, err = bpnet("localize", "v0", "spins " * 500, *line)
    assert status == 0
    assert len(json.loads(out)[0]) == 5
    assert re.match(
        r"WARNING: 1 of 1 queries with more than 12 tokens: cut there \('spins spins", err
    )


def test_refused_before_heavy_work(process, dataset_root: Path, run_dir: Path) -> None:
    features = dataset_root / "features.h5"
    lines = [
        ["v0", "q", "--checkpoint", "gone", "--features", str(features)],
        ["v0", "q", "--checkpoint", str(run_dir), "--features", "gone.h5"],
        ["gone.mp4", "q", "--checkpoint", str(run_dir)],
    ]
    code = (
        "import json, sys\n"
        "from bpnet.cli.main import main\n"
        "for line in json.loads(sys.argv[1]):\n"
        "    try:\n"
        "        main(['localize', *line])\n"
        "    except SystemExit as end:\n"
        "        assert end.code == 2\n"
        "assert 'torch' not in sys.modules\n"
    )
    status, out, err = process("-c", code, json.dumps(lines))
    assert (status, out) == (0, ""), err
    expected = [
        "CheckpointError: checkpoint 'gone': no such file or folder",
        "FeatureError: features 'gone.h5': no such file or folder",
        "FeatureError: video 'gone.mp4': no such file; for the id of a video in a feature store "
        "give --features",
    ]
    assert err.splitlines() == expected


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["v99", "spins"], r"MissingVideoError: video 'v99' is not in .*\(12 videos\)"),
        (["v0", ""], "AnnotationError: query '' has no words"),
        (["v0", "spins", "..."], r"AnnotationError: query '\.\.\.' has no words"),
        (["v0", "spins", "--top", "0"], "ConfigError: top=0: expected an integer >= 1"),
        (["v0", "spins", "--device", "tpu9"], "ConfigError: device='tpu9'"),
        (
            ["v0", "spins", "--min-score", "low"],
            "ConfigError: --min-score 'low': expected a number",
        ),
        (["v0", "spins", "--clips", "d"], "ConfigError: --clips with --features: expected a video"),
        (["v0", "spins", "--boxes", "d"], "ConfigError: --boxes and --image-model: expected both"),
        (
            ["v0", "spins", "--boxes", "d", "--image-model", "m"],
            "ConfigError: --boxes: expected a video file",
        ),
        (["v0", "spins", "--list", "gone.txt"], "AnnotationError: --list 'gone.txt': cannot be"),
    ],
)
def test_errors_are_one_line(
    bpnet, dataset_root: Path, run_dir: Path, arguments: list[str], match: str
) -> None:
    line = ["--checkpoint", run_dir, "--features", dataset_root / "features.h5"]
    status, out, err = bpnet("localize", *arguments, *line)
    assert (status, out) == (2, "")
    assert re.match(match, err)
    assert err.count("\n") == 1


def test_damaged_files(bpnet, dataset_root: Path, run_dir: Path, tmp_path: Path) -> None:
    features, checkpoint = dataset_root / "features.h5", (run_dir / BEST).read_bytes()
    (tmp_path / "half.safetensors").write_bytes(checkpoint[: len(checkpoint) // 2])
    (tmp_path / "half.h5").write_bytes(features.read_bytes()[:3000])
    for model, store, match in (
        ("half.safetensors", features, "CheckpointError: .*truncated or not a safetensors file"),
        (run_dir, "half.h5", "FeatureError: .*truncated or damaged HDF5 file"),
        (run_dir, "half.safetensors", "FeatureError: .*not an HDF5 file"),
    ):
        line = ["localize", "v0", "spins", "--checkpoint", model, "--features", store]
        status, out, err = bpnet(*line)
        assert (status, out) == (2, "")
        assert re.match(match, err)


def test_a_sentence_is_needed(bpnet, dataset_root: Path, run_dir: Path) -> None:
    features = dataset_root / "features.h5"
    status, _, err = bpnet("localize", "v0", "--checkpoint", run_dir, "--features", features)
    assert status == 2
    assert err.startswith("AnnotationError: no sentence: give some behind the video, or --list")


def test_no_fitted_score(bpnet, dataset_root: Path, run_dir: Path, tmp_path: Path) -> None:
    checkpoint = dataclasses.replace(Checkpoint.load(run_dir), calibration=None)
    checkpoint.save(tmp_path / BEST)
    line = ["--checkpoint", tmp_path, "--features", dataset_root / "features.h5"]
    status, _, err = bpnet("localize", "v0", "spins", *line, "--min-score", "auto")
    assert status == 2
    assert err.startswith("ConfigError: --min-score auto: the checkpoint has no fitted score")


def test_a_library(bpnet, dataset_root: Path, run_dir: Path, tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    features = dataset_root / "features.h5"
    line = ["--library", features, "--checkpoint", run_dir, "--cache", tmp_path / "kept"]
    status, out, err = bpnet("localize", *QUERIES, *line, "--json", "--top", "4")
    assert (status, err) == (0, "")
    localizer = Localizer.from_pretrained(run_dir)
    library = open_library(localizer, StoredVideos(FeatureStore(features)), tmp_path / "kept")
    expected = library.localize(QUERIES, top=4)
    assert json.loads(out) == [[one.to_dict() for one in found] for found in expected]
    status, out, err = bpnet("localize", QUERIES[0], *line, "--top", "4")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == QUERIES[0] and len(lines) == 6
    assert [row.split()[1] for row in lines[2:]] == [one.video_id for one in expected[0]]
    status, out, _ = bpnet("localize", QUERIES[0], *line, "--min-score", "2")
    assert (status, out.splitlines()[1]) == (1, "  in no video")


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["q", "--library", "gone.h5"], "FeatureError: library 'gone.h5': no such file or folder"),
        (["q", "--library", ".", "--srt", "a.srt"], "ConfigError: --srt with --library: expected"),
        (["--library", "."], "AnnotationError: no sentence"),
        ([], "FeatureError: no video: give a file, an id with --features, or --library"),
    ],
)
def test_what_does_not_go_together(bpnet, run_dir: Path, arguments: list[str], match: str) -> None:
    status, out, err = bpnet("localize", *arguments, "--checkpoint", run_dir)
    assert (status, out) == (2, "")
    assert re.match(match, err), err
