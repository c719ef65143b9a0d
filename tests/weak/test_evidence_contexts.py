"""What the pool is for in `evidence`: its clips need not say what the contexts tell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_rounds import config

from bpnet.config import TrainConfig
from bpnet.data.annotations import read_annotations
from bpnet.data.collate import collate
from bpnet.errors import ConfigError
from bpnet.evaluation.weak_metrics import pointing
from bpnet.training.state import TrainingState
from bpnet.weak.evidence import Evidence
from bpnet.weak.query_contexts import QueryContexts, pool_config
from bpnet.weak.run import WeakRun
from bpnet.weak.teach import ask
from bpnet_features.confounder_files import write_confounded
from bpnet_features.confounder_knobs import Confounder

KNOBS = Confounder(num_concepts=4, num_clips=24, dim=32, num_train=480, num_val=20, num_test=80)
POOL = {"num_prototypes": 48, "min_without": 5}


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("planted")
    write_confounded(root, KNOBS, 3)
    return root


def planted_config(root: Path, **changes: Any) -> TrainConfig:
    settings = {
        "data__vectors": str(root / "vectors.txt"),
        "data__validation_split": "val_labelled",
        "supervision__pool": POOL,
    }
    return config(root, **settings | changes)


def taught(settings: TrainConfig, run_dir: Path) -> tuple[WeakRun, Evidence]:
    run_dir.mkdir(exist_ok=True)
    run = WeakRun(settings, run_dir)
    teacher = run.teacher("evidence")
    assert isinstance(teacher, Evidence)
    return run, teacher


def peaks(run: WeakRun, teacher: Evidence, root: Path) -> dict[str, float]:
    """At what the most active clips of the part ``iid`` point, in percent."""
    data = run.config.data
    test = run.dataset(read_annotations(data.dataset, data.annotations, "iid")[0])
    lines = map(json.loads, (root / "contexts.jsonl").read_text().splitlines())
    contexts = {row["qid"]: row for row in lines}
    seen = [contexts[one.qid] for one in test.annotations]
    activations = [hint.activation for hint in ask(teacher, test, run.config, run.device)]
    objects, others = (runs(seen, name) for name in ("object", "context"))
    return pointing(activations, objects, others)


def runs(seen: list[dict[str, Any]], name: str) -> list[np.ndarray]:
    """Runs in clips, of one second each."""
    found = [row[name] for row in seen]
    return [np.array([] if one is None else [one], np.float64).reshape(-1, 2) for one in found]


def test_the_context_fools_it_less(planted: Path, tmp_path: Path) -> None:
    none = {"intervention": "none"}
    fooled, found = (
        peaks(
            *taught(
                planted_config(planted, supervision__teacher_epochs=15, **pool), tmp_path / name
            ),
            planted,
        )
        for name, pool in (("none", {"supervision__pool": none}), ("backdoor", {}))
    )
    assert fooled["CPR"] > 40
    assert found["CPR"] < fooled["CPR"] / 3
    assert found["pointing"] > fooled["pointing"] + 20


def test_it_goes_on_with_its_pool_where_it_was_cut_off(
    planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = TrainingState.save

    def save_and_die(state: TrainingState, path: Path) -> None:
        save(state, path)
        raise KeyboardInterrupt

    settings = planted_config(planted, supervision__teacher_epochs=2)
    whole = taught(settings, tmp_path / "whole")[1]
    assert whole.contexts is not None and whole.contexts.pool is not None
    assert whole.contexts.pool.strata.sum() == 4  # the planted contexts
    with monkeypatch.context() as patch:
        patch.setattr(TrainingState, "save", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            taught(settings, tmp_path / "cut")
    again = taught(settings, tmp_path / "cut")[1].state_dict()
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again[name]), name


def test_a_pool_that_stands_aside_changes_nothing(weak_root: Path, tmp_path: Path) -> None:
    none = config(weak_root, supervision__pool={"intervention": "none"})
    expected = taught(none, tmp_path / "none")[1]
    found = taught(config(weak_root), tmp_path / "aside")[1]
    assert expected.contexts is None and found.contexts is not None
    assert not found.contexts.pool.tells
    for name, value in expected.state_dict().items():
        assert torch.equal(value, found.state_dict()[name]), name


def test_concepts_of_words_and_of_sentences(planted: Path, tmp_path: Path) -> None:
    run = WeakRun(planted_config(planted), tmp_path)
    queries = [query.query for query in run.pairs.queries]
    pool = pool_config(run.config.supervision)
    contexts = QueryContexts(run._vocabulary, run._vectors, queries, pool, KNOBS.dim)
    assert contexts.concepts.count == 4
    batch = collate([run.pairs[place] for place in range(6)])
    marks, tokens = contexts.of_queries(batch), contexts.of_tokens(batch)
    for query, mark, token in zip(run.pairs.queries, marks, tokens, strict=False):
        (expected,) = contexts.concepts.of(query.query.split())
        assert mark.nonzero().flatten().tolist() == [expected]
        assert sorted(set(token.tolist())) == [-1, expected]


@pytest.mark.parametrize(
    "pool", [{"intervention": "cicam"}, {"intervention": "stratified"}, {"context_negatives": True}]
)
def test_what_evidence_does_not_know_is_refused(weak_root: Path, pool: dict[str, Any]) -> None:
    settings = config(weak_root, supervision__pool=pool).supervision
    with pytest.raises(ConfigError, match=r"with the teacher 'evidence'.*teachers=\[mil\]"):
        pool_config(settings)
    mil = config(weak_root, supervision__pool=pool, supervision__teachers=["mil"]).supervision
    assert pool_config(mil).num_prototypes == 128
