import dataclasses

import pytest

from bpnet.errors import ConfigError
from bpnet.evaluation.metrics import localization_metrics, oracle_recall, suppress
from bpnet.evaluation.protocols import protocol


def test_presets_are_what_their_names_say():
    vslnet, tan = protocol("vslnet"), protocol("tan")
    assert (vslnet.name, vslnet.hit, vslnet.nms_threshold) == ("vslnet", ">=", None)
    assert (tan.name, tan.hit, tan.nms_threshold) == ("tan", ">", 0.5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        vslnet.hit = ">"


def test_a_typo_lists_the_names():
    with pytest.raises(ConfigError, match=r"'vslent' is unknown: expected one of vslnet, tan"):
        protocol("vslent")


# tIoU of exactly m, in numbers that floats hold exactly: 3/10, 5/10, 7/10.
@pytest.mark.parametrize(("end", "threshold"), [(3.0, 0.3), (5.0, 0.5), (7.0, 0.7)])
@pytest.mark.parametrize(("name", "expected"), [("vslnet", 100.0), ("tan", 0.0)])
def test_exactly_on_the_threshold(name, expected, end, threshold):
    answers, targets = [[(0.0, end)]], [(0.0, 10.0)]
    metrics = localization_metrics(answers, targets, protocol(name), thresholds=(threshold,))
    assert metrics[f"R@1,IoU={threshold}"] == metrics[f"R@5,IoU={threshold}"] == expected
    assert metrics["mIoU"] == 100 * threshold
    recall = oracle_recall(
        answers, targets, ks=(1,), thresholds=(threshold,), protocol=protocol(name)
    )
    assert recall == {f"R@1,IoU={threshold}": expected}


def test_suppression_is_strictly_greater():
    first = (0.0, 10.0)
    exactly_half, more = (0.0, 5.0), (0.0, 5.25)
    assert suppress([first, exactly_half], 0.5).tolist() == [list(first), list(exactly_half)]
    assert suppress([first, more], 0.5).tolist() == [list(first)]


def test_what_is_suppressed_does_not_suppress():
    # The second overlaps the first by 8/12, the third the second by 8/12, the first by 4/16.
    ranked = [(0.0, 10.0), (2.0, 12.0), (6.0, 16.0)]
    assert suppress(ranked, 0.5).tolist() == [[0.0, 10.0], [6.0, 16.0]]


def test_suppression_moves_later_moments_up():
    # Five near-copies of a wrong answer hide the right one from R@5, unless they are suppressed.
    wrong = [(0.0, 10.0 + place / 10) for place in range(5)]
    answers, targets = [[*wrong, (50.0, 60.0)]], [(50.0, 60.0)]
    assert localization_metrics(answers, targets, protocol("vslnet"))["R@5,IoU=0.7"] == 0
    assert localization_metrics(answers, targets, protocol("tan"))["R@5,IoU=0.7"] == 100


def test_suppression_can_lose_the_right_answer():
    # The better copy, 10/10, goes: it overlaps the first by 10/12.
    answers, targets = [[(0.0, 12.0), (0.0, 10.0)]], [(0.0, 10.0)]
    thresholds = (0.9,)
    for name, expected in (("vslnet", 100.0), ("tan", 0.0)):
        metrics = localization_metrics(answers, targets, protocol(name), thresholds=thresholds)
        assert metrics["R@5,IoU=0.9"] == expected
        assert metrics["mIoU"] == pytest.approx(100 * 10 / 12)  # the first moment always stays


def test_oracle_recall_does_not_suppress():
    answers, targets = [[(0.0, 12.0), (0.0, 10.0)]], [(0.0, 10.0)]
    recall = oracle_recall(answers, targets, ks=(2,), thresholds=(0.9,), protocol=protocol("tan"))
    assert recall == {"R@2,IoU=0.9": 100.0}
