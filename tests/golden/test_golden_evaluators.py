"""Our numbers against those of other people's evaluation code; where these come from: README.md."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import golden_inputs
import numpy as np
import pytest

from bpnet.evaluation.average_precision import mean_average_precision
from bpnet.evaluation.discounted import discounted_recall
from bpnet.evaluation.metrics import best_overlaps, localization_metrics
from bpnet.evaluation.protocols import TAN, protocol
from bpnet.evaluation.ranking import rank, round_times
from bpnet.evaluation.saliency import highlight_metrics
from bpnet.types import Saliency

HERE = Path(__file__).parent
RECALL = json.loads((HERE / "recall.json").read_text())
SOFT = json.loads((HERE / "soft_nms.json").read_text())
MOMENT_DETR = json.loads((HERE / "moment_detr.json").read_text())
QUERIES = {
    "sparse": golden_inputs.sparse_queries(),
    "dense": golden_inputs.dense_queries(),
    "near": golden_inputs.near_queries(),
}
# What the stored numbers are called, and the rules of ours that they check.
RULES = {
    "vslnet": protocol("vslnet", "charades_sta"),
    "lgi": protocol("lgi", "activitynet"),
    "tan 0.4": protocol("tan", "tacos_2dtan"),
    "tan 0.45": protocol("tan", "charades_sta"),
    "tan 0.5": protocol("tan", "activitynet"),
    "ms-tan": protocol("ms-tan", "charades_sta"),
    "mmn 0.5": protocol("mmn", "activitynet"),
    "mmn 0.4": protocol("mmn", "tacos_2dtan"),
}


@pytest.mark.parametrize("name", list(QUERIES))
def test_the_recipe_still_makes_the_same_inputs(name):
    plain = golden_inputs.as_plain(QUERIES[name])
    assert golden_inputs.digest(plain) == RECALL["inputs"][name]


@pytest.mark.parametrize(
    ("name", "inputs"), [(name, inputs) for name in RULES for inputs in RECALL["results"][name]]
)
def test_recall_and_mean(name, inputs):
    queries, expected = QUERIES[inputs], RECALL["results"][name][inputs]
    found = localization_metrics(
        [query.moments for query in queries],
        [query.target for query in queries],
        RULES[name],
        thresholds=(0.1, 0.3, 0.5, 0.7),
    )
    compared = [metric for metric in expected if metric in found]
    assert compared
    assert {metric: found[metric] for metric in compared} == pytest.approx(
        {metric: expected[metric] for metric in compared}, abs=1e-4
    )


def test_the_stored_numbers_tell_the_protocols_apart():
    """Otherwise agreement would prove little."""
    sparse = [json.dumps(RECALL["results"][name].get("sparse")) for name in RULES]
    dense = [json.dumps(RECALL["results"][name].get("dense")) for name in RULES]
    assert len(set(zip(sparse, dense, strict=True))) == len(RULES)


def test_lgis_mean_of_its_code_is_not_that_of_the_first_moment():
    stored = RECALL["results"]["lgi"]["sparse"]
    assert stored["mIoU of the best of five"] > 2 * stored["mIoU"]


def test_discounted_recall():
    queries = QUERIES["sparse"]
    found = discounted_recall(
        [query.moments for query in queries],
        [query.target for query in queries],
        [query.duration for query in queries],
        protocol("vslnet"),
        ranks=(1,),
    )
    assert found == pytest.approx(RECALL["results"]["bssard"]["sparse"], abs=1e-4)


@pytest.mark.parametrize("inputs", list(SOFT["kept"]))
def test_soft_nms_and_voting(inputs):
    assert SOFT["inputs"][inputs] == RECALL["inputs"][inputs]
    expected = SOFT["kept"][inputs]
    queries = QUERIES[inputs][: len(expected)]
    found = rank(
        [query.moments for query in queries],
        protocol("snag"),
        limit=100,
        scores=[query.scores for query in queries],
    )
    assert found.moments.mask.sum(axis=1).tolist() == [len(kept) for kept in expected]
    moved = 0
    for place, kept in enumerate(expected):
        values = np.array(kept)
        seconds = found.moments.seconds[place, : len(kept)]
        np.testing.assert_allclose(seconds, values[:, :2], atol=1e-3)
        np.testing.assert_allclose(found.scores[place, : len(kept)], values[:, 2], atol=2e-6)
        moved += sum(moment not in queries[place].moments for moment in seconds.tolist())
    assert (moved > 50) == (inputs == "near")  # voting needs near-copies


@pytest.mark.parametrize("inputs", ["sparse", "dense", "near"])
def test_recall_after_soft_nms(inputs):
    queries, rules = QUERIES[inputs], protocol("snag")
    overlaps = best_overlaps(
        [query.moments for query in queries],
        [query.target for query in queries],
        rules,
        limit=5,
        scores=[query.scores for query in queries],
    )
    expected = RECALL["results"]["snag"][inputs]
    exactly = np.float32(overlaps).astype(np.float64)  # .7 becomes .69999999, .3 stays above .3
    for count in (1, 5):
        for threshold in (0.3, 0.5, 0.7):
            stored = expected[f"R@{count},IoU={threshold}"]
            theirs = (exactly[:, :count] >= threshold).any(axis=1)
            assert 100 * theirs.mean() == pytest.approx(stored, abs=1e-4)
            ours = rules.hits(overlaps[:, :count], threshold).any(axis=1)
            at_threshold = (overlaps[:, :count] == threshold).any(axis=1)
            assert ((ours == theirs) | at_threshold).all()
            assert threshold == 0.7 or (ours == theirs).all()


def test_rounding_of_times():
    rounding = protocol("moment-detr", "qvhighlights").rounding
    stored = MOMENT_DETR["rounding"]
    found = round_times(np.array(stored["times"]), rounding)
    assert found.tolist() == stored["rounded"]


@pytest.mark.shared
def test_moment_detrs_evaluation_of_qvhighlights(shared_dir):
    path = shared_dir / "data/annotations/qvhighlights/highlight_val_release.jsonl"
    truth = [json.loads(line) for line in path.read_text().splitlines()]
    lines = golden_inputs.submission(truth)
    assert golden_inputs.digest(lines) == MOMENT_DETR["inputs"]["submission"]
    rules = protocol("moment-detr", "qvhighlights")
    windows = [line["pred_relevant_windows"] for line in lines]
    moments = [[window[:2] for window in one] for one in windows]
    scores = [[window[2] for window in one] for one in windows]
    targets = [line["relevant_windows"] for line in truth]
    expected = MOMENT_DETR["seeded"]

    precision = mean_average_precision(moments, targets, rules, scores)
    assert {name: round(value, 2) for name, value in precision.items()} == {
        "mAP": expected["full"]["MR-mAP"]["average"],
        "mAP@0.5": expected["full"]["MR-mAP"]["0.5"],
        "mAP@0.75": expected["full"]["MR-mAP"]["0.75"],
        "mAP,short": expected["short"]["MR-mAP"]["average"],
        "mAP,middle": expected["middle"]["MR-mAP"]["average"],
        "mAP,long": expected["long"]["MR-mAP"]["average"],
    }
    thresholds = [float(threshold) for threshold in expected["full"]["MR-R1"]]
    recall = localization_metrics(moments, targets, rules, ranks=(1,), thresholds=thresholds)
    for threshold, value in expected["full"]["MR-R1"].items():
        assert round(recall[f"R@1,IoU={float(threshold):g}"], 2) == value

    highlights = highlight_metrics(
        [line["pred_saliency_scores"] for line in lines],
        [
            Saliency(tuple(line["relevant_clip_ids"]), tuple(map(tuple, line["saliency_scores"])))
            for line in truth
        ],
        [line["duration"] for line in truth],
    )
    for level in ("Fair", "Good", "VeryGood"):
        stored = expected[f"HL-min-{level}"]
        assert round(highlights[f"mAP,{level}"], 2) == stored["HL-mAP"]
        assert round(highlights[f"HIT@1,{level}"], 2) == stored["HL-Hit1"]


def test_2d_tans_convolutional_threshold_is_a_replacement():
    convolutional = dataclasses.replace(protocol("tan", "charades_sta"), nms_threshold=0.5)
    queries = QUERIES["dense"]
    found = localization_metrics(
        [query.moments for query in queries], [query.target for query in queries], convolutional
    )
    assert found == pytest.approx(RECALL["results"]["tan 0.5"]["dense"], abs=1e-4)
    assert TAN.nms_threshold == 0.5
