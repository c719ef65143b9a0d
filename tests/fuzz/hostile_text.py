"""Hostile text: csv and text vectors, and every json that we read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from annotation_samples import DIDEMO, ENTRY, ROW
from hostile_arrays import CLIPS, SPEC
from sound import PREDICTIONS
from subject import SLACK_BYTES, Subject

DEPTHS = (100, 500, 900, 960, 980, 985, 990, 1000, 5000, 100_000)

# Values that stand in place of one that belongs there.
VALUES: dict[str, str] = {
    "null": "null",
    "true": "true",
    "a string": '"7"',
    "an empty string": '""',
    "half a letter": '"\\ud800"',
    "NUL": '"a\\u0000b"',
    "a line separator": '"a\\u2028b"',
    "a path": '"../../x"',
    "a million letters": f'"{"x" * 10**6}"',
    "a million spaces": f'"{" " * 10**6}"',
    "NaN": "NaN",
    "infinity": "Infinity",
    "minus infinity": "-Infinity",
    "minus one": "-1",
    "minus zero": "-0.0",
    "1e999": "1e999",
    "1e308": "1e308",
    "-1e308": "-1e308",
    "1e-320": "1e-320",
    "2**63": str(2**63),
    "2**31 - 0.5": str(2**31 - 0.5),
    "400 digits": "9" * 400,
    "5,000 digits": "9" * 5000,
    "an empty list": "[]",
    "an empty object": "{}",
    "a list of lists": "[[[]], [[1, 2]], {}]",
    "an object of lists": '{"a": [1], "b": {"c": null}}',
    "a hundred thousand numbers": json.dumps(list(range(100_000))),
    "a hundred thousand pairs": json.dumps([[0, 1]] * 100_000),
    "pairs of huge numbers": "[[-1e308, 1e308], [1e308, 1e308]]",
    "a name twice": '{"a": 1, "a": 2}',
    **{f"lists, {depth} deep": "[" * depth + "]" * depth for depth in DEPTHS},
    **{f"objects, {depth} deep": '{"a":' * depth + "1" + "}" * depth for depth in DEPTHS},
    "lists without an end": "[" * 100_000,
    "comments": "1 // x",
    "code": "__import__('os').mkdir('ran')",
}
# Whole files.
FILES: dict[str, bytes] = {
    "nothing": b"",
    "a space": b" ",
    "a newline": b"\n",
    "a million newlines": b"\n" * 10**6,
    "BOM": b"\xef\xbb\xbf",
    "two BOMs": b"\xef\xbb\xbf" * 2 + b"{}",
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "UTF-32": '{"a": 1}'.encode("utf-32"),
    "zeros": bytes(1000),
    "ones": b"\xff" * 1000,
    "a bare string": b'"x"',
    "a bare number": b"7",
    "NaN": b"NaN",
    "an empty list": b"[]",
    "an empty object": b"{}",
    "a list of nothing": b"[null, null]",
    "a million lists": b"[" + b"[]," * 10**6 + b"[]]",
    "a million objects": b"[" + b"{}," * 10**6 + b"{}]",
    "objects of a name": b"[" + b'{"":0},' * 300_000 + b"{}]",
    "half a million names": json.dumps(dict.fromkeys(map(str, range(500_000)), 1)).encode(),
    "a pickle": b"\x80\x04\x95\x00.",
    "a zip": b"PK\x03\x04" + bytes(100),
    "a web page": b"<!DOCTYPE html><html>" + b"<p>" * 1000,
    "one quote": b'"',
    "commas": b"," * 10**6,
    "quotes and commas": b'",' * 10**5,
    "carriage returns": b"a,b\r1,2\r",
}


def _most(path: Path) -> int:
    """Values of JSON may take forty times the size of their text, as `prediction_files` says."""
    size = sum(file.stat().st_size for file in path.parent.rglob("*") if file.is_file())
    return SLACK_BYTES + 40 * size


def _features(folder: Path, layout: str, files: dict[str, bytes]) -> Subject:
    path = folder / "release"
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return Subject("features", path, layout, SPEC, most_bytes=_most(path))


def _npy() -> bytes:
    import io

    file = io.BytesIO()
    np.save(file, CLIPS)
    return file.getvalue()


# A csv file of features, beside a sound one of three columns.
CSV: dict[str, Callable[[], bytes]] = {
    **{name: lambda data=data: data for name, data in FILES.items()},  # type: ignore[misc]
    "a million columns": lambda: b",".join([b"f"] * 10**6) + b"\n" + b",".join([b"1"] * 10**6),
    "a hundred thousand rows": lambda: b"f0,f1,f2\n" + b"1,2,3\n" * 10**5,
    "a million rows of nothing": lambda: b"f0\n" + b"\n" * 10**6 + b"1",
    "a row of a million": lambda: b"f0,f1,f2\n" + b",".join([b"1"] * 10**6),
    "many columns, many rows": lambda: b"f" + b"," * 10**6 + b"\n" * 10**6 + b"x",
    **{
        f"value {value!r:.30}": lambda value=value: f"f0,f1,f2\n1,{value},3\n".encode(  # type: ignore[misc]
            "utf-8", "surrogatepass"
        )
        for value in (
            "",
            " ",
            "nan",
            "inf",
            "1e999",
            "1e39",
            "1e-400",
            "0x10",
            "1_000",
            "\u0661",
            "\uff11",
            '"1"',
            "1;2",
            "1j",
            "True",
            "None",
            "1\0",
            "\0",
            "\ud800",
            "9" * 10**6,
            "0." + "1" * 10**6,
            "x" * 10**6,
            "1\r",
            "1\x0b2",
            "1\u2028",
            "=cmd()",
        )
    },
    "line ends of Windows": lambda: b"f0,f1,f2\r\n1,2,3\r\n",
    "a header alone": lambda: b"f0,f1,f2",
    "no header": lambda: b"1,2,3\n4,5,6\n",
    "a header of numbers, then names": lambda: b"f0,1,2\n1,2,3\n",
}
VECTORS: dict[str, Callable[[], dict[str, bytes]]] = {
    **{
        name: lambda data=data: {"a/a-1.txt": data[: 2**20]}  # type: ignore[misc]
        for name, data in FILES.items()
    },
    "a thousand files": lambda: {f"a/a-{n}.txt": b"1 2 3" for n in range(1000)},
    "of other lengths": lambda: {"a/a-1.txt": b"1 2 3", "a/a-2.txt": b"1 2"},
    "half a million numbers": lambda: {"a/a-1.txt": b"1 " * 500_000},
    "NaN": lambda: {"a/a-1.txt": b"1 nan 3"},
    "no files": lambda: {"a/a-1.npy": b""},
    "folders in folders": lambda: {"a/a-1.txt/x.txt": b"1 2 3"},
    "names with a path": lambda: {"a/..\\x.txt": b"1 2 3"},
}


def _shapes(text: str) -> Callable[[Path], Subject]:
    def make(folder: Path) -> Subject:
        files = {"a.npy": _npy(), "b.npy": _npy(), "feature_shapes.json": text.encode()}
        return _features(folder, "vslnet", files)

    return make


def _durations(name: str, data: bytes) -> Callable[[Path], Subject]:
    def make(folder: Path) -> Subject:
        (folder / name).write_bytes(data)
        return Subject("durations", folder / name, most_bytes=_most(folder / name))

    return make


def _predictions(data: bytes) -> Callable[[Path], Subject]:
    def make(folder: Path) -> Subject:
        path = folder / "predictions.jsonl"
        path.write_bytes(data)
        return Subject("predictions", path, most_bytes=_most(path))

    return make


def _annotations(dataset: str, name: str, data: bytes) -> Callable[[Path], Subject]:
    def make(folder: Path) -> Subject:
        (folder / "a").mkdir()
        (folder / "a" / name).write_bytes(data)
        return Subject("annotations", folder / "a", dataset, most_bytes=_most(folder / "a" / name))

    return make


def _replacing(sound: Any, value: str) -> dict[str, str]:
    """The JSON of ``sound`` with each of its places in turn replaced by ``value``."""
    mark = '"\\u2603"'
    found = {}
    for name, replaced in _each(sound, "top"):
        found[name] = json.dumps(replaced).replace(mark, value)
    return found


def _each(sound: Any, name: str) -> list[tuple[str, Any]]:
    places: list[tuple[str, Any]] = [(name, "\u2603")]
    if isinstance(sound, dict):
        for key, inner in sound.items():
            places += [(n, {**sound, key: one}) for n, one in _each(inner, key)]
    elif isinstance(sound, list) and sound:
        places += [(n, [one, *sound[1:]]) for n, one in _each(sound[0], f"{name}[0]")]
    return places


ANNOTATIONS: dict[str, tuple[str, Any]] = {
    "activitynet_cd": ("anet_val.json", {"v_1": ENTRY}),
    "tacos_2dtan": ("val.json", {"v": ENTRY | {"fps": 2, "num_frames": 60}}),
    "qvhighlights": ("highlight_val_release.jsonl", ROW),
    "didemo": ("val_data.json", [DIDEMO]),
    "jsonl": ("val.jsonl", ROW),
}


def cases() -> dict[str, Callable[[Path], Subject]]:
    """All of them by name."""
    sound = b"f0,f1,f2\n1,2,3\n4,5,6"
    found: dict[str, Callable[[Path], Subject]] = {
        f"csv: {name}": lambda folder, write=write: _features(  # type: ignore[misc]
            folder, "csv", {"a.csv": write(), "b.csv": sound}
        )
        for name, write in CSV.items()
    }
    found |= {
        f"vectors: {name}": lambda folder, write=write: _features(  # type: ignore[misc]
            folder, "text-vectors", {"b/b-1.txt": b"1 2 3", **write()}
        )
        for name, write in VECTORS.items()
    }
    for name, value in VALUES.items():
        found[f"shapes: {name}"] = _shapes(f'{{"a": {value}, "b": 4}}')
        found[f"durations: {name}"] = _durations("d.json", f'{{"a": {value}}}'.encode())
        for form, text in PREDICTIONS.items():
            one = json.loads(text.splitlines()[0])
            places = _replacing(one, value)
            # Each place with each value would be thousands.
            place = sorted(places)[sum(map(ord, name + form)) % len(places)]
            data = places[place].encode("utf-8", "surrogatepass")
            found[f"predictions: {form}, {place}: {name}"] = _predictions(data)
        for dataset, (file, one) in ANNOTATIONS.items():
            places = _replacing(one, value)
            place = sorted(places)[sum(map(ord, name + dataset)) % len(places)]
            data = places[place].encode("utf-8", "surrogatepass")
            found[f"annotations: {dataset}, {place}: {name}"] = _annotations(dataset, file, data)
    for name, data in FILES.items():
        found[f"shapes: file of {name}"] = _shapes(data.decode("latin1"))
        found[f"predictions: file of {name}"] = _predictions(data)
        found[f"durations: json file of {name}"] = _durations("d.json", data)
        found[f"durations: csv file of {name}"] = _durations("d.csv", data)
        for dataset, (file, _) in ANNOTATIONS.items():
            found[f"annotations: {dataset}: file of {name}"] = _annotations(dataset, file, data)
        found[f"annotations: csv: file of {name}"] = _annotations("csv", "val.csv", data)
    for name, data in {
        "no length": b"id\na\n",
        "a short row": b"id,length\na\n\n,\nb,3",
        "a long row": b"id,length\na,3" + b",4" * 10**6,
        "names twice": b"id,id,length,length\na,b,3,4\n",
        "a million columns": b"id,length" + b",x" * 10**6 + b"\na,3\n",
        "a long cell": b"id,length\na," + b"9" * 10**6,
        "an open quote": b'id,length\na,"3\n',
        "NUL": b"id,length\na\0,3\n",
    }.items():
        found[f"durations: csv with {name}"] = _durations("d.csv", data)
    return found
