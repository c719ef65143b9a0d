"""A file of predictions and annotations -> every row of metrics.json."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from bpnet.errors import AnnotationError, ConfigError
from bpnet.evaluation.answers import Answer
from bpnet.evaluation.metrics import metric_names
from bpnet.evaluation.prediction_files import read_predictions
from bpnet.evaluation.protocols import protocol
from bpnet.evaluation.score import metric_rows, score, table_notes
from bpnet.types import Annotation, Saliency

COLUMNS = [*metric_names(), "mIoU"]


def annotation(qid: str, *moments: tuple[float, float], **others: object) -> Annotation:
    return Annotation(qid, "v", f"query {qid}", *moments[0], 20.0, "val", moments[1:], **others)


SALIENCY = Saliency(clip_ids=(0, 1), scores=((4, 3, 2), (0, 2, 4)))
ANNOTATIONS = [
    annotation("1", (0.0, 4.0), (10.0, 20.0), saliency=SALIENCY),
    annotation("2", (4.0, 8.0)),
    annotation("3", (0.0, 8.0)),
]


@pytest.fixture
def submission(tmp_path):
    lines = [
        {"qid": 1, "pred_relevant_windows": [[10, 18, 0.9], [0, 4, 0.3]]},
        {"qid": 2, "pred_relevant_windows": [[12, 16, 0.8], [4, 8, 0.7]]},
        {"qid": 3, "pred_relevant_windows": []},
    ]
    for line in lines:
        line["pred_saliency_scores"] = [0.9, 0.5, *[0.0] * 8]
    path = tmp_path / "submission.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return read_predictions(path)


def test_every_row_of_a_submission(submission):
    results = score(submission, ANNOTATIONS, ANNOTATIONS, "moment-detr", "qvhighlights", "val")
    assert (results["protocol"], results["split"], results["num_queries"]) == (
        "moment-detr",
        "val",
        3,
    )
    assert results["num_dropped"] == {"missing_predictions": 0, "unknown_predictions": 0}
    assert (results["dataset"], results["checkpoint"]) == ("qvhighlights", None)
    # First moments: 8/10 of the second target of query 1; 0; none.
    assert results["metrics"] == pytest.approx(
        {
            **dict.fromkeys(["R@1,IoU=0.3", "R@1,IoU=0.5", "R@1,IoU=0.7"], 100 / 3),
            **dict.fromkeys(["R@5,IoU=0.3", "R@5,IoU=0.5", "R@5,IoU=0.7"], 200 / 3),
            "mIoU": 80 / 3,
        }
    )
    assert list(results["metrics"]) == COLUMNS
    # The end is off by 2 of 20 s.
    assert results["discounted"]["dR@1,IoU=0.7"] == pytest.approx(100 * 0.9 / 3)
    # Query 1 finds both, 0..4 with precision 1; query 2 is right at rank 2; query 3 has none.
    assert results["average_precision"]["mAP@0.75"] == pytest.approx(100 * (1 + 1 / 2 + 0) / 3)
    assert results["saliency"]["HIT@1,VeryGood"] == 100.0  # of the one query that was judged
    assert results["stage_one"] is None and results["oracle_recall"] is None
    low, high = results["blind"]["interval"]
    assert 0 <= low < high <= 1
    assert results["whole_video"]["mIoU"] == pytest.approx(100 * (10 + 4 + 8) / 20 / 3)
    assert results["predictions"] == {
        "path": submission.path,
        "form": "moment-detr",
        "reason": "its entries have 'pred_relevant_windows'",
        "matched_by": "qid",
    }
    assert results["notes"] == [
        *protocol("moment-detr", "qvhighlights").notes(),
        "1 of 3 queries have no moment, and count as missed",
    ]
    assert json.loads(json.dumps(results)) == results  # plain values


def test_dropping_changes_the_number_of_queries(submission):
    more = [*ANNOTATIONS, annotation("4", (0.0, 1.0))]
    with pytest.raises(AnnotationError, match=r"1 of 4 queries have no answer: qid '4'"):
        score(submission, more, None, "vslnet", "qvhighlights", "val")
    results = score(submission, more, None, "vslnet", "qvhighlights", "val", missing="drop")
    assert results["num_queries"] == 3
    assert results["num_dropped"] == {"missing_predictions": 1, "unknown_predictions": 0}
    assert results["blind"] is results["whole_video"] is None


def test_another_part_is_noted(submission):
    results = score(submission, ANNOTATIONS, None, "vslnet", "activitynet", "val_2")
    assert (
        "vslnet tests on val_1; this is val_2: numbers of the two parts do not compare"
        in results["notes"]
    )
    rules = protocol("vslnet", "activitynet")
    assert table_notes(rules, "activitynet", "val_1") == rules.notes()


def test_unknown_protocol_and_dataset(submission):
    with pytest.raises(ConfigError, match="protocol 'detr' is unknown"):
        score(submission, ANNOTATIONS, None, "detr", "qvhighlights", "val")
    with pytest.raises(ConfigError, match="dataset 'qvh' is unknown"):
        score(submission, ANNOTATIONS, None, "vslnet", "qvh", "val")


def test_rows_of_two_stages():
    single = [dataclasses.replace(one, other_moments=(), saliency=None) for one in ANNOTATIONS]
    answers = [
        Answer([(0.0, 4.0), (10.0, 12.0)], [0.9, 0.1], [(10.0, 12.0), (0.0, 4.0)], [0.5, 0.2]),
        Answer(np.array([[4.0, 8.0]]), np.array([0.5]), np.array([[4.0, 8.0]]), np.array([0.5])),
        Answer([], [], [], []),
    ]
    rows = metric_rows(answers, single, None, protocol("vslnet"))
    assert rows["metrics"]["mIoU"] == pytest.approx(200 / 3)
    assert rows["stage_one"]["mIoU"] == pytest.approx(100 / 3)
    assert rows["oracle_recall"]["R@5,IoU=0.7"] == pytest.approx(200 / 3)
    assert rows["average_precision"] is None  # one target a query, and vslnet does not report it
    assert metric_rows(answers, single, None, protocol("moment-detr"))["average_precision"]
    assert rows["saliency"] is None
    # One answer without a first stage: no such rows.
    rows = metric_rows([*answers[:2], Answer([], [])], single, None, protocol("vslnet"))
    assert rows["stage_one"] is None and rows["oracle_recall"] is None


@pytest.mark.parametrize("name", ["vslnet", "tan", "ms-tan", "mmn", "lgi", "snag", "moment-detr"])
def test_every_protocol_makes_every_row(name, submission):
    results = score(submission, ANNOTATIONS, ANNOTATIONS, name, "qvhighlights", "val")
    for row in ("metrics", "discounted", "average_precision", "saliency", "blind", "whole_video"):
        numbers = [value for key, value in results[row].items() if key != "interval"]
        assert numbers and all(0 <= value <= 100 for value in numbers)
    assert results["notes"][0].startswith(f"{name}: a hit is")


def test_clips_scored_for_some_queries_only(submission):
    answers = [Answer([], saliency=[0.1] * 10), Answer([])]
    judged = [annotation(qid, (0.0, 4.0), saliency=SALIENCY) for qid in ("1", "2")]
    with pytest.raises(AnnotationError, match=r"query '2': no scores of clips.*\(1 have none\)"):
        metric_rows(answers, judged, None, protocol("vslnet"))
    unjudged = [annotation(qid, (0.0, 4.0)) for qid in ("1", "2")]
    assert metric_rows(answers, unjudged, None, protocol("vslnet"))["saliency"] is None


def test_as_many_answers_as_annotations():
    with pytest.raises(AnnotationError, match="1 answers and 3 annotations"):
        metric_rows([Answer([])], ANNOTATIONS, None, protocol("vslnet"))
    with pytest.raises(AnnotationError, match="no queries to evaluate"):
        metric_rows([], [], None, protocol("vslnet"))


def test_soft_nms_without_scores():
    answers = [Answer([(0.0, 1.0), (1.0, 2.0)])]
    with pytest.raises(AnnotationError, match="protocol 'snag' decays scores, but there are none"):
        metric_rows(answers, ANNOTATIONS[:1], None, protocol("snag"))
