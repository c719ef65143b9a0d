"""QueryFeatureStore: npz files and HDF5, both arrays, ids, and what is refused."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest

from bpnet_features import FeatureError, QueryFeatureStore

SPEC = {"backbone": "minilm"}


def tokens(seed: int, length: int, width: int = 6) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(length, width)).astype(np.float32)


def write_npz(folder: Path, name: str = "qid{}.npz", **more: Any) -> Path:
    """Two queries, 7 and 12, as Moment-DETR and Lighthouse lay them out; float16 as in UniVTG."""
    folder.mkdir(parents=True)
    for seed, qid in enumerate((7, 12)):
        hidden = tokens(seed, 3 + seed).astype(np.float16)
        pooled = hidden.mean(axis=0)
        np.savez(folder / name.format(qid), last_hidden_state=hidden, pooler_output=pooled, **more)
    return folder


@pytest.mark.parametrize("name", ["qid{}.npz", "{}.npz"])
def test_npz(tmp_path: Path, name: str) -> None:
    store = QueryFeatureStore(write_npz(tmp_path / "clip_text_features", name))
    assert len(store) == 2 and "7" in store and "8" not in store
    assert store.spec.backbone == "clip"  # the folder says it
    assert (store.spec.feature_dim, store.spec.layer) == (6, "last_hidden_state")
    for seed, qid in enumerate(("7", "12")):
        found = store.read(qid)
        assert found.dtype == np.float32 and store.num_tokens(qid) == 3 + seed
        np.testing.assert_array_equal(found, tokens(seed, 3 + seed).astype(np.float16))


def test_a_vector_for_the_sentence(tmp_path: Path) -> None:
    store = QueryFeatureStore(write_npz(tmp_path / "txt_clip"), "pooler_output")
    assert store.num_tokens("7") == 1 and store.read("7").shape == (1, 6)
    expected = tokens(0, 3).astype(np.float16).mean(axis=0)
    np.testing.assert_array_equal(store.read("7")[0], expected.astype(np.float32))


@pytest.mark.parametrize("grouped", [True, False])
def test_hdf5(tmp_path: Path, grouped: bool) -> None:
    with h5py.File(tmp_path / "text.h5", "w") as file:
        # As a model gives it, with the axis of a batch of one.
        file["7/last_hidden_state" if grouped else "7"] = tokens(0, 3)[None]
        file["12/last_hidden_state" if grouped else "12"] = tokens(1, 4)
        if grouped:
            file["7/pooler_output"] = tokens(2, 1)
    store = QueryFeatureStore(tmp_path / "text.h5", spec=SPEC)
    copy = pickle.loads(pickle.dumps(store))
    for one in (store, copy):
        np.testing.assert_array_equal(one.read("7"), tokens(0, 3))
        np.testing.assert_array_equal(one.read("12"), tokens(1, 4))
        one.close()
    if grouped:
        # The first query, in the order of ids, has no such array.
        with pytest.raises(FeatureError, match=r"query '12'.*expected 'pooler_output'"):
            QueryFeatureStore(tmp_path / "text.h5", "pooler_output", SPEC)


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match=r"gone.*no such file or folder"):
        QueryFeatureStore(tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FeatureError, match=r"empty.*no query"):
        QueryFeatureStore(tmp_path / "empty")
    unnamed = write_npz(tmp_path / "text")
    with pytest.raises(FeatureError, match=r"give data\.query_features\.spec\.backbone"):
        QueryFeatureStore(unnamed)
    store = QueryFeatureStore(unnamed, spec=SPEC)
    with pytest.raises(FeatureError, match=r"query '8' in .*no such query \(2 queries\)"):
        store.read("8")
    with pytest.raises(FeatureError, match=r"query '\.\./7' in .*no such query"):
        store.read("../7")  # ids never become paths
    np.savez(unnamed / "7.npz", last_hidden_state=tokens(0, 3))
    with pytest.raises(FeatureError, match=r"'7\.npz' and 'qid7\.npz' stand for one query"):
        QueryFeatureStore(unnamed, spec=SPEC)


@pytest.mark.parametrize(
    ("array", "fault"),
    [
        (tokens(0, 3, 5), "features have width 5, the feature spec says 6"),
        (np.zeros((0, 6), np.float32), r"last_hidden_state of shape \(0, 6\)"),
        (np.zeros((2, 3, 6), np.float32), r"of shape \(2, 3, 6\): expected \(L, C\)"),
        (np.full((3, 6), np.nan, np.float32), "NaN or infinite"),
        (np.zeros((3, 6), np.int64), "int64"),
        (np.array([[object()]]), "pickled Python objects"),
    ],
)
def test_a_faulty_query(tmp_path: Path, array: npt.NDArray[Any], fault: str) -> None:
    folder = write_npz(tmp_path / "clip_text")
    np.savez(folder / "qid9.npz", last_hidden_state=array)
    store = QueryFeatureStore(folder, spec={"feature_dim": 6})
    with pytest.raises(FeatureError, match=rf"query '9' in .*{fault}"):
        store.read("9")
